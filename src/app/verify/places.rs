//! Where in its file a node is wrong, from what the engine says about its composed text.
//!
//! In: a node, and an error of the engine. Out: a place. The engine tells of names and rarely of places, and in a text
//! of ours. So names are looked for in the node's own SQL; where one stands several times, the engine is asked again
//! with some of them taken out; and all places go back through the template into the file.

use super::{AT_MOST, Check, SYNTAX_ERROR, Verifier, mode, quoted};
use crate::{
    diagnostic::{Mapped, Place, Span},
    engine::EngineError,
    project::{Node, NodeSql},
    query,
};

/// How often the engine is asked about one error.
const MAX_PROBES: usize = 16;

impl Verifier<'_> {
    pub(super) async fn place(&self, check: &Check<'_>, error: &EngineError) -> Place {
        let Some(readable) = check.node.readable() else { return check.node.place.clone() };
        let sql = readable.sql();
        if error.code == SYNTAX_ERROR
            && let Some(span) = self.syntax_error(sql).await
        {
            return readable.place(span);
        }
        let found = candidates(sql, &error.message);
        let span = match found.as_slice() {
            [] => find_excerpt(sql, &error.message),
            [only] => Some(*only),
            [first, ..] => self.first_to_blame(check, error, sql, &found).await.or(Some(*first)),
        };
        span.map_or_else(|| check.node.place.clone(), |span| readable.place(span))
    }

    /// Where the engine's parser stops in a text that it reads by itself.
    async fn syntax_error(&self, sql: &str) -> Option<Span> {
        let (statement, prefix) = query::explain_syntax(sql)?;
        let error = self.engine.command_within(&statement, AT_MOST).await.err()?;
        let position = error.message.split("failed at position ").nth(1)?;
        let digits = position.split(|it: char| !it.is_ascii_digit()).next()?;
        let start = digits.parse::<usize>().ok()?.checked_sub(1 + prefix)?;
        let rest = sql.get(start..)?;
        let token = rest.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(rest.len());
        Some(Span::new(start, start + token.max(rest.chars().next().map_or(0, char::len_utf8))))
    }

    /// The first of several places of a name that the engine minds: with it and all that follow replaced by NULL, it
    /// has something else to say.
    async fn first_to_blame(&self, check: &Check<'_>, error: &EngineError, sql: &str, places: &[Span]) -> Option<Span> {
        let mut text = sql.to_owned();
        for span in places.iter().take(MAX_PROBES).rev() {
            let mut probe = text.clone();
            probe.replace_range(span.start..span.end, "NULL");
            let node = Node { sql: NodeSql::Plain(Mapped::whole(probe.clone(), 0)), ..check.node.clone() };
            let how = mode(check.pipe, check.node);
            let Ok(select) = query::compile_for_owner(self.wanted, &self.scratch, check.pipe, &node, how) else {
                continue;
            };
            match self.engine.command_within(&query::describe(&select), AT_MOST).await {
                Err(other) if other.code == SYNTAX_ERROR => (),
                Err(other) if other.code == error.code && named(&other.message) == named(&error.message) => {
                    text = probe
                }
                _ => return Some(*span),
            }
        }
        None
    }
}

/// What an error is about first.
fn named(message: &str) -> Option<String> {
    quoted(message).into_iter().next()
}

/// The places of the first name of a message that stands in a text: those that can be meant.
fn candidates(sql: &str, message: &str) -> Vec<Span> {
    let function = message.split("function ").nth(1).and_then(|it| it.split([' ', '.', ',', ':']).next());
    let names = quoted(message).into_iter().chain(function.map(str::to_owned));
    for name in names {
        let last = name.rsplit('.').next().unwrap_or(&name);
        for name in [name.as_str(), last] {
            let found = find_words(sql, name);
            // Behind AS a name is given, behind a dot it is another table's.
            let is_read = |span: &&Span| {
                let before = sql[..span.start].trim_end();
                let word = before.rsplit(|it: char| !it.is_ascii_alphanumeric()).next().unwrap_or_default();
                !word.eq_ignore_ascii_case("as") && !before.ends_with('.')
            };
            let read: Vec<Span> = found.iter().filter(is_read).copied().collect();
            match (read.is_empty(), found.is_empty()) {
                (false, _) => return read,
                (true, false) => return found,
                (true, true) => (),
            }
        }
    }
    Vec::new()
}

/// The text after the place where the engine's parser stopped: `(z): z FROM t`. Its beginning, as long as it is
/// in the node's own text too.
pub(super) fn find_excerpt(text: &str, message: &str) -> Option<Span> {
    let rest = message.split("failed at position ").nth(1)?;
    let excerpt = rest.split_once("): ")?.1.split(". Expected").next()?;
    let mut end = excerpt.len();
    while end > 0 {
        if excerpt.is_char_boundary(end)
            && let Some(at) = text.find(&excerpt[..end])
        {
            let token = excerpt.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(end).clamp(1, end.max(1));
            return Some(Span::new(at, at + token));
        }
        end -= 1;
    }
    None
}

/// Where a name stands in SQL, outside of strings and comments.
pub(super) fn find_words(text: &str, word: &str) -> Vec<Span> {
    let mut res = Vec::new();
    if word.is_empty() {
        return res;
    }
    let bytes = text.as_bytes();
    let part = |at: Option<&u8>| at.is_some_and(|it| it.is_ascii_alphanumeric() || *it == b'_');
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(b"--") {
            at += rest.iter().position(|it| *it == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            at += rest.windows(2).position(|it| it == b"*/").map_or(rest.len(), |it| it + 2);
        } else if rest[0] == b'\'' {
            let mut end = 1;
            while end < rest.len() && rest[end] != b'\'' {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            at += end + 1;
        } else if rest.starts_with(word.as_bytes())
            && !part(at.checked_sub(1).and_then(|it| bytes.get(it)))
            && !part(bytes.get(at + word.len()))
        {
            res.push(Span::new(at, at + word.len()));
            at += word.len();
        } else {
            at += 1;
        }
    }
    res
}
