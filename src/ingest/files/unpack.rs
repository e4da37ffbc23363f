//! Packed files are told by their first bytes, whatever they are called.
//!
//! In: a file. Out: its plain bytes, as they are read. What they mean is not known here.

use flate2::read::MultiGzDecoder;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

/// No honest rows are packed tighter than this; less than [`UNSUSPICIOUS`] may be, as a line that repeats itself.
pub const TIGHTEST: usize = 400;
const UNSUSPICIOUS: u64 = 1 << 20;

/// The exponent of the memory that a zstd frame may ask for: 128 MiB, what its tools take without being asked.
const LARGEST_WINDOW: u32 = 27;

/// A file may be packed and sent packed.
const LAYERS: usize = 2;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Who packed a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Foreign,
    /// We did: it is no bomb.
    Own,
}

/// The plain bytes of a file.
pub(super) fn open(path: &Path, packing: Packing) -> io::Result<Box<dyn Read + Send>> {
    let file = File::open(path)?;
    let most = match packing {
        Packing::Foreign => file.metadata()?.len().saturating_mul(TIGHTEST as u64).max(UNSUSPICIOUS),
        Packing::Own => u64::MAX,
    };
    let plain = plain(Box::new(BufReader::with_capacity(1 << 18, file)), LAYERS)?;
    Ok(Box::new(Bounded { inner: plain, left: most }))
}

fn plain(mut reader: Box<dyn BufRead + Send>, layers: usize) -> io::Result<Box<dyn Read + Send>> {
    let start = reader.fill_buf()?;
    let unpacked: Box<dyn Read + Send> = if layers > 0 && start.starts_with(GZIP) {
        Box::new(MultiGzDecoder::new(reader))
    } else if layers > 0 && start.starts_with(ZSTD) {
        let mut decoder = zstd::Decoder::with_buffer(reader)?;
        decoder.window_log_max(LARGEST_WINDOW)?;
        Box::new(decoder)
    } else {
        return Ok(Box::new(reader));
    };
    plain(Box::new(BufReader::with_capacity(1 << 18, unpacked)), layers - 1)
}

/// Refuses to give more than is left.
struct Bounded {
    inner: Box<dyn Read + Send>,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "it unpacks to more than rows can be packed into")
        })?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let mut res = Vec::new();
        open(&path, Packing::Foreign)?.read_to_end(&mut res)?;
        Ok(res)
    }

    #[test]
    fn plain_and_packed_files_give_the_same() {
        let rows: Vec<u8> = (0..5000).flat_map(|it| format!("{{\"id\":{it}}}\n").into_bytes()).collect();
        assert_eq!(read(&rows).unwrap(), rows);
        assert_eq!(read(&gzip(&rows)).unwrap(), rows);
        assert_eq!(read(&gzip(&gzip(&rows))).unwrap(), rows);
        assert_eq!(read(&zstd::encode_all(&*rows, 3).unwrap()).unwrap(), rows);
        assert_eq!(read(&[gzip(b"a\n"), gzip(b"b\n")].concat()).unwrap(), b"a\nb\n");
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn bombs_and_cut_files_are_errors() {
        let bomb = gzip(&vec![b'0'; 64 << 20]);
        assert_eq!(read(&bomb).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let rows: Vec<u8> = (0..5000).flat_map(|it| format!("{{\"id\":{it}}}\n").into_bytes()).collect();
        let packed = gzip(&rows);
        assert!(read(&packed[..packed.len() - 20]).is_err());
        let packed = zstd::encode_all(&*rows, 3).unwrap();
        assert!(read(&packed[..packed.len() - 20]).is_err());
    }
}
