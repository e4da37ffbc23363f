//! The JSON document around rows that the engine gives one a line: `meta`, `data`, `rows`, `statistics`.
//!
//! In: the columns, chunks of JSONEachRow bytes, statistics. Out: bytes of one document. The rows are not
//! parsed: a line break outside a string is always the end of a row, and in a string it stands escaped.

use crate::engine::Statistics;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;

/// The document so far: what its end needs to know.
#[derive(Debug, Default)]
pub(super) struct JsonFrame {
    rows: u64,
    /// A row has ended, and nothing says yet whether another one follows.
    ended: bool,
    /// The last chunk broke off within a row.
    inside: bool,
}

impl JsonFrame {
    pub(super) fn head<'a>(columns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Bytes {
        let meta = columns.into_iter().map(|(name, type_name)| json!({"name": name, "type": type_name}));
        let meta = serde_json::Value::Array(meta.collect());
        Bytes::from(format!("{{\"meta\":{meta},\n\"data\":[\n"))
    }

    /// The rows of one chunk, with commas between them.
    pub(super) fn rows(&mut self, chunk: &[u8]) -> Bytes {
        let mut res = BytesMut::with_capacity(chunk.len() + chunk.len() / 16 + 2);
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.ended {
                res.put_slice(b",\n");
                self.ended = false;
            }
            match memchr::memchr(b'\n', rest) {
                Some(at) => {
                    res.put_slice(&rest[..at]);
                    rest = &rest[at + 1..];
                    self.rows += 1;
                    self.ended = true;
                    self.inside = false;
                }
                None => {
                    res.put_slice(rest);
                    rest = &[];
                    self.inside = true;
                }
            }
        }
        res.freeze()
    }

    pub(super) fn tail(&self, statistics: &Statistics) -> Bytes {
        let rows = self.count();
        let statistics = json!({
            "elapsed": statistics.elapsed,
            "rows_read": statistics.rows_read,
            "bytes_read": statistics.bytes_read,
        });
        Bytes::from(format!("\n],\n\"rows\":{rows},\n\"statistics\":{statistics}}}\n"))
    }

    pub(super) fn count(&self) -> u64 {
        self.rows + u64::from(self.inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn framed(chunks: &[&str]) -> Value {
        let mut frame = JsonFrame::default();
        let mut text = JsonFrame::head([("a", "UInt64"), ("b", "String")]).to_vec();
        for chunk in chunks {
            text.extend(frame.rows(chunk.as_bytes()));
        }
        text.extend(frame.tail(&Statistics { elapsed: 0.5, rows_read: 3, bytes_read: 24, ..Statistics::default() }));
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn no_rows_is_a_document_too() {
        let document = framed(&[]);
        assert_eq!(document["data"], json!([]));
        assert_eq!(document["rows"], json!(0));
        assert_eq!(document["statistics"], json!({"elapsed": 0.5, "rows_read": 3, "bytes_read": 24}));
        assert_eq!(document["meta"][0], json!({"name": "a", "type": "UInt64"}));
    }

    #[test]
    fn chunks_may_break_anywhere() {
        let text = "{\"a\":18446744073709551615,\"b\":\"x\\ny\"}\n{\"a\":2,\"b\":\"é\"}\n{\"a\":3,\"b\":\"\"}\n";
        let whole = framed(&[text]);
        assert_eq!(whole["rows"], json!(3));
        assert_eq!(whole["data"][0]["a"], json!(18446744073709551615_u64));
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            assert_eq!(framed(&[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
    }

    #[test]
    fn the_last_row_may_lack_its_line_break() {
        let document = framed(&["{\"a\":1}\n{\"a\":2}"]);
        assert_eq!(document["rows"], json!(2));
        assert_eq!(document["data"][1]["a"], json!(2));
    }
}
