//! `POST /v0/datafiles`: some datafiles, each a part named like the file, become a part of the deployed project.

use super::deploy::{self, DeployWire};
use crate::server::{
    entry::RequestId,
    error::{ApiError, Fault},
    extract::Who,
    params::Fields,
};
use axum::{
    Json,
    body::Bytes,
    http::{HeaderMap, Uri},
};

pub(super) async fn push(
    request_id: RequestId,
    who: Who,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<DeployWire>, ApiError> {
    if !who.access.may_deploy() {
        return Err(Fault::Forbidden.into());
    }
    let fields = Fields::of_query(uri.query());
    let check = fields.flag("dry_run");
    let files = deploy::files(&headers, body, |part| {
        deploy::project_path(part.file_name.as_deref().unwrap_or(&part.field)).map(Some)
    });
    let files = files.await?;
    if files.is_empty() {
        return Err(Fault::BadBody("there is no file in the body".into()).into());
    }
    let report = who.workspace.put_datafiles(files, check, fields.flag("force")).await?;
    Ok(Json(deploy::wire(&report, check, &request_id)))
}
