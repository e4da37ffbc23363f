//! Filling the target of a view with rows that are there already, over a cluster: on each shard the shard's own rows go
//! into its own part of the target, as they do by the view.
//!
//! In: a view's SELECT as a shard sees it ([`Namespace::at_shard`](crate::name::Namespace::at_shard)). Out: statements
//! for the server that is asked, each about one shard. Running them, and in which order, is not known here.
//!
//! A shard is asked for what a view of ours shows there, and only that is sent: its query is run by the shard itself,
//! whatever subqueries it has. Which shard is asked, a column says that is called the sharding key, so that no other one
//! begins to work, and `_shard_num` says it again.

use super::{Cluster, table::on};
use crate::{name::Physical, sql::Sql};

/// A shard as statements name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1 on.
    pub number: u64,
    /// The least sharding key whose rows would be its own: shards may have weights.
    slot: u64,
}

/// What brings rows into a target, a shard at a time.
#[derive(Debug, Clone)]
pub struct Fill {
    pub target: Physical,
    /// Shows on each shard what of its rows goes into the target.
    pub view: Physical,
    pub columns: Vec<String>,
    pub select: Sql,
}

/// No column of a project has this name.
const SLOT: &str = ":slot";

impl Shard {
    /// The shards with these numbers and weights, in order; the number of one that nothing can be sent to.
    pub fn all(weights: impl IntoIterator<Item = (u64, u64)>) -> Result<Vec<Shard>, u64> {
        let mut slot = 0;
        let shards = weights.into_iter().map(|(number, weight)| {
            let shard = Shard { number, slot };
            slot += weight;
            if weight == 0 { Err(number) } else { Ok(shard) }
        });
        shards.collect()
    }
}

impl Fill {
    /// To run before [`Fill::insert`].
    pub fn show(&self, cluster: &Cluster, shard: Shard) -> Sql {
        let mut sql = Sql::new("CREATE OR REPLACE VIEW ");
        on(sql.table(&self.view), Some(cluster)).push(" AS SELECT ");
        sql.join(&self.columns, ", ", |sql, it| _ = sql.ident(it));
        sql.push(", toUInt64(").number(shard.slot).push(") AS ").ident(SLOT);
        sql.push(" FROM (").sql(&self.select).push(")");
        sql
    }

    /// The settings of skipping hold for this read, and not for what the view's query reads of other tables over all
    /// shards: there they would leave out shards that have rows. `mark` is what the statement is found by while it runs.
    pub fn insert(&self, cluster: &Cluster, shard: Shard, mark: &str) -> Sql {
        let mut sql = Sql::new("INSERT INTO ");
        sql.table(&self.target).push(" (").join(&self.columns, ", ", |sql, it| _ = sql.ident(it));
        sql.push(") SETTINGS log_comment = ").string(mark).push(", insert_shard_id = ").number(shard.number);
        sql.push(", optimize_skip_unused_shards = 1, optimize_skip_unused_shards_nesting = 1");
        sql.push(", force_optimize_skip_unused_shards = 2, force_optimize_skip_unused_shards_nesting = 1 SELECT ");
        sql.join(&self.columns, ", ", |sql, it| _ = sql.ident(it)).push(" FROM (SELECT ");
        sql.join(&self.columns, ", ", |sql, it| _ = sql.ident(it)).push(" FROM cluster(").string(cluster.name());
        sql.push(", ").string(self.view.database()).push(", ").string(self.view.table()).push(", ").ident(SLOT);
        sql.push(") WHERE _shard_num = ").number(shard.number).push(" AND ").ident(SLOT).push(" = ");
        sql.number(shard.slot).push(")");
        sql
    }

    /// Every row of one shard goes from the target. `value` is what the servers of the shard call it, in the macro that
    /// their tables' paths have in them.
    pub fn clear(&self, cluster: &Cluster, value: &str) -> Sql {
        let mut sql = Sql::new("ALTER TABLE ");
        on(sql.table(&self.target.local()), Some(cluster)).push(" DELETE WHERE getMacro('shard') = ").string(value);
        sql.push(" SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1");
        sql
    }
}

impl Cluster {
    /// `shard` and `weight` of every shard, in order.
    pub fn weights(&self) -> Sql {
        let mut sql = Sql::new("SELECT shard_num AS shard, max(shard_weight) AS weight FROM system.clusters WHERE ");
        sql.push("cluster = ").string(self.name()).push(" GROUP BY shard_num ORDER BY shard_num");
        sql
    }

    /// `shard` and `value`: what the servers of each shard call it.
    pub fn shard_names(&self) -> Sql {
        let mut sql = Sql::new("SELECT _shard_num AS shard, substitution AS value FROM cluster(");
        sql.string(self.name()).push(", system.macros) WHERE macro = 'shard' ORDER BY shard");
        sql
    }
}
