//! Tags, each with the resources that carry it. They stand in the TAGS lines of files, and nowhere else.

use super::{Edit, datasource_source, deployed, pipe_source};
use crate::{
    app::{AppError, Workspace},
    datafile::{DatasourceDraft, PipeDraft},
};
use std::{collections::BTreeSet, sync::Arc};

/// The longest tag, in bytes.
const LONGEST: usize = 128;

impl Workspace {
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
