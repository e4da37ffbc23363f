//! Errors in ClickHouse's own words and numbers.
//!
//! In: what the rest of the server finds wrong. Out: `Code: N. DB::Exception: .. (NAME)`, with the status that
//! ClickHouse gives it and the number in a header. This is the one table of numbers, names and statuses of the door.

use super::{reply::Head, request::Credentials};
use crate::{
    engine::{EngineError, EngineErrorKind},
    server::error::{ApiError, Fault, Logged},
};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

/// An error on its way out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Exception {
    code: i32,
    message: String,
    /// Where ClickHouse's number has none of its own.
    status: StatusCode,
    retry_after: Option<HeaderValue>,
    /// What the log says where the caller is told less.
    log: String,
    ask_password: bool,
    /// The token may not do it, whatever ClickHouse's number says.
    denied: bool,
}

pub(super) const UNKNOWN_DATABASE: i32 = 81;
pub(super) const UNKNOWN_FORMAT: i32 = 73;
pub(super) const UNKNOWN_SETTING: i32 = 115;
pub(super) const READONLY: i32 = 164;
pub(super) const SETTING_CONSTRAINT: i32 = 452;
pub(super) const NOT_IMPLEMENTED: i32 = 48;
pub(super) const SYNTAX_ERROR: i32 = 62;
pub(super) const UNKNOWN_ROLE: i32 = 511;
const ABORTED: i32 = 236;
const AUTHENTICATION_FAILED: i32 = 516;
const NO_HANDLE: i32 = 0;

/// Numbers, names, statuses. The engine's own messages end in their names already.
const KNOWN: &[(i32, &str, u16)] = &[
    (16, "NO_SUCH_COLUMN_IN_TABLE", 404),
    (36, "BAD_ARGUMENTS", 400),
    (46, "UNKNOWN_FUNCTION", 404),
    (47, "UNKNOWN_IDENTIFIER", 404),
    (NOT_IMPLEMENTED, "NOT_IMPLEMENTED", 501),
    (49, "LOGICAL_ERROR", 500),
    (50, "UNKNOWN_TYPE", 404),
    (60, "UNKNOWN_TABLE", 404),
    (SYNTAX_ERROR, "SYNTAX_ERROR", 400),
    (63, "UNKNOWN_AGGREGATE_FUNCTION", 404),
    (UNKNOWN_FORMAT, "UNKNOWN_FORMAT", 404),
    (UNKNOWN_DATABASE, "UNKNOWN_DATABASE", 404),
    (UNKNOWN_SETTING, "UNKNOWN_SETTING", 404),
    (159, "TIMEOUT_EXCEEDED", 408),
    (READONLY, "READONLY", 403),
    (202, "TOO_MANY_SIMULTANEOUS_QUERIES", 503),
    (307, "TOO_MANY_BYTES", 413),
    (396, "TOO_MANY_ROWS_OR_BYTES", 413),
    (446, "FUNCTION_NOT_ALLOWED", 400),
    (SETTING_CONSTRAINT, "SETTING_CONSTRAINT_VIOLATION", 400),
    (456, "UNKNOWN_QUERY_PARAMETER", 400),
    (457, "BAD_QUERY_PARAMETER", 400),
    (497, "ACCESS_DENIED", 403),
    (ABORTED, "ABORTED", 503),
    (UNKNOWN_ROLE, "UNKNOWN_ROLE", 404),
    (AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED", 403),
];

fn known(code: i32) -> Option<(&'static str, StatusCode)> {
    let (_, name, status) = KNOWN.iter().find(|(it, _, _)| *it == code)?;
    Some((name, StatusCode::from_u16(*status).ok()?))
}

impl Exception {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Exception {
        let message = message.into();
        let status = known(code).map_or(StatusCode::BAD_REQUEST, |(_, status)| status);
        Exception { code, log: message.clone(), message, status, retry_after: None, ask_password: false, denied: false }
    }

    /// The same for a wrong token and for one that is missing, but for the status.
    pub(super) fn unauthenticated(credentials: &Credentials) -> Exception {
        let message = "Authentication failed: the password must be a token of this server; the user can have any name";
        let missing = credentials.password.is_none();
        let exception = Exception::new(AUTHENTICATION_FAILED, message);
        let status = if missing { StatusCode::UNAUTHORIZED } else { exception.status };
        Exception { status, ask_password: missing, ..exception }
    }

    /// In the engine's own words, for whoever runs it.
    pub(super) fn of_engine(error: EngineError) -> Exception {
        let code = match (error.code, error.kind) {
            (0, EngineErrorKind::Query) => READONLY,
            (0, EngineErrorKind::Closed | EngineErrorKind::Unreachable) => ABORTED,
            (0, _) => 49,
            (code, _) => code,
        };
        Exception::new(code, error.message)
    }

    pub(super) fn no_handle() -> Exception {
        let message = "There is no such handle: use / for queries and /ping for health checks";
        Exception { status: StatusCode::NOT_FOUND, ..Exception::new(NO_HANDLE, message) }
    }

    pub(super) fn is_denial(&self) -> bool {
        self.denied
    }

    /// The line that ClickHouse would write.
    pub(super) fn text(&self, version: &str) -> String {
        let name = known(self.code).map(|(name, _)| format!("({name})"));
        let named = self.message.ends_with(')') && self.message.rsplit_once('(').is_some_and(|(_, it)| is_name(it));
        let Exception { code, message, .. } = self;
        match name {
            // What is no error of ClickHouse's has no number.
            _ if *code == NO_HANDLE => format!("{message}\n"),
            Some(name) if !named => format!("Code: {code}. DB::Exception: {message}. {name} (version {version})\n"),
            _ => format!("Code: {code}. DB::Exception: {message} (version {version})\n"),
        }
    }

    pub(super) fn reply(self, head: &Head) -> Response {
        let mut response = Response::new(Body::from(self.text(head.version())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
        head.tell(headers);
        if self.code != NO_HANDLE {
            headers.insert("x-clickhouse-exception-code", HeaderValue::from(self.code));
        }
        if self.ask_password {
            let realm = HeaderValue::from_static("Basic realm=\"ClickHouse server HTTP API\"");
            headers.insert(header::WWW_AUTHENTICATE, realm);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds);
        }
        response.extensions_mut().insert(Logged(self.log));
        response
    }
}

fn is_name(text: &str) -> bool {
    let name = text.trim_end_matches(')');
    !name.is_empty() && name.bytes().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_')
}

impl From<ApiError> for Exception {
    fn from(error: ApiError) -> Exception {
        let code = error.number();
        let status = known(code).map_or(error.status(), |(_, status)| status);
        let (message, log) = (error.words(), error.message());
        let denied = error.status() == StatusCode::FORBIDDEN;
        Exception { code, message, status, retry_after: error.retry_header(), log, ask_password: false, denied }
    }
}

impl From<Fault> for Exception {
    fn from(fault: Fault) -> Exception {
        ApiError::from(fault).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_named_once() {
        let text = Exception::new(60, "the resource `x` does not exist").text("26.7");
        assert_eq!(text, "Code: 60. DB::Exception: the resource `x` does not exist. (UNKNOWN_TABLE) (version 26.7)\n");
        let text = Exception::new(47, "Unknown expression identifier `x`. (UNKNOWN_IDENTIFIER)").text("26.7");
        let expected =
            "Code: 47. DB::Exception: Unknown expression identifier `x`. (UNKNOWN_IDENTIFIER) (version 26.7)\n";
        assert_eq!(text, expected);
        let text = Exception::new(241, "too much (x)").text("26.7");
        assert_eq!(text, "Code: 241. DB::Exception: too much (x) (version 26.7)\n");
    }
}
