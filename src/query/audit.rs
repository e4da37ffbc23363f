//! What a token can see, told in advance: which data sources each of its endpoints reads, under which filter, and
//! where rows of a filtered source reach it unfiltered.
//!
//! In: a project and an access. Out: an [`Audit`]. Nothing is run: a template is taken to read everything that
//! any part of it names, so a warning may be about rows that no parameters bring out, and none is left out.

use crate::{
    auth::Access,
    name::ResourceName,
    project::{Pipe, PipeKind, Project},
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    pub endpoints: Vec<EndpointAudit>,
    /// What can be read in SQL.
    pub datasources: Vec<Read>,
    /// In words, one for each source that a filtered one reaches the token through.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndpointAudit {
    pub name: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub fixed_params: Map<String, Value>,
    pub reads: Vec<Read>,
}

/// One data source, and what of it is seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Read {
    pub datasource: String,
    /// They hold together; without any all rows are seen.
    pub filters: Vec<String>,
    /// Sources that the token sees in part only, whose rows pipes have put here, where no filter is.
    pub unfiltered_from: Vec<String>,
}

/// What the bearer of an access can see in a project.
pub fn audit(project: &Project, access: &Access) -> Audit {
    let origins = origins(project);
    let mut gaps = Gaps::default();
    let mut endpoints = Vec::new();
    for pipe in project.pipes.values().filter(|it| it.is_endpoint()) {
        let Ok(inside) = access.enter(&pipe.name) else { continue };
        let tables = project.node_tables(pipe, pipe.output_node());
        let reads: Vec<_> = tables.iter().filter_map(|it| read(it, &inside, &origins)).collect();
        gaps.note(&reads, &format!("`{}`", pipe.name));
        let fixed_params = access.fixed_params(&pipe.name).cloned().unwrap_or_default();
        endpoints.push(EndpointAudit { name: pipe.name.to_string(), fixed_params, reads });
    }
    let datasources = project.datasources.keys().chain(project.shared.keys());
    let datasources: Vec<_> = datasources.filter_map(|it| read(it, access, &origins)).collect();
    gaps.note(&datasources, "SQL");
    Audit { endpoints, datasources, warnings: gaps.warnings() }
}

/// By data source that is read whole: the filtered ones in it, and who reads it.
#[derive(Default)]
struct Gaps(BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>);

impl Gaps {
    fn note(&mut self, reads: &[Read], by: &str) {
        for read in reads.iter().filter(|it| !it.unfiltered_from.is_empty()) {
            let (from, readers) = self.0.entry(read.datasource.clone()).or_default();
            from.extend(read.unfiltered_from.iter().map(|it| format!("`{it}`")));
            readers.insert(by.to_owned());
        }
    }

    fn warnings(self) -> Vec<String> {
        let list = |items: BTreeSet<String>| items.into_iter().collect::<Vec<_>>().join(", ");
        let warning = |(through, (from, by)): (String, (BTreeSet<String>, BTreeSet<String>))| {
            format!(
                "`{through}` is read whole by {}, though pipes fill it from {}, of which the token sees a part only; \
                 DATASOURCES:READ:{through}:<filter> narrows it",
                list(by),
                list(from)
            )
        };
        self.0.into_iter().map(warning).collect()
    }
}

fn read(
    datasource: &ResourceName,
    access: &Access,
    origins: &BTreeMap<&ResourceName, BTreeSet<ResourceName>>,
) -> Option<Read> {
    let grant = access.read(datasource).ok()?;
    let filtered = |it: &&ResourceName| access.read(it).is_ok_and(|it| !it.filters().is_empty());
    let from = origins.get(datasource).into_iter().flatten();
    let unfiltered_from = match grant.filters() {
        [] => from.filter(filtered).map(ResourceName::to_string).collect(),
        _ => vec![],
    };
    Some(Read { datasource: datasource.to_string(), filters: grant.filters().to_vec(), unfiltered_from })
}

/// For every data source that pipes fill: the ones that their rows come from, at any distance.
fn origins(project: &Project) -> BTreeMap<&ResourceName, BTreeSet<ResourceName>> {
    let mut res: BTreeMap<&ResourceName, BTreeSet<ResourceName>> = BTreeMap::new();
    for pipe in project.pipes.values() {
        if let Some(target) = target(pipe) {
            res.entry(target).or_default().extend(project.node_tables(pipe, pipe.output_node()));
        }
    }
    // Views over views' targets: until nothing is added any more.
    loop {
        let before: usize = res.values().map(BTreeSet::len).sum();
        let step = res.clone();
        for sources in res.values_mut() {
            let further: Vec<_> = sources.iter().filter_map(|it| step.get(it)).flatten().cloned().collect();
            sources.extend(further);
        }
        if res.values().map(BTreeSet::len).sum::<usize>() == before {
            return res;
        }
    }
}

fn target(pipe: &Pipe) -> Option<&ResourceName> {
    match &pipe.kind {
        PipeKind::Materialized { target } | PipeKind::Copy { target, .. } => Some(target),
        PipeKind::Endpoint | PipeKind::Sink | PipeKind::Internal => None,
    }
}
