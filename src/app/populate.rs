//! Filling the target of a materializing pipe with rows that are there already, as a job: on one server by one
//! statement, over a cluster by one for each shard.
//!
//! How far a job over shards has come is kept with it: tried once more, it goes on with the shards that are not done.

use super::{
    AppError, Shared, Workspace, verify, words,
    work::{Insert, Work, asked, bad},
};
use crate::{
    ddl::{Cluster, Fill, Shard},
    jobs::{Job, JobKind, Subject},
    name::{Physical, ResourceName},
    project::PipeKind,
    query,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Which rows of its source a view is filled from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Populate {
    /// The target is emptied first.
    pub truncate: bool,
    /// A part of the rows, between 0 and 1.
    pub subset: Option<f64>,
    /// A condition on the rows of the source.
    pub condition: Option<String>,
    /// A view that cannot be filled is not to be one.
    pub unlink_on_error: bool,
}

/// How far a populate over shards has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Shards whose rows are in.
    done: BTreeSet<u64>,
    /// Tells the query that filled them from another.
    query: String,
}

/// What brings the rows in.
enum Filling {
    Once(Insert),
    ByShard(Cluster, Box<Fill>),
}

/// A job over shards: what was asked for, and how far it has come.
struct ByShard {
    job: String,
    pipe: ResourceName,
    populate: Populate,
    progress: Progress,
}

impl Workspace {
    /// Fills the target of a materializing pipe from rows that are there already. Rows that come meanwhile go
    /// through the view as always: some may then be counted twice.
    pub async fn populate(self: &Arc<Self>, pipe: &str, populate: Populate) -> Result<Job, AppError> {
        self.populate_from(pipe, populate, Progress::default()).await
    }

    /// The same without the shards that are done.
    pub(super) async fn populate_from(
        self: &Arc<Self>,
        pipe: &str,
        populate: Populate,
        progress: Progress,
    ) -> Result<Job, AppError> {
        self.shared.running()?;
        let project = self.project();
        let pipe = self.existing_pipe(pipe)?;
        let PipeKind::Materialized { target } = &pipe.kind else {
            return Err(AppError::Invalid(format!("the pipe `{}` materializes nothing", pipe.name)));
        };
        let source = pipe
            .source(&project)
            .ok_or_else(|| AppError::Invalid(format!("the pipe `{}` reads no data source", pipe.name)))?;
        let mut filters: Vec<String> = Vec::new();
        if let Some(condition) = populate.condition.as_deref().map(str::trim).filter(|it| !it.is_empty()) {
            self.check_condition(&source, condition).await.map_err(|words| bad("populate_condition", &words))?;
            filters.push(condition.to_owned());
        }
        match populate.subset {
            Some(subset) if !(subset > 0.0 && subset <= 1.0) => {
                return Err(AppError::Invalid("a subset is a number above 0 and up to 1".to_owned()));
            }
            Some(subset) if subset < 1.0 => filters.push(format!("rand() < {}", (subset * f64::from(u32::MAX)) as u32)),
            _ => {}
        }
        let (id, table) = (words::random_id(), self.namespace.table(target));
        let (filling, query) = match self.shared.layout.cluster().filter(|it| it.is_sharded()) {
            None => {
                let select = query::compile_populate(&project, &self.namespace, &pipe, &source, &filters)?;
                (Filling::Once(self.insert_select(&table, &select).await?), String::new())
            }
            Some(cluster) => {
                // As a shard sees it: over all of them, each shard would bring the rows of all.
                let at_shard = self.namespace.at_shard(&source);
                let select = query::compile_populate(&project, &at_shard, &pipe, &source, &filters)?;
                let columns = self.columns_into(&table, &select).await?;
                let query = Sha256::digest(select.as_str()).iter().map(|it| format!("{it:02x}")).collect();
                let fill = Fill { target: table.clone(), view: self.namespace.populating(&id), columns, select };
                (Filling::ByShard(cluster.clone(), Box::new(fill)), query)
            }
        };
        if !progress.done.is_empty() && progress.query != query {
            let words = format!(
                "the pipe `{}` was changed after this job had filled {}: begin a new populate, with truncate",
                pipe.name,
                listed(&progress.done)
            );
            return Err(AppError::Invalid(words));
        }
        let progress = Progress { query, ..progress };
        let mut by_shard = ByShard { job: id.clone(), pipe: pipe.name.clone(), populate, progress };
        let subject = Subject {
            pipe: Some(pipe.name.to_string()),
            node: Some(pipe.output_node().name.to_string()),
            datasource: Some(target.to_string()),
            condition: by_shard.populate.condition.clone(),
            asked: by_shard.asked(),
        };
        let (workspace, into, node) = (self.clone(), target.clone(), pipe.output_node().name.clone());
        let work = async move {
            let _claim = workspace.bring_into(&into).await;
            let Populate { truncate, unlink_on_error, .. } = by_shard.populate;
            // Shards that are done keep what they have.
            if truncate && by_shard.progress.done.is_empty() {
                let truncated = workspace.shared.engine.command(&workspace.shared.layout.truncate(&table)).await;
                truncated.map_err(|error| workspace.words(&error))?;
            }
            let filled = match &filling {
                Filling::Once(insert) => workspace.run(insert).await,
                Filling::ByShard(cluster, fill) => workspace.fill_shards(cluster, fill, &mut by_shard).await,
            };
            match filled {
                Err(error) if unlink_on_error => {
                    let unlinked = workspace.unlink(by_shard.pipe.as_str(), node.as_str()).await;
                    let unlinked = unlinked.map_or_else(|it| it.to_string(), |()| "it is a view no more".to_owned());
                    Err(format!("{error} ({unlinked})"))
                }
                end => end.map(|()| None),
            }
        };
        Ok(self.jobs.start(id, JobKind::Populate, subject, work))
    }

    /// One shard after the other, without those that are done.
    async fn fill_shards(&self, cluster: &Cluster, fill: &Fill, by_shard: &mut ByShard) -> Result<(), String> {
        let shards = self.shards(cluster).await?;
        // One that was begun before may have some of its rows.
        let clears = by_shard.populate.truncate && !by_shard.progress.done.is_empty();
        let mut shown = Shown { shared: self.shared.clone(), view: Some(fill.view.clone()) };
        for shard in &shards {
            if by_shard.progress.done.contains(&shard.number) {
                continue;
            }
            if let Err(error) = self.fill_shard(cluster, fill, *shard, clears).await {
                shown.end().await;
                let done = &by_shard.progress.done;
                let rest = match done.is_empty() {
                    true => "no shard is filled".to_owned(),
                    false => format!("filled: {}; the job tried again goes on with the others", listed(done)),
                };
                return Err(format!("shard {} of {}: {error}; {rest}", shard.number, shards.len()));
            }
            by_shard.progress.done.insert(shard.number);
            self.jobs.update(&by_shard.job, |job| job.subject.asked = by_shard.asked());
        }
        shown.end().await;
        Ok(())
    }

    async fn fill_shard(&self, cluster: &Cluster, fill: &Fill, shard: Shard, clears: bool) -> Result<(), String> {
        if clears {
            self.clear_shard(cluster, fill, shard).await?;
        }
        let show = self.shared.engine.command(&fill.show(cluster, shard)).await;
        show.map_err(|error| self.words(&error))?;
        let mark = Insert::mark();
        self.run(&Insert { sql: fill.insert(cluster, shard, &mark), mark }).await
    }

    /// All rows of a shard go, those that came by the view meanwhile too: they are brought in again.
    async fn clear_shard(&self, cluster: &Cluster, fill: &Fill, shard: Shard) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Row {
            shard: u64,
            value: String,
        }
        let answer = self.shared.engine.command(&cluster.shard_names()).await.map_err(|error| self.words(&error))?;
        let rows = verify::rows::<Row>(&answer).map_err(|error| error.to_string())?;
        let names: BTreeMap<_, _> = rows.iter().map(|it| (it.shard, it.value.as_str())).collect();
        let name = names.get(&shard.number).ok_or("its servers have no macro `shard`")?;
        // Or else one that is done would be empty.
        if names.values().filter(|it| *it == name).count() > 1 {
            return Err(format!("the macro `shard` is `{name}` on another shard too"));
        }
        let cleared = self.shared.engine.command(&fill.clear(cluster, name)).await;
        cleared.map(drop).map_err(|error| self.words(&error))
    }

    async fn shards(&self, cluster: &Cluster) -> Result<Vec<Shard>, String> {
        #[derive(Deserialize)]
        struct Row {
            shard: u64,
            weight: u64,
        }
        let answer = self.shared.engine.command(&cluster.weights()).await.map_err(|error| self.words(&error))?;
        let rows = verify::rows::<Row>(&answer).map_err(|error| error.to_string())?;
        let shards = Shard::all(rows.into_iter().map(|it| (it.shard, it.weight)));
        shards.map_err(|number| format!("shard {number} has the weight 0 in remote_servers: it cannot be asked alone"))
    }
}

impl ByShard {
    /// What the job is kept with.
    fn asked(&self) -> Option<serde_json::Value> {
        let (pipe, populate, progress) = (self.pipe.to_string(), self.populate.clone(), self.progress.clone());
        asked(Work::Populate { pipe, populate, progress })
    }
}

/// `shards 1, 2`.
fn listed(shards: &BTreeSet<u64>) -> String {
    let numbers: Vec<_> = shards.iter().map(u64::to_string).collect();
    format!("shard{} {}", if numbers.len() == 1 { "" } else { "s" }, numbers.join(", "))
}

/// A view that is there while a job needs it; what a crash leaves goes at the next start.
struct Shown {
    shared: Arc<Shared>,
    /// Nothing when it has gone.
    view: Option<Physical>,
}

impl Shown {
    async fn end(&mut self) {
        let Some(view) = self.view.take() else { return };
        if let Err(error) = self.shared.engine.command(&self.shared.layout.drop_whole(&view)).await {
            self.shared.warn(format!("a view that is not needed any more goes at the next start: {error}"));
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let Some(view) = self.view.take() else { return };
        let shared = self.shared.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { Shown { shared, view: Some(view) }.end().await });
        }
    }
}
