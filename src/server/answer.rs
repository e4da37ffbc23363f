//! Rows on their way out: held back until their beginning is sure, then streamed.
//!
//! In: the rows of a read that has begun. Out: a response. An answer of up to [`HELD`] bytes is sent whole,
//! with its right status and length; a longer one is streamed in constant memory, and a failure in it cuts
//! the connection without the closing chunk. What was asked is not known here.

use super::{
    entry::RequestId,
    error::ApiError,
    frame::{self, End},
    gate::Permit,
    rates::Share,
};
use crate::{
    engine::{EngineError, Rows, Statistics},
    observe::{Call, Observation, Sink},
    query::{CompiledQuery, Format, Names},
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use futures_util::stream;
use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tracing::Instrument;

/// How much of an answer waits until the engine has delivered it or ended.
pub(super) const HELD: usize = 1 << 20;

/// A read and what goes with it: who hears of its end, and how.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) sink: Sink,
    pub(super) request_id: RequestId,
    /// Nothing for `/v0/sql`.
    pub(super) pipe: Option<String>,
    pub(super) call: Call,
    /// It asks for what is kept of calls.
    pub(super) about_calls: bool,
    pub(super) started: Instant,
    /// The token's and the workspace's part of the places, held to the end of the answer, and by the engine to
    /// its own.
    pub(super) shares: Arc<Vec<Share>>,
    /// How long a client may leave a chunk lying.
    pub(super) patience: Duration,
}

/// The bytes of an answer, one piece after another.
#[derive(Debug)]
struct Source {
    rows: Rows,
    names: Names,
    format: Format,
    /// The bytes of rows so far: what a filtered token may know of the cost.
    row_bytes: u64,
    stage: Stage,
    ready: VecDeque<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Rows,
    End,
}

/// An answer whose beginning is sure.
#[derive(Debug)]
pub(super) enum Begun {
    Whole(VecDeque<Bytes>, Cost),
    /// What is there, and what comes.
    Long(VecDeque<Bytes>, Rest),
}

/// What a read has cost, as far as its caller may know.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) rows_read: u64,
    pub(super) bytes_read: u64,
    pub(super) elapsed: Duration,
}

/// The pieces of a long answer that are still to come.
#[derive(Debug)]
pub(super) struct Rest(mpsc::Receiver<Piece>);

/// What the pump sends to the body; a channel that closes without `End` is a cut.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Bytes),
    End,
    Failed(Box<ApiError>),
}

/// The permit is given back when the answer has begun: how fast a client reads is no reason to keep others out,
/// and the engine bounds how many answers are under way.
pub(super) async fn begin(
    asked: Asked,
    _permit: Permit,
    rows: Rows,
    query: CompiledQuery,
    most: usize,
) -> Result<Begun, ApiError> {
    let mut source = Source::new(rows, &query);
    let mut held = VecDeque::new();
    let mut size = 0;
    while size < most {
        match source.next().await {
            Some(Ok(bytes)) => {
                size += bytes.len();
                held.push_back(bytes);
            }
            Some(Err(error)) => {
                let error = ApiError::from(error);
                asked.ended(error.status().as_u16(), source.rows.statistics(), Some(error.words()));
                return Err(error);
            }
            None => {
                asked.ended(200, source.rows.statistics(), None);
                return Ok(Begun::Whole(held, source.cost()));
            }
        }
    }
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(pump(asked, source, sender).in_current_span());
    Ok(Begun::Long(held, Rest(receiver)))
}

/// The answer as the API gives it.
pub(super) fn reply(format: Format, begun: Begun) -> Response {
    let body = match begun {
        Begun::Whole(pieces, _) => Body::from(joined(pieces)),
        Begun::Long(held, rest) => Body::from_stream(pieces(held, rest)),
    };
    typed(format, body)
}

/// Says that a read could not even begin.
pub(super) fn refused(asked: &Asked, error: &ApiError) {
    asked.ended(error.status().as_u16(), Statistics::default(), Some(error.words()));
}

/// Carries pieces from the engine to the body until one of them ends. Owns the rows: a client that went away
/// or stopped reading ends the query.
async fn pump(asked: Asked, mut source: Source, sender: mpsc::Sender<Piece>) {
    let failure = loop {
        let next = tokio::select! {
            next = source.next() => next,
            () = sender.closed() => break "the client went away".to_owned(),
        };
        let piece = match next {
            Some(Ok(bytes)) => Piece::Bytes(bytes),
            Some(Err(error)) => {
                let words = error.message.clone();
                // Whoever cannot say it any more cuts the connection.
                _ = sender.send_timeout(Piece::Failed(Box::new(error.into())), asked.patience).await;
                break words;
            }
            None => Piece::End,
        };
        let end = matches!(piece, Piece::End);
        match sender.send_timeout(piece, asked.patience).await {
            Ok(()) if end => return asked.ended(200, source.rows.statistics(), None),
            Ok(()) => (),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => break "the client went away".to_owned(),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => break "the client stopped reading".to_owned(),
        }
    };
    asked.sink.observe(Observation::AnswerCut { request_id: asked.request_id.0.to_string(), message: failure.clone() });
    asked.ended(200, source.rows.statistics(), Some(failure));
}

fn pieces(held: VecDeque<Bytes>, rest: Rest) -> impl stream::Stream<Item = Result<Bytes, io::Error>> {
    stream::unfold(Some((held, rest)), async |state| {
        let (mut held, mut rest) = state?;
        if let Some(bytes) = held.pop_front() {
            return Some((Ok(bytes), Some((held, rest))));
        }
        match rest.next().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some((held, rest)))),
            Some(Piece::End) => None,
            Some(Piece::Failed(_)) | None => Some((Err(io::Error::other("the answer was cut")), None)),
        }
    })
}

impl Rest {
    pub(super) async fn next(&mut self) -> Option<Piece> {
        self.0.recv().await
    }
}

impl Asked {
    /// An answer that the same caller had to the same question before: nothing is read for it.
    pub(super) fn again(&self, body: Bytes, rows: u64) -> Begun {
        self.ended(200, Statistics { result_rows: rows, ..Statistics::default() }, None);
        let bytes = body.len() as u64;
        Begun::Whole([body].into(), Cost { rows, bytes, ..Cost::default() })
    }

    pub(super) fn ended(&self, status: u16, statistics: Statistics, error: Option<String>) {
        self.sink.observe(Observation::Query {
            request_id: self.request_id.0.to_string(),
            pipe: self.pipe.clone(),
            status,
            elapsed: self.started.elapsed(),
            rows_read: statistics.rows_read,
            bytes_read: statistics.bytes_read,
            rows: statistics.result_rows,
            error,
            call: Box::new(self.call.clone()),
            about_calls: self.about_calls,
        });
    }
}

impl Source {
    fn new(rows: Rows, query: &CompiledQuery) -> Source {
        Source {
            rows,
            names: query.names().clone(),
            format: query.format(),
            row_bytes: 0,
            stage: Stage::Start,
            ready: VecDeque::new(),
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(Ok(bytes));
            }
            if self.stage == Stage::End {
                return None;
            }
            let chunk = match self.rows.next().await {
                Some(Err(error)) => {
                    self.stage = Stage::End;
                    return Some(Err(EngineError { message: self.names.public(&error.message), ..error }));
                }
                Some(Ok(chunk)) => Some(chunk),
                None => None,
            };
            self.take(chunk);
        }
    }

    /// Puts one chunk of rows, or their end, into the answer's own form.
    fn take(&mut self, chunk: Option<Bytes>) {
        let json = self.format == Format::Json;
        if self.stage == Stage::Start && json {
            let columns = self.rows.columns().iter();
            self.ready.push_back(frame::head(columns.map(|it| (it.name.as_str(), it.column_type.as_str()))));
        }
        self.stage = if chunk.is_some() { Stage::Rows } else { Stage::End };
        match chunk {
            Some(chunk) => {
                self.row_bytes += chunk.len() as u64;
                self.ready.extend((!chunk.is_empty()).then_some(chunk));
            }
            None if json => self.ready.push_back(frame::tail(&self.end())),
            None => (),
        }
    }

    fn cost(&self) -> Cost {
        let End { rows, statistics, .. } = self.end();
        Cost {
            rows,
            bytes: self.row_bytes,
            rows_read: statistics.rows_read,
            bytes_read: statistics.bytes_read,
            elapsed: Duration::try_from_secs_f64(statistics.elapsed).unwrap_or_default(),
        }
    }

    /// What the reply says of rows and cost. Where a filter hides rows, the engine's own figures would count
    /// those too: such a reply speaks of what is in it.
    fn end(&self) -> End<'_> {
        let statistics = self.rows.statistics();
        let rows = statistics.result_rows;
        let totals = self.rows.tail();
        if self.names.is_filtered() {
            let statistics = Statistics { rows_read: rows, bytes_read: self.row_bytes, ..statistics };
            return End { rows, totals, rows_before_limit: None, statistics };
        }
        End { rows, totals, rows_before_limit: self.rows.rows_before_limit(), statistics }
    }
}

/// A body as what it is.
pub(super) fn typed(format: Format, body: Body) -> Response {
    let kind = match format {
        Format::Json => "application/json",
        Format::Csv | Format::CsvWithNames => "text/csv; charset=utf-8",
        // Clients compare this one to the letter.
        Format::Tsv | Format::TsvWithNames | Format::PrettyCompact | Format::Prometheus => "text/plain",
        Format::JsonEachRow => "application/x-ndjson",
        Format::Parquet => "application/vnd.apache.parquet",
        // The API offers no other.
        Format::Wire(wire) => wire.content_type,
    };
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
}

pub(super) fn joined(mut pieces: VecDeque<Bytes>) -> Bytes {
    if pieces.len() == 1 {
        return pieces.pop_front().unwrap_or_default();
    }
    let mut res = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        res.extend_from_slice(&piece);
    }
    res.freeze()
}
