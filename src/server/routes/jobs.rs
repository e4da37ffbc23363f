//! `/v0/jobs`: work that goes on after the call that asked for it.

use crate::{
    app::{Job, JobKind, JobStatus},
    server::{
        error::{ApiError, Fault},
        extract::{Name, Who},
        params::Fields,
    },
};
use axum::{
    Json,
    http::{HeaderMap, Uri, header},
};
use jiff::civil::DateTime;
use serde_json::{Value, json};

pub(super) async fn list(who: Who, uri: Uri, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let fields = Fields::of_query(uri.query());
    let (status, kind) = (fields.text("status"), fields.text("kind"));
    let wanted = |asked: &Option<String>, is: &str| {
        asked.as_deref().is_none_or(|it| it.is_empty() || it.split(',').any(|it| it.trim() == is))
    };
    let pipe = fields.text("pipe_name").filter(|it| !it.is_empty());
    let pipe_id = fields.text("pipe_id").filter(|it| !it.is_empty());
    let (after, before) = (moment(&fields, "created_after")?, moment(&fields, "created_before")?);
    let of_pipe = |it: &Job| {
        let name = it.subject.pipe.as_deref();
        pipe.as_deref().is_none_or(|pipe| name == Some(pipe))
            && pipe_id.as_ref().is_none_or(|id| name.is_some_and(|it| who.id_of("pipe", it) == *id))
    };
    let in_time = |it: &Job| {
        after.as_ref().is_none_or(|time| it.created_at >= *time)
            && before.as_ref().is_none_or(|time| it.created_at < *time)
    };
    let jobs = who.workspace.jobs();
    let jobs = jobs.iter().filter(|it| wanted(&status, it.status.name()) && wanted(&kind, it.kind.name()));
    let jobs = jobs.filter(|it| of_pipe(it) && in_time(it));
    Ok(Json(json!({ "jobs": jobs.map(|it| wire(&headers, &who, it)).collect::<Vec<_>>() })))
}

/// A time in the form of a job's own; `2026-01-31` and `2026-01-31T12:00:00Z` are taken as well.
fn moment(fields: &Fields, field: &'static str) -> Result<Option<String>, Fault> {
    let Some(text) = fields.text(field).filter(|it| !it.trim().is_empty()) else { return Ok(None) };
    let time = text.trim().trim_end_matches('Z').parse::<DateTime>().map_err(|_| {
        let message = format!("`{text}` is no time: it is like 2026-01-31 or 2026-01-31 12:00:00, in UTC");
        Fault::Bad { field, message }
    })?;
    Ok(Some(time.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()))
}

pub(super) async fn show(who: Who, Name(id): Name, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let job = who.workspace.job(&id).filter(|it| may_see(&who, it)).ok_or_else(|| who.missing("job", &id))?;
    Ok(Json(wire(&headers, &who, &job)))
}

pub(super) async fn cancel(who: Who, Name(id): Name, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let job = who.workspace.cancel_job(&id)?;
    Ok(Json(wire(&headers, &who, &job)))
}

pub(super) async fn retry(who: Who, Name(id): Name, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let job = who.workspace.retry_job(&id).await?;
    Ok(Json(begun(&headers, &who, &job)))
}

/// Whoever may bring rows into a data source sees what becomes of its files.
fn may_see(who: &Who, job: &Job) -> bool {
    let name = job.subject.datasource.as_deref().and_then(|it| who.datasource(it)).map(|it| it.name.clone());
    let brings = |it| who.access.may_append(&it) || who.access.may_create_datasource();
    who.access.is_admin() || (job.kind == JobKind::Import && name.is_some_and(brings))
}

pub(super) fn wire(headers: &HeaderMap, who: &Who, job: &Job) -> Value {
    let subject = &job.subject;
    let mut wire = json!({
        "id": job.id,
        "job_id": job.id,
        "job_url": format!("{}/v0/jobs/{}", origin(headers), job.id),
        "kind": job.kind.name(),
        "status": job.status.name(),
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "started_at": job.started_at,
        "is_cancellable": !(job.status.is_end() || job.is_firm),
        "statistics": { "rows_read": job.rows, "bytes_read": null },
        "errors": job.error.iter().collect::<Vec<_>>(),
        "quarantine_rows": job.taken.map_or(0, |it| it.quarantined),
        "invalid_lines": 0,
    });
    if job.kind == JobKind::Import {
        let taken = job.taken.unwrap_or_default();
        let status = if job.status == JobStatus::Done { "done" } else { "idle" };
        wire["import_id"] = json!(job.id);
        wire["block_log"] = json!([{ "block_id": job.id, "status": status }]);
        wire["blocks"] = json!([{
            "block_id": job.id,
            "process_return": [{
                "lines": job.rows.unwrap_or_default(), "quarantine": taken.quarantined, "bytes": taken.bytes,
                "parser": "birdhouse", "empty_lines": 0, "invalid_lines": 0,
            }],
        }]);
        let (done, all) = taken.blocks;
        wire["progress_percentage"] = json!((done * 100).checked_div(all).unwrap_or_default());
    }
    // Clients look whether it is there.
    if let Some(error) = &job.error {
        wire["error"] = json!(error);
    }
    if let Some(pipe) = &subject.pipe {
        wire["pipe_id"] = json!(who.id_of("pipe", pipe));
        wire["pipe_name"] = json!(pipe);
    }
    if let Some(name) = &subject.datasource {
        wire["datasource"] = json!({ "id": who.id_of("datasource", name), "name": name });
    }
    if let Some(condition) = &subject.condition {
        let name = if job.kind == JobKind::DeleteRows { "delete_condition" } else { "populate_condition" };
        wire[name] = json!(condition);
    }
    if job.kind == JobKind::DeleteRows {
        wire["rows_affected"] = json!(job.rows);
    }
    wire
}

/// A reply that begins a job: clients look for its id at the top, or under `job`.
pub(super) fn begun(headers: &HeaderMap, who: &Who, job: &Job) -> Value {
    let job = wire(headers, who, job);
    json!({
        "id": job["id"], "job_id": job["job_id"], "job_url": job["job_url"], "status": job["status"], "job": job,
    })
}

/// Where the client says that it reached us.
fn origin(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let host = text(header::HOST.as_str()).unwrap_or_else(|| "localhost".to_owned());
    let scheme = text("x-forwarded-proto").filter(|it| it == "https").unwrap_or_else(|| "http".to_owned());
    format!("{scheme}://{host}")
}
