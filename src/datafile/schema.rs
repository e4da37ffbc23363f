//! The columns of a SCHEMA, read as Tinybird's tools read them.

use super::{
    Dialect,
    ast::{ColumnLine, Text},
};
use crate::{
    diagnostic::{Diagnostic, Mapped, Span},
    sql::{ColumnType, TypeError},
};

/// What was found, and what is wrong, each with its place in the file.
pub(super) struct Schema {
    pub(super) columns: Vec<ColumnLine>,
    pub(super) diagnostics: Vec<(Span, Diagnostic)>,
}

struct Reader<'a> {
    text: &'a Mapped,
    dialect: Dialect,
    out: Schema,
    /// Classic reads nothing after an INDEX.
    lost: bool,
}

/// The parts of a column, each a range of the text.
#[derive(Default)]
struct Parts {
    column_type: Option<Span>,
    jsonpath: Option<Span>,
    default: Option<Span>,
    materialized: Option<Span>,
    codec: Option<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Keyword {
    Default,
    Materialized,
    Codec,
    Alias,
    Ttl,
    NotNull,
    Null,
}

const KEYWORDS: &[(&str, Keyword)] = &[
    ("DEFAULT", Keyword::Default),
    ("MATERIALIZED", Keyword::Materialized),
    ("CODEC", Keyword::Codec),
    ("ALIAS", Keyword::Alias),
    ("TTL", Keyword::Ttl),
    ("NOT NULL", Keyword::NotNull),
    ("NULL", Keyword::Null),
];

/// Reads the text of a SCHEMA.
pub(super) fn parse(text: Mapped, dialect: Dialect) -> Schema {
    let text = without_comments(text);
    let out = Schema { columns: Vec::new(), diagnostics: Vec::new() };
    let mut reader = Reader { text: &text, dialect, out, lost: false };
    let items = reader.items();
    reader.out.columns.reserve_exact(items.len());
    let last = items.len().saturating_sub(1);
    for (index, item) in items.into_iter().enumerate() {
        reader.item(item, index == last);
    }
    reader.out
}

impl Reader<'_> {
    fn str(&self, span: Span) -> &str {
        &self.text.text()[span.start..span.end]
    }

    fn take(&self, span: Span) -> Text {
        let text = self.str(span);
        let start = span.start + (text.len() - text.trim_start().len());
        let span = Span::new(start, span.start + text.trim_end().len());
        Text { value: self.text.slice(span), span: self.text.span(span) }
    }

    fn report(&mut self, span: Span, diagnostic: Diagnostic) {
        self.out.diagnostics.push((self.text.span(span), diagnostic));
    }

    fn error(&mut self, span: Span, code: &'static str, message: impl Into<String>) {
        self.report(span, Diagnostic::error(code, message));
    }

    /// The text between commas that stand in no brackets, quotes or backquotes.
    fn items(&mut self) -> Vec<Span> {
        let text = self.text.text();
        let mut items = Vec::new();
        let (mut start, mut opened) = (0, Vec::new());
        let mut square: Vec<usize> = Vec::new();
        let mut quote: Option<(u8, usize)> = None;
        let mut faults: Vec<(Span, &'static str, &'static str, &'static str)> = Vec::new();
        for (at, byte) in text.bytes().enumerate() {
            if let Some((open, _)) = quote {
                if byte == open {
                    quote = None;
                }
                continue;
            }
            match byte {
                b'\'' | b'"' | b'`' => quote = Some((byte, at)),
                b'(' => opened.push(at),
                b')' => {
                    opened.pop();
                }
                b'[' if opened.is_empty() => square.push(at),
                b']' if opened.is_empty() => {
                    square.pop();
                }
                b',' if opened.is_empty() => {
                    if let Some(&at) = square.first() {
                        // The original cuts here and stumbles later; the reason is the bracket.
                        if !faults.iter().any(|(fault, ..)| *fault == Span::new(at, at + 1)) {
                            faults.push((
                                Span::new(at, at + 1),
                                "array_in_schema",
                                "a list in square brackets cannot stand here by itself",
                                "write array('a', 'b'), or put parentheses around it: (['a', 'b'])",
                            ));
                        }
                        continue;
                    }
                    items.push(Span::new(start, at));
                    start = at + 1;
                }
                _ => (),
            }
        }
        items.push(Span::new(start, text.len()));
        if let Some((open, at)) = quote {
            let code = if open == b'`' { "backtick_not_closed" } else { "schema_unclosed_delimiter" };
            let line_end = text[at..].find('\n').map_or(text.len(), |it| at + it);
            let message = format!("this `{}` is never closed", open as char);
            let message = if open == b'`' { "this backquote is never closed".to_owned() } else { message };
            self.error(Span::new(at, line_end), code, message);
            // Nothing after the fault can be trusted.
            items.pop();
        } else if let Some(at) = opened.first().copied() {
            let end = text.trim_end().len();
            let diagnostic = Diagnostic::error("schema_unclosed_delimiter", "the SCHEMA ends, and a `(` is still open")
                .hint(format!("the `(` after `{}` is never closed", before(text, at)));
            self.report(Span::new(end.saturating_sub(1), end), diagnostic);
            items.pop();
        }
        for (span, code, message, hint) in faults {
            self.report(span, Diagnostic::error(code, message).hint(hint));
            items.retain(|item| !(item.start <= span.start && span.start < item.end));
        }
        items
    }

    fn item(&mut self, item: Span, is_last: bool) {
        if self.lost {
            return;
        }
        let text = self.str(item);
        let start = item.start + (text.len() - text.trim_start().len());
        let end = item.start + text.trim_end().len();
        if start >= end {
            // One comma at the end is taken by Forward alone.
            let first = item.start == 0;
            if !is_last || (self.dialect == Dialect::Classic && !first) {
                let comma = Span::new(item.start.saturating_sub(1), item.start);
                self.error(comma, "column_name_expected", "a column is expected after this comma");
            }
            return;
        }
        let item = Span::new(start, end);
        let Some((name, after)) = self.name(item) else { return };
        let rest = Span::new(after, end);
        if self.is_index(name, rest) {
            self.lost = self.dialect == Dialect::Classic;
            return;
        }
        if let Some(parts) = self.parts(rest)
            && let Some(column) = self.column(name, &parts, is_last)
        {
            self.out.columns.push(column);
        }
    }

    /// The name at the beginning of a column, and where it ends.
    fn name(&mut self, item: Span) -> Option<(Span, usize)> {
        let text = self.str(item);
        if let Some(quoted) = text.strip_prefix('`') {
            // The text was split outside of backquotes, so each is closed.
            let length = quoted.find('`')?;
            let name = Span::new(item.start + 1, item.start + 1 + length);
            if let Some(blank) = quoted[..length].find(char::is_whitespace)
                && self.dialect == Dialect::Forward
            {
                let at = name.start + blank;
                self.error(Span::new(at, at + 1), "backtick_not_closed", "Forward takes no blank in a column's name");
                return None;
            }
            if length == 0 {
                self.error(Span::new(item.start, item.start + 2), "column_name_expected", "this name is empty");
                return None;
            }
            return Some((name, name.end + 1));
        }
        let length = text.find([' ', '\t', '\n']).unwrap_or(text.len());
        let good = |c: char| c.is_ascii_alphanumeric() || "._`*<>+-'".contains(c);
        if let Some((at, bad)) = text[..length].char_indices().find(|(_, c)| !good(*c)) {
            let at = item.start + at;
            let diagnostic =
                Diagnostic::error("column_name_bad_char", format!("`{bad}` cannot stand in a column's name"));
            let hint = match text[..length].chars().all(|c| good(c) || c.is_alphanumeric() || "@$#/".contains(c)) {
                true => format!("put the name in backquotes: `{}`", &text[..length]),
                false => "a column is written: `name` Type, with a comma between columns".to_owned(),
            };
            self.report(Span::new(at, at + bad.len_utf8()), diagnostic.hint(hint));
            return None;
        }
        Some((Span::new(item.start, item.start + length), item.start + length))
    }

    /// An INDEX among the columns: Classic skips it, and what follows too.
    fn is_index(&mut self, name: Span, rest: Span) -> bool {
        let is = self.str(name).eq_ignore_ascii_case("index")
            && self.str(rest).split_whitespace().any(|it| it.eq_ignore_ascii_case("type"));
        if is {
            let whole = Span::new(name.start, rest.end);
            let message = "an index cannot stand among the columns";
            let hint = "write it in an INDEXES > block; Classic loses the columns after it";
            match self.dialect {
                Dialect::Forward => {
                    self.report(whole, Diagnostic::error("index_inside_schema", message).hint(hint));
                }
                _ => self.report(whole, Diagnostic::warning("index_inside_schema", message).hint(hint)),
            }
        }
        is
    }

    /// Splits what follows a name into type, jsonpath, default and codec.
    fn parts(&mut self, rest: Span) -> Option<Parts> {
        let mut parts = Parts::default();
        let mut at = rest.start;
        let mut good = true;
        loop {
            let text = &self.text.text()[at..rest.end];
            at += text.len() - text.trim_start().len();
            let text = &self.text.text()[at..rest.end];
            if text.is_empty() {
                break;
            }
            if let Some(length) = jsonpath_length(text) {
                let span = Span::new(at, at + length);
                let misplaced = parts.default.or(parts.materialized).filter(|_| self.dialect == Dialect::Classic);
                if parts.jsonpath.is_some() || misplaced.is_some() {
                    let hint = "the order is: name, type, jsonpath, DEFAULT, CODEC";
                    let message = "the jsonpath cannot stand here";
                    self.report(span, Diagnostic::error("schema_keyword_order", message).hint(hint));
                    good = false;
                }
                parts.jsonpath = Some(Span::new(at + "`json:".len(), at + length - 1));
                at += length;
                continue;
            }
            let keyword = keyword_at(text);
            let word = keyword.map_or(0, |(_, length)| length);
            let end = at + word + expression_length(&text[word..]);
            let whole = Span::new(at, at + word);
            let value = Span::new(at + word, end);
            good &= self.legal(value);
            match keyword.map(|(keyword, _)| keyword) {
                None if parts.column_type.is_none() && parts.default.is_none() && parts.codec.is_none() => {
                    parts.column_type = Some(value);
                }
                None => {
                    self.error(value, "type_syntax", format!("`{}` cannot stand here", self.str(value).trim()));
                    good = false;
                }
                Some(Keyword::Default | Keyword::Materialized) if parts.taken() => {
                    let word = self.str(whole).to_uppercase();
                    let diagnostic = Diagnostic::error("schema_keyword_order", format!("{word} cannot stand here"))
                        .hint("the order is: name, type, jsonpath, DEFAULT, CODEC");
                    self.report(whole, diagnostic);
                    good = false;
                }
                Some(Keyword::Default) => {
                    if self.given(whole, value) {
                        parts.default = Some(value);
                    }
                }
                Some(Keyword::Materialized) => {
                    if self.dialect == Dialect::Forward {
                        let message = "Forward has no MATERIALIZED columns";
                        self.error(whole, "materialized_column_unsupported", message);
                        good = false;
                    } else if self.given(whole, value) {
                        parts.materialized = Some(value);
                    }
                }
                Some(Keyword::Codec) if parts.codec.is_some() => {
                    self.error(whole, "schema_keyword_order", "a column has one CODEC");
                    good = false;
                }
                Some(Keyword::Codec) => {
                    if self.given(whole, value) {
                        parts.codec = Some(Span::new(at, end));
                    }
                }
                Some(refused) => {
                    let (code, message, hint) = refused_keyword(refused);
                    self.report(whole, Diagnostic::error(code, message).hint(hint));
                    return None;
                }
            }
            at = end;
        }
        good.then_some(parts)
    }

    /// Whether a keyword has its value. Classic drops one without.
    fn given(&mut self, keyword: Span, value: Span) -> bool {
        if !self.str(value).trim().is_empty() {
            return true;
        }
        let message = format!("a value is missing after {}", self.str(keyword).to_uppercase());
        let diagnostic = match self.dialect {
            Dialect::Forward => Diagnostic::error("schema_value_missing", message),
            Dialect::Auto => Diagnostic::warning("schema_value_missing", message),
            Dialect::Classic => return false,
        };
        self.report(keyword, diagnostic);
        false
    }

    /// Whether all characters outside of quotes are ones that the original takes.
    fn legal(&mut self, value: Span) -> bool {
        let mut quote = None;
        for (at, c) in self.str(value).char_indices() {
            match quote {
                Some(open) if c == open => quote = None,
                Some(_) => (),
                None if c == '\'' || c == '"' => quote = Some(c),
                None if c.is_ascii_alphanumeric() || is_legal_sign(c) => (),
                None => {
                    let span = Span::new(value.start + at, value.start + at + c.len_utf8());
                    self.error(span, "schema_bad_char", format!("`{c}` cannot stand in a SCHEMA"));
                    return false;
                }
            }
        }
        true
    }

    fn column(&mut self, name: Span, parts: &Parts, is_last: bool) -> Option<ColumnLine> {
        let column_type = parts.column_type.and_then(|span| self.column_type(span));
        if parts.column_type.is_none() && parts.default.is_none() && parts.materialized.is_none() {
            let bare = self.dialect == Dialect::Classic && is_last && parts.jsonpath.is_none() && parts.codec.is_none();
            if !bare {
                let message = format!("the column `{}` has neither a type nor a default", self.str(name));
                self.error(name, "column_needs_type_or_default", message);
                return None;
            }
        }
        let is_null = |span: &Span| self.str(*span).trim().eq_ignore_ascii_case("null");
        let nullable = column_type.as_ref().is_some_and(ColumnType::is_nullable);
        let default = parts.default.filter(|it| !(nullable && is_null(it)));
        Some(ColumnLine {
            name: Text { value: self.text.slice(name), span: self.text.span(name) },
            column_type,
            type_text: self.take(parts.column_type.unwrap_or(Span::at(name.end))),
            jsonpath: parts.jsonpath.map(|it| self.take(it)),
            default: default.map(|it| self.take(it)),
            materialized: parts.materialized.map(|it| self.take(it)),
            codec: parts.codec.map(|it| self.take(it)),
        })
    }

    fn column_type(&mut self, span: Span) -> Option<ColumnType> {
        let text = self.str(span);
        let trimmed = text.trim();
        let start = span.start + (text.len() - text.trim_start().len());
        let whole = Span::new(start, start + trimmed.len());
        if let Some(at) = missing_comma(trimmed) {
            let at = start + at;
            let line_end = self.text.text()[at..span.end].find('\n').map_or(span.end, |it| at + it);
            let diagnostic = Diagnostic::error("type_syntax", "a comma is missing before this")
                .hint("columns are separated by commas");
            self.report(Span::new(at, line_end), diagnostic);
            return None;
        }
        if self.dialect == Dialect::Forward {
            let words = || trimmed.split(|c: char| !c.is_ascii_alphanumeric());
            let refused = if trimmed.to_lowercase().contains("boolean") {
                Some(("boolean_type_unsupported", "Forward has no Boolean", "write Bool or UInt8"))
            } else if words().any(|it| it == "Int" || it == "UInt") {
                Some(("int_needs_width", "Forward wants a width after Int", "write Int32, for example"))
            } else if trimmed.match_indices("DateTime64").any(|(at, it)| !trimmed[at + it.len()..].starts_with('(')) {
                Some(("datetime64_needs_precision", "Forward wants a precision", "write DateTime64(3)"))
            } else {
                None
            };
            if let Some((code, message, hint)) = refused {
                self.report(whole, Diagnostic::error(code, message).hint(hint));
                return None;
            }
        }
        match ColumnType::parse(trimmed) {
            Ok(column_type) => Some(column_type),
            Err(error) => {
                let code = match &error {
                    TypeError::Unknown { .. } => "unknown_type",
                    TypeError::Storage { .. } => "aggregate_storage_mismatch",
                    _ => "type_syntax",
                };
                let at = match &error {
                    TypeError::Unknown { name, .. } => trimmed.find(name.as_str()).map(|at| (at, name.len())),
                    TypeError::Syntax(rest) => trimmed.rfind(rest.as_str()).map(|at| (at, rest.len())),
                    _ => None,
                };
                let at = at.map_or(whole, |(at, length)| Span::new(start + at, start + at + length));
                let diagnostic = Diagnostic::error(code, error.to_string());
                let diagnostic = match error {
                    TypeError::Unknown { nearest: Some(nearest), .. } => {
                        diagnostic.hint(format!("did you mean {nearest}?"))
                    }
                    _ => diagnostic,
                };
                self.report(at, diagnostic);
                None
            }
        }
    }
}

impl Parts {
    /// Something that a default cannot follow was there.
    fn taken(&self) -> bool {
        self.default.is_some() || self.materialized.is_some() || self.codec.is_some()
    }
}

/// The signs that the original takes outside of quotes.
fn is_legal_sign(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '.' | '_' | '`' | '*' | '<' | '>' | '+' | '-' | '[' | ']' | '(' | ')')
        || matches!(c, ',' | '=' | '!' | '?' | ':' | '/' | '%')
}

/// Where another column begins in the text of a type, because a comma is missing before it.
fn missing_comma(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut line_start = None;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'`' if depth == 0 && at > 0 => return Some(at),
            b'\n' if depth == 0 => line_start = Some(at),
            _ => (),
        }
        if let Some(newline) = line_start
            && depth == 0
            && !byte.is_ascii_whitespace()
        {
            // Types of several words, as `DOUBLE PRECISION`, may be broken.
            return ColumnType::parse(text).is_err().then_some(at.max(newline));
        }
    }
    None
}

/// The words before an offset, for a message.
fn before(text: &str, at: usize) -> &str {
    let head = text[..at].trim_end();
    let start = head.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |it| it + 1);
    if head.is_char_boundary(start) { &head[start..] } else { head }
}

fn refused_keyword(keyword: Keyword) -> (&'static str, &'static str, &'static str) {
    match keyword {
        Keyword::Alias => {
            ("alias_column_unsupported", "ALIAS columns are not supported", "compute the value in a pipe")
        }
        Keyword::Ttl => ("column_ttl_unsupported", "a column cannot have a TTL", "the table can have one: ENGINE_TTL"),
        Keyword::NotNull => {
            ("not_null_unsupported", "NOT NULL is not needed", "columns hold no NULL unless Nullable(..) says so")
        }
        _ => ("null_unsupported", "NULL cannot stand here", "write the type as Nullable(..)"),
    }
}

/// The length of a jsonpath in its backquotes, if the text begins with one.
fn jsonpath_length(text: &str) -> Option<usize> {
    let head = text.get(.."`json:".len())?;
    if !head.eq_ignore_ascii_case("`json:") {
        return None;
    }
    text[1..].find('`').map(|end| end + 2)
}

/// The keyword that a text begins with, and its length.
fn keyword_at(text: &str) -> Option<(Keyword, usize)> {
    if !text.starts_with(['d', 'D', 'm', 'M', 'c', 'C', 'a', 'A', 't', 'T', 'n', 'N']) {
        return None;
    }
    let ends = |length: usize| !text[length..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    KEYWORDS.iter().find_map(|(word, keyword)| {
        if *keyword == Keyword::NotNull {
            let rest = text.get(..3).filter(|it| it.eq_ignore_ascii_case("not")).map(|_| &text[3..])?;
            let inner = rest.trim_start();
            let length = 3 + (rest.len() - inner.len()) + 4;
            let is = inner.len() < rest.len() && inner.get(..4).is_some_and(|it| it.eq_ignore_ascii_case("null"));
            return (is && ends(length)).then_some((*keyword, length));
        }
        let head = text.get(..word.len())?;
        (head.eq_ignore_ascii_case(word) && ends(word.len())).then_some((*keyword, word.len()))
    })
}

/// How far an expression goes: to the next keyword or jsonpath outside of brackets and quotes.
fn expression_length(text: &str) -> usize {
    let (mut depth, mut quote) = (0usize, None);
    let mut after_blank = false;
    let mut seen = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) => {
                if c == open {
                    quote = None;
                }
            }
            None => {
                let rest = &text[at..];
                if depth == 0 && c == '`' && jsonpath_length(rest).is_some() {
                    return at;
                }
                if depth == 0
                    && after_blank
                    && let Some((keyword, _)) = keyword_at(rest)
                    // `DEFAULT NULL` is a value.
                    && (keyword != Keyword::Null || seen)
                {
                    return at;
                }
                match c {
                    '\'' | '"' => quote = Some(c),
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => (),
                }
            }
        }
        after_blank = c.is_whitespace();
        seen |= !after_blank;
    }
    text.len()
}

/// Cuts `--` to the end of its line, but in jsonpaths and strings.
fn without_comments(text: Mapped) -> Mapped {
    if !text.text().contains("--") {
        return text;
    }
    let text = &text;
    let whole = text.text();
    let mut out = Mapped::default();
    let mut line_start = 0;
    for line in whole.split_inclusive('\n') {
        let mut cut = None;
        let (mut string, mut path) = (false, false);
        for (at, c) in line.char_indices() {
            match c {
                '`' if path => path = false,
                '`' if !string && jsonpath_length(&line[at..]).is_some() => path = true,
                '\'' if !path => string = !string,
                '-' if !path && !string && line[at..].starts_with("--") => {
                    cut = Some(at);
                    break;
                }
                _ => (),
            }
        }
        let body = line.trim_end_matches('\n').len();
        out.push_from(text, Span::new(line_start, line_start + cut.unwrap_or(body)));
        out.push_from(text, Span::new(line_start + body, line_start + line.len()));
        line_start += line.len();
    }
    out
}
