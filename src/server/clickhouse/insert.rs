//! `INSERT INTO .. FORMAT ..`: rows into a data source, by whoever may append to it.
//!
//! In: a head that was read, and the rows as they came. Out: how many are in. All of them go in, or none: what does not
//! fit is an error, as clients of ClickHouse expect, and is in no quarantine.

use super::error::{self, Exception};
use crate::{
    query::{Catalog, DEFAULT_DATABASE, Format, QueryError},
    server::{error::ApiError, extract::Who},
    sql::scan::client::InsertHead,
};
use axum::body::Bytes;

pub(super) async fn insert(
    who: &Who,
    catalog: &Catalog,
    head: &InsertHead,
    data: Bytes,
    token: Option<String>,
) -> Result<u64, Exception> {
    let name = &head.table.name;
    let denied = || Exception::from(ApiError::from(QueryError::Denied(name.clone())));
    let database = head.table.database.as_deref().unwrap_or(DEFAULT_DATABASE);
    if database != DEFAULT_DATABASE && database != catalog.database {
        return Err(denied());
    }
    let project = who.workspace.project();
    // What is not there and what may not be written to are one answer.
    let datasource = project.datasource(name).filter(|it| who.access.may_append(&it.name)).ok_or_else(denied)?;
    let format = Format::parse_wire(&head.format).filter(|it| it.takes_rows()).ok_or_else(|| {
        Exception::new(error::UNKNOWN_FORMAT, format!("rows cannot be read in the format {}", head.format))
    })?;
    if data.is_empty() {
        return Ok(0);
    }
    let written = who.workspace.insert_written(&datasource.name, head.columns.clone(), format, data, token).await;
    Ok(written.map_err(ApiError::from)?)
}
