//! The `tinybird.*` data sources, which every workspace has: what happened in it, as rows.
//!
//! Their datafiles stand beside this one and are read as a project's are. Who fills them is not known here.

use super::{
    Datasource, Project,
    datasource::{Reporter, datasource},
};
use crate::{
    datafile::{Context, no_includes, parse},
    diagnostic::Source,
    name::ResourceName,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("service/", $name, ".datasource")))),*]
    };
}

/// Each before those that are filled from it.
const FILES: [(&str, &str); 11] = files![
    "audit_log",
    "block_log",
    "datasources_ops_log",
    "datasources_storage",
    "endpoint_errors",
    "jobs_log",
    "kafka_ops_log",
    "llm_usage",
    "pipe_stats",
    "pipe_stats_rt",
    "sinks_ops_log",
];

static DATASOURCES: LazyLock<BTreeMap<ResourceName, Arc<Datasource>>> =
    LazyLock::new(|| FILES.iter().filter_map(|(name, text)| read(name, text)).collect());

/// All of them, by their whole names.
pub fn service() -> &'static BTreeMap<ResourceName, Arc<Datasource>> {
    &DATASOURCES
}

impl Project {
    /// What a query may read by this name: a data source of the project, of another workspace that shares it, or of
    /// the service.
    pub fn readable(&self, name: &str) -> Option<&Datasource> {
        let shared = || self.shared.get(name).map(|it| &it.datasource);
        let service = || service().get(name).map(|it| &**it);
        self.datasource(name).map(|it| &**it).or_else(shared).or_else(service)
    }
}

fn read(name: &str, text: &str) -> Option<(ResourceName, Arc<Datasource>)> {
    let source = Source::new(format!("tinybird/{name}.datasource"), text);
    let (file, _) = parse(&source, &Context::default(), &no_includes)?;
    let name = ResourceName::service(name);
    let mut diagnostics = Vec::new();
    let (datasource, _) = datasource(name.clone(), &mut Reporter { file: &file, diagnostics: &mut diagnostics })?;
    Some((name, Arc::new(datasource)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_them_is_a_good_datafile() {
        assert_eq!(service().len(), FILES.len());
        assert!(Project::default().readable("tinybird.pipe_stats_rt").is_some());
        assert!(Project::default().readable("pipe_stats_rt").is_none());
    }
}
