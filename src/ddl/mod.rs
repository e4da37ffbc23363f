//! A plan becomes SQL, each statement with the one that takes it back.
//!
//! In: a [`Plan`], the two projects it leads from and to, a namespace. Out: [`Ddl`]s in the order in which they
//! run. Running them is not known here.

mod quarantine;
mod service;
mod table;

pub use quarantine::{complete_gathered, forget_replayed, gather, reasons, refused_rows, refused_values, table_state};
pub use service::{kafka_times, pipe_stats_view};
pub use table::{
    QUARANTINE_COLUMNS, attach_all, count_rows, create_quarantine, create_side_table, create_table, databases,
    delete_rows, drop_database, drop_table, exchange, insert_select, keep_rows, rename, statistics, tables, truncate,
};

use crate::{
    diagnostic::Place,
    name::{Namespace, Physical, ResourceName},
    plan::{Action, Plan},
    project::{Pipe, Project},
    query::{self, OwnerMode, QueryError},
    sql::Sql,
};

/// One statement.
#[derive(Debug, Clone)]
pub struct Ddl {
    pub sql: Sql,
    /// Takes the statement back, and does no harm where it did not run: after a crash nobody knows how far a
    /// deploy came.
    pub undo: Sql,
    pub place: Place,
    /// What is there afterwards and was not before.
    pub makes: Option<Makes>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Makes {
    Table(Physical),
    View(Physical),
}

/// A pipe that could not be compiled.
#[derive(Debug, Clone)]
pub struct LowerError {
    pub place: Place,
    pub error: QueryError,
}

/// The statements of a plan without refused steps.
pub fn lower(plan: &Plan, current: &Project, wanted: &Project, namespace: &Namespace) -> Result<Vec<Ddl>, LowerError> {
    let mut res = Vec::new();
    for step in &plan.steps {
        let mut add = |sql, undo, makes| res.push(Ddl { sql, undo, place: step.place.clone(), makes });
        let mut push = |sql, undo| add(sql, undo, None);
        let select = |project: &Project, pipe: &Pipe| {
            query::compile_for_owner(project, namespace, pipe, pipe.output_node(), OwnerMode::NoParameters)
                .map_err(|error| LowerError { place: pipe.output_node().place.clone(), error })
        };
        match &step.action {
            Action::CreateTable { datasource } => {
                let table = namespace.table(&datasource.name);
                let quarantine = namespace.table(&datasource.name.quarantine());
                add(create_table(datasource, &table), drop_table(&table), Some(Makes::Table(table)));
                let create = create_quarantine(datasource, &quarantine);
                add(create, drop_table(&quarantine), Some(Makes::Table(quarantine)));
            }
            Action::AddColumn { datasource, column, after } => {
                let table = namespace.table(&datasource.name);
                let quarantine = namespace.table(&datasource.name.quarantine());
                push(table::add_column(&table, column, after.as_ref()), table::drop_column(&table, column));
                if table::is_quarantined(column) {
                    let add = table::add_quarantine_column(&quarantine, column, after.as_ref());
                    push(add, table::drop_column(&quarantine, column));
                }
            }
            Action::CreateView { pipe, target } => {
                let view = namespace.view(&pipe.name, &pipe.output_node().name);
                let create = create_view(namespace, pipe, target, &select(wanted, pipe)?);
                add(create, drop_table(&view), Some(Makes::View(view)));
            }
            // The engine replaces the query in one step: every insert goes through the old one or the new one,
            // none through both or neither, whether or not the new one reads another table.
            Action::ChangeView { pipe, previous, .. } => {
                let change = change_view(namespace, pipe, &select(wanted, pipe)?);
                push(change, change_view(namespace, previous, &select(current, previous)?));
            }
            // When a view moves to another target or node, the old one is dropped before the new one is made.
            // Rows that came between would be missed, so nothing is inserted while a plan runs.
            Action::DropView { pipe } => {
                let Some(target) = target(pipe) else { continue };
                push(drop_view(namespace, pipe), create_view(namespace, pipe, target, &select(current, pipe)?));
            }
            // Only set aside: what comes after may fail, and then it must be there again.
            Action::DropTable { datasource } => {
                for name in [datasource.name.clone(), datasource.name.quarantine()] {
                    let (table, aside) = (namespace.table(&name), namespace.dropped(&name));
                    push(drop_table(&aside), drop_table(&aside));
                    push(table::rename(&table, &aside), table::rename(&aside, &table));
                }
            }
            Action::ChangeDatasource { .. }
            | Action::CreatePipe { .. }
            | Action::ChangePipe { .. }
            | Action::DropPipe { .. }
            | Action::ChangeConnection { .. }
            | Action::Describe { .. }
            | Action::GrantToken { .. }
            | Action::Refused { .. } => {}
        }
    }
    Ok(res)
}

fn target(pipe: &Pipe) -> Option<&ResourceName> {
    match &pipe.kind {
        crate::project::PipeKind::Materialized { target } => Some(target),
        _ => None,
    }
}

/// `IF NOT EXISTS`, because it is also what takes a drop back.
fn create_view(namespace: &Namespace, pipe: &Pipe, target: &ResourceName, select: &Sql) -> Sql {
    let mut sql = Sql::new("CREATE MATERIALIZED VIEW IF NOT EXISTS ");
    sql.table(&namespace.view(&pipe.name, &pipe.output_node().name));
    sql.push(" TO ").table(&namespace.table(target)).push(" AS ").sql(select);
    sql
}

fn change_view(namespace: &Namespace, pipe: &Pipe, select: &Sql) -> Sql {
    let mut sql = Sql::new("ALTER TABLE ");
    sql.table(&namespace.view(&pipe.name, &pipe.output_node().name)).push(" MODIFY QUERY ").sql(select);
    sql
}

fn drop_view(namespace: &Namespace, pipe: &Pipe) -> Sql {
    drop_table(&namespace.view(&pipe.name, &pipe.output_node().name))
}
