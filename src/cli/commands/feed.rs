//! `birdhouse datasource connect|pause|resume`: data sources that read a topic.

use super::wait;
use crate::{
    cli::{args::TargetArgs, client::Client, fault::user, printer::Printer, settings::Settings},
    name::ResourceName,
};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::fs;

#[derive(Debug, clap::Subcommand)]
pub(super) enum FeedCommand {
    /// Write a .datasource file for a Kafka topic, its columns told from the topic's last messages
    ///
    /// Look the columns over: what is a number in these messages may be a text in the next. Nothing is read
    /// before the file is pushed.
    Connect(ConnectArgs),
    /// Stop reading a data source's topic; it stays so over restarts, and nothing is lost that the broker keeps
    Pause(NameArgs),
    /// Read a data source's topic on from where it stopped
    Resume(NameArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ConnectArgs {
    /// The connection, as `birdhouse connection ls` names it
    connection: String,
    /// The name of the data source
    name: String,
    /// The topic; without it the topics that there are are listed
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// The consumer group that tools see [default: the data source's name]
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Where to begin
    #[arg(long, value_name = "PLACE", default_value = "earliest", value_parser = ["earliest", "latest"])]
    auto_offset_reset: String,
    /// Print the data source instead of writing it
    #[arg(long)]
    print: bool,
    /// Write over a data source of that name
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct NameArgs {
    /// The data source
    name: String,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) fn run(command: FeedCommand, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    match command {
        FeedCommand::Connect(args) => connect(&args, settings, printer),
        FeedCommand::Pause(args) => set(&args, "paused", "nothing is read", settings, printer),
        FeedCommand::Resume(args) => set(&args, "running", "reads on", settings, printer),
    }
}

fn set(args: &NameArgs, state: &str, words: &str, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    ResourceName::new(&args.name).map_err(|error| user(error.to_string()))?;
    let client = Client::new(&settings.target(&args.target)?)?;
    let path = format!("/v0/datasources/{}/scheduling/state", args.name);
    wait(client.put_json(&path, &json!({ "state": state })))?;
    printer.note(format!("{}: {words}", args.name));
    Ok(())
}

fn connect(args: &ConnectArgs, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    ResourceName::new(&args.name).map_err(|error| user(error.to_string()))?;
    ResourceName::new(&args.connection).map_err(|error| user(error.to_string()))?;
    let client = Client::new(&settings.target(&args.target)?)?;
    let preview = format!("/v0/connectors/{}/preview", args.connection);
    let reply = wait(client.get(&format!("{preview}?preview_activity=false")))?;
    let topics = reply["preview"].as_array().map(Vec::as_slice).unwrap_or_default();
    let topics: Vec<_> = topics.iter().map(|it| it["topic"].as_str().unwrap_or_default()).collect();
    let Some(topic) = &args.topic else {
        return Err(user(format!("which topic? --topic names one of: {}", topics.join(", "))));
    };
    if !topics.contains(&topic.as_str()) {
        return Err(user(format!("there is no topic `{topic}`; there are: {}", topics.join(", "))));
    }
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("kafka_topic", topic).finish();
    let reply = wait(client.get(&format!("{preview}?{query}")))?;
    let text = datasource(args, topic, &reply["preview"][0]["analysis"]["columns"]);
    if args.print {
        printer.bytes(text.as_bytes())?;
        return Ok(());
    }
    let shown = format!("datasources/{}.datasource", args.name);
    let path = settings.folder.join(&shown);
    if path.exists() && !args.force {
        return Err(user(format!("{shown} exists; --force writes over it")));
    }
    fs::create_dir_all(settings.folder.join("datasources"))
        .and_then(|()| fs::write(&path, text))
        .context(shown.clone())?;
    printer.note(format!("wrote {shown}; `birdhouse push` makes it"));
    Ok(())
}

fn datasource(args: &ConnectArgs, topic: &str, columns: &Value) -> String {
    let columns = columns.as_array().map(Vec::as_slice).unwrap_or_default();
    let column = |it: &Value| {
        let text = |name: &str| it[name].as_str().unwrap_or_default();
        format!("    `{}` {} `json:{}`", text("name"), text("recommended_type"), text("path"))
    };
    let mut lines: Vec<_> = columns.iter().map(column).collect();
    if lines.is_empty() {
        // Nothing was sent yet, or no JSON: the message itself.
        lines.push("    `__value` String".to_owned());
    }
    format!(
        "SCHEMA >\n{}\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"tuple()\"\n\nKAFKA_CONNECTION_NAME {}\nKAFKA_TOPIC \
         {topic}\nKAFKA_GROUP_ID {}\nKAFKA_AUTO_OFFSET_RESET {}\nKAFKA_STORE_RAW_VALUE {}\n",
        lines.join(",\n"),
        args.connection,
        args.group.as_deref().unwrap_or(&args.name),
        args.auto_offset_reset,
        if columns.is_empty() { "True" } else { "False" },
    )
}
