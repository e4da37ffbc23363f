//! Rows of a quarantine go into their data source after all, each at most once.
//!
//! They are gathered in a table of their own, which is given its name when they are all in it: from then on they
//! leave the quarantine and are brought in, batch by batch, under tokens made of the table's id and the batch's
//! number. Over a cluster that table is on every server, so that none is the only one that has the rows; they leave the
//! quarantine by statements that name them. What a crash cuts short is done to the end at the next start, before anything else is inserted: what is
//! done already is done again without a trace. What is refused again is in the quarantine again.

use super::{AppError, Shared, Workspace, claims::reached, verify, whole};
use crate::{
    ddl,
    ingest::{
        batch::{Aborted, Cuts, Ledger, Writer, Written},
        decode::{Schema, SchemaError},
        failpoint,
        files::LoadError,
        replay::Batch,
    },
    name::{Physical, ResourceName},
    project::Datasource,
    query,
    store::Store,
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

const BATCH_ROWS: u64 = 5_000;

/// Rows that one statement tells to go: with all of them it is 90 KB long. Servers read 256 KB of one at the most, and
/// Keeper, where every server finds it, takes 1 MB.
const FORGOTTEN_ROWS: u64 = 2_500;

/// In the place of a batch's number: what the store has is how all batches are read.
const READING: u64 = u64::MAX;

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

/// What a row is known by where it is to leave.
#[derive(Deserialize)]
struct Identity {
    date: u32,
    hash: u64,
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
            let _replaying = workspace.replaying.lock().await;
            let _claim = workspace.bring_into(&datasource.name).await;
            let before = workspace.finish_replay(&datasource).await?;
            let (namespace, layout, engine) =
                (&workspace.namespace, &workspace.shared.layout, &workspace.shared.engine);
            let (gathering, replay) = (namespace.gathering(&datasource.name), namespace.replay(&datasource.name));
            let quarantine = namespace.table(&datasource.name.quarantine());
            // A deploy may come between the batches, and not in the middle of this.
            let inserting = workspace.inserting.read().await;
            workspace.existing(datasource.name.as_str())?;
            // One that a crash left behind, incomplete.
            engine.command(&layout.drop_whole(&gathering)).await?;
            let gather = ddl::gather(layout, &gathering, &datasource, &quarantine, condition.as_ref());
            workspace.shared.command_all(&gather).await.map_err(|error| workspace.told(error))?;
            engine.command(&layout.rename_whole(&gathering, &replay)).await?;
            drop(inserting);
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
        let (engine, layout) = (&self.shared.engine, &self.shared.layout);
        let target = self.target(datasource);
        let replay = self.namespace.replay(&datasource.name);
        let state = engine.command(&layout.state_of(&replay)).await?;
        let Some(Gathered { id, rows }) = verify::rows(&state)?.into_iter().next() else {
            return Ok(Written::default());
        };
        match layout.cluster() {
            None => _ = engine.command(&ddl::forget_replayed(&target.quarantine, &replay)).await?,
            Some(_) => self.forget(&target.quarantine, &replay, rows).await?,
        }
        let schema = self.replayed_by(&id, datasource).await?;
        let writer = Writer::new(engine, &target, &schema, &self.sink).gated(&self.inserting);
        let own = schema.columns().filter(|it| ddl::QUARANTINE_COLUMNS.iter().all(|(name, _)| *name != it.as_str()));
        engine.command(&ddl::complete_gathered(layout, &replay, own)).await?;
        let (mut total, mut seen) = (Written::default(), 0);
        for number in (0..rows).step_by(BATCH_ROWS as usize) {
            let page = ddl::refused_rows(layout, &replay, schema.columns(), number..number + BATCH_ROWS);
            let page = engine.command(&page).await.map_err(|error| self.told(error))?;
            // Later than they were refused, so that those refused again are not taken for those that leave.
            let dates: Vec<_> = verify::rows::<Dated>(&page)?.iter().map(|it| it.date).collect();
            let latest = dates.iter().max().copied().unwrap_or_default();
            seen += dates.len() as u64;
            let batch = Batch::read(&schema, &page, format!("r:{id}:{number}")).map_err(|message| {
                AppError::Load(LoadError::Schema(SchemaError { column: "c__raw".to_owned(), message }))
            })?;
            let mut ledger = Kept::read(self, &id, number, latest + 1).await?;
            let stop = self.files.stopping();
            let flush = writer.flush(&batch, batch.decode_all(), &mut ledger, "quarantine", &stop);
            let written = match tokio::time::timeout(PATIENCE, flush).await {
                Ok(Ok(written)) => written,
                Ok(Err(_)) if self.shared.running().is_err() => return Err(AppError::Stopping),
                Ok(Err(_)) | Err(_) => {
                    let message = writer.trouble().1.unwrap_or_default();
                    return Err(AppError::Invalid(format!("the rows are not taken: {message}; they wait")));
                }
            };
            total.rows += written.rows;
            total.quarantined += written.quarantined;
            failpoint::reach("replay-batch");
        }
        all_seen(seen, rows)?;
        engine.command(&layout.drop_whole(&replay)).await?;
        let workspace = self.record.id.clone();
        self.shared.store(move |store| store.forget_replay(&workspace, &id)).await?;
        Ok(total)
    }

    /// Gathered rows leave a quarantine that is on many servers: some are named at a time.
    async fn forget(&self, quarantine: &Physical, replay: &Physical, rows: u64) -> Result<(), AppError> {
        let Shared { engine, layout, .. } = &*self.shared;
        let mut seen = 0;
        for number in (0..rows).step_by(FORGOTTEN_ROWS as usize) {
            let page = ddl::identities(layout, replay, number..number + FORGOTTEN_ROWS);
            let page = verify::rows::<Identity>(&engine.command(&page).await?)?;
            seen += page.len() as u64;
            if !page.is_empty() {
                let these = page.iter().map(|it| (it.date, it.hash));
                engine.command(&ddl::forget_these(layout, quarantine, these)).await?;
            }
        }
        all_seen(seen, rows)
    }

    /// What a replay's rows are read by: to its end what they were read by when the first of them went in.
    async fn replayed_by(&self, replay: &str, datasource: &Datasource) -> Result<Arc<Schema>, AppError> {
        let (workspace, id) = (self.record.id.clone(), replay.to_owned());
        let text = self.shared.store(move |store| store.replay(&workspace, &id, READING)).await?;
        let schema = Schema::as_then(text.as_deref().unwrap_or_default(), datasource);
        let schema = schema.map_err(|it| AppError::Load(LoadError::Schema(it)))?;
        if text.is_none() {
            let (workspace, id, text) = (self.record.id.clone(), replay.to_owned(), schema.text().to_owned());
            self.shared.store(move |store| store.put_replay(&workspace, &id, READING, &text)).await?;
        }
        Ok(Arc::new(schema))
    }

    /// A replay into one of the data sources whose rows reach this one waits in the middle.
    pub(super) async fn has_replays(&self, reaching: &ResourceName) -> Result<bool, AppError> {
        let project = self.project();
        for name in project.datasources.keys().filter(|it| reached(&project, it).contains(reaching)) {
            let state = self.shared.engine.command(&self.shared.layout.state_of(&self.namespace.replay(name))).await?;
            if !verify::rows::<Gathered>(&state)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Gathered rows stay where they are until every one was read: of a cluster, a server may not have them yet.
fn all_seen(seen: u64, rows: u64) -> Result<(), AppError> {
    match seen == rows {
        true => Ok(()),
        false => {
            let words = format!("{seen} of {rows} gathered rows could be read: they wait");
            Err(AppError::Invalid(words))
        }
    }
}

/// What a batch must remember over a crash, in the store.
struct Kept {
    store: Arc<Store>,
    workspace: String,
    replay: String,
    batch: u64,
    started: u32,
    cuts: Cuts,
}

impl Kept {
    async fn read(workspace: &Workspace, replay: &str, batch: u64, started: u32) -> Result<Kept, AppError> {
        let (id, of) = (workspace.record.id.clone(), replay.to_owned());
        let record = workspace.shared.store(move |store| store.replay(&id, &of, batch)).await?;
        let cuts = record.map(|it| serde_json::from_str(&it)).transpose();
        let cuts = cuts.map_err(|it| AppError::Invalid(format!("what is left of a replay cannot be read: {it}")))?;
        Ok(Kept {
            store: workspace.shared.store.clone(),
            workspace: workspace.record.id.clone(),
            replay: replay.to_owned(),
            batch,
            started,
            cuts: cuts.unwrap_or_default(),
        })
    }
}

impl Ledger for Kept {
    fn started(&self) -> u32 {
        self.started
    }

    fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    async fn cut(&mut self, unit: &str, message: &str) -> Result<(), Aborted> {
        self.cuts.insert(unit, message);
        let (store, workspace, replay, batch) =
            (self.store.clone(), self.workspace.clone(), self.replay.clone(), self.batch);
        let record = serde_json::to_string(&self.cuts).map_err(|_| Aborted)?;
        let kept = tokio::task::spawn_blocking(move || store.put_replay(&workspace, &replay, batch, &record)).await;
        kept.map_err(|_| Aborted)?.map_err(|_| Aborted)?;
        failpoint::reach("replay-cut");
        Ok(())
    }
}
