//! What a cluster of ClickHouse servers adds to a plan's statements.
//!
//! Every statement runs `ON CLUSTER`, and every table has replicas. With one shard that is all: tables have the names
//! that they have on one server. With several, a data source `x` is two tables on each server: `local:x` with the
//! rows of the shard, and `x`, which is `Distributed` over them; whoever reads or inserts says `x`. Views lie on the
//! local table that sets them off and write to the local table of their target, so rows stay on the shard that they
//! came to; what a view joins is read whole.

use super::{LowerError, Lowering};
use crate::{
    diagnostic::{Diagnostic, nearest},
    name::{ColumnName, Namespace, Physical, ResourceName},
    plan::{Action, Plan},
    project::{ColumnDefault, Datasource, EngineFamily, PipeKind, Project},
    sql::Sql,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
};

/// A cluster as its servers name it, and how rows are spread over its shards.
#[derive(Debug, Clone)]
pub struct Cluster {
    name: String,
    shards: NonZero<u64>,
    shard_by: BTreeMap<ResourceName, Vec<ColumnName>>,
}

/// Why rows cannot be spread as somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadShardBy {
    #[error("there is no data source `{0}`")]
    NoDatasource(String),
    #[error("the data source `{datasource}` has no column `{column}`")]
    NoColumn { datasource: ResourceName, column: String },
    #[error("no column is named to spread the rows of `{0}` by")]
    Nothing(ResourceName),
}

/// What fills the target of a new view with the rows that were there before it.
#[derive(Debug, Clone)]
pub struct Backfill {
    /// To run once on each shard, on any one of its replicas: it takes the shard's own rows.
    pub sql: Sql,
    pub target: ResourceName,
}

impl Cluster {
    pub fn new(name: &str, shards: NonZero<u64>) -> Cluster {
        Cluster { name: name.to_owned(), shards, shard_by: BTreeMap::new() }
    }

    /// Rows of this data source go by the hash of these columns. Columns alone, and no expression: a batch that is
    /// inserted again must be cut as before, or else a shard that took its part of the first takes what is in the
    /// place of it for the same.
    pub fn shard_by(
        &mut self,
        project: &Project,
        datasource: &str,
        columns: &[impl AsRef<str>],
    ) -> Result<(), BadShardBy> {
        let found = project.datasource(datasource).ok_or_else(|| BadShardBy::NoDatasource(datasource.to_owned()))?;
        let mut names = Vec::new();
        for wanted in columns.iter().map(AsRef::as_ref) {
            let column = found.columns.iter().find(|it| it.name.as_str() == wanted);
            let column = column
                .ok_or_else(|| BadShardBy::NoColumn { datasource: found.name.clone(), column: wanted.to_owned() })?;
            names.push(column.name.clone());
        }
        if names.is_empty() {
            return Err(BadShardBy::Nothing(found.name.clone()));
        }
        self.shard_by.insert(found.name.clone(), names);
        Ok(())
    }

    /// The same before there is a project: what is wrong with it, [`Cluster::check`] says of each.
    pub fn spread_by(&mut self, datasource: ResourceName, columns: Vec<ColumnName>) {
        self.shard_by.insert(datasource, columns);
    }

    /// The data sources whose rows are to be spread by columns that somebody chose.
    pub fn chosen(&self) -> impl Iterator<Item = &ResourceName> {
        self.shard_by.keys()
    }

    /// Choices for data sources that are not there; `known` are the names of those that are.
    pub fn idle_choices(&self, known: &BTreeSet<&ResourceName>) -> Vec<Diagnostic> {
        let idle = self.chosen().filter(|it| !known.contains(it)).map(|name| {
            let taken = |it: &&&ResourceName| !self.shard_by.contains_key(**it);
            let words = format!("--shard-by names `{name}`, and no project has a data source of this name");
            let hint = match nearest(name.as_str(), known.iter().filter(taken).map(|it| it.as_str())) {
                Some(near) => format!("there is `{near}`; tables keep the key that they are made with"),
                None => "it counts when the data source is pushed".to_owned(),
            };
            Diagnostic::warning("shard_by", words).hint(hint)
        });
        idle.collect()
    }

    /// Columns that rows are to be spread by and that are not there.
    pub(super) fn check(&self, project: &Project) -> Vec<Diagnostic> {
        let mut res = Vec::new();
        for datasource in project.datasources.values() {
            let chosen = self.shard_by.get(&datasource.name).into_iter().flatten();
            for column in chosen.filter(|it| datasource.columns.iter().all(|column| column.name != **it)) {
                let bad = BadShardBy::NoColumn { datasource: datasource.name.clone(), column: column.to_string() };
                let words = format!("--shard-by: {bad}");
                res.push(Diagnostic::error("shard_by", words).at(datasource.place.clone()));
            }
        }
        res
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_sharded(&self) -> bool {
        self.shards.get() > 1
    }

    /// The last statements of a plan, when everything else is done: what was set aside goes with its rows.
    pub fn finish(&self, plan: &Plan, namespace: &Namespace) -> Vec<Sql> {
        let dropped = plan.steps.iter().filter_map(|step| match &step.action {
            Action::DropTable { datasource } => Some(&datasource.name),
            _ => None,
        });
        let tables = dropped.flat_map(|it| [namespace.dropped(it), namespace.dropped(&it.quarantine())]);
        tables.map(|it| super::table::drop_table_on(Some(self), &it)).collect()
    }

    /// What fills the targets of a plan's new views, as far as they are set off by data sources that are there.
    pub fn backfills(
        &self,
        plan: &Plan,
        current: &Project,
        wanted: &Project,
        namespace: &Namespace,
    ) -> Result<Vec<Backfill>, LowerError> {
        let lowering = Lowering { current, wanted, namespace, cluster: Some(self) };
        let mut res = Vec::new();
        for step in &plan.steps {
            let Action::CreateView { pipe, target } = &step.action else { continue };
            let is_there = pipe.source(wanted).is_some_and(|it| current.datasources.contains_key(&it));
            let Some(datasource) = wanted.datasources.get(target).filter(|_| is_there) else { continue };
            let columns = datasource.columns.iter();
            let columns = columns.filter(|it| !matches!(it.default, Some(ColumnDefault::Materialized(_))));
            let columns: Vec<_> = columns.map(|it| &it.name).collect();
            let mut sql = Sql::new("INSERT INTO ");
            sql.table(&lowering.rows(target)).push(" (").join(&columns, ", ", |sql, it| _ = sql.column(it));
            sql.push(") SELECT ").join(&columns, ", ", |sql, it| _ = sql.column(it));
            sql.push(" FROM (").sql(&lowering.select(wanted, pipe)?).push(")");
            res.push(Backfill { sql, target: target.clone() });
        }
        Ok(res)
    }

    /// What whoever chose nothing should know, and what no choice makes right.
    pub fn warnings(&self, project: &Project) -> Vec<Diagnostic> {
        if !self.is_sharded() {
            return Vec::new();
        }
        let mut res = Vec::new();
        for datasource in project.datasources.values() {
            let name = &datasource.name;
            let chosen = self.shard_by.get(name);
            let words = match (chosen, sorting_key(datasource)) {
                (Some(_), _) => None,
                (None, Some(key)) => Some(format!("its sorting key ({key})")),
                (None, None) => datasource.columns.first().map(|it| format!("its first column, {}", it.name)),
            };
            if let Some(words) = words {
                let words = format!("the rows of `{name}` are spread over the shards by the hash of {words}");
                let hint = format!("--shard-by {name}=COLUMN chooses, and keeps rows of one value together");
                res.push(Diagnostic::warning("shard_by", words).at(datasource.place.clone()).hint(hint));
            }
            let key = sorting_key(datasource).unwrap_or_default();
            let outside = chosen.into_iter().flatten().find(|it| !names(key).any(|name| name == it.as_str()));
            if let Some(column) = outside.filter(|_| merges(datasource)) {
                let words = format!(
                    "rows of `{name}` with one sorting key may be on several shards, since {column} is not in it: \
                     {} makes one of them within a shard only",
                    datasource.engine.family.name()
                );
                res.push(Diagnostic::warning("shard_by", words).at(datasource.place.clone()));
            }
        }
        for pipe in project.pipes.values() {
            let PipeKind::Materialized { target } = &pipe.kind else { continue };
            let Some(datasource) = project.datasources.get(target).filter(|it| replaces(it)) else { continue };
            let Some(source) = pipe.source(project) else { continue };
            let words = format!(
                "`{}` writes to `{target}` on the shard that a row of `{source}` came to, so rows with one sorting key may \
                 be on several: {} makes one of them within a shard only",
                pipe.name,
                datasource.engine.family.name()
            );
            res.push(Diagnostic::warning("shard_by", words).at(pipe.output_node().place.clone()));
        }
        res
    }

    /// A table over the parts of all shards. Its columns are those of the part.
    pub(super) fn create_over(&self, table: &Physical, key: Sql) -> Sql {
        let local = table.local();
        let mut sql = Sql::new("CREATE TABLE IF NOT EXISTS ");
        super::table::on(sql.table(table), Some(self));
        sql.push(" AS ").table(&local).push(" ENGINE = Distributed(").string(&self.name).push(", ");
        sql.string(local.database()).push(", ").string(local.table()).push(", ").sql(&key).push(")");
        sql
    }

    /// What decides the shard of a row: always the same for the same row. Rows that an engine is to make one have the
    /// same sorting key, so by default they come to the same shard, and most projects' keys have values enough to fill
    /// shards evenly.
    pub(super) fn key(&self, datasource: &Datasource) -> Sql {
        // A key must not be nullable, which a hash of nullable columns may be.
        let mut sql = Sql::new("ifNull(cityHash64(");
        match (self.shard_by.get(&datasource.name), &datasource.engine.sorting_key, datasource.columns.first()) {
            (Some(columns), _, _) => _ = sql.join(columns, ", ", |sql, it| _ = sql.column(it)),
            (None, Some(key), _) if sorting_key(datasource).is_some() => _ = sql.user(key),
            (None, _, Some(first)) => _ = sql.column(&first.name),
            (None, _, None) => {}
        }
        sql.push("), 0)");
        sql
    }
}

/// Refused rows are spread by what they were.
pub(super) fn quarantine_key() -> Sql {
    Sql::new("cityHash64(`c__raw`)")
}

fn sorting_key(datasource: &Datasource) -> Option<&str> {
    let key = datasource.engine.sorting_key.as_ref()?.text().trim();
    (names(key).any(|it| it != "tuple")).then_some(key)
}

/// The words of an expression that may be columns.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|it: char| it != '_' && !it.is_alphanumeric()).filter(|it| !it.is_empty())
}

fn merges(datasource: &Datasource) -> bool {
    !matches!(datasource.engine.family, EngineFamily::MergeTree | EngineFamily::Null)
}

/// Whether a read has to see the rows of one key as one. Sums and states are put together by whoever reads them.
fn replaces(datasource: &Datasource) -> bool {
    matches!(
        datasource.engine.family,
        EngineFamily::ReplacingMergeTree
            | EngineFamily::CollapsingMergeTree
            | EngineFamily::VersionedCollapsingMergeTree
    )
}
