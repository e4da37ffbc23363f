//! `/v0/workspace` and `/v1/workspace`: which workspace a token belongs to.

use crate::server::extract::Who;
use axum::Json;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
pub(super) struct Wire {
    id: String,
    name: String,
    user_email: Option<String>,
    user_id: Option<String>,
    scope: &'static str,
    is_branch: bool,
    main: Option<String>,
    release: Option<Value>,
    can_manage_datasources: bool,
    is_forward: bool,
}

pub(super) async fn show(who: Who) -> Json<Wire> {
    let admin = who.access.is_admin();
    Json(Wire {
        id: who.workspace.id().to_owned(),
        name: who.workspace.name().to_owned(),
        user_email: None,
        user_id: None,
        scope: if admin { "admin" } else { "token" },
        is_branch: who.workspace.main().is_some(),
        main: who.workspace.main().map(str::to_owned),
        release: super::releases::wire(&who.workspace),
        can_manage_datasources: admin,
        is_forward: true,
    })
}
