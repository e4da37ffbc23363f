//! `/v0/tags`: the TAGS lines of the project's files, by tag. A push changes them, and nothing else does.

use crate::server::{
    error::{ApiError, Fault},
    extract::Who,
};
use axum::Json;
use serde::Serialize;
use std::collections::BTreeMap;

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
    Ok(Json(TagList { tags: res.into_iter().map(tag).collect() }))
}

pub(super) async fn change(who: Who) -> Result<Json<TagList>, ApiError> {
    who.admin()?;
    Err(Fault::Unsupported("tags stand in the TAGS lines of datafiles: push the file with them".to_owned()).into())
}
