//! Traps that render without an error and do not do what they seem to: what a check warns of.
//!
//! In: a template. Out: [`Trap`]s with their places. A lint never refuses.

use super::{
    Template,
    ast::{Body, Const, Expr, Kind, Node},
};
use crate::diagnostic::Span;

/// Something that is right by the language and hardly meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    pub code: &'static str,
    pub span: Span,
    pub message: String,
    pub hint: &'static str,
}

impl Template {
    /// The traps in it, in the order of the text.
    pub fn traps(&self) -> Vec<Trap> {
        let mut traps = Vec::new();
        body(&mut traps, &self.program.nodes, "");
        traps
    }
}

/// `before` is the text in front of a body.
fn body(traps: &mut Vec<Trap>, nodes: &Body, before: &str) {
    let mut before = before;
    for (index, node) in nodes.iter().enumerate() {
        match node {
            Node::Text(text, _) => before = text,
            Node::Print(exprs, _) => {
                let after = match nodes.get(index + 1) {
                    Some(Node::Text(text, _)) => text,
                    _ => "",
                };
                exprs.iter().for_each(|it| printed(traps, it, before, after));
                before = "";
            }
            Node::If(arms, otherwise) => {
                arms.iter().for_each(|(_, it)| body(traps, it, before));
                otherwise.iter().for_each(|it| body(traps, it, before));
                before = "";
            }
            Node::For(it) => {
                body(traps, &it.body, before);
                it.otherwise.iter().for_each(|it| body(traps, it, before));
                before = "";
            }
            Node::While(_, inside, otherwise) => {
                body(traps, inside, before);
                otherwise.iter().for_each(|it| body(traps, it, before));
                before = "";
            }
            Node::Try(it) => {
                body(traps, &it.body, before);
                it.handlers.iter().for_each(|it| body(traps, &it.body, ""));
                it.otherwise.iter().chain(&it.finally).for_each(|it| body(traps, it, ""));
                before = "";
            }
            Node::Set(_) | Node::Break | Node::Continue => (),
        }
    }
}

fn printed(traps: &mut Vec<Trap>, expr: &Expr, before: &str, after: &str) {
    if !is_text(expr) {
        return;
    }
    let before = before.trim_end_matches([' ', '\t', '\n', '\r']);
    if is_compared(before)
        && let Some(span) = percent(expr)
    {
        traps.push(Trap {
            code: "template_percent_never_equal",
            span,
            message: "a `%` in a text prints as `\\%`, two characters to the engine: this comparison never matches it"
                .to_owned(),
            hint: "compare by LIKE, where `\\%` is a plain per cent sign, or keep `%` out of the values",
        });
    }
    let is_pattern = |text: &str| text.chars().all(|c| c == '%' || c == '_');
    let opens = before.rfind('\'').is_some_and(|at| is_pattern(&before[at + 1..]) && is_odd(&before[..=at]));
    let closes = after.find('\'').is_some_and(|at| is_pattern(&after[..at]));
    if opens && closes {
        traps.push(Trap {
            code: "template_quoted_twice",
            span: expr.span,
            message: "a text prints with its quotes, and here it stands within quotes already".to_owned(),
            hint: "leave out the quotes around it; a pattern is concat('%', {{ String(x) }}, '%')",
        });
    }
}

/// Whether it prints a quoted literal.
fn is_text(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Call(call) => call.function.as_name().is_some_and(|it| &**it == "String"),
        Kind::Const(Const::Str(_)) => true,
        _ => false,
    }
}

/// Whether what follows is compared for equality.
fn is_compared(before: &str) -> bool {
    let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    (before.ends_with('=') && !before.ends_with("<=") && !before.ends_with(">="))
        || before.ends_with("<>")
        || (before.ends_with('(') && before.trim_end_matches(['(', ' ']).to_ascii_lowercase().ends_with(" in"))
        || word.eq_ignore_ascii_case("in")
}

/// A constant with `%` that the text may have: its default, an item of its enum, its example.
fn percent(expr: &Expr) -> Option<Span> {
    let has = |it: &Expr| matches!(&it.kind, Kind::Const(Const::Str(text)) if text.contains('%'));
    match &expr.kind {
        Kind::Const(_) => has(expr).then_some(expr.span),
        Kind::Call(call) => {
            let told =
                call.keywords.iter().filter(|it| matches!(it.name.as_deref(), Some("default" | "enum" | "example")));
            let values = call.args.iter().chain(told.map(|it| &it.value));
            let values = values.flat_map(|it| match &it.kind {
                Kind::List(items) => items.iter().collect::<Vec<_>>(),
                _ => vec![it],
            });
            values.into_iter().find(|it| has(it)).map(|it| it.span)
        }
        _ => None,
    }
}

/// Whether the last quote of a text opens a literal: as many stand before it as close each other.
fn is_odd(text: &str) -> bool {
    text.matches('\'').count() % 2 == 1
}
