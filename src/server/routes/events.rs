//! `POST /v0/events`: rows as lines of JSON, whatever the content type says.

use crate::{
    ingest::events::Format,
    server::{
        entry::RequestId,
        error::{ApiError, Fault},
        extract::Who,
        params::Fields,
    },
};
use axum::{
    Json,
    body::Bytes,
    http::{StatusCode, Uri},
};
use serde::Serialize;

/// Clients take both for numbers, always there.
#[derive(Serialize)]
pub(super) struct EventsWire {
    successful_rows: u64,
    quarantined_rows: u64,
}

pub(super) async fn send(
    who: Who,
    request_id: RequestId,
    uri: Uri,
    body: Bytes,
) -> Result<(StatusCode, Json<EventsWire>), ApiError> {
    let fields = Fields::of_query(uri.query());
    let name = fields.required("name")?;
    let format = match fields.text("format").unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "ndjson" => Format::Ndjson,
        "json" => Format::Json,
        other => {
            let message = format!("`{other}` is not known: ndjson and json are");
            return Err(Fault::Bad { field: "format", message }.into());
        }
    };
    let may = |it: &crate::name::ResourceName| who.access.may_append(it) || who.access.may_create_datasource();
    let datasource = who.datasource(&name).filter(|it| may(&it.name));
    let Some(datasource) = datasource else {
        // Who may create data sources hears that there is none; others learn nothing.
        return Err(match who.access.may_create_datasource() {
            true => Fault::NoSuch { what: "data source", name },
            false => who.missing("data source", &name),
        }
        .into());
    };
    let wait = fields.flag("wait");
    let accepted = who.workspace.send_events(&datasource.name, format, body, &request_id.0, wait).await?;
    let status = if wait && accepted.inserted { StatusCode::OK } else { StatusCode::ACCEPTED };
    let wire = EventsWire { successful_rows: accepted.rows, quarantined_rows: accepted.quarantined };
    Ok((status, Json(wire)))
}
