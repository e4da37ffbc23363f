//! What must hold between the commands of one file.

use super::{
    Kind,
    ast::{NodeLines, Settings, Text},
    connectors,
    cron::Cron,
    parser::{AUTO_WARNS, EVERYWHERE, FORWARD, FORWARD_ONLY, FORWARD_WARNS, Parser, Verdict},
};
use crate::{
    diagnostic::{Diagnostic, Span, nearest},
    sql::ColumnType,
};
use std::collections::HashSet;

const NODE_TYPES: &[&str] = &["endpoint", "materialized", "copy", "sink", "standard", "stream"];

pub(super) fn check(parser: &mut Parser<'_>) {
    match parser.kind {
        Kind::Datasource => datasource(parser),
        Kind::Pipe => pipe(parser),
        Kind::Connection => connectors::connection(parser),
        Kind::Token | Kind::Include => (),
    }
}

fn datasource(parser: &mut Parser<'_>) {
    if parser.file.schema.is_none() {
        let diagnostic = Diagnostic::error("schema_missing", "this data source has no SCHEMA")
            .hint("write SCHEMA > and a line for each column: `name` Type");
        parser.report(FORWARD, Span::default(), diagnostic);
    }
    sorting_key(parser);
    let settings = std::mem::take(&mut parser.file.settings);
    kafka(parser, &settings);
    connectors::imports(parser, &settings);
    let pg = ["pg_connection_name", "pg_table"];
    together(parser, EVERYWHERE, &settings, "postgres_missing_params", &pg, &pg);
    parser.file.settings = settings;
}

/// Reports which of the `wanted` settings are missing, where one of `given` is there.
pub(super) fn together(
    parser: &mut Parser<'_>,
    verdict: Verdict,
    settings: &Settings,
    code: &'static str,
    given: &[&str],
    wanted: &[&str],
) -> bool {
    let Some(first) = given.iter().find_map(|it| settings.get(it)) else { return false };
    let missing: Vec<String> = wanted.iter().filter(|it| !settings.has(it)).map(|it| it.to_uppercase()).collect();
    if !missing.is_empty() {
        let message = format!("{} missing", list(&missing));
        let wanted: Vec<String> = wanted.iter().map(|it| it.to_uppercase()).collect();
        let hint = format!("they belong together: {}", wanted.join(", "));
        parser.report(verdict, first.span, Diagnostic::error(code, message).hint(hint));
    }
    !missing.is_empty()
}

fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("{one} is"),
        [rest @ .., last] => format!("{} and {last} are", rest.join(", ")),
    }
}

fn kafka(parser: &mut Parser<'_>, settings: &Settings) {
    let keys = ["kafka_connection_name", "kafka_topic", "kafka_group_id"];
    together(parser, FORWARD, settings, "kafka_missing_params", &keys, &keys);
    if let Some(group) = settings.get("kafka_group_id").filter(|it| it.as_str().trim().is_empty()) {
        let message = "KAFKA_GROUP_ID is empty";
        parser.report(FORWARD, group.span, Diagnostic::error("kafka_group_id_empty", message));
    }
}

/// A sorting key that the engine would refuse, or that would make the engine do nothing.
fn sorting_key(parser: &mut Parser<'_>) {
    const AGGREGATES: &[&str] = &["sum", "count", "avg", "min", "max", "any", "groupArray", "groupUniqArray", "uniq"];
    let Some(key) = parser.file.engine.option("sorting_key").cloned() else { return };
    let Some(columns) = parser.file.schema.take() else { return };
    let words: HashSet<&str> = words(key.as_str()).collect();
    for column in &columns {
        if !words.contains(&column.name.as_str()) {
            continue;
        }
        let name = &column.name;
        let refused = match &column.column_type {
            Some(ColumnType::AggregateFunction { .. } | ColumnType::SimpleAggregateFunction { .. }) => Some((
                "sorting_key_aggregate_column",
                format!("`{name}` holds an aggregate and cannot be in the sorting key"),
            )),
            Some(_) if column.type_text.as_str().contains("Nullable(") => {
                Some(("sorting_key_nullable", format!("`{name}` can be NULL and cannot be in the sorting key")))
            }
            _ => None,
        };
        if let Some((code, message)) = refused {
            let place = parser.file.place(column.type_text.span);
            let diagnostic = Diagnostic::error(code, message).related(place, "its type");
            parser.report(FORWARD, key.span, diagnostic);
        }
    }
    parser.file.schema = Some(columns);
    let text = key.as_str();
    for function in AGGREGATES.iter().filter(|_| text.contains('(')) {
        let merge = format!("{function}Merge");
        let called = |name: &str| {
            text.match_indices(name).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                    && text[at + name.len()..].trim_start().starts_with('(')
            })
        };
        if called(function) || called(&merge) {
            let message = format!("the sorting key calls the aggregate function {function}");
            parser.report(FORWARD, key.span, Diagnostic::error("sorting_key_aggregate_expression", message));
        }
    }
    let replacing = parser.file.engine.family.as_ref();
    let replacing = replacing.is_some_and(|it| it.as_str().eq_ignore_ascii_case("ReplacingMergeTree"));
    if let Some(version) = parser.file.engine.option("ver").filter(|_| replacing).cloned() {
        // Forward looks for the name anywhere in the text; what it means is the column.
        let is_column = words.contains(&version.as_str());
        let verdict = if is_column { FORWARD_WARNS } else { FORWARD_ONLY };
        if text.contains(version.as_str()) {
            let message =
                format!("the sorting key contains the version column `{version}`: no row would replace another");
            let diagnostic = Diagnostic::error("sorting_key_contains_version_column", message);
            parser.report(verdict, key.span, diagnostic);
        }
    }
}

/// The names in an expression.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).filter(|it| !it.is_empty())
}

fn pipe(parser: &mut Parser<'_>) {
    if parser.file.nodes.is_empty() {
        let diagnostic = Diagnostic::error("pipe_without_nodes", "this pipe has no node")
            .hint("write NODE name, and SQL > with a query below it");
        parser.report(FORWARD, Span::default(), diagnostic);
    }
    let nodes = std::mem::take(&mut parser.file.nodes);
    nodes_of(parser, &nodes);
    parser.file.nodes = nodes;
}

fn nodes_of(parser: &mut Parser<'_>, nodes: &[NodeLines]) {
    let mut special: Option<&NodeLines> = None;
    let faults = sql_faults(parser);
    let mut starts: Vec<usize> = nodes.iter().map(|it| it.span.start).collect();
    starts.sort_unstable();
    for node in nodes {
        let start = node.span.start;
        let next = starts.get(starts.partition_point(|it| *it <= start)).copied().unwrap_or(usize::MAX);
        let has_fault = faults.get(faults.partition_point(|it| *it < start)).is_some_and(|it| *it < next);
        if node.sql.is_none() && !has_fault {
            let diagnostic = Diagnostic::error("empty_query", format!("the node `{}` has no SQL", node.name))
                .hint("write SQL > and the query on the lines below");
            parser.report(EVERYWHERE, node.span, diagnostic);
        }
        let kind = node.node_type.as_ref().map(|it| it.as_str().to_lowercase()).unwrap_or_default();
        if let Some(node_type) = &node.node_type
            && !kind.is_empty()
            && !NODE_TYPES.contains(&kind.as_str())
        {
            let diagnostic = Diagnostic::error("node_type_unknown", format!("`{node_type}` is no type of a node"));
            let hint = match nearest(&kind, NODE_TYPES.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("a type is one of {}", NODE_TYPES[..5].join(", ")),
            };
            parser.report(FORWARD, node_type.span, diagnostic.hint(hint));
            continue;
        }
        if !matches!(kind.as_str(), "" | "standard") {
            match (special, &node.node_type) {
                (Some(first), Some(node_type)) => {
                    let message = "a pipe has one output, and another node is it already";
                    let place = parser.file.place(first.node_type.as_ref().map_or(first.span, |it| it.span));
                    let diagnostic =
                        Diagnostic::error("more_than_one_special_node", message).related(place, "the first one");
                    parser.report(FORWARD, node_type.span, diagnostic);
                }
                _ => special = Some(node),
            }
        }
        attributes(parser, node, &kind);
        engine_without_target(parser, node);
        match kind.as_str() {
            "materialized" => {
                required(parser, FORWARD, node, "materialized_missing_params", &["datasource"]);
            }
            "copy" => copy(parser, node),
            "sink" => connectors::sink(parser, node),
            _ => (),
        }
    }
}

/// Where SQL was there, but wrong, and reported; in order.
fn sql_faults(parser: &Parser<'_>) -> Vec<usize> {
    let is_fault =
        |it: &&Diagnostic| matches!(it.code, "missing_sql_text" | "unknown_command" | "unknown_block_command");
    let mut faults: Vec<usize> =
        parser.diagnostics.iter().filter(is_fault).filter_map(|it| Some(it.place.as_ref()?.span.start)).collect();
    faults.sort_unstable();
    faults
}

pub(super) fn required(
    parser: &mut Parser<'_>,
    verdict: Verdict,
    node: &NodeLines,
    code: &'static str,
    wanted: &[&str],
) -> bool {
    let missing: Vec<String> = wanted.iter().filter(|it| !node.settings.has(it)).map(|it| it.to_uppercase()).collect();
    if !missing.is_empty() {
        let span = node.node_type.as_ref().map_or(node.span, |it| it.span);
        parser.report(verdict, span, Diagnostic::error(code, format!("{} missing", list(&missing))));
    }
    missing.is_empty()
}

/// Commands that mean nothing to a node of this type.
fn attributes(parser: &mut Parser<'_>, node: &NodeLines, kind: &str) {
    let own = |name: &str| match kind {
        "materialized" => matches!(name, "datasource" | "deployment_method"),
        "copy" => matches!(name, "target_datasource" | "copy_schedule" | "mode" | "on_demand_compute"),
        "sink" => name.starts_with("export_"),
        "stream" => name.starts_with("kafka_"),
        _ => false,
    };
    let foreign = node.settings.iter().filter(|(name, _)| !own(name));
    let foreign: Vec<(String, Text)> = foreign.map(|(name, value)| (name.to_owned(), value.clone())).collect();
    for (name, value) in foreign {
        let name = if name == "mode" { "COPY_MODE".to_owned() } else { name.to_uppercase() };
        let what = if kind.is_empty() { "a node without TYPE".to_owned() } else { format!("a node of type {kind}") };
        let message = format!("{name} means nothing in {what}");
        let diagnostic = Diagnostic::error("attribute_not_allowed_for_node_type", message);
        let hint = match name.as_str() {
            "DATASOURCE" => Some("add TYPE materialized"),
            "TARGET_DATASOURCE" | "COPY_MODE" | "COPY_SCHEDULE" => Some("add TYPE copy"),
            _ => None,
        };
        let diagnostic = match hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        };
        parser.report(FORWARD_WARNS, value.span, diagnostic);
    }
    if !node.operational_tags.is_empty() {
        let message = "tags with `=` cannot stand in a node in Forward";
        let diagnostic = Diagnostic::error("attribute_not_allowed_for_node_type", message);
        parser.report(FORWARD_ONLY, node.span, diagnostic);
    }
}

/// ENGINE lines of a node describe the data source that it fills.
fn engine_without_target(parser: &mut Parser<'_>, node: &NodeLines) {
    if node.settings.has("datasource") || node.settings.has("target_datasource") {
        return;
    }
    let options = node.engine.options.iter().map(|(_, value)| value.span);
    let Some(first) = node.engine.family.as_ref().map(|it| it.span).into_iter().chain(options).min() else { return };
    let diagnostic =
        Diagnostic::error("engine_without_target", "this node fills no data source that could have an ENGINE")
            .hint("write DATASOURCE and its name, or remove the ENGINE lines: Classic's push refuses them");
    parser.report(AUTO_WARNS, first, diagnostic);
}

fn copy(parser: &mut Parser<'_>, node: &NodeLines) {
    required(parser, FORWARD, node, "copy_missing_params", &["target_datasource"]);
    if let Some(mode) = node.settings.get("mode") {
        let known = ["append", "replace"];
        let exact = known.contains(&mode.as_str());
        let loose = known.contains(&mode.as_str().to_lowercase().as_str());
        let verdict = if loose { FORWARD_ONLY } else { FORWARD };
        if !exact {
            let diagnostic = Diagnostic::error("copy_mode_invalid", format!("`{mode}` is no mode of a copy"))
                .hint("append or replace");
            parser.report(verdict, mode.span, diagnostic);
        }
    }
    schedule(parser, node, "copy_schedule", "copy_schedule_invalid", FORWARD);
    if let Some(value) = node.settings.get("on_demand_compute") {
        let known = ["y", "yes", "t", "true", "on", "1", "n", "no", "f", "false", "off", "0"];
        if !known.contains(&value.as_str().to_lowercase().as_str()) {
            let message = format!("ON_DEMAND_COMPUTE is true or false, not `{value}`");
            parser.report(FORWARD, value.span, Diagnostic::error("copy_parameter_invalid", message));
        }
    }
}

pub(super) fn schedule(parser: &mut Parser<'_>, node: &NodeLines, name: &str, code: &'static str, verdict: Verdict) {
    if let Some(schedule) = node.settings.get(name)
        && schedule.as_str() != "@on-demand"
        && Cron::parse(schedule.as_str()).is_none()
    {
        let diagnostic = Diagnostic::error(code, format!("`{schedule}` is no schedule"))
            .hint("@on-demand, or five fields: minute hour day month weekday, as in 0 * * * *");
        parser.report(verdict, schedule.span, diagnostic);
    }
}
