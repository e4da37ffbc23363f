//! Typed columns and ClickHouse's Native bytes.
//!
//! In: values by [`ColumnType`], as the bytes the engine keeps. Out: a [`Block`] as the engine reads it.
//! Where rows come from, and how text becomes a value, is not known.

mod buffer;
mod parts;

pub use buffer::Buffer;

use crate::{name::ColumnName, sql::ColumnType};
use bytes::Bytes;
use parts::Parts;

/// Rows as columns, encoded for the engine.
#[derive(Debug, Clone, Default)]
pub struct Block {
    pub columns: Vec<(ColumnName, ColumnType)>,
    pub rows: usize,
    /// The block in Native format, in pieces: what a large column holds goes out where it was gathered.
    pub parts: Vec<Bytes>,
}

impl Block {
    /// Encodes columns of equal length. Types are the declared ones; they go out as [`wire`] says.
    pub fn encode<'a>(columns: impl IntoIterator<Item = (&'a ColumnName, &'a ColumnType, Buffer)>) -> Block {
        let columns: Vec<_> = columns.into_iter().collect();
        let rows = columns.first().map_or(0, |(_, _, buffer)| buffer.rows());
        debug_assert!(columns.iter().all(|(_, _, buffer)| buffer.rows() == rows));
        let mut parts = Parts::default();
        buffer::write_length(parts.small(), columns.len() as u64);
        buffer::write_length(parts.small(), rows as u64);
        let mut types = Vec::with_capacity(columns.len());
        for (name, column_type, buffer) in columns {
            let wire = wire(column_type);
            buffer::write_text(parts.small(), name.as_str().as_bytes());
            buffer::write_text(parts.small(), wire.to_string().as_bytes());
            buffer.write(&mut parts);
            types.push((name.clone(), wire));
        }
        Block { columns: types, rows, parts: parts.finish() }
    }
}

/// Whether values of a type can be sent. What cannot is refused when a project is pushed, or left to its default.
pub fn supports(column_type: &ColumnType) -> bool {
    match column_type {
        ColumnType::Plain(name) => fixed_width(name).is_some() || matches!(*name, "String" | "JSON"),
        ColumnType::Tuned { family, .. } => *family == "JSON",
        ColumnType::FixedString(_)
        | ColumnType::Decimal { .. }
        | ColumnType::DateTime { .. }
        | ColumnType::DateTime64 { .. }
        | ColumnType::Enum { .. } => true,
        ColumnType::Nullable(inner) | ColumnType::LowCardinality(inner) | ColumnType::Array(inner) => supports(inner),
        ColumnType::Map(key, value) => supports(key) && supports(value),
        ColumnType::Tuple(parts) => !parts.is_empty() && parts.iter().all(|(_, it)| supports(it)),
        ColumnType::SimpleAggregateFunction { argument, .. } => supports(argument),
        ColumnType::Nested(_) | ColumnType::Variant(_) | ColumnType::AggregateFunction { .. } => false,
    }
}

/// The type under which a column's bytes are sent. `LowCardinality(T)` and `SimpleAggregateFunction(f, T)`
/// go as `T`, JSON goes as its text: the engine converts these without loss. Every other type goes as it is
/// declared, for between others the engine converts silently and wrongly.
pub fn wire(column_type: &ColumnType) -> ColumnType {
    match column_type {
        ColumnType::Plain("JSON") | ColumnType::Tuned { .. } => ColumnType::Plain("String"),
        ColumnType::LowCardinality(inner) => wire(inner),
        ColumnType::SimpleAggregateFunction { argument, .. } => wire(argument),
        ColumnType::Nullable(inner) => ColumnType::Nullable(Box::new(wire(inner))),
        ColumnType::Array(inner) => ColumnType::Array(Box::new(wire(inner))),
        ColumnType::Map(key, value) => ColumnType::Map(Box::new(wire(key)), Box::new(wire(value))),
        ColumnType::Tuple(parts) => {
            ColumnType::Tuple(parts.iter().map(|(name, it)| (name.clone(), wire(it))).collect())
        }
        ColumnType::Enum { width, members } => {
            let members = enum_values(members).map(|(name, value)| (name.to_owned(), Some(value)));
            ColumnType::Enum { width: *width, members: members.collect() }
        }
        other => other.clone(),
    }
}

/// The members of an enum with the numbers that the engine gives to those without one: one more than the last.
pub fn enum_values(members: &[(String, Option<i16>)]) -> impl Iterator<Item = (&str, i16)> {
    members.iter().scan(0i16, |last, (name, value)| {
        *last = value.unwrap_or(last.wrapping_add(1));
        Some((name.as_str(), *last))
    })
}

/// Bytes of one value of a type whose values all have the same size.
pub fn fixed_width(name: &str) -> Option<usize> {
    Some(match name {
        "UInt8" | "Int8" | "Bool" => 1,
        "UInt16" | "Int16" | "Date" => 2,
        "UInt32" | "Int32" | "Float32" | "Date32" | "IPv4" => 4,
        "UInt64" | "Int64" | "Float64" => 8,
        "UInt128" | "Int128" | "UUID" | "IPv6" => 16,
        "UInt256" | "Int256" => 32,
        _ => return None,
    })
}

/// Bytes of one decimal.
pub fn decimal_width(precision: u8) -> usize {
    match precision {
        0..=9 => 4,
        10..=18 => 8,
        19..=38 => 16,
        _ => 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_laid_out_as_the_engine_reads_it() {
        let types = ["UInt16", "Nullable(String)", "Array(UInt8)"].map(|it| ColumnType::parse(it).unwrap());
        let names = ["a", "b", "c"].map(|it| ColumnName::new(it).unwrap());
        let mut buffers = types.each_ref().map(Buffer::new);
        buffers[0].push(&7u16.to_le_bytes());
        buffers[1].push_null();
        buffers[2].items().push(&[1]);
        buffers[2].items().push(&[2]);
        buffers[2].end();
        let block = Block::encode(names.iter().zip(&types).zip(buffers).map(|((a, b), c)| (a, b, c)));
        assert_eq!(block.rows, 1);
        let mut wanted = vec![3, 1];
        wanted.extend(b"\x01a\x06UInt16\x07\x00");
        wanted.extend(b"\x01b\x10Nullable(String)\x01\x00");
        wanted.extend(b"\x01c\x0cArray(UInt8)\x02\0\0\0\0\0\0\0\x01\x02");
        assert_eq!(block.parts.concat(), wanted);
    }

    #[test]
    fn a_rolled_back_row_leaves_nothing() {
        let it = ColumnType::parse("Array(Tuple(String, Nullable(Int32)))").unwrap();
        let mut buffer = Buffer::new(&it);
        buffer.end();
        buffer.commit();
        let before = buffer.clone();
        let items = buffer.items();
        items.parts()[0].push(b"half");
        items.parts()[1].push_null();
        buffer.end();
        buffer.rollback();
        assert_eq!(buffer, before);
        assert_eq!(buffer.rows(), 1);
    }

    #[test]
    fn types_go_out_as_what_converts_without_loss() {
        for (declared, sent) in [
            ("LowCardinality(Nullable(String))", "Nullable(String)"),
            ("SimpleAggregateFunction(sum, UInt64)", "UInt64"),
            ("Array(LowCardinality(String))", "Array(String)"),
            ("Enum8('a', 'b' = 5, 'c')", "Enum8('a' = 1, 'b' = 5, 'c' = 6)"),
            ("DateTime64(3, 'Europe/Madrid')", "DateTime64(3, 'Europe/Madrid')"),
        ] {
            assert_eq!(wire(&ColumnType::parse(declared).unwrap()).to_string(), sent);
        }
    }
}
