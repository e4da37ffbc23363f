//! What a text shows at a glance: for reports and lints, never for what a reader may see.
//!
//! In: a text. Out: the table functions it calls, the joins of its selects, a word where none can stand.

use super::lexer::{self, Kind, Token};
use super::words::{Keyword, keyword};
use crate::diagnostic::Span;

/// A join, and what is joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The word JOIN.
    pub span: Span,
    /// The name of the table; nothing where a subquery is joined.
    pub table: Option<(Span, String)>,
    /// The subquery, brackets included.
    pub subquery: Option<Span>,
}

/// The functions that stand where a table could.
pub fn table_functions(text: &str) -> Vec<(Span, String)> {
    let Ok(tokens) = lexer::lex(text) else { return Vec::new() };
    let raw = |token: &Token| &text[token.span.start..token.span.end];
    let starts = |it: &Token| it.kind == Kind::Word && matches!(keyword(raw(it)), Some(Keyword::From | Keyword::Join));
    let calls = tokens.windows(3).filter(|it| {
        starts(&it[0]) && it[1].kind == Kind::Word && keyword(raw(&it[1])).is_none() && it[2].kind == Kind::Open(b'(')
    });
    calls.map(|it| (it[1].span, raw(&it[1]).to_owned())).collect()
}

/// The joins of a text, those of its subqueries included.
pub fn joins(text: &str) -> Vec<Join> {
    let Ok(tokens) = lexer::lex(text) else { return Vec::new() };
    let raw = |token: &Token| &text[token.span.start..token.span.end];
    let is_join = |it: &Token| it.kind == Kind::Word && keyword(raw(it)) == Some(Keyword::Join);
    let mut joins = Vec::new();
    for (index, token) in tokens.iter().enumerate().filter(|(_, it)| is_join(it)) {
        let array = index.checked_sub(1).and_then(|it| tokens.get(it));
        if array.is_some_and(|it| it.kind == Kind::Word && keyword(raw(it)) == Some(Keyword::Array)) {
            continue;
        }
        let Some(next) = tokens.get(index + 1) else { continue };
        let called = tokens.get(index + 2).is_some_and(|it| it.kind == Kind::Open(b'('));
        let name = match next.kind {
            Kind::Word if !called => Some(raw(next).to_owned()),
            Kind::Quoted => lexer::unquote(raw(next)).map(|it| it.into_owned()),
            _ => None,
        };
        let subquery =
            (next.kind == Kind::Open(b'(')).then(|| Span::new(next.span.start, tokens[next.partner].span.end));
        joins.push(Join { span: token.span, table: name.map(|it| (next.span, it)), subquery });
    }
    joins
}

/// Calls of aggregate functions that give a value, each with its place and the name it gets by AS.
pub fn aggregates(text: &str) -> Vec<(String, Span, String)> {
    const FUNCTIONS: &[&str] = &[
        "any",
        "anyLast",
        "argMax",
        "argMin",
        "avg",
        "count",
        "groupArray",
        "groupUniqArray",
        "max",
        "median",
        "min",
        "quantile",
        "quantiles",
        "sum",
        "topK",
        "uniq",
        "uniqCombined",
        "uniqExact",
        "uniqHLL12",
    ];
    let Ok(tokens) = lexer::lex(text) else { return Vec::new() };
    let raw = |token: &Token| &text[token.span.start..token.span.end];
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate().filter(|(_, it)| it.kind == Kind::Word) {
        let name = raw(token);
        let bare = name.strip_suffix("Merge").or(name.strip_suffix("If")).unwrap_or(name);
        if !FUNCTIONS.iter().any(|it| it.eq_ignore_ascii_case(bare)) {
            continue;
        }
        let mut close = match tokens.get(index + 1) {
            Some(open) if open.kind == Kind::Open(b'(') => open.partner,
            _ => continue,
        };
        // `quantile(0.9)(x)`
        if let Some(open) = tokens.get(close + 1).filter(|it| it.kind == Kind::Open(b'(')) {
            close = open.partner;
        }
        let [as_, alias] = match tokens.get(close + 1..close + 3) {
            Some([as_, alias]) => [as_, alias],
            _ => continue,
        };
        if as_.kind != Kind::Word || keyword(raw(as_)) != Some(Keyword::As) {
            continue;
        }
        let alias = match alias.kind {
            Kind::Word => raw(alias).to_owned(),
            Kind::Quoted => lexer::unquote(raw(alias)).map_or(String::new(), |it| it.into_owned()),
            _ => continue,
        };
        found.push((name.to_owned(), token.span, alias));
    }
    found
}

/// Whether a condition limits what a query gives: WHERE, PREWHERE, LIMIT, or IN anywhere.
pub fn is_limited(text: &str) -> bool {
    let Ok(tokens) = lexer::lex(text) else { return true };
    tokens.iter().filter(|it| it.kind == Kind::Word).any(|it| {
        let word = keyword(&text[it.span.start..it.span.end]);
        matches!(word, Some(Keyword::Where | Keyword::Prewhere | Keyword::Limit | Keyword::Condition | Keyword::In))
    })
}

/// A word outside of brackets that follows a name given by AS and begins nothing: the engine's parser stops there.
/// Also a SELECT with nothing behind it.
pub fn stray_word(text: &str) -> Option<Span> {
    const BEHIND: &[&str] =
        &["ASC", "DESC", "NULLS", "COLLATE", "FETCH", "PARALLEL", "SIGNED", "UNSIGNED", "TO", "FOR"];
    let tokens = lexer::lex(text).ok()?;
    let raw = |token: &Token| &text[token.span.start..token.span.end];
    if let [only] = tokens.as_slice()
        && only.kind == Kind::Word
        && keyword(raw(only)) == Some(Keyword::Select)
    {
        return Some(only.span);
    }
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => depth = depth.saturating_sub(1),
            _ => (),
        }
        let [first, second, third] = tokens.get(index..index + 3)? else { return None };
        let is_name =
            matches!(second.kind, Kind::Quoted) || second.kind == Kind::Word && keyword(raw(second)).is_none();
        if depth == 0
            && first.kind == Kind::Word
            && keyword(raw(first)) == Some(Keyword::As)
            && is_name
            && third.kind == Kind::Word
            && keyword(raw(third)).is_none()
            && !BEHIND.iter().any(|it| it.eq_ignore_ascii_case(raw(third)))
        {
            return Some(third.span);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_where_none_can_stand() {
        for (text, stray) in [
            ("SELECT 1 AS x\nTYPE endpoint", Some("TYPE")),
            ("SELECT", Some("SELECT")),
            ("SELECT a AS b FROM t AS u LEFT JOIN v AS w USING k ORDER BY a AS c DESC", None),
            ("SELECT CAST(a AS DOUBLE PRECISION) AS d, e", None),
            ("WITH 1 AS x SELECT x", None),
        ] {
            assert_eq!(stray_word(text).map(|it| &text[it.start..it.end]), stray, "{text}");
        }
    }

    #[test]
    fn aggregates_are_seen() {
        let text =
            "SELECT k, sum(x + 1) AS total, quantile(0.9)(x) AS `p 90`, countState() AS n, max(y) FROM t GROUP BY k";
        let found: Vec<_> = aggregates(text).into_iter().map(|it| (it.0, it.2)).collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(found, [pair("sum", "total"), pair("quantile", "p 90")]);
    }

    #[test]
    fn joins_are_seen() {
        let text = "SELECT * FROM a LEFT JOIN b USING k JOIN (SELECT * FROM c) AS d USING k ARRAY JOIN e, numbers(1)";
        let found: Vec<_> =
            joins(text).into_iter().map(|it| (it.table.map(|it| it.1), it.subquery.is_some())).collect();
        assert_eq!(found, [(Some("b".to_owned()), false), (None, true)]);
        assert_eq!(table_functions("SELECT 1 FROM numbers(1)").len(), 1);
    }
}
