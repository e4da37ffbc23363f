//! A row out of the quarantine is read once more, as the kind of row that it was.

use super::{Decoder, Input, Message, Problem, Rejected, Schema, schema::Origin};
use crate::project::KafkaMeta;

/// A row as the quarantine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub raw: Vec<u8>,
    /// Where it came from: tells messages, records of CSV and rows of JSON apart.
    pub source: String,
    /// By the place of the column in [`Schema::columns`].
    pub values: Vec<Option<String>>,
}

impl Decoder {
    /// Takes a refused row. Of a message, what the quarantine has no column for is lost: its headers, and its key
    /// and time where the data source does not keep them.
    pub fn again(&mut self, row: &Refused) {
        let schema = self.schema.clone();
        let fields: Vec<_> = row.values.iter().map(Option::as_deref).collect();
        let message = row.message(&schema);
        let input = match &message {
            Some(message) => Input::Message(message),
            None if row.is_csv() => Input::Fields(&fields),
            None => Input::Json(&row.raw),
        };
        self.take(input, || row.raw.clone(), || row.source.clone());
    }
}

impl Refused {
    /// The same row, refused again for a reason that the engine gave.
    pub fn refuse(&self, message: &str) -> Rejected {
        Rejected {
            raw: self.raw.clone(),
            values: self.values.clone(),
            errors: vec![Problem { column: String::new(), message: message.to_owned() }],
            source: self.source.clone(),
        }
    }

    fn is_csv(&self) -> bool {
        self.source.rsplit_once(':').is_some_and(|(file, _)| file.ends_with(".csv"))
    }

    fn message(&self, schema: &Schema) -> Option<Message<'_>> {
        let mut parts = self.source.rsplitn(3, ':');
        let offset = parts.next()?.parse().ok()?;
        let partition = parts.next()?.parse().ok()?;
        let topic = parts.next()?;
        let kept = |meta| {
            let column = schema.columns.iter().position(|it| it.origin == Origin::Meta(meta))?;
            self.values.get(column)?.as_deref()
        };
        let seconds = kept(KafkaMeta::Timestamp).and_then(|it| it.parse::<i64>().ok()).unwrap_or_default();
        Some(Message {
            value: Some(&self.raw),
            key: kept(KafkaMeta::Key).map(str::as_bytes),
            topic,
            partition,
            offset,
            timestamp: seconds * 1000,
            headers: &[],
        })
    }
}
