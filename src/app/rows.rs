//! How many rows there are.

use super::{AppError, Workspace, verify};
use crate::name::ResourceName;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableStatistics {
    pub rows: u64,
    pub bytes: u64,
    pub quarantined: u64,
}

impl Workspace {
    /// Rows and bytes of every data source.
    pub async fn statistics(&self) -> Result<BTreeMap<ResourceName, TableStatistics>, AppError> {
        let bytes = self.shared.engine.command(&self.shared.layout.statistics(&self.namespace)).await?;
        let rows = verify::rows::<TableRow>(&bytes)?;
        let tables: BTreeMap<_, _> = rows.iter().map(|it| (it.name.as_str(), it)).collect();
        let of = |name: &ResourceName| tables.get(name.as_str());
        let project = self.project();
        let statistics = project.datasources.keys().map(|name| {
            let table = of(name);
            let statistics = TableStatistics {
                rows: table.map_or(0, |it| it.rows),
                bytes: table.map_or(0, |it| it.bytes),
                quarantined: of(&name.quarantine()).map_or(0, |it| it.rows),
            };
            (name.clone(), statistics)
        });
        Ok(statistics.collect())
    }
}

#[derive(serde::Deserialize)]
struct TableRow {
    name: String,
    rows: u64,
    bytes: u64,
}
