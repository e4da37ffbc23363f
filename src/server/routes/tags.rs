//! `/v0/tags`: the TAGS lines of the deployed files, by tag.

use crate::server::{
    error::{ApiError, Fault},
    extract::{Name, Who},
    params::{Body, Fields},
};
use axum::{Json, body::Bytes, http::HeaderMap};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Serialize)]
pub(super) struct TagList {
    tags: Vec<Tag>,
}

#[derive(Serialize)]
struct Tag {
    id: String,
    name: String,
    resources: Vec<Resource>,
}

#[derive(Serialize)]
struct Resource {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

pub(super) async fn list(who: Who) -> Result<Json<TagList>, ApiError> {
    who.admin()?;
    Ok(Json(TagList { tags: tags(&who) }))
}

/// More resources for a tag, which may be new. One on nothing is none: there is no line that could say it.
pub(super) async fn create(who: Who, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let fields = Body::read(&headers, &body)?.fields()?;
    let name = fields.required("name")?;
    let wanted = resources(&who, &fields)?;
    if wanted.is_empty() {
        let message = "a tag without resources cannot be kept: name some, or push a file with a TAGS line".to_owned();
        return Err(Fault::Bad { field: "resources", message }.into());
    }
    who.workspace.set_tag(&name, wanted, true).await?;
    Ok(one(&who, &name))
}

/// The resources of a tag, all of them.
pub(super) async fn change(
    who: Who,
    Name(name): Name,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let name = known(&who, &name)?;
    let wanted = resources(&who, &Body::read(&headers, &body)?.fields()?)?;
    who.workspace.set_tag(&name, wanted, false).await?;
    Ok(one(&who, &name))
}

pub(super) async fn remove(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let name = known(&who, &name)?;
    who.workspace.set_tag(&name, BTreeSet::new(), false).await?;
    Ok(Json(Value::Object(Default::default())))
}

/// A tag that is there, by its name or id.
fn known(who: &Who, key: &str) -> Result<String, Fault> {
    let found = tags(who).into_iter().find(|it| it.name == key || it.id == key);
    found.map(|it| it.name).ok_or_else(|| Fault::NoSuch { what: "tag", name: key.to_owned() })
}

fn one(who: &Who, name: &str) -> Json<Value> {
    let found = tags(who).into_iter().find(|it| it.name == name.trim());
    Json(found.map_or_else(|| Value::Object(Default::default()), |it| serde_json::json!(it)))
}

/// The names of the resources that a request lists, by name or id.
fn resources(who: &Who, fields: &Fields) -> Result<BTreeSet<String>, Fault> {
    let name = |it: &Value| {
        let key = it["name"].as_str().or_else(|| it["id"].as_str()).or_else(|| it.as_str());
        let bad = || Fault::Bad { field: "resources", message: "each is an object with a `name` or `id`".to_owned() };
        let key = key.ok_or_else(bad)?;
        let datasource = who.datasource(key).map(|it| it.name.to_string());
        let name = datasource.or_else(|| Some(who.pipe(key)?.name.to_string()));
        name.ok_or_else(|| who.missing("resource", key))
    };
    fields.all("resources").map(name).collect()
}

fn tags(who: &Who) -> Vec<Tag> {
    let project = who.workspace.project();
    let mut res: BTreeMap<&str, Vec<Resource>> = BTreeMap::new();
    let datasources = project.datasources.values().map(|it| ("datasource", &it.name, &it.tags));
    for (kind, name, tags) in datasources.chain(project.pipes.values().map(|it| ("pipe", &it.name, &it.tags))) {
        for tag in tags {
            let resource = Resource { id: who.id_of(kind, name.as_str()), name: name.to_string(), kind };
            res.entry(tag).or_default().push(resource);
        }
    }
    let tag = |(name, resources): (&str, _)| Tag { id: who.id_of("tag", name), name: name.to_owned(), resources };
    res.into_iter().map(tag).collect()
}
