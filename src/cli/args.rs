//! The arguments that commands share, and the front page of the help.

use super::{commands::Command, settings::LogFormat};
use crate::ingest::events::Durability;
use clap::{Args, Parser};
use std::{net::IpAddr, path::PathBuf};

/// The home of Tinybird data projects on your own machine.
///
/// A project is a folder of .datasource and .pipe files. birdhouse turns it into ClickHouse tables, materialized views
/// and HTTP endpoints, fills them from Kafka and files, and shows each token only the rows that it may see. The engine,
/// ClickHouse, runs inside the process: `birdhouse engine install` fetches it once.
#[derive(Debug, Parser)]
#[command(name = "birdhouse", version, max_term_width = 100, after_long_help = TOUR)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Args)]
pub(super) struct GlobalArgs {
    /// How much to log: error, warn, info, debug, trace [env: BIRDHOUSE_LOG_LEVEL]
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Logging")]
    pub(super) log_level: Option<String>,
    /// Log lines for people or for machines [env: BIRDHOUSE_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Logging")]
    pub(super) log_format: Option<LogFormat>,
}

/// Which server a client command talks to, and as whom.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TargetArgs {
    /// The server [env: TB_HOST; else the host in .tinyb; else http://localhost:7181]
    #[arg(long, value_name = "URL", help_heading = "Server")]
    pub(super) host: Option<String>,
    /// The token [env: TB_TOKEN; else the one in .tinyb for this host]
    #[arg(long, value_name = "TOKEN", help_heading = "Server", hide_env_values = true)]
    pub(super) token: Option<String>,
}

/// How a server runs: what `serve` and `dev` share.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ServerArgs {
    /// The port; 0 takes a free one [env: BIRDHOUSE_PORT; default: 7181]
    #[arg(long, value_name = "PORT", help_heading = "Serving")]
    pub(super) port: Option<u16>,
    /// A port for ClickHouse's clients; 0 takes a free one [env: BIRDHOUSE_CLICKHOUSE_PORT; default: none, 7182 in dev]
    #[arg(long, value_name = "PORT", help_heading = "Serving")]
    pub(super) clickhouse_port: Option<u16>,
    /// Let the server's own administrator speak to the engine itself on that port, as the user `engine`: this server can be
    /// the engine of another then [env: BIRDHOUSE_CLICKHOUSE_ADMIN]
    #[arg(long, help_heading = "Serving")]
    pub(super) clickhouse_admin: bool,
    /// Where the engine runs: `chdb` in this process, `child` in one of its own, or the address of a ClickHouse server,
    /// like http://localhost:8123, or http://localhost:8123/?cluster=birds for the cluster that it is one of. Its user
    /// and password come from BIRDHOUSE_ENGINE_USER and BIRDHOUSE_ENGINE_PASSWORD [env: BIRDHOUSE_ENGINE; default: chdb]
    #[arg(long, value_name = "ENGINE", help_heading = "Serving")]
    pub(super) engine: Option<String>,
    /// The columns whose hash decides on which shard of a cluster a row lies, like events=company_id; may be repeated
    /// [env: BIRDHOUSE_SHARD_BY, with semicolons between; default: those of the sorting key]
    #[arg(long, value_name = "DATASOURCE=COLUMNS", help_heading = "Serving")]
    pub(super) shard_by: Vec<String>,
    /// An address to listen on besides 127.0.0.1 and ::1, like 0.0.0.0; there is no TLS [env: BIRDHOUSE_LISTEN]
    #[arg(long, value_name = "ADDRESS", help_heading = "Serving")]
    pub(super) listen: Option<IpAddr>,
    /// Where tables, tokens and deployed files are kept [env: BIRDHOUSE_DATA_DIR; default: .birdhouse]
    #[arg(long, value_name = "FOLDER", help_heading = "Serving")]
    pub(super) data_dir: Option<PathBuf>,
    /// Memory that the engine may use, like 1500M or 2G [env: BIRDHOUSE_MEMORY; default: half of the machine's]
    #[arg(long, value_name = "SIZE", help_heading = "Serving")]
    pub(super) memory: Option<String>,
    /// Threads that one query may use [env: BIRDHOUSE_THREADS; default: one per core]
    #[arg(long, value_name = "NUMBER", help_heading = "Serving")]
    pub(super) threads: Option<usize>,
    /// The longest time that one query may take, in seconds [env: BIRDHOUSE_QUERY_SECONDS; default: 10]
    #[arg(long, value_name = "SECONDS", help_heading = "Serving")]
    pub(super) query_seconds: Option<u64>,
    /// Steps that the templates of one request may take [env: BIRDHOUSE_TEMPLATE_STEPS; default: 2000000]
    #[arg(long, value_name = "NUMBER", help_heading = "Serving")]
    pub(super) template_steps: Option<usize>,
    /// Rounds of one loop, items of one list in a template [env: BIRDHOUSE_TEMPLATE_ITEMS; default: 500000]
    #[arg(long, value_name = "NUMBER", help_heading = "Serving")]
    pub(super) template_items: Option<usize>,
    /// How long the SQL of one template may get [env: BIRDHOUSE_TEMPLATE_OUTPUT; default: 16M]
    #[arg(long, value_name = "SIZE", help_heading = "Serving")]
    pub(super) template_output: Option<String>,
    /// The largest file that is taken in, as it is sent [env: BIRDHOUSE_MAX_FILE; default: 10G]
    #[arg(long, value_name = "SIZE", help_heading = "Serving")]
    pub(super) max_file: Option<String>,
    /// What an acknowledged event survives: `durable`, the loss of power; `relaxed`, the end of the server's process
    /// [env: BIRDHOUSE_DURABILITY; default: durable]
    #[arg(long, value_name = "PROMISE", help_heading = "Serving")]
    pub(super) durability: Option<Durability>,
    /// Let imports from URLs reach this machine and its private networks [env: BIRDHOUSE_PRIVATE_URLS]
    #[arg(long, help_heading = "Serving")]
    pub(super) private_urls: bool,
    /// Refuse to start where the kernel cannot confine the engine to its own files [env: BIRDHOUSE_REQUIRE_SANDBOX]
    #[arg(long, help_heading = "Serving")]
    pub(super) require_sandbox: bool,
}

const TOUR: &str = "\
A first tour, in the folder of a project:
  birdhouse engine install    fetch the engine, once
  birdhouse check             read the project's files; say what is wrong
  birdhouse dev               serve the project, push every change you make
  birdhouse sql 'select 1'    ask something
  birdhouse token ls          who may read what

A server that stays, and a client that talks to it:
  birdhouse serve             on http://localhost:7181, data in .birdhouse
  birdhouse auth              remember it and its admin token in .tinyb
  birdhouse push --fixtures   deploy the project and load its fixtures
  TOKEN=$(jq -r .token .tinyb)
  curl -H \"Authorization: Bearer $TOKEN\" \\
      http://localhost:7181/v0/pipes/my_endpoint.json

Settings come from flags, then the environment, then .env, then .tinyb.
Exit codes: 0 done, 1 something for you to mend, 2 a fault of birdhouse.";
