//! The lines of INDEXES: `[INDEX] name expression TYPE kind [GRANULARITY n]`.

use super::{
    Dialect,
    ast::{IndexLine, Text},
    values::trim,
};
use crate::diagnostic::{Diagnostic, Mapped, Span};

const SHAPE: &str = "an index is written: name expression TYPE kind GRANULARITY number";

/// Reads the text of INDEXES.
pub(super) fn parse(text: &Mapped, dialect: Dialect) -> (Vec<IndexLine>, Vec<(Span, Diagnostic)>) {
    let mut indexes = Vec::new();
    let mut diagnostics = Vec::new();
    let mut start = 0;
    for line in text.text().split_inclusive('\n') {
        let body = line.trim().trim_end_matches(',').trim_end();
        if !body.is_empty() {
            let at = start + (line.len() - line.trim_start().len());
            let span = Span::new(at, at + body.len());
            match index(text, span, dialect) {
                Ok(index) => indexes.push(index),
                Err((span, message)) => {
                    diagnostics.push((text.span(span), Diagnostic::error("index_syntax", message).hint(SHAPE)));
                }
            }
        }
        start += line.len();
    }
    (indexes, diagnostics)
}

fn index(text: &Mapped, span: Span, dialect: Dialect) -> Result<IndexLine, (Span, String)> {
    let body = &text.text()[span.start..span.end];
    let part = |start: usize, end: usize| {
        let inner = &body[start..end];
        let start = start + (inner.len() - inner.trim_start().len());
        let span = Span::new(span.start + start, span.start + (start + inner.trim().len()));
        Text { value: trim(text.slice(span)), span: text.span(span) }
    };
    // The original strips any of these letters from the left, also those of the name itself.
    let head = match dialect {
        Dialect::Auto => match body.get(..5).filter(|it| it.eq_ignore_ascii_case("index")) {
            Some(_) if body[5..].starts_with([' ', '\t']) => 5,
            _ => 0,
        },
        _ => body.len() - body.trim_start_matches(['I', 'N', 'D', 'E', 'X']).len(),
    };
    let head = head + (body[head..].len() - body[head..].trim_start().len());
    let name_end = head + body[head..].find([' ', '\t']).unwrap_or(body.len() - head);
    let name = part(head, name_end);
    if name.is_empty() || !name.as_str().chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Err((span, format!("`{name}` is no name of an index")));
    }
    let words = |word: &str| {
        let found = body[name_end..].match_indices(word).map(|(at, _)| at + name_end).filter(|at| {
            let blank = |c: Option<char>| c.is_none_or(|c| c.is_whitespace());
            blank(body[..*at].chars().next_back()) && blank(body[at + word.len()..].chars().next())
        });
        found.collect::<Vec<_>>()
    };
    let kinds = words("TYPE");
    let [at] = kinds[..] else {
        let message = if kinds.is_empty() { "the word TYPE is missing" } else { "TYPE stands here more than once" };
        return Err((span, message.to_owned()));
    };
    let expression = part(name_end, at);
    let granularity = words("GRANULARITY").first().copied();
    if granularity.is_some_and(|it| it < at) {
        return Err((span, "GRANULARITY stands before TYPE".to_owned()));
    }
    let kind = part(at + 4, granularity.unwrap_or(body.len()));
    let granularity = granularity.map(|at| part(at + "GRANULARITY".len(), body.len()));
    if expression.is_empty() || kind.is_empty() {
        return Err((span, "the expression or the kind is missing".to_owned()));
    }
    if let Some(number) = &granularity
        && number.as_str().parse::<u64>().is_err()
    {
        return Err((span, format!("GRANULARITY is a number, not `{number}`")));
    }
    Ok(IndexLine { name, expression, kind, granularity })
}
