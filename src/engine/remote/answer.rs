//! An answer on its way from a server.
//!
//! In: a response whose head was well. Out: columns, chunks, the end. A body that ends without its end is an error,
//! and so is an exception behind rows.

use super::{
    Kill,
    body::{Json, Marks, cut, of_server},
    pack::Unpacker,
    request::{Summary, summary},
};
use crate::{
    engine::{End, EngineError, Part, Statistics},
    query::Format,
};
use bytes::Bytes;
use reqwest::Response;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

pub(crate) struct Answer {
    response: Response,
    unpacker: Unpacker,
    marks: Marks,
    json: Json,
    ready: VecDeque<Part>,
    /// How long the server may work.
    limit: Option<Duration>,
    /// How long it was waited for.
    waited: Duration,
    cost: Summary,
    /// The last piece, where an older server may have written an exception.
    last: Bytes,
    kill: Kill,
    closing: CancellationToken,
}

/// What is held of a body is passed on in pieces of at most this size.
const PIECE: usize = 256 << 10;

impl Answer {
    pub(super) fn new(
        response: Response,
        format: Format,
        limit: Option<Duration>,
        waited: Duration,
        kill: Kill,
        closing: CancellationToken,
    ) -> Result<Answer, EngineError> {
        let unpacker = Unpacker::of(response.headers()).map_err(|_| cut())?;
        let tag = response.headers().get("x-clickhouse-exception-tag").and_then(|it| it.to_str().ok());
        Ok(Answer {
            unpacker,
            marks: Marks::new(tag),
            json: if format == Format::Json { Json::new() } else { Json::None },
            ready: VecDeque::new(),
            limit,
            waited,
            cost: summary(response.headers()).unwrap_or_default(),
            last: Bytes::new(),
            response,
            kill,
            closing,
        })
    }

    pub(crate) async fn next(&mut self) -> Result<Part, EngineError> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Ok(part);
            }
            let piece = match self.receive().await? {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    let end = self.end()?;
                    self.kill.is_over();
                    self.ready.push_back(Part::End(Box::new(end)));
                    continue;
                }
                Err(_) => return Err(self.failed()),
            };
            let piece = self.unpacker.push(piece).map_err(|_| cut())?;
            self.last = piece.clone();
            let rows = self.marks.push(piece);
            self.take(rows)?;
        }
    }

    fn take(&mut self, rows: Bytes) -> Result<(), EngineError> {
        let (columns, mut rows) = self.json.push(rows)?;
        self.ready.extend(columns.map(Part::Columns));
        while !rows.is_empty() {
            let piece = rows.split_to(rows.len().min(PIECE));
            self.ready.push_back(Part::Chunk(piece));
        }
        Ok(())
    }

    /// Waits for the server no longer than its work may take; that a reader is slow does not count.
    async fn receive(&mut self) -> Result<reqwest::Result<Option<Bytes>>, EngineError> {
        let began = Instant::now();
        let left = self.limit.map(|it| it.saturating_sub(self.waited));
        let timer = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let received = tokio::select! {
            biased;
            received = self.response.chunk() => received,
            () = self.closing.cancelled() => return Err(EngineError::closed()),
            () = timer => return Err(EngineError::too_long(self.limit.unwrap_or_default())),
        };
        self.waited += began.elapsed();
        Ok(received)
    }

    /// All has come: what stands behind the rows says whether it is all there is.
    fn end(&mut self) -> Result<End, EngineError> {
        let told = self.marks.behind()?;
        let rest = self.marks.rest();
        self.take(rest)?;
        let mut end = self.json.end()?;
        let Summary { rows_read, bytes_read, result_rows, .. } = self.cost;
        if matches!(self.json, Json::None) {
            end.statistics = Statistics { elapsed: 0.0, rows_read, bytes_read, result_rows };
        }
        end.statistics = told.unwrap_or(end.statistics);
        end.statistics.elapsed = self.waited.as_secs_f64();
        Ok(end)
    }

    /// Why a body broke off: by an exception, which stands at its end, or because the server is gone.
    fn failed(&self) -> EngineError {
        if let Err(error) = self.marks.behind()
            && error.code != 0
        {
            return error;
        }
        let text = String::from_utf8_lossy(&self.last);
        match text.rfind("Code: ").map(|at| of_server(&text[at..])) {
            Some(error) if error.code != 0 && text.contains("DB::Exception") => error,
            _ => cut(),
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}
