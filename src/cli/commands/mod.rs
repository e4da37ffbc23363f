//! One file per command: its arguments, its manual, and the function that does it.

pub(super) mod auth;
pub(super) mod check;
pub(super) mod completions;
pub(super) mod connection;
pub(super) mod datasource;
pub(super) mod dependencies;
pub(super) mod dev;
pub(super) mod engine;
pub(super) mod explain;
mod feed;
pub(super) mod fmt;
pub(super) mod init;
pub(super) mod parse;
pub(super) mod pipe;
pub(super) mod plan;
pub(super) mod push;
pub(super) mod quarantine;
mod rows;
pub(super) mod secret;
pub(super) mod serve;
pub(super) mod sql;
pub(super) mod template;
pub(super) mod token;

use super::{printer::Printer, settings::Settings};
use anyhow::Context;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Serve(serve::Args),
    Dev(dev::Args),
    Push(push::Args),
    Plan(plan::Args),
    Check(check::Args),
    Explain(explain::Args),
    Fmt(fmt::Args),
    Dependencies(dependencies::Args),
    Init(init::Args),
    Datasource(datasource::Args),
    Parse(parse::Args),
    Sql(sql::Args),
    Auth(auth::Args),
    Token(token::Args),
    Secret(secret::Args),
    Connection(connection::Args),
    Quarantine(quarantine::Args),
    Pipe(pipe::Args),
    Template(template::Args),
    Engine(engine::Args),
    Completions(completions::Args),
}

impl Command {
    pub(super) fn run(self, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
        match self {
            Command::Serve(args) => serve::run(args, settings, printer),
            Command::Dev(args) => dev::run(args, settings, printer),
            Command::Push(args) => push::run(args, settings, printer),
            Command::Plan(args) => plan::run(args, settings, printer),
            Command::Check(args) => check::run(args, settings, printer),
            Command::Explain(args) => explain::run(args, settings, printer),
            Command::Fmt(args) => fmt::run(args, settings, printer),
            Command::Dependencies(args) => dependencies::run(args, settings, printer),
            Command::Init(args) => init::run(args, settings, printer),
            Command::Datasource(args) => datasource::run(args, settings, printer),
            Command::Parse(args) => parse::run(args, settings, printer),
            Command::Sql(args) => sql::run(args, settings, printer),
            Command::Auth(args) => auth::run(args, settings, printer),
            Command::Token(args) => token::run(args, settings, printer),
            Command::Quarantine(args) => quarantine::run(args, settings, printer),
            Command::Secret(args) => secret::run(args, settings, printer),
            Command::Connection(args) => connection::run(args, settings, printer),
            Command::Pipe(args) => pipe::run(args, settings, printer),
            Command::Template(args) => template::run(args, settings, printer),
            Command::Engine(args) => engine::run(args, settings, printer),
            Command::Completions(args) => completions::run(args, settings, printer),
        }
    }
}

/// Waits for the work of a client command, on this thread.
fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime does not start")?.block_on(work)
}
