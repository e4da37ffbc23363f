//! Takes the frame off the engine's JSON: a streamed answer comes as one document per chunk.
//!
//! In: the chunks in turn. Out: the columns, the rows as text, the totals. Line breaks inside values are
//! escaped, so a raw line break marks the frame and nothing is parsed but the list of columns.

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

const META: &str = "{\n\t\"meta\":\n\t";
const DATA: &str = ",\n\n\t\"data\":\n\t[\n";
const DATA_END: &str = "\n\t],\n\n\t\"";
const ROWS: &str = "\n\n\t\"rows\": ";
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

#[cfg(test)]
mod tests {
    use super::*;

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
