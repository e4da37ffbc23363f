//! `/v0/pipes`: what there is, and endpoints' answers as `{name}.json`, `.csv`, `.csvwithnames`, `.ndjson`.

use super::tokens;
use crate::{
    auth::ScopeKind,
    diagnostic::Place,
    project::{NodeSql, Permission, Pipe, PipeKind},
    query::{Format, Request},
    server::{
        Context,
        error::{ApiError, Fault},
        extract::{Came, Name, Who},
        params::{Body, Fields},
        read::{self, Asking},
    },
    template::{Parameter, Params, merge},
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Serialize)]
struct PipeWire {
    id: String,
    name: String,
    description: String,
    #[serde(rename = "type")]
    kind: &'static str,
    endpoint: Option<String>,
    url: Option<String>,
    copy_node: Option<String>,
    /// The id of the data source that the pipe copies to.
    copy_target_datasource: Option<String>,
    copy_target_workspace: Option<String>,
    sink_node: Option<String>,
    schedule: Option<Value>,
    nodes: Vec<NodeWire>,
    path: String,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
struct NodeWire {
    id: String,
    name: String,
    sql: String,
    description: String,
    node_type: &'static str,
    /// The id of the data source that the node fills.
    materialized: Option<String>,
    dependencies: Vec<String>,
    params: Vec<ParamWire>,
    tags: Value,
}

#[derive(Serialize, PartialEq)]
struct ParamWire {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    default: Option<Value>,
    required: bool,
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#enum: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<Value>,
}

/// Names in a request that no template of the endpoint reads: a typo can be found by it.
const UNKNOWN_PARAMETERS: &str = "x-birdhouse-unknown-parameters";

/// As many of them are told.
const MAX_UNKNOWN: usize = 20;

/// What replies of lists always have, whatever `attrs` asks for.
const ALWAYS: &[&str] = &["id", "name", "url"];

/// `node_attrs` restricts the nodes as `attrs` does the pipe, and asks for them.
pub(super) async fn list(who: Who, uri: Uri) -> Json<Value> {
    let fields = Fields::of_query(uri.query());
    let attrs = fields.text("attrs");
    let node_attrs = fields.text("node_attrs").filter(|it| !it.trim().is_empty());
    let always: Vec<_> = ALWAYS.iter().copied().chain(node_attrs.as_ref().map(|_| "nodes")).collect();
    let project = who.workspace.project();
    let seen = project.pipes.values().filter(|it| who.access.enter(&it.name).is_ok());
    let pipes = seen.map(|it| {
        let mut pipe = restricted(json!(wire(&who, it)), attrs.as_deref(), &always);
        for node in pipe.get_mut("nodes").and_then(Value::as_array_mut).into_iter().flatten() {
            *node = restricted(node.take(), node_attrs.as_deref(), &[]);
        }
        pipe
    });
    Json(json!({ "pipes": pipes.collect::<Vec<_>>() }))
}

pub(super) async fn show_or_ask(
    State(context): State<Context>,
    came: Came,
    who: Who,
    Name(name): Name,
    body: Bytes,
) -> Result<Response, ApiError> {
    let is_datafile = || Fields::of_query(came.uri.query()).text("format").as_deref() == Some("pipe");
    let of_file =
        name.strip_suffix(".pipe").or_else(|| (!name.contains('.') && is_datafile()).then_some(name.as_str()));
    if let Some(name) = of_file {
        let pipe = who.pipe(name).filter(|it| who.access.enter(&it.name).is_ok());
        let pipe = pipe.ok_or_else(|| who.missing("pipe", name))?;
        let tokens = tokens::lines(&who, &pipe.name, &[(ScopeKind::PipesRead, Permission::Read)], &pipe.tokens);
        return Ok(datafile(&who, &pipe.place, &tokens)?);
    }
    if name.contains('.') {
        return ask(State(context), came, who, Name(name), body).await;
    }
    let pipe = who.pipe(&name).filter(|it| who.access.enter(&it.name).is_ok());
    let pipe = pipe.ok_or_else(|| who.missing("pipe", &name))?;
    Ok(Json(wire(&who, &pipe)).into_response())
}

pub(super) async fn ask(
    State(context): State<Context>,
    came: Came,
    who: Who,
    Name(name): Name,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (name, extension) = name.rsplit_once('.').ok_or(Fault::MethodNotAllowed)?;
    let format = match extension {
        "json" => Format::Json,
        "csv" | "csvwithnames" => Format::CsvWithNames,
        "ndjson" => Format::JsonEachRow,
        "parquet" => Format::Parquet,
        "prometheus" => Format::Prometheus,
        // What came in its place is not said again: it may be a part of something that is no format.
        _ => {
            let message =
                "it is not known; there are .json, .csv, .csvwithnames, .ndjson, .parquet and .prometheus".to_owned();
            return Err(Fault::Bad { field: "format", message }.into());
        }
    };
    // Asked first, so that nothing else in the request tells whether the endpoint is there.
    let pipe = who.pipe(name).filter(|it| it.is_endpoint() && who.access.enter(&it.name).is_ok());
    let pipe = pipe.ok_or_else(|| read::no_such_endpoint(&who, name))?;
    let mut fields = Fields::of_query(came.uri.query());
    let mut over = None;
    match Body::read(&came.headers, &body)? {
        Body::Empty => (),
        Body::Fields(more) => fields = fields.and(more),
        Body::Text(sql) => over = Some(sql),
    }
    let over = fields.text("q").or(over).filter(|it| !it.trim().is_empty());
    let params = fields.template_params();
    let unknown = unknown_parameters(&who, &pipe, &params);
    let budgets = context.settings.templates;
    let request = Request { over, format, budgets, ..Request::pipe(pipe.name.clone(), params) };
    let asking = Asking { pipe: Some(pipe.name.to_string()), request, call: read::call(&came, &who, &fields) };
    // An error says it too: a mistyped name is a missing parameter, mostly.
    let mut response = read::ask(&context, &came, &who, asking).await.into_response();
    if let Some(unknown) = unknown {
        response.headers_mut().insert(UNKNOWN_PARAMETERS, unknown);
    }
    Ok(response)
}

/// The parameters that do nothing, as a header's value: percent-encoded, with commas.
fn unknown_parameters(who: &Who, pipe: &Pipe, params: &Params) -> Option<HeaderValue> {
    let known = who.workspace.project().parameter_names(pipe, pipe.output_node());
    let unknown = params.keys().filter(|it| !known.contains(*it) && it.len() <= 200).take(MAX_UNKNOWN);
    let names: Vec<String> = unknown.map(|it| form_urlencoded::byte_serialize(it.as_bytes()).collect()).collect();
    HeaderValue::from_str(&names.join(", ")).ok().filter(|it| !it.is_empty())
}

/// A datafile as it was deployed, after the lines that it is to have besides. Clients compare the type to the letter.
pub(super) fn datafile(who: &Who, place: &Place, head: &str) -> Result<Response, Fault> {
    let project = who.workspace.project();
    let source = project.sources.iter().find(|it| it.path == place.path);
    let text = source.ok_or_else(|| Fault::Internal(format!("{} is deployed and not kept", place.path)))?;
    let between = if head.is_empty() || text.text.starts_with("TOKEN") { "" } else { "\n" };
    let text = format!("{head}{between}{}", text.text);
    Ok(([(header::CONTENT_TYPE, "text/plain")], text).into_response())
}

/// A pipe as its changes answer it.
pub(super) fn made(who: &Who, pipe: &Pipe) -> Value {
    json!(wire(who, pipe))
}

fn wire(who: &Who, pipe: &Pipe) -> PipeWire {
    let id = |node: usize| who.id_of("node", &format!("{}.{}", pipe.name, pipe.nodes[node].name));
    let output = Some(id(pipe.output));
    let of = |is: bool| output.clone().filter(|_| is);
    let changed = super::datasources::changed(who, &pipe.place.path);
    let copied = match &pipe.kind {
        PipeKind::Copy { target, .. } => Some(target),
        _ => None,
    };
    PipeWire {
        id: who.id_of("pipe", pipe.name.as_str()),
        name: pipe.name.to_string(),
        description: pipe.description.clone().unwrap_or_default(),
        kind: match pipe.kind {
            PipeKind::Endpoint => "endpoint",
            PipeKind::Materialized { .. } => "materialized",
            PipeKind::Copy { .. } => "copy",
            PipeKind::Sink => "sink",
            PipeKind::Internal => "default",
        },
        endpoint: of(pipe.is_endpoint()),
        url: pipe.is_endpoint().then(|| format!("/v0/pipes/{}.json", pipe.name)),
        copy_node: of(copied.is_some()),
        copy_target_datasource: copied.map(|it| who.id_of("datasource", it.as_str())),
        copy_target_workspace: copied.map(|_| who.workspace.id().to_owned()),
        sink_node: of(matches!(pipe.kind, PipeKind::Sink)),
        schedule: who.workspace.copy_schedule(pipe).map(|it| {
            let status = if it.paused { "paused" } else { "running" };
            json!({ "cron": it.cron, "status": status, "timezone": "UTC" })
        }),
        nodes: (0..pipe.nodes.len()).map(|it| node_wire(who, pipe, it, id(it))).collect(),
        path: pipe.place.path.to_string(),
        created_at: changed.created_at,
        updated_at: changed.updated_at,
    }
}

fn node_wire(who: &Who, pipe: &Pipe, index: usize, id: String) -> NodeWire {
    let node = &pipe.nodes[index];
    let (sql, params) = match &node.sql {
        NodeSql::Plain(text) => (text.text().to_owned(), vec![]),
        NodeSql::Template { text, template, .. } => (format!("%{}", text.text()), merge([((), &**template)])),
    };
    let is_output = index == pipe.output;
    let mut dependencies: Vec<_> = node.reads.iter().map(|it| it.name.to_string()).collect();
    dependencies.sort();
    dependencies.dedup();
    let declared = params.into_iter().map(|it| {
        let Parameter { name, type_name, default, required, description, enumeration, example, .. } = it;
        ParamWire { name, kind: type_name, default, required, description, r#enum: enumeration, example }
    });
    let declared = declared.collect();
    NodeWire {
        id,
        name: node.name.to_string(),
        sql,
        description: node.description.clone().unwrap_or_default(),
        node_type: match &pipe.kind {
            PipeKind::Endpoint if is_output => "endpoint",
            PipeKind::Materialized { .. } if is_output => "materialized",
            PipeKind::Copy { .. } if is_output => "copy",
            PipeKind::Sink if is_output => "sink",
            _ => "standard",
        },
        materialized: match &pipe.kind {
            PipeKind::Materialized { target } if is_output => Some(who.id_of("datasource", target.as_str())),
            _ => None,
        },
        dependencies,
        params: declared,
        tags: json!({}),
    }
}

/// The fields that `attrs` names, and those that a reply always has; all of them when it names none.
pub(super) fn restricted(wire: Value, attrs: Option<&str>, always: &[&str]) -> Value {
    let attrs: Vec<_> = attrs.unwrap_or_default().split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    match wire {
        Value::Object(fields) if !attrs.is_empty() && attrs != ["used_by"] => fields
            .into_iter()
            .filter(|(name, _)| attrs.contains(&name.as_str()) || always.contains(&name.as_str()))
            .collect(),
        wire => wire,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attrs_restrict_and_complete() {
        let wire = || json!({"id": 1, "name": "a", "url": null, "nodes": [], "type": "endpoint"});
        assert_eq!(
            restricted(wire(), Some("type"), ALWAYS),
            json!({"id": 1, "name": "a", "url": null, "type": "endpoint"})
        );
        assert_eq!(restricted(wire(), Some(""), ALWAYS), wire());
        assert_eq!(restricted(wire(), None, ALWAYS), wire());
    }
}
