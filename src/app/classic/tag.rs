//! Tags, each with the resources that carry it. They stand in the TAGS lines of files; those that no resource
//! carries are kept by name.

use super::{Edit, datasource_source, deployed, pipe_source};
use crate::{
    app::{AppError, Workspace},
    datafile::{DatasourceDraft, PipeDraft},
};
use std::{collections::BTreeSet, sync::Arc};

/// The longest tag, in bytes.
const LONGEST: usize = 128;

impl Workspace {
    /// Tags that may stand on nothing.
    pub async fn kept_tags(&self) -> Result<Vec<String>, AppError> {
        let id = self.id().to_owned();
        self.shared.store(move |store| store.tags(&id)).await
    }

    /// Keeps a tag for when a resource will carry it.
    pub async fn keep_tag(&self, tag: &str) -> Result<(), AppError> {
        let (id, tag) = (self.id().to_owned(), checked(tag)?);
        self.shared.store(move |store| store.put_tag(&id, &tag)).await
    }

    /// No resource carries the tag any more.
    pub async fn drop_tag(self: &Arc<Self>, tag: &str) -> Result<(), AppError> {
        self.set_tag(tag, BTreeSet::new(), false).await?;
        let (id, tag) = (self.id().to_owned(), checked(tag)?);
        self.shared.store(move |store| store.delete_tag(&id, &tag)).await
    }

    /// Makes a tag stand on these resources, and on others only where it stands already and they are `kept`.
    pub async fn set_tag(self: &Arc<Self>, tag: &str, resources: BTreeSet<String>, kept: bool) -> Result<(), AppError> {
        let tag = checked(tag)?;
        let project = self.project();
        let unknown = |it: &&String| project.datasource(it).is_none() && project.pipe(it).is_none();
        if let Some(name) = resources.iter().find(unknown) {
            return Err(AppError::NotFound { kind: "resource", name: name.clone() });
        }
        self.edit(move |project, context| {
            let mut put = Vec::new();
            let change = |tags: &mut Vec<String>| {
                let before = tags.len();
                tags.retain(|it| *it != tag);
                if tags.len() == before {
                    tags.push(tag.clone());
                }
            };
            let differs = |name: &str, tags: &[String]| {
                let has = tags.contains(&tag);
                has != (resources.contains(name) || kept && has)
            };
            for it in project.datasources.values().filter(|it| differs(it.name.as_str(), &it.tags)) {
                let mut draft = DatasourceDraft::of(&deployed(project, &it.place.path, context)?);
                change(&mut draft.tags);
                put.push(datasource_source(&it.place.path, &draft));
            }
            for it in project.pipes.values().filter(|it| differs(it.name.as_str(), &it.tags)) {
                let mut draft = PipeDraft::of(&deployed(project, &it.place.path, context)?);
                change(&mut draft.tags);
                put.push(pipe_source(&it.place.path, &draft));
            }
            Ok(Edit { put, ..Edit::default() })
        })
        .await?;
        Ok(())
    }
}

/// A tag as a TAGS line can hold it: commas part tags there, and what has a `=` is for the machine.
fn checked(tag: &str) -> Result<String, AppError> {
    let tag = tag.trim();
    let odd = |c: char| c.is_control() || matches!(c, ',' | '=' | '"' | '\'' | '\\' | '#');
    if tag.is_empty() || tag.len() > LONGEST || tag.contains(odd) {
        let message = format!("a tag has 1 to {LONGEST} bytes and none of , = # \\ or quotes");
        return Err(AppError::Invalid(message));
    }
    Ok(tag.to_owned())
}
