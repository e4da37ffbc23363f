//! `/v0/auth`, `/v0|v1/user/workspaces`, `/v0|v1/workspaces`, `/v0/regions`, `/version`: who a token is, and where.
//!
//! There are no users here: whoever holds an administrator's token of a workspace is its user, and one of the first
//! workspace's runs the server.

use crate::{
    app::{ADMIN_TOKEN, Workspace},
    server::{
        Context,
        error::{ApiError, Fault},
        extract::{Given, Name, Who},
        params::Fields,
    },
};
use axum::{Json, extract::State, http::Uri};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Serialize)]
pub(super) struct Auth {
    is_valid: bool,
    is_user: bool,
}

/// A workspace or a branch as lists show it.
#[derive(Serialize)]
pub(super) struct WorkspaceWire {
    id: String,
    name: String,
    /// What opens it, for who administers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    role: &'static str,
    plan: &'static str,
    is_branch: bool,
    main: Option<String>,
    current: bool,
    owner: String,
    created_at: String,
    members: Vec<Member>,
    release: Option<Value>,
    organization: Option<Value>,
}

/// Who works in a workspace: whoever holds its administrator's token, since there are no users. Clients list what
/// is called an e-mail here.
#[derive(Serialize)]
struct Member {
    id: String,
    email: &'static str,
    role: &'static str,
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

/// A user's token may make and delete workspaces.
pub(super) async fn auth(who: Who) -> Json<Auth> {
    Json(Auth { is_valid: true, is_user: runs_the_server(&who) })
}

pub(super) async fn user_workspaces(State(context): State<Context>, who: Who, uri: Uri) -> Json<UserWorkspaces> {
    let fields = Fields::of_query(uri.query());
    let (branches, only) = (fields.flag("with_environments"), fields.flag("only_environments"));
    let wanted = |it: &WorkspaceWire| if it.is_branch { branches || only } else { !only };
    Json(UserWorkspaces {
        id: who.workspace.id().to_owned(),
        name: who.workspace.name().to_owned(),
        email: None,
        organization_id: None,
        organization_name: None,
        workspaces: seen(&context, &who).into_iter().map(|(_, wire)| wire).filter(wanted).collect(),
    })
}

/// Of workspaces that a token does not open it knows nothing.
pub(super) async fn show(
    State(context): State<Context>,
    who: Who,
    Name(key): Name,
) -> Result<Json<WorkspaceWire>, ApiError> {
    Ok(Json(found(&context, &who, "workspace", &key)?.1))
}

pub(super) async fn create(
    State(context): State<Context>,
    who: Who,
    given: Given,
) -> Result<Json<WorkspaceWire>, ApiError> {
    if !runs_the_server(&who) {
        return Err(Fault::Forbidden.into());
    }
    let fields = given.fields()?;
    if fields.text("starter_kit").is_some_and(|it| !it.is_empty()) {
        return Err(Fault::Unsupported("there are no starter kits here".to_owned()).into());
    }
    let made = context.app.create_workspace(&fields.required("name")?).await?;
    Ok(Json(found(&context, &who, "workspace", made.id())?.1))
}

pub(super) async fn remove(State(context): State<Context>, who: Who, Name(key): Name) -> Result<Json<Value>, ApiError> {
    if !runs_the_server(&who) {
        return Err(Fault::Forbidden.into());
    }
    let (workspace, _) = found(&context, &who, "workspace", &key)?;
    context.app.delete_workspace(&workspace).await?;
    Ok(Json(json!({ "id": workspace.id(), "name": workspace.name() })))
}

/// There is nobody who could become a member, and the one that there is stays.
pub(super) async fn members(
    State(context): State<Context>,
    who: Who,
    Name(key): Name,
) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    found(&context, &who, "workspace", &key)?;
    let words = "there are no users here: who is to work in a workspace gets a token of it, and whose token is deleted \
                 or made anew works there no more";
    Err(Fault::Unsupported(words.to_owned()).into())
}

/// Without a list a client keeps to the host it was told.
pub(super) async fn regions() -> Json<Value> {
    Json(json!({ "regions": [] }))
}

pub(super) async fn templates(_: Who) -> Json<Value> {
    Json(json!({ "templates": [] }))
}

/// The version, as text: clients compare the type to the letter.
pub(super) async fn version(State(_): State<Context>) -> ([(axum::http::HeaderName, &'static str); 1], &'static str) {
    ([(axum::http::header::CONTENT_TYPE, "text/plain")], env!("CARGO_PKG_VERSION"))
}

/// The workspaces that a token opens, and its own.
pub(super) fn seen(context: &Context, who: &Who) -> Vec<(Arc<Workspace>, WorkspaceWire)> {
    let Some(realm) = &who.realm else { return vec![(who.workspace.clone(), wire(who, &who.workspace, None))] };
    let seen = context.app.seen_from(realm).into_iter();
    let all = seen.map(|(workspace, token)| {
        let wire = wire(who, &workspace, Some(token.reveal().to_owned()));
        (workspace, wire)
    });
    all.collect()
}

/// A workspace or branch that a token opens, by its name or id. Its own workspace and the one of a branch are
/// nearest, where several have the name.
pub(super) fn found(
    context: &Context,
    who: &Who,
    what: &'static str,
    key: &str,
) -> Result<(Arc<Workspace>, WorkspaceWire), Fault> {
    let own = who.workspace.main().unwrap_or(who.workspace.id());
    let mut fitting: Vec<_> = seen(context, who)
        .into_iter()
        .filter(|(it, _)| it.id() == key || it.name() == key && (it.main().is_some() == (what == "branch")))
        .collect();
    fitting.sort_by_key(|(it, _)| it.main().unwrap_or(it.id()) != own);
    fitting.into_iter().next().ok_or_else(|| who.missing(what, key))
}

fn runs_the_server(who: &Who) -> bool {
    who.realm.as_ref().is_some_and(|it| it.is_whole())
}

fn wire(who: &Who, workspace: &Workspace, token: Option<String>) -> WorkspaceWire {
    let created_at = workspace.created_at().unwrap_or(super::datasources::UNKNOWN_TIME);
    let admin = Member { id: workspace.id().to_owned(), email: ADMIN_TOKEN, role: "admin" };
    WorkspaceWire {
        id: workspace.id().to_owned(),
        name: workspace.name().to_owned(),
        role: if token.is_some() { "admin" } else { "guest" },
        members: token.is_some().then_some(admin).into_iter().collect(),
        token,
        plan: "enterprise",
        is_branch: workspace.main().is_some(),
        main: workspace.main().map(str::to_owned),
        current: workspace.id() == who.workspace.id(),
        owner: workspace.id().to_owned(),
        created_at: created_at.to_owned(),
        release: super::releases::wire(workspace),
        organization: None,
    }
}
