//! Data sources of other workspaces, which the owner shares: they are read as `workspace.name`, and nothing else.

use super::{ColumnDefault, Datasource, EngineFamily, Project};
use crate::name::{Namespace, ResourceName};

/// A data source of another workspace, as one that may read it knows it.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Under the name that it has here.
    pub datasource: Datasource,
    /// Under the name that it has at home.
    pub name: ResourceName,
    pub home: Namespace,
}

impl Shared {
    pub fn new(workspace: &str, datasource: &Datasource, home: &Namespace) -> Shared {
        let name = datasource.name.clone();
        let datasource = Datasource { name: ResourceName::shared(workspace, &name), ..datasource.clone() };
        Shared { datasource, name, home: home.clone() }
    }

    /// Whether FINAL means anything for it.
    pub fn merges(&self) -> bool {
        !matches!(self.datasource.engine.family, EngineFamily::MergeTree | EngineFamily::Null)
    }

    /// The columns that `*` means.
    pub fn plain_columns(&self) -> impl Iterator<Item = &str> {
        let plain = |it: &&super::Column| !matches!(it.default, Some(ColumnDefault::Materialized(_)));
        self.datasource.columns.iter().filter(plain).map(|it| it.name.as_str())
    }
}

impl Project {
    /// The workspaces that share something with this one.
    pub fn sharing(&self) -> Vec<&str> {
        let mut res: Vec<_> = self.shared.keys().filter_map(|it| Some(it.as_str().split_once('.')?.0)).collect();
        res.dedup();
        res
    }
}
