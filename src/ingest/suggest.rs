//! Columns for rows of JSON that nobody has described yet.
//!
//! In: some rows. Out: a column for each value in them, with its jsonpath and a type that takes what was seen. It
//! is a proposal: what a later row holds is not known.

use serde_json::Value;

/// A column that rows could fill.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggested {
    pub name: String,
    pub path: String,
    pub column_type: String,
    /// The part of the rows that have a value for it.
    pub present: f64,
}

/// What was seen of a path.
#[derive(Debug)]
struct Seen {
    path: String,
    name: String,
    /// How many `[:]` are on the way.
    depth: usize,
    rows: usize,
    /// The last row that had it.
    row: usize,
    shape: Option<Shape>,
    null: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Bool,
    Int,
    BigInt,
    Float,
    Date,
    DateTime,
    DateTime64,
    Text,
}

/// Rows deeper than this stay text.
const DEEPEST: usize = 8;

/// In the order in which the rows name them. Rows that are no objects say nothing.
pub fn columns<'a>(rows: impl IntoIterator<Item = &'a [u8]>) -> Vec<Suggested> {
    let mut seen = Vec::new();
    let mut count = 0;
    for row in rows {
        let Ok(Value::Object(fields)) = serde_json::from_slice(row) else { continue };
        count += 1;
        for (key, value) in &fields {
            look(&mut seen, count, &step(key), key, 0, value);
        }
    }
    let mut names: Vec<String> = Vec::new();
    let suggestion = |it: Seen| {
        let mut name = column_name(&it.name);
        while names.contains(&name) {
            name.push('_');
        }
        names.push(name.clone());
        let inner = it.shape.unwrap_or(Shape::Text).type_name();
        let nullable = it.depth == 0 && (it.null || it.rows < count);
        let inner = if nullable { format!("Nullable({inner})") } else { inner.to_owned() };
        let column_type = (0..it.depth).fold(inner, |inner, _| format!("Array({inner})"));
        Suggested { name, path: format!("${}", it.path), column_type, present: it.rows as f64 / count as f64 }
    };
    seen.into_iter().map(suggestion).collect()
}

/// The columns as SCHEMA has them.
pub fn schema(columns: &[Suggested]) -> String {
    let line = |it: &Suggested| format!("`{}` {} `json:{}`", it.name, it.column_type, it.path);
    columns.iter().map(line).collect::<Vec<_>>().join(", ")
}

fn look(seen: &mut Vec<Seen>, row: usize, path: &str, name: &str, depth: usize, value: &Value) {
    match value {
        Value::Object(fields) if !fields.is_empty() && depth < DEEPEST => {
            for (key, value) in fields {
                look(seen, row, &format!("{path}{}", step(key)), &format!("{name}_{key}"), depth, value);
            }
        }
        // Arrays of arrays stay text: their columns would be guesses.
        Value::Array(items) if depth == 0 && !items.iter().any(Value::is_array) => {
            for value in items {
                look(seen, row, &format!("{path}[:]"), name, depth + 1, value);
            }
        }
        value => {
            let index = seen.iter().position(|it| it.path == path).unwrap_or_else(|| {
                let (path, name) = (path.to_owned(), name.to_owned());
                seen.push(Seen { path, name, depth, rows: 0, row: 0, shape: None, null: false });
                seen.len() - 1
            });
            let it = &mut seen[index];
            if it.row != row {
                it.row = row;
                it.rows += 1;
            }
            match Shape::of(value) {
                None => it.null = true,
                Some(shape) => it.shape = Some(it.shape.map_or(shape, |before| before.and(shape))),
            }
        }
    }
}

/// A key as a step of a jsonpath.
pub(super) fn step(key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
    // Paths have no escapes: a key with one of the two quotes stands in the other.
    let quote = if key.contains('\'') { '"' } else { '\'' };
    if plain { format!(".{key}") } else { format!(".[{quote}{key}{quote}]") }
}

fn column_name(text: &str) -> String {
    let name: String = text.chars().map(|it| if it.is_ascii_alphanumeric() || it == '_' { it } else { '_' }).collect();
    match name.chars().next() {
        Some(first) if !first.is_ascii_digit() => name,
        _ => format!("c_{name}"),
    }
}

impl Shape {
    fn of(value: &Value) -> Option<Shape> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(_) => Shape::Bool,
            Value::Number(it) if it.is_i64() => Shape::Int,
            Value::Number(it) if it.is_u64() => Shape::BigInt,
            Value::Number(_) => Shape::Float,
            Value::String(it) => Shape::of_text(it),
            Value::Array(_) | Value::Object(_) => Shape::Text,
        })
    }

    /// Dates as ISO 8601 writes them; anything else is text.
    fn of_text(text: &str) -> Shape {
        let matches = |text: &str, form: &str| {
            text.len() == form.len()
                && text.bytes().zip(form.bytes()).all(|(it, form)| match form {
                    b'0' => it.is_ascii_digit(),
                    b'T' => matches!(it, b'T' | b' '),
                    form => it == form,
                })
        };
        if matches(text, "0000-00-00") {
            return Shape::Date;
        }
        let Some(moment) = text.get(..19).filter(|it| matches(it, "0000-00-00T00:00:00")) else { return Shape::Text };
        let rest = &text[moment.len()..];
        let fraction = rest.strip_prefix('.').map(|it| it.bytes().take_while(u8::is_ascii_digit).count());
        let zone = &rest[fraction.map_or(0, |it| it + 1)..];
        let is_zone = matches!(zone, "" | "Z") || matches(&zone.replacen('-', "+", 1), "+00:00");
        match (is_zone, fraction) {
            (true, None) => Shape::DateTime,
            (true, Some(digits)) if digits > 0 => Shape::DateTime64,
            _ => Shape::Text,
        }
    }

    /// What takes both.
    fn and(self, other: Shape) -> Shape {
        use Shape::{BigInt, Date, DateTime, DateTime64, Float, Int, Text};
        match (self, other) {
            (one, two) if one == two => one,
            (Int | Float, Float) | (Float, Int) | (BigInt, Float) | (Float, BigInt) => Float,
            // Together they fit neither signed nor unsigned.
            (Int, BigInt) | (BigInt, Int) => Float,
            (DateTime | Date, DateTime64) | (DateTime64, DateTime | Date) => DateTime64,
            (Date, DateTime) | (DateTime, Date) => DateTime,
            _ => Text,
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Shape::Bool => "Bool",
            Shape::Int => "Int64",
            Shape::BigInt => "UInt64",
            Shape::Float => "Float64",
            Shape::Date => "Date",
            Shape::DateTime => "DateTime",
            Shape::DateTime64 => "DateTime64(3)",
            Shape::Text => "String",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(rows: &[&str]) -> Vec<String> {
        let columns = columns(rows.iter().map(|it| it.as_bytes()));
        columns.iter().map(|it| format!("{} {} {}", it.name, it.column_type, it.path)).collect()
    }

    #[test]
    fn each_value_has_a_column_that_takes_it() {
        let rows = [
            r#"{"id":1,"at":"2026-01-02T03:04:05.678Z","device":{"os":"x","my key":true},"tags":["a"],"n":null}"#,
            r#"{"id":-2.5,"at":"2026-01-02 03:04:05","items":[{"sku":"s","n":1},{"sku":"t"}],"n":18446744073709551615}"#,
            "no row",
        ];
        assert_eq!(
            suggested(&rows),
            [
                "at DateTime64(3) $.at",
                "device_my_key Nullable(Bool) $.device.['my key']",
                "device_os Nullable(String) $.device.os",
                "id Float64 $.id",
                "n Nullable(UInt64) $.n",
                "tags Array(String) $.tags[:]",
                "items_n Array(Int64) $.items[:].n",
                "items_sku Array(String) $.items[:].sku",
            ]
        );
    }

    #[test]
    fn only_dates_are_dates() {
        for (text, shape) in [
            ("2026-01-02", Shape::Date),
            ("2026-01-02T03:04:05", Shape::DateTime),
            ("2026-01-02T03:04:05+02:00", Shape::DateTime),
            ("2026-01-02T03:04:05.1-02:00", Shape::DateTime64),
            ("2026-01-02T03:04:05.", Shape::Text),
            ("2026-01-02T03:04", Shape::Text),
            ("2026-01-02T03:04:05 o'clock", Shape::Text),
            ("ünïcödé-text-längër-thän", Shape::Text),
        ] {
            assert_eq!(Shape::of_text(text), shape, "{text}");
        }
    }

    #[test]
    fn names_are_names_and_differ() {
        assert_eq!(
            suggested(&[r#"{"1":1,"a b":1,"a.b":1}"#]),
            ["c_1 Int64 $.1", "a_b Int64 $.['a b']", "a_b_ Int64 $.['a.b']",]
        );
        assert_eq!(suggested(&["[1]", "7"]), Vec::<String>::new());
    }
}
