//! The outermost layer of the language: text, `{{ expressions }}`, `{% tags %}` and `{# comments #}`.
//!
//! In: the template's text. Out: [`Chunk`]s in source order, with spans. What stands inside the braces is not
//! known here: the first closing pair ends it, quotes or not.

use super::{TemplateError, error::problem};
use crate::diagnostic::Span;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Chunk {
    Text(Span),
    /// The trimmed inside of `{{ }}`.
    Expression(Span),
    /// The trimmed inside of `{% %}`.
    Tag(Span),
}

/// The chunks up to the end, or up to what cannot be cut.
pub(super) fn scan(text: &str) -> (Vec<Chunk>, Option<TemplateError>) {
    let bytes = text.as_bytes();
    let mut chunks = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('{') {
        at += found;
        let Some(&kind) = bytes.get(at + 1) else { break };
        if !matches!(kind, b'{' | b'%' | b'#') || (kind == b'{' && bytes.get(at + 2) == Some(&b'{')) {
            // In a run of braces the innermost two count.
            at += 1;
            continue;
        }
        if at > start {
            chunks.push(Chunk::Text(Span::new(start, at)));
        }
        let inside = at + 2;
        if bytes.get(inside) == Some(&b'!') {
            chunks.push(Chunk::Text(Span::new(at, inside)));
            at = inside + 1;
            start = at;
            continue;
        }
        let (close, what) = match kind {
            b'{' => ("}}", "expression"),
            b'%' => ("%}", "tag"),
            _ => ("#}", "comment"),
        };
        let Some(length) = text[inside..].find(close) else {
            let message = format!("this {what} is not closed: `{close}` is missing");
            return (chunks, Some(problem("parse", Span::new(at, text.len()), message)));
        };
        let whole = Span::new(at, inside + length + 2);
        let span = trim(text, Span::new(inside, inside + length));
        at = whole.end;
        start = at;
        if kind == b'#' {
            continue;
        }
        if span.is_empty() {
            return (chunks, Some(problem("parse", whole, format!("there is nothing in this {what}"))));
        }
        chunks.push(if kind == b'{' { Chunk::Expression(span) } else { Chunk::Tag(span) });
    }
    if start < text.len() {
        chunks.push(Chunk::Text(Span::new(start, text.len())));
    }
    (chunks, None)
}

/// White space as Python's `str.strip` sees it.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

pub(super) fn trim(text: &str, span: Span) -> Span {
    let inside = &text[span.start..span.end];
    let left = inside.trim_start_matches(is_space);
    let start = span.end - left.len();
    Span::new(start, start + left.trim_end_matches(is_space).len())
}

/// What `{% whitespace %}` does to the text after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whitespace {
    All,
    Single,
    OneLine,
}

impl Whitespace {
    pub(super) fn named(name: &str) -> Option<Whitespace> {
        Some(match name {
            "all" => Whitespace::All,
            "single" => Whitespace::Single,
            "oneline" => Whitespace::OneLine,
            _ => return None,
        })
    }

    pub(super) fn apply(self, text: &str) -> String {
        if self == Whitespace::All || text.contains("<pre>") {
            return text.to_owned();
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = rest.find(|c| !is_space(c)).unwrap_or(rest.len());
            if length == 0 {
                out.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            let run = &rest[..length];
            if self == Whitespace::OneLine {
                out.push(' ');
            } else if run.contains('\n') {
                out.push('\n');
            } else {
                collapse_blanks(run, &mut out);
            }
            rest = &rest[length..];
        }
        out
    }
}

/// Runs of blanks and tabs become one blank; other white space stays.
fn collapse_blanks(run: &str, out: &mut String) {
    let mut in_blanks = false;
    for c in run.chars() {
        if matches!(c, ' ' | '\t') {
            if !in_blanks {
                out.push(' ');
            }
            in_blanks = true;
        } else {
            out.push(c);
            in_blanks = false;
        }
    }
}
