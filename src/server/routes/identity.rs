//! `/v0/auth`, `/v0|v1/workspaces/{id}`, `/v0|v1/user/workspaces`, `/v0|v1/environments`, `/v0/regions`: who a
//! token is, and where.
//!
//! There are no users here: whoever holds an admin token is its workspace's user. There are no branches yet.

use crate::{
    app::Workspace,
    server::{
        Context,
        error::ApiError,
        extract::{Name, Who},
        params::Fields,
    },
};
use axum::{Json, extract::State, http::Uri};
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Serialize)]
pub(super) struct Auth {
    is_valid: bool,
    is_user: bool,
}

#[derive(Serialize)]
struct WorkspaceWire {
    id: String,
    name: String,
    /// The admin token, for its holder alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    role: &'static str,
    plan: &'static str,
    is_branch: bool,
    main: Option<String>,
    current: bool,
    owner: String,
    created_at: &'static str,
    members: [(); 0],
    release: Option<Value>,
    organization: Option<Value>,
}

#[derive(Serialize)]
pub(super) struct UserWorkspaces {
    id: String,
    name: String,
    email: Option<String>,
    organization_id: Option<String>,
    organization_name: Option<String>,
    workspaces: Vec<WorkspaceWire>,
}

pub(super) async fn auth(who: Who) -> Json<Auth> {
    Json(Auth { is_valid: true, is_user: who.access.is_admin() })
}

pub(super) async fn user_workspaces(who: Who, uri: Uri) -> Json<UserWorkspaces> {
    let branches_only = Fields::of_query(uri.query()).flag("only_environments");
    let workspace = &who.workspace;
    Json(UserWorkspaces {
        id: workspace.id().to_owned(),
        name: workspace.name().to_owned(),
        email: None,
        organization_id: None,
        organization_name: None,
        workspaces: if branches_only { vec![] } else { vec![wire(&who, workspace)] },
    })
}

/// Only the caller's own workspace: of others a token knows nothing.
pub(super) async fn show(who: Who, Name(key): Name) -> Result<Json<Value>, ApiError> {
    let own = key == who.workspace.id() || key == who.workspace.name();
    if !own {
        return Err(who.missing("workspace", &key).into());
    }
    Ok(Json(json!(wire(&who, &who.workspace))))
}

pub(super) async fn environments(_: Who) -> Json<Value> {
    Json(json!({ "environments": [] }))
}

pub(super) async fn environment(who: Who, Name(key): Name) -> Result<Json<Value>, ApiError> {
    Err(who.missing("branch", &key).into())
}

/// Without a list a client keeps to the host it was told.
pub(super) async fn regions() -> Json<Value> {
    Json(json!({ "regions": [] }))
}

pub(super) async fn releases(who: Who, Name(key): Name) -> Result<Json<Value>, ApiError> {
    match key == who.workspace.id() || key == who.workspace.name() {
        true => Ok(Json(json!({ "releases": [] }))),
        false => Err(who.missing("workspace", &key).into()),
    }
}

/// The version, as text: clients compare the type to the letter.
pub(super) async fn version(State(_): State<Context>) -> ([(axum::http::HeaderName, &'static str); 1], &'static str) {
    ([(axum::http::header::CONTENT_TYPE, "text/plain")], env!("CARGO_PKG_VERSION"))
}

fn wire(who: &Who, workspace: &Workspace) -> WorkspaceWire {
    let admin = who.access.is_admin();
    WorkspaceWire {
        id: workspace.id().to_owned(),
        name: workspace.name().to_owned(),
        token: admin.then(|| workspace.admin_token().reveal().to_owned()),
        role: if admin { "admin" } else { "guest" },
        plan: "enterprise",
        is_branch: false,
        main: None,
        current: true,
        owner: workspace.id().to_owned(),
        created_at: super::datasources::UNKNOWN_TIME,
        members: [],
        release: None,
        organization: None,
    }
}
