//! `/v0/pipes`, the part that changes them: made of nodes, published, analysed, filled, copied, dropped.

use super::{jobs, pipes::made, resources::named};
use crate::{
    app::{NewNode, NewPipe, Populate},
    datafile::Cron,
    project::Pipe,
    server::{
        error::{ApiError, Fault},
        extract::{Given, Name, Who},
        params::Fields,
    },
};
use axum::{
    Json,
    extract::Path,
    http::{HeaderMap, StatusCode, Uri},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// A JSON object with `nodes`, or `name` and `sql` as fields: a pipe of one node.
pub(super) async fn create(who: Who, given: Given) -> Result<Json<Value>, ApiError> {
    if !who.access.may_create_pipe() {
        return Err(Fault::Forbidden.into());
    }
    let fields = &given.fields;
    let name = fields.required("name")?;
    let mut nodes = Vec::new();
    for node in fields.all("nodes") {
        nodes.push(node_of(node)?);
    }
    if nodes.is_empty() {
        let sql = given.sql().ok_or(Fault::Missing("nodes"))?;
        nodes.push(NewNode { name: format!("{name}_0"), sql, ..NewNode::default() });
    }
    // Whoever makes views and copies writes to data sources.
    let writes = nodes.iter().any(|it| !matches!(it.kind.as_str(), "" | "standard" | "endpoint" | "default"));
    if writes && !who.access.may_create_datasource() {
        return Err(Fault::Forbidden.into());
    }
    let new = NewPipe { name, description: fields.text("description").unwrap_or_default(), nodes };
    let done = who.workspace.put_pipe(new, fields.flag("force")).await?;
    let pipe = found(&who, done.name.as_str())?;
    let mut reply = made(&who, &pipe);
    if let Some(target) = &done.target {
        reply["datasource"] = json!({ "id": who.id_of("datasource", target.as_str()), "name": target.as_str() });
        reply["created_datasource"] = json!(done.created_target);
    }
    if fields.flag("populate") {
        let job = who.workspace.populate(pipe.name.as_str(), populate_of(fields)?).await?;
        reply["job"] = jobs::wire(&given.headers, &who, &job);
    }
    Ok(Json(reply))
}

pub(super) async fn remove(who: Who, Name(name): Name) -> Result<StatusCode, ApiError> {
    let pipe = who.pipe(&name).filter(|it| who.access.may_drop_pipe(&it.name) || who.access.may_create_pipe());
    let pipe = pipe.ok_or_else(|| who.missing("pipe", &name))?;
    who.workspace.drop_pipe(pipe.name.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A node at the end of the pipe; the body is its SQL.
pub(super) async fn add(who: Who, Name(name): Name, given: Given) -> Result<Json<Value>, ApiError> {
    let pipe = to_change(&who, &name)?;
    let fields = &given.fields;
    let new = NewNode {
        name: fields.text("name").unwrap_or_else(|| format!("{}_{}", pipe.name, pipe.nodes.len())),
        sql: given.sql().ok_or(Fault::Missing("sql"))?,
        description: fields.text("description").unwrap_or_default(),
        ..NewNode::default()
    };
    let node = who.workspace.add_node(pipe.name.as_str(), new).await?;
    let id = who.id_of("node", &format!("{}.{node}", pipe.name));
    Ok(Json(json!({ "id": id, "name": node.as_str() })))
}

pub(super) async fn change(
    who: Who,
    Path((name, node)): Path<(String, String)>,
    given: Given,
) -> Result<Json<Value>, ApiError> {
    let (pipe, node) = (to_change(&who, &name)?, node);
    let node = node_name(&who, &pipe, &node)?;
    let fields = &given.fields;
    let (sql, renamed) = (given.sql(), fields.text("name"));
    who.workspace.change_node(pipe.name.as_str(), &node, sql, renamed, fields.text("description")).await?;
    changed(&who, &pipe)
}

pub(super) async fn drop_node(who: Who, Path((name, node)): Path<(String, String)>) -> Result<StatusCode, ApiError> {
    let pipe = to_change(&who, &name)?;
    who.workspace.drop_node(pipe.name.as_str(), &node_name(&who, &pipe, &node)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn publish(who: Who, Path((name, node)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    let pipe = to_change(&who, &name)?;
    who.workspace.publish(pipe.name.as_str(), &node_name(&who, &pipe, &node)?).await?;
    changed(&who, &pipe)
}

pub(super) async fn unpublish(who: Who, Path((name, _)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    let pipe = to_change(&who, &name)?;
    who.workspace.unpublish(pipe.name.as_str()).await?;
    changed(&who, &pipe)
}

/// A view, copy or sink becomes a plain node.
pub(super) async fn unlink(who: Who, Path((name, node)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    let pipe = to_change(&who, &name)?;
    who.workspace.unlink(pipe.name.as_str(), &node_name(&who, &pipe, &node)?).await?;
    changed(&who, &pipe)
}

/// A node becomes the pipe's copy, or the copy changes.
pub(super) async fn set_copy(
    who: Who,
    Path((name, node)): Path<(String, String)>,
    given: Given,
) -> Result<Json<Value>, ApiError> {
    let pipe = to_change(&who, &name)?;
    if !who.access.may_create_datasource() {
        return Err(Fault::Forbidden.into());
    }
    let fields = given.fields()?;
    let text = |name: &str| fields.given(name);
    let target = match text("target_datasource") {
        Some(key) => Some(who.datasource(&key).ok_or_else(|| who.missing("data source", &key))?.name.to_string()),
        None => None,
    };
    // The text `None` takes the schedule away.
    let schedule = fields.text("schedule_cron").filter(|it| !it.is_empty());
    let schedule = schedule.map(|it| if it == "None" { String::new() } else { it });
    if let Some(text) = schedule.as_deref().filter(|it| !matches!(*it, "" | "@on-demand") && Cron::parse(it).is_none())
    {
        let message = format!("`{text}` is no schedule: @on-demand, or five fields as in `0 * * * *`");
        return Err(Fault::Bad { field: "schedule_cron", message }.into());
    }
    let node = node_name(&who, &pipe, &node)?;
    who.workspace.set_copy(pipe.name.as_str(), &node, target, schedule, text("mode")).await?;
    changed(&who, &pipe)
}

/// What a node would be as a view.
pub(super) async fn analyse(
    who: Who,
    Path((name, node)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let pipe = to_change(&who, &name)?;
    let fields = Fields::of_query(uri.query());
    let target = fields.given("datasource");
    let engine = named(&fields, |it| it == "engine" || it.starts_with("engine_"));
    let node = node_name(&who, &pipe, &node)?;
    let (datasource, file) = who.workspace.analyze_node(pipe.name.as_str(), &node, target.clone(), engine).await?;
    let name = target.unwrap_or_else(|| format!("{}_mv", pipe.name));
    Ok(Json(json!({
        "analysis": {
            "datasource": { "name": name, "datafile": datasource },
            "pipe": { "name": pipe.name.as_str(), "datafile": file },
        },
        "warnings": [],
    })))
}

pub(super) async fn populate(
    who: Who,
    Path((name, node)): Path<(String, String)>,
    given: Given,
) -> Result<Json<Value>, ApiError> {
    let pipe = to_change(&who, &name)?;
    let node = node_name(&who, &pipe, &node)?;
    if node != pipe.output_node().name.as_str() {
        let message = format!("the node `{node}` of `{}` materializes nothing", pipe.name);
        return Err(Fault::Bad { field: "node", message }.into());
    }
    let headers = given.headers.clone();
    let fields = given.fields()?;
    let job = who.workspace.populate(pipe.name.as_str(), populate_of(&fields)?).await?;
    Ok(Json(jobs::begun(&headers, &who, &job)))
}

/// Runs a copy pipe now. What is no word of ours is a parameter of the pipe.
pub(super) async fn copy(who: Who, Name(name): Name, given: Given) -> Result<Json<Value>, ApiError> {
    let pipe = who.pipe(&name).filter(|it| who.access.enter(&it.name).is_ok());
    let pipe = pipe.ok_or_else(|| who.missing("pipe", &name))?;
    let target = who.workspace.target_of_pipe(&pipe);
    if target.as_ref().is_some_and(|it| !who.access.may_append(it)) {
        return Err(Fault::Forbidden.into());
    }
    let headers = given.headers.clone();
    let fields = given.fields()?;
    let replace = match fields.text("_mode").or(fields.text("mode")).as_deref() {
        None | Some("" | "None") => None,
        Some(mode) => Some(mode.eq_ignore_ascii_case("replace")),
    };
    let mut params = fields.template_params();
    for ours in ["_mode", "mode", "on_demand_compute"] {
        params.swap_remove(ours);
    }
    let job = who.workspace.copy(pipe.name.as_str(), params, replace).await?;
    let mut reply = jobs::begun(&headers, &who, &job);
    let target = target.map(|it| who.id_of("datasource", it.as_str()));
    reply["tags"] = json!({ "copy_target_datasource": target });
    Ok(Json(reply))
}

/// Stops a copy running by itself, lets it do so again, or cancels the copies that go on.
pub(super) async fn schedule_copy(
    who: Who,
    Path((name, action)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    if !matches!(action.as_str(), "pause" | "resume" | "cancel") {
        return Err(Fault::NoRoute.into());
    }
    let pipe = to_change(&who, &name)?;
    if action == "cancel" {
        let cancelled = who.workspace.cancel_copies(pipe.name.as_str())?;
        let cancelled: Vec<_> = cancelled.iter().map(|it| jobs::wire(&headers, &who, it)).collect();
        return Ok(Json(json!({ "jobs": cancelled })));
    }
    who.workspace.pause_copy(pipe.name.as_str(), action == "pause").await?;
    changed(&who, &pipe)
}

pub(super) async fn run_sink(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    to_change(&who, &name)?;
    Err(Fault::Unsupported("sinks are not known yet".to_owned()).into())
}

fn populate_of(fields: &Fields) -> Result<Populate, Fault> {
    let text = |name: &str| fields.given(name);
    let number = |text: String| {
        let bad = |_| Fault::Bad { field: "populate_subset", message: format!("`{text}` is no number") };
        text.parse::<f64>().map_err(bad)
    };
    Ok(Populate {
        truncate: fields.flag("truncate"),
        subset: text("populate_subset").map(number).transpose()?,
        condition: text("populate_condition"),
        unlink_on_error: fields.flag("unlink_on_populate_error"),
    })
}

fn to_change(who: &Who, name: &str) -> Result<Arc<Pipe>, Fault> {
    who.pipe(name).filter(|_| who.access.may_create_pipe()).ok_or_else(|| who.missing("pipe", name))
}

/// A pipe as it is after a change.
fn changed(who: &Who, pipe: &Pipe) -> Result<Json<Value>, ApiError> {
    Ok(Json(made(who, &*found(who, pipe.name.as_str())?)))
}

fn found(who: &Who, name: &str) -> Result<Arc<Pipe>, Fault> {
    who.pipe(name).ok_or_else(|| who.missing("pipe", name))
}

/// A node by its name or id.
fn node_name(who: &Who, pipe: &Pipe, key: &str) -> Result<String, Fault> {
    let is = |name: &str| name == key || who.id_of("node", &format!("{}.{name}", pipe.name)) == key;
    let node = pipe.nodes.iter().map(|it| it.name.as_str()).find(|it| is(it));
    node.map(str::to_owned).ok_or_else(|| Fault::NoSuch { what: "node", name: key.to_owned() })
}

fn node_of(value: &Value) -> Result<NewNode, Fault> {
    let bad = || Fault::Bad { field: "nodes", message: "a node is an object with `name` and `sql`".to_owned() };
    let Value::Object(node) = value else { return Err(bad()) };
    let text = |name: &str| texts(node, |it| it == name).remove(name);
    Ok(NewNode {
        name: text("name").ok_or_else(bad)?,
        sql: text("sql").ok_or_else(bad)?,
        description: text("description").unwrap_or_default(),
        kind: text("type").unwrap_or_default().to_ascii_lowercase(),
        settings: texts(node, |it| {
            matches!(it, "datasource" | "target_datasource" | "copy_schedule" | "mode") || it.starts_with("export_")
        }),
        engine: texts(node, |it| it == "engine" || it.starts_with("engine_")),
    })
}

/// The fields of an object that fit and say something.
fn texts(object: &Map<String, Value>, fits: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let text = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Some((name.clone(), text.clone())),
        Value::Number(_) | Value::Bool(_) => Some((name.clone(), value.to_string())),
        // `engine: {"type": .., "args": [[name, value]]}`, as a file's parts are sent.
        Value::Object(engine) if name == "engine" => {
            engine.get("type").and_then(Value::as_str).map(|it| (name.clone(), it.to_owned()))
        }
        _ => None,
    };
    let mut res: BTreeMap<_, _> = object.iter().filter(|(name, _)| fits(name)).filter_map(text).collect();
    if fits("engine")
        && let Some(Value::Array(options)) = object.get("engine").and_then(|it| it.get("args"))
    {
        for option in options {
            if let (Some(name), Some(value)) = (option[0].as_str(), option[1].as_str()) {
                res.insert(format!("engine_{name}"), value.to_owned());
            }
        }
    }
    res
}
