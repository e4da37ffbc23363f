//! Views that show the rows of another workspace's data sources.
//!
//! They read with the rights of who made them, the server: the role of a reader sees the views of its own workspace, and
//! neither the tables behind them nor anything else of the other workspace.

use super::{Layout, table::on};
use crate::{
    name::{Namespace, Physical},
    project::{Column, Shared},
    sql::Sql,
};

/// Makes or renews what shows a data source in the workspace of `namespace`.
pub fn show(layout: &Layout, shared: &Shared, namespace: &Namespace) -> Vec<Sql> {
    let name = &shared.datasource.name;
    let mut res = vec![view(layout, shared, &namespace.table(name), "")];
    if shared.merges() {
        res.push(view(layout, shared, &namespace.merged(name), " FINAL"));
    }
    res
}

fn view(layout: &Layout, shared: &Shared, at: &Physical, last: &'static str) -> Sql {
    let mut sql = Sql::new("CREATE OR REPLACE VIEW ");
    on(sql.table(at), layout.cluster()).push(" DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT ");
    sql.join(&shared.datasource.columns, ", ", |sql: &mut Sql, it: &Column| _ = sql.column(&it.name));
    sql.push(" FROM ").table(&shared.home.table(&shared.name)).push(last);
    sql
}
