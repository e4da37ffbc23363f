//! Events over HTTP into a data source, gathered and logged by `ingest`.

use super::{AppError, Workspace, claims};
use crate::{
    ingest::{
        Target,
        events::{Accepted, Events, Format, Tables},
    },
    name::ResourceName,
    project::Datasource,
};
use bytes::Bytes;
use std::sync::Arc;

impl Workspace {
    /// Takes rows. `Ok` means that they survive a crash, or, for who waits, that they are in.
    pub async fn send_events(
        &self,
        datasource: &ResourceName,
        format: Format,
        body: Bytes,
        source: &str,
        wait: bool,
    ) -> Result<Accepted, AppError> {
        self.shared.running()?;
        let project = self.project();
        let datasource = project
            .datasource(datasource.as_str())
            .ok_or_else(|| AppError::NotFound { kind: "data source", name: datasource.to_string() })?;
        let events = self.events.get().ok_or(AppError::Stopping)?;
        Ok(events.send(&self.target(datasource), format, body, source, wait).await?)
    }

    /// Opens the log of events and puts in what is in it.
    pub(super) fn open_events(self: &Arc<Self>) -> Result<(), AppError> {
        let shared = &self.shared;
        let directory = shared.settings.data_directory.join("events").join(&self.record.id);
        let project = self.project();
        let find = |name: &str| project.datasource(name).map(|it| self.target(it));
        let tuning = shared.settings.events.clone();
        let workspace = Arc::downgrade(self);
        let reached = move |name: &ResourceName| match workspace.upgrade() {
            Some(workspace) => claims::reached(&workspace.project(), name),
            None => [name.clone()].into(),
        };
        let (inserting, claims, mended) = (self.inserting.clone(), self.claims.clone(), self.mended.clone());
        let tables = Tables { inserting, claims, mended, reached: Arc::new(reached) };
        let events = Events::open(&directory, &shared.engine, &self.sink, tuning, tables, find);
        let events = events.map_err(|error| {
            AppError::Invalid(format!("the log of events {} cannot be opened: {error}", directory.display()))
        })?;
        _ = self.events.set(events);
        Ok(())
    }

    pub(super) fn target(&self, datasource: &Arc<Datasource>) -> Target {
        Target {
            datasource: datasource.clone(),
            table: self.namespace.table(&datasource.name),
            quarantine: self.namespace.table(&datasource.name.quarantine()),
        }
    }
}
