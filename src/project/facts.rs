//! What a file says, and the first thing that is wrong with it, as data for tools.
//!
//! In: a file's text. Out: JSON with the verdict, the parsed facts, and the code and line that Tinybird's own
//! tools would give, next to our own diagnostics.

use super::{check_templates, datasource, forward, pipe::render_options};
use crate::{
    datafile::{
        ColumnLine, Context, Datafile, Dialect, EngineLines, Includes, Kind, NodeLines, Settings, is_test_file, parse,
        parse_tests,
    },
    diagnostic::{Diagnostic, Severity, Source, Span},
    name::ResourceName,
    sql::scan::{self, Refused},
    template::{Params, Template, template_of},
};
use serde_json::{Map, Value, json};

/// A code of ours, and what the same fault is called in Classic's and in Forward's vectors. Where nothing stands,
/// the name is the same.
const THEIRS: &[(&str, &str, &str)] = &[
    ("unclosed_quote", "unknown_command", "unknown_command"),
    ("swallowed_command", "sql_syntax", "type_syntax"),
    ("type_syntax", "sql_syntax", "type_syntax"),
    ("column_name_bad_char", "schema_bad_char", "column_name_bad_char"),
    ("schema_unclosed_delimiter", "sql_syntax", "schema_unclosed_delimiter"),
    ("array_in_schema", "schema_bad_char", "column_name_bad_char"),
    // A name without a type: to the original the comma is part of the name, or follows nothing.
    ("column_needs_type_or_default,", "schema_bad_char", "column_name_bad_char"),
    ("column_needs_type_or_default ,", "column_needs_type_or_default", "schema_value_missing"),
];

/// A file, judged: `ok`, `error` as the original's tools name it, `parsed` facts, `warnings`, and `diagnostics`
/// of our own. Nothing for files that are neither datafiles nor tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub value: Value,
    pub diagnostics: Vec<Diagnostic>,
    pub ok: bool,
}

/// Judges one file by itself.
pub fn verdict(source: &Source, context: &Context, includes: Includes<'_>) -> Option<Verdict> {
    let (facts, mut diagnostics, kind) = if is_test_file(&source.path) {
        let (tests, diagnostics) = parse_tests(source, context.dialect);
        (tests.map(|it| it.facts()), diagnostics, "test")
    } else {
        let (file, mut diagnostics) = parse(source, context, includes)?;
        if file.kind == Kind::Pipe {
            diagnostics.extend(check_templates(&file, context));
        }
        let facts = facts(&file, context);
        (Some(facts), diagnostics, kind_name(file.kind))
    };
    diagnostics.sort_by_key(|it| it.place.as_ref().map(|it| it.span.start));
    let first = diagnostics.iter().find(|it| it.severity == Severity::Error);
    let ok = first.is_none();
    let mut value = json!({"kind": kind, "ok": ok});
    if let Some(error) = first {
        value["error"] = self::error(error, source, context.dialect);
    }
    if let Some(facts) = facts.filter(|_| ok) {
        value["parsed"] = facts;
    }
    let warnings: Vec<Value> = diagnostics.iter().filter_map(|it| warning(it, source)).collect();
    if !warnings.is_empty() {
        value["warnings"] = warnings.into();
    }
    Some(Verdict { value, diagnostics, ok })
}

/// The code that the vectors have for a diagnostic.
fn their_code(error: &Diagnostic, source: &Source, dialect: Dialect) -> &'static str {
    let after = error.place.as_ref().and_then(|it| source.text.get(it.span.end..)).unwrap_or_default();
    let unquoted = after.trim_start_matches('`');
    let comma = match (error.code, unquoted.trim_start_matches([' ', '\t']).starts_with(',')) {
        ("column_needs_type_or_default", true) if unquoted.starts_with(',') => ",",
        ("column_needs_type_or_default", true) => " ,",
        _ => "",
    };
    let is = |ours: &str| ours.strip_prefix(error.code) == Some(comma);
    match THEIRS.iter().find(|(ours, ..)| is(ours)) {
        Some((_, classic, _)) if dialect == Dialect::Classic => classic,
        Some((_, _, forward)) => forward,
        None => error.code,
    }
}

fn error(error: &Diagnostic, source: &Source, dialect: Dialect) -> Value {
    let mut value = json!({"code": their_code(error, source, dialect)});
    if error.code != value["code"] {
        value["ours"] = error.code.into();
    }
    if let Some(place) = error.place.as_ref().filter(|it| it.path == source.path) {
        let at = source.line_column(place.span.start);
        let line = if dialect == Dialect::Forward { forward::line(error, source) } else { None };
        value["line"] = line.unwrap_or(at.line).into();
        value["column"] = at.column.into();
        value["exact_line"] = at.line.into();
    }
    value
}

/// A warning in the shape of the vectors: those about commands name the command.
fn warning(warning: &Diagnostic, source: &Source) -> Option<Value> {
    let place = warning.place.as_ref().filter(|it| it.path == source.path)?;
    (warning.severity == Severity::Warning && warning.code == "deprecated_command_ignored").then(|| {
        let word = source.text.get(place.span.start..place.span.end).unwrap_or_default();
        json!({"command": word.to_uppercase(), "code": warning.code})
    })
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Include => "include",
        kind => kind.extension(),
    }
}

/// What a datafile says. Keys without a value are left out.
pub fn facts(file: &Datafile, context: &Context) -> Value {
    let dialect = context.dialect;
    let mut facts = Map::new();
    let text = |it: &Option<crate::datafile::Text>| it.as_ref().map(|it| it.as_str().to_owned());
    put(&mut facts, "description", text(&file.description));
    put(&mut facts, "maintainer", text(&file.maintainer));
    put(&mut facts, "version", file.version.filter(|_| dialect != Dialect::Forward));
    let tokens = file.tokens.iter().map(|it| {
        let scope = it.scope.as_str();
        let scope = if dialect == Dialect::Classic { scope.to_owned() } else { scope.to_uppercase() };
        json!({"name": it.name.as_str(), "scope": scope})
    });
    put_list(&mut facts, "tokens", tokens.collect());
    put_list(&mut facts, "tags", file.tags.iter().map(|it| json!(it)).collect());
    put_list(&mut facts, "shared_with", file.shared_with.iter().map(|it| json!(it.as_str())).collect());
    put_list(&mut facts, "sources", file.sources.iter().map(|it| json!(it.as_str())).collect());
    if file.kind == Kind::Datasource {
        put(&mut facts, "operational_tags", tags(&file.operational_tags));
    }
    match file.kind {
        Kind::Datasource => {
            if let Some(columns) = &file.schema {
                put_list(&mut facts, "columns", columns.iter().map(column).collect());
                facts.insert(
                    "schema_sql".into(),
                    columns.iter().map(ColumnLine::written).collect::<Vec<_>>().join(",").into(),
                );
            }
            let index = |it: &crate::datafile::IndexLine| {
                json!({
                    "name": it.name.as_str(),
                    "expr": it.expression.as_str(),
                    "type": it.kind.as_str(),
                    "granularity": it.granularity.as_ref().map(|it| it.as_str()),
                })
            };
            put_list(&mut facts, "indexes", file.indexes.iter().map(index).collect());
            put(&mut facts, "engine", engine(&file.engine, dialect));
            put(&mut facts, "forward_query", file.forward_query.as_ref().map(|it| it.text().to_owned()));
            put(&mut facts, "settings", settings(&file.settings, dialect));
            facts.insert("create_stage".into(), create_stage(file, dialect));
        }
        Kind::Pipe => {
            facts.insert("nodes".into(), file.nodes.iter().map(|it| node(it, context)).collect());
        }
        Kind::Connection => put(&mut facts, "settings", settings(&file.settings, dialect)),
        Kind::Token => {
            let scope = |it: &crate::datafile::ScopeLine| {
                let mut scope = Map::new();
                scope.insert("name".into(), it.scope.as_str().into());
                put(&mut scope, "resource", text(&it.resource));
                put(&mut scope, "filter", text(&it.filter));
                Value::Object(scope)
            };
            put_list(&mut facts, "scopes", file.scopes.iter().map(scope).collect());
        }
        Kind::Include => (),
    }
    Value::Object(facts)
}

fn put(facts: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        facts.insert(key.into(), value.into());
    }
}

fn put_list(facts: &mut Map<String, Value>, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        facts.insert(key.into(), list.into());
    }
}

fn tags(tags: &[String]) -> Option<String> {
    (!tags.is_empty()).then(|| tags.join("&"))
}

fn settings(settings: &Settings, dialect: Dialect) -> Option<Value> {
    const IGNORED: &[&str] =
        &["import_service", "import_external_datasource", "export_service", "kafka_target_partitions"];
    let value = |key: &str, text: &str| match key {
        "gcs_service_account_credentials_json" => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        "on_demand_compute" => match text.to_lowercase().as_str() {
            "y" | "yes" | "t" | "true" | "on" | "1" => true.into(),
            "n" | "no" | "f" | "false" | "off" | "0" => false.into(),
            _ => text.into(),
        },
        _ => Value::from(text),
    };
    let kept = |(key, _): &(&str, &crate::datafile::Text)| dialect != Dialect::Forward || !IGNORED.contains(key);
    let settings: Map<String, Value> =
        settings.iter().filter(kept).map(|(key, text)| (key.to_owned(), value(key, text.as_str()))).collect();
    (!settings.is_empty()).then_some(settings.into())
}

fn column(line: &ColumnLine) -> Value {
    let (plain, nullable) = line.plain_type();
    let mut column = Map::new();
    column.insert("name".into(), line.name.as_str().into());
    column.insert("type".into(), plain.into());
    column.insert("nullable".into(), nullable.into());
    put(&mut column, "jsonpath", line.jsonpath.as_ref().map(|it| it.as_str()));
    if let Some((kind, value)) = line.default_value() {
        column.insert("default_kind".into(), kind.into());
        column.insert("default_expr".into(), value.into());
    }
    put(&mut column, "codec", line.codec_clause());
    column.into()
}

fn engine(lines: &EngineLines, dialect: Dialect) -> Option<Value> {
    if lines.is_empty() {
        return None;
    }
    // An empty TTL takes the table's away in Classic, and is none in Forward.
    let kept = |(key, value): &&(String, crate::datafile::Text)| {
        dialect == Dialect::Classic || key != "ttl" || !value.is_empty()
    };
    let options: Vec<Value> =
        lines.options.iter().filter(kept).map(|(key, value)| json!([key, value.as_str()])).collect();
    Some(json!({"type": lines.family.as_ref().map(|it| it.as_str()), "options": options}))
}

/// What making the table would come to: the clause of its engine, or what is wrong with it.
fn create_stage(file: &Datafile, dialect: Dialect) -> Value {
    let mut diagnostics = Vec::new();
    let name = ResourceName::new("x").ok();
    if let Some(name) = name {
        datasource::datasource(name, &mut datasource::Reporter { file, diagnostics: &mut diagnostics });
    }
    let codes = ["engine_unsupported", "engine_option_missing", "engine_sorting_key_invalid", "engine_column_unknown"];
    let positional: &[&str] = &["ver", "is_deleted", "sign", "version", "columns"];
    let is_positional = |it: &Diagnostic| {
        let place = it.place.as_ref().map(|it| it.span);
        let lines = file.engine.options.iter().filter(|(key, _)| positional.contains(&key.as_str()));
        lines.map(|(_, it)| it.span).any(|it| place.is_some_and(|place| it.start <= place.start && place.end <= it.end))
    };
    let fault = diagnostics.iter().find(|it| match it.code {
        // The original looks for the columns that are parameters of the engine, not for those of its keys.
        "engine_column_unknown" => is_positional(it),
        // It puts a lone IS_DELETED where the version should be, without a word.
        "engine_option_missing" => !is_positional(it),
        code => codes.contains(&code),
    });
    let mut stage = Map::new();
    match fault {
        Some(fault) => {
            stage.insert("engine_error".into(), fault.code.into());
        }
        None => {
            stage.insert("engine_clause".into(), engine_clause(&file.engine, dialect).into());
        }
    }
    if !file.indexes.is_empty() && fault.is_none() {
        let check = |it: &crate::datafile::IndexLine| {
            let wrong = diagnostics.iter().find(|diagnostic| {
                diagnostic.code == "index_type_not_allowed"
                    && diagnostic.place.as_ref().is_some_and(|place| *place == file.place(it.kind.span))
            });
            json!([it.name.as_str(), wrong.map_or("ok", |it| it.code)])
        };
        stage.insert("index_checks".into(), file.indexes.iter().map(check).collect());
    }
    stage.into()
}

fn engine_clause(lines: &EngineLines, dialect: Dialect) -> String {
    let family = lines.family.as_ref().map_or("MergeTree", |it| datasource::family_name(it.as_str()));
    let get = |name: &str| lines.option(name).map(|it| it.as_str().to_owned());
    let parameters: Vec<String> = match family {
        "ReplacingMergeTree" => vec![get("ver"), get("is_deleted")],
        "CollapsingMergeTree" => vec![get("sign")],
        "VersionedCollapsingMergeTree" => vec![get("sign"), get("version")],
        "SummingMergeTree" => vec![get("columns")],
        _ => vec![],
    }
    .into_iter()
    .flatten()
    .collect();
    let mut clause = format!("{family}({})", parameters.join(", "));
    if family == "Null" {
        return clause;
    }
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            clause.push_str(&format!(" {word} ({value})"));
        }
    };
    add("PARTITION BY", get("partition_key"));
    add("ORDER BY", Some(get("sorting_key").unwrap_or_else(|| "tuple()".to_owned())));
    add("PRIMARY KEY", get("primary_key"));
    add("SAMPLE BY", get("sampling_key"));
    match get("ttl") {
        Some(ttl) if dialect != Dialect::Classic => clause.push_str(&format!(" TTL {ttl}")),
        ttl => add("TTL", ttl),
    }
    if let Some(settings) = get("settings") {
        clause.push_str(&format!(" SETTINGS {settings}"));
    }
    clause
}

fn node(lines: &NodeLines, context: &Context) -> Value {
    let mut node = Map::new();
    node.insert("name".into(), lines.name.as_str().into());
    put(&mut node, "description", lines.description.as_ref().map(|it| it.as_str()));
    let node_type = lines.node_type.as_ref().map(|it| it.as_str());
    let forward = context.dialect != Dialect::Classic;
    put(&mut node, "type", node_type.map(|it| if forward { it.to_lowercase() } else { it.to_owned() }));
    put(&mut node, "engine", engine(&lines.engine, context.dialect));
    put(&mut node, "settings", settings(&lines.settings, context.dialect));
    put(&mut node, "operational_tags", tags(&lines.operational_tags));
    let Some(sql) = &lines.sql else { return node.into() };
    node.insert("sql".into(), sql.text().into());
    let (text, secrets) = match template_of(sql.text()) {
        None => (Some(sql.text().to_owned()), Vec::new()),
        Some((text, _)) => {
            node.insert("template".into(), true.into());
            let rendered = Template::parse(text).and_then(|it| it.render(&Params::default(), &render_options(context)));
            let rendered = rendered.ok().map(|it| (it.sql.trim().to_owned(), it.secrets));
            rendered.map_or((None, Vec::new()), |(text, secrets)| (Some(text), secrets))
        }
    };
    let Some(text) = text else { return node.into() };
    if node.contains_key("template") {
        node.insert("rendered_without_params".into(), text.as_str().into());
    }
    match tables(&text, &secrets) {
        Some(tables) => {
            node.insert("sql_syntax".into(), "ok".into());
            put(&mut node, "tables", tables);
        }
        None => {
            node.insert("sql_syntax".into(), "error".into());
        }
    }
    node.into()
}

/// The tables and table functions that a query reads; nothing when it is none, and no list when it is one that may
/// not be run.
fn tables(text: &str, secrets: &[String]) -> Option<Option<Vec<String>>> {
    let scan = match scan::scan_shared(text, secrets) {
        Ok(scan) => scan,
        // Good SQL that may not be run here.
        Err(error) if matches!(error.category, Refused::Settings | Refused::Function | Refused::Format) => {
            return Some(None);
        }
        Err(_) => return None,
    };
    if scan::stray_word(text).is_some() {
        return None;
    }
    let mut found: Vec<(Span, String)> = scan.tables.iter().map(|it| (it.span, it.name.clone())).collect();
    found.extend(scan::table_functions(text).into_iter().map(|(span, name)| (span, format!("{name}()"))));
    found.sort();
    let mut names: Vec<String> = Vec::new();
    for (_, name) in found {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Some(Some(names))
}
