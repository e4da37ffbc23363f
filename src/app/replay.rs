//! Rows of a quarantine go into their data source after all, each at most once.
//!
//! They are gathered in a table of their own, which is given its name when they are all in it: from then on they
//! leave the quarantine and are brought in, batch by batch, under tokens made of the table's id and the batch's
//! number. What a crash cuts short is done to the end at the next start, before anything else is inserted: what is
//! done already is done again without a trace. What is refused again is in the quarantine again.

use super::{AppError, Workspace, verify, whole};
use crate::{
    ddl,
    ingest::{
        batch::{Cuts, Fleeting, Writer, Written},
        decode::{Schema, SchemaError},
        failpoint,
        files::LoadError,
        replay::Batch,
    },
    name::ResourceName,
    project::Datasource,
    query,
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const BATCH_ROWS: u64 = 5_000;

/// How long a batch is tried while somebody waits; what is not in by then goes on at the next replay or start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A table of gathered rows.
#[derive(Deserialize)]
struct Gathered {
    id: String,
    rows: u64,
}

#[derive(Deserialize)]
struct Dated {
    date: u32,
}

impl Workspace {
    /// Tries refused rows once more: all, or those that fulfil a condition. Tells how many are in, and how many
    /// are in the quarantine again.
    pub async fn replay_quarantine(
        self: &Arc<Self>,
        name: &ResourceName,
        condition: Option<&str>,
    ) -> Result<Written, AppError> {
        self.shared.running()?;
        let project = self.project();
        let datasource = project.datasource(name.as_str());
        let datasource =
            datasource.ok_or_else(|| AppError::NotFound { kind: "data source", name: name.to_string() })?.clone();
        let condition = condition
            .map(|it| query::compile_condition(&project, &self.namespace, &name.quarantine(), it))
            .transpose()?;
        let workspace = self.clone();
        whole(async move {
            let _inserting = workspace.inserting.read().await;
            let _replacing = workspace.replacing.lock().await;
            let before = workspace.finish_replay(&datasource).await?;
            let (namespace, engine) = (&workspace.namespace, &workspace.shared.engine);
            let (gathering, replay) = (namespace.gathering(&datasource.name), namespace.replay(&datasource.name));
            let quarantine = namespace.table(&datasource.name.quarantine());
            // One that a crash left behind, incomplete.
            engine.command(&ddl::drop_table(&gathering)).await?;
            let gathered = engine.command(&ddl::gather(&gathering, &quarantine, condition.as_ref())).await;
            gathered.map_err(|error| workspace.told(error))?;
            engine.command(&ddl::rename(&gathering, &replay)).await?;
            failpoint::reach("replay-gathered");
            let after = workspace.finish_replay(&datasource).await?;
            Ok(Written { rows: before.rows + after.rows, quarantined: before.quarantined + after.quarantined })
        })
        .await
    }

    /// Ends what a crash cut short. What cannot be ended now waits.
    pub(super) async fn finish_replays(&self) {
        for datasource in self.project().datasources.values() {
            if let Err(error) = self.finish_replay(datasource).await {
                let name = &datasource.name;
                self.shared.warn(format!("rows of the quarantine of `{name}` still wait to be read again: {error}"));
            }
        }
    }

    async fn finish_replay(&self, datasource: &Arc<Datasource>) -> Result<Written, AppError> {
        let engine = &self.shared.engine;
        let target = self.target(datasource);
        let replay = self.namespace.replay(&datasource.name);
        let state = engine.command(&ddl::table_state(&replay)).await?;
        let Some(Gathered { id, rows }) = verify::rows(&state)?.into_iter().next() else {
            return Ok(Written::default());
        };
        engine.command(&ddl::forget_replayed(&target.quarantine, &replay)).await?;
        let schema = Arc::new(Schema::compile(datasource).map_err(|it| AppError::Load(LoadError::Schema(it)))?);
        let writer = Writer::new(engine, &target, &schema, &self.sink);
        let mut total = Written::default();
        for number in (0..rows).step_by(BATCH_ROWS as usize) {
            let page = ddl::refused_rows(&replay, schema.columns(), number..number + BATCH_ROWS);
            let page = engine.command(&page).await.map_err(|error| self.told(error))?;
            // Later than they were refused, so that those refused again are not taken for those that leave.
            let latest = verify::rows::<Dated>(&page)?.iter().map(|it| it.date).max().unwrap_or_default();
            let batch = Batch::read(&schema, &page, format!("r:{id}:{number}")).map_err(|message| {
                AppError::Load(LoadError::Schema(SchemaError { column: "c__raw".to_owned(), message }))
            })?;
            let mut ledger = Fleeting { started: latest + 1, cuts: Cuts::default() };
            let stop = CancellationToken::new();
            let flush = writer.flush(&batch, batch.decode_all(), &mut ledger, "quarantine", &stop);
            let written = match tokio::time::timeout(PATIENCE, flush).await {
                Ok(Ok(written)) => written,
                Ok(Err(_)) => return Err(AppError::Stopping),
                Err(_) => {
                    let message = writer.trouble().1.unwrap_or_default();
                    return Err(AppError::Invalid(format!("the rows are not taken: {message}; they wait")));
                }
            };
            total.rows += written.rows;
            total.quarantined += written.quarantined;
            failpoint::reach("replay-batch");
        }
        engine.command(&ddl::drop_table(&replay)).await?;
        Ok(total)
    }
}
