//! The body of a server's answer: rows, and what may stand behind them.
//!
//! In: pieces of bytes as they arrive. Out: rows; at the end an exception, or what the answer has cost. How the bytes
//! came is not known here.

use crate::engine::{Column, End, EngineError, EngineErrorKind, Statistics, frame};
use bytes::Bytes;
use memchr::memmem;

/// What a server writes behind rows begins with a line like this, and its own random tag.
pub(crate) const EXCEPTION: &str = "\r\n__exception__\r\n";
/// Another birdhouse says there what the answer has cost, when it was asked to.
pub(crate) const SUMMARY: &str = "\r\n__summary__\r\n";

/// Parts rows from what a server writes behind them.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Both marks with their tag; nothing where the server has none.
    marks: Vec<Vec<u8>>,
    /// The tag, which both end in.
    tag: Option<memmem::Finder<'static>>,
    /// What may be the beginning of one.
    held: Vec<u8>,
    /// From the mark on.
    behind: Option<Vec<u8>>,
}

impl Marks {
    pub(super) fn new(tag: Option<&str>) -> Marks {
        let tag = tag.map(|it| format!("{it}\r\n"));
        let marks = tag.iter().flat_map(|tag| [EXCEPTION, SUMMARY].map(|it| format!("{it}{tag}").into_bytes()));
        Marks {
            marks: marks.collect(),
            tag: tag.as_ref().map(|it| memmem::Finder::new(it).into_owned()),
            ..Marks::default()
        }
    }

    /// The rows of a piece, as far as they are sure to be rows.
    pub(super) fn push(&mut self, piece: Bytes) -> Bytes {
        if let Some(behind) = &mut self.behind {
            behind.extend_from_slice(&piece);
            return Bytes::new();
        }
        let piece = match self.held.is_empty() {
            true => piece,
            false => [&std::mem::take(&mut self.held), &piece[..]].concat().into(),
        };
        if let Some(at) = self.find(&piece) {
            self.behind = Some(piece[at..].to_vec());
            return piece.slice(..at);
        }
        let sure = piece.len() - self.marks.iter().map(|mark| begun(&piece, mark)).max().unwrap_or_default();
        self.held = piece[sure..].to_vec();
        piece.slice(..sure)
    }

    /// Where the first mark begins. All of an answer goes through here, so it is searched once, for what both end in.
    fn find(&self, piece: &[u8]) -> Option<usize> {
        let tag = self.tag.as_ref()?;
        tag.find_iter(piece).find_map(|at| {
            let end = at + tag.needle().len();
            let mark = self.marks.iter().find(|it| piece[..end].ends_with(it))?;
            Some(end - mark.len())
        })
    }

    /// What was held back and is no mark.
    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held).into()
    }

    /// What stands behind the rows: an exception, the cost, or nothing.
    pub(super) fn behind(&self) -> Result<Option<Statistics>, EngineError> {
        let Some(behind) = &self.behind else { return Ok(None) };
        let text = String::from_utf8_lossy(behind);
        let after = |mark: &str| Some(text.strip_prefix(mark)?.split_once("\r\n")?.1.to_owned());
        if let Some(words) = after(EXCEPTION) {
            // The last lines repeat length, tag and mark.
            let words = words.split("\r\n__exception__").next().unwrap_or_default();
            let words = words.rsplit_once('\n').map_or(words, |it| it.0);
            return Err(of_server(words));
        }
        let cost = after(SUMMARY).and_then(|it| serde_json::from_str(it.trim_end()).ok());
        cost.map(Some).ok_or_else(|| EngineError::own(EngineErrorKind::Unreachable, "the answer was cut off"))
    }
}

/// How much of the end of a text may be the beginning of another.
fn begun(text: &[u8], whole: &[u8]) -> usize {
    let most = text.len().min(whole.len().saturating_sub(1));
    (1..=most).rev().find(|length| text.ends_with(&whole[..*length])).unwrap_or_default()
}

/// Takes a JSON document apart while it comes.
#[derive(Debug, Default)]
pub(super) enum Json {
    /// All until the rows.
    Head(Vec<u8>),
    /// What may be the beginning of their end.
    Rows(Vec<u8>),
    Tail(Vec<u8>),
    #[default]
    None,
}

const DATA: &[u8] = frame::DATA.as_bytes();
const DATA_END: &[u8] = frame::DATA_END.as_bytes();
/// Names and types of columns take no more than this.
const MAX_HEAD: usize = 16 << 20;

impl Json {
    pub(super) fn new() -> Json {
        Json::Head(Vec::new())
    }

    /// The columns, where this piece completes them, and the rows in it.
    pub(super) fn push(&mut self, piece: Bytes) -> Result<(Option<Vec<Column>>, Bytes), EngineError> {
        match self {
            Json::None => Ok((None, piece)),
            Json::Tail(tail) => {
                tail.extend_from_slice(&piece);
                Ok((None, Bytes::new()))
            }
            Json::Head(head) => {
                head.extend_from_slice(&piece);
                let Some(at) = memmem::find(head, DATA) else {
                    return if head.len() > MAX_HEAD { Err(unreadable()) } else { Ok((None, Bytes::new())) };
                };
                let rest = Bytes::from(head.split_off(at + DATA.len()));
                let meta = head[..at].strip_prefix(frame::META.as_bytes()).ok_or_else(unreadable)?;
                let columns = serde_json::from_slice(meta).map_err(|_| unreadable())?;
                *self = Json::Rows(Vec::new());
                Ok((Some(columns), self.push(rest)?.1))
            }
            Json::Rows(held) => {
                let piece = match held.is_empty() {
                    true => piece,
                    false => Bytes::from([&std::mem::take(held), &piece[..]].concat()),
                };
                if let Some(at) = memmem::find(&piece, DATA_END) {
                    *self = Json::Tail(piece[at..].to_vec());
                    return Ok((None, piece.slice(..at)));
                }
                let sure = piece.len() - begun(&piece, DATA_END);
                *held = piece[sure..].to_vec();
                Ok((None, piece.slice(..sure)))
            }
        }
    }

    /// What the document says behind its rows; an error where it has no end.
    pub(super) fn end(&self) -> Result<End, EngineError> {
        #[derive(serde::Deserialize, Default)]
        struct Read {
            rows: u64,
            rows_before_limit_at_least: Option<u64>,
            #[serde(default)]
            statistics: Cost,
        }
        #[derive(serde::Deserialize, Default)]
        struct Cost {
            rows_read: u64,
            bytes_read: u64,
        }
        let tail = match self {
            Json::None => return Ok(End::default()),
            Json::Tail(tail) => std::str::from_utf8(tail).map_err(|_| unreadable())?,
            Json::Head(_) | Json::Rows(_) => return Err(cut()),
        };
        let tail = tail.strip_prefix("\n\t],\n\n\t").ok_or_else(unreadable)?;
        let read: Read = serde_json::from_str(&format!("{{{tail}")).map_err(|_| cut())?;
        let totals = tail.split_once(frame::ROWS).map_or("", |it| it.0).trim_end().trim_end_matches(',');
        Ok(End {
            statistics: Statistics {
                elapsed: 0.0,
                rows_read: read.statistics.rows_read,
                bytes_read: read.statistics.bytes_read,
                result_rows: read.rows,
            },
            rows_before_limit: read.rows_before_limit_at_least,
            tail: totals.to_owned(),
        })
    }
}

fn unreadable() -> EngineError {
    EngineError::own(EngineErrorKind::Internal, "the engine's JSON has another shape")
}

/// What a server says. That it ends is not that we do.
pub(super) fn of_server(text: &str) -> EngineError {
    // As old ones write it.
    let error = EngineError::parse(&text.replacen(", e.displayText() = ", ". ", 1));
    match error.kind {
        EngineErrorKind::Closed => EngineError { kind: EngineErrorKind::Unreachable, ..error },
        _ => error,
    }
}

pub(super) fn cut() -> EngineError {
    EngineError::own(EngineErrorKind::Unreachable, "the engine's answer was cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes a text in pieces of so many bytes.
    fn pieces(text: &[u8], size: usize) -> impl Iterator<Item = Bytes> {
        text.chunks(size).map(Bytes::copy_from_slice)
    }

    #[test]
    fn an_exception_is_no_row_wherever_it_is_broken() {
        let rows = b"a\r\nb\r\n__exception__\r\nof another tag\r\n";
        let words = "Code: 395. DB::Exception: Value passed to 'throwIf' (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO) \
                     (version 26.7)";
        let behind = format!("\r\n__exception__\r\ntag7\r\n{words}\n{} tag7\r\n__exception__\r\n", words.len() + 1);
        let body = [&rows[..], behind.as_bytes()].concat();
        for size in 1..body.len() {
            let mut marks = Marks::new(Some("tag7"));
            let mut read: Vec<u8> = pieces(&body, size).flat_map(|it| marks.push(it)).collect();
            read.extend(marks.rest());
            assert_eq!(read, rows, "{size}");
            let error = marks.behind().unwrap_err();
            assert_eq!(error.code, 395);
            assert!(error.message.ends_with("NON_ZERO)"), "{error}");
        }
    }

    #[test]
    fn the_cost_stands_behind_rows() {
        let body =
            b"1\n\r\n__summary__\r\nt\r\n{\"elapsed\":0.5,\"rows_read\":3,\"bytes_read\":24,\"result_rows\":1}\r\n";
        let mut marks = Marks::new(Some("t"));
        let read: Vec<u8> = pieces(body, 7).flat_map(|it| marks.push(it)).collect();
        assert_eq!(read, b"1\n");
        assert_eq!(marks.behind().unwrap().unwrap().rows_read, 3);
    }

    #[test]
    fn a_document_is_taken_apart_wherever_it_is_broken() {
        let rows = "\t\t{\n\t\t\t\"n\": \"\\n\\t],\",\n\t\t\t\"t\": {\n\t\t\t\t\"a\": [1]\n\t\t\t}\n\t\t},\n\t\t{}";
        let totals = "\"totals\":\n\t{\n\t\t\"n\": 0\n\t}";
        let document = format!(
            "{{\n\t\"meta\":\n\t[\n\t\t{{\n\t\t\t\"name\": \"n\",\n\t\t\t\"type\": \"String\"\n\t\t}}\n\t],\n\n\t\
             \"data\":\n\t[\n{rows}\n\t],\n\n\t{totals},\n\n\t\"rows\": 2,\n\n\t\"rows_before_limit_at_least\": 9,\n\n\t\
             \"statistics\":\n\t{{\n\t\t\"elapsed\": 0.1,\n\t\t\"rows_read\": 5,\n\t\t\"bytes_read\": 40\n\t}}\n}}\n"
        );
        for size in 1..document.len() {
            let mut json = Json::new();
            let (mut columns, mut read) = (0, Vec::new());
            for piece in pieces(document.as_bytes(), size) {
                let (found, bytes) = json.push(piece).unwrap();
                columns += found.map_or(0, |it| it.len());
                read.extend_from_slice(&bytes);
            }
            assert_eq!((columns, std::str::from_utf8(&read).unwrap()), (1, rows), "{size}");
            let end = json.end().unwrap();
            assert_eq!((end.tail.as_str(), end.rows_before_limit, end.statistics.rows_read), (totals, Some(9), 5));
        }
        let mut json = Json::new();
        json.push(Bytes::from(document[..document.len() - 9].to_owned())).unwrap();
        assert_eq!(json.end().unwrap_err().kind, EngineErrorKind::Unreachable);
    }
}
