//! Messages of one partition that wait to be inserted together.
//!
//! In: messages as they are read. Out: a [`Batch`]: its rows, and the token that names exactly them.

use super::{
    intent::Intent,
    registry::{Formats, Unreachable},
};
use crate::{
    ingest::{
        batch::Rows,
        decode::{Decoded, Decoder, Message, Rejected, Schema, refuse},
    },
    project::ValueFormat,
};
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use std::{
    borrow::Cow,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

/// What the batches of one consumer have in common.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: String,
    pub(super) topic: String,
    /// The name of the connection.
    pub(super) connection: String,
    pub(super) schema: Arc<Schema>,
    pub(super) formats: Formats,
}

/// Messages of one partition in the order of their offsets. Their bytes are copied into one piece of memory.
#[derive(Debug)]
pub(super) struct Batch {
    stream: Arc<Stream>,
    pub(super) partition: i32,
    pub(super) epoch: u32,
    pub(super) opened: Instant,
    /// What it was before a crash: it must become exactly that again.
    pub(super) again: Option<Intent>,
    /// How long it took to fill, and to make rows of it.
    pub(super) reading: Duration,
    pub(super) decoding: Duration,
    bytes: Vec<u8>,
    messages: Vec<Stored>,
}

#[derive(Debug)]
struct Stored {
    offset: i64,
    timestamp: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Batch {
    pub(super) fn new(stream: &Arc<Stream>, partition: i32, epoch: u32) -> Batch {
        Batch {
            stream: stream.clone(),
            partition,
            epoch,
            opened: Instant::now(),
            again: None,
            reading: Duration::ZERO,
            decoding: Duration::ZERO,
            bytes: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// Gives the bytes taken.
    pub(super) fn push(&mut self, message: &BorrowedMessage<'_>) -> usize {
        let before = self.bytes.len();
        let mut keep = |bytes: Option<&[u8]>| {
            let start = self.bytes.len();
            bytes.map(|it| {
                self.bytes.extend_from_slice(it);
                start..self.bytes.len()
            })
        };
        let (key, value) = (keep(message.key()), keep(message.payload()));
        let headers = match message.headers() {
            Some(headers) if self.stream.schema.wants_headers() => {
                headers.iter().map(|it| (it.key.to_owned(), it.value.unwrap_or_default().to_vec())).collect()
            }
            _ => Vec::new(),
        };
        let timestamp = message.timestamp().to_millis().unwrap_or_default();
        self.messages.push(Stored { offset: message.offset(), timestamp, key, value, headers });
        self.bytes.len() - before + size_of::<Stored>()
    }

    /// Of keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The memory it holds, as [`push`](Batch::push) counted it.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.messages.len() * size_of::<Stored>()
    }

    /// The offset of its first message, and the one that follows its last.
    pub(super) fn range(&self) -> (i64, i64) {
        if let Some(again) = &self.again {
            return (again.from, again.to);
        }
        let first = self.messages.first().map_or(0, |it| it.offset);
        (first, self.messages.last().map_or(first, |it| it.offset + 1))
    }

    pub(super) fn schema(&self) -> &Arc<Schema> {
        &self.stream.schema
    }

    pub(super) fn connection(&self) -> &str {
        &self.stream.connection
    }

    pub(super) fn all(&self) -> Vec<u32> {
        (0..self.messages.len() as u32).collect()
    }

    /// [`mark`] of its last message.
    pub(super) fn last(&self) -> Option<u32> {
        let Stored { offset, timestamp, key, value, .. } = self.messages.last()?;
        let bytes = |it: &Option<Range<usize>>| it.clone().map(|it| &self.bytes[it]);
        Some(marked(*offset, *timestamp, bytes(key), bytes(value)))
    }

    /// Tells whether these are the messages that were there before.
    pub(super) fn digest(&self) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(&self.bytes);
        for message in &self.messages {
            crc.update(&message.offset.to_le_bytes());
            let length = |it: &Option<Range<usize>>| it.as_ref().map_or(-1, |it| it.len() as i64).to_le_bytes();
            crc.update(&length(&message.key));
            crc.update(&length(&message.value));
        }
        crc.sum()
    }

    /// Asks for what is needed to read the messages. Blocks.
    pub(super) fn learn(&self) -> Result<(), Unreachable> {
        let bytes = |it: &Option<Range<usize>>| it.clone().map(|it| &self.bytes[it]);
        self.stream.formats.learn(self.messages.iter().map(|it| (bytes(&it.key), bytes(&it.value))))
    }

    fn message(&self, index: usize) -> Message<'_> {
        let stored = &self.messages[index];
        Message {
            value: stored.value.clone().map(|it| &self.bytes[it]),
            key: stored.key.clone().map(|it| &self.bytes[it]),
            topic: &self.stream.topic,
            partition: self.partition,
            offset: stored.offset,
            timestamp: stored.timestamp,
            headers: &stored.headers,
        }
    }
}

impl Rows for Batch {
    fn len(&self) -> usize {
        self.messages.len()
    }

    fn decode(&self, rows: &[u32]) -> Decoded {
        let mut decoder = Decoder::new(self.stream.schema.clone());
        for index in rows {
            let message = self.message(*index as usize);
            match read(&self.stream.formats, &message) {
                Ok((None, None)) => decoder.message(&message),
                Ok((key, value)) => {
                    let key = key.as_deref().or(message.key);
                    decoder.message(&Message { key, value: value.as_deref().or(message.value), ..message });
                }
                Err(reason) => decoder.refuse(&message, &reason),
            }
        }
        decoder.finish()
    }

    fn refuse(&self, index: usize, message: &str) -> Rejected {
        refuse(&self.stream.schema, &self.message(index), message)
    }

    fn token(&self) -> String {
        let Stream { id, topic, .. } = &*self.stream;
        let (from, to) = self.range();
        format!("k:{id}:{topic}:{}:{from}-{to}:e{}", self.partition, self.epoch)
    }
}

/// Tells one message from another at the same offset of another topic of that name.
pub(super) fn mark(message: &BorrowedMessage) -> u32 {
    let timestamp = message.timestamp().to_millis().unwrap_or_default();
    marked(message.offset(), timestamp, message.key(), message.payload())
}

fn marked(offset: i64, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(&offset.to_le_bytes());
    crc.update(&timestamp.to_le_bytes());
    for bytes in [key, value] {
        crc.update(&bytes.map_or(-1, |it| it.len() as i64).to_le_bytes());
        crc.update(bytes.unwrap_or_default());
    }
    crc.sum()
}

type Read<'a> = (Option<Cow<'a, [u8]>>, Option<Cow<'a, [u8]>>);

/// Key and value as text; nothing where they are to stay as they are. A message without a value has none.
fn read<'a>(formats: &Formats, message: &Message<'a>) -> Result<Read<'a>, String> {
    let key = message.key.filter(|_| formats.key != ValueFormat::Json).map(|it| formats.key(it)).transpose()?;
    let value = message.value.filter(|_| formats.value != ValueFormat::Json);
    Ok((key, value.map(|it| formats.value(it)).transpose()?))
}
