//! The flags, in both spellings: with underscores and with dashes.

use clap::Parser;
use jiff::Timestamp;
use std::path::PathBuf;

/// Sends audit-log events to a Kafka topic, or to a data source of a server.
///
/// The events are those of birdhouse's quickstart: five companies, some people
/// each, who make, change and delete projects, folders, files, groups and users.
///
/// Without a broker that asks for a password:
///   data-generator --bootstrap-servers localhost:9092 --security_protocol PLAINTEXT
///
/// On a cluster that does, key and secret best come from the environment:
///   export KAFKA_KEY=... KAFKA_SECRET=...
///   data-generator --bootstrap-servers broker.example.com:9092 --mps 200
///
/// The same events over HTTP, with a token that may append:
///   export TB_TOKEN=...
///   data-generator --host http://localhost:7181 --datasource kafka_audit_log
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, max_term_width = 100)]
pub struct Args {
    /// The topic to send to.
    #[arg(long, default_value = "audit_log_demo")]
    pub topic: String,
    /// How many events one round sends.
    #[arg(long, default_value_t = 10_000, value_name = "EVENTS")]
    pub sample: u64,
    /// The pause between two rounds, in seconds.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    pub sleep: f64,
    /// The most events in a second; 0 is as many as go.
    #[arg(long, default_value_t = 0, value_name = "EVENTS")]
    pub mps: u64,
    /// How many rounds to send; 0 goes on until it is stopped.
    #[arg(long, default_value_t = 1, value_name = "ROUNDS")]
    pub repeat: u64,
    /// The brokers to begin with, as host:port, with commas between.
    #[arg(long, alias = "bootstrap_servers", env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "HOST:PORT,..")]
    pub bootstrap_servers: Option<String>,
    /// The server to send to over HTTP, instead of Kafka: http://localhost:7181.
    #[arg(long, value_name = "URL")]
    pub host: Option<String>,
    /// The token for that server.
    #[arg(long, env = "TB_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The data source to send to over HTTP.
    #[arg(long, default_value = "kafka_audit_log", value_name = "NAME")]
    pub datasource: String,
    /// PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
    #[arg(
        long = "security_protocol",
        alias = "security-protocol",
        default_value = "SASL_SSL",
        value_name = "PROTOCOL"
    )]
    pub security_protocol: String,
    /// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    #[arg(long = "sasl_mechanism", alias = "sasl-mechanism", default_value = "PLAIN", value_name = "MECHANISM")]
    pub sasl_mechanism: String,
    /// The user's name, which clusters call key.
    #[arg(long = "sasl_plain_username", alias = "sasl-plain-username", env = "KAFKA_KEY", hide_env_values = true)]
    pub sasl_plain_username: Option<String>,
    /// The user's password, which clusters call secret.
    #[arg(long = "sasl_plain_password", alias = "sasl-plain-password", env = "KAFKA_SECRET", hide_env_values = true)]
    pub sasl_plain_password: Option<String>,
    /// A file with the certificates of the authority that signed the broker's.
    #[arg(long = "ssl_ca_location", alias = "ssl-ca-location", value_name = "FILE")]
    pub ssl_ca_location: Option<PathBuf>,
    /// The same events as every other run with this number, datetimes included.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// When the first event happened; one each millisecond follows. Now, unless there is a seed.
    #[arg(long, value_name = "TIME")]
    pub start: Option<Timestamp>,
    /// Makes the topic first, if it is not there.
    #[arg(long, alias = "create_topic")]
    pub create_topic: bool,
    /// Prints, before anything is sent, the end of each partition: {"0": 17, ...}.
    #[arg(long)]
    pub positions: bool,
    /// How many partitions a topic that is made has.
    #[arg(long, default_value_t = 4)]
    pub partitions: i32,
}

/// Where a run with a seed begins, unless told.
const SEEDED_START: Timestamp = Timestamp::constant(1_767_225_600, 0);

impl Args {
    /// The moment of the first event, when events do not happen as they are sent.
    pub fn first_moment(&self) -> Option<Timestamp> {
        self.start.or_else(|| self.seed.map(|_| SEEDED_START))
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err("not a number of seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        for dash in ["-", "_"] {
            let flag = |words: &str| format!("--{}", words.replace(' ', dash));
            let args = [
                "data-generator".to_owned(),
                flag("bootstrap servers"),
                "a:1".to_owned(),
                flag("security protocol"),
                "SSL".to_owned(),
                flag("sasl mechanism"),
                "SCRAM-SHA-256".to_owned(),
                flag("sasl plain username"),
                "u".to_owned(),
                flag("sasl plain password"),
                "p".to_owned(),
                flag("ssl ca location"),
                "/ca".to_owned(),
            ];
            let args = Args::try_parse_from(args).unwrap();
            assert_eq!((args.bootstrap_servers.as_deref(), args.security_protocol.as_str()), (Some("a:1"), "SSL"));
            assert_eq!((args.sasl_mechanism.as_str(), args.sample), ("SCRAM-SHA-256", 10_000));
            assert_eq!(args.sasl_plain_username.as_deref(), Some("u"));
            assert_eq!(args.sasl_plain_password.as_deref(), Some("p"));
            assert_eq!(args.ssl_ca_location, Some("/ca".into()));
        }
    }

    #[test]
    fn a_seed_fixes_the_clock() {
        let args = |more: &[&str]| {
            let base = ["data-generator", "--bootstrap-servers", "a:1"];
            Args::try_parse_from(base.iter().chain(more)).unwrap().first_moment()
        };
        assert_eq!(args(&[]), None);
        assert_eq!(args(&["--seed", "1"]).unwrap().to_string(), "2026-01-01T00:00:00Z");
        let start = "2025-05-05T05:05:05Z";
        assert_eq!(args(&["--seed", "1", "--start", start]).unwrap().to_string(), start);
    }
}
