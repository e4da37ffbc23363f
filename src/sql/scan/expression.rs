//! Expressions of datafiles: keys, defaults, codecs, TTLs, settings of an engine.
//!
//! In: a text. Out: nothing, or why it cannot stand in a CREATE TABLE. Queries are not read here.

use super::{
    Refused, ScanError,
    functions::{self, Judged},
    lexer::{self, Kind, error, unquote},
};

/// A lone expression or a comma list: brackets balance, nothing ends the clause around it, no subquery, no
/// function that is known to be refused. Names of codecs, index types and settings are the engine's matter.
pub fn check_expression(text: &str) -> Result<(), ScanError> {
    let tokens = lexer::lex(text)?;
    let raw = |index: usize| tokens.get(index).map_or("", |it| &text[it.span.start..it.span.end]);
    let kind = |index: usize| tokens.get(index).map(|it| it.kind);
    let is_word = |index: usize, word: &str| kind(index) == Some(Kind::Word) && raw(index).eq_ignore_ascii_case(word);
    let mut depth = 0_usize;
    if tokens.is_empty() {
        return Err(error(crate::diagnostic::Span::at(0), "an expression is expected"));
    }
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open(b'{') => return Err(error(token.span, "braces are not allowed")),
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => depth -= 1,
            Kind::Semicolon => {
                let message = "one expression is expected".to_owned();
                return Err(ScanError { category: Refused::MultiStatement, span: token.span, message });
            }
            Kind::Word | Kind::Quoted => {
                let name = if token.kind == Kind::Quoted { unquote(raw(index)) } else { Some(raw(index).into()) };
                let name = name.ok_or_else(|| error(token.span, "this name cannot be read"))?;
                let after_dot = index > 0 && kind(index - 1) == Some(Kind::Dot);
                if functions::function(&name) == Judged::Denied && kind(index + 1) == Some(Kind::Open(b'(')) {
                    let message = format!("the function `{name}` is not allowed");
                    return Err(ScanError { category: Refused::Function, span: token.span, message });
                }
                if token.kind == Kind::Word && !after_dot && ends_clause(depth, index, &is_word, &kind) {
                    return Err(error(token.span, format!("`{name}` cannot stand in an expression")));
                }
            }
            _ => (),
        }
    }
    Ok(())
}

/// Words that would end the clause of a CREATE TABLE in which the expression stands, or begin a query.
fn ends_clause(
    depth: usize,
    index: usize,
    is_word: &impl Fn(usize, &str) -> bool,
    kind: &impl Fn(usize) -> Option<Kind>,
) -> bool {
    let followed_by_name = matches!(kind(index + 1), Some(Kind::Word | Kind::Quoted));
    if is_word(index, "SELECT") || is_word(index, "EXPLAIN") && followed_by_name {
        return true;
    }
    if depth > 0 {
        return false;
    }
    let by = is_word(index + 1, "BY");
    let begins_value = matches!(kind(index + 1), Some(Kind::Word | Kind::Quoted | Kind::Open(_)));
    match kind(index) {
        _ if is_word(index, "SETTINGS") => followed_by_name,
        _ if ["PARTITION", "ORDER", "SAMPLE"].iter().any(|it| is_word(index, it)) => by,
        _ if is_word(index, "PRIMARY") => is_word(index + 1, "KEY"),
        _ if is_word(index, "COMMENT") => kind(index + 1) == Some(Kind::String),
        _ if is_word(index, "ENGINE") => kind(index + 1) == Some(Kind::Operator),
        _ if ["TTL", "FORMAT", "INTO", "AS"].iter().any(|it| is_word(index, it)) => index > 0 && begins_value,
        _ => false,
    }
}
