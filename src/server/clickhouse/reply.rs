//! Replies as ClickHouse gives them: their heads, the packed body, and an exception in the middle of it.
//!
//! In: an answer that has begun. Out: a response. What was asked is not known here.

use super::{
    error::Exception,
    pack::{Packer, Packing},
};
use crate::{
    engine::EXCEPTION,
    query::Format,
    server::answer::{Begun, Cost, Piece, Rest, joined},
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use futures_util::{StreamExt, stream};
use serde_json::json;
use std::{collections::VecDeque, io, sync::Arc, time::Duration};

/// What every reply to a query says of itself.
#[derive(Debug, Clone)]
pub(super) struct Head {
    query_id: String,
    version: Arc<str>,
}

/// How long an exception in the middle of an answer has to reach the client before the connection is cut.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(200);

impl Head {
    pub(super) fn new(query_id: &str, version: &Arc<str>) -> Head {
        Head { query_id: query_id.to_owned(), version: version.clone() }
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let mut set = |name, value| headers.insert(HeaderName::from_static(name), value);
        set("x-clickhouse-server-display-name", HeaderValue::from_static("birdhouse"));
        set("x-clickhouse-timezone", HeaderValue::from_static("UTC"));
        if let Ok(id) = HeaderValue::from_str(&self.query_id) {
            set("x-clickhouse-query-id", id);
        }
    }

    /// What is said of a statement that gives no rows.
    pub(super) fn done(&self, written: u64) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
        self.tell(headers);
        if let Ok(summary) = HeaderValue::from_str(&summary(&Cost::default(), written)) {
            headers.insert("x-clickhouse-summary", summary);
        }
        response
    }

    /// Rows in a format, with what is known of their cost.
    pub(super) fn rows(&self, format: Format, body: Body, cost: &Cost) -> Response {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        self.tell(headers);
        headers.insert("x-clickhouse-format", HeaderValue::from_static(format.engine_name()));
        if let Ok(summary) = HeaderValue::from_str(&summary(cost, 0)) {
            headers.insert("x-clickhouse-summary", summary);
        }
        response
    }

    pub(super) fn answer(&self, format: Format, packing: Packing, begun: Begun) -> Response {
        let (body, cost, tag) = match begun {
            Begun::Whole(pieces, cost) => (packed(packing, joined(pieces)), cost, None),
            Begun::Long(held, rest) => {
                let tag = format!("{:016x}", rand::random::<u64>());
                let stream =
                    Stream { held, rest, packer: Some(packing.packer()), tag: tag.clone(), head: self.clone() };
                // What it costs is not known before its end.
                (Body::from_stream(stream.pieces()), Cost::default(), Some(tag))
            }
        };
        let mut response = self.rows(format, body, &cost);
        let headers = response.headers_mut();
        if let Some(encoding) = packing.encoding() {
            headers.insert(header::CONTENT_ENCODING, encoding);
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if let Some(tag) = tag.and_then(|it| HeaderValue::from_str(&it).ok()) {
            headers.insert("x-clickhouse-exception-tag", tag);
        }
        response
    }
}

/// Numbers are texts, as ClickHouse writes them.
fn summary(cost: &Cost, written: u64) -> String {
    let text = |number: u64| number.to_string();
    json!({
        "read_rows": text(cost.rows_read),
        "read_bytes": text(cost.bytes_read),
        "written_rows": text(written),
        "written_bytes": "0",
        "total_rows_to_read": "0",
        "result_rows": text(cost.rows),
        "result_bytes": text(cost.bytes),
        "elapsed_ns": cost.elapsed.as_nanos().to_string(),
    })
    .to_string()
}

pub(super) fn packed(packing: Packing, bytes: Bytes) -> Body {
    if packing == Packing::None {
        return Body::from(bytes);
    }
    let mut packer = packing.packer();
    // Writing into memory does not fail.
    let first = packer.push(bytes).unwrap_or_default();
    let last = packer.finish().unwrap_or_default();
    Body::from([&first[..], &last].concat())
}

/// Pieces packed one after another. Each is given out whole, so that nothing waits for the next, and what was given
/// before a failure can be read.
pub(super) fn packing(
    packing: Packing,
    pieces: impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold((Box::pin(pieces), Some(packing.packer())), async |(mut pieces, mut packer)| {
        // After its end there is nothing more to ask for.
        packer.as_ref()?;
        let piece = match pieces.next().await {
            Some(Ok(piece)) => packer.as_mut()?.flush(piece),
            Some(Err(error)) => Err(error),
            None => packer.take()?.finish(),
        };
        Some((piece, (pieces, packer)))
    })
}

/// A long answer on its way.
struct Stream {
    held: VecDeque<Bytes>,
    rest: Rest,
    /// Nothing when the last byte has gone.
    packer: Option<Packer>,
    tag: String,
    head: Head,
}

impl Stream {
    fn pieces(self) -> impl stream::Stream<Item = io::Result<Bytes>> {
        stream::unfold(self, async |mut stream| {
            let piece = stream.next().await?;
            Some((piece, stream))
        })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let packer = self.packer.as_mut()?;
            let piece = match self.held.pop_front() {
                Some(bytes) => packer.push(bytes),
                None => match self.rest.next().await {
                    Some(Piece::Bytes(bytes)) => packer.push(bytes),
                    Some(Piece::End) => self.packer.take()?.finish(),
                    Some(Piece::Failed(error)) => {
                        let words = exception_in_body(&Exception::from(*error).text(&self.head.version), &self.tag);
                        self.held.clear();
                        let last = packer.flush(words.into());
                        // After it the connection is cut: the answer must not be taken for a whole one.
                        self.tag.clear();
                        return Some(last);
                    }
                    None => {
                        if self.tag.is_empty() {
                            tokio::time::sleep(LAST_WORDS).await;
                        }
                        self.packer = None;
                        return Some(Err(io::Error::other("the answer was cut")));
                    }
                },
            };
            match piece {
                // A packer may hold a piece back.
                Ok(bytes) if bytes.is_empty() => continue,
                piece => return Some(piece),
            }
        }
    }
}

/// How ClickHouse marks an exception after rows, so that it cannot be taken for one.
pub(super) fn exception_in_body(text: &str, tag: &str) -> String {
    let text = text.trim_end();
    format!("{EXCEPTION}{tag}\r\n{text}\n{} {tag}{EXCEPTION}", text.len() + 1)
}
