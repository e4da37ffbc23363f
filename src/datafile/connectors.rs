//! What must hold between the commands that bring rows from elsewhere and take them there.
//!
//! Some of it only a push of Classic refuses, when its files have long been read: in a check of no dialect that is a
//! warning.

use super::{
    Dialect,
    ast::{NodeLines, Settings},
    parser::{AUTO_WARNS, FORWARD_WARNS, Parser},
    rules::{required, schedule, together},
};
use crate::diagnostic::{Diagnostic, nearest};

/// What imports can come from, in Classic's words.
const IMPORTS: &[&str] = &["s3", "s3_iamrole", "gcs", "gcs_hmac", "dynamodb"];
/// What a sink can write to.
const EXPORTS: &[&str] = &["s3", "s3_iamrole", "gcs", "gcs_hmac", "kafka"];
/// What a `.connection` file can be about.
const CONNECTIONS: &[&str] = &["kafka", "s3", "gcs", "dynamodb", "postgres"];
/// The forms of files that are imported.
const FORMATS: &[&str] = &["csv", "json", "jsonl", "ndjson", "parquet"];

pub(super) fn imports(parser: &mut Parser<'_>, settings: &Settings) {
    let dynamo = ["import_table_arn", "import_export_bucket"];
    if dynamo.iter().any(|it| settings.has(it)) {
        let wanted = ["import_connection_name", "import_table_arn", "import_export_bucket"];
        together(parser, FORWARD_WARNS, settings, "dynamodb_missing_params", &dynamo, &wanted);
        return dynamo_engine(parser, settings);
    }
    // Connectors that Classic once had, with keys of their own.
    let is_gone = |service: &str| ["bigquery", "snowflake"].iter().any(|it| service.eq_ignore_ascii_case(it));
    let gone = settings.get("import_service").filter(|it| is_gone(it.as_str()));
    if let Some(service) = gone.filter(|_| parser.context.dialect != Dialect::Forward) {
        let diagnostic = Diagnostic::error("import_service_gone", format!("nothing imports from `{service}` any more"))
            .hint("load its rows from files, or through /v0/events");
        parser.report(AUTO_WARNS, service.span, diagnostic);
        return;
    }
    known_service(parser, settings, "import_service", IMPORTS);
    bucket(parser, settings);
    let blob = ["import_connection_name", "import_bucket_uri", "import_schedule"];
    let missing = together(parser, FORWARD_WARNS, settings, "blob_missing_params", &blob, &blob);
    if let Some(schedule) = settings.get("import_schedule").filter(|_| !missing)
        && !["@auto", "@on-demand", "@once"].contains(&schedule.as_str())
    {
        let message = format!("`{schedule}` is no schedule of an import");
        let diagnostic = Diagnostic::error("import_schedule_invalid", message).hint("@auto, @on-demand or @once");
        parser.report(FORWARD_WARNS, schedule.span, diagnostic);
    }
}

/// What a connection leads to: nobody refuses a file that says something else, and nobody can use it.
pub(super) fn connection(parser: &mut Parser<'_>) {
    let settings = std::mem::take(&mut parser.file.settings);
    known_service(parser, &settings, "type", CONNECTIONS);
    parser.file.settings = settings;
}

fn known_service(parser: &mut Parser<'_>, settings: &Settings, name: &str, known: &[&str]) {
    let Some(service) = settings.get(name).filter(|it| !known.contains(&it.as_str().to_lowercase().as_str())) else {
        return;
    };
    let message = format!("{} knows no `{service}`", name.to_uppercase());
    let hint = match nearest(service.as_str(), known.iter().copied()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("it is one of {}", known.join(", ")),
    };
    parser.report(AUTO_WARNS, service.span, Diagnostic::error("service_unknown", message).hint(hint));
}

/// The files of a bucket have a form, and those from a time on are wanted.
fn bucket(parser: &mut Parser<'_>, settings: &Settings) {
    let form = settings.get("import_format");
    let told = |it: &str| FORMATS.contains(&it.to_lowercase().as_str());
    if let Some(form) = form.filter(|it| !told(it.as_str())) {
        let message = format!("files in the form `{form}` cannot be imported");
        let diagnostic = Diagnostic::error("import_format_unknown", message);
        parser.report(AUTO_WARNS, form.span, diagnostic.hint(format!("a form is one of {}", FORMATS.join(", "))));
    }
    if let Some(uri) = settings.get("import_bucket_uri").filter(|_| form.is_none()) {
        let file = uri.as_str().rsplit('/').next().unwrap_or_default();
        let extension = file.strip_suffix(".gz").unwrap_or(file).rsplit_once('.').map_or("", |(_, it)| it);
        if !told(extension) {
            let message = format!("`{uri}` does not tell in which form its files are");
            let diagnostic = Diagnostic::error("import_format_unknown", message);
            let hint = format!("write IMPORT_FORMAT with one of {}", FORMATS.join(", "));
            parser.report(AUTO_WARNS, uri.span, diagnostic.hint(hint));
        }
    }
    if let Some(from) = settings.get("import_from_timestamp") {
        let text = from.as_str().trim();
        let is_time = text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::DateTime>().is_ok();
        if !is_time {
            let diagnostic = Diagnostic::error("import_timestamp_invalid", format!("`{from}` is no time"));
            parser.report(AUTO_WARNS, from.span, diagnostic.hint("for example 2026-01-31T12:00:00Z"));
        }
    }
}

/// Items that change come as new rows, which take the place of older ones.
fn dynamo_engine(parser: &mut Parser<'_>, settings: &Settings) {
    let family = parser.file.engine.family.clone();
    if family.as_ref().is_some_and(|it| it.as_str().eq_ignore_ascii_case("ReplacingMergeTree")) {
        return;
    }
    let table = settings.get("import_table_arn").map(|it| it.span);
    let place = family.map(|it| it.span).or(table).unwrap_or_default();
    let diagnostic = Diagnostic::error("dynamodb_engine", "rows of DynamoDB want the engine ReplacingMergeTree")
        .hint("an item that changes is a new row: only that engine lets it replace the older one");
    parser.report(AUTO_WARNS, place, diagnostic);
}

pub(super) fn sink(parser: &mut Parser<'_>, node: &NodeLines) {
    const BLOB: &[&str] = &[
        "export_bucket_uri",
        "export_file_template",
        "export_format",
        "export_compression",
        "export_strategy",
        "export_write_strategy",
    ];
    known_service(parser, &node.settings, "export_service", EXPORTS);
    let kafka = node.settings.get("export_kafka_topic");
    if let Some(topic) = kafka
        && BLOB.iter().any(|it| node.settings.has(it))
    {
        let message = "a sink writes to Kafka or to files, not to both";
        parser.report(FORWARD_WARNS, topic.span, Diagnostic::error("sink_mixed_params", message));
        return;
    }
    let blob = ["export_connection_name", "export_schedule", "export_bucket_uri", "export_file_template"];
    let wanted = if kafka.is_some() { &blob[..2] } else { &blob[..] };
    if required(parser, FORWARD_WARNS, node, "sink_missing_params", wanted) {
        schedule(parser, node, "export_schedule", "sink_schedule_invalid", FORWARD_WARNS);
    }
}
