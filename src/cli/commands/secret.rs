//! `birdhouse secret`: values that pipes use and nobody sees.

use super::wait;
use crate::cli::{
    args::TargetArgs,
    client::{Client, escape},
    fault::user,
    printer::Printer,
    settings::Settings,
};
use serde_json::Value;
use std::io::{IsTerminal, Read};

/// Set, list and remove secrets
///
/// A pipe uses a secret as {{ tb_secret("name") }}. Its value is kept encrypted and no command shows it again.
///   birdhouse secret set pepper < pepper.txt
///   birdhouse secret ls
///   birdhouse secret rm pepper
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SecretCommand {
    /// Set a secret; its value comes from standard input, without the line break at its end
    Set {
        name: String,
        /// The value itself: other users of this machine may see it while the command runs
        value: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// List the names of the secrets
    Ls {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Remove a secret; pipes that use it fail from then on
    Rm {
        name: String,
        #[command(flatten)]
        target: TargetArgs,
    },
}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    match args.command {
        SecretCommand::Set { name, value, target } => {
            let value = value.map_or_else(read_value, Ok)?;
            let client = Client::new(&settings.target(&target)?)?;
            wait(client.post_form("/v0/variables", &[("name", &name), ("value", &value), ("type", "secret")]))?;
            printer.note(format!("set secret {name}"));
        }
        SecretCommand::Ls { target } => {
            let client = Client::new(&settings.target(&target)?)?;
            let reply = wait(client.get("/v0/variables"))?;
            let secrets = reply["variables"].as_array().map(Vec::as_slice).unwrap_or_default();
            let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
            let rows: Vec<_> = secrets.iter().map(|it| vec![text(&it["name"]), text(&it["updated_at"])]).collect();
            printer.table(&["name", "set at"], &rows)?;
        }
        SecretCommand::Rm { name, target } => {
            let client = Client::new(&settings.target(&target)?)?;
            wait(client.delete(&format!("/v0/variables/{}", escape(&name))))?;
            printer.note(format!("removed secret {name}"));
        }
    }
    Ok(())
}

fn read_value() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        return Err(user("which value? birdhouse secret set NAME < file"));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| user(format!("standard input: {error}")))?;
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |it| it.strip_suffix('\r').unwrap_or(it)).to_owned())
}
