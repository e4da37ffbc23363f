//! `birdhouse auth`: which server this folder's project lives on, and as whom.

use super::wait;
use crate::cli::{
    args::TargetArgs,
    client::{Client, ClientError},
    fault::user,
    printer::Printer,
    serving::admin_token_file,
    settings::{Settings, Target},
    tinyb::Tinyb,
};
use serde_json::Value;
use std::{fs, path::PathBuf};

/// Remember a server and a token for this folder
///
/// Asks the server whether the token is good and writes both to .tinyb, which only you can read. Keep that file out of
/// version control. Other commands, and Tinybird's own clients, read it.
///
/// Without --token, the admin token that a `birdhouse serve` in this folder wrote is taken.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The data directory of the server, for its admin token [env: BIRDHOUSE_DATA_DIR; default: .birdhouse]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
}

const EXAMPLES: &str = "\
Examples:
  birdhouse auth
  birdhouse auth --host https://birdhouse.example.com --token p.ey...
  TOKEN=$(jq -r .token .tinyb)";

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let mut target = settings.target(&args.target)?;
    let given = args.target.token.is_some() || settings.variable("TB_TOKEN").is_some();
    let file = admin_token_file(&settings.data_dir(args.data_dir.as_deref()));
    if !given && target.host.is_local() {
        // The file is younger than what `.tinyb` remembers, if the server was begun anew.
        if let Ok(token) = fs::read_to_string(&file) {
            target = Target { token: Some(token.trim().to_owned()), ..target };
        }
    }
    if target.token.is_none() {
        let shown = file.strip_prefix(&settings.folder).unwrap_or(&file).display();
        return Err(user(format!("which token? --token names it; there is none for {} in {shown}", target.host)));
    }
    let client = Client::new(&target)?;
    let workspace = wait(workspace(&client))?;
    let mut tinyb = Tinyb::read(&settings.tinyb_path())?;
    tinyb.set(&target.host, target.token.as_deref().unwrap_or_default());
    if let Some(fields) = workspace.as_object() {
        tinyb.describe(fields);
    }
    tinyb.write(&settings.tinyb_path())?;
    let name = workspace["name"].as_str().map(|name| format!(" (workspace {name})")).unwrap_or_default();
    printer.note(format!("{}{name} and its token are in .tinyb now", target.host));
    Ok(())
}

/// What the server says of the token's workspace; a server that cannot say it is asked whether the token is good.
async fn workspace(client: &Client) -> anyhow::Result<Value> {
    match client.get("/v0/workspace").await {
        Err(error) if is_absent(&error) => client.get("/v0/datasources").await.map(|_| Value::Null),
        reply => reply,
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<ClientError>(), Some(ClientError::Refused { status: 404 | 405, .. }))
}
