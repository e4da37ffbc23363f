//! What handlers ask of a request: who calls, what the path names.
//!
//! In: a request that came through `entry`. Out: typed parts of it, or an error as JSON. What bodies hold is
//! read by `params` and `upload`.

use super::{
    entry::RequestId,
    error::{ApiError, Fault},
    params::{Body, Fields},
};
use crate::{
    app::{Caller, Realm, Workspace},
    auth::Access,
    name::ResourceName,
    project::{Datasource, Pipe, Shared},
};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, Method, Uri, request::Parts},
};
use std::sync::Arc;

/// Who calls, and in which workspace.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub(super) access: Access,
    pub(super) workspace: Arc<Workspace>,
    /// Tells tokens apart without their values.
    pub(super) key: [u8; 32],
    /// The workspaces that an administrator's token opens besides.
    pub(super) realm: Option<Realm>,
}

/// How a request came: what is kept of a call.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub(super) request_id: RequestId,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

/// What a call says: the fields of its query string and body, or with those of the query string a text.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) headers: HeaderMap,
    pub(super) fields: Fields,
    /// A body that is neither a form nor a JSON object: SQL, mostly.
    pub(super) text: Option<String>,
}

/// The one segment of a path that names something.
#[derive(Debug, Clone)]
pub(super) struct Name(pub(super) String);

impl Given {
    /// The fields of a call that has nothing else; a body without a type may be a form all the same.
    pub(super) fn fields(self) -> Result<Fields, Fault> {
        match self.text {
            None => Ok(self.fields),
            Some(text) => Ok(self.fields.and(Body::Text(text).fields()?)),
        }
    }

    /// SQL as the body, or as the field `sql`.
    pub(super) fn sql(&self) -> Option<String> {
        self.text.clone().or_else(|| self.fields.text("sql"))
    }
}

impl Who {
    /// Only the workspace's administrator comes past this.
    pub(super) fn admin(&self) -> Result<(), Fault> {
        if self.access.is_admin() { Ok(()) } else { Err(Fault::Forbidden) }
    }

    /// A data source by its name or id.
    pub(super) fn datasource(&self, key: &str) -> Option<Arc<Datasource>> {
        let project = self.workspace.project();
        let by_id = |it: &&Arc<Datasource>| self.id_of("datasource", it.name.as_str()) == key;
        let found = project.datasource(key).or_else(|| is_id(key).then(|| project.datasources.values().find(by_id))?);
        found.cloned()
    }

    /// A data source that another workspace shares, by its name or id.
    pub(super) fn shared(&self, key: &str) -> Option<Arc<Shared>> {
        let project = self.workspace.project();
        let by_id = |(name, _): &(&ResourceName, _)| is_id(key) && self.id_of("datasource", name.as_str()) == key;
        project.shared.get(key).or_else(|| Some(project.shared.iter().find(by_id)?.1)).cloned()
    }

    /// A pipe by its name or id.
    pub(super) fn pipe(&self, key: &str) -> Option<Arc<Pipe>> {
        let project = self.workspace.project();
        let by_id = |it: &&Arc<Pipe>| self.id_of("pipe", it.name.as_str()) == key;
        let found = project.pipe(key).or_else(|| is_id(key).then(|| project.pipes.values().find(by_id))?);
        found.cloned()
    }

    /// What a caller hears of a thing that is not there, or that it may not know of: without an
    /// administrator's rights there is one answer for both.
    pub(super) fn missing(&self, what: &'static str, name: &str) -> Fault {
        if !self.access.is_admin() {
            return Fault::Forbidden;
        }
        match self.shared(name).filter(|_| what == "data source") {
            None => Fault::NoSuch { what, name: name.to_owned() },
            Some(it) => {
                let name = &it.datasource.name;
                Fault::Unsupported(format!("`{name}` is another workspace's, which shares it: it can be read here"))
            }
        }
    }

    pub(super) fn id_of(&self, kind: &str, name: &str) -> String {
        self.workspace.id_of(kind, name)
    }
}

fn is_id(key: &str) -> bool {
    key.len() == 34 && key.starts_with("t_")
}

impl From<Caller> for Who {
    fn from(caller: Caller) -> Who {
        let Caller { access, workspace, key, realm } = caller;
        Who { access, workspace, key, realm }
    }
}

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Who, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned();
        // A handler that was put behind an open door and asks who calls: nobody does.
        Ok(caller.ok_or(Fault::Forbidden)?.into())
    }
}

impl<S: Send + Sync> FromRequest<S> for Given {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Given, ApiError> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts.clone(), body);
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| Fault::BadBody(error.body_text()))?;
        let query = Fields::of_query(parts.uri.query());
        let (fields, text) = match Body::read(&parts.headers, &body)? {
            Body::Empty => (query, None),
            Body::Fields(more) => (query.and(more), None),
            Body::Text(text) => (query, Some(text)),
        };
        Ok(Given { headers: parts.headers, fields, text })
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<RequestId, ApiError> {
        let id = parts.extensions.get::<RequestId>().cloned();
        Ok(id.ok_or_else(|| Fault::Internal("a request without an id".to_owned()))?)
    }
}

impl<S: Sync> FromRequestParts<S> for Came {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Came, ApiError> {
        Ok(Came {
            request_id: RequestId::from_request_parts(parts, state).await?,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Name, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Name(name)),
            Err(error) => Err(Fault::Bad { field: "path", message: error.body_text() }.into()),
        }
    }
}
