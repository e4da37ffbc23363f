//! What can be read of a refused row: the text of each column's value, for the quarantine.

use super::{Input, Message, Schema, convert, json, schema::Origin};
use crate::project::KafkaMeta;

/// By column; nothing where the row has no value or is not readable.
pub(super) fn values(schema: &Schema, input: Input<'_>) -> Vec<Option<String>> {
    let mut texts = Texts { values: vec![None; schema.columns.len()], hints: vec![0; schema.nodes] };
    match input {
        Input::Json(row) => texts.json(schema, row),
        Input::Message(message) => {
            texts.json(schema, message.value.unwrap_or_default());
            texts.meta(schema, message);
        }
        Input::Fields(fields) => texts.values = fields.iter().map(|it| it.map(str::to_owned)).collect(),
    }
    texts.values
}

struct Texts {
    values: Vec<Option<String>>,
    hints: Vec<usize>,
}

impl Texts {
    fn json(&mut self, schema: &Schema, row: &[u8]) {
        let Ok(row) = std::str::from_utf8(row) else { return };
        if !row.trim_start().is_empty() && json::walk(&schema.root, row, self).is_err() {
            self.values.fill(None);
        }
    }

    fn meta(&mut self, schema: &Schema, message: &Message<'_>) {
        let text = |bytes: Option<&[u8]>| bytes.map(|it| String::from_utf8_lossy(it).into_owned());
        for (field, value) in schema.columns.iter().zip(&mut self.values) {
            let Origin::Meta(meta) = field.origin else { continue };
            *value = match meta {
                KafkaMeta::Value => text(message.value).filter(|_| schema.store_raw_value),
                KafkaMeta::Topic => Some(message.topic.to_owned()),
                KafkaMeta::Partition => Some(message.partition.to_string()),
                KafkaMeta::Offset => Some(message.offset.to_string()),
                KafkaMeta::Timestamp => Some((message.timestamp / 1000).to_string()),
                KafkaMeta::Key => text(message.key),
                KafkaMeta::Headers => None,
            };
        }
    }
}

impl json::Leaves for Texts {
    fn leaf(&mut self, column: usize, raw: &str, depth: usize) {
        let text = || convert::unquote(raw).map_or_else(|| raw.to_owned(), std::borrow::Cow::into_owned);
        if depth == 0 {
            self.values[column] = (raw != "null").then(text);
        } else if let Some(list) = &mut self.values[column] {
            list.push_str(if list.ends_with('[') { "" } else { "," });
            list.push_str(raw);
        }
    }

    fn array(&mut self, columns: &[usize], depth: usize) {
        for column in columns {
            let list = self.values[*column].get_or_insert_default();
            list.push_str(match (depth, list.ends_with('[')) {
                (0, _) | (_, true) => "[",
                _ => ",[",
            });
        }
    }

    fn item(&mut self, _: &[usize], _: usize) {}

    fn end(&mut self, columns: &[usize], _: usize) {
        for column in columns {
            self.values[*column].get_or_insert_default().push(']');
        }
    }

    fn hint(&mut self, node: usize) -> &mut usize {
        &mut self.hints[node]
    }
}
