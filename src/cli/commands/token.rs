//! `birdhouse token`: who may do what.

use super::wait;
use crate::cli::{
    args::TargetArgs,
    client::{Client, escape},
    fault::user,
    printer::Printer,
    settings::Settings,
};
use serde_json::Value;

/// Make, list, show and remove tokens
///
/// A token can do what its scopes say, and no more; a filter behind a data source narrows its rows, in endpoints too.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Make a token and print its value
    Create {
        /// What the token is called in lists
        name: String,
        /// A scope, like PIPES:READ:endpoint; may be given many times
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// What the token is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// List the tokens with what they may do
    Ls {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Print a token's value and nothing else
    Show {
        name: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Say what a token sees: the data sources behind each of its endpoints, their filters, and the gaps
    Audit {
        name: String,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Remove a token; whoever holds it is nobody from then on
    Rm {
        name: String,
        #[command(flatten)]
        target: TargetArgs,
    },
}

const EXAMPLES: &str = "\
Scopes:
  ADMIN                                  everything
  TOKENS                                 make tokens
  PIPES:READ:endpoint                    call an endpoint
  DATASOURCES:READ:events                read a data source
  DATASOURCES:READ:events:company_id=1   those of its rows, in endpoints too
  DATASOURCES:APPEND:events              add rows
  DATASOURCES:CREATE, PIPES:CREATE       deploy

Examples:
  birdhouse token create app_token --scope PIPES:READ:api_totals \\
      --scope 'DATASOURCES:READ:events:company_id=1'
  curl -H \"Authorization: Bearer $(birdhouse token show app_token)\" \\
      http://localhost:7181/v0/pipes/api_totals.json";

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    match args.command {
        TokenCommand::Create { name, scopes, description, target } => {
            let client = Client::new(&settings.target(&target)?)?;
            let mut form = vec![("name", name.as_str())];
            form.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
            form.extend(description.iter().map(|it| ("description", it.as_str())));
            let token = wait(client.post_form("/v0/tokens/", &form))?;
            printer.note(format!("made token {name}: {}", scopes_of(&token)));
            printer.line(value_of(&token)?)?;
            // The token is made; an audit that fails is no reason to say that it was not.
            if let Ok(audit) = wait(client.get(&format!("/v0/tokens/{}/audit", escape(&name)))) {
                warn(&audit, printer);
            }
        }
        TokenCommand::Audit { name, json, target } => {
            let client = Client::new(&settings.target(&target)?)?;
            let audit = wait(client.get(&format!("/v0/tokens/{}/audit", escape(&name))))?;
            if json {
                printer.line(&serde_json::to_string_pretty(&audit)?)?;
                return Ok(());
            }
            printer.table(&["by", "reads", "rows"], &seen(&audit))?;
            warn(&audit, printer);
        }
        TokenCommand::Ls { target } => {
            let client = Client::new(&settings.target(&target)?)?;
            let reply = wait(client.get("/v0/tokens/"))?;
            let tokens = reply["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
            let rows: Vec<Vec<String>> = tokens.iter().map(|it| vec![text(&it["name"]), scopes_of(it)]).collect();
            printer.table(&["name", "scopes"], &rows)?;
        }
        TokenCommand::Show { name, target } => {
            let client = Client::new(&settings.target(&target)?)?;
            let token = wait(client.get(&format!("/v0/tokens/{}", escape(&name))))?;
            printer.line(value_of(&token)?)?;
        }
        TokenCommand::Rm { name, target } => {
            let client = Client::new(&settings.target(&target)?)?;
            wait(client.delete(&format!("/v0/tokens/{}", escape(&name))))?;
            printer.note(format!("removed token {name}"));
        }
    }
    Ok(())
}

fn value_of(token: &Value) -> anyhow::Result<&str> {
    token["token"].as_str().ok_or_else(|| user("the server does not show this token's value to yours"))
}

/// Where rows of a filtered source reach the token all the same.
fn warn(audit: &Value, printer: &Printer) {
    for warning in audit["warnings"].as_array().into_iter().flatten() {
        printer.note(format!("warning: {}", text(warning)));
    }
}

/// One row for each data source that each endpoint, or SQL, reads.
fn seen(audit: &Value) -> Vec<Vec<String>> {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let list = |value: &Value| items(value).iter().map(text).collect::<Vec<_>>();
    let row = |by: &str, read: &Value| {
        let filters = list(&read["filters"]);
        let from = list(&read["unfiltered_from"]);
        let rows = match (filters.as_slice(), from.as_slice()) {
            ([], []) => "all".to_owned(),
            ([], from) => format!("all, also what came from {}", from.join(", ")),
            (filters, _) => filters.join(" AND "),
        };
        vec![by.to_owned(), text(&read["datasource"]), rows]
    };
    let endpoints = items(&audit["endpoints"]);
    let of_endpoint = |it: &Value| -> Vec<Vec<String>> {
        items(&it["reads"]).iter().map(|read| row(&text(&it["name"]), read)).collect()
    };
    let mut res: Vec<_> = endpoints.iter().flat_map(of_endpoint).collect();
    res.extend(items(&audit["datasources"]).iter().map(|read| row("SQL", read)));
    res
}

/// The scopes as one writes them: `PIPES:READ:x, DATASOURCES:READ:y:filter`.
fn scopes_of(token: &Value) -> String {
    let scopes = token["scopes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let scope = |scope: &Value| {
        let parts = ["type", "resource", "filter"].map(|part| text(&scope[part]));
        parts.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(":")
    };
    scopes.iter().map(scope).collect::<Vec<_>>().join(", ")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_is_a_table() {
        let audit = serde_json::json!({
            "endpoints": [{"name": "p", "reads": [
                {"datasource": "x", "filters": ["a = 1", "b = 2"], "unfiltered_from": []},
                {"datasource": "mv", "filters": [], "unfiltered_from": ["x"]},
            ]}],
            "datasources": [{"datasource": "y", "filters": [], "unfiltered_from": []}],
        });
        let rows = [["p", "x", "a = 1 AND b = 2"], ["p", "mv", "all, also what came from x"], ["SQL", "y", "all"]];
        assert_eq!(seen(&audit), rows.map(|it| it.map(str::to_owned).to_vec()));
    }

    #[test]
    fn scopes_as_one_writes_them() {
        let token = serde_json::json!({"scopes": [
            {"type": "PIPES:READ", "resource": "a", "filter": ""},
            {"type": "DATASOURCES:READ", "resource": "b", "filter": "x = 1"},
            {"type": "ADMIN"},
        ]});
        assert_eq!(scopes_of(&token), "PIPES:READ:a, DATASOURCES:READ:b:x = 1, ADMIN");
    }
}
