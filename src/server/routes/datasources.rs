//! `/v0/datasources`: what there is.

use super::{
    pipes::{datafile, restricted},
    tokens,
};
use crate::{
    app::{Changed, TableStatistics, Workspace},
    auth::ScopeKind,
    name::ResourceName,
    project::{Column, ColumnDefault, Datasource, Permission, PipeKind},
    server::{
        error::{ApiError, Fault},
        extract::{Name, Who},
        intake,
        params::Fields,
        upload,
    },
    sql::UserSql,
};
use axum::{
    Json,
    body::Bytes,
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// For what has no file: clients need a time of this form all the same.
pub(super) const UNKNOWN_TIME: &str = "1970-01-01 00:00:00.000000";

#[derive(Serialize)]
struct DatasourceWire {
    id: String,
    name: String,
    description: String,
    #[serde(rename = "type")]
    kind: &'static str,
    created_at: String,
    updated_at: String,
    statistics: StatisticsWire,
    engine: EngineWire,
    schema: SchemaWire,
    columns: Vec<ColumnWire>,
    indexes: Vec<IndexWire>,
    /// For administrators: the ids of workspaces that may read it.
    shared_with: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_with_workspaces: Option<Vec<UsedBy>>,
    /// The id of the workspace that shares it.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_from: Option<String>,
    used_by: Vec<UsedBy>,
    tags: Value,
    headers: Value,
    service: Option<&'static str>,
    connector: Option<String>,
    new_columns_detected: Value,
    quarantine_rows: u64,
}

#[derive(Serialize)]
struct StatisticsWire {
    bytes: u64,
    row_count: u64,
}

/// Clients take these four and no others in lists; `ttl` is for the detail alone.
#[derive(Serialize)]
struct EngineWire {
    engine: &'static str,
    engine_sorting_key: String,
    engine_partition_key: String,
    engine_primary_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<String>,
}

#[derive(Serialize)]
struct SchemaWire {
    sql_schema: String,
    columns: Vec<ColumnWire>,
}

#[derive(Serialize, Clone)]
struct ColumnWire {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    codec: Option<String>,
    default_value: Option<String>,
    jsonpath: Option<String>,
    nullable: bool,
    normalized_name: String,
}

#[derive(Serialize)]
struct IndexWire {
    name: String,
    expr: String,
    type_full: String,
    granularity: String,
}

#[derive(Serialize)]
struct UsedBy {
    id: String,
    name: String,
}

/// What entries of lists always have, whatever `attrs` asks for.
const ALWAYS: &[&str] = &["id", "name", "engine", "columns", "indexes", "new_columns_detected", "quarantine_rows"];

pub(super) async fn list(who: Who, uri: Uri) -> Result<Json<Value>, ApiError> {
    let attrs = Fields::of_query(uri.query()).text("attrs");
    let statistics = statistics(&who).await?;
    let project = who.workspace.project();
    let shared = project.shared.values().map(|it| &it.datasource);
    let all = project.datasources.values().map(|it| &**it).chain(shared);
    let seen = all.filter(|it| may_see(&who, &it.name));
    let datasources = seen.map(|it| {
        let mut wire = wire(&who, it, &statistics);
        wire.engine.ttl = None;
        restricted(json!(wire), attrs.as_deref(), ALWAYS)
    });
    Ok(Json(json!({ "datasources": datasources.collect::<Vec<_>>() })))
}

pub(super) async fn show(who: Who, Name(name): Name, uri: Uri) -> Result<Response, ApiError> {
    let fields = Fields::of_query(uri.query());
    let (name, as_file) = match name.strip_suffix(".datasource") {
        Some(name) => (name, true),
        None => (name.as_str(), fields.text("format").as_deref() == Some("datasource")),
    };
    let own = who.datasource(name);
    if own.is_none()
        && let Some(shared) = who.shared(name).filter(|it| may_see(&who, &it.datasource.name))
    {
        if as_file {
            let text = who.workspace.vendored(&shared.datasource.name);
            let text = text.ok_or_else(|| who.missing("data source", name))?;
            return Ok(([(header::CONTENT_TYPE, "text/plain")], text).into_response());
        }
        let wire = json!(wire(&who, &shared.datasource, &statistics(&who).await?));
        return Ok(Json(restricted(wire, fields.text("attrs").as_deref(), ALWAYS)).into_response());
    }
    let datasource = own.filter(|it| may_see(&who, &it.name));
    let datasource = datasource.ok_or_else(|| who.missing("data source", name))?;
    if as_file {
        let words =
            [(ScopeKind::DatasourcesRead, Permission::Read), (ScopeKind::DatasourcesAppend, Permission::Append)];
        let mut lines = tokens::lines(&who, &datasource.name, &words, &datasource.tokens);
        if who.access.is_admin() {
            lines.push_str(&who.workspace.unwritten_shares(&datasource));
        }
        return Ok(datafile(&who, &datasource.place, &lines)?);
    }
    let statistics = statistics(&who).await?;
    let mut wire = wire(&who, &datasource, &statistics);
    if fields.flag("include_workspace_names") {
        let named = receivers(&who, &datasource.name).into_iter();
        wire.shared_with_workspaces =
            Some(named.map(|it| UsedBy { id: it.id().to_owned(), name: it.name().to_owned() }).collect());
    }
    let wire = json!(wire);
    Ok(Json(restricted(wire, fields.text("attrs").as_deref(), ALWAYS)).into_response())
}

/// A data source as its changes answer it: rows are not counted.
pub(super) fn made(who: &Who, datasource: &Datasource) -> Value {
    json!(wire(who, datasource, &BTreeMap::new()))
}

/// The first part that is a file, else the first part of all.
pub(super) async fn file(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Fault> {
    if !upload::is_multipart(headers) {
        return if intake::is_form(headers) { Err(Fault::Missing("file")) } else { Ok(body) };
    }
    let parts = upload::parts(headers, body).await?;
    let file = parts.iter().find(|it| it.file_name.is_some()).or(parts.first());
    file.map(|it| it.bytes.clone()).ok_or_else(|| Fault::BadBody("it holds no file".to_owned()))
}

/// When the resource of a file was made and changed.
pub(super) fn changed(who: &Who, path: &str) -> Changed {
    who.workspace.changed(path).unwrap_or_else(unknown)
}

fn unknown() -> Changed {
    Changed { created_at: UNKNOWN_TIME.to_owned(), updated_at: UNKNOWN_TIME.to_owned() }
}

/// Who a data source is shared with, for administrators.
fn receivers(who: &Who, name: &ResourceName) -> Vec<Arc<Workspace>> {
    let receivers = if who.access.is_admin() { who.workspace.receivers(name) } else { vec![] };
    receivers.into_iter().filter(|it| it.main().is_none()).collect()
}

fn opens(who: &Who, workspace: &Workspace) -> bool {
    who.realm.as_ref().is_some_and(|it| it.has(workspace))
}

fn may_see(who: &Who, name: &ResourceName) -> bool {
    who.access.read(name).is_ok() || who.access.may_append(name)
}

/// Rows and bytes are for those who may see every row.
async fn statistics(who: &Who) -> Result<BTreeMap<ResourceName, TableStatistics>, ApiError> {
    let mut res = who.workspace.statistics().await?;
    res.extend(who.workspace.shared_statistics().await?);
    res.retain(|name, _| who.access.read(name).is_ok_and(|grant| grant.filters().is_empty()));
    Ok(res)
}

fn wire(who: &Who, datasource: &Datasource, statistics: &BTreeMap<ResourceName, TableStatistics>) -> DatasourceWire {
    let text = |it: &Option<UserSql>| it.as_ref().map(|it| it.text().to_owned()).unwrap_or_default();
    let columns: Vec<_> = datasource.columns.iter().map(column_wire).collect();
    let statistics = statistics.get(&datasource.name).copied().unwrap_or_default();
    let engine = &datasource.engine;
    let project = who.workspace.project();
    let feeds_or_reads = project.pipes.values().filter(|pipe| {
        let reads = pipe.nodes.iter().flat_map(|it| &it.reads).any(|it| it.name == datasource.name);
        let fills = matches!(&pipe.kind, PipeKind::Materialized { target } if *target == datasource.name);
        (reads || fills) && who.access.enter(&pipe.name).is_ok()
    });
    let used_by_others = receivers(who, &datasource.name).into_iter().filter(|it| opens(who, it)).flat_map(|it| {
        let here = ResourceName::shared(who.workspace.name(), &datasource.name);
        let used_by =
            |pipe: ResourceName| UsedBy { id: it.id_of("pipe", pipe.as_str()), name: format!("{}.{pipe}", it.name()) };
        it.needed_by(&here).into_iter().map(used_by).collect::<Vec<_>>()
    });
    let home = who.workspace.home_of(&datasource.name);
    let of_home = |home: &Workspace| home.changed(&datasource.place.path).unwrap_or_else(unknown);
    let changed = home.as_ref().map_or_else(|| changed(who, &datasource.place.path), |it| of_home(&it.0));
    DatasourceWire {
        id: who.id_of("datasource", datasource.name.as_str()),
        name: datasource.name.to_string(),
        description: datasource.description.clone().unwrap_or_default(),
        kind: match &datasource.kafka {
            Some(_) => "kafka",
            None if datasource.columns.iter().any(|it| it.jsonpath.is_some()) => "ndjson",
            None => "csv",
        },
        created_at: changed.created_at,
        updated_at: changed.updated_at,
        statistics: StatisticsWire { bytes: statistics.bytes, row_count: statistics.rows },
        engine: EngineWire {
            engine: engine.family.name(),
            engine_sorting_key: text(&engine.sorting_key),
            engine_partition_key: text(&engine.partition_key),
            engine_primary_key: text(&engine.primary_key),
            ttl: engine.ttl.as_ref().map(|it| it.text().to_owned()),
        },
        schema: SchemaWire { sql_schema: sql_schema(&columns), columns: columns.clone() },
        columns,
        indexes: datasource
            .indexes
            .iter()
            .map(|it| IndexWire {
                name: it.name.clone(),
                expr: it.expression.text().to_owned(),
                type_full: it.kind.text().to_owned(),
                granularity: it.granularity.to_string(),
            })
            .collect(),
        shared_with: receivers(who, &datasource.name).iter().map(|it| it.id().to_owned()).collect(),
        shared_with_workspaces: None,
        shared_from: home.map(|it| it.0.id().to_owned()),
        used_by: feeds_or_reads
            .map(|it| UsedBy { id: who.id_of("pipe", it.name.as_str()), name: it.name.to_string() })
            .chain(used_by_others)
            .collect(),
        tags: json!({}),
        headers: json!({}),
        service: datasource.kafka.as_ref().map(|_| "kafka"),
        connector: datasource.kafka.as_ref().map(|it| it.connection.to_string()),
        new_columns_detected: json!({}),
        quarantine_rows: statistics.quarantined,
    }
}

fn column_wire(column: &Column) -> ColumnWire {
    ColumnWire {
        name: column.name.as_str().to_owned(),
        kind: column.column_type.to_string(),
        codec: column.codec.as_ref().map(|it| it.text().to_owned()),
        default_value: column.default.as_ref().map(|it| match it {
            ColumnDefault::Default(it) => format!("DEFAULT {}", it.text()),
            ColumnDefault::Materialized(it) => format!("MATERIALIZED {}", it.text()),
        }),
        jsonpath: column.jsonpath.as_ref().map(|it| it.text.clone()),
        nullable: column.column_type.is_nullable(),
        normalized_name: column.name.as_str().to_owned(),
    }
}

/// The columns as clients compare them with a file: name, type, jsonpath, default, codec.
fn sql_schema(columns: &[ColumnWire]) -> String {
    let column = |it: &ColumnWire| {
        let mut res = format!("`{}` {}", it.name, it.kind);
        if let Some(path) = &it.jsonpath {
            res.push_str(&format!(" `json:{path}`"));
        }
        for rest in [&it.default_value, &it.codec].into_iter().flatten() {
            res.push(' ');
            res.push_str(rest);
        }
        res
    };
    columns.iter().map(column).collect::<Vec<_>>().join(", ")
}
