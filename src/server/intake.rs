//! A file in a request, as it comes: the body itself, or a part of a multipart body, onto the disk.
//!
//! In: headers and a body. Out: a file of these bytes, within the limits. What is in it is not known here.

use super::{Settings, entry::drain, error::Fault, params::Fields, upload};
use crate::app::check_space;
use axum::{
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request},
    http::{HeaderMap, header, request::Parts},
};
use futures_util::{Stream, StreamExt, stream};
use std::{
    fs,
    io::{self, Write},
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

/// What is known of a file that is on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// As the client calls it.
    pub(super) name: Option<String>,
    pub(super) bytes: u64,
}

/// Bytes that are written at a time.
const BUFFER: usize = 1 << 20;

/// Room is looked for after so many bytes again.
const LOOKED_FOR: u64 = 64 << 20;

/// Whether a body is a file: it is not where a form or JSON says what the call is about. `curl --data-binary` calls
/// a file a form too; a large one is none.
pub(super) fn is_file(parts: &Parts, max_body: usize) -> bool {
    let wanted = parts.uri.path().starts_with("/v1/")
        || Fields::of_query(parts.uri.query())
            .text("mode")
            .is_some_and(|it| ["append", "replace"].contains(&it.as_str()));
    let small = length(&parts.headers).is_some_and(|it| it <= max_body as u64);
    wanted && !(is_form(&parts.headers) && small)
}

pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    kind.is_some_and(|it| it.contains("x-www-form-urlencoded"))
}

/// Writes the file of a body: of a multipart body the first part that is a file, else the first part of all.
pub(super) async fn receive(
    settings: &Settings,
    headers: &HeaderMap,
    body: Body,
    path: &Path,
) -> Result<Received, Fault> {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let encoding = encoding.trim().to_ascii_lowercase();
    // What is packed is told by its first bytes later.
    let known = ["", "identity", "gzip", "x-gzip", "zstd"].contains(&encoding.as_str());
    let (limit, declared) = (settings.max_file, length(headers).unwrap_or_default());
    let welcome = match known {
        false => Err(Fault::BadBody(format!("the content encoding `{encoding}` is not known: gzip and zstd are"))),
        true if declared > limit => Err(Fault::FileTooLarge { limit }),
        // Twice: as it came, and as rows.
        true => room(path, declared.saturating_mul(2)),
    };
    if let Err(fault) = welcome {
        drain(headers.contains_key(header::EXPECT), body).await;
        return Err(fault);
    }
    let failed: Arc<Mutex<Option<Fault>>> = Arc::default();
    let bytes = chunks(body, settings, failed.clone());
    let received = if upload::is_multipart(headers) {
        multipart(headers, Body::from_stream(bytes), path).await
    } else {
        let mut file = Writing::create(path)?;
        let mut bytes = Box::pin(bytes);
        loop {
            match bytes.next().await {
                None => break file.end(None),
                Some(Ok(chunk)) => {
                    if let Err(fault) = file.write(&chunk) {
                        break Err(fault);
                    }
                }
                Some(Err(error)) => break Err(Fault::BadBody(error.to_string())),
            }
        }
    };
    // What cut the stream says more than what its reader makes of it.
    let cut = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (received, cut) {
        (Err(_), Some(fault)) => Err(fault),
        (received, _) => received,
    }
}

async fn multipart(headers: &HeaderMap, body: Body, path: &Path) -> Result<Received, Fault> {
    let bad = |error: &dyn std::fmt::Display| Fault::BadBody(format!("as multipart/form-data: {error}"));
    let mut request = Request::new(body);
    *request.headers_mut() = headers.clone();
    DefaultBodyLimit::disable().apply(&mut request);
    let mut multipart = Multipart::from_request(request, &()).await.map_err(|it| bad(&it.body_text()))?;
    let mut received = None;
    while let Some(mut field) = multipart.next_field().await.map_err(|it| bad(&it.body_text()))? {
        let name = field.file_name().map(str::to_owned);
        if received.as_ref().is_some_and(|it: &Received| it.name.is_some() || name.is_none()) {
            continue;
        }
        let mut file = Writing::create(path)?;
        while let Some(chunk) = field.chunk().await.map_err(|it| bad(&it.body_text()))? {
            file.write(&chunk)?;
        }
        received = Some(file.end(name)?);
    }
    received.ok_or_else(|| Fault::BadBody("it holds no file".to_owned()))
}

/// A body's pieces, none of them too late, all of them within the limit. Why they end early is left in `failed`.
fn chunks(
    body: Body,
    settings: &Settings,
    failed: Arc<Mutex<Option<Fault>>>,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    let (limit, patience) = (settings.max_file, settings.client_patience);
    let body: Pin<Box<_>> = Box::pin(body.into_data_stream());
    stream::unfold((body, 0u64), move |(mut body, seen)| {
        let failed = failed.clone();
        async move {
            let fail = |fault: Fault| {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
                Err(io::Error::other("the body was cut"))
            };
            let chunk = match tokio::time::timeout(patience, body.next()).await {
                Err(_) => fail(Fault::Timeout("the body")),
                Ok(None) => return None,
                Ok(Some(Err(error))) => fail(Fault::BadBody(error.to_string())),
                Ok(Some(Ok(chunk))) if seen + chunk.len() as u64 > limit => fail(Fault::FileTooLarge { limit }),
                Ok(Some(Ok(chunk))) => Ok(chunk),
            };
            let seen = seen + chunk.as_ref().map_or(0, |it| it.len() as u64);
            Some((chunk, (body, seen)))
        }
    })
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok())
}

fn room(path: &Path, wanted: u64) -> Result<(), Fault> {
    let folder = path.parent().unwrap_or(path);
    let checked = check_space(folder, wanted).map_err(|error| Fault::Internal(error.to_string()))?;
    checked.map_err(Fault::NoSpace)
}

/// A file that grows.
struct Writing<'a> {
    path: &'a Path,
    file: io::BufWriter<fs::File>,
    bytes: u64,
}

impl Writing<'_> {
    fn create(path: &Path) -> Result<Writing<'_>, Fault> {
        let file = fs::File::create(path).map_err(|error| Fault::Internal(error.to_string()))?;
        Ok(Writing { path, file: io::BufWriter::with_capacity(BUFFER, file), bytes: 0 })
    }

    /// Into the kernel's memory, mostly: it is a matter of microseconds.
    fn write(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        let before = self.bytes / LOOKED_FOR;
        self.bytes += chunk.len() as u64;
        if self.bytes / LOOKED_FOR != before {
            room(self.path, LOOKED_FOR)?;
        }
        self.file.write_all(chunk).map_err(|error| self.failed(&error))
    }

    fn end(mut self, name: Option<String>) -> Result<Received, Fault> {
        self.file.flush().map_err(|error| self.failed(&error))?;
        Ok(Received { name, bytes: self.bytes })
    }

    fn failed(&self, error: &io::Error) -> Fault {
        match room(self.path, LOOKED_FOR) {
            Err(fault @ Fault::NoSpace(_)) => fault,
            _ => Fault::Internal(error.to_string()),
        }
    }
}
