//! The `tinybird.*` data sources of a workspace: their tables, what fills them, how much each data source holds.

use super::{AppError, Shared, Workspace, verify};
use crate::{
    ddl,
    ingest::service::{Facts, Recorder, Row, rows},
    name::Namespace,
    project::service,
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::mpsc;

/// How often it is looked how much data sources hold, while they change.
const LOOKED_AT_MOST: Duration = Duration::from_secs(60);

/// Makes the tables that are not there.
pub(super) async fn make_tables(shared: &Shared, namespace: &Namespace) -> Result<(), AppError> {
    let there = shared.engine.command(&shared.layout.statistics(namespace)).await?;
    let there: BTreeSet<String> = verify::rows::<Table>(&there)?.into_iter().map(|it| it.name).collect();
    for (name, datasource) in service().iter().filter(|(name, _)| !there.contains(name.as_str())) {
        shared.command_all(&shared.layout.create_service_table(datasource, &namespace.table(name))).await?;
    }
    // Nothing is kept yet, so that no call is missed while an older view makes room.
    shared.command_all(&ddl::pipe_stats_view(&shared.layout, namespace)).await?;
    if there.contains("tinybird.kafka_ops_log") {
        shared.command_all(&ddl::kafka_times(&shared.layout, namespace)).await?;
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct Table {
    name: String,
}

impl Workspace {
    /// From here on what happens is kept.
    pub(super) fn open_service(self: &Arc<Self>) {
        let shared = &self.shared;
        let recorder = Recorder::start(shared.engine.clone(), self.namespace.clone(), shared.sink.clone());
        let (changed, changes) = mpsc::channel(1);
        tokio::spawn(measure(Arc::downgrade(self), changes));
        let (workspace, records) = (Arc::downgrade(self), recorder.clone());
        self.sink.attach(move |observation| {
            let Some(workspace) = workspace.upgrade() else { return };
            for row in rows(observation, &*workspace, jiff::Timestamp::now()) {
                if row.datasource == "datasources_ops_log" {
                    // One that is waiting is enough.
                    _ = changed.try_send(());
                }
                records.record(row);
            }
        });
        _ = self.recorder.set(recorder);
    }

    /// Says how much every data source holds now.
    async fn record_storage(&self, recorder: &Recorder) -> Result<(), AppError> {
        self.shared.running()?;
        let hour = jiff::Timestamp::now().strftime("%Y-%m-%d %H:00:00").to_string();
        for (name, statistics) in self.statistics().await? {
            let values = json!({
                "timestamp": hour,
                "datasource_id": self.id_of("datasource", name.as_str()),
                "datasource_name": name.as_str(),
                "bytes": statistics.bytes,
                "rows": statistics.rows,
                "bytes_quarantine": 0,
                "rows_quarantine": statistics.quarantined,
            });
            recorder.record(Row { datasource: "datasources_storage", values });
        }
        Ok(())
    }
}

impl Facts for Workspace {
    fn id_of(&self, kind: &str, name: &str) -> String {
        Workspace::id_of(self, kind, name)
    }

    fn workspace(&self) -> &str {
        self.id()
    }

    fn tags_of(&self, kind: &str, name: &str) -> Vec<String> {
        let project = self.project();
        let tags = match kind {
            "datasource" => project.datasource(name).map(|it| &it.tags),
            _ => project.pipe(name).map(|it| &it.tags),
        };
        tags.cloned().unwrap_or_default()
    }

    fn release(&self) -> String {
        Workspace::release(self).map(|it| it.semver).unwrap_or_default()
    }
}

/// Looks how much data sources hold after something changed in them, until the workspace is gone.
async fn measure(workspace: Weak<Workspace>, mut changes: mpsc::Receiver<()>) {
    while changes.recv().await.is_some() {
        let Some(workspace) = workspace.upgrade() else { return };
        let Some(recorder) = workspace.recorder.get() else { return };
        if let Err(error) = workspace.record_storage(recorder).await
            && !matches!(error, AppError::Stopping)
        {
            workspace.shared.warn(format!("how much data sources hold could not be told: {error}"));
        }
        drop(workspace);
        tokio::time::sleep(LOOKED_AT_MOST).await;
    }
}
