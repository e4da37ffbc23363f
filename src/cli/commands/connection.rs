//! `birdhouse connection`: where data comes from, by a name that datafiles use.

use super::wait;
use crate::cli::{args::TargetArgs, client::Client, fault::user, printer::Printer, settings::Settings};
use anyhow::Context;
use serde_json::{Value, json};
use std::{
    fs,
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

/// Make and list connections to Kafka
///
/// A data source names its connection (KAFKA_CONNECTION_NAME); brokers and secrets stay out of the project.
///
/// Key and secret may come from KAFKA_KEY and KAFKA_SECRET instead of flags, where other users of this machine do not
/// see them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: ConnectionCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ConnectionCommand {
    /// Make a connection
    Create {
        #[command(subcommand)]
        kind: Kind,
    },
    /// List the connections
    Ls {
        #[command(flatten)]
        target: TargetArgs,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Kind {
    /// A connection to Kafka brokers
    Kafka(Box<Kafka>),
}

#[derive(Debug, clap::Args)]
struct Kafka {
    /// The name that datafiles use
    #[arg(long, value_name = "NAME")]
    connection_name: String,
    /// The brokers to begin with, with commas between [env: KAFKA_BOOTSTRAP_SERVERS]
    #[arg(long, value_name = "HOST:PORT,..")]
    bootstrap_servers: Option<String>,
    /// The user's name [env: KAFKA_KEY]
    #[arg(long)]
    key: Option<String>,
    /// The user's password [env: KAFKA_SECRET]
    #[arg(long)]
    secret: Option<String>,
    /// How the brokers are spoken to
    #[arg(long, value_name = "PROTOCOL", default_value = "SASL_SSL", ignore_case = true,
          value_parser = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])]
    security_protocol: String,
    /// How the password is told
    #[arg(long, value_name = "MECHANISM", default_value = "PLAIN", ignore_case = true,
          value_parser = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])]
    sasl_mechanism: String,
    /// The certificates of the authority that signed the broker's: a file, or the PEM text itself
    #[arg(long, value_name = "FILE")]
    ssl_ca_pem: Option<String>,
    /// Where the schemas of Avro are asked for; a user and a password may stand in it [env: KAFKA_SCHEMA_REGISTRY_URL]
    #[arg(long, value_name = "URL")]
    schema_registry_url: Option<String>,
    /// With OAUTHBEARER: where tokens are asked for, with the key as the client's id
    #[arg(long, value_name = "URL", required_if_eq("sasl_mechanism", "OAUTHBEARER"))]
    oauth_token_url: Option<String>,
    /// With OAUTHBEARER: the scope that is asked for
    #[arg(long, value_name = "SCOPE")]
    oauth_scope: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
}

/// How long a broker may take to accept a TCP connection.
const PATIENCE: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
A cluster with a password (SASL_SSL and PLAIN, unless told otherwise):
  birdhouse connection create kafka --connection-name my_connection \\
      --bootstrap-servers broker.example.com:9092 --key KEY --secret SECRET

A broker on this machine:
  birdhouse connection create kafka --connection-name my_connection \\
      --bootstrap-servers localhost:9092 --security-protocol PLAINTEXT";

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    match args.command {
        ConnectionCommand::Create { kind: Kind::Kafka(kafka) } => create(&kafka, settings, printer),
        ConnectionCommand::Ls { target } => {
            let client = Client::new(&settings.target(&target)?)?;
            let reply = wait(client.get("/v0/connectors"))?;
            let connectors = reply["connectors"].as_array().map(Vec::as_slice).unwrap_or_default();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let row = |it: &Value| {
                let settings = &it["settings"];
                vec![
                    text(&it["name"]),
                    text(&it["service"]),
                    text(&settings["kafka_bootstrap_servers"]),
                    text(&settings["kafka_security_protocol"]),
                ]
            };
            printer
                .table(&["name", "service", "servers", "protocol"], &connectors.iter().map(row).collect::<Vec<_>>())?;
            Ok(())
        }
    }
}

fn create(kafka: &Kafka, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let given =
        |flag: &Option<String>, variable: &str| flag.clone().or_else(|| settings.variable(variable).map(str::to_owned));
    let servers = given(&kafka.bootstrap_servers, "KAFKA_BOOTSTRAP_SERVERS")
        .ok_or_else(|| user("which brokers? --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS names them"))?;
    let sasl = kafka.security_protocol.starts_with("SASL");
    let key = given(&kafka.key, "KAFKA_KEY").filter(|_| sasl);
    let secret = given(&kafka.secret, "KAFKA_SECRET").filter(|_| sasl);
    if sasl && (key.is_none() || secret.is_none()) {
        let protocol = &kafka.security_protocol;
        return Err(user(format!(
            "{protocol} wants --key and --secret (or KAFKA_KEY and KAFKA_SECRET); a broker without passwords wants \
             --security-protocol PLAINTEXT"
        )));
    }
    let pem = match &kafka.ssl_ca_pem {
        Some(text) if text.trim_start().starts_with("-----BEGIN") => Some(text.clone()),
        Some(file) => Some(fs::read_to_string(file).map_err(|error| user(format!("--ssl-ca-pem {file}: {error}")))?),
        None => None,
    };
    let client = Client::new(&settings.target(&kafka.target)?)?;
    reach(&servers)?;
    let mut body = json!({
        "service": "kafka",
        "name": kafka.connection_name,
        "kafka_bootstrap_servers": servers,
        "kafka_security_protocol": kafka.security_protocol,
        "kafka_sasl_mechanism": kafka.sasl_mechanism,
    });
    let registry = given(&kafka.schema_registry_url, "KAFKA_SCHEMA_REGISTRY_URL");
    for (name, value) in [
        ("kafka_sasl_plain_username", key),
        ("kafka_sasl_plain_password", secret),
        ("kafka_ssl_ca_pem", pem),
        ("kafka_schema_registry_url", registry),
        ("kafka_sasl_oauthbearer_token_url", kafka.oauth_token_url.clone()),
        ("kafka_sasl_oauthbearer_scope", kafka.oauth_scope.clone()),
    ] {
        if let Some(value) = value {
            body[name] = value.into();
        }
    }
    wait(client.post_json("/v0/connectors", &body))
        .with_context(|| format!("connection {} was not made", kafka.connection_name))?;
    printer.note(format!("made connection {} to {servers}", kafka.connection_name));
    Ok(())
}

/// Some broker of the list accepts a TCP connection.
fn reach(servers: &str) -> anyhow::Result<()> {
    let mut reasons = Vec::new();
    for server in servers.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        match reach_one(server) {
            Ok(()) => return Ok(()),
            Err(reason) => reasons.push(format!("{server}: {reason}")),
        }
    }
    Err(user(format!("no broker can be reached from here: {}", reasons.join("; "))))
}

fn reach_one(server: &str) -> Result<(), String> {
    let with_port = server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !with_port {
        return Err("no port; brokers are host:port".to_owned());
    }
    let addresses = server.to_socket_addrs().map_err(|error| error.to_string())?;
    let mut reason = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broker_that_answers_is_enough() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        assert!(reach(&format!("127.0.0.1:1, {open}")).is_ok());
        let error = reach("127.0.0.1:1,localhost").unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:1: ") && error.contains("localhost: no port"), "{error}");
    }
}
