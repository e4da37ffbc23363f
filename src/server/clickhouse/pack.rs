//! Replies packed on their way: gzip, zstd and LZ4 as HTTP has them, and ClickHouse's own compressed blocks, which bodies
//! can come in too.
//!
//! In: what a client accepts. Out: a [`Packer`] that takes pieces and gives packed ones. What is packed is not known.

use super::error::Exception;
use crate::server::{error::Fault, upload};
use axum::{body::Bytes, http::HeaderValue};
use flate2::{Compression, write::GzEncoder};
use lz4_flex::frame::FrameEncoder;
use std::io::{self, Write};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
    Lz4,
    /// ClickHouse's own: blocks of LZ4 with a checksum before each.
    Blocks,
}

impl Packing {
    /// The one to use. `accepted` is the client's `Accept-Encoding`, where the reply may be packed so.
    pub(super) fn choose(own_frames: bool, accepted: Option<&str>) -> Packing {
        if own_frames {
            return Packing::Blocks;
        }
        let accepts = |name: &str| {
            accepted.unwrap_or_default().split(',').any(|it| {
                let (coding, quality) = it.split_once(';').unwrap_or((it, ""));
                let none = quality.trim().strip_prefix("q=").is_some_and(|it| it.trim().parse() == Ok(0.0f32));
                coding.trim().eq_ignore_ascii_case(name) && !none
            })
        };
        // The cheapest first.
        let known = [("lz4", Packing::Lz4), ("zstd", Packing::Zstd), ("gzip", Packing::Gzip)];
        known.into_iter().find(|(name, _)| accepts(name)).map_or(Packing::None, |(_, it)| it)
    }

    pub(super) fn encoding(self) -> Option<HeaderValue> {
        match self {
            Packing::None | Packing::Blocks => None,
            Packing::Gzip => Some(HeaderValue::from_static("gzip")),
            Packing::Zstd => Some(HeaderValue::from_static("zstd")),
            Packing::Lz4 => Some(HeaderValue::from_static("lz4")),
        }
    }

    pub(super) fn packer(self) -> Packer {
        match self {
            Packing::None => Packer::Plain,
            Packing::Gzip => Packer::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            // A level that exists needs no memory of ours to begin.
            Packing::Zstd => zstd::stream::write::Encoder::new(Vec::new(), 1).map_or(Packer::Plain, Packer::Zstd),
            Packing::Lz4 => Packer::Lz4(Box::new(FrameEncoder::new(Vec::new()))),
            Packing::Blocks => Packer::Blocks,
        }
    }
}

pub(super) enum Packer {
    Plain,
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    Blocks,
}

/// The largest block of ClickHouse's own, unpacked.
const BLOCK: usize = 1 << 20;
const PLAIN_BLOCK: u8 = 0x02;
const LZ4_BLOCK: u8 = 0x82;
const ZSTD_BLOCK: u8 = 0x90;
const CHECKSUM: usize = 16;
/// Method and two lengths.
const BLOCK_HEAD: usize = 9;

impl Packer {
    /// Packs one piece; what comes out may be nothing yet.
    pub(super) fn push(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        let packed = match self {
            Packer::Plain => return Ok(bytes),
            Packer::Gzip(it) => {
                it.write_all(&bytes)?;
                std::mem::take(it.get_mut())
            }
            Packer::Zstd(it) => {
                it.write_all(&bytes)?;
                std::mem::take(it.get_mut())
            }
            Packer::Lz4(it) => {
                it.write_all(&bytes)?;
                std::mem::take(it.get_mut())
            }
            Packer::Blocks => bytes.chunks(BLOCK).flat_map(block).collect(),
        };
        Ok(packed.into())
    }

    /// Packs one piece and gives out all that there is.
    pub(super) fn flush(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        let first = self.push(bytes)?;
        let rest = match self {
            Packer::Plain | Packer::Blocks => return Ok(first),
            Packer::Gzip(it) => {
                it.flush()?;
                std::mem::take(it.get_mut())
            }
            Packer::Zstd(it) => {
                it.flush()?;
                std::mem::take(it.get_mut())
            }
            Packer::Lz4(it) => {
                it.flush()?;
                std::mem::take(it.get_mut())
            }
        };
        Ok([&first[..], &rest].concat().into())
    }

    pub(super) fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Packer::Plain | Packer::Blocks => Bytes::new(),
            Packer::Gzip(it) => it.finish()?.into(),
            Packer::Zstd(it) => it.finish()?.into(),
            Packer::Lz4(it) => it.finish().map_err(io::Error::other)?.into(),
        })
    }
}

/// One of ClickHouse's compressed blocks: checksum, method, both lengths, data.
fn block(plain: &[u8]) -> Vec<u8> {
    framed(LZ4_BLOCK, &lz4_flex::block::compress(plain), plain.len())
}

fn framed(method: u8, data: &[u8], plain: usize) -> Vec<u8> {
    let length = |it: usize| u32::try_from(it).unwrap_or(u32::MAX).to_le_bytes();
    let body = [&[method][..], &length(data.len() + BLOCK_HEAD), &length(plain), data].concat();
    [&checksum(&body)[..], &body].concat()
}

/// A body that came in ClickHouse's own blocks, within a limit and as honest rows are packed.
pub(super) async fn unpacked(body: Bytes, limit: usize) -> Result<Bytes, Exception> {
    let unpacked = tokio::task::spawn_blocking(move || unblocked(&body, limit)).await;
    Ok(unpacked.map_err(|error| Fault::Internal(error.to_string()))??)
}

fn unblocked(mut packed: &[u8], limit: usize) -> Result<Bytes, Fault> {
    let bad = |what: &str| Fault::BadBody(format!("as compressed blocks: {what}"));
    let most = upload::honest(packed.len()).min(limit);
    let bomb = packed.len();
    let mut res = Vec::new();
    while !packed.is_empty() {
        let (sum, rest) = packed.split_at_checked(CHECKSUM).ok_or_else(|| bad("a block is cut off"))?;
        let head = rest.get(..BLOCK_HEAD).ok_or_else(|| bad("a block is cut off"))?;
        let length = |at: usize| {
            let bytes = head[at..at + 4].try_into().unwrap_or_default();
            usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
        };
        let (size, plain) = (length(1), length(5));
        let block = rest.get(..size).filter(|it| it.len() >= BLOCK_HEAD).ok_or_else(|| bad("a block is cut off"))?;
        if checksum(block) != sum {
            return Err(bad("a checksum is wrong"));
        }
        if res.len() + plain > most {
            return Err(if most == limit { Fault::TooLarge { limit } } else { Fault::Bomb { packed: bomb } });
        }
        let data = &block[BLOCK_HEAD..];
        match head[0] {
            PLAIN_BLOCK => res.extend_from_slice(data),
            LZ4_BLOCK => {
                let data = lz4_flex::block::decompress(data, plain).map_err(|error| bad(&error.to_string()))?;
                res.extend_from_slice(&data);
            }
            ZSTD_BLOCK => {
                let data = zstd::bulk::decompress(data, plain).map_err(|error| bad(&error.to_string()))?;
                res.extend_from_slice(&data);
            }
            _ => return Err(bad("a method is not known: LZ4, ZSTD and none are")),
        }
        packed = &rest[size..];
    }
    Ok(res.into())
}

/// CityHash 1.0.2, whose halves ClickHouse writes with the low one first.
fn checksum(body: &[u8]) -> [u8; 16] {
    let hash = cityhash_rs::cityhash_102_128(body);
    let (high, low) = ((hash >> 64) as u64, hash as u64);
    let mut res = [0; 16];
    res[..8].copy_from_slice(&high.to_le_bytes());
    res[8..].copy_from_slice(&low.to_le_bytes());
    res
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses() {
        let choose = |accepted| Packing::choose(false, Some(accepted));
        assert_eq!(choose("gzip, br"), Packing::Gzip);
        assert_eq!(choose("gzip;q=0.5, zstd"), Packing::Zstd);
        assert_eq!(choose("lz4;q=0, gzip;q=0"), Packing::None);
        assert_eq!(choose("br"), Packing::None);
        assert_eq!(Packing::choose(false, None), Packing::None);
        assert_eq!(Packing::choose(true, Some("gzip")), Packing::Blocks);
    }

    #[test]
    fn blocks_that_are_wrong_or_far_too_large_are_refused() {
        let good = block(b"some rows");
        assert_eq!(unblocked(&[good.clone(), good.clone()].concat(), 100).unwrap(), "some rowssome rows");
        assert_eq!(unblocked(&good, 5), Err(Fault::TooLarge { limit: 5 }));
        let zeros = zstd::bulk::compress(&vec![b'0'; 8 << 20], 1).unwrap();
        let bomb = framed(ZSTD_BLOCK, &zeros, 8 << 20);
        assert_eq!(unblocked(&bomb, 1 << 30).err(), Some(Fault::Bomb { packed: bomb.len() }));
        let small = framed(ZSTD_BLOCK, &zstd::bulk::compress(b"some rows", 1).unwrap(), 9);
        assert_eq!(unblocked(&small, 100).unwrap(), "some rows");
        for at in [0, 20, good.len() - 1] {
            let mut wrong = good.clone();
            wrong[at] ^= 1;
            assert!(matches!(unblocked(&wrong, 100), Err(Fault::BadBody(_))), "{at}");
        }
        for length in 1..good.len() {
            assert!(matches!(unblocked(&good[..length], 100), Err(Fault::BadBody(_))), "{length}");
        }
    }

    #[test]
    fn what_is_packed_can_be_unpacked() {
        use std::io::Read;
        let plain: Vec<u8> = (0..300_000u32).flat_map(|it| (it / 7).to_le_bytes()).collect();
        let packed = |packing: Packing| {
            let mut packer = packing.packer();
            let mut res = Vec::new();
            for piece in plain.chunks(100_000) {
                res.extend(packer.push(Bytes::copy_from_slice(piece)).unwrap());
            }
            res.extend(packer.flush(Bytes::new()).unwrap());
            res.extend(packer.finish().unwrap());
            res
        };
        let mut gzip = Vec::new();
        flate2::read::GzDecoder::new(&packed(Packing::Gzip)[..]).read_to_end(&mut gzip).unwrap();
        let mut lz4 = Vec::new();
        lz4_flex::frame::FrameDecoder::new(&packed(Packing::Lz4)[..]).read_to_end(&mut lz4).unwrap();
        assert!(unblocked(&packed(Packing::Blocks), 4 << 20).unwrap() == plain);
        assert!(gzip == plain && lz4 == plain && zstd::decode_all(&packed(Packing::Zstd)[..]).unwrap() == plain);
    }
}
