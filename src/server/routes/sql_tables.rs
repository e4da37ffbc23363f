//! `/v0/sql_tables`: which tables a text reads, for clients that have no parser of their own.

use super::resources::fields;
use crate::{
    server::{
        error::{ApiError, Fault},
        extract::Who,
    },
    sql::scan::{self, Position},
};
use axum::{
    Json,
    body::Bytes,
    http::{HeaderMap, Uri},
};
use serde_json::{Value, json};

/// A text that cannot be read has no tables, unless the client asks to hear of it (`raising`).
pub(super) async fn list(_: Who, uri: Uri, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, ApiError> {
    let fields = fields(&uri, &headers, &body)?;
    let text = fields.text("q").ok_or(Fault::Missing("q"))?;
    let scanned = match scan::scan(&text) {
        Ok(scanned) => scanned,
        // A template that gives nothing without its parameters reads nothing.
        Err(error) if error.message == scan::EMPTY => return Ok(Json(json!({ "tables": [] }))),
        Err(error) if fields.flag("raising") => return Err(error.into()),
        Err(_) => return Ok(Json(json!({ "tables": [] }))),
    };
    let mut tables: Vec<[String; 2]> = Vec::new();
    for table in scanned.tables.iter().filter(|it| it.position == Position::From) {
        let (database, name) = table.name.rsplit_once('.').unwrap_or(("", &table.name));
        let table = [database.to_owned(), name.to_owned()];
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    Ok(Json(json!({ "tables": tables })))
}
