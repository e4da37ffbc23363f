//! What fills one data source of the service from another.

use super::{Layout, table::on};
use crate::{
    name::{Namespace, ResourceName},
    sql::Sql,
};

/// Columns that came after the first tables of Kafka's log.
pub fn kafka_times(layout: &Layout, namespace: &Namespace) -> Vec<Sql> {
    let tables = layout.tables_of(&namespace.table(&ResourceName::service("kafka_ops_log")));
    let added = |table| {
        let mut sql = Sql::new("ALTER TABLE ");
        on(sql.table(table), layout.cluster()).push(
            " ADD COLUMN IF NOT EXISTS time_read Float32, ADD COLUMN IF NOT EXISTS time_process Float32, \
             ADD COLUMN IF NOT EXISTS time_write Float32",
        );
        sql
    };
    tables.iter().map(added).collect()
}

/// Each call counts in its day. What an older birdhouse made goes.
pub fn pipe_stats_view(layout: &Layout, namespace: &Namespace) -> [Sql; 2] {
    let [days, calls] = ["pipe_stats", "pipe_stats_rt"].map(ResourceName::service);
    let view = namespace.view(&calls, &days);
    let mut drop = Sql::new("DROP VIEW IF EXISTS ");
    on(drop.table(&view), layout.cluster()).push(" SYNC");
    let mut sql = Sql::new("CREATE MATERIALIZED VIEW IF NOT EXISTS ");
    on(sql.table(&view), layout.cluster());
    sql.push(" TO ").table(&layout.rows(&namespace.table(&days)));
    sql.push(
        " AS SELECT toDate(start_datetime) AS date, pipe_id, pipe_name, count() AS view_count, \
         sum(error) AS error_count, avgState(duration) AS avg_duration_state, \
         quantilesTimingState(0.9, 0.95, 0.99)(toFloat64(duration * 1000)) AS quantile_timing_state, \
         sum(read_bytes) AS read_bytes_sum, sum(read_rows) AS read_rows_sum, \
         argMax(resource_tags, start_datetime) AS resource_tags FROM ",
    );
    sql.table(&layout.rows(&namespace.table(&calls))).push(" GROUP BY date, pipe_id, pipe_name");
    [drop, sql]
}
