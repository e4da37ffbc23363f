//! The JSON document around rows: `meta`, `data`, totals, `rows`, `statistics`.
//!
//! In: columns, statistics, what the engine says of totals. Out: the bytes before and after the rows. The rows
//! themselves pass by as the engine wrote them, with the commas between them.

use crate::engine::Statistics;
use bytes::Bytes;
use serde_json::json;
use std::fmt::Write;

/// What is known when the rows have ended.
#[derive(Debug, Clone, Default)]
pub(super) struct End<'t> {
    pub(super) rows: u64,
    /// `"totals": ..` and the like, as the engine writes them; empty when the query has none.
    pub(super) totals: &'t str,
    pub(super) rows_before_limit: Option<u64>,
    pub(super) statistics: Statistics,
}

pub(super) fn head<'a>(columns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Bytes {
    let mut res = "{\n\t\"meta\":\n\t[".to_owned();
    for (index, (name, type_name)) in columns.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string does not fail.
        _ = write!(
            res,
            "{comma}\n\t\t{{\n\t\t\t\"name\": {},\n\t\t\t\"type\": {}\n\t\t}}",
            json!(name),
            json!(type_name)
        );
    }
    res.push_str("\n\t],\n\n\t\"data\":\n\t[\n");
    res.into()
}

const STATISTICS: &[u8] = b"\t\"statistics\":\n";

pub(super) fn tail(end: &End<'_>) -> Bytes {
    let mut res = "\n\t],\n\n".to_owned();
    if !end.totals.is_empty() {
        _ = write!(res, "\t{},\n\n", end.totals);
    }
    _ = write!(res, "\t\"rows\": {},\n\n", end.rows);
    if let Some(rows) = end.rows_before_limit {
        _ = write!(res, "\t\"rows_before_limit_at_least\": {rows},\n\n");
    }
    let Statistics { elapsed, rows_read, bytes_read, .. } = end.statistics;
    _ = write!(
        res,
        "\t\"statistics\":\n\t{{\n\t\t\"elapsed\": {},\n\t\t\"rows_read\": {rows_read},\n\t\t\"bytes_read\": {bytes_read}\n\t}}\n}}\n",
        json!(elapsed)
    );
    res.into()
}

/// A document up to its statistics: what is the same when the same question has the same answer.
pub(super) fn without_statistics(document: &[u8]) -> &[u8] {
    let begin = document.windows(STATISTICS.len()).rposition(|it| it == STATISTICS);
    &document[..begin.unwrap_or(document.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn document(rows: &str, end: End<'_>) -> Value {
        let text = [&head([("a", "UInt64"), ("b \"x\"", "String")])[..], rows.as_bytes(), &tail(&end)].concat();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn no_rows_is_a_document_too() {
        let statistics = Statistics { elapsed: 0.5, rows_read: 3, bytes_read: 24, ..Statistics::default() };
        let document = document("", End { statistics, ..End::default() });
        assert_eq!(document["meta"][1], json!({"name": "b \"x\"", "type": "String"}));
        assert_eq!((&document["data"], &document["rows"]), (&json!([]), &json!(0)));
        assert_eq!(document["statistics"], json!({"elapsed": 0.5, "rows_read": 3, "bytes_read": 24}));
        assert_eq!(document.get("rows_before_limit_at_least"), None);
    }

    #[test]
    fn statistics_can_be_left_out() {
        let row = "\t\t{\n\t\t\t\"statistics\": 1\n\t\t}";
        let whole = |elapsed| {
            let statistics = Statistics { elapsed, ..Statistics::default() };
            [&head([("statistics", "UInt8")])[..], row.as_bytes(), &tail(&End { statistics, ..End::default() })]
                .concat()
        };
        let (first, second) = (whole(0.1), whole(0.25));
        assert_ne!(first, second);
        assert_eq!(without_statistics(&first), without_statistics(&second));
        assert!(without_statistics(&first).ends_with(b"\"rows\": 0,\n\n"));
        assert_eq!(without_statistics(b"a,b"), b"a,b");
    }

    #[test]
    fn rows_and_totals_pass_through() {
        let rows = "\t\t{\n\t\t\t\"a\": 18446744073709551615\n\t\t},\n\t\t{\n\t\t\t\"a\": 2\n\t\t}";
        let end = End {
            rows: 2,
            totals: "\"totals\":\n\t{\n\t\t\"a\": 3\n\t}",
            rows_before_limit: Some(9),
            ..End::default()
        };
        let document = document(rows, end);
        assert_eq!(document["data"], json!([{"a": 18446744073709551615_u64}, {"a": 2}]));
        assert_eq!(document["totals"], json!({"a": 3}));
        assert_eq!(document["rows_before_limit_at_least"], json!(9));
    }
}
