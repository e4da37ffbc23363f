//! Where tables lie: on one server, or on every server of a cluster; and the statements about whole tables.
//!
//! In: tables by the names that readers know. Out: statements, several where a cluster has shards: rows are in the
//! local tables there, and what is over them goes first and comes last. Running them is not known here.

use super::{
    Cluster, Ddl, LowerError, Lowering,
    table::{self, on},
};
use crate::{
    diagnostic::{Diagnostic, Place},
    name::{Namespace, Physical},
    plan::Plan,
    project::{Datasource, Project},
    sql::Sql,
};
use std::collections::BTreeSet;

/// One server, unless made of a [`Cluster`].
#[derive(Debug, Clone, Default)]
pub struct Layout {
    cluster: Option<Cluster>,
}

impl From<Cluster> for Layout {
    fn from(cluster: Cluster) -> Layout {
        Layout { cluster: Some(cluster) }
    }
}

impl Layout {
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// The statements of a plan without refused steps.
    pub fn lower(
        &self,
        plan: &Plan,
        current: &Project,
        wanted: &Project,
        namespace: &Namespace,
    ) -> Result<Vec<Ddl>, LowerError> {
        Lowering { current, wanted, namespace, cluster: self.cluster() }.plan(plan)
    }

    /// What is wrong with how rows are spread, and what should be known of what a plan makes.
    pub fn diagnostics(&self, plan: &Plan, wanted: &Project) -> Vec<Diagnostic> {
        let Some(cluster) = self.cluster() else { return Vec::new() };
        let made: BTreeSet<&str> = plan.steps.iter().map(|it| &*it.place.path).collect();
        let is_of = |place: &Place| made.contains(&*place.path);
        let mut res = cluster.check(wanted);
        res.extend(cluster.warnings(wanted).into_iter().filter(|it| it.place.as_ref().is_some_and(is_of)));
        res
    }

    pub fn create_database(&self, namespace: &Namespace) -> Sql {
        let mut sql = Sql::new("CREATE DATABASE IF NOT EXISTS ");
        on(sql.ident(namespace.database()), self.cluster());
        sql
    }

    pub fn drop_database(&self, namespace: &Namespace) -> Sql {
        table::drop_database_on(self.cluster(), namespace)
    }

    /// Of a view, or of a table that is the same on every server. Does nothing where there is none.
    pub fn rename_whole(&self, from: &Physical, to: &Physical) -> Sql {
        table::rename_on(self.cluster(), from, to)
    }

    /// Of a view, or of a table that is the same on every server: it has no part anywhere.
    pub fn drop_whole(&self, table: &Physical) -> Sql {
        table::drop_table_on(self.cluster(), table)
    }

    pub fn drop_table(&self, table: &Physical) -> Vec<Sql> {
        self.tables_of(table).iter().rev().map(|it| table::drop_table_on(self.cluster(), it)).collect()
    }

    /// An empty table like that of a data source.
    pub fn create_side_table(&self, side: &Physical, like: &Physical, datasource: &Datasource) -> Vec<Sql> {
        let mut sql = Sql::new("CREATE TABLE IF NOT EXISTS ");
        on(sql.table(&self.rows(side)), self.cluster()).push(" AS ").table(&self.rows(like));
        let whole = self.sharded().map(|it| it.create_over(side, it.key(datasource)));
        [sql].into_iter().chain(whole).collect()
    }

    /// Two tables change places at once. Views follow the names, so they go on reading and feeding what is called
    /// as before.
    pub fn exchange(&self, one: &Physical, other: &Physical) -> Sql {
        let mut sql = Sql::new("EXCHANGE TABLES ");
        sql.table(&self.rows(one)).push(" AND ");
        on(sql.table(&self.rows(other)), self.cluster());
        sql
    }

    /// Every row of a table goes.
    pub fn truncate(&self, table: &Physical) -> Sql {
        let mut sql = Sql::new("TRUNCATE TABLE ");
        on(sql.table(&self.rows(table)), self.cluster());
        sql
    }

    /// Every row of one table is in another of the same shape too; nothing is copied.
    pub fn attach_all(&self, table: &Physical, from: &Physical) -> Sql {
        let mut sql = self.alter(table);
        sql.push(" ATTACH PARTITION ALL FROM ").table(&self.rows(from));
        sql
    }

    /// Rows that do not fulfil a condition go; returns when they are gone.
    pub fn keep_rows(&self, table: &Physical, condition: &Sql) -> Sql {
        let mut sql = self.alter(table);
        sql.push(" DELETE WHERE NOT ifNull(").sql(condition).push(", 0) SETTINGS mutations_sync = 2");
        sql
    }

    /// Rows that fulfil a condition go; returns when they are gone.
    pub fn delete_rows(&self, table: &Physical, condition: &Sql) -> Sql {
        let mut sql = self.alter(table);
        sql.push(" DELETE WHERE ").sql(condition).push(" SETTINGS mutations_sync = 2");
        sql
    }

    /// `name`, `rows` and `bytes` of every table, by the name that readers know.
    pub fn statistics(&self, namespace: &Namespace) -> Sql {
        let mut sql = Sql::new("SELECT ");
        self.known_name(&mut sql);
        sql.push(" AS name, sum(ifNull(total_rows, 0)) AS rows, sum(ifNull(total_bytes, 0)) AS bytes FROM ");
        self.system_tables(&mut sql);
        sql.push(" AS t WHERE database = ").string(namespace.database()).push(" GROUP BY name");
        sql
    }

    /// `name`, `engine`, `rows` and `columns` (names and types) of every table, over all shards.
    pub fn tables(&self, namespace: &Namespace) -> Sql {
        let mut sql = Sql::new("SELECT name, any(engine) AS engine, sum(ifNull(total_rows, 0)) AS rows, ");
        sql.push("any(c.columns) AS columns FROM ");
        self.system_tables(&mut sql);
        sql.push(" AS t LEFT JOIN (SELECT table, groupArray((name, type)) AS columns FROM system.columns ");
        sql.push("WHERE database = ").string(namespace.database());
        sql.push(" GROUP BY table) AS c ON c.table = t.name WHERE database = ").string(namespace.database());
        sql.push(" GROUP BY name");
        sql
    }

    /// `id` and `rows` of a table; nothing where there is none of this name.
    pub fn table_state(&self, table: &Physical) -> Sql {
        self.state_of(&self.rows(table))
    }

    /// The same of a table of this very name.
    pub fn state_of(&self, table: &Physical) -> Sql {
        let mut sql = Sql::new("SELECT toString(any(uuid)) AS id, sum(ifNull(total_rows, 0)) AS rows FROM ");
        self.system_tables(&mut sql);
        sql.push(" AS t WHERE database = ").string(table.database()).push(" AND name = ").string(table.table());
        sql.push(" GROUP BY name");
        sql
    }

    /// The table of a data source of the service.
    pub fn create_service_table(&self, datasource: &Datasource, table: &Physical) -> Vec<Sql> {
        let rows = table::create_table_on(self.cluster(), datasource, &self.rows(table));
        let whole = self.sharded().map(|it| it.create_over(table, it.key(datasource)));
        [rows].into_iter().chain(whole).collect()
    }

    /// The table that holds a table's rows: on a shard, its own part of them.
    pub fn rows(&self, table: &Physical) -> Physical {
        match self.sharded() {
            Some(_) => table.local(),
            None => table.clone(),
        }
    }

    /// Those that a change of columns or a drop concerns: in this order something comes, in the other it goes.
    pub(super) fn tables_of(&self, table: &Physical) -> Vec<Physical> {
        let whole = self.sharded().map(|_| table.clone());
        [self.rows(table)].into_iter().chain(whole).collect()
    }

    fn sharded(&self) -> Option<&Cluster> {
        self.cluster().filter(|it| it.is_sharded())
    }

    /// Changes the rows of a table: on each shard, one replica does so for all.
    fn alter(&self, table: &Physical) -> Sql {
        let mut sql = Sql::new("ALTER TABLE ");
        on(sql.table(&self.rows(table)), self.cluster());
        sql
    }

    /// Of one replica of each shard.
    fn system_tables(&self, sql: &mut Sql) {
        match self.sharded() {
            Some(cluster) => sql.push("cluster(").string(cluster.name()).push(", system.tables)"),
            None => sql.push("system.tables"),
        };
    }

    fn known_name(&self, sql: &mut Sql) {
        match self.sharded() {
            Some(_) => sql.push("if(startsWith(t.name, 'local:'), substring(t.name, 7), t.name)"),
            None => sql.push("t.name"),
        };
    }
}
