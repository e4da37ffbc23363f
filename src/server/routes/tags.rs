//! `/v0/tags`: the TAGS lines of the deployed files, by tag, and tags that stand on nothing yet.

use crate::server::{
    error::{ApiError, Fault},
    extract::{Given, Name, Who},
    params::Fields,
};
use axum::Json;
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
    Ok(Json(TagList { tags: tags(&who).await? }))
}

/// More resources for a tag, which may be new.
pub(super) async fn create(who: Who, given: Given) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let fields = given.fields()?;
    let name = fields.required("name")?;
    set(&who, &name, resources(&who, &fields)?, true).await
}

/// The resources of a tag, all of them.
pub(super) async fn change(who: Who, Name(name): Name, given: Given) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let name = known(&who, &name).await?;
    set(&who, &name, resources(&who, &given.fields()?)?, false).await
}

pub(super) async fn remove(who: Who, Name(name): Name) -> Result<Json<Value>, ApiError> {
    who.admin()?;
    let name = known(&who, &name).await?;
    who.workspace.drop_tag(&name).await?;
    Ok(Json(Value::Object(Default::default())))
}

async fn set(who: &Who, name: &str, wanted: BTreeSet<String>, more: bool) -> Result<Json<Value>, ApiError> {
    if wanted.is_empty() {
        who.workspace.keep_tag(name).await?;
    }
    if !(wanted.is_empty() && more) {
        who.workspace.set_tag(name, wanted, more).await?;
    }
    let found = tags(who).await?.into_iter().find(|it| it.name == name.trim());
    Ok(Json(found.map_or_else(|| Value::Object(Default::default()), |it| serde_json::json!(it))))
}

/// A tag that is there, by its name or id.
async fn known(who: &Who, key: &str) -> Result<String, ApiError> {
    let found = tags(who).await?.into_iter().find(|it| it.name == key || it.id == key);
    Ok(found.map(|it| it.name).ok_or_else(|| Fault::NoSuch { what: "tag", name: key.to_owned() })?)
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

async fn tags(who: &Who) -> Result<Vec<Tag>, ApiError> {
    let kept = who.workspace.kept_tags().await?;
    let project = who.workspace.project();
    let mut res: BTreeMap<&str, Vec<Resource>> = kept.iter().map(|it| (it.as_str(), vec![])).collect();
    let datasources = project.datasources.values().map(|it| ("datasource", &it.name, &it.tags));
    for (kind, name, tags) in datasources.chain(project.pipes.values().map(|it| ("pipe", &it.name, &it.tags))) {
        for tag in tags {
            let resource = Resource { id: who.id_of(kind, name.as_str()), name: name.to_string(), kind };
            res.entry(tag).or_default().push(resource);
        }
    }
    let tag = |(name, resources): (&str, _)| Tag { id: who.id_of("tag", name), name: name.to_owned(), resources };
    Ok(res.into_iter().map(tag).collect())
}
