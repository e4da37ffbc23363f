//! One row goes into one group of columns, whole or not at all.
//!
//! In: a row, a group, what is known of the row. Out: the row is in, refused with reasons, or belongs to
//! another group. After anything but success the group is as it was.

use super::{
    Group, Input, MAX_ROW, Message, Problem, Row, Schema, Seen,
    convert::{self, Bad, Kind},
    json,
    schema::{Fallback, Field, Origin},
    shapes::Shapes,
    time::Moment,
};
use crate::{native::Buffer, project::KafkaMeta};
use std::{cmp::Ordering, ops::Range};

/// Messages show this much of a value.
const SHOWN: usize = 200;

pub(super) enum Taken {
    Good,
    Refused,
    /// It belongs to a group that leaves other columns to the engine.
    Elsewhere,
}

/// One attempt to put one row into one group.
pub(super) struct Taking<'a> {
    pub(super) schema: &'a Schema,
    pub(super) group: &'a mut Group,
    pub(super) row: &'a mut Row,
    pub(super) shapes: &'a mut Shapes,
}

impl Taking<'_> {
    /// A row that looks like an earlier one. False says that it does not, or that something is wrong with it.
    pub(super) fn alike(&mut self, input: Input<'_>) -> bool {
        let row = match input {
            Input::Json(row) => row,
            Input::Message(message) => {
                self.meta(message);
                message.value.unwrap_or_default()
            }
            Input::Fields(_) => return false,
        };
        let Taking { schema, group, row: state, shapes } = self;
        let leaf = |column: usize, raw: &str, plain: bool| {
            !group.absent[column] && {
                let (kind, buffer) = (&schema.columns[column].kind, &mut group.buffers[column]);
                let taken = if plain { convert::plain(kind, raw, buffer) } else { convert::json(kind, raw, buffer) };
                taken.is_ok()
            }
        };
        if state.problems.is_empty()
            && row.len() <= MAX_ROW
            && let Ok(row) = std::str::from_utf8(row)
            && let Some(end) = shapes.take(row, leaf)
            && *end.absent == *group.absent
        {
            if end.gaps {
                state.seen.copy_from_slice(&end.seen);
                self.fill();
            }
            self.group.buffers.iter_mut().for_each(Buffer::commit);
            return true;
        }
        self.rollback();
        self.row.clear();
        false
    }

    pub(super) fn run(mut self, input: Input<'_>) -> Taken {
        self.shapes.untraced();
        let well_formed = match input {
            Input::Json(row) => self.json(row),
            Input::Message(message) => {
                self.meta(message);
                self.json(message.value.unwrap_or_default())
            }
            Input::Fields(fields) => {
                self.fields(fields);
                Ok(())
            }
        };
        if let Err(message) = well_formed {
            // What the walk found before the text went wrong says nothing.
            self.row.problems.clear();
            self.row.problems.push(Problem { column: String::new(), message });
        } else if self.row.problems.is_empty() {
            if self.elsewhere() {
                self.rollback();
                return Taken::Elsewhere;
            }
            self.fill();
        }
        if !self.row.problems.is_empty() {
            self.rollback();
            return Taken::Refused;
        }
        self.group.buffers.iter_mut().for_each(Buffer::commit);
        self.shapes.learn(&self.row.seen, &self.group.absent, input.text());
        Taken::Good
    }

    fn json(&mut self, row: &[u8]) -> Result<(), String> {
        if row.len() > MAX_ROW {
            return Err(format!("the row has {} bytes, the limit is {MAX_ROW}", row.len()));
        }
        let row = std::str::from_utf8(row).map_err(|it| format!("not UTF-8 at byte {}", it.valid_up_to()))?;
        let start = row.trim_start();
        if start.is_empty() || (!self.schema.needs_container && self.schema.root.leaves.is_empty()) {
            return Ok(());
        }
        if self.schema.needs_container && !start.starts_with(['{', '[']) {
            let parsed = serde_json::from_str::<serde::de::IgnoredAny>(row);
            return Err(match parsed {
                Ok(_) => "not a JSON object".to_owned(),
                Err(error) => format!("not JSON: {error}"),
            });
        }
        self.shapes.trace();
        json::walk(&self.schema.root, row, self).map_err(|it| format!("not JSON: {it}"))
    }

    fn meta(&mut self, message: &Message<'_>) {
        for (column, field) in self.schema.columns.iter().enumerate() {
            let Origin::Meta(meta) = field.origin else { continue };
            if self.group.absent[column] {
                continue;
            }
            let buffer = &mut self.group.buffers[column];
            let plain = |value: &[u8], buffer: &mut Buffer| match (&field.kind, buffer) {
                (Kind::Text, buffer) => {
                    buffer.push(value);
                    Ok(())
                }
                (kind, buffer) => convert::text(kind, &String::from_utf8_lossy(value), buffer),
            };
            let number = |value: i64, buffer: &mut Buffer| convert::integer(&field.kind, value, buffer);
            let taken = match meta {
                KafkaMeta::Value if self.schema.store_raw_value => plain(message.value.unwrap_or_default(), buffer),
                KafkaMeta::Value => plain(b"", buffer),
                KafkaMeta::Topic => plain(message.topic.as_bytes(), buffer),
                KafkaMeta::Key => plain(message.key.unwrap_or_default(), buffer),
                KafkaMeta::Partition => number(i64::from(message.partition), buffer),
                KafkaMeta::Offset => number(message.offset, buffer),
                KafkaMeta::Timestamp => timestamp(&field.kind, message.timestamp, buffer),
                KafkaMeta::Headers if self.schema.store_headers => headers(&field.kind, message.headers, buffer),
                KafkaMeta::Headers => headers(&field.kind, &[], buffer),
            };
            self.row.seen[column] = match taken {
                Ok(()) => Seen::Value,
                Err(Bad) => {
                    let message =
                        format!("the message's {meta:?} does not fit the column's type, {}", field.column_type);
                    self.row.problems.push(Problem { column: field.name.as_str().to_owned(), message });
                    Seen::Bad
                }
            };
        }
    }

    fn fields(&mut self, fields: &[Option<&str>]) {
        for (column, value) in fields.iter().enumerate() {
            let Some(text) = value else { continue };
            let field = &self.schema.columns[column];
            let empty = match (&field.kind, text.is_empty()) {
                (_, false) => *text == "\\N",
                (Kind::Text | Kind::FixedText(_), true) => field.fallback != Fallback::None,
                (_, true) => field.fallback != Fallback::None,
            };
            if empty {
                self.row.seen[column] = Seen::Null;
                continue;
            }
            self.write(column, 0, text, |buffer| convert::field(&field.kind, text, buffer));
        }
    }

    /// Writes a value of a column, in place of one that the row had before.
    fn write(&mut self, column: usize, depth: usize, shown: &str, write: impl FnOnce(&mut Buffer) -> Result<(), Bad>) {
        let field = &self.schema.columns[column];
        if self.group.absent[column] {
            self.row.seen[column] = Seen::Value;
            return;
        }
        let buffer = &mut self.group.buffers[column];
        if depth == 0 {
            match self.row.seen[column] {
                Seen::No => (),
                Seen::Bad => {
                    // A repeated key: the last one counts, also over an earlier mistake.
                    buffer.rollback();
                    self.row.problems.retain(|it| it.column != field.name.as_str());
                }
                Seen::Null | Seen::Value => buffer.rollback(),
            }
            self.row.seen[column] = Seen::Value;
        } else if self.row.seen[column] == Seen::Bad {
            return;
        }
        if write(level(buffer, depth)) == Err(Bad) {
            self.group.buffers[column].rollback();
            self.row.seen[column] = Seen::Bad;
            let message = mismatch(shown, field);
            self.row.problems.push(Problem { column: field.name.as_str().to_owned(), message });
        }
    }

    /// Whether the row has, or lacks, a column that this group leaves to the engine, or does not.
    fn elsewhere(&self) -> bool {
        let columns = self.schema.columns.iter().enumerate().filter(|(_, field)| field.may_be_absent());
        columns.into_iter().any(|(column, _)| self.group.absent[column] != (self.row.seen[column] != Seen::Value))
    }

    /// Gives every column that the row has no value for what it gets instead.
    fn fill(&mut self) {
        for (column, field) in self.schema.columns.iter().enumerate() {
            let seen = self.row.seen[column];
            if self.group.absent[column] || seen == Seen::Value {
                continue;
            }
            let buffer = &mut self.group.buffers[column];
            match &field.fallback {
                Fallback::Null => buffer.push_null(),
                Fallback::Literal(text) => {
                    let taken = convert::text(&field.kind, text, buffer);
                    debug_assert_eq!(taken, Ok(()), "a literal was tried when the schema was compiled");
                }
                Fallback::Engine => debug_assert!(false, "left to the engine, so absent"),
                Fallback::None => {
                    let message = match (seen, field.path.as_str()) {
                        (Seen::Null, _) => mismatch("null", field),
                        (_, "") => format!("there is no value for column '{}'", field.name),
                        (_, path) => format!("there is no value for column '{}': `{path}` is missing", field.name),
                    };
                    self.row.problems.push(Problem { column: field.name.as_str().to_owned(), message });
                }
            }
        }
    }

    fn rollback(&mut self) {
        self.group.buffers.iter_mut().for_each(Buffer::rollback);
    }
}

impl json::Leaves for Taking<'_> {
    fn leaf(&mut self, column: usize, raw: &str, depth: usize) {
        let schema = self.schema;
        let field = &schema.columns[column];
        if depth == 0 && raw == "null" && !field.kind.is_nullable() {
            if matches!(self.row.seen[column], Seen::Value | Seen::Bad) {
                self.group.buffers[column].rollback();
                self.row.problems.retain(|it| it.column != field.name.as_str());
            }
            self.row.seen[column] = Seen::Null;
            return;
        }
        let Some(kind) = field.kind.items(depth) else { return };
        self.write(column, depth, raw, |buffer| convert::json(kind, raw, buffer));
    }

    fn array(&mut self, columns: &[usize], depth: usize) {
        for column in columns {
            if depth == 0 {
                // An array that comes twice: the last one counts.
                if self.row.seen[*column] != Seen::No {
                    self.group.buffers[*column].rollback();
                    let name = self.schema.columns[*column].name.as_str();
                    self.row.problems.retain(|it| it.column != name);
                }
                self.row.seen[*column] = Seen::Value;
            }
            let counts = &mut self.row.counts[*column];
            counts.resize(counts.len().max(depth + 1), 0);
            counts[depth] = level(&mut self.group.buffers[*column], depth + 1).rows();
        }
    }

    fn item(&mut self, columns: &[usize], depth: usize) {
        for column in columns {
            if self.group.absent[*column] || self.row.seen[*column] == Seen::Bad {
                continue;
            }
            self.row.counts[*column][depth] += 1;
            let wanted = self.row.counts[*column][depth];
            let items = level(&mut self.group.buffers[*column], depth + 1);
            match items.rows().cmp(&wanted) {
                // Arrays taken from the same items stay side by side.
                Ordering::Less => items.push_null(),
                Ordering::Equal => (),
                Ordering::Greater => {
                    self.group.buffers[*column].rollback();
                    self.row.seen[*column] = Seen::Bad;
                    let column = self.schema.columns[*column].name.as_str().to_owned();
                    let message = format!("a key of column '{column}' is repeated inside an array");
                    self.row.problems.push(Problem { column, message });
                }
            }
        }
    }

    fn end(&mut self, columns: &[usize], depth: usize) {
        for column in columns {
            if self.group.absent[*column] || self.row.seen[*column] == Seen::Bad {
                continue;
            }
            level(&mut self.group.buffers[*column], depth).end();
        }
    }

    fn hint(&mut self, node: usize) -> &mut usize {
        &mut self.row.hints[node]
    }

    fn passed(&mut self, value: Range<usize>, what: json::Passed<'_>) {
        self.shapes.passed(value, what);
    }
}

/// An array's items, so many arrays down.
fn level(mut buffer: &mut Buffer, depth: usize) -> &mut Buffer {
    for _ in 0..depth {
        buffer = buffer.items();
    }
    buffer
}

fn mismatch(shown: &str, field: &Field) -> String {
    let inside = convert::unquote(shown);
    let value = inside.as_deref().unwrap_or(shown);
    let end = value.char_indices().nth(SHOWN).map_or(value.len(), |(at, _)| at);
    let more = if end < value.len() { "…" } else { "" };
    format!("value '{}{more}' on column '{}' is not {}", &value[..end], field.name, field.type_name())
}

fn timestamp(kind: &Kind, milliseconds: i64, buffer: &mut Buffer) -> Result<(), Bad> {
    let milliseconds = milliseconds.max(0);
    let nanos = (milliseconds % 1000 * 1_000_000) as u32;
    let moment = Moment { seconds: milliseconds / 1000, nanos };
    match kind {
        Kind::DateTime(_) => convert::date_time(moment, buffer),
        Kind::DateTime64 { precision, .. } => convert::date_time64(moment, *precision, buffer),
        Kind::Nullable(inner) => timestamp(inner, milliseconds, buffer.value()),
        kind => convert::integer(kind, milliseconds, buffer),
    }
}

/// Headers are a map of texts, repeated names kept; in a column of text they are JSON.
fn headers(kind: &Kind, headers: &[(String, Vec<u8>)], buffer: &mut Buffer) -> Result<(), Bad> {
    if let Kind::Map(key, value) = kind
        && let (Kind::Text, Kind::Text) = (&**key, &**value)
    {
        for (name, value) in headers {
            let [names, values] = buffer.items().parts() else { return Err(Bad) };
            names.push(name.as_bytes());
            values.push(value);
        }
        buffer.end();
        return Ok(());
    }
    let pairs = headers.iter().map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into()));
    let text = serde_json::Value::Object(pairs.collect()).to_string();
    convert::json(kind, &text, buffer)
}
