//! A file's rows go into a table, block by block; what is malformed goes to the quarantine.
//!
//! In: an open file or body. Out: a [`LoadReport`]. Who asked, and what the table will be used for, is not known.

use super::{
    Target,
    batch::Writer,
    decode::{self, CsvLayout, Decoded, Decoder, Schema, SchemaError},
};
use crate::{
    engine::{Engine, EngineError},
    observe::Sink,
};
use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};
use tokio::sync::mpsc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileFormat {
    Csv,
    Ndjson,
}

/// What is said of a file's rows in the quarantine.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The file's name: refused rows say `<name>:<line>`.
    pub name: String,
    pub import_id: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Rows in the table.
    pub rows: u64,
    pub quarantined: u64,
    pub bytes: u64,
    /// The reasons of the first refused rows, with their lines.
    pub errors: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the file cannot be read: {0}")]
    Read(#[from] std::io::Error),
}

const BLOCK_ROWS: usize = 100_000;
const BLOCK_BYTES: usize = 32 << 20;
const ERRORS_SHOWN: usize = 10;

/// Reads to the end of `reader` and inserts everything. When it fails, blocks before the failure are in the
/// table: load into a side table where that matters.
pub async fn load(
    engine: &Engine,
    target: &Target,
    format: FileFormat,
    reader: impl Read + Send + 'static,
    origin: Origin,
) -> Result<LoadReport, LoadError> {
    let schema = Arc::new(Schema::compile(&target.datasource)?);
    let writer = Writer::new(engine, target, &schema, &Sink::default());
    // One block is decoded while the one before it is inserted.
    let (blocks, mut received) = mpsc::channel(1);
    let import_id = origin.import_id.clone();
    let decoding = tokio::task::spawn_blocking(move || {
        let mut decoding = Decoding { decoder: Decoder::new(schema.clone()), schema, blocks, origin, bytes: 0 };
        match format {
            FileFormat::Csv => decoding.csv(reader),
            FileFormat::Ndjson => decoding.ndjson(reader),
        }
    });
    let mut report = LoadReport::default();
    while let Some(decoded) = received.recv().await {
        let written = writer.append(&decoded, import_id.as_deref()).await?;
        report.rows += written.rows;
        report.quarantined += written.quarantined;
        for row in decoded.rejected.iter().take(ERRORS_SHOWN.saturating_sub(report.errors.len())) {
            let reasons: Vec<_> = row.errors.iter().map(|it| it.message.as_str()).collect();
            report.errors.push(format!("{}: {}", row.source, reasons.join("; ")));
        }
    }
    report.bytes = decoding.await.map_err(std::io::Error::other)??;
    Ok(report)
}

struct Decoding {
    decoder: Decoder,
    schema: Arc<Schema>,
    blocks: mpsc::Sender<Decoded>,
    origin: Origin,
    bytes: u64,
}

impl Decoding {
    /// Gives the bytes read. Ends early where nobody takes blocks any more.
    fn csv(&mut self, reader: impl Read) -> io::Result<u64> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(Lines::new(reader));
        let mut record = csv::ByteRecord::new();
        let mut layout = None;
        while reader.read_byte_record(&mut record).map_err(io::Error::other)? {
            let end = reader.position().byte();
            let line = reader.get_mut().line(end) - record.as_slice().iter().filter(|it| **it == b'\n').count() as u64;
            let source = format!("{}:{line}", self.origin.name);
            let texts: Result<Vec<&str>, _> = record.iter().map(std::str::from_utf8).collect();
            let Ok(texts) = texts else {
                self.decoder.reject(&joined(&record), "not UTF-8".to_owned(), source);
                continue;
            };
            let layout = match &layout {
                Some(layout) => layout,
                None => {
                    let found = layout.insert(CsvLayout::from_first_record(&self.schema, texts.iter().copied()));
                    if found.has_header() {
                        continue;
                    }
                    found
                }
            };
            if texts.len() != layout.width() {
                let message = format!("the record has {} fields, not {}", texts.len(), layout.width());
                self.decoder.reject(&joined(&record), message, source);
                continue;
            }
            let mut fields = Vec::with_capacity(texts.len());
            layout.arrange(&texts, &mut fields);
            self.decoder.fields(&fields, || joined(&record), || source);
            if !self.pass_on(false) {
                break;
            }
        }
        self.pass_on(true);
        Ok(reader.position().byte())
    }

    fn ndjson(&mut self, reader: impl Read) -> io::Result<u64> {
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        let mut line = Vec::new();
        for number in 1u64.. {
            line.clear();
            let read = read_line(&mut reader, &mut line)?;
            if read == 0 {
                break;
            }
            self.bytes += read;
            let mut row = line.strip_suffix(b"\n").unwrap_or(&line);
            if number == 1 {
                row = row.strip_prefix(b"\xef\xbb\xbf").unwrap_or(row);
            }
            if row.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let name = &self.origin.name;
            self.decoder.json(row, || format!("{name}:{number}"));
            if !self.pass_on(false) {
                break;
            }
        }
        self.pass_on(true);
        Ok(self.bytes)
    }

    /// Hands a block over when it is full, or all that is left. False says that nobody takes it.
    fn pass_on(&mut self, last: bool) -> bool {
        let rows = self.decoder.rows() + self.decoder.rejected();
        // The size is asked now and then only: it looks at every column.
        let full = rows >= BLOCK_ROWS || (rows.is_multiple_of(1024) && self.decoder.size() >= BLOCK_BYTES);
        if rows == 0 || !(full || last) {
            return true;
        }
        self.blocks.blocking_send(self.decoder.finish()).is_ok()
    }
}

/// Knows on which line of the file a byte stands. (The CSV reader counts the second half of `\r\n` with the
/// record that follows.)
struct Lines<R> {
    inner: R,
    read: u64,
    /// Where line breaks are that were not asked for yet, and how many were before them.
    breaks: VecDeque<u64>,
    passed: u64,
}

impl<R> Lines<R> {
    fn new(inner: R) -> Lines<R> {
        Lines { inner, read: 0, breaks: VecDeque::new(), passed: 0 }
    }

    /// The line of the record that ends at `end`, its line break or the first half of that included.
    fn line(&mut self, end: u64) -> u64 {
        while self.breaks.front().is_some_and(|it| it + 1 < end) {
            self.breaks.pop_front();
            self.passed += 1;
        }
        self.passed + 1
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let breaks = buffer[..count].iter().enumerate().filter(|(_, it)| **it == b'\n');
        self.breaks.extend(breaks.map(|(at, _)| self.read + at as u64));
        self.read += count as u64;
        Ok(count)
    }
}

/// A record as a line of CSV again.
fn joined(record: &csv::ByteRecord) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    match writer.write_byte_record(record) {
        Ok(()) => writer.into_inner().map(|it| it.trim_ascii_end().to_vec()).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// Reads a line with its end. Of one that is too long to be a row only so much is kept as shows that.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    let mut read = 0;
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let (used, done) = match buffer.iter().position(|it| *it == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        let kept = used.min((decode::MAX_ROW + 1).saturating_sub(line.len()));
        line.extend_from_slice(&buffer[..kept]);
        reader.consume(used);
        read += used as u64;
        if done {
            return Ok(read);
        }
    }
}
