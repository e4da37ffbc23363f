//! A plan becomes SQL, each statement with the one that takes it back.
//!
//! In: a [`Plan`], the two projects it leads from and to, a namespace. Out: [`Ddl`]s in the order in which they
//! run. Running them is not known here.

mod cluster;
mod layout;
mod populate;
mod quarantine;
mod service;
mod shared;
mod table;

pub use cluster::{Backfill, BadShardBy, Cluster};
pub use layout::Layout;
pub use populate::{Fill, Shard};
pub use quarantine::{
    complete_gathered, forget_replayed, forget_these, gather, identities, reasons, refused_rows, refused_values,
};
pub use service::{kafka_times, pipe_stats_view};
pub use shared::show;
pub use table::{
    QUARANTINE_COLUMNS, count_rows, create_quarantine, create_side_table, create_table, databases, drop_database,
    drop_table, forgetful, insert_select, remember_more,
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
    Lowering { current, wanted, namespace, cluster: None }.plan(plan)
}

/// The same for every server of a cluster.
pub fn lower_to_cluster(
    plan: &Plan,
    current: &Project,
    wanted: &Project,
    namespace: &Namespace,
    cluster: &Cluster,
) -> Result<Vec<Ddl>, LowerError> {
    Lowering { current, wanted, namespace, cluster: Some(cluster) }.plan(plan)
}

/// Where a plan is carried out.
#[derive(Clone, Copy)]
struct Lowering<'a> {
    current: &'a Project,
    wanted: &'a Project,
    namespace: &'a Namespace,
    cluster: Option<&'a Cluster>,
}

impl<'a> Lowering<'a> {
    fn plan(self, plan: &Plan) -> Result<Vec<Ddl>, LowerError> {
        let (namespace, cluster) = (self.namespace, self.cluster);
        let mut res = Vec::new();
        for step in &plan.steps {
            let mut add = |sql, undo, makes| res.push(Ddl { sql, undo, place: step.place.clone(), makes });
            match &step.action {
                Action::CreateTable { datasource } => {
                    let mut make = |sql, table: Physical| {
                        add(sql, table::drop_table_on(cluster, &table), Some(Makes::Table(table)));
                    };
                    let name = &datasource.name;
                    let table = self.rows(name);
                    make(table::create_table_on(cluster, datasource, &table), table);
                    if let Some(sharded) = self.sharded() {
                        let whole = namespace.table(name);
                        make(sharded.create_over(&whole, sharded.key(datasource)), whole);
                    }
                    let name = name.quarantine();
                    let table = self.rows(&name);
                    make(table::create_quarantine_on(cluster, datasource, &table), table);
                    if let Some(sharded) = self.sharded() {
                        let whole = namespace.table(&name);
                        make(sharded.create_over(&whole, cluster::quarantine_key()), whole);
                    }
                }
                Action::AddColumn { datasource, column, after } => {
                    let after = after.as_ref();
                    for table in self.tables(&datasource.name) {
                        let added = table::add_column(cluster, &table, column, after);
                        add(added, table::drop_column(cluster, &table, column), None);
                    }
                    let quarantine = self.tables(&datasource.name.quarantine());
                    for table in quarantine.into_iter().filter(|_| table::is_quarantined(column)) {
                        let added = table::add_quarantine_column(cluster, &table, column, after);
                        add(added, table::drop_column(cluster, &table, column), None);
                    }
                }
                Action::CreateView { pipe, target } => {
                    let create = self.create_view(self.wanted, pipe, target)?;
                    let view = view(namespace, pipe);
                    add(create, table::drop_table_on(cluster, &view), Some(Makes::View(view)));
                }
                // The engine replaces the query in one step: every insert goes through the old one or the new one,
                // none through both or neither, whether or not the new one reads another table.
                Action::ChangeView { pipe, previous, .. } => {
                    let turn = table::turn_on(cluster, namespace, &view(namespace, pipe));
                    // Taken back, it is turned last.
                    add(turn.clone(), turn.clone(), None);
                    add(self.change_view(self.wanted, pipe)?, self.change_view(self.current, previous)?, None);
                    add(turn.clone(), turn, None);
                }
                // When a view moves to another target or node, the old one is dropped before the new one is made.
                // Rows that came between would be missed, so nothing is inserted while a plan runs.
                Action::DropView { pipe } => {
                    let Some(target) = target(pipe) else { continue };
                    let drop = table::drop_table_on(cluster, &view(namespace, pipe));
                    add(drop, self.create_view(self.current, pipe, target)?, None);
                }
                // Only set aside: what comes after may fail, and then it must be there again.
                Action::DropTable { datasource } => {
                    let keys = [cluster.map(|it| it.key(datasource)), cluster.map(|_| cluster::quarantine_key())];
                    for (name, key) in [datasource.name.clone(), datasource.name.quarantine()].iter().zip(keys) {
                        if let (Some(sharded), Some(key)) = (self.sharded(), key) {
                            let drop = table::drop_table_on(cluster, &namespace.table(name));
                            add(drop, sharded.create_over(&namespace.table(name), key), None);
                        }
                        let (table, aside) = (self.rows(name), namespace.dropped(name));
                        let drop = table::drop_table_on(cluster, &aside);
                        add(drop.clone(), drop, None);
                        let back = table::rename_on(cluster, &aside, &table);
                        add(table::rename_on(cluster, &table, &aside), back, None);
                    }
                }
                Action::ChangeDatasource { .. }
                | Action::CreatePipe { .. }
                | Action::ChangePipe { .. }
                | Action::DropPipe { .. }
                | Action::ChangeConnection { .. }
                | Action::Describe { .. }
                | Action::GrantToken { .. }
                | Action::Share { .. }
                | Action::Unshare { .. }
                | Action::Refused { .. } => {}
            }
        }
        Ok(res)
    }

    /// The cluster, where a table's rows lie on several shards.
    fn sharded(&self) -> Option<&'a Cluster> {
        self.cluster.filter(|it| it.is_sharded())
    }

    /// The table that holds rows: on a shard, its own part of them.
    fn rows(&self, name: &ResourceName) -> Physical {
        match self.sharded() {
            Some(_) => self.namespace.table(name).local(),
            None => self.namespace.table(name),
        }
    }

    /// The table that holds rows, and the one over all shards: in this order a column comes, in the other it goes.
    fn tables(&self, name: &ResourceName) -> Vec<Physical> {
        let whole = self.sharded().map(|_| self.namespace.table(name));
        [self.rows(name)].into_iter().chain(whole).collect()
    }

    /// On a shard, a view goes through the rows that came to this shard, and reads everything else whole.
    fn select(&self, project: &Project, pipe: &Pipe) -> Result<Sql, LowerError> {
        let source = self.sharded().and_then(|_| pipe.source(project));
        let namespace = match source {
            Some(source) => &self.namespace.at_shard(&source),
            None => self.namespace,
        };
        query::compile_for_owner(project, namespace, pipe, pipe.output_node(), OwnerMode::NoParameters)
            .map_err(|error| LowerError { place: pipe.output_node().place.clone(), error })
    }

    /// `IF NOT EXISTS`, because it is also what takes a drop back.
    fn create_view(&self, project: &Project, pipe: &Pipe, target: &ResourceName) -> Result<Sql, LowerError> {
        let mut sql = Sql::new("CREATE MATERIALIZED VIEW IF NOT EXISTS ");
        table::on(sql.table(&view(self.namespace, pipe)), self.cluster);
        sql.push(" TO ").table(&self.rows(target)).push(" AS ").sql(&self.select(project, pipe)?);
        Ok(sql)
    }

    fn change_view(&self, project: &Project, pipe: &Pipe) -> Result<Sql, LowerError> {
        let mut sql = Sql::new("ALTER TABLE ");
        table::on(sql.table(&view(self.namespace, pipe)), self.cluster);
        sql.push(" MODIFY QUERY ").sql(&self.select(project, pipe)?);
        Ok(sql)
    }
}

fn view(namespace: &Namespace, pipe: &Pipe) -> Physical {
    namespace.view(&pipe.name, &pipe.output_node().name)
}

fn target(pipe: &Pipe) -> Option<&ResourceName> {
    match &pipe.kind {
        crate::project::PipeKind::Materialized { target } => Some(target),
        _ => None,
    }
}
