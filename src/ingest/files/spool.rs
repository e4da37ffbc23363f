//! What a file's rows became, on the disk: typed blocks as the engine takes them, and refused rows with their
//! reasons.
//!
//! In: a file, the columns it is for. Out: chunks, written once and read in their order. A chunk is a length, a head
//! in JSON of that length, then what the head says.

use super::{ERRORS_SHOWN, LoadError, Upload, read, space, spool_path, unpack, upload_path};
use crate::{
    ingest::decode::{Decoded, Decoder, Problem, Rejected, Schema},
    name::ColumnName,
    native::Block,
    sql::ColumnType,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// What a spool holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spooled {
    pub chunks: u64,
    /// Good rows.
    pub rows: u64,
    pub quarantined: u64,
    /// Bytes of the file, unpacked.
    pub bytes: u64,
    /// The reasons of the first refused rows, with their lines.
    pub errors: Vec<String>,
}

/// Rows that go in together.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) decoded: Decoded,
    /// How many rows of the file were before it, good or not, and how many it has.
    pub(super) first: u64,
    pub(super) taken: u64,
    /// Where the next one begins.
    pub(super) end: u64,
}

#[derive(Serialize, Deserialize)]
struct Head {
    first: u64,
    taken: u64,
    rows: usize,
    blocks: Vec<BlockHead>,
    /// Bytes of refused rows, in JSON, and the columns that their values are of.
    refused: usize,
    #[serde(default)]
    columns: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct BlockHead {
    rows: usize,
    columns: Vec<(String, String)>,
    bytes: usize,
    /// Its rows are not all that the chunk has: where they stand follows the block, four bytes each.
    is_part: bool,
}

#[derive(Serialize, Deserialize)]
struct RefusedRow {
    /// In base64: what was refused need not be text.
    raw: String,
    values: Vec<Option<String>>,
    errors: Vec<(String, String)>,
    source: String,
}

const BLOCK_ROWS: usize = 100_000;
const BLOCK_BYTES: usize = 32 << 20;

/// Refused rows are kept with every value and reason, and take more room than good ones.
const BLOCK_REFUSED: usize = 10_000;

/// The longest head of a chunk that is read.
const LONGEST_HEAD: usize = 64 << 20;

/// Reads the file of a folder to its end and writes what its rows became beside it. Returns when that survives the
/// loss of power. Blocks.
pub fn spool(
    folder: &Path,
    upload: &Upload,
    schema: &Arc<Schema>,
    stop: &CancellationToken,
) -> Result<Spooled, LoadError> {
    let input = unpack::open(&upload_path(folder), upload.packing()).map_err(read::unreadable)?;
    let out = BufWriter::with_capacity(1 << 20, File::create(spool_path(folder))?);
    let mut spooling = Spooling {
        folder,
        name: &upload.name,
        schema,
        decoder: Decoder::new(schema.clone()),
        stop,
        out,
        taken: 0,
        first: 0,
        spooled: Spooled::default(),
    };
    let bytes = read::read(upload, schema, input, &mut spooling)?;
    spooling.pass_on()?;
    let Spooling { out, mut spooled, .. } = spooling;
    spooled.bytes = bytes;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    // What a cut of a block needs again.
    File::open(upload_path(folder))?.sync_all()?;
    File::open(folder)?.sync_all()?;
    if let Some(parent) = folder.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(spooled)
}

struct Spooling<'a> {
    folder: &'a Path,
    name: &'a str,
    schema: &'a Schema,
    decoder: Decoder,
    stop: &'a CancellationToken,
    out: BufWriter<File>,
    /// Rows of the file so far, and those before the chunk at hand.
    taken: u64,
    first: u64,
    spooled: Spooled,
}

impl Spooling<'_> {
    fn pass_on(&mut self) -> Result<(), LoadError> {
        if self.stop.is_cancelled() {
            return Err(LoadError::Disk(io::Error::new(io::ErrorKind::Interrupted, "it was given up")));
        }
        let taken = self.taken - self.first;
        if taken == 0 {
            return Ok(());
        }
        let decoded = self.decoder.finish();
        space::check(self.folder, decoded.blocks.iter().flat_map(|it| &it.parts).map(|it| it.len() as u64).sum())??;
        let spooled = &mut self.spooled;
        spooled.chunks += 1;
        spooled.rows += decoded.rows as u64;
        spooled.quarantined += decoded.rejected.len() as u64;
        for row in decoded.rejected.iter().take(ERRORS_SHOWN.saturating_sub(spooled.errors.len())) {
            let reasons: Vec<_> = row.errors.iter().map(|it| it.message.as_str()).collect();
            spooled.errors.push(format!("{}: {}", row.source, reasons.join("; ")));
        }
        write(&mut self.out, &decoded, self.schema, self.first, taken)?;
        self.first = self.taken;
        Ok(())
    }
}

impl read::Take for Spooling<'_> {
    fn json(&mut self, row: &[u8], line: u64) {
        self.taken += 1;
        self.decoder.json(row, || format!("{}:{line}", self.name));
    }

    fn fields(&mut self, fields: &[Option<&str>], record: &csv::ByteRecord, line: u64) {
        self.taken += 1;
        self.decoder.fields(fields, || read::joined(record), || format!("{}:{line}", self.name));
    }

    fn reject(&mut self, raw: Vec<u8>, message: String, line: u64) {
        self.taken += 1;
        self.decoder.reject(&raw, message, format!("{}:{line}", self.name));
    }

    fn go_on(&mut self) -> Result<bool, LoadError> {
        let taken = (self.taken - self.first) as usize;
        // The size is asked now and then only: it looks at every column.
        let full = taken >= BLOCK_ROWS
            || self.decoder.rejected() >= BLOCK_REFUSED
            || (taken.is_multiple_of(1024) && self.decoder.size() >= BLOCK_BYTES);
        if full {
            self.pass_on()?;
        }
        Ok(true)
    }
}

fn write(out: &mut impl Write, decoded: &Decoded, schema: &Schema, first: u64, taken: u64) -> io::Result<()> {
    let refused: Vec<_> = decoded.rejected.iter().map(RefusedRow::new).collect();
    let refused = if refused.is_empty() { Vec::new() } else { serde_json::to_vec(&refused)? };
    let head = Head {
        first,
        taken,
        rows: decoded.rows,
        blocks: decoded
            .blocks
            .iter()
            .map(|block| BlockHead {
                rows: block.rows,
                columns: block.columns.iter().map(|(name, it)| (name.to_string(), it.to_string())).collect(),
                bytes: block.parts.iter().map(Bytes::len).sum(),
                is_part: block.rows as u64 != taken,
            })
            .collect(),
        refused: refused.len(),
        columns: if refused.is_empty() { Vec::new() } else { schema.columns().map(ToString::to_string).collect() },
    };
    let text = serde_json::to_vec(&head)?;
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(&text)?;
    for ((block, origins), head) in decoded.blocks.iter().zip(&decoded.origins).zip(&head.blocks) {
        for part in &block.parts {
            out.write_all(part)?;
        }
        if head.is_part {
            for place in origins {
                out.write_all(&place.to_le_bytes())?;
            }
        }
    }
    out.write_all(&refused)
}

/// The chunk of a folder's spool that begins at a byte; nothing at its end. What could be read of refused rows is
/// given by the columns of `schema`, which may have more than it was read by. Blocks.
pub(super) fn chunk(folder: &Path, at: u64, schema: &Schema) -> io::Result<Option<Chunk>> {
    let mut file = File::open(spool_path(folder))?;
    if at == file.metadata()?.len() {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(at))?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST_HEAD {
        return Err(damaged("a head is too long"));
    }
    let mut bytes = |length: usize| -> io::Result<Vec<u8>> {
        let mut res = Vec::new();
        let read = (&mut file).take(length as u64).read_to_end(&mut res)?;
        if read == length { Ok(res) } else { Err(damaged("it ends in the middle")) }
    };
    let head: Head = serde_json::from_slice(&bytes(length)?)?;
    let mut decoded = Decoded { rows: head.rows, ..Decoded::default() };
    for it in &head.blocks {
        let columns = it.columns.iter().map(|(name, column_type)| {
            let name = ColumnName::new(name).map_err(|error| damaged(&error.to_string()))?;
            Ok((name, ColumnType::parse(column_type).map_err(|error| damaged(&error.to_string()))?))
        });
        let columns = columns.collect::<io::Result<_>>()?;
        decoded.blocks.push(Block { columns, rows: it.rows, parts: vec![bytes(it.bytes)?.into()] });
        decoded.origins.push(match it.is_part {
            true => {
                let places = bytes(it.rows * 4)?;
                places.as_chunks().0.iter().map(|it| u32::from_le_bytes(*it)).collect()
            }
            false => (0..it.rows as u32).collect(),
        });
    }
    if head.refused > 0 {
        let refused: Vec<RefusedRow> = serde_json::from_slice(&bytes(head.refused)?)?;
        let place = |name: &ColumnName| head.columns.iter().position(|it| it == name.as_str());
        let places: Vec<_> = schema.columns().map(place).collect();
        for row in refused {
            let mut row = row.row()?;
            if !head.columns.is_empty() && !row.values.is_empty() {
                row.values = places.iter().map(|place| place.and_then(|it| row.values.get_mut(it)?.take())).collect();
            }
            decoded.rejected.push(row);
        }
    }
    let end = file.stream_position()?;
    Ok(Some(Chunk { decoded, first: head.first, taken: head.taken, end }))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the spool of a file is damaged: {what}"))
}

impl RefusedRow {
    fn new(row: &Rejected) -> RefusedRow {
        RefusedRow {
            raw: BASE64_STANDARD.encode(&row.raw),
            values: row.values.clone(),
            errors: row.errors.iter().map(|it| (it.column.clone(), it.message.clone())).collect(),
            source: row.source.clone(),
        }
    }

    fn row(self) -> io::Result<Rejected> {
        let RefusedRow { raw, values, errors, source } = self;
        let raw = BASE64_STANDARD.decode(raw).map_err(|error| damaged(&error.to_string()))?;
        let errors = errors.into_iter().map(|(column, message)| Problem { column, message }).collect();
        Ok(Rejected { raw, values, errors, source })
    }
}
