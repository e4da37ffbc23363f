//! Rows from files into a data source, and how many there are.

use super::{AppError, Workspace, verify, whole, words};
use crate::{
    ddl,
    engine::EngineError,
    ingest::{
        Target,
        files::{self, FileFormat, LoadError, LoadReport, Origin},
    },
    name::{Physical, ResourceName},
    observe::Observation,
    project::Datasource,
};
use bytes::Bytes;
use std::{collections::BTreeMap, io::Cursor, sync::Arc, time::Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendMode {
    Append,
    /// The file's rows take the place of all that are there, at once. Views of the table do not see them.
    Replace,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    pub rows: u64,
    pub quarantined: u64,
    /// Stands in the quarantine's `c__import_id`.
    pub import_id: String,
    /// The first few reasons for quarantine, in words.
    pub errors: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableStatistics {
    pub rows: u64,
    pub bytes: u64,
    pub quarantined: u64,
}

impl Workspace {
    /// Rows from a file.
    pub async fn append(
        self: &Arc<Self>,
        datasource: &ResourceName,
        format: FileFormat,
        body: Bytes,
        mode: AppendMode,
    ) -> Result<Appended, AppError> {
        self.shared.running()?;
        let (workspace, name) = (self.clone(), datasource.clone());
        whole(async move {
            let _inserting = workspace.inserting.read().await;
            workspace.shared.running()?;
            let begun = Instant::now();
            let project = workspace.project();
            let datasource = project
                .datasource(name.as_str())
                .ok_or_else(|| AppError::NotFound { kind: "data source", name: name.to_string() })?;
            let origin = Origin {
                name: match format {
                    FileFormat::Csv => format!("{name}.csv"),
                    FileFormat::Ndjson => format!("{name}.ndjson"),
                },
                import_id: Some(words::random_id()),
            };
            let import_id = origin.import_id.clone().unwrap_or_default();
            let report = match mode {
                AppendMode::Append => {
                    let table = workspace.namespace.table(&name);
                    workspace.load(datasource, table, format, body, origin).await?
                }
                AppendMode::Replace => workspace.replace(datasource, format, body, origin).await?,
            };
            workspace.extend_hold().await;
            workspace.sink.observe(Observation::Inserted {
                datasource: name.to_string(),
                rows: report.rows,
                quarantined: report.quarantined,
                elapsed: begun.elapsed(),
                source: match mode {
                    AppendMode::Append => "file",
                    AppendMode::Replace => "replace",
                },
            });
            Ok(Appended { rows: report.rows, quarantined: report.quarantined, import_id, errors: report.errors })
        })
        .await
    }

    /// Rows and bytes of every data source.
    pub async fn statistics(&self) -> Result<BTreeMap<ResourceName, TableStatistics>, AppError> {
        let bytes = self.shared.engine.command(&ddl::statistics(&self.namespace)).await?;
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

    /// Loads into a table of its own, which then changes places with the data source's: readers see all of the
    /// old rows or all of the new ones, and a file that fails in the middle changes nothing.
    async fn replace(
        &self,
        datasource: &Arc<Datasource>,
        format: FileFormat,
        body: Bytes,
        origin: Origin,
    ) -> Result<LoadReport, AppError> {
        let _replacing = self.replacing.lock().await;
        let engine = &self.shared.engine;
        let table = self.namespace.table(&datasource.name);
        let side = self.namespace.side(&datasource.name);
        // One that a crash left behind.
        engine.command(&ddl::drop_table(&side)).await?;
        engine.command(&ddl::create_side_table(&side, &table)).await?;
        let loaded = async {
            let report = self.load(datasource, side.clone(), format, body, origin).await?;
            engine.command(&ddl::exchange(&table, &side)).await?;
            Ok(report)
        };
        let loaded: Result<LoadReport, AppError> = loaded.await;
        if let Err(error) = engine.command(&ddl::drop_table(&side)).await {
            self.shared.warn(format!("a table that is not needed any more could not be dropped: {error}"));
        }
        loaded
    }

    async fn load(
        &self,
        datasource: &Arc<Datasource>,
        table: Physical,
        format: FileFormat,
        body: Bytes,
        origin: Origin,
    ) -> Result<LoadReport, AppError> {
        let quarantine = self.namespace.table(&datasource.name.quarantine());
        let target = Target { datasource: datasource.clone(), table, quarantine };
        let loaded = files::load(&self.shared.engine, &target, format, Cursor::new(body), origin).await;
        // The engine's words name physical tables.
        let public = |error: EngineError| {
            let message = verify::engine_words(&error.message, &self.namespace);
            EngineError { message, ..error }
        };
        Ok(loaded.map_err(|error| match error {
            LoadError::Engine(error) => LoadError::Engine(public(error)),
            error => error,
        })?)
    }
}

#[derive(serde::Deserialize)]
struct TableRow {
    name: String,
    rows: u64,
    bytes: u64,
}
