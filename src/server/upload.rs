//! Files in a request: the parts of a multipart body, or the body itself, packed or not.
//!
//! In: headers and bytes. Out: plain bytes, [`Part`]s. What is in the files is not known here.

use super::error::Fault;
use crate::app::TIGHTEST;
use axum::{
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request},
    http::{HeaderMap, header},
};
use flate2::read::MultiGzDecoder;
use std::io::Read;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The name of the field.
    pub(super) field: String,
    pub(super) file_name: Option<String>,
    pub(super) bytes: Bytes,
}

/// What is smaller may be packed tighter than [`TIGHTEST`], as a line that repeats itself.
const UNSUSPICIOUS: usize = 1 << 20;

/// The exponent of the memory that a zstd frame may ask for: 16 MiB.
const LARGEST_WINDOW: u32 = 24;

/// The body without its `Content-Encoding`. What it unpacks to is held to the same limit, and to what rows can be.
pub(super) async fn decoded(headers: &HeaderMap, bytes: Bytes, limit: usize) -> Result<Bytes, Fault> {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let unpack = match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => return Ok(bytes),
        "gzip" | "x-gzip" => gzip,
        "zstd" => zstd,
        "lz4" => lz4,
        other => {
            return Err(Fault::BadBody(format!("the content encoding `{other}` is not known: gzip, zstd and lz4 are")));
        }
    };
    let unpacked = tokio::task::spawn_blocking(move || unpack(&bytes, limit)).await;
    unpacked.map_err(|error| Fault::Internal(error.to_string()))?
}

fn gzip(bytes: &[u8], limit: usize) -> Result<Bytes, Fault> {
    unpack(MultiGzDecoder::new(bytes), "gzip", bytes.len(), limit)
}

fn zstd(bytes: &[u8], limit: usize) -> Result<Bytes, Fault> {
    let bad = |error: std::io::Error| Fault::BadBody(format!("as zstd: {error}"));
    let mut decoder = zstd::Decoder::with_buffer(bytes).map_err(bad)?;
    decoder.window_log_max(LARGEST_WINDOW).map_err(bad)?;
    unpack(decoder, "zstd", bytes.len(), limit)
}

fn lz4(bytes: &[u8], limit: usize) -> Result<Bytes, Fault> {
    unpack(lz4_flex::frame::FrameDecoder::new(bytes), "lz4", bytes.len(), limit)
}

/// The most that honest rows can unpack to.
pub(super) fn honest(packed: usize) -> usize {
    packed.saturating_mul(TIGHTEST).max(UNSUSPICIOUS)
}

/// Reads on only as long as the result may still be taken.
fn unpack(reader: impl Read, name: &str, packed: usize, limit: usize) -> Result<Bytes, Fault> {
    let honest = honest(packed);
    let mut res = Vec::new();
    let read = reader.take(limit.min(honest) as u64 + 1).read_to_end(&mut res);
    read.map_err(|error| Fault::BadBody(format!("as {name}: {error}")))?;
    if res.len() > limit {
        return Err(Fault::TooLarge { limit });
    }
    if res.len() > honest {
        return Err(Fault::Bomb { packed });
    }
    Ok(res.into())
}

pub(super) fn is_multipart(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
}

pub(super) async fn parts(headers: &HeaderMap, bytes: Bytes) -> Result<Vec<Part>, Fault> {
    let bad = |error: &dyn std::fmt::Display| Fault::BadBody(format!("as multipart/form-data: {error}"));
    let mut request = Request::new(Body::from(bytes));
    *request.headers_mut() = headers.clone();
    // The entry has held the body to the route's limit; the framework's own, 2 MB, is not meant for files.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut multipart = Multipart::from_request(request, &()).await.map_err(|it| bad(&it.body_text()))?;
    let mut res = Vec::new();
    while let Some(field) = multipart.next_field().await.map_err(|it| bad(&it.body_text()))? {
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(str::to_owned);
        let bytes = field.bytes().await.map_err(|it| bad(&it.body_text()))?;
        res.push(Part { field: name, file_name, bytes });
    }
    Ok(res)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &str) -> HeaderMap {
        let mut res = HeaderMap::new();
        res.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        res
    }

    #[tokio::test]
    async fn parts_keep_paths_and_bytes() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"data_project://\"; filename=\"datasources/a.datasource\"\r\n\
                    Content-Type: text/plain\r\n\r\nSCHEMA >\n  a Int8\r\n--x\r\n\
                    Content-Disposition: form-data; name=\"note\"\r\n\r\nhi\r\n--x--\r\n";
        let headers = headers("multipart/form-data; boundary=x");
        assert!(is_multipart(&headers));
        let parts = parts(&headers, Bytes::from(body)).await.unwrap();
        assert_eq!(parts[0].field, "data_project://");
        assert_eq!(parts[0].file_name.as_deref(), Some("datasources/a.datasource"));
        assert_eq!(parts[0].bytes, "SCHEMA >\n  a Int8");
        assert_eq!((parts[1].field.as_str(), &parts[1].file_name), ("note", &None));
    }

    #[tokio::test]
    async fn a_packed_body_is_unpacked_within_its_limit() {
        use std::io::Write;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&[b'x'; 1000]).unwrap();
        let packed = Bytes::from(packer.finish().unwrap());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        assert_eq!(decoded(&headers, packed.clone(), 1000).await.unwrap(), vec![b'x'; 1000]);
        assert_eq!(decoded(&headers, packed.clone(), 999).await, Err(Fault::TooLarge { limit: 999 }));
        assert!(matches!(decoded(&headers, packed.slice(..9), 1000).await, Err(Fault::BadBody(_))));
        headers.insert(header::CONTENT_ENCODING, "br".parse().unwrap());
        assert!(matches!(decoded(&headers, packed, 1000).await, Err(Fault::BadBody(_))));
    }

    #[tokio::test]
    async fn what_unpacks_to_nothing_but_size_is_refused_early() {
        use std::io::Write;
        let rows: String = (0..50_000).map(|it| format!("{{\"id\":{it}}}\n")).collect();
        let gzip = |bytes: &[u8]| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            packer.write_all(bytes).unwrap();
            packer.finish().unwrap()
        };
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        let zeros = vec![b'0'; 64 << 20];
        for (name, pack) in [("gzip", &gzip as &dyn Fn(&[u8]) -> Vec<u8>), ("zstd", &zstd)] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, name.parse().unwrap());
            let plain = decoded(&headers, pack(rows.as_bytes()).into(), 10 << 20).await.unwrap();
            assert_eq!(plain, rows.as_bytes(), "{name}");
            let bomb = pack(&zeros);
            let packed = bomb.len();
            assert_eq!(decoded(&headers, bomb.into(), 1 << 30).await, Err(Fault::Bomb { packed }), "{name}");
            let small = pack(&zeros[..2 << 20]);
            assert_eq!(
                decoded(&headers, small.into(), 1 << 20).await,
                Err(Fault::TooLarge { limit: 1 << 20 }),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_that_is_no_multipart_is_a_bad_body() {
        let res = parts(&headers("multipart/form-data; boundary=x"), Bytes::from("nothing")).await;
        assert!(matches!(res, Err(Fault::BadBody(_))));
    }
}
