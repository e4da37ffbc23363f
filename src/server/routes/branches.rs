//! `/v0|v1/environments`: the branches of a workspace. They have its files, and no rows of it.

use super::{identity, jobs};
use crate::server::{
    Context,
    error::{ApiError, Fault},
    extract::{Given, Name, Who},
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

pub(super) async fn list(State(context): State<Context>, who: Who) -> Json<Value> {
    let main = who.workspace.main().unwrap_or(who.workspace.id());
    let branches = identity::seen(&context, &who).into_iter().filter(|(it, _)| it.main() == Some(main));
    Json(json!({ "environments": branches.map(|(_, wire)| wire).collect::<Vec<_>>() }))
}

pub(super) async fn show(State(context): State<Context>, who: Who, Name(key): Name) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!(branch(&context, &who, &key)?.1)))
}

/// It is there when this is answered; the job is for those who wait for one.
pub(super) async fn create(State(context): State<Context>, who: Who, given: Given) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    if who.workspace.main().is_some() {
        return Err(Fault::Forbidden.into());
    }
    let headers = given.headers.clone();
    let fields = given.fields()?;
    if !matches!(fields.text("data").as_deref(), None | Some("" | "None" | "empty")) {
        return Err(no_rows().into());
    }
    let made = context.app.create_branch(&who.workspace, &fields.required("name")?).await?;
    let job = who.workspace.branch_job();
    let mut reply = jobs::begun(&headers, &who, &job);
    reply["id"] = json!(made.id());
    reply["name"] = json!(made.name());
    Ok(Json(reply))
}

pub(super) async fn remove(State(context): State<Context>, who: Who, Name(key): Name) -> Result<StatusCode, ApiError> {
    who.admin()?;
    let (branch, _) = branch(&context, &who, &key)?;
    context.app.delete_workspace(&branch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Rows of the workspace, and comparisons with its answers, need rows that branches do not have.
pub(super) async fn work(
    State(context): State<Context>,
    who: Who,
    Path((key, work)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    if !matches!(work.as_str(), "data" | "regression") {
        return Err(Fault::NoRoute.into());
    }
    branch(&context, &who, &key)?;
    Err(no_rows().into())
}

fn branch(
    context: &Context,
    who: &Who,
    key: &str,
) -> Result<(std::sync::Arc<crate::app::Workspace>, identity::WorkspaceWire), Fault> {
    let found = identity::found(context, who, "branch", key)?;
    if found.0.main().is_some() { Ok(found) } else { Err(who.missing("branch", key)) }
}

fn no_rows() -> Fault {
    Fault::Unsupported("branches begin without rows: bringing them from the workspace is not known yet".to_owned())
}
