//! What a file would be as a data source: columns that the engine tells from its first rows.
//!
//! In: the first bytes of a file. Out: [`SampleColumn`]s, and their lines in a SCHEMA. Where the bytes come from
//! is not known here.

use super::suggest::step;
use crate::{
    engine::{Engine, EngineError, EngineErrorKind},
    sql::{ColumnType, Sql, statement},
};

/// How much of a text is looked at.
pub const SAMPLE_BYTES: usize = 128 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleFormat {
    Csv,
    /// Its first line is a row already.
    CsvWithoutNames,
    Ndjson,
    Parquet,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct SampleColumn {
    pub name: String,
    /// As the engine writes it.
    #[serde(rename = "type")]
    pub kind: String,
}

impl SampleFormat {
    /// What bytes of an unknown file are taken for.
    pub fn of(bytes: &[u8]) -> SampleFormat {
        let start = bytes.trim_ascii_start();
        if start.starts_with(b"PAR1") {
            return SampleFormat::Parquet;
        }
        if start.starts_with(b"{") {
            return SampleFormat::Ndjson;
        }
        let line = start.split(|it| *it == b'\n').next().unwrap_or_default();
        let mut fields = line.split(|it| *it == b',').map(<[u8]>::trim_ascii);
        // No column is called like a number, and each has a name.
        let is_value = |it: &[u8]| it.is_empty() || it[0].is_ascii_digit() || matches!(it[0], b'-' | b'.');
        if fields.any(is_value) { SampleFormat::CsvWithoutNames } else { SampleFormat::Csv }
    }

    /// The engine's name of the format.
    pub fn name(self) -> &'static str {
        match self {
            SampleFormat::Csv => "CSVWithNames",
            SampleFormat::CsvWithoutNames => "CSV",
            SampleFormat::Ndjson => "JSONEachRow",
            SampleFormat::Parquet => "Parquet",
        }
    }

    pub fn is_csv(self) -> bool {
        matches!(self, SampleFormat::Csv | SampleFormat::CsvWithoutNames)
    }
}

/// The first lines of a text, whole ones unless the first is longer than all that is looked at.
pub fn first_lines(bytes: &[u8]) -> String {
    let bytes = match bytes.get(..SAMPLE_BYTES) {
        Some(start) => {
            let end = start.iter().rposition(|it| *it == b'\n').or_else(|| bytes.iter().position(|it| *it == b'\n'));
            &bytes[..end.map_or(bytes.len(), |it| it + 1)]
        }
        None => bytes,
    };
    String::from_utf8_lossy(bytes).into_owned()
}

/// The columns that a statement of [`statement::describe_text`] or [`statement::describe_file`] gives.
pub async fn columns(engine: &Engine, describe: &Sql) -> Result<Vec<SampleColumn>, EngineError> {
    let answer =
        engine.command_within(describe, engine.settings().max_execution_time).await.map_err(|error| EngineError {
            // What comes then is the statement, which is ours.
            message: error.message.split(": While").next().unwrap_or_default().to_owned(),
            ..error
        })?;
    let lines = answer.split(|it| *it == b'\n').filter(|it| !it.is_empty());
    let unread =
        |error: serde_json::Error| EngineError { kind: EngineErrorKind::Internal, code: 0, message: error.to_string() };
    let columns: Vec<SampleColumn> =
        lines.map(|it| serde_json::from_slice(it).map_err(unread)).collect::<Result<_, _>>()?;
    Ok(columns.into_iter().map(|it| SampleColumn { kind: plain(&it.kind), ..it }).collect())
}

/// The part of the rows that have a value in each column, and the first rows as JSON.
pub async fn look(
    engine: &Engine,
    text: &str,
    format: SampleFormat,
    columns: &[SampleColumn],
) -> Result<(Vec<f64>, Vec<serde_json::Value>), EngineError> {
    #[derive(serde::Deserialize)]
    struct Present {
        present: Vec<f64>,
    }
    const ROWS: u64 = 10;
    let names = columns.iter().map(|it| it.name.as_str());
    let limit = engine.settings().max_execution_time;
    let present = engine.command_within(&statement::presence_in_text(text, format.name(), names), limit).await?;
    let present = serde_json::from_slice::<Present>(&present).map(|it| it.present).unwrap_or_default();
    let rows = engine.command_within(&statement::preview_text(text, format.name(), ROWS), limit).await?;
    let rows = rows.split(|it| *it == b'\n').filter_map(|it| serde_json::from_slice(it).ok());
    Ok((present, rows.collect()))
}

/// A column as a line of a SCHEMA; `json` says where in an object it stands.
pub fn definition(column: &SampleColumn, json: bool) -> String {
    let name = column.name.replace('`', "");
    let mut text = format!("`{name}` {}", column.kind);
    if json {
        let is_list = column.kind.starts_with("Array(");
        text.push_str(&format!(" `json:${}{}`", step(&name), if is_list { "[:]" } else { "" }));
    }
    text
}

/// A column for rows that are objects: what is nested has a column of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: String,
    pub path: String,
}

/// Objects become a field for each of their keys, lists of objects a list for each: rows bring simple values. A list in a
/// list of objects is none.
pub fn fields(columns: &[SampleColumn]) -> Vec<Field> {
    let mut fields = Vec::new();
    for column in columns {
        let name = column.name.replace('`', "");
        let path = format!("${}", step(&name));
        match ColumnType::parse(&column.kind) {
            Ok(kind) => flatten(&name, path, &kind, false, &mut fields),
            Err(_) => fields.push(Field { name, kind: column.kind.clone(), path }),
        }
    }
    fields
}

/// `is_list`: the path goes through the items of a list.
fn flatten(name: &str, path: String, kind: &ColumnType, is_list: bool, fields: &mut Vec<Field>) {
    match kind {
        ColumnType::Tuple(keys) if is_object(kind) => {
            for (key, inner) in keys {
                let key = key.as_deref().unwrap_or_default();
                let plain: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
                flatten(&format!("{name}_{plain}"), format!("{path}{}", step(key)), inner, is_list, fields);
            }
        }
        ColumnType::Array(inner) if is_object(inner) && !is_list => {
            flatten(name, format!("{path}[:]"), inner, true, fields);
        }
        ColumnType::Array(_) if is_list => (),
        ColumnType::Array(_) => {
            fields.push(Field { name: name.to_owned(), kind: kind.to_string(), path: format!("{path}[:]") });
        }
        kind => {
            let kind = if is_list { format!("Array({kind})") } else { plain(&kind.to_string()) };
            fields.push(Field { name: name.to_owned(), kind, path });
        }
    }
}

fn is_object(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Tuple(keys) if keys.iter().all(|(name, _)| name.is_some()))
}

/// Inference makes much nullable. What has a value in each of the first rows mostly always has one, but only a
/// key must: there the engine refuses NULL.
fn plain(inferred: &str) -> String {
    let inferred = inferred.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(");
    match inferred.strip_prefix("Nullable(").and_then(|it| it.strip_suffix(')')) {
        Some(inner) if inner.contains("Date") => inner.to_owned(),
        _ => inferred,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{JsonPath, JsonStep};

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        assert_eq!(SampleFormat::of(b" {\"a\": 1}"), SampleFormat::Ndjson);
        assert_eq!(SampleFormat::of(b"PAR1.."), SampleFormat::Parquet);
        assert_eq!(SampleFormat::of(b"name,weight\ntit,11\n"), SampleFormat::Csv);
        assert_eq!(SampleFormat::of(b"tit,11\nwren,9\n"), SampleFormat::CsvWithoutNames);
        assert_eq!(SampleFormat::of(b"name,\ntit,11\n"), SampleFormat::CsvWithoutNames);
    }

    #[test]
    fn a_key_is_a_step_of_a_path_whatever_is_in_it() {
        for key in ["plain_1", "it's", "a.b", "say \"a\""] {
            let column = SampleColumn { name: key.to_owned(), kind: "String".to_owned() };
            let line = definition(&column, true);
            let path = line.split_once("`json:").and_then(|(_, it)| it.strip_suffix('`')).unwrap();
            let steps = JsonPath::parse(path).map(|it| it.steps);
            assert_eq!(steps, Ok(vec![JsonStep::Key(key.to_owned())]), "{line}");
        }
    }

    #[test]
    fn a_sample_is_of_whole_lines() {
        assert_eq!(first_lines(b"a\nb"), "a\nb");
        let long = format!("{}\n{}", "a".repeat(100), "b".repeat(SAMPLE_BYTES));
        assert_eq!(first_lines(long.as_bytes()), format!("{}\n", "a".repeat(100)));
        let one = format!("{}\nb\n", "a".repeat(SAMPLE_BYTES * 2));
        assert_eq!(first_lines(one.as_bytes()).len(), SAMPLE_BYTES * 2 + 1);
    }
}
