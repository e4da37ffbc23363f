//! `/openapi.json`: the whole API as an OpenAPI 3.0 document, made from `operations.txt`.
//!
//! It says nothing of a workspace and needs no token; a workspace's own endpoints are `openapi`'s.

use axum::Json;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The section whose calls need no token.
const OPEN: &str = "Server";

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document(include_str!("operations.txt")));

pub(super) async fn show() -> Json<&'static Value> {
    Json(&DOCUMENT)
}

fn document(text: &str) -> Value {
    let mut paths = Map::new();
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.split(':').next().unwrap_or_default();
        } else if !line.is_empty() && !line.starts_with('#') {
            let call = Call::read(line);
            let path = paths.entry(call.path).or_insert_with(|| json!({}));
            path[call.method.to_ascii_lowercase()] = call.operation(section);
        }
    }
    json!({
        "openapi": "3.0.3",
        "info": { "title": "birdhouse", "version": env!("CARGO_PKG_VERSION") },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }, { "token": [] }],
        "paths": paths,
        "components": { "securitySchemes": security_schemes(), "schemas": { "Error": error() } },
    })
}

/// The ways in which a token comes.
pub(super) fn security_schemes() -> Value {
    json!({
        "bearer": { "type": "http", "scheme": "bearer" },
        "token": { "type": "apiKey", "in": "query", "name": "token" },
    })
}

/// What every refusal is.
pub(super) fn error() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": { "error": { "type": "string", "minLength": 1 } },
    })
}

/// A line of `operations.txt`.
struct Call<'a> {
    method: &'a str,
    path: &'a str,
    what: &'a str,
    query: &'a str,
    body: &'a str,
}

impl<'a> Call<'a> {
    fn read(line: &'a str) -> Call<'a> {
        let mut parts = line.split(" | ");
        let (method, path) = parts.next().and_then(|it| it.split_once(' ')).unwrap_or_default();
        let mut res = Call { method, path, what: parts.next().unwrap_or_default(), query: "", body: "" };
        for part in parts {
            match part.split_once(' ') {
                Some(("?", query)) => res.query = query,
                Some(("<", body)) => res.body = body,
                _ => {}
            }
        }
        res
    }

    fn operation(&self, section: &str) -> Value {
        let in_path = self.path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}'));
        let in_path = in_path
            .map(|it| json!({ "name": it, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect::<Vec<_>>();
        let in_query = fields(self.query)
            .map(|it| json!({ "name": it.name, "in": "query", "required": it.required, "schema": it.schema }));
        let failure = json!({ "schema": { "$ref": "#/components/schemas/Error" } });
        let mut res = json!({
            "operationId": format!("{} {}", self.method, self.path),
            "summary": self.what,
            "tags": [section],
            "parameters": in_path.into_iter().chain(in_query).collect::<Vec<_>>(),
            "responses": {
                "2XX": { "description": "Done" },
                "default": { "description": "What went wrong", "content": { "application/json": failure } },
            },
        });
        if section == OPEN {
            res["security"] = json!([]);
        }
        if !self.body.is_empty() {
            res["requestBody"] = json!({ "content": content(self.body) });
        }
        res
    }
}

fn content(body: &str) -> Value {
    let text = json!({ "schema": { "type": "string" } });
    let file = |name: &str| json!({ "schema": object([(name, json!({ "type": "string", "format": "binary" }))]) });
    match body.split('(').next().unwrap_or_default() {
        "json" => json!({ "application/json": { "schema": { "type": "object" } } }),
        "sql" => json!({
            "text/plain": text,
            "application/x-www-form-urlencoded": { "schema": object([("q", json!({ "type": "string" }))]) },
        }),
        "lines" => json!({ "application/x-ndjson": text, "text/plain": text }),
        "file" => json!({ "multipart/form-data": file("csv") }),
        "files" => json!({ "multipart/form-data": file("data_project://") }),
        _ => {
            let inner = body.trim_start_matches("form(").trim_end_matches(')');
            let required: Vec<_> = fields(inner).filter(|it| it.required).map(|it| it.name).collect();
            let mut schema = object(fields(inner).map(|it| (it.name, it.schema)));
            if !required.is_empty() {
                schema["required"] = json!(required);
            }
            json!({
                "application/x-www-form-urlencoded": { "schema": schema },
                "application/json": { "schema": schema },
            })
        }
    }
}

fn object<'a>(properties: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let properties: Map<_, _> = properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({ "type": "object", "properties": properties })
}

struct Field<'a> {
    name: &'a str,
    required: bool,
    schema: Value,
}

fn fields(text: &str) -> impl Iterator<Item = Field<'_>> {
    text.split_whitespace().map(|word| {
        let (word, values) = word.split_once('=').map_or((word, None), |(word, values)| (word, Some(values)));
        let (word, kind) = word.split_once(':').unwrap_or((word, "string"));
        let schema = match (values, kind) {
            (Some(values), _) => json!({ "type": "string", "enum": values.split('|').collect::<Vec<_>>() }),
            (None, "int") => json!({ "type": "integer" }),
            (None, "bool") => json!({ "type": "boolean" }),
            (None, _) => json!({ "type": "string" }),
        };
        Field { name: word.trim_end_matches('!'), required: word.ends_with('!'), schema }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The document and the router have the same paths: neither has a call that the other lacks.
    #[test]
    fn every_route_is_described() {
        let router = include_str!("mod.rs");
        let routed =
            router.split(".route(").skip(1).filter_map(|it| it.trim_start().strip_prefix('"')?.split('"').next());
        let mut routed: BTreeSet<_> = routed.map(|it| it.trim_end_matches('/')).collect();
        let document = document(include_str!("operations.txt"));
        let described = document["paths"].as_object().unwrap();
        for path in described.keys() {
            assert!(routed.remove(path.as_str()), "operations.txt describes {path}, which is no route");
        }
        assert!(routed.is_empty(), "operations.txt lacks {routed:?}");
    }

    #[test]
    fn a_line_is_an_operation() {
        let line = "POST /v0/x/{name} | Does it | ? a! b:int c=d|e | < form(f!)";
        let operation = Call::read(line).operation("Things");
        assert_eq!(
            operation["parameters"][0],
            json!({
                "name": "name", "in": "path", "required": true, "schema": { "type": "string" },
            })
        );
        assert_eq!(operation["parameters"][1]["required"], true);
        assert_eq!(operation["parameters"][2]["schema"]["type"], "integer");
        assert_eq!(operation["parameters"][3]["schema"]["enum"], json!(["d", "e"]));
        let form = &operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
        assert_eq!(form["required"], json!(["f"]));
        assert!(
            operation["security"].is_null()
                && document("## Server: open\nGET /a | b")["paths"]["/a"]["get"]["security"].is_array()
        );
    }
}
