//! `/v0/workspaces/{id}/releases`: which commit is deployed. There is one release of a workspace, and it is live.

use super::identity;
use crate::{
    app::Workspace,
    server::{
        Context,
        error::{ApiError, Fault},
        extract::{Given, Name, Who},
    },
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

pub(super) async fn list(State(context): State<Context>, who: Who, Name(key): Name) -> Result<Json<Value>, ApiError> {
    let (workspace, _) = identity::found(&context, &who, "workspace", &key)?;
    Ok(Json(json!({ "releases": wire(&workspace).as_slice() })))
}

/// The commit that was pushed.
pub(super) async fn create(
    State(context): State<Context>,
    who: Who,
    Name(key): Name,
    given: Given,
) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let (workspace, _) = identity::found(&context, &who, "workspace", &key)?;
    let fields = given.fields()?;
    if fields.text("semver").is_some_and(|it| !it.is_empty()) {
        return Err(one().into());
    }
    workspace.set_commit(&fields.required("commit")?).await?;
    Ok(Json(json!(wire(&workspace))))
}

/// The release gets another version.
pub(super) async fn change(
    State(context): State<Context>,
    who: Who,
    Path((key, semver)): Path<(String, String)>,
    given: Given,
) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let (workspace, _) = identity::found(&context, &who, "workspace", &key)?;
    let renamed = given.fields()?.text("new_semver").filter(|it| !it.is_empty()).ok_or_else(one)?;
    workspace.rename_release(&semver, &renamed).await?;
    Ok(Json(json!(wire(&workspace))))
}

/// The live release stays, and there is no other.
pub(super) async fn remove(
    State(context): State<Context>,
    who: Who,
    Path((key, semver)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let (workspace, _) = identity::found(&context, &who, "workspace", &key)?;
    match workspace.release().filter(|it| it.semver == semver) {
        Some(_) => Err(one().into()),
        None => Err(Fault::NoSuch { what: "release", name: semver }.into()),
    }
}

/// There is none to go back to.
pub(super) async fn oldest_rollback(
    State(context): State<Context>,
    who: Who,
    Name(key): Name,
) -> Result<Json<Value>, ApiError> {
    identity::found(&context, &who, "workspace", &key)?;
    Err(Fault::NoSuch { what: "release", name: "oldest-rollback".to_owned() }.into())
}

/// A release as its workspace shows it.
pub(super) fn wire(workspace: &Workspace) -> Option<Value> {
    workspace.release().map(|it| {
        json!({
            "semver": it.semver, "commit": it.commit, "status": "live", "created_at": it.created_at, "rollback": null,
        })
    })
}

fn one() -> Fault {
    Fault::Unsupported("a workspace has one release here, the live one: push to it, or make a branch".to_owned())
}
