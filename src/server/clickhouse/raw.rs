//! The engine itself, for whoever runs it: this server is another birdhouse's engine then.
//!
//! In: a request of one that may say anything to the engine. Out: what the engine answers, as ClickHouse would. A read
//! that names a reader's role runs behind the same walls as every user's; everything else runs as it is.

use super::{
    error::{self, Exception},
    pack::Packing,
    reply::{self, Head},
    request,
};
use crate::{
    engine::{ASKS_COST, Deduplication, Engine, EngineError, ReadLimits, Rows, SUMMARY, Verdict},
    query::Format,
    server::{
        answer::Cost,
        frame::{self, End},
        params::Fields,
        upload,
    },
    sql::{Sql, UserSql, scan::client, statement},
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use futures_util::{StreamExt, stream};
use std::{io, time::Duration};

/// Who speaks to the engine.
pub(super) const USER: &str = "engine";

/// The largest body: a block of rows.
pub(super) const MAX_BODY: usize = 1 << 30;

/// So much of an answer is waited for, so that short ones have their status and their cost in the head.
const HELD: usize = 64 << 10;

/// ClickHouse's number for a body that breaks off.
pub(super) const CUT_BODY: i32 = 33;

const MULTI: &str = "Syntax error: Multi-statements are not allowed";

/// The body is in the pieces that it came in: the rows of an insert are not put together.
pub(super) async fn answer(
    engine: &Engine,
    head: &Head,
    headers: &HeaderMap,
    fields: &Fields,
    body: Vec<Bytes>,
) -> Result<Response, Exception> {
    let (fields, body) = &match upload::is_multipart(headers) {
        false => (fields.clone(), body),
        true => (request::with_parts(fields.clone(), upload::parts(headers, body.concat().into()).await?)?, Vec::new()),
    };
    check(fields)?;
    let query = fields.text("query").unwrap_or_default();
    let led = if query.is_empty() { led(body) } else { None };
    let (query, body) = led.as_ref().map_or((&query, body), |(query, body)| (query, body));
    if client::is_insert(query)
        && let Ok(insert) = client::insert_head(query)
    {
        let format = Format::parse_wire(&insert.format).filter(|it| it.takes_rows()).ok_or_else(|| {
            Exception::new(error::UNKNOWN_FORMAT, format!("rows cannot be read in the format {}", insert.format))
        })?;
        let into = query[..insert.data].rfind(" FORMAT ").map_or("", |at| &query[..at]);
        let token = fields.text(statement::DEDUPLICATION_TOKEN).filter(|it| !it.is_empty());
        let deduplication = token.map_or(Deduplication::Off, Deduplication::Token);
        let written = engine.insert_written(&whole(into), format, body.clone(), deduplication).await;
        return Ok(head.done(written.map_err(Exception::of_engine)?));
    }
    let body = String::from_utf8(body.concat());
    let body = body.map_err(|_| Exception::new(error::SYNTAX_ERROR, "the query is not UTF-8"))?;
    let text = if query.is_empty() { body } else { format!("{query}\n{body}") };
    let role = fields.text("role");
    // The embedded engine would run all of them; of a reader's, it is asked where they run.
    if role.is_none() {
        let verdict = engine.classify(&text).await.map_err(Exception::of_engine)?;
        if verdict == Verdict::Several || (verdict == Verdict::Unparsed && text.contains(';')) {
            return Err(Exception::new(error::SYNTAX_ERROR, MULTI));
        }
    }
    let format = request::format(fields.text("default_format").as_deref())?;
    let sql = whole(&text);
    if role.is_none() && fields.flag("wait_end_of_query") {
        let answer = match number(fields, "max_execution_time")? {
            0 => engine.command(&sql).await,
            seconds => engine.command_within(&sql, Duration::from_secs(seconds)).await,
        };
        return Ok(head.rows(Format::JsonEachRow, Body::from(answer.map_err(Exception::of_engine)?), &Cost::default()));
    }
    let rows = match role {
        None => engine.read(&sql, format).await,
        Some(role) => {
            let unknown = || Exception::new(error::UNKNOWN_ROLE, format!("There is no role `{role}` for reading"));
            let slot = Engine::slot_of_role(&role).ok_or_else(unknown)?;
            let limits = limits(fields, ReadLimits { slot, ..engine.settings().read_limits() })?;
            let parameter = |name: &str| Some((name.strip_prefix("param_")?.to_owned(), fields.text(name)?));
            let parameters: Vec<_> = fields.names().filter_map(parameter).collect();
            engine.read_within(&sql, &parameters, format, limits).await
        }
    };
    let rows = rows.map_err(Exception::of_engine)?;
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|it| it.to_str().ok());
    let packing = Packing::choose(false, accepted.filter(|_| fields.flag("enable_http_compression")));
    Document::new(rows, format, headers.contains_key(ASKS_COST), head.clone()).reply(packing).await
}

/// An insert that stands in front of its rows, as the first line of the body, and the rows.
fn led(body: &[Bytes]) -> Option<(String, Vec<Bytes>)> {
    let mut line = Vec::new();
    for (index, piece) in body.iter().enumerate() {
        let Some(end) = piece.iter().position(|it| *it == b'\n') else {
            line.extend_from_slice(piece);
            continue;
        };
        line.extend_from_slice(&piece[..end]);
        let line = String::from_utf8(line).ok().filter(|it| client::is_insert(it))?;
        let takes_rows = |it: &client::InsertHead| Format::parse_wire(&it.format).is_some_and(|it| it.takes_rows());
        // What is behind the format is the rows: a line that has more is no head.
        let ends = |it: &client::InsertHead| line[it.data..].trim().is_empty();
        client::insert_head(&line).ok().filter(|it| takes_rows(it) && ends(it))?;
        let rest = [piece.slice(end + 1..)].into_iter().chain(body[index + 1..].iter().cloned());
        return Some((line, rest.collect()));
    }
    None
}

fn whole(text: &str) -> Sql {
    let mut sql = Sql::default();
    sql.user(&UserSql::statement(text));
    sql
}

/// A setting that is not as the engine has it anyway, and changes nothing here, is refused: nobody should believe in it.
fn check(fields: &Fields) -> Result<(), Exception> {
    const READ: &[&str] = &[
        "query",
        "query_id",
        "role",
        "database",
        "default_format",
        "wait_end_of_query",
        "cancel_http_readonly_queries_on_client_close",
        "max_execution_time",
        "max_memory_usage",
        "max_rows_to_read",
        "max_bytes_to_read",
        "max_result_bytes",
        "max_query_size",
        "max_threads",
        "deduplicate_insert",
        statement::DEDUPLICATION_TOKEN,
        "output_format_write_statistics",
        "readonly",
        "enable_http_compression",
    ];
    const SAME: &[(&str, &str)] =
        &[("timeout_overflow_mode", "throw"), ("result_overflow_mode", "throw"), ("mutations_sync", "1")];
    for name in fields.names().filter(|it| !it.starts_with("param_") && !READ.contains(it)) {
        let known = [statement::SESSION, statement::WHOLE_INSERT, SAME];
        match known.into_iter().flatten().find(|it| it.0 == name) {
            None => return Err(Exception::new(error::UNKNOWN_SETTING, format!("Setting {name} is not known here"))),
            Some((_, value)) if fields.text(name).as_deref() != Some(*value) => {
                let message = format!("Setting {name} cannot be changed here: only {value} is possible");
                return Err(Exception::new(error::SETTING_CONSTRAINT, message));
            }
            Some(_) => (),
        }
    }
    Ok(())
}

fn number(fields: &Fields, name: &str) -> Result<u64, Exception> {
    let bad = |_| Exception::new(error::SETTING_CONSTRAINT, format!("Setting {name} is not a number"));
    fields.text(name).map_or(Ok(0), |it| it.parse().map_err(bad))
}

/// What is not said is as the engine has it.
fn limits(fields: &Fields, given: ReadLimits) -> Result<ReadLimits, Exception> {
    let said = |name, otherwise: u64| number(fields, name).map(|it| if it == 0 { otherwise } else { it });
    let threads = said("max_threads", given.threads as u64)?;
    Ok(ReadLimits {
        execution_time: Duration::from_secs(said("max_execution_time", given.execution_time.as_secs())?),
        memory_usage: said("max_memory_usage", given.memory_usage)?,
        rows_to_read: said("max_rows_to_read", given.rows_to_read)?,
        bytes_to_read: said("max_bytes_to_read", given.bytes_to_read)?,
        result_bytes: said("max_result_bytes", given.result_bytes)?,
        threads: usize::try_from(threads).unwrap_or(given.threads),
        slot: given.slot,
    })
}

/// An answer as one document. Dropping it ends the query.
struct Document {
    rows: Rows,
    format: Format,
    asks_cost: bool,
    head: Head,
    tag: String,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Rows,
    End,
    /// An exception was written: what is left is to cut the connection.
    Failed,
}

impl Document {
    fn new(rows: Rows, format: Format, asks_cost: bool, head: Head) -> Document {
        let tag = format!("{:016x}", rand::random::<u64>());
        Document { rows, format, asks_cost, head, tag, stage: Stage::Start }
    }

    async fn reply(self, packing: Packing) -> Result<Response, Exception> {
        let mut response = self.begin(packing).await?;
        if let Some(encoding) = packing.encoding() {
            response.headers_mut().insert(header::CONTENT_ENCODING, encoding);
        }
        Ok(response)
    }

    async fn begin(mut self, packing: Packing) -> Result<Response, Exception> {
        let mut held = Vec::new();
        while held.len() < HELD {
            match self.next().await {
                Some(piece) => held.extend_from_slice(&piece.map_err(Exception::of_engine)?),
                None => {
                    let body = reply::packed(packing, Bytes::from(held));
                    return Ok(self.head.rows(self.format, body, &self.cost()));
                }
            }
        }
        let (head, format) = (self.head.clone(), self.format);
        let tag = HeaderValue::from_str(&self.tag);
        let beginning = stream::iter([Ok(Bytes::from(held))]);
        let rest = stream::unfold(self, async |mut document| Some((document.piece().await?, document)));
        let body = Body::from_stream(reply::packing(packing, StreamExt::chain(beginning, rest)));
        let mut response = head.rows(format, body, &Cost::default());
        if let Ok(tag) = tag {
            response.headers_mut().insert("x-clickhouse-exception-tag", tag);
        }
        Ok(response)
    }

    /// The next piece of the document.
    async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        let json = self.format == Format::Json;
        loop {
            match self.stage {
                Stage::Start => {
                    self.stage = Stage::Rows;
                    if json {
                        let columns = self.rows.columns().iter();
                        return Some(Ok(frame::head(columns.map(|it| (&*it.name, &*it.column_type)))));
                    }
                }
                Stage::Rows => match self.rows.next().await {
                    None => {
                        self.stage = Stage::End;
                        if json {
                            return Some(Ok(frame::tail(&self.end())));
                        }
                    }
                    piece => return piece,
                },
                Stage::End | Stage::Failed => return None,
            }
        }
    }

    /// The same as it goes over the wire, with what stands behind rows.
    async fn piece(&mut self) -> Option<io::Result<Bytes>> {
        if self.stage == Stage::Failed {
            tokio::time::sleep(reply::LAST_WORDS).await;
            return Some(Err(io::Error::other("the answer was cut")));
        }
        match self.next().await {
            Some(Ok(bytes)) => Some(Ok(bytes)),
            Some(Err(error)) => {
                self.stage = Stage::Failed;
                let words = Exception::of_engine(error).text(self.head.version());
                Some(Ok(reply::exception_in_body(&words, &self.tag).into()))
            }
            None if std::mem::take(&mut self.asks_cost) => {
                let cost = serde_json::to_string(&self.rows.statistics()).unwrap_or_default();
                Some(Ok(format!("{SUMMARY}{}\r\n{cost}\r\n", self.tag).into()))
            }
            None => None,
        }
    }

    fn end(&self) -> End<'_> {
        let statistics = self.rows.statistics();
        let (rows, totals) = (statistics.result_rows, self.rows.tail());
        End { rows, totals, rows_before_limit: self.rows.rows_before_limit(), statistics }
    }

    fn cost(&self) -> Cost {
        let statistics = self.rows.statistics();
        Cost {
            rows: statistics.result_rows,
            bytes: 0,
            rows_read: statistics.rows_read,
            bytes_read: statistics.bytes_read,
            elapsed: Duration::try_from_secs_f64(statistics.elapsed).unwrap_or_default(),
        }
    }
}

/// Whether a request asks for the engine itself.
pub(super) fn is_asked(headers: &HeaderMap, fields: &Fields) -> bool {
    let of_header = headers.get("x-clickhouse-user").and_then(|it| it.to_str().ok()).map(str::to_owned);
    let of_basic = || request::basic(headers).map(|it| it.0);
    let user = of_header.or_else(of_basic).or_else(|| fields.text("user"));
    user.as_deref() == Some(USER)
}
