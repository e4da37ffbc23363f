//! Work on rows that takes its time, each as a job: populate, copy, delete.

use super::{AppError, Shared, Workspace, classic, verify, words};
use crate::{
    ddl,
    engine::EngineError,
    jobs::{Job, JobKind, JobStatus, NotCancelled, Subject},
    name::{Physical, ResourceName},
    project::{Pipe, PipeKind},
    query,
    sql::{Sql, statement},
    template::Params,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

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

/// ClickHouse's number for a text that cannot be parsed.
const SYNTAX_ERROR: i32 = 62;

/// What a job was asked for: kept with it, so that it can be asked for once more.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Work {
    Populate { pipe: String, populate: Populate },
    Copy { pipe: String, params: serde_json::Map<String, serde_json::Value>, replace: bool },
    CopySql { datasource: String, text: String },
    Delete { datasource: String, condition: String },
}

impl Workspace {
    /// The jobs, newest first.
    pub fn jobs(&self) -> Vec<Job> {
        self.jobs.list()
    }

    pub fn job(&self, id: &str) -> Option<Job> {
        self.jobs.get(id)
    }

    pub fn cancel_job(&self, id: &str) -> Result<Job, AppError> {
        self.jobs.cancel(id).map_err(|error| match error {
            NotCancelled::NoSuchJob(name) => AppError::NotFound { kind: "job", name },
            NotCancelled::Ended | NotCancelled::TooLate => AppError::Invalid(error.to_string()),
        })
    }

    /// Does the work of a job that failed or was cancelled once more, as a job of its own.
    pub async fn retry_job(self: &Arc<Self>, id: &str) -> Result<Job, AppError> {
        let job = self.jobs.get(id).ok_or_else(|| AppError::NotFound { kind: "job", name: id.to_owned() })?;
        let invalid = |words: &str| AppError::Invalid(words.to_owned());
        if !matches!(job.status, JobStatus::Error | JobStatus::Cancelled) {
            return Err(invalid("only a job that failed or was cancelled can be tried again"));
        }
        let work = job.subject.asked.and_then(|it| serde_json::from_value(it).ok());
        match work.ok_or_else(|| invalid("such a job cannot be tried again: ask for its work once more"))? {
            Work::Populate { pipe, populate } => self.populate(&pipe, populate).await,
            Work::Copy { pipe, params, replace } => self.copy(&pipe, params.into_iter().collect(), Some(replace)).await,
            Work::CopySql { datasource, text } => self.copy_sql(&datasource, &text).await,
            Work::Delete { datasource, condition } => self.delete_rows(&datasource, &condition).await,
        }
    }

    /// Fills the target of a materializing pipe from rows that are there already. Rows that come meanwhile go
    /// through the view as always: some may then be counted twice.
    pub async fn populate(self: &Arc<Self>, pipe: &str, populate: Populate) -> Result<Job, AppError> {
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
        let select = query::compile_populate(&project, &self.namespace, &pipe, &source, &filters)?;
        let table = self.namespace.table(target);
        let insert = self.insert_select(&table, &select).await?;
        let subject = Subject {
            pipe: Some(pipe.name.to_string()),
            node: Some(pipe.output_node().name.to_string()),
            datasource: Some(target.to_string()),
            condition: populate.condition.clone(),
            asked: asked(Work::Populate { pipe: pipe.name.to_string(), populate: populate.clone() }),
        };
        let (workspace, name) = (self.clone(), pipe.name.clone());
        let node = pipe.output_node().name.clone();
        let into = target.clone();
        let work = async move {
            let _claim = workspace.bring_into(&into).await;
            if populate.truncate {
                let truncated = workspace.shared.engine.command(&workspace.shared.layout.truncate(&table)).await;
                truncated.map_err(|error| workspace.words(&error))?;
            }
            match workspace.run(&insert).await {
                Err(error) if populate.unlink_on_error => {
                    let unlinked = workspace.unlink(name.as_str(), node.as_str()).await;
                    let unlinked = unlinked.map_or_else(|it| it.to_string(), |()| "it is a view no more".to_owned());
                    Err(format!("{error} ({unlinked})"))
                }
                end => end.map(|()| None),
            }
        };
        Ok(self.jobs.start(words::random_id(), JobKind::Populate, subject, work))
    }

    /// Runs a copy pipe: what it gives is added to its target, or with `replace` takes the place of its rows, at
    /// once. Nothing given, the pipe's own mode decides.
    pub async fn copy(self: &Arc<Self>, pipe: &str, params: Params, replace: Option<bool>) -> Result<Job, AppError> {
        self.shared.running()?;
        let project = self.project();
        let pipe = self.existing_pipe(pipe)?;
        let PipeKind::Copy { target, replace: otherwise, .. } = &pipe.kind else {
            return Err(AppError::Invalid(format!("the pipe `{}` copies nothing", pipe.name)));
        };
        let replace = replace.unwrap_or(*otherwise);
        let select = query::compile_copy(&project, &self.namespace, &pipe, &params)?;
        let subject = Subject {
            pipe: Some(pipe.name.to_string()),
            node: Some(pipe.output_node().name.to_string()),
            datasource: Some(target.to_string()),
            condition: None,
            asked: asked(Work::Copy { pipe: pipe.name.to_string(), params: params.into_iter().collect(), replace }),
        };
        let (workspace, name) = (self.clone(), target.clone());
        let insert = self.insert_select(&self.namespace.table(target), &select).await?;
        let side =
            self.insert_select_into(&self.namespace.side(target), &self.namespace.table(target), &select).await?;
        let work = async move {
            match replace {
                false => {
                    let _claim = workspace.bring_into(&name).await;
                    workspace.run(&insert).await?;
                }
                true => workspace.replace_by(&name, &side).await?,
            }
            Ok(None)
        };
        Ok(self.jobs.start(words::random_id(), JobKind::Copy, subject, work))
    }

    /// Adds what a query gives to a data source; the query sees what the project itself sees.
    pub async fn copy_sql(self: &Arc<Self>, datasource: &str, text: &str) -> Result<Job, AppError> {
        self.shared.running()?;
        let name = self.existing(datasource)?;
        let select = query::compile_text(&self.project(), &self.namespace, text)?;
        let insert = self.insert_select(&self.namespace.table(&name), &select).await?;
        let work = Work::CopySql { datasource: name.to_string(), text: text.to_owned() };
        let subject = Subject { datasource: Some(name.to_string()), asked: asked(work), ..Subject::default() };
        let workspace = self.clone();
        let work = async move {
            let _claim = workspace.bring_into(&name).await;
            workspace.run(&insert).await.map(|()| None)
        };
        Ok(self.jobs.start(words::random_id(), JobKind::Copy, subject, work))
    }

    /// Deletes the rows that fulfil a condition.
    pub async fn delete_rows(self: &Arc<Self>, datasource: &str, condition: &str) -> Result<Job, AppError> {
        self.shared.running()?;
        let name = self.existing(datasource)?;
        let rows = self.count(&name, condition, "delete_condition").await?;
        let condition_sql = query::compile_condition(&self.project(), &self.namespace, &name, condition)?;
        let delete = self.shared.layout.delete_rows(&self.namespace.table(&name), &condition_sql);
        let work = Work::Delete { datasource: name.to_string(), condition: condition.to_owned() };
        let subject = Subject {
            datasource: Some(name.to_string()),
            condition: Some(condition.to_owned()),
            asked: asked(work),
            ..Subject::default()
        };
        let workspace = self.clone();
        let work = async move {
            // A file that replaces the rows meanwhile would bring them back.
            let _replacing = workspace.replacing.lock().await;
            workspace.shared.engine.command(&delete).await.map_err(|error| workspace.words(&error))?;
            Ok(Some(rows))
        };
        Ok(self.jobs.start(words::random_id(), JobKind::DeleteRows, subject, work))
    }

    /// What is wrong with a condition on the rows of a data source, told in the condition's own words: in a statement
    /// of ours the engine would quote that.
    async fn check_condition(&self, name: &ResourceName, condition: &str) -> Result<(), String> {
        let compiled = query::compile_condition(&self.project(), &self.namespace, name, condition);
        let count = ddl::count_rows(&self.namespace.table(name), &compiled.map_err(|it| it.to_string())?);
        let described = self.shared.engine.command(&query::describe(&count)).await;
        described.map(drop).map_err(|error| match error.code {
            SYNTAX_ERROR => verify::syntax_words(&error.message),
            _ => self.words(&error),
        })
    }

    /// How many rows fulfil a condition, which came in this field.
    pub(super) async fn count(&self, name: &ResourceName, condition: &str, field: &str) -> Result<u64, AppError> {
        self.check_condition(name, condition).await.map_err(|words| bad(field, &words))?;
        #[derive(serde::Deserialize)]
        struct Count {
            rows: u64,
        }
        let condition = query::compile_condition(&self.project(), &self.namespace, name, condition)?;
        let counted = self.shared.engine.command(&ddl::count_rows(&self.namespace.table(name), &condition)).await;
        let counted = verify::rows::<Count>(&counted.map_err(|it| self.public(it))?)?;
        Ok(counted.first().map_or(0, |it| it.rows))
    }

    async fn insert_select(&self, table: &Physical, select: &Sql) -> Result<Insert, AppError> {
        self.insert_select_into(table, table, select).await
    }

    /// The columns of an answer by their names, into those of a table; `like` has the columns of `table`.
    async fn insert_select_into(&self, table: &Physical, like: &Physical, select: &Sql) -> Result<Insert, AppError> {
        let described = self.shared.engine.command(&query::describe(select)).await.map_err(|it| self.public(it))?;
        let columns: Vec<_> = verify::columns(&described)?.into_iter().map(|(name, _)| name).collect();
        let known = self.project().datasource(like.table()).map(|it| it.columns.clone()).unwrap_or_default();
        let known: BTreeSet<_> = known.iter().map(|it| it.name.as_str().to_owned()).collect();
        if let Some(unknown) = columns.iter().find(|it| !known.contains(*it)) {
            let words = format!("the data source `{}` has no column `{unknown}`", like.table());
            return Err(AppError::Invalid(words));
        }
        let mark = format!("job {}", words::random_id());
        let sql = ddl::insert_select(table, columns.iter().map(String::as_str), select, &mark);
        Ok(Insert { sql, mark })
    }

    /// Runs an INSERT .. SELECT. It ends with this future.
    async fn run(&self, insert: &Insert) -> Result<(), String> {
        let mut kill = Kill { shared: self.shared.clone(), mark: Some(insert.mark.clone()) };
        let ran = self.shared.engine.command(&insert.sql).await;
        kill.mark = None;
        ran.map(drop).map_err(|error| self.words(&error))
    }

    /// Fills a table on the side, which then changes places with the data source's.
    async fn replace_by(&self, name: &ResourceName, insert: &Insert) -> Result<(), String> {
        let _replacing = self.replacing.lock().await;
        let (engine, layout) = (&self.shared.engine, &self.shared.layout);
        let datasource = self.project().datasource(name.as_str()).cloned();
        let datasource = datasource.ok_or_else(|| format!("there is no data source `{name}` any more"))?;
        let (table, side) = (self.namespace.table(name), self.namespace.side(name));
        let made = async {
            self.shared.drop_table(&side).await?;
            self.shared.command_all(&layout.create_side_table(&side, &table, &datasource)).await
        };
        made.await.map_err(|error| self.words(&error))?;
        self.run(insert).await?;
        engine.command(&layout.exchange(&table, &side)).await.map_err(|error| self.words(&error))?;
        if let Err(error) = self.shared.drop_table(&side).await {
            self.shared.warn(format!("a table that is not needed any more could not be dropped: {error}"));
        }
        Ok(())
    }

    fn public(&self, error: EngineError) -> EngineError {
        EngineError { message: self.words(&error), ..error }
    }

    /// The engine's words, no database of this workspace or of those that share something with it in them.
    pub(super) fn words(&self, error: &EngineError) -> String {
        let project = self.project();
        let homes = project.shared.values().map(|it| &it.home).chain([&self.namespace]);
        homes.fold(error.message.clone(), |words, home| verify::engine_words(&words, home))
    }

    /// What a pipe writes to.
    pub fn target_of_pipe(&self, pipe: &Pipe) -> Option<ResourceName> {
        classic::written(pipe).cloned()
    }
}

fn asked(work: Work) -> Option<serde_json::Value> {
    serde_json::to_value(work).ok()
}

fn bad(field: &str, words: &str) -> AppError {
    AppError::Invalid(format!("`{field}`: {words}"))
}

/// A statement that can be found again while it runs.
struct Insert {
    sql: Sql,
    mark: String,
}

/// Ends a statement whose future is dropped before its end: nobody waits for it any more, and the rows of a job
/// that was cancelled should not go on coming.
struct Kill {
    shared: Arc<Shared>,
    /// Nothing when it has ended.
    mark: Option<String>,
}

impl Drop for Kill {
    fn drop(&mut self) {
        let Some(mark) = self.mark.take() else { return };
        let shared = self.shared.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { _ = shared.engine.command(&statement::kill([&*mark])).await });
        }
    }
}
