//! Rows of JSON or CSV, and Kafka messages, become typed columns; rows that do not fit are kept with the reason.
//!
//! In: a data source's [`Schema`] and bytes. Out: [`Decoded`]: blocks of good rows, and [`Rejected`] ones.
//! Nothing here does I/O or reads the clock: the same bytes give the same blocks.

mod again;
mod convert;
mod csv;
mod extract;
mod json;
mod kept;
mod schema;
mod shapes;
mod take;
mod time;

pub use again::Refused;
pub use csv::CsvLayout;
pub use schema::{Schema, SchemaError};

use crate::native::{Block, Buffer};
use schema::{Field, Origin};
use shapes::Shapes;
use std::sync::Arc;
use take::{Taken, Taking};

/// Rises when the same bytes may become other rows than before.
pub const DECODER_VERSION: u32 = 1;

/// A JSON row that is larger is refused, as Kafka messages are.
pub const MAX_ROW: usize = 10 << 20;

/// A row that was not taken, with everything it was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rejected {
    /// The row as it came.
    pub raw: Vec<u8>,
    /// What could be read of it, by the place of the column in [`Schema::columns`].
    pub values: Vec<Option<String>>,
    pub errors: Vec<Problem>,
    /// Where it came from: partition and offset, file and line, request.
    pub source: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The column's name, empty where the whole row is wrong.
    pub column: String,
    pub message: String,
}

/// What a run of rows became. Rows that leave different columns to the engine's defaults are in blocks of
/// their own, for a block either has a column or does not.
#[derive(Debug, Default)]
pub struct Decoded {
    pub blocks: Vec<Block>,
    /// By block: where its rows stood among those that were taken, good or not.
    pub origins: Vec<Vec<u32>>,
    pub rows: usize,
    pub rejected: Vec<Rejected>,
}

/// One Kafka message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub value: Option<&'a [u8]>,
    pub key: Option<&'a [u8]>,
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub headers: &'a [(String, Vec<u8>)],
}

/// A message that the engine did not take, for the reason that it gave.
pub fn refuse(schema: &Schema, message: &Message<'_>, reason: &str) -> Rejected {
    Rejected {
        raw: message.value.unwrap_or_default().to_vec(),
        values: extract::values(schema, Input::Message(message)),
        errors: vec![Problem { column: String::new(), message: reason.to_owned() }],
        source: message.source(),
    }
}

/// Takes rows one by one; [`finish`](Decoder::finish) gives what they became.
#[derive(Debug)]
pub struct Decoder {
    schema: Arc<Schema>,
    groups: Vec<Group>,
    /// The group that the last good row went to.
    current: usize,
    row: Row,
    shapes: Shapes,
    rejected: Vec<Rejected>,
    /// Rows that were taken, good or not.
    taken: u32,
}

/// Rows that leave the same columns to the engine.
#[derive(Debug)]
struct Group {
    /// By column: left to the engine's default.
    absent: Vec<bool>,
    buffers: Vec<Buffer>,
    origins: Vec<u32>,
}

/// What is known of the row at hand.
#[derive(Debug, Default)]
struct Row {
    seen: Vec<Seen>,
    problems: Vec<Problem>,
    /// By node of the path tree: the key that is expected next, for fields mostly come in the same order.
    hints: Vec<usize>,
    /// By column, then by depth: the items that an array of `[:]` has so far.
    counts: Vec<Vec<usize>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    No,
    /// A null where the column has none.
    Null,
    Bad,
    Value,
}

/// A row on its way in.
#[derive(Clone, Copy)]
enum Input<'a> {
    Json(&'a [u8]),
    Message(&'a Message<'a>),
    /// The fields of a CSV row, by column.
    Fields(&'a [Option<&'a str>]),
}

impl<'a> Input<'a> {
    /// Empty for CSV.
    fn text(self) -> &'a [u8] {
        match self {
            Input::Json(row) => row,
            Input::Message(message) => message.value.unwrap_or_default(),
            Input::Fields(_) => &[],
        }
    }
}

impl Message<'_> {
    fn source(&self) -> String {
        format!("{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

impl Decoder {
    pub fn new(schema: Arc<Schema>) -> Decoder {
        let row = Row {
            seen: vec![Seen::No; schema.columns.len()],
            problems: Vec::new(),
            hints: vec![0; schema.nodes],
            counts: vec![Vec::new(); schema.columns.len()],
        };
        Decoder {
            schema,
            groups: Vec::new(),
            current: 0,
            row,
            shapes: Shapes::default(),
            rejected: Vec::new(),
            taken: 0,
        }
    }

    /// A row of JSON. `source` is asked only if it is refused.
    pub fn json(&mut self, row: &[u8], source: impl FnOnce() -> String) {
        self.take(Input::Json(row), || row.to_vec(), source);
    }

    /// A Kafka message. One without a value is an object without fields.
    pub fn message(&mut self, message: &Message<'_>) {
        let raw = || message.value.unwrap_or_default().to_vec();
        self.take(Input::Message(message), raw, || message.source());
    }

    /// A message that is known to be wrong before it is looked at.
    pub fn refuse(&mut self, message: &Message<'_>, reason: &str) {
        self.taken += 1;
        self.rejected.push(refuse(&self.schema, message, reason));
    }

    /// A CSV row's fields, by column as [`CsvLayout`] orders them.
    pub fn fields(&mut self, fields: &[Option<&str>], raw: impl FnOnce() -> Vec<u8>, source: impl FnOnce() -> String) {
        self.take(Input::Fields(fields), raw, source);
    }

    /// A row that is known to be wrong before it is looked at.
    pub fn reject(&mut self, raw: &[u8], message: String, source: String) {
        let errors = vec![Problem { column: String::new(), message }];
        let values = vec![None; self.schema.columns.len()];
        self.taken += 1;
        self.rejected.push(Rejected { raw: raw.to_vec(), values, errors, source });
    }

    /// Good rows so far.
    pub fn rows(&self) -> usize {
        self.groups.iter().map(|it| it.origins.len()).sum()
    }

    pub fn rejected(&self) -> usize {
        self.rejected.len()
    }

    /// Bytes held, about.
    pub fn size(&self) -> usize {
        let rows = self.groups.iter().flat_map(|it| &it.buffers).map(Buffer::size).sum::<usize>();
        rows + self.rejected.iter().map(|it| it.raw.len() * 2).sum::<usize>()
    }

    /// What the rows became. The decoder is empty afterwards.
    pub fn finish(&mut self) -> Decoded {
        let rows = self.rows();
        let groups = std::mem::take(&mut self.groups);
        self.current = 0;
        self.taken = 0;
        self.shapes.forgive();
        let (mut blocks, mut origins) = (Vec::new(), Vec::new());
        for group in groups.into_iter().filter(|it| !it.origins.is_empty()) {
            let columns = self.schema.columns.iter().zip(group.buffers).zip(group.absent);
            let present = columns.filter(|(_, absent)| !absent);
            let present = present.map(|((field, buffer), _)| (&field.name, &field.column_type, buffer));
            blocks.push(Block::encode(present));
            origins.push(group.origins);
        }
        Decoded { blocks, origins, rows, rejected: std::mem::take(&mut self.rejected) }
    }

    fn take(&mut self, input: Input<'_>, raw: impl FnOnce() -> Vec<u8>, source: impl FnOnce() -> String) {
        if self.groups.is_empty() {
            // Most rows have all that they can have; others make a group of their own.
            self.groups.push(Group::new(&self.schema, |_, field| field.origin == Origin::Nowhere));
        }
        let origin = self.taken;
        self.taken += 1;
        let mut moved = false;
        loop {
            let group = &mut self.groups[self.current];
            self.row.clear();
            let mut taking = Taking { schema: &self.schema, group, row: &mut self.row, shapes: &mut self.shapes };
            if !moved && taking.shapes.begin(self.taken) && taking.alike(input) {
                group.origins.push(origin);
                return;
            }
            match taking.run(input) {
                Taken::Good => {
                    group.origins.push(origin);
                    return;
                }
                Taken::Refused => {
                    let values = extract::values(&self.schema, input);
                    let errors = std::mem::take(&mut self.row.problems);
                    self.rejected.push(Rejected { raw: raw(), values, errors, source: source() });
                    return;
                }
                Taken::Elsewhere => {
                    debug_assert!(!moved, "a row fits the group that was made for it");
                    moved = true;
                    let row = &self.row;
                    let absent =
                        |column: usize, field: &Field| field.may_be_absent() && row.seen[column] != Seen::Value;
                    let wanted = Group::new(&self.schema, absent);
                    let found = self.groups.iter().position(|it| it.absent == wanted.absent);
                    self.current = found.unwrap_or_else(|| {
                        self.groups.push(wanted);
                        self.groups.len() - 1
                    });
                }
            }
        }
    }
}

impl Group {
    fn new(schema: &Schema, absent: impl Fn(usize, &Field) -> bool) -> Group {
        let columns = schema.columns.iter();
        Group {
            absent: columns.clone().enumerate().map(|(index, field)| absent(index, field)).collect(),
            buffers: columns.map(|field| Buffer::new(&field.column_type)).collect(),
            origins: Vec::new(),
        }
    }
}

impl Row {
    fn clear(&mut self) {
        self.seen.fill(Seen::No);
        self.problems.clear();
        self.hints.fill(0);
    }
}

#[cfg(test)]
mod tests;
