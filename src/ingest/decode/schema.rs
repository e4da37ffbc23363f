//! A data source's columns, made ready for decoding: how each is read, where in a row it stands, and what
//! it gets when it is not there.
//!
//! In: a [`Datasource`]. Out: a [`Schema`], compiled once. No row is known here.

use super::{
    convert::{self, Kind},
    kept,
};
use crate::{
    name::ColumnName,
    native::{Buffer, supports},
    project::{Column, ColumnDefault, Datasource, JsonPath, JsonStep, KafkaMeta, ValueFormat},
    sql::ColumnType,
};
use sha2::{Digest, Sha256};

/// Compiled once per data source; decoders share it.
#[derive(Debug, Default)]
pub struct Schema {
    pub(super) columns: Vec<Field>,
    /// The jsonpaths as one tree, walked once a row.
    pub(super) root: Node,
    /// How many nodes the tree has.
    pub(super) nodes: usize,
    /// Some path goes into the row, so a row must be an object or an array.
    pub(super) needs_container: bool,
    pub(super) store_raw_value: bool,
    pub(super) store_headers: bool,
    formats: (ValueFormat, ValueFormat),
    fingerprint: u64,
    text: String,
    /// Where the fields of a CSV row without a header go, in the order of the datafile.
    pub(super) positions: Vec<Option<usize>>,
}

/// What a data source with a topic takes of messages, and what their keys and values are written in.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfMessages {
    pub(super) store_raw_value: bool,
    pub(super) store_headers: bool,
    pub(super) formats: (ValueFormat, ValueFormat),
}

/// A column that rows can have a value for.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: ColumnName,
    pub(super) column_type: ColumnType,
    pub(super) kind: Kind,
    pub(super) origin: Origin,
    pub(super) fallback: Fallback,
    /// Where the value stands, for messages.
    pub(super) path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// From the row's JSON, or its CSV.
    Row,
    Meta(KafkaMeta),
    /// Of no jsonpath in a data source that has some: the engine's default in JSON, a value in CSV.
    Nowhere,
}

/// What a column gets when a row has no value for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fallback {
    /// The row is refused.
    None,
    Null,
    /// A literal, written as the text it is.
    Literal(String),
    /// An expression that the engine evaluates when the insert leaves the column out.
    Engine,
}

/// A step of the jsonpaths, and what goes on from there.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) id: usize,
    /// Columns whose value is this.
    pub(super) leaves: Vec<usize>,
    pub(super) keys: Vec<(String, Node)>,
    /// Some key holds what JSON would escape, so that its text in a row is not its own.
    pub(super) has_odd_keys: bool,
    pub(super) indexes: Vec<(usize, Node)>,
    pub(super) each: Option<Box<Each>>,
}

#[derive(Debug, Default)]
pub(super) struct Each {
    pub(super) node: Node,
    /// Every column of the subtree: it gets one item per item, whatever the item holds.
    pub(super) columns: Vec<usize>,
}

/// A data source whose rows cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column `{column}`: {message}")]
pub struct SchemaError {
    pub column: String,
    pub message: String,
}

impl Schema {
    pub fn compile(datasource: &Datasource) -> Result<Schema, SchemaError> {
        let kafka = datasource.kafka.as_ref();
        let of_messages = kafka.map(|it| OfMessages {
            store_raw_value: it.store_raw_value,
            store_headers: it.store_headers,
            formats: (it.key_format, it.value_format),
        });
        Schema::of(&datasource.columns, of_messages, kept::write(&datasource.columns, kafka))
    }

    pub(super) fn of(all: &[Column], of_messages: Option<OfMessages>, text: String) -> Result<Schema, SchemaError> {
        let by_path = all.iter().any(|it| it.jsonpath.is_some());
        let mut columns = Vec::new();
        let mut positions = Vec::new();
        let mut root = Node::default();
        for column in all {
            if matches!(column.default, Some(ColumnDefault::Materialized(_))) {
                continue;
            }
            if !supports(&column.column_type) {
                // Nothing can be sent for it; the engine fills it with its default.
                positions.push(None);
                continue;
            }
            let error = |message| SchemaError { column: column.name.as_str().to_owned(), message };
            let kind = Kind::new(&column.column_type).map_err(error)?;
            let meta = column.kafka_meta.filter(|_| of_messages.is_some());
            let path = match (&column.jsonpath, meta) {
                (Some(path), _) => Some(path.clone()),
                (None, None) if !by_path => Some(JsonPath {
                    text: format!("$.{}", column.name),
                    steps: vec![JsonStep::Key(column.name.as_str().to_owned())],
                }),
                (None, _) => None,
            };
            let origin = match (&path, meta) {
                (Some(_), _) => Origin::Row,
                (None, Some(meta)) => Origin::Meta(meta),
                (None, None) => Origin::Nowhere,
            };
            if let Some(path) = &path {
                let depth = path.steps.iter().filter(|it| **it == JsonStep::Each).count();
                if kind.items(depth).is_none() {
                    return Err(error(format!("`{}` gives an array, the column is none", path.text)));
                }
                root.insert(&path.steps, columns.len());
            }
            positions.push(Some(columns.len()));
            columns.push(Field {
                name: column.name.clone(),
                column_type: column.column_type.clone(),
                fallback: fallback(column, &kind),
                kind,
                origin,
                path: path.map(|it| it.text).unwrap_or_default(),
            });
        }
        let mut nodes = 0;
        root.number(&mut nodes);
        let fingerprint = fingerprint(&columns, of_messages.is_some_and(|it| it.store_raw_value));
        Ok(Schema {
            fingerprint,
            needs_container: !(root.keys.is_empty() && root.indexes.is_empty() && root.each.is_none()),
            columns,
            positions,
            root,
            nodes,
            store_raw_value: of_messages.is_some_and(|it| it.store_raw_value),
            store_headers: of_messages.is_some_and(|it| it.store_headers),
            formats: of_messages.map(|it| it.formats).unwrap_or_default(),
            text,
        })
    }

    /// The same for schemas that make the same rows of the same bytes, in this version of the decoder.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// What rows were read by that are half in: the schema of this text, or of the data source as it is now where
    /// the text is empty or cannot be read any more.
    pub fn as_then(text: &str, datasource: &Datasource) -> Result<Schema, SchemaError> {
        Schema::read(text).or_else(|_| Schema::compile(datasource))
    }

    /// Everything about it, for [`Schema::read`] at another time.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What messages' keys and values are written in.
    pub fn formats(&self) -> (ValueFormat, ValueFormat) {
        self.formats
    }

    /// Whether a message's headers go into a column.
    pub fn wants_headers(&self) -> bool {
        self.store_headers && self.columns.iter().any(|it| it.origin == Origin::Meta(KafkaMeta::Headers))
    }

    /// The columns that rows can have a value for, in the data source's order: all but the materialized ones
    /// and those whose type cannot be sent.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = &ColumnName> {
        self.columns.iter().map(|it| &it.name)
    }
}

fn fingerprint(columns: &[Field], store_raw_value: bool) -> u64 {
    let mut hash = Sha256::new();
    for it in columns {
        let (name, path) = (it.name.as_str(), &it.path);
        hash.update(format!("{name}\0{}\0{path}\0{:?}\0{:?}\0", it.column_type, it.origin, it.fallback));
    }
    hash.update([u8::from(store_raw_value)]);
    let hash = hash.finalize();
    let bytes: [u8; 8] = std::array::from_fn(|index| hash[index]);
    // SQLite's and JSON's numbers are signed.
    u64::from_le_bytes(bytes) >> 1
}

impl Field {
    /// Rows without a value leave the column out of their insert, and the engine fills it.
    pub(super) fn may_be_absent(&self) -> bool {
        self.origin != Origin::Row || self.fallback == Fallback::Engine
    }

    /// The type as a message names it.
    pub(super) fn type_name(&self) -> String {
        self.column_type.inner().to_string()
    }
}

impl Node {
    fn insert(&mut self, steps: &[JsonStep], column: usize) {
        let Some((step, rest)) = steps.split_first() else {
            self.leaves.push(column);
            return;
        };
        match step {
            JsonStep::Key(key) => child(&mut self.keys, key.clone()).insert(rest, column),
            JsonStep::Index(index) => child(&mut self.indexes, *index).insert(rest, column),
            JsonStep::Each => {
                let each = self.each.get_or_insert_default();
                each.columns.push(column);
                each.node.insert(rest, column);
            }
        }
    }

    fn number(&mut self, next: &mut usize) {
        self.id = *next;
        *next += 1;
        let odd = |it: &u8| matches!(it, b'"' | b'\\' | 0..0x20);
        self.has_odd_keys = self.keys.iter().any(|(key, _)| key.as_bytes().iter().any(odd));
        self.keys.iter_mut().for_each(|(_, it)| it.number(next));
        self.indexes.iter_mut().for_each(|(_, it)| it.number(next));
        if let Some(each) = &mut self.each {
            each.node.number(next);
        }
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.keys.is_empty() && self.indexes.is_empty() && self.each.is_none()
    }
}

fn child<K: PartialEq>(children: &mut Vec<(K, Node)>, key: K) -> &mut Node {
    let index = children.iter().position(|(it, _)| *it == key).unwrap_or_else(|| {
        children.push((key, Node::default()));
        children.len() - 1
    });
    &mut children[index].1
}

fn fallback(column: &Column, kind: &Kind) -> Fallback {
    match &column.default {
        Some(ColumnDefault::Default(expression)) => match literal(expression.text()) {
            Some(text) if convert::text(kind, &text, &mut Buffer::new(&column.column_type)).is_ok() => {
                Fallback::Literal(text)
            }
            _ => Fallback::Engine,
        },
        Some(ColumnDefault::Materialized(_)) => Fallback::Engine,
        None if kind.is_nullable() => Fallback::Null,
        None => Fallback::None,
    }
}

/// The value of a plain literal: a string without escapes, or a whole number.
fn literal(expression: &str) -> Option<String> {
    let expression = expression.trim();
    if let Some(inside) = expression.strip_prefix('\'').and_then(|it| it.strip_suffix('\'')) {
        return (!inside.contains(['\'', '\\'])).then(|| inside.to_owned());
    }
    let digits = expression.strip_prefix('-').unwrap_or(expression);
    (!digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit())).then(|| expression.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_literals_are_ours_to_evaluate() {
        assert_eq!(literal(" 'a b' "), Some("a b".to_owned()));
        assert_eq!(literal("''"), Some(String::new()));
        assert_eq!(literal("-3"), Some("-3".to_owned()));
        for expression in ["now()", "'a' || 'b'", "'it\\'s'", "1 + 1", "1.5", "array('x')", "-", ""] {
            assert_eq!(literal(expression), None, "{expression}");
        }
    }
}
