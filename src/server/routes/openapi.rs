//! `/v0/pipes/openapi.json`: the endpoints that the caller may ask, as an OpenAPI 3.0 document.
//!
//! In: the project and a token. Out: one path per endpoint, its parameters as its templates declare them, its answer's
//! columns as the engine describes them.

use super::api;
use crate::{
    project::{NodeName, Pipe},
    server::extract::Who,
    sql::ColumnType,
    template::Parameter,
};
use axum::Json;
use serde_json::{Map, Value, json};

pub(super) async fn show(who: Who) -> Json<Value> {
    let project = who.workspace.project();
    let mut paths = Map::new();
    for pipe in project.pipes.values().filter(|it| it.is_endpoint() && who.access.enter(&it.name).is_ok()) {
        // What cannot be described, as a template that refuses to render without parameters, has rows of some kind.
        let columns = who.workspace.endpoint_columns(pipe).await.unwrap_or_default();
        let parameters = project.parameters(pipe, pipe.output_node());
        paths.insert(format!("/v0/pipes/{}.json", pipe.name), path(pipe, &parameters, &columns));
    }
    Json(json!({
        "openapi": "3.0.3",
        "info": {
            "title": format!("Endpoints of {}", who.workspace.name()),
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }, { "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": api::security_schemes(),
            "schemas": {
                "Meta": {
                    "type": "object",
                    "required": ["name", "type"],
                    "properties": { "name": { "type": "string" }, "type": { "type": "string" } },
                },
                "Statistics": {
                    "type": "object",
                    "required": ["elapsed", "rows_read", "bytes_read"],
                    "properties": {
                        "elapsed": { "type": "number" },
                        "rows_read": { "type": "integer" },
                        "bytes_read": { "type": "integer" },
                    },
                },
                "Error": api::error(),
            },
        },
    }))
}

fn path(pipe: &Pipe, parameters: &[Parameter<NodeName>], columns: &[(String, String)]) -> Value {
    let description = pipe.description.clone().unwrap_or_default();
    let mut operation = json!({
        "operationId": pipe.name.as_str(),
        "summary": description.lines().next().filter(|it| !it.is_empty()).unwrap_or(pipe.name.as_str()),
        "parameters": parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": {
            "200": {
                "description": "The rows",
                "content": { "application/json": { "schema": answer(columns) } },
            },
            "400": failure("A parameter is missing or wrong, or the endpoint says so"),
            "403": failure("The token may not ask this endpoint"),
            "404": failure("There is no such endpoint"),
            "408": failure("The query took too long"),
            "429": failure("Too many requests"),
        },
    });
    if !description.is_empty() {
        operation["description"] = json!(description);
    }
    json!({ "get": operation })
}

fn failure(description: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
    })
}

fn parameter(parameter: &Parameter<NodeName>) -> Value {
    let mut schema = parameter_schema(&parameter.type_name);
    let kind = schema.clone();
    if let Some(default) = parameter.default.as_ref().and_then(|it| fitted(it, &kind)) {
        schema["default"] = default;
    }
    let items = parameter.enumeration.iter().flatten();
    let items: Option<Vec<Value>> = items.map(|it| fitted(it, &kind)).collect();
    if let Some(items) = items.filter(|it| !it.is_empty()) {
        schema["enum"] = json!(items);
    }
    let mut wire = json!({
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "schema": schema,
        "x-used-in": parameter.used_in.iter().map(|it| format!("{}.{}", it.pipe, it.node)).collect::<Vec<_>>(),
    });
    if let Some(description) = &parameter.description {
        wire["description"] = json!(description);
    }
    if let Some(example) = parameter.example.as_ref().and_then(|it| fitted(it, &kind)) {
        wire["example"] = example;
    }
    if kind["type"] == "array" {
        // Values with commas between them; a repeated name works too.
        wire["style"] = json!("form");
        wire["explode"] = json!(false);
    }
    wire
}

fn parameter_schema(type_name: &str) -> Value {
    if let Some(item) = type_name.strip_prefix("Array(").and_then(|it| it.strip_suffix(')')) {
        return json!({ "type": "array", "items": parameter_schema(item) });
    }
    match type_name {
        "Boolean" => json!({ "type": "boolean" }),
        "Date" => json!({ "type": "string", "format": "date" }),
        "Int8" | "Int16" | "Int32" => json!({ "type": "integer", "format": "int32" }),
        it if it.starts_with("Int") || it.starts_with("UInt") => json!({ "type": "integer" }),
        "Float32" => json!({ "type": "number", "format": "float" }),
        "Float64" => json!({ "type": "number", "format": "double" }),
        // A time is written with a blank, which is not what "date-time" means.
        _ => json!({ "type": "string" }),
    }
}

/// A value as its schema wants it; nothing when it cannot be that.
fn fitted(value: &Value, schema: &Value) -> Option<Value> {
    let text = || value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match schema["type"].as_str()? {
        "integer" => text().parse::<i64>().ok().map(|it| json!(it)),
        "number" => text().parse::<f64>().ok().filter(|it| it.is_finite()).map(|it| json!(it)),
        "boolean" => Some(json!(!matches!(text().to_ascii_lowercase().as_str(), "" | "0" | "false" | "null"))),
        "array" => {
            let items = match value {
                Value::Array(items) => items.clone(),
                _ => text().split(',').map(Value::from).collect(),
            };
            items.iter().map(|it| fitted(it, &schema["items"])).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        _ if value.is_object() || value.is_array() => Some(json!(value.to_string())),
        _ => Some(json!(text())),
    }
}

fn answer(columns: &[(String, String)]) -> Value {
    let properties: Map<String, Value> = columns.iter().map(|(name, it)| (name.clone(), column(it))).collect();
    let row = match properties.is_empty() {
        true => json!({ "type": "object" }),
        false => json!({
            "type": "object",
            "required": columns.iter().map(|(name, _)| name).collect::<std::collections::BTreeSet<_>>(),
            "properties": properties,
        }),
    };
    json!({
        "type": "object",
        "required": ["meta", "data", "rows", "statistics"],
        "properties": {
            "meta": { "type": "array", "items": { "$ref": "#/components/schemas/Meta" } },
            "data": { "type": "array", "items": row },
            "rows": { "type": "integer" },
            "rows_before_limit_at_least": { "type": "integer" },
            "statistics": { "$ref": "#/components/schemas/Statistics" },
        },
    })
}

fn column(type_text: &str) -> Value {
    let mut schema = ColumnType::parse(type_text).map_or_else(|_| json!({}), |it| value(&it));
    schema["x-clickhouse-type"] = json!(type_text);
    schema
}

/// What a column's value is in the JSON of an answer.
fn value(column_type: &ColumnType) -> Value {
    match column_type {
        ColumnType::Nullable(inner) => {
            let mut schema = value(inner);
            schema["nullable"] = json!(true);
            schema
        }
        ColumnType::LowCardinality(inner) => value(inner),
        ColumnType::SimpleAggregateFunction { argument, .. } => value(argument),
        ColumnType::Array(item) => json!({ "type": "array", "items": value(item) }),
        ColumnType::Map(_, item) => json!({ "type": "object", "additionalProperties": value(item) }),
        ColumnType::Tuple(fields) if fields.iter().all(|(name, _)| name.is_some()) => {
            let fields = fields.iter().filter_map(|(name, it)| Some((name.clone()?, value(it))));
            json!({ "type": "object", "properties": fields.collect::<Map<_, _>>() })
        }
        ColumnType::Tuple(_) => json!({ "type": "array", "items": {} }),
        ColumnType::Nested(fields) => {
            let fields: Map<_, _> = fields.iter().map(|(name, it)| (name.clone(), value(it))).collect();
            json!({ "type": "array", "items": { "type": "object", "properties": fields } })
        }
        ColumnType::Decimal { .. } => json!({ "type": "number" }),
        ColumnType::Variant(_) => json!({}),
        ColumnType::Tuned { family, .. } | ColumnType::Plain(family) => plain(family),
        ColumnType::FixedString(_)
        | ColumnType::DateTime { .. }
        | ColumnType::DateTime64 { .. }
        | ColumnType::Enum { .. }
        | ColumnType::AggregateFunction { .. } => json!({ "type": "string" }),
    }
}

fn plain(family: &str) -> Value {
    match family {
        "Bool" => json!({ "type": "boolean" }),
        "Date" | "Date32" => json!({ "type": "string", "format": "date" }),
        "UUID" => json!({ "type": "string", "format": "uuid" }),
        "Int8" | "Int16" | "Int32" | "UInt8" | "UInt16" => json!({ "type": "integer", "format": "int32" }),
        it if it.starts_with("Int") || it.starts_with("UInt") => json!({ "type": "integer" }),
        // What is not finite is null in JSON.
        it if it.contains("Float") => json!({ "type": "number", "nullable": true }),
        "JSON" | "Object" => json!({ "type": "object" }),
        "Dynamic" | "Nothing" => json!({}),
        _ => json!({ "type": "string" }),
    }
}
