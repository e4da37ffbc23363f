//! `/v0/datasources`, the part that changes them: made of fields, altered, emptied, dropped, their rows deleted.

use super::{datasources::made, identity, jobs};
use crate::{
    app::{Altered, NewDatasource, Workspace},
    project::Datasource,
    server::{
        Context,
        error::{ApiError, Fault},
        extract::{Given, Name, Who},
        params::Fields,
    },
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// What every message of a topic has.
const KAFKA_SCHEMA: &str = "`__value` String, `__topic` LowCardinality(String), `__partition` Int16, \
                            `__offset` Int64, `__timestamp` DateTime, `__key` String";

/// `POST /v0/datasources` without a file: the data source that its fields describe.
pub(super) async fn create(who: Who, fields: Fields) -> Result<Json<Value>, ApiError> {
    if !who.access.may_create_datasource() {
        return Err(Fault::Forbidden.into());
    }
    let name = fields.required("name")?;
    let text = |name: &str| fields.given(name);
    let mut settings = settings(&who, &fields).await?;
    let schema = match text("schema") {
        Some(schema) => schema,
        // A topic is taken as it is by whoever says nothing else of it.
        None if settings.contains_key("kafka_connection_name") => {
            settings.entry("kafka_store_raw_value".to_owned()).or_insert_with(|| "True".to_owned());
            KAFKA_SCHEMA.to_owned()
        }
        None => return Err(Fault::Missing("schema").into()),
    };
    let new = NewDatasource {
        schema,
        description: text("description").unwrap_or_default(),
        engine: named(&fields, |it| it == "engine" || it.starts_with("engine_")),
        indexes: text("indexes"),
        tags: vec![],
        settings,
        name: name.clone(),
    };
    let name = who.workspace.create_datasource(new).await?;
    let datasource = who.datasource(name.as_str()).ok_or_else(|| who.missing("data source", name.as_str()))?;
    Ok(Json(json!({ "datasource": made(&who, &datasource), "import_id": null })))
}

/// More settings of a data source.
pub(super) async fn update(who: Who, Name(name): Name, given: Given) -> Result<Json<Value>, ApiError> {
    let datasource = to_create(&who, &name)?;
    let fields = given.fields()?;
    let altered = Altered { settings: settings(&who, &fields).await?, ..Altered::default() };
    if !altered.settings.is_empty() {
        who.workspace.alter_datasource(datasource.name.as_str(), altered, false).await?;
    }
    let datasource = to_create(&who, datasource.name.as_str())?;
    Ok(Json(made(&who, &datasource)))
}

pub(super) async fn alter(who: Who, Name(name): Name, given: Given) -> Result<Json<Value>, ApiError> {
    let datasource = to_create(&who, &name)?;
    let fields = given.fields()?;
    let altered = Altered {
        schema: fields.text("schema").filter(|it| !it.trim().is_empty()),
        description: fields.text("description"),
        ttl: fields.text("ttl"),
        indexes: fields.text("indexes"),
        settings: BTreeMap::new(),
    };
    let dry = fields.flag("dry");
    let operations = who.workspace.alter_datasource(datasource.name.as_str(), altered, dry).await?;
    let dependents = who.workspace.dependents(datasource.name.as_str())?.pipes;
    let dependencies: Vec<_> = dependents.iter().map(|it| it.as_str()).collect();
    Ok(Json(json!({ "operations": operations, "dependencies": dependencies })))
}

pub(super) async fn truncate(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    let datasource = to_empty(&who, &name)?;
    who.workspace.truncate(datasource.name.as_str()).await?;
    Ok(Json(json!({})))
}

/// With `dry_run` only what would go: the number of rows.
pub(super) async fn delete_rows(who: Who, Name(name): Name, given: Given) -> Result<Response, ApiError> {
    let datasource = to_empty(&who, &name)?;
    let headers = given.headers.clone();
    let fields = given.fields()?;
    let condition = fields.required("delete_condition")?;
    if fields.flag("dry_run") {
        let rows = who.workspace.count_rows(datasource.name.as_str(), &condition).await?;
        return Ok(Json(json!({ "rows_to_be_deleted": rows })).into_response());
    }
    let job = who.workspace.delete_rows(datasource.name.as_str(), &condition).await?;
    let mut reply = jobs::begun(&headers, &who, &job);
    reply["delete_id"] = json!(job.id);
    Ok((StatusCode::CREATED, Json(reply)).into_response())
}

/// Two data sources of the same shape change their rows.
pub(super) async fn exchange(who: Who, given: Given) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let fields = given.fields()?;
    let datasource = |field| {
        let key = fields.required(field)?;
        who.datasource(&key).ok_or_else(|| who.missing("data source", &key))
    };
    let (one, other) = (datasource("datasource_a")?, datasource("datasource_b")?);
    who.workspace.exchange_datasources(one.name.as_str(), other.name.as_str()).await?;
    Ok(Json(json!({ "datasource_a": one.name.as_str(), "datasource_b": other.name.as_str() })))
}

/// What a query gives becomes rows of a data source, as a job.
pub(super) async fn copy_sql(who: Who, given: Given) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let key = given.fields.required("copy_to")?;
    let datasource = who.datasource(&key).ok_or_else(|| who.missing("data source", &key))?;
    let sql = given.text.clone().or_else(|| given.fields.text("q")).ok_or(Fault::Missing("q"))?;
    let job = who.workspace.copy_sql(datasource.name.as_str(), &sql).await?;
    Ok(Json(jobs::begun(&given.headers, &who, &job)))
}

/// With `dry_run` only what needs it. What another workspace shares stays there: this one reads it no more.
pub(super) async fn remove(
    State(context): State<Context>,
    who: Who,
    Name(name): Name,
    uri: Uri,
) -> Result<Response, ApiError> {
    if let Some(shared) = who.shared(&name).filter(|_| who.access.is_admin()) {
        let fields = Fields::of_query(uri.query());
        let here = &shared.datasource.name;
        let pipes = who.workspace.needed_by(here);
        if fields.flag("dry_run") {
            let pipes: Vec<_> = pipes.iter().map(|it| it.as_str()).collect();
            return Ok(Json(json!({ "dependent_pipes": pipes })).into_response());
        }
        context.app.decline(&who.workspace, here, fields.flag("force")).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let datasource = who.datasource(&name).filter(|it| who.access.may_drop_datasource(&it.name));
    let datasource = datasource.ok_or_else(|| who.missing("data source", &name))?;
    let fields = Fields::of_query(uri.query());
    if fields.flag("dry_run") {
        let pipes = who.workspace.dependents(datasource.name.as_str())?.pipes;
        let pipes: Vec<_> = pipes.iter().map(|it| it.as_str()).collect();
        return Ok(Json(json!({ "dependent_pipes": pipes })).into_response());
    }
    who.workspace.drop_datasource(datasource.name.as_str(), fields.flag("force")).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Another workspace may read it, under `workspace.name`.
pub(super) async fn share(
    State(context): State<Context>,
    who: Who,
    Name(name): Name,
    given: Given,
) -> Result<Json<Value>, ApiError> {
    let (who, datasource, destination) = shared_between(&context, who, &name, given)?;
    context.app.share(&who.workspace, datasource.name.as_str(), &destination).await?;
    Ok(Json(json!({ "datasource": made(&who, &datasource) })))
}

/// From here on it may not. The reply names the pipes of that workspace which need it.
pub(super) async fn unshare(
    State(context): State<Context>,
    who: Who,
    Name(name): Name,
    given: Given,
) -> Result<Json<Value>, ApiError> {
    let (who, datasource, destination) = shared_between(&context, who, &name, given)?;
    let broken = context.app.unshare(&who.workspace, datasource.name.as_str(), &destination).await?;
    let broken: Vec<_> = broken.iter().map(|it| format!("{}.{it}", destination.name())).collect();
    Ok(Json(json!({ "datasource": made(&who, &datasource), "dependent_pipes": broken })))
}

/// Both workspaces are open to whoever shares between them.
fn shared_between(
    context: &Context,
    who: Who,
    name: &str,
    given: Given,
) -> Result<(Who, Arc<Datasource>, Arc<Workspace>), ApiError> {
    who.admin()?;
    let fields = given.fields()?;
    let text = |name: &str| fields.given(name);
    let source = match text("origin_workspace_id") {
        Some(key) => identity::found(context, &who, "workspace", &key)?.0,
        None => who.workspace.clone(),
    };
    let who = Who { workspace: source, ..who };
    let datasource = who.datasource(name).ok_or_else(|| who.missing("data source", name))?;
    let destination = text("destination_workspace_id").or_else(|| text("destination_workspace_name"));
    let destination = destination.ok_or(Fault::Missing("destination_workspace_id"))?;
    let (destination, _) = identity::found(context, &who, "workspace", &destination)?;
    Ok((who, datasource, destination))
}

pub(super) fn to_create(who: &Who, name: &str) -> Result<Arc<Datasource>, Fault> {
    let found = who.datasource(name).filter(|_| who.access.may_create_datasource());
    found.ok_or_else(|| who.missing("data source", name))
}

fn to_empty(who: &Who, name: &str) -> Result<Arc<Datasource>, Fault> {
    let may = |it: &Arc<Datasource>| who.access.may_create_datasource() || who.access.may_drop_datasource(&it.name);
    who.datasource(name).filter(may).ok_or_else(|| who.missing("data source", name))
}

/// Fields whose names fit, but for those that say `None`, as some clients do.
pub(super) fn named(fields: &Fields, fits: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let names: Vec<_> = fields.names().filter(|it| fits(it)).map(str::to_owned).collect();
    let value = |name: String| {
        let value = fields.given(&name)?;
        Some((name, value))
    };
    names.into_iter().filter_map(value).collect()
}

/// The commands of a data source's file among the fields. A Kafka connection may be named by its id.
async fn settings(who: &Who, fields: &Fields) -> Result<BTreeMap<String, String>, ApiError> {
    let mut res = named(fields, |it| it.starts_with("kafka_") || it.starts_with("import_"));
    if let Some(key) = fields.given("connector") {
        let connection = who.workspace.connection(&key).await?;
        let connection = connection.ok_or(Fault::NoSuch { what: "connection", name: key })?;
        res.insert("kafka_connection_name".to_owned(), connection.name);
    }
    Ok(res)
}
