//! Reads a user's ClickHouse SQL as the engine's own lexer does, and finds what it names.
//!
//! In: a rendered text. Out: a [`Scan`] with every table reference and the clauses a splice must know of, or
//! the reason why the text is refused. What the names mean is not known here.

mod clauses;
pub mod client;
mod expression;
mod functions;
mod lexer;
mod outline;
mod tables;
mod walk;
mod words;

#[cfg(test)]
mod tests;

pub use expression::check_expression;
pub use functions::{Judged, function};
pub use outline::{Join, aggregates, is_limited, joins, stray_word, table_functions};

use crate::diagnostic::Span;
use lexer::Kind;
use walk::{Walker, Whole};

/// What a text names, if it is one read that holds nothing forbidden.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// In the order of the text.
    pub tables: Vec<TableRef>,
    pub selects: Vec<Select>,
    /// Placeholders `{name: String}` of secrets.
    pub placeholders: Vec<(Span, String)>,
    /// Names given to values by AS: a table must not be called so as well.
    pub aliases: Vec<String>,
    /// `zeros(..)` and `zeros_mt(..)`: the name, and where the bracket ends. A reader's role may not call them.
    pub zeros: Vec<(Span, usize)>,
    /// Where the statement ends: what follows is a `;`, white space and comments.
    pub end: usize,
}

/// One place where a table is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRef {
    /// The name as written, quotes included.
    pub span: Span,
    /// The name it stands for.
    pub name: String,
    /// The alias without its `AS`.
    pub alias: Option<Span>,
    pub final_: Option<Span>,
    /// `SAMPLE n [OFFSET m]`.
    pub sample: Option<Span>,
    pub position: Position,
    /// The select it belongs to, an index into [`Scan::selects`].
    pub select: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// After FROM, JOIN or a comma between tables: it is a table.
    From,
    /// After IN, or as the second argument of `in()`: a table, unless it is a column or an alias.
    In,
}

/// One SELECT of a text, with the clauses that a splice touches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Select {
    /// The keyword, and where its condition ends.
    pub prewhere: Option<(Span, usize)>,
    pub where_: Option<(Span, usize)>,
}

/// What is said of a text in which nothing stands.
pub const EMPTY: &str = "the text is empty";

/// Why a text was refused; the span is in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScanError {
    pub category: Refused,
    pub span: Span,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Syntax,
    NotSelect,
    MultiStatement,
    UnknownTable,
    SystemTable,
    DatabasePrefix,
    TableFunction,
    Function,
    Settings,
    Outfile,
    Format,
    Cycle,
    /// A `{name:Type}` without a value.
    Parameter,
}

/// The tokens of a text, its literals made alike: `''` for a string, `` `` `` for a name in quotes, `0` for a number.
/// Two texts with the same shape differ in nothing but the values in them.
pub fn shape(text: &str) -> Result<Vec<String>, ScanError> {
    let shown = |token: &lexer::Token| match token.kind {
        lexer::Kind::String => "''".to_owned(),
        lexer::Kind::Quoted => "``".to_owned(),
        lexer::Kind::Number => "0".to_owned(),
        _ => text[token.span.start..token.span.end].to_owned(),
    };
    Ok(lexer::lex(text)?.iter().map(shown).collect())
}

/// Scans a text that must be one SELECT; `{..}` placeholders are refused.
pub fn scan(text: &str) -> Result<Scan, ScanError> {
    scan_with(text, &[], &[])
}

/// The engine plans a union of ten thousand selects for many seconds, in which no limit of time ends it.
const MAX_SELECTS: usize = 500;

fn check_size(text: &str, tokens: &[lexer::Token]) -> Result<(), ScanError> {
    let is_select =
        |it: &&lexer::Token| it.kind == Kind::Word && text[it.span.start..it.span.end].eq_ignore_ascii_case("SELECT");
    match tokens.iter().filter(is_select).nth(MAX_SELECTS) {
        Some(token) => Err(lexer::error(token.span, format!("a text has at most {MAX_SELECTS} selects"))),
        None => Ok(()),
    }
}

/// Scans a text in which the `{name: String}` of these secrets may stand, and tables of these databases, which are
/// resolved like every other name.
pub fn scan_with(text: &str, secrets: &[String], databases: &[&str]) -> Result<Scan, ScanError> {
    let tokens = query_tokens(text)?;
    Walker { databases, ..Walker::new(text, &tokens, secrets) }.walk(Whole::Query)
}

/// The same for a look at what a text means to read: a table of another workspace is one called `workspace.table`.
pub fn scan_shared(text: &str, secrets: &[String]) -> Result<Scan, ScanError> {
    let tokens = query_tokens(text)?;
    Walker { shared: true, ..Walker::new(text, &tokens, secrets) }.walk(Whole::Query)
}

/// The same for ClickHouse's clients, who may name the tables of `system`: like every other name they mean what the
/// caller's rights make of them.
pub fn scan_client(text: &str, secrets: &[String], databases: &[&str]) -> Result<Scan, ScanError> {
    let tokens = query_tokens(text)?;
    Walker { system: true, databases, ..Walker::new(text, &tokens, secrets) }.walk(Whole::Query)
}

fn query_tokens(text: &str) -> Result<Vec<lexer::Token>, ScanError> {
    let mut tokens = lexer::lex(text)?;
    // A query may end with `;`.
    while tokens.len() > 1 && tokens.last().is_some_and(|it| it.kind == Kind::Semicolon) {
        tokens.pop();
    }
    check_size(text, &tokens)?;
    Ok(tokens)
}

/// Scans a row filter: a lone expression, subqueries allowed.
pub fn scan_filter(text: &str) -> Result<Scan, ScanError> {
    let tokens = lexer::lex(text)?;
    check_size(text, &tokens)?;
    Walker::new(text, &tokens, &[]).walk(Whole::Filter)
}

/// A query that is to be explained.
#[derive(Debug, PartialEq, Eq)]
pub struct Explained<'a> {
    pub query: &'a str,
    /// How many lines of the plan are wanted.
    pub most: Option<usize>,
}

/// The query behind `EXPLAIN` or `EXPLAIN PLAN`, where that is the whole text or stands in the brackets that the
/// Classic `tb sql` puts around every text: `SELECT * FROM (..) LIMIT 100`.
pub fn cut_explain(text: &str) -> Option<Explained<'_>> {
    let tokens = lexer::lex(text).ok()?;
    let raw = |index: usize| tokens.get(index).map_or("", |it| &text[it.span.start..it.span.end]);
    let word = |index: usize, word: &str| raw(index).eq_ignore_ascii_case(word);
    let is_wrapped = word(0, "SELECT") && raw(1) == "*" && word(2, "FROM") && raw(3) == "(";
    let begin = if is_wrapped { 4 } else { 0 };
    let first = match (word(begin, "EXPLAIN"), word(begin + 1, "PLAN")) {
        (false, _) => return None,
        (true, plan) => begin + 1 + usize::from(plan),
    };
    if !word(first, "SELECT") && !word(first, "WITH") {
        return None;
    }
    let start = tokens[first].span.start;
    if !is_wrapped {
        return Some(Explained { query: &text[start..], most: None });
    }
    let mut depth = 1;
    let close = (first..tokens.len()).find(|it| {
        match tokens[*it].kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => depth -= 1,
            _ => (),
        }
        depth == 0
    })?;
    let most = match tokens.len() - close - 1 {
        0 => None,
        2 if word(close + 1, "LIMIT") => Some(raw(close + 2).parse().ok()?),
        _ => return None,
    };
    Some(Explained { query: &text[start..tokens[close].span.start], most })
}

/// Takes a trailing top-level `FORMAT name` off a text, and the `;` that may follow it.
pub fn cut_format(text: &str) -> (&str, Option<String>) {
    let Ok(mut tokens) = lexer::lex(text) else { return (text, None) };
    while tokens.last().is_some_and(|it| it.kind == Kind::Semicolon) {
        tokens.pop();
    }
    let [.., before, format, name] = tokens.as_slice() else { return (text, None) };
    let raw = |token: &lexer::Token| &text[token.span.start..token.span.end];
    if format.kind != Kind::Word || !raw(format).eq_ignore_ascii_case("FORMAT") {
        return (text, None);
    }
    let name = match name.kind {
        Kind::Word => Some(raw(name).to_owned()),
        Kind::Quoted => lexer::unquote(raw(name)).map(Into::into),
        _ => None,
    };
    // After BY, a comma or an operator `format` is a column.
    let ends_value = match before.kind {
        Kind::Word => words::ends_value(raw(before)),
        Kind::Quoted | Kind::String | Kind::Number | Kind::Close(_) | Kind::Star => true,
        _ => false,
    };
    match name {
        Some(name) if ends_value => (&text[..before.span.end], Some(name)),
        _ => (text, None),
    }
}

/// Whether a name stands before a dot anywhere in a text: `name.column`.
pub fn qualifies(text: &str, name: &str) -> bool {
    !qualifiers(text, name).is_empty()
}

/// Where a name stands before a dot.
pub fn qualifiers(text: &str, name: &str) -> Vec<Span> {
    let Ok(tokens) = lexer::lex(text) else { return Vec::new() };
    let is_name = |token: &lexer::Token| {
        let raw = &text[token.span.start..token.span.end];
        match token.kind {
            Kind::Word => raw == name,
            Kind::Quoted => lexer::unquote(raw).is_some_and(|it| it == name),
            _ => false,
        }
    };
    let before_dot = |index: &usize| tokens.get(index + 1).is_some_and(|it| it.kind == Kind::Dot);
    let begins = |index: &usize| index.checked_sub(1).is_none_or(|it| tokens[it].kind != Kind::Dot);
    let found = (0..tokens.len()).filter(|it| is_name(&tokens[*it]) && before_dot(it) && begins(it));
    found.map(|it| tokens[it].span).collect()
}

/// The name that a token of a text stands for, its quotes taken off.
pub fn name_at(text: &str, span: Span) -> Option<String> {
    let raw = text.get(span.start..span.end)?;
    match raw.starts_with(['`', '"']) {
        true => lexer::unquote(raw).map(Into::into),
        false => Some(raw.to_owned()),
    }
}

/// Whether a name stands anywhere in a text, quoted or not.
pub fn mentions(text: &str, name: &str) -> bool {
    let Ok(tokens) = lexer::lex(text) else { return true };
    tokens.iter().any(|it| {
        let raw = &text[it.span.start..it.span.end];
        match it.kind {
            Kind::Word => raw == name,
            Kind::Quoted => lexer::unquote(raw).is_some_and(|it| it == name),
            _ => false,
        }
    })
}
