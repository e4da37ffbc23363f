//! Statements become a [`Datafile`]: each command to its place.

use super::{
    Context, Dialect, Includes, Kind,
    ast::{Datafile, EngineLines, Files, NodeLines, ScopeLine, Settings, Text, TokenLine},
    index,
    lexer::{Lexed, Statement, lex},
    rules, schema,
    values::{substitute, unquote},
};
use crate::diagnostic::{Diagnostic, Mapped, Severity, Source, Span};

/// How bad something is to each dialect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    pub(super) classic: Option<Severity>,
    pub(super) forward: Option<Severity>,
    pub(super) auto: Option<Severity>,
}

pub(super) const EVERYWHERE: Verdict = verdict(Some(Severity::Error), Some(Severity::Error), Some(Severity::Error));
/// Forward refuses it, Classic does not look; it cannot work.
pub(super) const FORWARD: Verdict = verdict(None, Some(Severity::Error), Some(Severity::Error));
/// Forward refuses it; Classic takes it, and it does no harm.
pub(super) const FORWARD_WARNS: Verdict = verdict(None, Some(Severity::Error), Some(Severity::Warning));
/// Forward refuses it; in Classic it is normal.
pub(super) const FORWARD_ONLY: Verdict = verdict(None, Some(Severity::Error), None);
/// Forward says so and goes on.
const FORWARD_IGNORES: Verdict = verdict(None, Some(Severity::Warning), None);
const CLASSIC: Verdict = verdict(Some(Severity::Error), None, Some(Severity::Error));
pub(super) const AUTO_WARNS: Verdict = verdict(None, None, Some(Severity::Warning));

const fn verdict(classic: Option<Severity>, forward: Option<Severity>, auto: Option<Severity>) -> Verdict {
    Verdict { classic, forward, auto }
}

pub(super) struct Parser<'a> {
    pub(super) kind: Kind,
    pub(super) context: &'a Context,
    pub(super) file: Datafile,
    pub(super) diagnostics: Vec<Diagnostic>,
    lexed: Lexed,
}

pub(super) fn parse(
    kind: Kind,
    source: &Source,
    context: &Context,
    includes: Includes<'_>,
) -> (Datafile, Vec<Diagnostic>) {
    let mut lexed = lex(kind, source, context, includes);
    let name = kind.resource_name(&source.path);
    let files = std::mem::replace(&mut lexed.files, Files::new(source.clone()));
    let diagnostics = std::mem::take(&mut lexed.diagnostics);
    let statements = std::mem::take(&mut lexed.statements);
    let file = Datafile::empty(kind, name, files);
    let mut parser = Parser { kind, context, file, diagnostics, lexed };
    if kind != Kind::Include {
        for statement in &statements {
            parser.statement(statement);
        }
        rules::check(&mut parser);
    }
    // A complaint about the file as a whole has no place of its own.
    let whole = parser.file.source().place(Span::default());
    for diagnostic in &mut parser.diagnostics {
        diagnostic.place.get_or_insert_with(|| whole.clone());
    }
    (parser.file, parser.diagnostics)
}

impl Parser<'_> {
    /// Reports about a range of the files, if the dialect minds.
    pub(super) fn report(&mut self, verdict: Verdict, span: Span, diagnostic: Diagnostic) {
        let severity = match self.context.dialect {
            Dialect::Classic => verdict.classic,
            Dialect::Forward => verdict.forward,
            Dialect::Auto => verdict.auto,
        };
        if let Some(severity) = severity {
            let place = self.file.place(span);
            self.diagnostics.push(Diagnostic { severity, ..diagnostic }.at(place));
        }
    }

    fn error(&mut self, span: Span, code: &'static str, message: impl Into<String>) {
        self.report(EVERYWHERE, span, Diagnostic::error(code, message));
    }

    /// The place of a word in the files.
    fn place_of(&self, word: Span) -> Span {
        self.lexed.text.span(word)
    }

    fn statement(&mut self, statement: &Statement) {
        let command = self.place_of(statement.words[0]);
        match statement.name.as_str() {
            "description" => self.description(statement),
            "tags" => self.tags(statement),
            "token" if self.kind != Kind::Connection => self.token(statement),
            "version" => self.version(statement),
            "include" => {
                let message = "Forward has no INCLUDE yet";
                self.report(FORWARD, command, Diagnostic::error("command_not_supported_yet", message));
            }
            "maintainer" | "source" | "from" => self.single(statement),
            "test" => (),
            "schema" if self.kind == Kind::Datasource => self.schema(statement),
            "indexes" | "indices" if self.kind == Kind::Datasource => {
                if let Some(text) = self.written(statement, "") {
                    let (indexes, diagnostics) = index::parse(&text.value, self.context.dialect);
                    self.file.indexes = indexes;
                    self.take(diagnostics);
                }
            }
            "shared_with" if self.kind == Kind::Datasource => self.shared_with(statement),
            "forward_query" => match &statement.block {
                Some(lines) => self.file.forward_query = Some(self.lexed.sql(lines)),
                None => self.error(command, "block_required", "FORWARD_QUERY is a block: write it with `>`"),
            },
            "node" | "scope" if self.kind == Kind::Datasource => {
                let message = "a data source has no nodes";
                self.error(command, "node_in_datasource", message);
            }
            "scope" if self.kind == Kind::Token => {
                if let Some(scope) = self.value(statement) {
                    self.file.scopes.push(ScopeLine { scope, resource: None, filter: None });
                }
            }
            "resource" | "filter" if self.kind == Kind::Token => self.scope_part(statement),
            "node" | "scope" => self.node(statement),
            "sql" if self.kind == Kind::Pipe => self.sql(statement),
            // What follows a misplaced NODE was reported with it.
            "sql" if self.kind == Kind::Datasource => (),
            "engine" => {
                if let Some(value) = self.value(statement)
                    && let Some(engine) = self.engine(command, "ENGINE")
                {
                    engine.family = Some(value);
                }
            }
            name => match name.strip_prefix("engine_") {
                Some(option) => {
                    if let Some(value) = self.value(statement)
                        && let Some(engine) = self.engine(command, name)
                    {
                        engine.options.push((option.to_owned(), value));
                    }
                }
                None => self.setting(statement),
            },
        }
    }

    fn take(&mut self, diagnostics: Vec<(Span, Diagnostic)>) {
        for (span, diagnostic) in diagnostics {
            let place = self.file.place(span);
            self.diagnostics.push(diagnostic.at(place));
        }
    }

    /// The text of a command, in one line or as a block, without quotes; an empty one is reported.
    fn written(&mut self, statement: &Statement, separator: &str) -> Option<Text> {
        let text = match &statement.block {
            Some(lines) => self.lexed.block(lines),
            None => self.lexed.joined(statement, separator),
        };
        if text.as_str().trim().is_empty() {
            let command = self.place_of(statement.words[0]);
            let name = statement.name.to_uppercase();
            self.error(command, "missing_argument", format!("{name} has no value"));
            return None;
        }
        Some(Text { value: unquote(text.value), span: text.span })
    }

    /// The value of a command, variables in their places.
    fn value(&mut self, statement: &Statement) -> Option<Text> {
        let text = self.written(statement, " ")?;
        if statement.block.is_some() {
            let allowed = statement.name.starts_with("engine") || statement.name == "kafka_ssl_ca_pem";
            if !allowed {
                let name = statement.name.to_uppercase();
                let message = format!("{name} cannot be a block in Forward: write its value on the same line");
                let command = self.place_of(statement.words[0]);
                self.report(FORWARD_ONLY, command, Diagnostic::error("block_not_allowed_for_command", message));
            }
        } else if let Some(&dashes) = statement.words[1..].iter().find(|it| self.lexed.get(**it).starts_with("--")) {
            let diagnostic =
                Diagnostic::warning("dashes_in_value", "`--` begins no comment here: it is part of the value")
                    .hint("a comment after a value begins with `#`");
            let span = self.place_of(dashes);
            let verdict = verdict(Some(Severity::Warning), Some(Severity::Warning), Some(Severity::Warning));
            self.report(verdict, span, diagnostic);
        }
        Some(Text { value: self.substituted(text.value), span: text.span })
    }

    fn substituted(&self, value: Mapped) -> Mapped {
        substitute(value, |name| self.context.environment.get(name).map(String::as_str))
    }

    fn description(&mut self, statement: &Statement) {
        let text = match &statement.block {
            Some(lines) => self.lexed.block(lines),
            None => self.lexed.joined(statement, " "),
        };
        match self.file.nodes.last_mut() {
            Some(node) => node.description = Some(text),
            None => self.file.description = Some(text),
        }
    }

    fn tags(&mut self, statement: &Statement) {
        let Some(text) = self.written(statement, " ") else { return };
        for tag in text.as_str().split(',').map(str::trim).filter(|it| !it.is_empty()) {
            if !tag.contains('=') {
                self.file.tags.push(tag.to_owned());
            } else if let Some(node) = self.file.nodes.last_mut() {
                node.operational_tags.push(tag.to_owned());
            } else {
                self.file.operational_tags.push(tag.to_owned());
            }
        }
    }

    fn token(&mut self, statement: &Statement) {
        let words = &statement.words[1..];
        let (Some(&name), Some(&scope)) = (words.first(), words.get(1)) else {
            let command = self.place_of(statement.words[0]);
            let diagnostic = Diagnostic::error("token_needs_two_args", "TOKEN needs a name and a permission")
                .hint("for example: TOKEN \"my_token\" READ");
            return self.report(EVERYWHERE, command, diagnostic);
        };
        if let Some(&extra) = words.get(2) {
            let span = self.place_of(extra);
            let diagnostic = Diagnostic::error("token_too_many_args", "TOKEN takes a name and a permission, no more");
            self.report(FORWARD_WARNS, span, diagnostic);
        }
        let (name, scope) = (self.lexed.word(name), self.lexed.word(scope));
        let allowed: &[&str] = if self.kind == Kind::Pipe { &["READ"] } else { &["READ", "APPEND"] };
        if !allowed.iter().any(|it| scope.as_str().eq_ignore_ascii_case(it)) {
            let extension = self.kind.extension();
            let message = format!("`{scope}` is no permission that a .{extension} file can give");
            let hint = format!("a .{extension} file gives {}", allowed.join(" or "));
            self.report(FORWARD_WARNS, scope.span, Diagnostic::error("token_permission_invalid", message).hint(hint));
        }
        self.file.tokens.push(TokenLine { name, scope });
    }

    fn version(&mut self, statement: &Statement) {
        let command = self.place_of(statement.words[0]);
        let word = statement.words.get(1).map(|it| self.lexed.word(*it));
        let ignored = Diagnostic::warning("deprecated_command_ignored", "Forward ignores VERSION");
        self.report(FORWARD_IGNORES, command, ignored);
        match word.as_ref().map(|it| it.as_str().parse()) {
            Some(Ok(version)) => self.file.version = Some(version),
            _ => {
                let message = "VERSION is a whole number, 0 or more";
                let span = word.map_or(command, |it| it.span);
                self.report(CLASSIC, span, Diagnostic::error("version_not_positive_int", message));
            }
        }
    }

    /// Commands of Classic with exactly one word, kept or not.
    fn single(&mut self, statement: &Statement) {
        let command = self.place_of(statement.words[0]);
        let name = statement.name.to_uppercase();
        if statement.name == "source" {
            let message = "Forward has no SOURCE any more";
            self.report(FORWARD_ONLY, command, Diagnostic::error("deprecated_command_error", message));
        }
        let [_, word] = statement.words[..] else {
            let message = format!("{name} takes exactly one word");
            return self.report(CLASSIC, command, Diagnostic::error("wrong_argument_count", message));
        };
        let word = self.lexed.word(word);
        match statement.name.as_str() {
            "maintainer" => self.file.maintainer = Some(word),
            "source" => self.file.sources.push(word),
            _ => (),
        }
    }

    fn schema(&mut self, statement: &Statement) {
        let Some(text) = self.written(statement, "") else {
            // There is a SCHEMA, if an empty one.
            self.file.schema.get_or_insert_default();
            return;
        };
        let schema = schema::parse(text.value, self.context.dialect);
        self.file.schema = Some(schema.columns);
        self.take(schema.diagnostics);
    }

    fn shared_with(&mut self, statement: &Statement) {
        let mut names: Vec<Text> = Vec::new();
        let commas = self.context.dialect != Dialect::Classic;
        let lines: Vec<Span> = match &statement.block {
            Some(lines) => lines.clone(),
            None => statement.words[1..].to_vec(),
        };
        for line in lines {
            if let Some(comma) = self.lexed.get(line).find(',') {
                let comma = self.place_of(Span::new(line.start + comma, line.start + comma + 1));
                let message =
                    "Classic takes this comma for a part of the name; Forward, and this check, for a separator";
                let diagnostic = Diagnostic::warning("shared_with_comma", message).hint("write one name on each line");
                self.report(AUTO_WARNS, comma, diagnostic);
            }
            let text = self.lexed.get(line);
            let mut at = line.start;
            let separator = |c: char| commas && c == ',';
            for part in text.split(separator) {
                let start = at + (part.len() - part.trim_start().len());
                let span = Span::new(start, start + part.trim().len());
                if !span.is_empty() {
                    names.push(self.lexed.word(span));
                }
                at += part.len() + 1;
            }
        }
        if names.is_empty() {
            let command = self.place_of(statement.words[0]);
            self.error(command, "missing_argument", "SHARED_WITH names no workspace");
        }
        self.file.shared_with.extend(names);
    }

    fn scope_part(&mut self, statement: &Statement) {
        let Some(value) = self.value(statement) else { return };
        let Some(scope) = self.file.scopes.last_mut() else {
            let command = self.place_of(statement.words[0]);
            let name = statement.name.to_uppercase();
            return self.error(command, "command_before_scope", format!("{name} stands before any SCOPE"));
        };
        if statement.name == "resource" {
            scope.resource = Some(value);
        } else {
            scope.filter = Some(value);
        }
    }

    fn node(&mut self, statement: &Statement) {
        let span = self.place_of(Span::new(statement.words[0].start, statement.words[statement.words.len() - 1].end));
        let Some(&word) = statement.words.get(1) else {
            let diagnostic = Diagnostic::error("missing_node_name", "NODE needs a name");
            self.report(EVERYWHERE, span, diagnostic);
            // What follows belongs to this node all the same, and is not reported again.
            let name = Text { value: Mapped::default(), span };
            self.file.nodes.push(NodeLines::new(name, span));
            return;
        };
        let word = self.lexed.word(word);
        let name = Text { value: self.substituted(word.value), span: word.span };
        self.file.nodes.push(NodeLines::new(name, span));
    }

    fn sql(&mut self, statement: &Statement) {
        let command = self.place_of(statement.words[0]);
        if !self.in_node(command, "SQL") {
            return;
        }
        let sql = match &statement.block {
            Some(lines) => self.lexed.sql(lines),
            None => {
                let diagnostic = Diagnostic::error("sql_needs_block", "SQL is a block")
                    .hint("write SQL > and the query on the lines below");
                self.report(FORWARD, command, diagnostic);
                self.lexed.joined(statement, " ").value
            }
        };
        let sql = match self.context.dialect {
            Dialect::Classic => self.substituted(sql),
            _ => sql,
        };
        if sql.is_empty() {
            return self.error(command, "missing_sql_text", "this SQL is empty");
        }
        self.variables_in_sql(&sql);
        if let Some(node) = self.file.nodes.last_mut() {
            node.sql = Some(sql);
        }
    }

    /// Classic replaces variables in SQL, Forward does not: the same text means two things.
    fn variables_in_sql(&mut self, sql: &Mapped) {
        let known = |rest: &str| {
            let name = rest.trim_start_matches('{');
            let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
            self.context.environment.contains_key(&name[..end]).then_some(1 + (rest.len() - name.len()) + end)
        };
        let text = sql.text();
        let found: Vec<Span> = text
            .match_indices('$')
            .filter_map(|(at, _)| known(&text[at + 1..]).map(|length| sql.span(Span::new(at, at + length))))
            .collect();
        for span in found {
            let message = "Classic puts the value of this variable here; Forward, and this check, leave it as it is";
            self.report(AUTO_WARNS, span, Diagnostic::warning("variable_in_sql", message));
        }
    }

    /// Where ENGINE lines go: to the data source or to the node.
    fn engine(&mut self, command: Span, name: &str) -> Option<&mut EngineLines> {
        if self.kind == Kind::Datasource {
            return Some(&mut self.file.engine);
        }
        if !self.in_node(command, &name.to_uppercase()) {
            return None;
        }
        self.file.nodes.last_mut().map(|it| &mut it.engine)
    }

    fn in_node(&mut self, command: Span, name: &str) -> bool {
        if self.file.nodes.is_empty() {
            let diagnostic = Diagnostic::error("command_before_node", format!("{name} stands before any NODE"))
                .hint(format!("write a line NODE name above {name}"));
            self.report(EVERYWHERE, command, diagnostic);
            return false;
        }
        true
    }

    /// All other commands: values by name.
    fn setting(&mut self, statement: &Statement) {
        let command = self.place_of(statement.words[0]);
        let upper = statement.name.to_uppercase();
        let name = match statement.name.as_str() {
            "copy_mode" => "mode",
            "gcs_access_id" => "gcs_hmac_access_id",
            "gcs_secret" if self.kind == Kind::Connection => "gcs_hmac_secret",
            name => name,
        };
        let is_datasource = self.kind == Kind::Datasource;
        if matches!(name, "import_strategy" | "kafka_store_binary_headers" | "kafka_key_avro_deserialization") {
            let message = format!("Forward has no {upper} any more");
            self.report(FORWARD_ONLY, command, Diagnostic::error("deprecated_command_error", message));
        }
        if matches!(
            name,
            "kafka_target_partitions" | "import_service" | "import_external_datasource" | "export_service"
        ) {
            let message = format!("Forward ignores {upper}");
            self.report(FORWARD_IGNORES, command, Diagnostic::warning("deprecated_command_ignored", message));
        }
        if is_datasource && matches!(name, "partition_key" | "sorting_key" | "primary_key" | "sampling_key" | "ttl") {
            let diagnostic = Diagnostic::warning("key_without_engine_prefix", format!("{upper} has no effect"))
                .hint(format!("write ENGINE_{upper}"));
            let warns = verdict(Some(Severity::Warning), Some(Severity::Warning), Some(Severity::Warning));
            self.report(warns, command, diagnostic);
        }
        let Some(mut value) = self.value(statement) else { return };
        let fixed = match name {
            "backfill" => Some("skip"),
            "deployment_method" => Some("alter"),
            _ => None,
        };
        if let Some(fixed) = fixed
            && !value.as_str().eq_ignore_ascii_case(fixed)
        {
            let message = format!("{upper} can only be `{fixed}`, not `{value}`");
            self.report(EVERYWHERE, value.span, Diagnostic::error("value_not_allowed", message));
        }
        if name == "import_format" {
            let lower = value.as_str().to_lowercase();
            value.value = Mapped::whole(lower, value.value.offset(0));
        }
        if self.kind == Kind::Pipe {
            if !self.in_node(command, &upper) {
                return;
            }
            if let Some(node) = self.file.nodes.last_mut() {
                if name == "type" {
                    node.node_type = Some(value);
                } else {
                    node.settings.set(name, value);
                }
            }
        } else {
            self.file.settings.set(name, value);
        }
    }
}

impl NodeLines {
    fn new(name: Text, span: Span) -> NodeLines {
        NodeLines {
            name,
            description: None,
            sql: None,
            node_type: None,
            engine: EngineLines::default(),
            settings: Settings::default(),
            operational_tags: Vec::new(),
            span,
        }
    }
}
