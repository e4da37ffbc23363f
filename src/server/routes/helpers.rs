//! `/v0/sql_tables`, `/v0/sql_format`, `/v0/sql_replace`, `/v0/dependencies`, `/v0/analyze`, `/v0/pipes/{name}/explain`,
//! `/examples/query.http`: what clients ask about texts, files and resources before they do something with them.

use super::datasources;
use crate::{
    app::SampleFormat,
    project::{NodeSql, Pipe},
    server::{
        Context,
        error::{ApiError, Fault},
        extract::{Given, Name, Who},
        params::Fields,
    },
    sql::scan,
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Clients put their own host in this one's place.
const EXAMPLE_HOST: &str = "http://localhost:8001";

/// The tables that a text reads, each once, in its order.
pub(super) async fn tables(_: Who, given: Given) -> Result<Json<Value>, ApiError> {
    let fields = given.fields()?;
    let text = fields.text("q").ok_or(Fault::Missing("q"))?;
    let (text, _) = scan::cut_format(&text);
    let found = match scan::scan_shared(text, &[]) {
        Ok(found) => found,
        // What a template leaves when nothing is given may be nothing, or a comment.
        Err(error) if fields.flag("raising") && error.message != scan::EMPTY => return Err(error.into()),
        Err(_) => return Ok(Json(json!({ "tables": [] }))),
    };
    let mut seen = BTreeSet::new();
    let names = found.tables.into_iter().map(|it| it.name).filter(|it| seen.insert(it.clone()));
    let tables = names.map(|it| match it.split_once('.') {
        Some((workspace, table)) => json!([workspace, table]),
        None => json!(["", it]),
    });
    Ok(Json(json!({ "tables": tables.collect::<Vec<_>>() })))
}

/// A text with other tables in the places of some: a name, or a query in brackets.
pub(super) async fn replace(_: Who, given: Given) -> Result<Json<Value>, ApiError> {
    let fields = given.fields()?;
    let text = fields.required("q")?;
    let bad = |message: String| Fault::Bad { field: "replacements", message };
    let replacements = fields.text("replacements").unwrap_or_else(|| "{}".to_owned());
    let replacements: BTreeMap<String, Value> =
        serde_json::from_str(&replacements).map_err(|error| bad(error.to_string()))?;
    let mut query = text.clone();
    // From the end, so that what is before keeps its place.
    let tables = scan::scan_shared(scan::cut_format(&text).0, &[])?.tables;
    let mut found: Vec<_> = tables.iter().filter_map(|it| Some((it.span, replacements.get(&it.name)?))).collect();
    found.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    for (span, by) in found {
        let by = match by {
            Value::String(name) => name.clone(),
            // A database and a table.
            Value::Array(names) => {
                let names: Vec<_> = names.iter().filter_map(Value::as_str).filter(|it| !it.is_empty()).collect();
                names.join(".")
            }
            other => return Err(bad(format!("`{other}` is no name of a table")).into()),
        };
        query.replace_range(span.start..span.end, &by);
    }
    Ok(Json(json!({ "query": query })))
}

pub(super) async fn format(who: Who, uri: Uri) -> Result<Json<Value>, ApiError> {
    let text = Fields::of_query(uri.query()).required("q")?;
    Ok(Json(json!({ "q": who.workspace.format_sql(&text).await? })))
}

/// What a file would be as a data source: its columns, and its first rows.
pub(super) async fn analyse(
    State(context): State<Context>,
    who: Who,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    if !who.access.may_create_datasource() {
        return Err(Fault::Forbidden.into());
    }
    let found = match Fields::of_query(uri.query()).text("url").filter(|it| !it.is_empty()) {
        Some(url) => who.workspace.analyse_url(&url, context.settings.max_insert as u64).await?,
        None => who.workspace.analyse(datasources::file(&headers, body).await?).await?,
    };
    let is_json = !found.format.is_csv();
    let columns = found.columns.iter().map(|it| {
        json!({
            "path": is_json.then(|| format!("$.{}", it.column.name)),
            "name": it.column.name,
            "recommended_type": it.column.kind,
            "present_pct": it.present,
        })
    });
    let meta = found.columns.iter().map(|it| json!({ "name": it.column.name, "type": it.column.kind }));
    let mut reply = json!({
        "analysis": { "columns": columns.collect::<Vec<_>>(), "schema": found.schema },
        "preview": { "meta": meta.collect::<Vec<_>>(), "data": found.rows },
    });
    if !is_json {
        let has_header = found.format == SampleFormat::Csv;
        reply["dialect"] = json!({ "delimiter": ",", "has_header": has_header, "newline": "\n" });
    }
    Ok(Json(reply))
}

/// Which pipes read each data source; a materialized pipe's target is read by nobody for being filled.
pub(super) async fn dependencies(who: Who, uri: Uri) -> Result<Json<Value>, ApiError> {
    let fields = Fields::of_query(uri.query());
    let wanted = |name: &str| fields.text(name).filter(|it| !it.is_empty());
    let (pipe, datasource, part) = (wanted("pipe"), wanted("datasource"), wanted("match"));
    let project = who.workspace.project();
    let mut res: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let visible = project.datasources.keys().chain(project.shared.keys()).filter(|it| who.access.read(it).is_ok());
    let visible = visible.filter(|it| datasource.as_deref().is_none_or(|wanted| wanted == it.as_str()));
    for name in visible.filter(|it| part.as_deref().is_none_or(|part| it.as_str().contains(part))) {
        res.insert(name.to_string(), vec![]);
    }
    for it in project.pipes.values().filter(|it| who.access.enter(&it.name).is_ok()) {
        if pipe.as_deref().is_some_and(|wanted| wanted != it.name.as_str()) {
            continue;
        }
        let read: BTreeSet<_> = it.nodes.iter().flat_map(|node| project.node_tables(it, node)).collect();
        for name in read {
            if let Some(readers) = res.get_mut(name.as_str()) {
                readers.push(it.name.to_string());
            }
        }
    }
    if fields.flag("no_deps") {
        res.retain(|_, readers| readers.is_empty());
    } else if pipe.is_some() {
        res.retain(|_, readers| !readers.is_empty());
    }
    Ok(Json(json!({ "dependencies": res, "incompatible_datasources": {} })))
}

/// The nodes of a pipe with what they read, through other nodes and pipes too.
pub(super) async fn explain(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    let pipe = who.pipe(&name).filter(|it| who.access.enter(&it.name).is_ok());
    let pipe = pipe.ok_or_else(|| who.missing("pipe", &name))?;
    let project = who.workspace.project();
    let nodes = pipe.nodes.iter().map(|node| {
        let sql = match &node.sql {
            NodeSql::Plain(text) => text.text().to_owned(),
            NodeSql::Template { text, .. } => format!("%{}", text.text()),
        };
        let tables: Vec<_> = project.node_tables(&pipe, node).iter().map(ToString::to_string).collect();
        json!({ "name": node.name.as_str(), "sql": sql, "datasources": tables })
    });
    Ok(Json(json!({ "pipe": pipe.name.as_str(), "nodes": nodes.collect::<Vec<_>>() })))
}

/// A URL to try: an endpoint with its parameters, or `/v0/sql` with a query.
pub(super) async fn example(who: Who, uri: Uri) -> Result<Response, ApiError> {
    let fields = Fields::of_query(uri.query());
    let mut query = form_urlencoded::Serializer::new(String::new());
    let path = match fields.text("pipe").filter(|it| !it.is_empty()) {
        Some(name) => {
            let pipe = who.pipe(&name).filter(|it| it.is_endpoint() && who.access.enter(&it.name).is_ok());
            let pipe = pipe.ok_or_else(|| who.missing("endpoint", &name))?;
            for (name, value) in parameters(&pipe) {
                query.append_pair(&name, &value);
            }
            let format = fields.text("format").unwrap_or_else(|| "json".to_owned());
            if !format.chars().all(|it| it.is_ascii_alphanumeric()) {
                return Err(
                    Fault::Bad { field: "format", message: "letters and digits are expected".to_owned() }.into()
                );
            }
            format!("/v0/pipes/{}.{format}", pipe.name)
        }
        None => {
            query.append_pair("q", &fields.required("q")?);
            "/v0/sql".to_owned()
        }
    };
    if let Some(token) = fields.text("token") {
        query.append_pair("token", &token);
    }
    let query = query.finish();
    let url = if query.is_empty() { format!("{EXAMPLE_HOST}{path}") } else { format!("{EXAMPLE_HOST}{path}?{query}") };
    Ok(([(header::CONTENT_TYPE, "text/plain")], url).into_response())
}

/// A pipe's parameters with a value each: its default, or one that its type takes.
fn parameters(pipe: &Pipe) -> BTreeMap<String, String> {
    let templates = pipe.nodes.iter().filter_map(|node| match &node.sql {
        NodeSql::Template { template, .. } => Some(template.params()),
        NodeSql::Plain(_) => None,
    });
    let mut res = BTreeMap::new();
    for param in templates.flatten() {
        let sample = match param.default {
            Some(Value::String(text)) => text,
            Some(value) if !value.is_null() => value.to_string(),
            _ => sample(&param.type_name).to_owned(),
        };
        res.entry(param.name).or_insert(sample);
    }
    res
}

fn sample(type_name: &str) -> &'static str {
    match type_name {
        "Date" => "2026-01-01",
        "DateTime" | "DateTime64" => "2026-01-01 00:00:00",
        "String" | "Symbol" | "Column" | "JSON" => "a",
        _ => "1",
    }
}
