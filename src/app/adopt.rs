//! Tables that are there though no deployed file describes them: a file that an older birdhouse took may break a
//! rule of this one, and its rows are not to be lost by that.
//!
//! In: a plan and its statements. Out: the statements without those whose tables are there and fit; where one
//! does not fit, why. What a table was made with besides its engine and its columns is not looked at: it stays.

use super::{AppError, Shared, verify};
use crate::{
    ddl::{self, Ddl, Layout, Makes},
    diagnostic::Diagnostic,
    name::{Namespace, Physical, ResourceName},
    observe::{Level, Observation},
    plan::{Action, Plan},
    project::{Datasource, Pipe, Project},
    query::{self, OwnerMode, QueryError},
    sql::ColumnType,
};
use std::collections::BTreeMap;

/// What the engine has, by name.
#[derive(Debug)]
pub(super) struct Found {
    tables: BTreeMap<String, Table>,
    layout: Layout,
    namespace: Namespace,
}

#[derive(Debug, serde::Deserialize)]
struct Table {
    name: String,
    engine: String,
    rows: u64,
    columns: Vec<(String, String)>,
}

/// The project without the pipes that read what it has not: nobody could ask them, and no plan could compare them.
pub(super) fn without_broken(project: Project, namespace: &Namespace) -> Project {
    let broken = |pipe: &Pipe| {
        let denied = |node| {
            let composed = query::compile_for_owner(&project, namespace, pipe, node, OwnerMode::Check);
            matches!(composed, Err(QueryError::Denied(_) | QueryError::NoSuchPipe(_)))
        };
        pipe.nodes.iter().any(denied)
    };
    let broken: Vec<_> = project.pipes.values().filter(|it| broken(it)).map(|it| it.name.clone()).collect();
    let mut res = project;
    res.pipes.retain(|name, _| !broken.contains(name));
    res.order.retain(|name| !broken.contains(name));
    res
}

/// A crash came between the two names of a view that was changed.
pub(super) async fn name_turned(shared: &Shared, namespace: &Namespace) -> Result<(), AppError> {
    for name in Found::look(shared, namespace).await?.tables.keys() {
        if let Some(view) = namespace.turned_from(name) {
            shared.engine.command(&shared.layout.rename_whole(&namespace.turned(&view), &view)).await?;
        }
    }
    Ok(())
}

/// Tables with partitions that older birdhouses made remember as many inserts as those that are made now. One that
/// cannot goes on as it is.
pub(super) async fn remember_more(shared: &Shared, namespace: &Namespace, project: &Project) -> Result<(), AppError> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    // On a cluster none was made by those: over one, nobody served.
    if shared.layout.cluster().is_some() {
        return Ok(());
    }
    let forgetful = shared.engine.command(&ddl::forgetful(namespace)).await?;
    for Named { name } in verify::rows::<Named>(&forgetful)? {
        let Some(datasource) = project.datasource(&name) else { continue };
        let Some(more) = ddl::remember_more(datasource, &namespace.table(&datasource.name)) else { continue };
        if let Err(error) = shared.engine.command(&more).await {
            shared.warn(format!("`{name}` goes on remembering few inserts: {error}"));
        }
    }
    Ok(())
}

/// Drops the tables that a drop set aside and did not come to; what was to be taken back was taken back before. And the
/// views of jobs that are none any more.
pub(super) async fn drop_set_aside(shared: &Shared, namespace: &Namespace) -> Result<(), AppError> {
    for name in Found::look(shared, namespace).await?.tables.keys() {
        let resource =
            name.trim_start_matches("local:").strip_prefix("dropped:").and_then(|it| ResourceName::new(it).ok());
        if let Some(resource) = resource {
            shared.drop_table(&namespace.dropped(&resource)).await?;
        }
        if let Some(job) = Namespace::populating_of(name) {
            shared.engine.command(&shared.layout.drop_whole(&namespace.populating(job))).await?;
        }
    }
    Ok(())
}

impl Found {
    pub(super) async fn look(shared: &Shared, namespace: &Namespace) -> Result<Found, AppError> {
        let answer = shared.engine.command(&shared.layout.tables(namespace)).await?;
        let tables = verify::rows::<Table>(&answer)?.into_iter().map(|it| (it.name.clone(), it)).collect();
        Ok(Found { tables, layout: shared.layout.clone(), namespace: namespace.clone() })
    }

    /// What shows data sources of other workspaces.
    pub(super) fn foreign(&self) -> Vec<String> {
        let views = self.tables.values().filter(|it| it.engine == "View").map(|it| it.name.clone());
        views.filter(|it| it.contains('.')).collect()
    }

    fn has(&self, table: &Physical) -> bool {
        self.tables.contains_key(table.table())
    }

    /// The table that has a data source's rows.
    fn rows_of(&self, name: &ResourceName) -> Option<&Table> {
        self.tables.get(self.layout.rows(&self.namespace.table(name)).table())
    }

    /// What of a plan cannot be done because of tables that are there.
    pub(super) fn in_the_way(&self, plan: &Plan) -> Vec<Diagnostic> {
        let mut res = Vec::new();
        for step in &plan.steps {
            let Action::CreateTable { datasource } = &step.action else { continue };
            let Some(differences) = self.differences(datasource) else { continue };
            let words = format!(
                "there is already a table of `{}`, whose file this birdhouse does not know, and it differs: {differences}",
                datasource.name
            );
            res.push(
                Diagnostic::error("table_differs", words)
                    .at(step.place.clone())
                    .hint("describe the table as it is, which keeps its rows, or give the data source another name"),
            );
        }
        res
    }

    fn differences(&self, datasource: &Datasource) -> Option<String> {
        let mut res = Vec::new();
        if let Some(table) = self.rows_of(&datasource.name) {
            let engine = format!("{:?}", datasource.engine.family);
            // With replicas it has them in its name.
            if table.engine.trim_start_matches("Replicated") != engine {
                res.push(format!("its engine is {}, not {engine}", table.engine));
            }
            for column in &datasource.columns {
                let name = column.name.as_str();
                match table.columns.iter().find(|(it, _)| it == name) {
                    None => res.push(format!("it has no column `{name}`")),
                    Some((_, is)) if ColumnType::parse(is).is_ok_and(|it| it == column.column_type) => {}
                    Some((_, is)) => res.push(format!("its column `{name}` is {is}, not {}", column.column_type)),
                }
            }
            let more =
                table.columns.iter().filter(|(name, _)| datasource.columns.iter().all(|it| it.name.as_str() != name));
            res.extend(more.map(|(name, column_type)| format!("it has a column `{name}` {column_type}")));
        }
        if let Some(table) = self.rows_of(&datasource.name.quarantine()) {
            let wanted = datasource.columns.iter().map(|it| it.name.as_str());
            let wanted = wanted.chain(ddl::QUARANTINE_COLUMNS.iter().map(|(name, _)| *name));
            let missing = wanted.filter(|name| table.columns.iter().all(|(it, _)| it != name));
            res.extend(missing.map(|name| format!("its quarantine has no column `{name}`")));
        }
        (!res.is_empty()).then(|| res.join("; "))
    }

    /// The statements of a plan without those that would make what is there. A view that is there is made anew:
    /// its query may be another one.
    pub(super) fn adopted(&self, statements: Vec<Ddl>) -> Vec<Ddl> {
        let mut res = Vec::with_capacity(statements.len());
        for statement in statements {
            match &statement.makes {
                Some(Makes::Table(table)) if self.has(table) => {}
                Some(Makes::View(view)) if self.has(view) => {
                    let drop = self.layout.drop_whole(view);
                    res.push(Ddl { sql: drop.clone(), undo: drop, place: statement.place.clone(), makes: None });
                    res.push(statement);
                }
                _ => res.push(statement),
            }
        }
        res
    }

    /// The statements that may be taken back after a crash: nothing flows into a table while its deploy runs, so
    /// one that has rows was there before.
    pub(super) fn without_rows(&self, shared: &Shared, statements: Vec<Ddl>) -> Vec<Ddl> {
        let keep = |it: &Ddl| {
            let Some(Makes::Table(table)) = &it.makes else { return true };
            let has_rows = self.tables.get(table.table()).is_some_and(|it| it.rows > 0);
            if has_rows {
                let message = format!("the table of `{}` was there before the unfinished deploy: kept", table.table());
                shared.sink.observe(Observation::Engine { level: Level::Warning, message });
            }
            !has_rows
        };
        statements.into_iter().filter(keep).collect()
    }
}
