//! Engine texts made fit to leave the server: physical names mapped back, what cannot be mapped dropped.
//!
//! In: a message of the engine. Out: words that name nothing the caller may not know: no database, no splice
//! with its filters, and for a caller who reads through a filter no value either.

use crate::{name::Namespace, project::Project};
use std::sync::Arc;

/// What a compiled query knows about the names in its text.
#[derive(Debug, Clone)]
pub struct Names {
    /// The workspace's, and those of workspaces that share something with it.
    databases: Arc<[String]>,
    filtered: bool,
    /// Values in a message may be those of secrets.
    secrets: bool,
}

/// Where the engine begins to quote the query, which is the composed one, or its own reading of it.
const QUOTES_QUERY: &[&str] = &[
    "in scope ",
    "in query ",
    "in query: ",
    "while executing ",
    "while processing ",
    "while resolving ",
    "while calculating ",
    "while reading ",
    "while building ",
    "try to register ",
    "already registered ",
    "select ",
    "prewhere ",
    "failed at position ",
    "(while ",
];

/// Errors that speak of the query, its types and its cost. All others may quote a value of a row, some without any
/// quotes around it.
const ABOUT_THE_QUERY: &[&str] = &[
    "AMBIGUOUS_COLUMN_NAME",
    "AMBIGUOUS_IDENTIFIER",
    "CYCLIC_ALIASES",
    "FUNCTION_NOT_ALLOWED",
    "ILLEGAL_AGGREGATION",
    "ILLEGAL_COLUMN",
    "ILLEGAL_TYPE_OF_ARGUMENT",
    "INVALID_JOIN_ON_EXPRESSION",
    "LIMIT_EXCEEDED",
    "MEMORY_LIMIT_EXCEEDED",
    "MULTIPLE_EXPRESSIONS_FOR_ALIAS",
    "NOT_AN_AGGREGATE",
    "NOT_IMPLEMENTED",
    "NO_COMMON_TYPE",
    "NUMBER_OF_ARGUMENTS_DOESNT_MATCH",
    "QUERY_WAS_CANCELLED",
    "SUPPORT_IS_DISABLED",
    "SYNTAX_ERROR",
    "TIMEOUT_EXCEEDED",
    "TOO_DEEP_AST",
    "TOO_FEW_ARGUMENTS_FOR_FUNCTION",
    "TOO_MANY_ARGUMENTS_FOR_FUNCTION",
    "TOO_MANY_BYTES",
    "TOO_MANY_ROWS",
    "TOO_MANY_ROWS_OR_BYTES",
    "TYPE_MISMATCH",
    "UNKNOWN_AGGREGATE_FUNCTION",
    "UNKNOWN_FUNCTION",
    "UNKNOWN_IDENTIFIER",
    "UNKNOWN_TABLE",
    "UNKNOWN_TYPE",
    "UNSUPPORTED_METHOD",
    "WITH_TIES_WITHOUT_ORDER_BY",
];

impl Names {
    pub fn new(namespace: &Namespace, filtered: bool) -> Names {
        Names { databases: [namespace.database().to_owned()].into(), filtered, secrets: false }
    }

    /// What the project reads of other workspaces is in databases with names that nobody is told either.
    pub fn with_shared(self, project: &Project) -> Names {
        if project.shared.is_empty() {
            return self;
        }
        let homes = project.shared.values().map(|it| it.home.database().to_owned());
        Names { databases: self.databases.iter().cloned().chain(homes).collect(), ..self }
    }

    pub fn with_secrets(self, secrets: bool) -> Names {
        Names { secrets, ..self }
    }

    pub fn is_filtered(&self) -> bool {
        self.filtered
    }

    pub(super) fn has_secrets(&self) -> bool {
        self.secrets
    }

    /// A text for someone from whom no row is hidden: whole, in the project's names.
    pub fn in_project(&self, engine_text: &str) -> String {
        self.without_names(engine_text)
    }

    /// The message as the caller may see it.
    pub fn public(&self, engine_text: &str) -> String {
        let code = code_name(engine_text);
        let body = engine_text.strip_suffix(&format!("({code})")).unwrap_or(engine_text);
        let lower = body.to_ascii_lowercase();
        let cut = QUOTES_QUERY.iter().filter_map(|it| lower.find(it)).min();
        let (said, quoted) = body.split_at(cut.unwrap_or(body.len()));
        let mut res = said.trim_end_matches([' ', ':', '.', ',', '(']).to_owned();
        if let Some(token) = self.syntax_token(said, quoted) {
            res.push_str(&token);
        }
        let mut res = self.without_names(&res);
        if self.filtered || self.secrets {
            let about_the_query = code.is_empty() || ABOUT_THE_QUERY.contains(&code);
            res = if about_the_query { without_values(&res) } else { "the query failed at a value".to_owned() };
        }
        // Hints of the form `name?` are tables, of which the caller may not know.
        if let Some((_, hint)) = quoted.rsplit_once("Maybe you meant: [")
            && let Some((hint, _)) = hint.split_once(']')
        {
            res.push_str(". Maybe you meant: [");
            res.push_str(&self.without_names(hint));
            res.push(']');
        }
        if res.is_empty() {
            res.push_str("the query failed");
        }
        if !code.is_empty() {
            res.push_str(". (");
            res.push_str(code);
            res.push(')');
        }
        res
    }

    /// The word at which the engine stopped reading: the caller's own, unless it is ours.
    fn syntax_token(&self, said: &str, quoted: &str) -> Option<String> {
        if self.filtered || self.secrets || !said.ends_with("Syntax error: ") {
            return None;
        }
        let (_, rest) = quoted.split_once('(')?;
        let (token, _) = rest.split_once(')')?;
        let plain = token.len() < 40 && !token.contains(['`', '\'', '"']);
        plain.then(|| format!(" at `{token}`"))
    }

    /// Without the workspace's database and the names that the engine makes up itself.
    fn without_names(&self, text: &str) -> String {
        let mut res = text.to_owned();
        for database in self.databases.iter().filter(|it| !it.is_empty()) {
            for name in [format!("`{database}`."), format!("{database}."), format!("`{database}`"), database.clone()] {
                if res.contains(&name) {
                    res = res.replace(&name, "");
                }
            }
        }
        // `__table1.column`
        while let Some(at) = res.find("__table") {
            let rest = &res[at + "__table".len()..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let dot = usize::from(rest[digits..].starts_with('.'));
            let end = at + "__table".len() + digits + dot;
            res = format!("{}{}", &res[..at], &res[end..]);
        }
        res
    }
}

/// `UNKNOWN_IDENTIFIER` of `.. (UNKNOWN_IDENTIFIER)`; empty where there is none.
fn code_name(text: &str) -> &str {
    let inner = text.strip_suffix(')').and_then(|it| it.rsplit_once('(')).map_or("", |(_, name)| name);
    if inner.bytes().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_') { inner } else { "" }
}

/// Without what stands in quotes, and without numbers outside words: both may come from hidden rows. Names in
/// backquotes stay, which are the caller's.
fn without_values(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut word = false;
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' | '‘' | '“' => {
                // A quote in a quoted value may not end it: all up to the last one goes.
                let rest: String = chars.by_ref().collect();
                let end = rest
                    .rfind(['\'', '"', '`', '’', '”'])
                    .map_or(rest.len(), |at| at + rest[at..].chars().next().map_or(0, char::len_utf8));
                res.push('…');
                res.push_str(&rest[end..]);
                return res;
            }
            c if c.is_ascii_digit() && !word => {
                while chars.peek().is_some_and(|it| it.is_ascii_digit() || *it == '.') {
                    chars.next();
                }
                res.push('…');
            }
            c => {
                word = c.is_ascii_alphanumeric() || c == '_';
                res.push(c);
            }
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(filtered: bool, text: &str) -> String {
        Names::new(&Namespace::new("w01_abc"), filtered).public(text)
    }

    #[test]
    fn the_splice_is_dropped_and_hints_are_kept() {
        let text = "Unknown expression identifier `nope` in scope SELECT nope FROM (SELECT * FROM w01_abc.events AS \
                    events PREWHERE (company_id = 1)) AS events. Maybe you meant: ['note']. (UNKNOWN_IDENTIFIER)";
        let expected = "Unknown expression identifier `nope`. Maybe you meant: ['note']. (UNKNOWN_IDENTIFIER)";
        assert_eq!(public(false, text), expected);
        assert_eq!(public(true, text), expected);
        let text = "Unknown table expression identifier 'evnts' in scope SELECT * FROM evnts. Maybe you meant \
                    w01_abc.events?. (UNKNOWN_TABLE)";
        let expected = "Unknown table expression identifier 'evnts'. (UNKNOWN_TABLE)";
        assert_eq!(public(false, text), expected);
    }

    #[test]
    fn values_are_dropped_where_rows_are_hidden() {
        let text = "Cannot parse string 'it's a SECRET' as UInt8: syntax error at begin of string. Note: there are \
                    toUInt8OrZero: while executing 'FUNCTION toUInt8(__table1.note :: 1)'. (CANNOT_PARSE_TEXT)";
        let public = public(true, text);
        assert_eq!(public, "the query failed at a value. (CANNOT_PARSE_TEXT)");
        let text = "Cannot parse IPv4 SECRET: Cannot parse IPv4 from String. (CANNOT_PARSE_IPV4)";
        assert_eq!(self::public(true, text), "the query failed at a value. (CANNOT_PARSE_IPV4)");
        assert_eq!(self::public(false, text), text);
        let text = "Aggregate function sum('x') is found in WHERE. (ILLEGAL_AGGREGATION)";
        assert_eq!(self::public(true, text), "Aggregate function sum(…) is found in WHERE. (ILLEGAL_AGGREGATION)");
        let text = "Syntax error: failed at position 10 (x) (line 1, col 10): x PREWHERE (a = 1). (SYNTAX_ERROR)";
        assert_eq!(self::public(false, text), "Syntax error at `x`. (SYNTAX_ERROR)");
        assert_eq!(self::public(true, text), "Syntax error. (SYNTAX_ERROR)");
        assert_eq!(self::public(true, "Limit exceeded: 4711 rows"), "Limit exceeded: … rows");
    }
}
