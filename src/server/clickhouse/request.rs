//! What a request asks, as ClickHouse reads it: credentials, the query in URL and body, its parameters and settings.
//!
//! In: headers, the query string, the unpacked body. Out: [`Asked`]. Running it is not known here.

use super::{
    error::{self, Exception},
    pack::Packing,
    settings,
};
use crate::{
    auth::{Access, Limits},
    query::Format,
    server::{
        params::Fields,
        upload::{self, Part},
    },
    sql::scan,
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
    /// The query, its FORMAT taken off.
    pub(super) text: String,
    format: Option<String>,
    /// The URL's fields and those of a multipart body.
    pub(super) fields: Fields,
    pub(super) packing: Packing,
    /// The client wants to know how it ended before the answer begins.
    pub(super) wait: bool,
    /// What settings limit besides the token's own limits.
    pub(super) limits: Limits,
}

/// How long a name may be that a client gives to its query.
const MAX_QUERY_ID: usize = 200;

pub(super) fn credentials(headers: &HeaderMap, fields: &Fields) -> Credentials {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).filter(|it| !it.is_empty());
    let of_basic = || {
        let (scheme, value) = text(header::AUTHORIZATION.as_str())?.trim().split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(value.trim().to_owned());
        }
        let decoded = BASE64_STANDARD.decode(value.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(password.to_owned())
    };
    let password = text("x-clickhouse-key").map(str::to_owned).or_else(of_basic).or_else(|| fields.text("password"));
    Credentials { password: password.filter(|it| !it.is_empty()) }
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
        access: &Access,
    ) -> Result<Asked, Exception> {
        let (fields, body) = match upload::is_multipart(headers) {
            false => (fields, body),
            true => (with_parts(fields, upload::parts(headers, body).await?)?, Bytes::new()),
        };
        let settings = settings::read(&fields, access)?;
        let body = String::from_utf8(body.to_vec()).map_err(|_| Exception::new(62, "the query is not UTF-8"))?;
        let text = match fields.text("query").filter(|it| !it.is_empty()) {
            Some(query) if body.is_empty() => query,
            Some(query) => format!("{query}\n{body}"),
            None => body,
        };
        let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
        let (text, format) = match scan::cut_format(&text) {
            (text, Some(format)) => (text.to_owned(), Some(format)),
            (text, None) => (text.to_owned(), None),
        };
        let format = format.or_else(|| header("x-clickhouse-format")).or_else(|| fields.text("default_format"));
        let accepted = header("accept-encoding").unwrap_or_default();
        Ok(Asked {
            text,
            format,
            packing: Packing::choose(settings.own_frames, settings.packs.then_some(accepted.as_str())),
            wait: settings.wait,
            limits: settings.limits,
            fields,
        })
    }

    pub(super) fn format(&self) -> Result<Format, Exception> {
        match self.format.as_deref() {
            None | Some("") => Ok(Format::Tsv),
            Some(name) => Format::parse_wire(name)
                .ok_or_else(|| Exception::new(error::UNKNOWN_FORMAT, format!("Unknown format {name}"))),
        }
    }
}

/// Fields of a form beside those of the URL; tables that come as files are not taken.
fn with_parts(fields: Fields, parts: Vec<Part>) -> Result<Fields, Exception> {
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
