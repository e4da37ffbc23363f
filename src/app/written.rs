//! Rows that somebody wrote in one of the engine's formats, into a data source.

use super::{AppError, Workspace, verify, whole};
use crate::{
    engine::{Deduplication, EngineError, EngineErrorKind},
    name::ResourceName,
    observe::Observation,
    project::ColumnDefault,
    query::Format,
    sql::statement,
};
use bytes::Bytes;
use std::{sync::Arc, time::Instant};

impl Workspace {
    /// Rows that the engine reads itself, in one of its formats: all of them or none. What does not fit is refused
    /// and is in no quarantine. A token makes a second insert with it nothing.
    pub async fn insert_written(
        self: &Arc<Self>,
        datasource: &ResourceName,
        columns: Option<Vec<String>>,
        format: Format,
        body: Bytes,
        token: Option<String>,
    ) -> Result<u64, AppError> {
        self.shared.running()?;
        let (workspace, name) = (self.clone(), datasource.clone());
        whole(async move {
            let _claim = workspace.bring_into(&name).await;
            let _inserting = workspace.inserting.read().await;
            workspace.shared.running()?;
            let begun = Instant::now();
            let project = workspace.project();
            let datasource = project
                .datasource(name.as_str())
                .ok_or_else(|| AppError::NotFound { kind: "data source", name: name.to_string() })?;
            let own =
                datasource.columns.iter().filter(|it| !matches!(it.default, Some(ColumnDefault::Materialized(_))));
            let own: Vec<_> = own.map(|it| &it.name).collect();
            let wanted = match &columns {
                None => own,
                Some(names) => {
                    let column = |name: &String| own.iter().find(|it| it.as_str() == name).copied();
                    let missing = || names.iter().find(|it| column(it).is_none()).cloned().unwrap_or_default();
                    let found: Option<Vec<_>> = names.iter().map(column).collect();
                    found.ok_or_else(|| AppError::Engine(no_such_column(&missing())))?
                }
            };
            let head = statement::insert_native(&workspace.namespace.table(&name), wanted.iter().copied());
            let deduplication = match token {
                Some(token) => Deduplication::Token(format!("c:{token}")),
                None => Deduplication::Off,
            };
            let inserted = workspace.shared.engine.insert_written(&head, format, vec![body], deduplication).await;
            let rows = inserted.map_err(|error| {
                let message = verify::engine_words(&error.message, &workspace.namespace);
                EngineError { message, ..error }
            })?;
            workspace.extend_hold().await;
            workspace.sink.observe(Observation::Inserted {
                datasource: name.to_string(),
                rows,
                quarantined: 0,
                elapsed: begun.elapsed(),
                source: "clickhouse",
            });
            Ok(rows)
        })
        .await
    }
}

fn no_such_column(name: &str) -> EngineError {
    let message = format!("there is no column `{name}` to insert into. (NO_SUCH_COLUMN_IN_TABLE)");
    EngineError { kind: EngineErrorKind::Query, code: 16, message }
}
