//! Which data sources rows reach, and who may change the rows that are there.

use super::Workspace;
use crate::{
    ingest::claims::{Bringing, Changing},
    name::ResourceName,
    project::{PipeKind, Project},
};
use std::collections::BTreeSet;

impl Workspace {
    /// Claims a data source, and those that its views fill, for as long as a part of the rows may be in without the
    /// rest.
    pub(super) async fn bring_into(&self, name: &ResourceName) -> Bringing {
        self.claims.bring(&reached(&self.project(), name)).await
    }

    /// The right to change a data source's rows while nobody brings any. Nothing when somebody does.
    pub(super) async fn change_rows(&self, name: &ResourceName) -> Option<Changing> {
        self.claims.change(name).await
    }
}

/// A data source, and those that its views fill, and theirs.
pub(super) fn reached(project: &Project, name: &ResourceName) -> BTreeSet<ResourceName> {
    let views = project.pipes.values().filter_map(|pipe| match &pipe.kind {
        PipeKind::Materialized { target } => Some((pipe.source(project)?, target.clone())),
        _ => None,
    });
    let views: Vec<_> = views.collect();
    let mut res = BTreeSet::new();
    let mut todo = vec![name.clone()];
    while let Some(name) = todo.pop() {
        if res.insert(name.clone()) {
            todo.extend(views.iter().filter(|(from, _)| *from == name).map(|(_, target)| target.clone()));
        }
    }
    res
}
