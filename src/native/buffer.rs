//! The growing bytes of one column, which can go back to the last whole row.

use super::{decimal_width, fixed_width, parts::Parts};
use crate::sql::ColumnType;

/// One column while its rows come in. Every write can be taken back to the last [`commit`](Buffer::commit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Buffer {
    Fixed {
        width: usize,
        bytes: Vec<u8>,
        mark: usize,
    },
    Text {
        bytes: Vec<u8>,
        rows: usize,
        mark: (usize, usize),
    },
    Nullable {
        nulls: Vec<u8>,
        mark: usize,
        inner: Box<Buffer>,
    },
    /// Also a map, whose items are pairs.
    Array {
        ends: Vec<u64>,
        mark: usize,
        items: Box<Buffer>,
    },
    Tuple(Vec<Buffer>),
}

impl Buffer {
    /// For a type that [`supports`](super::supports) says yes to; others get a column of text, which the
    /// engine refuses.
    pub fn new(column_type: &ColumnType) -> Buffer {
        let fixed = |width| Buffer::Fixed { width, bytes: Vec::new(), mark: 0 };
        let array = |items| Buffer::Array { ends: Vec::new(), mark: 0, items: Box::new(items) };
        match column_type {
            ColumnType::Plain(name) => match fixed_width(name) {
                Some(width) => fixed(width),
                None => Buffer::Text { bytes: Vec::new(), rows: 0, mark: (0, 0) },
            },
            ColumnType::FixedString(width) => fixed(*width as usize),
            ColumnType::Decimal { precision, .. } => fixed(decimal_width(*precision)),
            ColumnType::DateTime { .. } => fixed(4),
            ColumnType::DateTime64 { .. } => fixed(8),
            ColumnType::Enum { width, .. } => fixed(usize::from(*width) / 8),
            ColumnType::Nullable(inner) => {
                Buffer::Nullable { nulls: Vec::new(), mark: 0, inner: Box::new(Buffer::new(inner)) }
            }
            ColumnType::LowCardinality(inner) => Buffer::new(inner),
            ColumnType::SimpleAggregateFunction { argument, .. } => Buffer::new(argument),
            ColumnType::Array(inner) => array(Buffer::new(inner)),
            ColumnType::Map(key, value) => array(Buffer::Tuple(vec![Buffer::new(key), Buffer::new(value)])),
            ColumnType::Tuple(parts) => Buffer::Tuple(parts.iter().map(|(_, it)| Buffer::new(it)).collect()),
            ColumnType::Tuned { .. } => Buffer::new(&ColumnType::Plain("String")),
            ColumnType::Nested(_) | ColumnType::Variant(_) | ColumnType::AggregateFunction { .. } => {
                Buffer::Text { bytes: Vec::new(), rows: 0, mark: (0, 0) }
            }
        }
    }

    pub fn rows(&self) -> usize {
        match self {
            Buffer::Fixed { width, bytes, .. } => bytes.len() / (*width).max(1),
            Buffer::Text { rows, .. } => *rows,
            Buffer::Nullable { nulls, .. } => nulls.len(),
            Buffer::Array { ends, .. } => ends.len(),
            Buffer::Tuple(parts) => parts.first().map_or(0, Buffer::rows),
        }
    }

    /// Bytes held, about as many as will be sent.
    pub fn size(&self) -> usize {
        match self {
            Buffer::Fixed { bytes, .. } | Buffer::Text { bytes, .. } => bytes.len(),
            Buffer::Nullable { nulls, inner, .. } => nulls.len() + inner.size(),
            Buffer::Array { ends, items, .. } => ends.len() * 8 + items.size(),
            Buffer::Tuple(parts) => parts.iter().map(Buffer::size).sum(),
        }
    }

    /// Appends a value: its bytes if all values have one size, else its text.
    pub fn push(&mut self, value: &[u8]) {
        match self {
            Buffer::Fixed { width, bytes, .. } => {
                debug_assert_eq!(*width, value.len());
                bytes.extend_from_slice(value);
            }
            Buffer::Text { bytes, rows, .. } => {
                write_text(bytes, value);
                *rows += 1;
            }
            Buffer::Nullable { nulls, inner, .. } => {
                nulls.push(0);
                inner.push(value);
            }
            Buffer::Array { .. } | Buffer::Tuple(_) => debug_assert!(false, "an array or tuple takes its parts"),
        }
    }

    /// Appends NULL, or the type's zero where there is no NULL.
    pub fn push_null(&mut self) {
        match self {
            Buffer::Fixed { width, bytes, .. } => bytes.resize(bytes.len() + *width, 0),
            Buffer::Text { bytes, rows, .. } => {
                bytes.push(0);
                *rows += 1;
            }
            Buffer::Nullable { nulls, inner, .. } => {
                nulls.push(1);
                inner.push_null();
            }
            Buffer::Array { .. } => self.end(),
            Buffer::Tuple(parts) => parts.iter_mut().for_each(Buffer::push_null),
        }
    }

    /// The inner column of a nullable one, after saying that a value follows; any other column itself.
    pub fn value(&mut self) -> &mut Buffer {
        match self {
            Buffer::Nullable { nulls, inner, .. } => {
                nulls.push(0);
                inner
            }
            other => other,
        }
    }

    /// Where the items of an array's unfinished row go.
    pub fn items(&mut self) -> &mut Buffer {
        match self {
            Buffer::Array { items, .. } => items,
            other => other,
        }
    }

    /// Ends an array's row: what [`items`](Buffer::items) took since the last end is its items.
    pub fn end(&mut self) {
        if let Buffer::Array { ends, items, .. } = self {
            ends.push(items.rows() as u64);
        }
    }

    /// The columns of a tuple.
    pub fn parts(&mut self) -> &mut [Buffer] {
        match self {
            Buffer::Tuple(parts) => parts,
            other => std::slice::from_mut(other),
        }
    }

    /// What came since the last commit stays.
    #[inline]
    pub fn commit(&mut self) {
        match self {
            Buffer::Fixed { bytes, mark, .. } => *mark = bytes.len(),
            Buffer::Text { bytes, rows, mark } => *mark = (bytes.len(), *rows),
            Buffer::Nullable { nulls, mark, inner } => {
                *mark = nulls.len();
                inner.commit();
            }
            Buffer::Array { ends, mark, items } => {
                *mark = ends.len();
                items.commit();
            }
            Buffer::Tuple(parts) => parts.iter_mut().for_each(Buffer::commit),
        }
    }

    /// What came since the last commit goes.
    pub fn rollback(&mut self) {
        match self {
            Buffer::Fixed { bytes, mark, .. } => bytes.truncate(*mark),
            Buffer::Text { bytes, rows, mark } => {
                bytes.truncate(mark.0);
                *rows = mark.1;
            }
            Buffer::Nullable { nulls, mark, inner } => {
                nulls.truncate(*mark);
                inner.rollback();
            }
            Buffer::Array { ends, mark, items } => {
                ends.truncate(*mark);
                items.rollback();
            }
            Buffer::Tuple(parts) => parts.iter_mut().for_each(Buffer::rollback),
        }
    }

    pub(super) fn write(self, out: &mut Parts) {
        match self {
            Buffer::Fixed { bytes, .. } | Buffer::Text { bytes, .. } => out.push(bytes),
            Buffer::Nullable { nulls, inner, .. } => {
                out.push(nulls);
                inner.write(out);
            }
            Buffer::Array { ends, items, .. } => {
                ends.iter().for_each(|it| out.small().extend_from_slice(&it.to_le_bytes()));
                items.write(out);
            }
            Buffer::Tuple(parts) => parts.into_iter().for_each(|it| it.write(out)),
        }
    }
}

pub(super) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_length(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// A number in groups of seven bits, low ones first.
pub(super) fn write_length(out: &mut Vec<u8>, mut length: u64) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}
