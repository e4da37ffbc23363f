//! The audit trail: what was denied, and who changed what.
//!
//! In: a request and the status of its reply. Out: an [`Observation::Audited`], or nothing for plain reads and rows
//! coming in, which have records of their own.

use super::{Context, entry::RequestId, params::Body};
use crate::{
    app::Caller,
    auth,
    observe::{Observation, Sink},
    server::params::Fields,
};
use axum::{
    body::Bytes,
    http::{Method, StatusCode, request::Parts},
};

/// What is known of a request before its handler takes it.
#[derive(Debug)]
pub(super) struct Trail {
    request_id: String,
    token_name: String,
    /// Where the caller's workspace hears of it. Strangers are told of in the log alone: they must not fill tables.
    workspace: Option<Sink>,
    method: Method,
    path: String,
    resource: String,
    changes: bool,
}

/// Names in a request are kept up to this length.
const LONGEST: usize = 200;

impl Trail {
    /// `path` is one without tokens in it.
    pub(super) fn begin(parts: &Parts, path: String) -> Trail {
        let request_id = parts.extensions.get::<RequestId>().map(|it| it.0.to_string()).unwrap_or_default();
        let caller = parts.extensions.get::<Caller>();
        let token_name = caller.map(|it| it.access.token_name().to_owned()).unwrap_or_default();
        let workspace = caller.map(|it| it.workspace.sink().clone());
        let changes = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) && !reads_or_appends(&path);
        let resource = named(&Fields::of_query(parts.uri.query()));
        Trail { request_id, token_name, workspace, method: parts.method.clone(), path, resource, changes }
    }

    /// A form or JSON may name what the call is about.
    pub(super) fn see(&mut self, parts: &Parts, body: &Bytes) {
        if self.changes && self.resource.is_empty() {
            let fields = Body::read(&parts.headers, body).ok().and_then(|it| it.fields().ok());
            self.resource = fields.map(|it| named(&it)).unwrap_or_default();
        }
    }

    pub(super) fn end(self, context: &Context, status: StatusCode) {
        if self.changes || status == StatusCode::FORBIDDEN {
            self.workspace.as_ref().unwrap_or(&context.sink).observe(Observation::Audited {
                request_id: self.request_id,
                token_name: self.token_name,
                method: self.method.to_string(),
                path: self.path,
                resource: self.resource,
                status: status.as_u16(),
            });
        }
    }
}

/// POST is also how long queries come, and rows.
fn reads_or_appends(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let endpoint = path.strip_prefix("/v0/pipes/").is_some_and(|it| !it.contains('/') && it.contains('.'));
    endpoint || ["/v0/sql", "/v0/sql_tables", "/v0/sql_format", "/v0/events"].contains(&path)
}

fn named(fields: &Fields) -> String {
    let name = fields.text("name").unwrap_or_default();
    let is_token = auth::jwt::is_jwt(&name) || name.starts_with("p.");
    if is_token { "…".to_owned() } else { name.chars().take(LONGEST).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_no_changes() {
        for path in ["/v0/sql", "/v0/sql/", "/v0/pipes/p.json", "/v0/events"] {
            assert!(reads_or_appends(path), "{path}");
        }
        for path in ["/v0/pipes/p", "/v0/pipes/p/nodes", "/v0/tokens", "/v1/deploy", "/v0/datasources"] {
            assert!(!reads_or_appends(path), "{path}");
        }
    }
}
