//! Bodies as zstd, where a network is between.
//!
//! In: pieces of bytes. Out: the same packed or unpacked. What they are is not known here.

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use std::io::{self, Write};

pub(super) const NAME: &str = "zstd";

/// What is smaller is sent as soon as it is packed.
const PAYS: usize = 64 << 10;
const LEVEL: i32 = 1;

pub(super) fn pays(parts: &[Bytes]) -> bool {
    parts.iter().map(Bytes::len).sum::<usize>() > PAYS
}

/// All of it, on a thread that may take its time.
pub(super) async fn packed(parts: Vec<Bytes>) -> Bytes {
    let pack = move || {
        let mut packer = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
        parts.iter().try_for_each(|it| packer.write_all(it))?;
        packer.finish()
    };
    let done: io::Result<Vec<u8>> = tokio::task::spawn_blocking(pack).await.unwrap_or_else(|it| Err(it.into()));
    // Into memory that is there, with a level that exists.
    done.expect("packing into memory does not fail").into()
}

/// An answer's pieces as they come.
pub(super) struct Unpacker(Option<zstd::stream::write::Decoder<'static, Vec<u8>>>);

impl Unpacker {
    pub(super) fn of(headers: &HeaderMap) -> io::Result<Unpacker> {
        let packed = headers.get(CONTENT_ENCODING).is_some_and(|it| it.as_bytes() == NAME.as_bytes());
        Ok(Unpacker(if packed { Some(zstd::stream::write::Decoder::new(Vec::new())?) } else { None }))
    }

    pub(super) fn push(&mut self, piece: Bytes) -> io::Result<Bytes> {
        let Some(decoder) = &mut self.0 else { return Ok(piece) };
        decoder.write_all(&piece)?;
        decoder.flush()?;
        Ok(std::mem::take(decoder.get_mut()).into())
    }
}

/// As much of a whole body as can be read.
pub(super) fn unpacked_whole(headers: &HeaderMap, bytes: Bytes) -> Bytes {
    let unpacked = Unpacker::of(headers).and_then(|mut it| it.push(bytes.clone()));
    unpacked.unwrap_or(bytes)
}
