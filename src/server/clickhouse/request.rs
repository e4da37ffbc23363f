//! What a request asks, as ClickHouse reads it: credentials, the query in URL and body, its parameters and settings.
//!
//! In: headers, the query string, the unpacked body. Out: [`Asked`]. Running it is not known here.

use super::{
    error::{self, Exception},
    pack::{self, Packing},
    settings,
};
use crate::{
    auth::{Access, Limits},
    query::Format,
    server::{
        error::ApiError,
        params::Fields,
        upload::{self, Part},
    },
    sql::scan::{
        self,
        client::{self, InsertHead},
    },
};
use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// Who somebody says to be. Only the password counts.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) password: Option<String>,
}

pub(super) struct Asked {
    pub(super) work: Work,
    /// The URL's fields and those of a multipart body.
    pub(super) fields: Fields,
    /// The database that names without one are in; empty where the client did not say.
    pub(super) database: String,
    /// Values of `{name:Type}`, as they came.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) packing: Packing,
    /// The client wants to know how it ended before the answer begins.
    pub(super) wait: bool,
    /// What settings limit besides the token's own limits.
    pub(super) limits: Limits,
    /// Two inserts with the same one are one.
    pub(super) deduplication_token: Option<String>,
}

pub(super) enum Work {
    /// A query, its FORMAT taken off.
    Read {
        text: String,
        format: Option<String>,
    },
    Insert {
        head: InsertHead,
        data: Bytes,
    },
}

/// Where an INSERT's rows begin is found within so many bytes.
const MAX_HEAD: usize = 64 << 10;

/// How long a name may be that a client gives to its query.
const MAX_QUERY_ID: usize = 200;

pub(super) fn credentials(headers: &HeaderMap, fields: &Fields) -> Credentials {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).filter(|it| !it.is_empty());
    let of_basic = || {
        let (scheme, value) = text(header::AUTHORIZATION.as_str())?.trim().split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(value.trim().to_owned());
        }
        Some(basic(headers)?.1)
    };
    let password = text("x-clickhouse-key").map(str::to_owned).or_else(of_basic).or_else(|| fields.text("password"));
    Credentials { password: password.filter(|it| !it.is_empty()) }
}

/// User and password of Basic authorization.
pub(super) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, value) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(value.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The name that a client gives to its query, to stand in the reply's head.
pub(super) fn query_id(fields: &Fields) -> Option<String> {
    let id = fields.text("query_id")?;
    let fits = !id.is_empty() && id.len() <= MAX_QUERY_ID && id.bytes().all(|it| it.is_ascii_graphic());
    fits.then_some(id)
}

impl Asked {
    pub(super) async fn read(
        headers: &HeaderMap,
        fields: Fields,
        body: Bytes,
        limit: usize,
        access: &Access,
    ) -> Result<Asked, Exception> {
        let (fields, body) = match upload::is_multipart(headers) {
            false => (fields, body),
            true => (with_parts(fields, upload::parts(headers, body).await?)?, Bytes::new()),
        };
        let settings = settings::read(&fields, access)?;
        let body = match settings.own_blocks_in {
            true => pack::unpacked(body, limit).await?,
            false => body,
        };
        let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
        let work = Work::read(&fields, body)?;
        let work = match work {
            Work::Read { text, format: None } => {
                let format = header("x-clickhouse-format").or_else(|| fields.text("default_format"));
                Work::Read { text, format }
            }
            work => work,
        };
        let accepted = header("accept-encoding").unwrap_or_default();
        let parameter = |name: &str| Some((name.strip_prefix("param_")?.to_owned(), fields.text(name)?));
        Ok(Asked {
            work,
            database: header("x-clickhouse-database").or_else(|| fields.text("database")).unwrap_or_default(),
            parameters: fields.names().filter_map(parameter).collect(),
            packing: Packing::choose(settings.own_blocks_out, settings.packs.then_some(accepted.as_str())),
            wait: settings.wait,
            limits: settings.limits,
            deduplication_token: fields.text("insert_deduplication_token").filter(|it| !it.is_empty()),
            fields,
        })
    }
}

impl Work {
    /// The query of the URL and the body are one text, as ClickHouse has it.
    fn read(fields: &Fields, body: Bytes) -> Result<Work, Exception> {
        let query = fields.text("query").filter(|it| !it.trim().is_empty());
        let whole = match query {
            None => body,
            Some(query) if body.is_empty() => Bytes::from(query),
            // The rows of a large insert are not copied.
            Some(query) if client::is_insert(&query) => {
                let head = client::insert_head(&query).map_err(ApiError::from)?;
                let rest = &query.as_bytes()[head.data..];
                let data =
                    if rest.iter().all(u8::is_ascii_whitespace) { body } else { [rest, b"\n", &body].concat().into() };
                return Ok(Work::Insert { head, data });
            }
            Some(query) => [query.as_bytes(), b"\n", &body].concat().into(),
        };
        let beginning = text_of(&whole[..whole.len().min(MAX_HEAD)]);
        if client::is_insert(beginning) {
            let head = client::insert_head(beginning).map_err(ApiError::from)?;
            let data = whole.slice(head.data..);
            return Ok(Work::Insert { head, data });
        }
        let text = String::from_utf8(whole.to_vec()).map_err(|_| Exception::new(62, "the query is not UTF-8"))?;
        Ok(match scan::cut_format(&text) {
            (text, Some(format)) => Work::Read { text: text.to_owned(), format: Some(format) },
            (_, None) => Work::Read { text, format: None },
        })
    }
}

/// The format of an answer that is asked for.
pub(super) fn format(name: Option<&str>) -> Result<Format, Exception> {
    match name {
        None | Some("") => Ok(Format::Tsv),
        Some(name) => Format::parse_wire(name)
            .ok_or_else(|| Exception::new(error::UNKNOWN_FORMAT, format!("Unknown format {name}"))),
    }
}

/// As much of it as is text.
fn text_of(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// Fields of a form beside those of the URL; tables that come as files are not taken.
pub(super) fn with_parts(fields: Fields, parts: Vec<Part>) -> Result<Fields, Exception> {
    let mut more = Vec::new();
    for Part { field, file_name, bytes } in parts {
        if file_name.is_some() {
            return Err(Exception::new(error::NOT_IMPLEMENTED, format!("the external table `{field}` is not taken")));
        }
        let text = String::from_utf8(bytes.to_vec());
        more.push((field, text.map_err(|_| Exception::new(62, "a field of the form is not UTF-8"))?));
    }
    Ok(fields.and(more.into_iter().collect()))
}
