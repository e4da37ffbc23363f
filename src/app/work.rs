//! Work on rows that takes its time, each as a job: copy, delete; and how one that failed is done once more.

use super::{
    AppError, Shared, Workspace, classic,
    populate::{Populate, Progress},
    verify, words,
};
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

/// ClickHouse's number for a text that cannot be parsed.
const SYNTAX_ERROR: i32 = 62;

/// What a job was asked for: kept with it, so that it can be asked for once more.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    Populate {
        pipe: String,
        populate: Populate,
        #[serde(default)]
        progress: Progress,
    },
    Copy {
        pipe: String,
        params: serde_json::Map<String, serde_json::Value>,
        replace: bool,
    },
    CopySql {
        datasource: String,
        text: String,
    },
    Delete {
        datasource: String,
        condition: String,
    },
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
            Work::Populate { pipe, populate, progress } => self.populate_from(&pipe, populate, progress).await,
            Work::Copy { pipe, params, replace } => self.copy(&pipe, params.into_iter().collect(), Some(replace)).await,
            Work::CopySql { datasource, text } => self.copy_sql(&datasource, &text).await,
            Work::Delete { datasource, condition } => self.delete_rows(&datasource, &condition).await,
        }
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
    pub(super) async fn check_condition(&self, name: &ResourceName, condition: &str) -> Result<(), String> {
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

    pub(super) async fn insert_select(&self, table: &Physical, select: &Sql) -> Result<Insert, AppError> {
        self.insert_select_into(table, table, select).await
    }

    /// The columns of an answer by their names, into those of a table; `like` has the columns of `table`.
    async fn insert_select_into(&self, table: &Physical, like: &Physical, select: &Sql) -> Result<Insert, AppError> {
        let columns = self.columns_into(like, select).await?;
        let mark = Insert::mark();
        let sql = ddl::insert_select(table, columns.iter().map(String::as_str), select, &mark);
        Ok(Insert { sql, mark })
    }

    /// The columns of an answer, all of which a table has.
    pub(super) async fn columns_into(&self, table: &Physical, select: &Sql) -> Result<Vec<String>, AppError> {
        let described = self.shared.engine.command(&query::describe(select)).await.map_err(|it| self.public(it))?;
        let columns: Vec<_> = verify::columns(&described)?.into_iter().map(|(name, _)| name).collect();
        let known = self.project().datasource(table.table()).map(|it| it.columns.clone()).unwrap_or_default();
        let known: BTreeSet<_> = known.iter().map(|it| it.name.as_str().to_owned()).collect();
        if let Some(unknown) = columns.iter().find(|it| !known.contains(*it)) {
            let words = format!("the data source `{}` has no column `{unknown}`", table.table());
            return Err(AppError::Invalid(words));
        }
        Ok(columns)
    }

    /// Runs an INSERT .. SELECT. It ends with this future.
    pub(super) async fn run(&self, insert: &Insert) -> Result<(), String> {
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

pub(super) fn asked(work: Work) -> Option<serde_json::Value> {
    serde_json::to_value(work).ok()
}

pub(super) fn bad(field: &str, words: &str) -> AppError {
    AppError::Invalid(format!("`{field}`: {words}"))
}

/// A statement that can be found again while it runs.
pub(super) struct Insert {
    pub(super) sql: Sql,
    pub(super) mark: String,
}

impl Insert {
    /// A mark that no other statement has.
    pub(super) fn mark() -> String {
        format!("job {}", words::random_id())
    }
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
