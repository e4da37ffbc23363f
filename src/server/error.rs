//! The one table of statuses and words: what went wrong, as HTTP says it.
//!
//! In: the errors of lower layers, and [`Fault`], which is what routes find wrong by themselves. Out: an
//! [`ApiError`], answered as `application/json` with a non-empty `error`. Who reads the reply is not known here.

use crate::{
    app::{AppError, NoSpace},
    auth::Denied,
    engine::{EngineError, EngineErrorKind},
    ingest::{events::EventsError, files::LoadError},
    query::QueryError,
    sql::scan::{Refused, ScanError},
    template::TemplateError,
};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// An error on its way out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ApiError {
    status: StatusCode,
    body: Value,
    /// Seconds after which asking again makes sense.
    retry_after: Option<u32>,
    /// ClickHouse's own number, where the engine said it.
    engine_code: Option<i32>,
    /// The number that ClickHouse has for such an error.
    number: i32,
    /// What the log says where the caller is told less.
    log: Option<String>,
}

/// What a request gets wrong before it reaches the layers below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// No token, one that does not exist, or one that may not do this: one answer for all.
    Forbidden,
    /// There is no such route.
    NoRoute,
    /// A route of Tinybird's that is not here, and why.
    Absent(&'static str),
    MethodNotAllowed,
    NoSuch {
        what: &'static str,
        name: String,
    },
    /// A query names it, and an administrator would see it.
    NoSuchName(String),
    Exists {
        what: &'static str,
        name: String,
        hint: String,
    },
    /// A parameter or field that the call needs.
    Missing(&'static str),
    /// A parameter or field that makes no sense.
    Bad {
        field: &'static str,
        message: String,
    },
    /// A body that could not be read as what it should be.
    BadBody(String),
    TooLarge {
        limit: usize,
    },
    /// A file that is larger than the server takes.
    FileTooLarge {
        limit: u64,
    },
    /// There is no room for a file.
    NoSpace(NoSpace),
    /// A body that unpacks to far more than rows can be packed into.
    Bomb {
        packed: usize,
    },
    UrlTooLong {
        limit: usize,
    },
    HeadersTooLong {
        limit: usize,
    },
    /// The body or the answer did not come in time.
    Timeout(&'static str),
    /// Every place is taken, and so is every place in the queue.
    Busy,
    /// The token asks more often, or more at once, than it may.
    TooMany,
    /// What is asked for is known but not made yet.
    Unsupported(String),
    Conflict(String),
    Internal(String),
}

/// Carried by an error's response for the log; never sent.
#[derive(Debug, Clone)]
pub(super) struct Logged(pub String);

/// Codes of the engine that have a status of their own.
const TOO_LARGE_ANSWER: i32 = 396;

/// ClickHouse's numbers for what goes wrong before its engine has heard of it.
const BAD_ARGUMENTS: i32 = 36;
const NOT_IMPLEMENTED: i32 = 48;
const LOGICAL_ERROR: i32 = 49;
const UNKNOWN_TABLE: i32 = 60;
const SYNTAX_ERROR: i32 = 62;
const UNKNOWN_DATABASE: i32 = 81;
const TIMEOUT_EXCEEDED: i32 = 159;
const TOO_MANY_QUERIES: i32 = 202;
const TOO_MANY_BYTES: i32 = 307;
const FUNCTION_NOT_ALLOWED: i32 = 446;
const SETTING_CONSTRAINT: i32 = 452;
const UNKNOWN_QUERY_PARAMETER: i32 = 456;
const ACCESS_DENIED: i32 = 497;

const ENGINE_CODE: HeaderName = HeaderName::from_static("x-db-exception-code");

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        let body = json!({ "error": message.into() });
        ApiError { status, body, retry_after: None, engine_code: None, number: number(status), log: None }
    }

    /// As ClickHouse numbers it; what has no number of its own has that of its status.
    fn numbered(self, number: i32) -> ApiError {
        ApiError { number, ..self }
    }

    fn retry_after(self, seconds: u32) -> ApiError {
        ApiError { retry_after: Some(seconds), ..self }
    }

    fn logged(self, message: impl Into<String>) -> ApiError {
        ApiError { log: Some(message.into()), ..self }
    }

    /// The same error, which says where in the project it is.
    pub(super) fn at(mut self, position: Option<String>) -> ApiError {
        if let (Some(position), Some(text)) = (position, self.body["error"].as_str()) {
            self.body = json!({ "error": format!("{text} ({position})") });
        }
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What stands in `Retry-After`.
    pub(super) fn retry_header(&self) -> Option<HeaderValue> {
        self.retry_after.map(HeaderValue::from)
    }

    /// The number that ClickHouse has for such an error.
    pub(super) fn number(&self) -> i32 {
        self.engine_code.unwrap_or(self.number)
    }

    /// What the caller is told.
    pub(super) fn words(&self) -> String {
        self.body["error"].as_str().map_or_else(|| self.body.to_string(), str::to_owned)
    }

    /// The words of the log.
    pub(super) fn message(&self) -> String {
        self.log
            .clone()
            .or_else(|| self.body["error"].as_str().map(str::to_owned))
            .unwrap_or_else(|| self.body.to_string())
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> ApiError {
        use Fault::*;
        match fault {
            Forbidden => ApiError::new(StatusCode::FORBIDDEN, "the token is missing, wrong, or may not do this"),
            NoRoute => ApiError::new(StatusCode::NOT_FOUND, "there is no such route"),
            Absent(words) => ApiError::new(StatusCode::NOT_FOUND, words),
            MethodNotAllowed => ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not take this method"),
            NoSuch { what: what @ "workspace", name } => {
                ApiError::new(StatusCode::NOT_FOUND, format!("there is no {what} `{name}` that the token opens"))
            }
            NoSuch { what, name } => {
                ApiError::new(StatusCode::NOT_FOUND, format!("there is no {what} `{name}` in this workspace"))
            }
            NoSuchName(name) => {
                ApiError::new(StatusCode::BAD_REQUEST, format!("there is no data source or pipe `{name}`"))
                    .numbered(UNKNOWN_TABLE)
            }
            Exists { what, name, hint } => {
                ApiError::new(StatusCode::BAD_REQUEST, format!("there is already a {what} `{name}`: {hint}"))
            }
            Missing(field) => ApiError::new(StatusCode::BAD_REQUEST, format!("`{field}` is missing")),
            Bad { field, message } => ApiError::new(StatusCode::BAD_REQUEST, format!("`{field}`: {message}")),
            BadBody(message) => ApiError::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {message}")),
            Bomb { packed } => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the {packed} bytes of the body unpack to more than rows can be packed into"),
            ),
            TooLarge { limit } => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is too large: this route takes at most {limit} bytes"),
            ),
            FileTooLarge { limit } => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the file is too large: this server takes at most {limit} bytes (`--max-file`); gzip it or cut it \
                     into pieces"
                ),
            ),
            NoSpace(error) => ApiError::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
            UrlTooLong { limit } => ApiError::new(
                StatusCode::URI_TOO_LONG,
                format!("the URL is longer than {limit} bytes: send the parameters as the body of a POST"),
            ),
            HeadersTooLong { limit } => ApiError::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                format!("the headers are longer than {limit} bytes"),
            ),
            Timeout(what) => ApiError::new(StatusCode::REQUEST_TIMEOUT, format!("{what} took too long")),
            Busy => ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server has as many requests as it can take; try again later",
            )
            .retry_after(1),
            TooMany => ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "this token asks more often or more at once than it may; try again later",
            )
            .retry_after(1),
            Unsupported(message) => ApiError::new(StatusCode::BAD_REQUEST, message),
            Conflict(message) => ApiError::new(StatusCode::CONFLICT, message),
            Internal(message) => {
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong in the server").logged(message)
            }
        }
    }
}

impl From<Denied> for ApiError {
    fn from(_: Denied) -> ApiError {
        Fault::Forbidden.into()
    }
}

impl From<TemplateError> for ApiError {
    /// `error()` and `custom_error()` speak for the author of the pipe: their words are sent as they are.
    fn from(error: TemplateError) -> ApiError {
        let status = StatusCode::from_u16(error.status).ok().filter(|it| it.as_u16() >= 400);
        let res = ApiError::new(status.unwrap_or(StatusCode::BAD_REQUEST), words(&error.message));
        match error.body {
            None => res,
            Some(Value::String(text)) => ApiError { body: json!({ "error": words(&text) }), ..res },
            Some(body) => ApiError { body, ..res },
        }
    }
}

impl From<ScanError> for ApiError {
    fn from(error: ScanError) -> ApiError {
        let number = match error.category {
            Refused::Syntax | Refused::MultiStatement | Refused::Format => SYNTAX_ERROR,
            Refused::UnknownTable => UNKNOWN_TABLE,
            Refused::Function => FUNCTION_NOT_ALLOWED,
            Refused::Settings => SETTING_CONSTRAINT,
            Refused::Cycle => NOT_IMPLEMENTED,
            Refused::Parameter => UNKNOWN_QUERY_PARAMETER,
            Refused::NotSelect
            | Refused::SystemTable
            | Refused::DatabasePrefix
            | Refused::TableFunction
            | Refused::Outfile => ACCESS_DENIED,
        };
        ApiError::new(StatusCode::BAD_REQUEST, words(&error.message)).numbered(number)
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> ApiError {
        match error {
            QueryError::Template { error, .. } => (*error).into(),
            QueryError::Refused { error, .. } => error.into(),
            error @ QueryError::NoSuchDatabase(_) => {
                ApiError::new(StatusCode::BAD_REQUEST, error.to_string()).numbered(UNKNOWN_DATABASE)
            }
            QueryError::NoSuchPipe(name) => Fault::NoSuch { what: "endpoint", name }.into(),
            error @ QueryError::Denied(_) => {
                ApiError::new(StatusCode::FORBIDDEN, error.to_string()).numbered(UNKNOWN_TABLE)
            }
        }
    }
}

impl From<AppError> for ApiError {
    fn from(error: AppError) -> ApiError {
        match error {
            AppError::Store(error) => Fault::Internal(error.to_string()).into(),
            AppError::Engine(error) => error.into(),
            AppError::Query(error) => error.into(),
            AppError::Load(LoadError::Engine(error)) => error.into(),
            AppError::Load(LoadError::NoSpace(error)) => Fault::NoSpace(error).into(),
            AppError::Load(LoadError::Disk(error)) if error.kind() == std::io::ErrorKind::StorageFull => {
                ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "the server's disk is full")
            }
            AppError::Load(LoadError::Disk(error)) => Fault::Internal(error.to_string()).into(),
            // Clients do not send again what this says: the rows are kept.
            AppError::Load(error @ LoadError::Waiting { .. }) => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            AppError::Load(error) => ApiError::new(StatusCode::BAD_REQUEST, error.to_string()),
            AppError::Events(error) => error.into(),
            AppError::Connection(error) => ApiError::new(StatusCode::BAD_REQUEST, error.to_string()),
            AppError::Kafka(error) => ApiError::new(StatusCode::BAD_REQUEST, error.to_string()),
            error @ AppError::InUse { .. } => ApiError::new(StatusCode::CONFLICT, error.to_string()),
            AppError::NotFound { kind, name } => Fault::NoSuch { what: kind, name }.into(),
            error @ AppError::Exists { .. } => ApiError::new(StatusCode::BAD_REQUEST, error.to_string()),
            AppError::Invalid(message) => ApiError::new(StatusCode::BAD_REQUEST, words(&message)),
            AppError::Stopping => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping").retry_after(5)
            }
        }
    }
}

impl From<EventsError> for ApiError {
    fn from(error: EventsError) -> ApiError {
        let status = match &error {
            EventsError::Schema(_) | EventsError::Malformed(_) => StatusCode::BAD_REQUEST,
            EventsError::Busy => StatusCode::TOO_MANY_REQUESTS,
            EventsError::Unsafe(_) => StatusCode::SERVICE_UNAVAILABLE,
            // Clients do not send again what this says: the rows are kept.
            EventsError::View(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let res = ApiError::new(status, error.to_string());
        match error {
            EventsError::Busy => res.retry_after(1),
            EventsError::Unsafe(_) => res.retry_after(5),
            _ => res,
        }
    }
}

impl From<EngineError> for ApiError {
    /// The message must have gone through the mapper to public names already.
    fn from(error: EngineError) -> ApiError {
        use EngineErrorKind::*;
        let message = words(&error.message);
        let res = match error.kind {
            Limit if error.code == TOO_LARGE_ANSWER => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message),
            Limit if error.code == TOO_MANY_QUERIES => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(1)
            }
            Query | Limit | TooMuchMemory => ApiError::new(StatusCode::BAD_REQUEST, message),
            Timeout => ApiError::new(StatusCode::REQUEST_TIMEOUT, message),
            Cancelled => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the query was cancelled").retry_after(1),
            DiskFull => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the disk is full").retry_after(30),
            Missing | Locked => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message),
            Closed => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down").retry_after(5),
            Unreachable => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the engine cannot be reached now").retry_after(1)
            }
            Internal => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong in the engine"),
        };
        ApiError { engine_code: (error.code != 0).then_some(error.code), ..res }.logged(error.message)
    }
}

fn number(status: StatusCode) -> i32 {
    match status.as_u16() {
        401 | 403 => ACCESS_DENIED,
        408 => TIMEOUT_EXCEEDED,
        413 | 414 | 431 => TOO_MANY_BYTES,
        429 | 503 => TOO_MANY_QUERIES,
        500.. => LOGICAL_ERROR,
        _ => BAD_ARGUMENTS,
    }
}

/// A text that is never empty: clients fall over an empty `error`.
fn words(text: &str) -> String {
    if text.trim().is_empty() { "the request failed without saying why".to_owned() } else { text.to_owned() }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let logged = Logged(self.message());
        let mut response = (self.status, axum::Json(self.body)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(code) = self.engine_code {
            headers.insert(ENGINE_CODE, HeaderValue::from(code));
        }
        response.extensions_mut().insert(logged);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Span;

    fn template_error(category: &'static str, status: u16, body: Option<Value>) -> ApiError {
        TemplateError { category, message: "say it".into(), span: Span::at(0), status, body, hint: None }.into()
    }

    #[test]
    fn words_of_templates_are_sent_as_they_are() {
        let plain = template_error("error", 400, None);
        assert_eq!((plain.status.as_u16(), plain.body), (400, json!({"error": "say it"})));
        let custom = template_error("custom_error", 418, Some(json!({"code": 7})));
        assert_eq!((custom.status.as_u16(), custom.body), (418, json!({"code": 7})));
        let text = template_error("custom_error", 404, Some(json!("no")));
        assert_eq!((text.status.as_u16(), text.body), (404, json!({"error": "no"})));
        // A success or nonsense would be taken for an answer.
        assert_eq!(template_error("custom_error", 200, None).status.as_u16(), 400);
    }

    #[test]
    fn what_is_ours_is_logged_and_not_shown() {
        let error = ApiError::from(EngineError {
            kind: EngineErrorKind::Internal,
            code: 49,
            message: "assertion in w07_x.t".into(),
        });
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.body.to_string().contains("w07"));
        assert_eq!(error.message(), "assertion in w07_x.t");
        assert_eq!(error.engine_code, Some(49));
    }

    #[test]
    fn an_error_is_never_empty() {
        let error = EngineError { kind: EngineErrorKind::Query, code: 0, message: " ".into() };
        assert!(!ApiError::from(error).body["error"].as_str().unwrap().trim().is_empty());
    }
}
