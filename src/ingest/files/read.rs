//! Records out of a file, one after the other, in constant memory.
//!
//! In: plain bytes and the columns they are for. Out: rows, each with its line, to whoever takes them. What becomes
//! of them is not known here.

use super::{FileFormat, LoadError, Upload};
use crate::ingest::decode::{self, CsvLayout, Schema};
use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
};

/// How a CSV file is written, where that is not the usual way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Dialect {
    /// A comma where nothing is said.
    pub delimiter: Option<u8>,
    /// What ends a record; nothing stands for `\n`, `\r\n` or `\r`.
    pub new_line: Option<u8>,
    /// What stands before a quote inside quotes; nothing means that it is doubled.
    pub escape: Option<u8>,
}

/// Takes rows.
pub(super) trait Take {
    fn json(&mut self, row: &[u8], line: u64);
    /// A record's fields by column.
    fn fields(&mut self, fields: &[Option<&str>], record: &csv::ByteRecord, line: u64);
    /// A row that is wrong as a whole.
    fn reject(&mut self, raw: Vec<u8>, message: String, line: u64);
    /// After each row. False ends the reading.
    fn go_on(&mut self) -> Result<bool, LoadError>;
}

/// Gives the number of bytes that were read.
pub(super) fn read(upload: &Upload, schema: &Schema, input: impl Read, take: &mut impl Take) -> Result<u64, LoadError> {
    match upload.format {
        FileFormat::Csv => csv(upload.dialect, schema, input, take),
        FileFormat::Ndjson | FileFormat::Parquet => ndjson(input, take),
    }
}

/// What the system says of a file is our trouble, what a decoder says of its bytes is the sender's.
pub(super) fn unreadable(error: io::Error) -> LoadError {
    match error.raw_os_error() {
        Some(_) => LoadError::Disk(error),
        None => LoadError::Unreadable(error.to_string()),
    }
}

fn csv(dialect: Dialect, schema: &Schema, input: impl Read, take: &mut impl Take) -> Result<u64, LoadError> {
    let terminator = dialect.new_line.map_or(csv::Terminator::CRLF, csv::Terminator::Any);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(dialect.delimiter.unwrap_or(b','))
        .terminator(terminator)
        .double_quote(dialect.escape.is_none())
        .escape(dialect.escape)
        .buffer_capacity(1 << 18)
        .from_reader(Lines::new(input, dialect.new_line.unwrap_or(b'\n')));
    let mut record = csv::ByteRecord::new();
    let mut layout = None;
    while reader.read_byte_record(&mut record).map_err(|it| unreadable(io_error(it)))? {
        let end = reader.position().byte();
        let lines = reader.get_mut();
        let inside = memchr::memchr_iter(lines.new_line, record.as_slice()).count();
        let line = lines.line(end) - inside as u64;
        let text = std::str::from_utf8(record.as_slice()).unwrap_or_default();
        let text_of = |at: usize| record.range(at).and_then(|range| text.get(range));
        if !(0..record.len()).all(|at| text_of(at).is_some()) {
            take.reject(joined(&record), "not UTF-8".to_owned(), line);
            if !take.go_on()? {
                break;
            }
            continue;
        }
        let layout = match &layout {
            Some(layout) => layout,
            None => {
                let first = (0..record.len()).map(|at| text_of(at).unwrap_or_default());
                let found = layout.insert(CsvLayout::from_first_record(schema, first));
                if found.has_header() {
                    continue;
                }
                found
            }
        };
        if record.len() != layout.width() {
            let message = format!("the record has {} fields, not {}", record.len(), layout.width());
            take.reject(joined(&record), message, line);
        } else {
            let mut fields = Vec::with_capacity(record.len());
            layout.arrange(text_of, &mut fields);
            take.fields(&fields, &record, line);
        }
        if !take.go_on()? {
            break;
        }
    }
    Ok(reader.position().byte())
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}")),
    }
}

fn ndjson(input: impl Read, take: &mut impl Take) -> Result<u64, LoadError> {
    let mut reader = BufReader::with_capacity(1 << 18, input);
    let mut line = Vec::new();
    let mut bytes = 0;
    for number in 1u64.. {
        line.clear();
        let read = read_line(&mut reader, &mut line).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        bytes += read;
        let mut row = line.strip_suffix(b"\n").unwrap_or(&line);
        if number == 1 {
            row = row.strip_prefix(b"\xef\xbb\xbf").unwrap_or(row);
        }
        if row.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        take.json(row, number);
        if !take.go_on()? {
            break;
        }
    }
    Ok(bytes)
}

/// Knows on which line of the file a byte stands. (The CSV reader counts the second half of `\r\n` with the
/// record that follows.)
struct Lines<R> {
    inner: R,
    new_line: u8,
    read: u64,
    /// Where the last record ended.
    ended: u64,
    /// Where line breaks are that were not asked for yet, and how many were before them.
    breaks: VecDeque<u64>,
    passed: u64,
}

impl<R> Lines<R> {
    fn new(inner: R, new_line: u8) -> Lines<R> {
        Lines { inner, new_line, read: 0, ended: 0, breaks: VecDeque::new(), passed: 0 }
    }

    /// The line of the record that ends at `end`, its line break or the first half of that included.
    fn line(&mut self, end: u64) -> u64 {
        self.ended = end;
        while self.breaks.front().is_some_and(|it| it + 1 < end) {
            self.breaks.pop_front();
            self.passed += 1;
        }
        self.passed + 1
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The reader would hold all of it.
        if self.read.saturating_sub(self.ended) > decode::MAX_ROW as u64 + (1 << 20) {
            let line = self.passed + 1;
            let message = format!(
                "the record that begins on line {line} or the next is longer than {} bytes: is a quote not closed?",
                decode::MAX_ROW
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let count = self.inner.read(buffer)?;
        let breaks = memchr::memchr_iter(self.new_line, &buffer[..count]);
        self.breaks.extend(breaks.map(|at| self.read + at as u64));
        self.read += count as u64;
        Ok(count)
    }
}

/// A record as a line of CSV again.
pub(super) fn joined(record: &csv::ByteRecord) -> Vec<u8> {
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
        let (used, done) = match memchr::memchr(b'\n', buffer) {
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
