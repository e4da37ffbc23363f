//! `/v0/auth`, `/v0/user/workspaces`, `/v0/regions`: who a token is, and where it belongs.

use crate::server::{error::ApiError, extract::Who};
use axum::Json;
use serde_json::{Value, json};

pub(super) async fn auth(who: Who) -> Json<Value> {
    Json(json!({ "is_valid": true, "is_user": who.access.is_admin() }))
}

/// The workspaces of whoever owns the token. Values of tokens are the administrator's alone.
pub(super) async fn workspaces(who: Who) -> Result<Json<Value>, ApiError> {
    let workspace = &who.workspace;
    let token = who.access.is_admin().then(|| workspace.admin_token().reveal().to_owned());
    Ok(Json(json!({
        "id": workspace.id(),
        "name": workspace.name(),
        "email": null,
        "organization_id": null,
        "organization_name": null,
        "workspaces": [{
            "id": workspace.id(),
            "name": workspace.name(),
            "token": token,
            "role": "admin",
            "plan": "dev",
            "is_branch": false,
            "main": null,
            "current": true,
            "owner": null,
            "created_at": super::datasources::UNKNOWN_TIME,
            "members": [],
            "release": null,
            "organization": null,
        }],
    })))
}

/// None: a list with this host in it makes some clients ask questions.
pub(super) async fn regions() -> Json<Value> {
    Json(json!({ "regions": [] }))
}
