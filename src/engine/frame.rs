//! What the engine repeats in every chunk of a streamed answer: JSON comes as one document per chunk, other formats
//! with names of columns before the rows.
//!
//! In: the chunks in turn. Out: the columns, the rows as text, the totals; how long the names are. Line breaks inside
//! values of JSON are escaped, so a raw line break marks the frame and nothing is parsed but the list of columns.

use crate::query::Chunks;

/// A column of an answer: its name and its type, as the engine writes it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub column_type: String,
}

/// What one document or its rest holds.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Parts<'t> {
    /// The JSON list after `"meta":`.
    pub(super) meta: &'t str,
    /// The rows, with commas and line breaks between them.
    pub(super) rows: &'t str,
    /// `"totals": ..` and `"extremes": ..`, when the query has them.
    pub(super) tail: &'t str,
    pub(super) rows_before_limit: Option<u64>,
}

pub(super) const META: &str = "{\n\t\"meta\":\n\t";
pub(super) const DATA: &str = ",\n\n\t\"data\":\n\t[\n";
pub(super) const DATA_END: &str = "\n\t],\n\n\t\"";
pub(super) const ROWS: &str = "\n\n\t\"rows\": ";
const BEFORE_LIMIT: &str = "\n\t\"rows_before_limit_at_least\": ";

/// Splits one chunk; nothing if it is not what the engine writes.
pub(super) fn split(document: &str) -> Option<Parts<'_>> {
    // Totals come after the last rows, in a chunk of an odd shape: the end of a list, the totals, and the
    // frame of an empty document.
    if let Some(rest) = document.strip_prefix("\n\t],\n\n\t") {
        let (tail, rest) = rest.split_once(META)?;
        // Without any row this is the only chunk that says what the columns are.
        let (meta, rest) = rest.split_once(DATA)?;
        return Some(Parts { meta, tail: tail.trim_end(), rows: "", rows_before_limit: before_limit(rest) });
    }
    let (meta, rest) = document.strip_prefix(META)?.split_once(DATA)?;
    let end = rest.find(DATA_END)?;
    let (rows, rest) = rest.split_at(end);
    let tail = match rest["\n\t],\n\n\t".len()..].split_once(ROWS) {
        Some((tail, _)) => tail.trim_end().trim_end_matches(','),
        None => "",
    };
    Some(Parts { meta, rows, tail, rows_before_limit: before_limit(rest) })
}

fn before_limit(rest: &str) -> Option<u64> {
    let (_, rest) = rest.split_once(BEFORE_LIMIT)?;
    rest.split(|it: char| !it.is_ascii_digit()).next()?.parse().ok()
}

/// How many bytes at the beginning of a chunk are names of columns.
pub(super) fn header_length(bytes: &[u8], chunks: Chunks) -> usize {
    match chunks {
        Chunks::Seamless | Chunks::Whole => 0,
        Chunks::Lines { count, quoted } => (0..count).fold(0, |at, _| at + line_length(&bytes[at..], quoted)),
        Chunks::Names { types } => names_length(bytes, types).unwrap_or(bytes.len()),
    }
}

/// The length of the first line with its line break. In CSV a name may hold line breaks between quotes.
fn line_length(bytes: &[u8], quoted: bool) -> usize {
    let mut inside = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' if quoted => inside = !inside,
            b'\n' if !inside => return at + 1,
            _ => (),
        }
    }
    bytes.len()
}

/// The number of columns, their names, perhaps their types: each a text with its length before it.
fn names_length(bytes: &[u8], types: bool) -> Option<usize> {
    let (columns, mut at) = length(bytes)?;
    let texts = if types { columns.checked_mul(2)? } else { columns };
    for _ in 0..texts {
        let (size, digits) = length(bytes.get(at..)?)?;
        at = at.checked_add(digits)?.checked_add(size)?;
    }
    (at <= bytes.len()).then_some(at)
}

/// A number of variable width (LEB128), and how many bytes it takes.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut res = 0usize;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        res |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((res, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_end_where_the_rows_begin() {
        let lines = |count, quoted| Chunks::Lines { count, quoted };
        assert_eq!(header_length(b"a,b\n1,2\n", lines(1, true)), 4);
        assert_eq!(header_length(b"\"a\nb\",\"c\"\"\"\n1\n", lines(1, true)), 12);
        assert_eq!(header_length(b"a\"\tb\n1\n", lines(1, false)), 5);
        assert_eq!(header_length(b"a\nUInt8\n1\n", lines(2, false)), 8);
        let long = [&[1, 0x80, 1][..], &[b'x'; 128], b"\x05UInt8\x07"].concat();
        assert_eq!(header_length(&long, Chunks::Names { types: true }), long.len() - 1);
        assert_eq!(header_length(b"\x01\x01a\x07", Chunks::Names { types: false }), 3);
        assert_eq!(header_length(b"\x01\xff", Chunks::Names { types: false }), 2);
    }

    #[test]
    fn a_document_is_split() {
        let document = "{\n\t\"meta\":\n\t[\n\t\t{\n\t\t\t\"name\": \"x\\n\\\"data\\\":\",\n\t\t\t\"type\": \"String\"\n\t\t}\n\t],\n\n\t\"data\":\n\t[\n\t\t{\n\t\t\t\"x\": \"a\\nb\"\n\t\t},\n\t\t{\n\t\t\t\"x\": 1\n\t\t}\n\t],\n\n\t\"rows\": 2,\n\n\t\"rows_before_limit_at_least\": 17,\n\n\t\"statistics\":\n\t{\n\t\t\"elapsed\": 0.1\n\t}\n}\n";
        let parts = split(document).unwrap();
        assert_eq!(parts.rows, "\t\t{\n\t\t\t\"x\": \"a\\nb\"\n\t\t},\n\t\t{\n\t\t\t\"x\": 1\n\t\t}");
        assert_eq!(parts.rows_before_limit, Some(17));
        assert_eq!(parts.tail, "");
        let columns: Vec<Column> = serde_json::from_str(parts.meta).unwrap();
        assert_eq!(columns[0].name, "x\n\"data\":");
    }

    #[test]
    fn an_empty_answer_has_columns() {
        let parts =
            split("{\n\t\"meta\":\n\t[\n\t\t{}\n\t],\n\n\t\"data\":\n\t[\n\n\t],\n\n\t\"rows\": 0,\n}").unwrap();
        assert_eq!((parts.meta, parts.rows, parts.tail), ("[\n\t\t{}\n\t]", "", ""));
    }

    #[test]
    fn totals_stand_alone_in_a_stream() {
        let chunk = "\n\t],\n\n\t\"totals\":\n\t{\n\t\t\"k\": 0\n\t}{\n\t\"meta\":\n\t[],\n\n\t\"data\":\n\t[\n,\n\n\t\"rows\": 0,\n\n\t\"rows_before_limit_at_least\": 3,\n";
        let parts = split(chunk).unwrap();
        assert_eq!((parts.tail, parts.rows, parts.meta), ("\"totals\":\n\t{\n\t\t\"k\": 0\n\t}", "", "[]"));
        assert_eq!(parts.rows_before_limit, Some(3));
    }

    #[test]
    fn totals_of_a_whole_answer_are_the_tail() {
        let document = "{\n\t\"meta\":\n\t[],\n\n\t\"data\":\n\t[\n\t\t{}\n\t],\n\n\t\"totals\":\n\t{\n\t\t\"k\": 0\n\t},\n\n\t\"rows\": 1,\n}";
        let parts = split(document).unwrap();
        assert_eq!((parts.rows, parts.tail), ("\t\t{}", "\"totals\":\n\t{\n\t\t\"k\": 0\n\t}"));
    }

    #[test]
    fn other_text_is_refused() {
        assert_eq!(split("{}"), None);
        assert_eq!(split(""), None);
    }
}
