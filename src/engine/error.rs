//! What the engine says went wrong, read into kind, number and words.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineError {
    pub kind: EngineErrorKind,
    /// ClickHouse's own number, 0 when the error is not the engine's.
    pub code: i32,
    /// The engine's words without its version. They name physical tables: whoever shows them to others maps
    /// the names back first.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// The statement is wrong: the asker's fault.
    Query,
    Timeout,
    TooMuchMemory,
    /// A limit on rows, bytes or results.
    Limit,
    Cancelled,
    DiskFull,
    /// The library is not there; the message names the command that gets it.
    Missing,
    /// Another process has the data directory; the message names it.
    Locked,
    Closed,
    /// A server that runs the engine cannot be reached, or went away in the middle.
    Unreachable,
    Internal,
}

impl EngineError {
    /// An error of ours, not of the engine.
    pub(super) fn own(kind: EngineErrorKind, message: impl Into<String>) -> EngineError {
        EngineError { kind, code: 0, message: message.into() }
    }

    pub(super) fn closed() -> EngineError {
        EngineError::own(EngineErrorKind::Closed, "the engine is closed")
    }

    pub(super) fn too_long(limit: std::time::Duration) -> EngineError {
        let message = format!("Timeout exceeded: the query worked for longer than {limit:?}. (TIMEOUT_EXCEEDED)");
        EngineError { kind: EngineErrorKind::Timeout, code: 159, message }
    }

    /// Reads `Code: 62. DB::Exception: Syntax error: .. (SYNTAX_ERROR) (version 26.7.2.1)`.
    pub(super) fn parse(text: &str) -> EngineError {
        let mut code = 0;
        let mut rest = text.split("Stack trace").next().unwrap_or_default().trim();
        // An error that was passed on carries the head of each that it went through.
        while let Some((number, after)) = rest.strip_prefix("Code: ").and_then(|it| it.split_once(". ")) {
            let Ok(number) = number.parse() else { break };
            code = number;
            rest = after.strip_prefix("DB::Exception: ").unwrap_or(after).trim_start();
        }
        let mut message = rest.to_owned();
        while let Some(start) = message.find(" (version ") {
            let end = message[start..].find(')').map_or(message.len(), |it| start + it + 1);
            message.replace_range(start..end, "");
            // What follows repeats the name of the error: `(READONLY). (READONLY)`.
            if let Some((head, tail)) = message.split_at_checked(start)
                && tail.strip_prefix(". ").is_some_and(|name| head.ends_with(name))
            {
                message.truncate(start);
            }
        }
        EngineError { kind: kind(code), code, message }
    }

    /// Whether the same work may succeed later.
    pub fn is_retryable(&self) -> bool {
        use EngineErrorKind::{DiskFull, Timeout, TooMuchMemory, Unreachable};
        matches!(self.kind, TooMuchMemory | DiskFull | Timeout | Unreachable) || self.code == TOO_MANY_PARTS
    }

    /// Where in the statement the engine's parser gave up: a byte offset.
    pub fn position(&self) -> Option<usize> {
        let (_, rest) = self.message.split_once("failed at position ")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().ok()?.checked_sub(1)
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EngineError {}

const TOO_MANY_PARTS: i32 = 252;

/// The engine's numbers that mean something other than a wrong statement.
fn kind(code: i32) -> EngineErrorKind {
    match code {
        159 | 160 | 209 => EngineErrorKind::Timeout,
        241 | 173 => EngineErrorKind::TooMuchMemory,
        158 | 307 | 396 | 191 | 290 | TOO_MANY_PARTS => EngineErrorKind::Limit,
        394 => EngineErrorKind::Cancelled,
        243 => EngineErrorKind::DiskFull,
        236 => EngineErrorKind::Closed,
        // No number, a broken assumption, a file, the system, or a foreign exception.
        0 | 49 | 74 | 75 | 76 | 107 | 425 | 1000 | 1001 | 1002 => EngineErrorKind::Internal,
        _ => EngineErrorKind::Query,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read() {
        let error = EngineError::parse(
            "Code: 62. DB::Exception: Syntax error: failed at position 8 (fro): fro. Expected one of: x. \
             (SYNTAX_ERROR) (version 26.7.2.1 (official build))",
        );
        assert_eq!((error.kind, error.code, error.position()), (EngineErrorKind::Query, 62, Some(7)));
        let nested = EngineError::parse(
            "Code: 164. DB::Exception: Code: 164. DB::Exception: Cannot modify 'log_comment' setting in readonly \
             mode. (READONLY) (version 26.7.2.1). (READONLY)",
        );
        assert_eq!(nested.message, "Cannot modify 'log_comment' setting in readonly mode. (READONLY)");
        let memory = EngineError::parse("Code: 241. DB::Exception: too much (MEMORY_LIMIT_EXCEEDED)");
        assert!(memory.is_retryable());
        let odd = EngineError::parse("something else");
        assert_eq!((odd.kind, odd.code, odd.message.as_str()), (EngineErrorKind::Internal, 0, "something else"));
    }
}
