//! A `.datasource` file becomes a [`Datasource`].

use super::{
    Column, ColumnDefault, Connection, Datasource, EngineFamily, Index, JsonPath, KafkaMeta, KafkaSource, OffsetReset,
    Permission, TableEngine, TokenLine, ValueFormat,
};
use crate::{
    datafile::{Datafile, EngineLines, Text},
    diagnostic::{Diagnostic, Mapped, Span, nearest},
    name::{ColumnName, ResourceName},
    native,
    sql::{
        ColumnType, UserSql,
        scan::{self, ScanError},
    },
};
use std::collections::{BTreeMap, HashSet};

/// Collects what is wrong with one file.
pub(super) struct Reporter<'a> {
    pub(super) file: &'a Datafile,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
}

const ENGINES: &[(&str, EngineFamily)] = &[
    ("MergeTree", EngineFamily::MergeTree),
    ("ReplacingMergeTree", EngineFamily::ReplacingMergeTree),
    ("SummingMergeTree", EngineFamily::SummingMergeTree),
    ("AggregatingMergeTree", EngineFamily::AggregatingMergeTree),
    ("CollapsingMergeTree", EngineFamily::CollapsingMergeTree),
    ("VersionedCollapsingMergeTree", EngineFamily::VersionedCollapsingMergeTree),
    ("Null", EngineFamily::Null),
];

/// The kinds of index that a data source can have.
const INDEX_KINDS: &[&str] = &["minmax", "set", "bloom_filter", "ngrambf_v1", "tokenbf_v1"];

impl Reporter<'_> {
    pub(super) fn error(&mut self, span: Span, code: &'static str, message: impl Into<String>) {
        self.report(span, Diagnostic::error(code, message));
    }

    pub(super) fn report(&mut self, span: Span, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic.at(self.file.place(span)));
    }

    /// A name that the file gives, if it can be one.
    pub(super) fn name(&mut self, text: &Text, what: &str) -> Option<ResourceName> {
        let error = match ResourceName::new(text.as_str()) {
            Ok(name) => return Some(name),
            Err(error) => error,
        };
        let diagnostic = Diagnostic::error("invalid_name", format!("{what}: {error}"));
        self.report(
            text.span,
            match ResourceName::near(text.as_str()) {
                Some(near) => diagnostic.hint(format!("call it `{near}`, here and where it is meant elsewhere")),
                None => diagnostic,
            },
        );
        None
    }

    /// An expression that stands in the file, checked to be one.
    fn expression(&mut self, text: &Text) -> Option<UserSql> {
        self.checked(&text.value, text.span)
    }

    fn checked(&mut self, value: &Mapped, span: Span) -> Option<UserSql> {
        UserSql::expression(value.text(), span).map_err(|error| self.refused(value, &error, "expression_invalid")).ok()
    }

    pub(super) fn refused(&mut self, text: &Mapped, error: &ScanError, code: &'static str) {
        let end = text.text().len();
        let span = Span::new(error.span.start.min(end), error.span.end.min(end));
        self.error(text.span(span), code, error.message.clone());
    }
}

/// The data source, and the connection that a Classic file describes along with it.
pub(super) fn datasource(name: ResourceName, reporter: &mut Reporter<'_>) -> Option<(Datasource, Option<Connection>)> {
    let before = reporter.diagnostics.len();
    let file = reporter.file;
    let is_kafka = file.settings.has("kafka_connection_name");
    let mut columns = columns(reporter, is_kafka);
    implied_columns(file, &mut columns);
    let engine = engine(reporter, &file.engine, &columns);
    let indexes = file.indexes.iter().filter_map(|it| index(reporter, it)).collect();
    let (kafka, connection) = kafka(reporter);
    let datasource = Datasource {
        name,
        description: file.description.as_ref().map(|it| it.as_str().to_owned()),
        columns,
        indexes,
        engine: engine?,
        tokens: tokens(file),
        tags: file.tags.clone(),
        kafka,
        version: file.version,
        place: file.place(Span::default()),
    };
    let good = !crate::diagnostic::has_errors(&reporter.diagnostics[before..]);
    (good && !datasource.columns.is_empty()).then_some((datasource, connection))
}

pub(super) fn tokens(file: &Datafile) -> Vec<TokenLine> {
    let line = |it: &crate::datafile::TokenLine| {
        let permission = match it.scope.as_str().to_ascii_uppercase().as_str() {
            "READ" => Permission::Read,
            "APPEND" => Permission::Append,
            // The parser has said what it thinks of others.
            _ => return None,
        };
        Some(TokenLine { token: it.name.as_str().to_owned(), permission, place: file.place(it.name.span) })
    };
    file.tokens.iter().filter_map(line).collect()
}

fn columns(reporter: &mut Reporter<'_>, is_kafka: bool) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    for line in reporter.file.schema.iter().flatten() {
        let name = match ColumnName::new(line.name.as_str()) {
            Ok(name) => name,
            Err(error) => {
                reporter.error(line.name.span, "invalid_name", error.to_string());
                continue;
            }
        };
        let first = *seen.entry(line.name.as_str()).or_insert(line.name.span);
        if first != line.name.span {
            let place = reporter.file.place(first);
            let diagnostic = Diagnostic::error("duplicate_column", format!("the column `{name}` stands here twice"))
                .related(place, "the first one");
            reporter.report(line.name.span, diagnostic);
            continue;
        }
        let value = line.default.as_ref().or(line.materialized.as_ref());
        let column_type = match (&line.column_type, value) {
            (Some(column_type), _) => column_type.clone(),
            // The type is wrong, and the parser said so; the rest of the column is looked at all the same.
            (None, _) if !line.type_text.is_empty() => ColumnType::Plain("String"),
            (None, Some(value)) => match type_of_value(value.as_str()) {
                Some(column_type) => column_type,
                None => {
                    let message = format!("the type of `{name}` cannot be told from its default");
                    let diagnostic = Diagnostic::error("column_type_unclear", message).hint("write the type");
                    reporter.report(line.name.span, diagnostic);
                    continue;
                }
            },
            (None, None) => {
                let message = format!("the column `{name}` has no type");
                reporter.error(line.name.span, "column_needs_type_or_default", message);
                continue;
            }
        };
        if line.jsonpath.is_some() && line.materialized.is_none() && !native::supports(&column_type) {
            let message = format!("rows cannot bring values of the type {column_type}, which `{name}` has");
            let diagnostic = Diagnostic::error("column_type_not_sent", message)
                .hint("give the column a simple type, or fill it with a MATERIALIZED expression or a view");
            reporter.report(line.name.span, diagnostic);
        }
        let jsonpath = line.jsonpath.as_ref().and_then(|path| match JsonPath::parse(path.as_str()) {
            Ok(path) => Some(path),
            Err((at, message)) => {
                let span = path.value.span(Span::new(at, path.as_str().len().max(at)));
                reporter.error(span, "jsonpath_invalid", format!("this is no jsonpath: {message}"));
                None
            }
        });
        let default = line.default.as_ref().and_then(|it| reporter.expression(it)).map(ColumnDefault::Default);
        let materialized = line.materialized.as_ref().and_then(|it| reporter.expression(it));
        let kafka_meta = match &jsonpath {
            None if is_kafka => KafkaMeta::of(name.as_str()),
            _ => None,
        };
        columns.push(Column {
            default: default.or(materialized.map(ColumnDefault::Materialized)),
            codec: line.codec.as_ref().and_then(|it| reporter.expression(it)),
            place: reporter.file.place(line.name.span),
            name,
            column_type,
            jsonpath,
            kafka_meta,
        });
    }
    columns
}

/// The columns that a connector brings along though the SCHEMA does not list them. They are there where a key needs one:
/// then the connector cannot go, and no column with it.
fn implied_columns(file: &Datafile, columns: &mut Vec<Column>) {
    const KAFKA: &[(&str, &str)] = &[
        ("__value", "String"),
        ("__topic", "LowCardinality(String)"),
        ("__partition", "Int16"),
        ("__offset", "Int64"),
        ("__timestamp", "DateTime"),
        ("__key", "String"),
    ];
    const KAFKA_HEADERS: (&str, &str) = ("__headers", "Map(String, String)");
    const DYNAMODB: &[(&str, &str)] = &[
        ("_event_name", "LowCardinality(String)"),
        ("_timestamp", "DateTime64(3)"),
        ("_is_deleted", "UInt8"),
        ("_record", "Nullable(String)"),
        ("_old_record", "Nullable(String)"),
    ];
    let settings = &file.settings;
    // A schema in the older spelling lists all that its table has.
    let is_older = columns.iter().any(|it| it.kafka_meta.is_some() && !it.name.as_str().starts_with("__"));
    let (mut implied, setting) = match settings.get("kafka_connection_name").filter(|_| !is_older) {
        Some(setting) => (KAFKA.to_vec(), setting),
        None => match settings.get("import_table_arn") {
            Some(setting) => (DYNAMODB.to_vec(), setting),
            None => return,
        },
    };
    let stores_headers = settings.get("kafka_store_headers").is_some_and(|it| it.as_str().eq_ignore_ascii_case("true"));
    implied.extend(stores_headers.then_some(KAFKA_HEADERS));
    let keys: Vec<&str> = file.engine.options.iter().map(|(_, it)| it.as_str()).collect();
    if !implied.iter().any(|(name, _)| keys.iter().any(|key| scan::mentions(key, name))) {
        return;
    }
    for (name, type_text) in implied {
        let (Ok(name), Ok(column_type)) = (ColumnName::new(name), ColumnType::parse(type_text)) else { continue };
        if columns.iter().any(|it| it.name == name) {
            continue;
        }
        let kafka_meta = KafkaMeta::of(name.as_str()).filter(|_| !is_older);
        let place = file.place(setting.span);
        columns.push(Column { name, column_type, default: None, codec: None, jsonpath: None, kafka_meta, place });
    }
}

/// The type of a default, where one can see it.
fn type_of_value(text: &str) -> Option<ColumnType> {
    let text = text.trim();
    let function = text.split_once('(').map(|(name, _)| name.trim());
    let name = match function {
        Some("toDate" | "today" | "yesterday") => "Date",
        Some("toDateTime" | "now") => "DateTime",
        Some("now64") => "DateTime64(3)",
        Some("generateUUIDv4" | "toUUID") => "UUID",
        Some("toString" | "concat" | "lower" | "upper") => "String",
        Some(cast) => match cast.strip_prefix("to") {
            Some(rest) if rest.starts_with("Int") || rest.starts_with("UInt") || rest.starts_with("Float") => rest,
            _ => return None,
        },
        None if text.starts_with('\'') && text.ends_with('\'') => "String",
        None => return None,
    };
    ColumnType::parse(name).ok()
}

impl KafkaMeta {
    /// What a column of this name holds, in the older spelling and with `__`.
    pub fn of(name: &str) -> Option<KafkaMeta> {
        Some(match name.strip_prefix("__").unwrap_or(name) {
            "value" => KafkaMeta::Value,
            "topic" => KafkaMeta::Topic,
            "partition" => KafkaMeta::Partition,
            "offset" => KafkaMeta::Offset,
            "timestamp" => KafkaMeta::Timestamp,
            "key" => KafkaMeta::Key,
            "headers" => KafkaMeta::Headers,
            _ => return None,
        })
    }
}

fn index(reporter: &mut Reporter<'_>, line: &crate::datafile::IndexLine) -> Option<Index> {
    let kind = line.kind.as_str().split('(').next().unwrap_or_default().trim();
    if !INDEX_KINDS.contains(&kind) {
        let diagnostic = Diagnostic::error("index_type_not_allowed", format!("`{kind}` is no kind of index here"));
        let hint = match nearest(kind, INDEX_KINDS.iter().copied()) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("a kind is one of {}", INDEX_KINDS.join(", ")),
        };
        reporter.report(line.kind.span, diagnostic.hint(hint));
        return None;
    }
    Some(Index {
        name: line.name.as_str().to_owned(),
        expression: reporter.expression(&line.expression)?,
        kind: reporter.expression(&line.kind)?,
        granularity: line.granularity.as_ref().and_then(|it| it.as_str().parse().ok()).unwrap_or(1),
    })
}

/// The family that a text names, in any case, with brackets or not.
pub(super) fn family(text: &str) -> Option<EngineFamily> {
    let name = text.trim().trim_end_matches("()").trim();
    ENGINES.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, family)| *family)
}

/// The canonical name of the engine that a text names; the text itself for others.
pub(super) fn family_name(text: &str) -> &str {
    let family = family(text);
    ENGINES.iter().find(|(_, it)| Some(*it) == family).map_or(text, |(name, _)| *name)
}

fn engine(reporter: &mut Reporter<'_>, lines: &EngineLines, columns: &[Column]) -> Option<TableEngine> {
    let family = match &lines.family {
        None => EngineFamily::MergeTree,
        Some(text) => match family(text.as_str()) {
            Some(family) => family,
            None => {
                let diagnostic = Diagnostic::error("engine_unsupported", format!("there is no engine `{text}` here"));
                let bare = text.as_str().trim_matches(|c: char| !c.is_ascii_alphanumeric());
                let hint = match nearest(bare, ENGINES.iter().map(|(name, _)| *name)) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => "the engines are MergeTree and its kin, and Null".to_owned(),
                };
                reporter.report(text.span, diagnostic.hint(hint));
                return None;
            }
        },
    };
    let name = ENGINES.iter().find(|(_, it)| *it == family).map_or("MergeTree", |(name, _)| *name);
    let place = lines.family.as_ref().map_or(Span::default(), |it| it.span);
    let key = lines.option("sorting_key");
    if matches!(family, EngineFamily::ReplacingMergeTree | EngineFamily::CollapsingMergeTree) {
        match key {
            None => {
                let message = format!("{name} needs ENGINE_SORTING_KEY: rows with the same key are one");
                reporter.error(place, "engine_option_missing", message);
            }
            Some(key) if key.as_str().replace(' ', "") == "tuple()" => {
                let message = format!("{name} needs a sorting key with columns: rows with the same key are one");
                reporter.error(key.span, "engine_sorting_key_invalid", message);
            }
            Some(_) => (),
        }
    }
    let written = reporter.file.schema.iter().flatten().map(|it| it.name.as_str());
    let names: HashSet<&str> = written.chain(columns.iter().map(|it| it.name.as_str())).collect();
    let mut parameters = Vec::new();
    let (wanted, required): (&[&str], bool) = match family {
        EngineFamily::ReplacingMergeTree => (&["ver", "is_deleted"], false),
        EngineFamily::CollapsingMergeTree => (&["sign"], true),
        EngineFamily::VersionedCollapsingMergeTree => (&["sign", "version"], true),
        EngineFamily::SummingMergeTree => (&["columns"], false),
        EngineFamily::MergeTree | EngineFamily::AggregatingMergeTree | EngineFamily::Null => (&[], false),
    };
    for option in wanted {
        let Some(value) = lines.option(option) else {
            if required {
                let message = format!("{name} needs ENGINE_{}", option.to_uppercase());
                reporter.error(place, "engine_option_missing", message);
            }
            continue;
        };
        for part in parts(value) {
            known_column(reporter, &part, &names, columns);
        }
        // Several columns to sum are one parameter, a tuple of them.
        let several = *option == "columns" && parts(value).len() > 1 && !value.as_str().trim().starts_with('(');
        let text = if several {
            let mut text = Mapped::default();
            let start = value.value.offset(0);
            text.push("(", start);
            text.push_from(&value.value, Span::new(0, value.as_str().len()));
            text.push(")", start);
            text
        } else {
            value.value.clone()
        };
        parameters.extend(reporter.checked(&text, value.span));
    }
    if family == EngineFamily::ReplacingMergeTree
        && lines.option("ver").is_none()
        && let Some(deleted) = lines.option("is_deleted")
    {
        let diagnostic = Diagnostic::error("engine_option_missing", "ENGINE_IS_DELETED needs ENGINE_VER beside it")
            .hint("without it the engine takes the column as the version");
        reporter.report(deleted.span, diagnostic);
    }
    for option in ["sorting_key", "partition_key", "primary_key"] {
        for part in lines.option(option).map(parts).unwrap_or_default() {
            let plain = part.as_str().chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if plain && part.as_str().starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                known_column(reporter, &part, &names, columns);
            }
        }
    }
    let mut option = |name: &str| lines.option(name).and_then(|it| reporter.expression(it));
    let is_null = family == EngineFamily::Null;
    let mut clause = |name: &str| if is_null { None } else { option(name) };
    Some(TableEngine {
        family,
        parameters,
        partition_key: clause("partition_key"),
        sorting_key: clause("sorting_key"),
        primary_key: clause("primary_key"),
        sampling_key: clause("sampling_key"),
        ttl: clause("ttl"),
        settings: clause("settings"),
    })
}

/// The parts of a comma list; one in brackets is looked into.
fn parts(text: &Text) -> Vec<Text> {
    let whole = text.as_str();
    let (mut depth, mut start) = (0usize, 0);
    let mut parts = Vec::new();
    let mut push = |start: usize, end: usize| {
        let part = &whole[start..end];
        let start = start + (part.len() - part.trim_start().len());
        let span = Span::new(start, start + part.trim().len());
        if !span.is_empty() {
            parts.push(Text { value: text.value.slice(span), span: text.value.span(span) });
        }
    };
    for (at, byte) in whole.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                push(start, at);
                start = at + 1;
            }
            _ => (),
        }
    }
    push(start, whole.len());
    parts
}

/// `names` are those of the columns that the file has; those that are wrong were reported, and are columns still.
fn known_column(reporter: &mut Reporter<'_>, name: &Text, names: &HashSet<&str>, columns: &[Column]) {
    let bare = name.as_str().trim_matches('`');
    if names.contains(bare) || columns.is_empty() {
        return;
    }
    let diagnostic = Diagnostic::error("engine_column_unknown", format!("there is no column `{bare}`"));
    let diagnostic = match nearest(bare, columns.iter().map(|it| it.name.as_str())) {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
        None => diagnostic,
    };
    reporter.report(name.span, diagnostic);
}

fn kafka(reporter: &mut Reporter<'_>) -> (Option<KafkaSource>, Option<Connection>) {
    let settings = &reporter.file.settings;
    let (Some(connection), Some(topic), Some(group)) =
        (settings.get("kafka_connection_name"), settings.get("kafka_topic"), settings.get("kafka_group_id"))
    else {
        // What is missing was reported by the parser.
        return (None, None);
    };
    let Some(name) = reporter.name(connection, "the name of a connection") else { return (None, None) };
    let offset_reset = match settings.get("kafka_auto_offset_reset") {
        None => OffsetReset::Latest,
        Some(text) => match text.as_str().to_ascii_lowercase().as_str() {
            "earliest" => OffsetReset::Earliest,
            "latest" => OffsetReset::Latest,
            "none" => OffsetReset::None,
            _ => {
                let message = format!("`{text}` is no place to begin: earliest, latest or none");
                reporter.error(text.span, "kafka_offset_reset_invalid", message);
                OffsetReset::Latest
            }
        },
    };
    let kafka = KafkaSource {
        connection: name.clone(),
        topic: topic.as_str().to_owned(),
        group_id: group.as_str().to_owned(),
        offset_reset,
        store_raw_value: truth(reporter, "kafka_store_raw_value"),
        store_headers: truth(reporter, "kafka_store_headers"),
        key_format: format(reporter, "kafka_key_format"),
        value_format: format(reporter, "kafka_value_format"),
        place: reporter.file.place(connection.span),
    };
    let inline = settings.iter().filter(|(key, _)| {
        matches!(
            *key,
            "kafka_bootstrap_servers"
                | "kafka_key"
                | "kafka_secret"
                | "kafka_sasl_mechanism"
                | "kafka_ssl_ca_pem"
                | "kafka_schema_registry_url"
        ) || key.starts_with("kafka_sasl_oauthbearer")
    });
    let inline: BTreeMap<String, String> =
        inline.map(|(key, value)| (key.to_owned(), value.as_str().to_owned())).collect();
    let described = inline.contains_key("kafka_bootstrap_servers");
    let place = reporter.file.place(connection.span);
    let connection = described.then(|| Connection { name, kind: "kafka".to_owned(), settings: inline, place });
    (Some(kafka), connection)
}

fn format(reporter: &mut Reporter<'_>, key: &str) -> ValueFormat {
    let Some(text) = reporter.file.settings.get(key) else { return ValueFormat::Json };
    match text.as_str().to_ascii_lowercase().as_str() {
        "json_without_schema" | "json" | "raw" | "string" => ValueFormat::Json,
        "json_with_schema" => ValueFormat::JsonWithSchema,
        "avro" => ValueFormat::Avro,
        _ => {
            let message = format!("`{text}` is no format: avro, json_with_schema or json_without_schema");
            reporter.error(text.span, "kafka_format_invalid", message);
            ValueFormat::Json
        }
    }
}

fn truth(reporter: &mut Reporter<'_>, key: &str) -> bool {
    let Some(text) = reporter.file.settings.get(key) else { return false };
    match text.as_str().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => true,
        "false" | "0" | "no" | "off" | "" => false,
        _ => {
            let message = format!("{} is True or False, not `{text}`", key.to_uppercase());
            reporter.error(text.span, "truth_value_invalid", message);
            false
        }
    }
}
