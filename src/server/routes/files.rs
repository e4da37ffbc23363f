//! `/v0/datasources?mode=append|replace` and `/v1/datasources/{name}/append|replace`: rows from files.

use super::{jobs, resources};
use crate::{
    app::{AppendMode, Dialect, FileFormat, Incoming, Source, Upload},
    project::Datasource,
    server::{
        Context,
        entry::drain,
        error::{ApiError, Fault},
        extract::{Name, Who},
        intake,
        params::{Body, Fields},
    },
};
use axum::{
    Json, body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Serialize)]
struct LoadedWire {
    datasource: Value,
    import_id: String,
    quarantine_rows: u64,
    invalid_lines: u64,
    /// Clients look for something true here.
    error: Option<()>,
    errors: Vec<String>,
    blocks: [Block; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

#[derive(Serialize)]
struct Block {
    block_id: String,
    process_return: [ProcessReturn; 1],
}

#[derive(Serialize)]
struct ProcessReturn {
    lines: u64,
    parser: &'static str,
    quarantine: u64,
    empty_lines: u64,
    bytes: u64,
    invalid_lines: u64,
}

/// Said of every replacement, so that it tells nothing of what the caller may not see.
const VIEWS_STAY: &str = "materialized views of this data source keep the rows that they had: populate them anew";

/// Names of files are kept up to this length.
const LONGEST: usize = 100;

/// Fields of which one stands in every form that is no file.
const FIELDS: &[&str] = &["mode", "name", "url", "format", "schema", "connector", "service", "engine"];

/// The file is the first part of a multipart body that is one, whatever it is called, or the body itself.
pub(super) async fn load(
    State(context): State<Context>,
    who: Who,
    uri: Uri,
    headers: HeaderMap,
    body: body::Body,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(uri.query());
    let (mut body, mut form) = (body, None);
    if intake::is_form(&headers) || !["append", "replace"].contains(&mode(&fields).as_str()) {
        // The entry has held it to what forms may have, or it is a file by its size.
        let bytes = body::to_bytes(body, context.settings.max_body).await;
        let bytes = bytes.map_err(|_| Fault::TooLarge { limit: context.settings.max_body })?;
        match Body::read(&headers, &bytes).and_then(Body::fields) {
            Ok(given) if bytes.is_empty() || FIELDS.iter().any(|it| given.text(it).is_some()) => form = Some(given),
            Ok(_) | Err(_) => {}
        }
        body = bytes.into();
    }
    let is_form = form.is_some();
    if let Some(given) = form {
        fields = fields.and(given);
    }
    let wanted = match mode(&fields).as_str() {
        "append" => AppendMode::Append,
        "replace" => replacing(&fields),
        "" | "create" => return Ok(resources::create(who, fields).await?.into_response()),
        other => {
            let message = format!("`{other}` is not known: append and replace are");
            return Err(Fault::Bad { field: "mode", message }.into());
        }
    };
    let found = fields.required("name").map_err(ApiError::from).and_then(|it| Ok(datasource(&who, &it, &wanted)?));
    let datasource = match found {
        Ok(_) if is_form && fields.text("url").is_none() => return Err(Fault::Missing("file").into()),
        Ok(datasource) => datasource,
        Err(error) => {
            drain(headers.contains_key(header::EXPECT), body).await;
            return Err(error);
        }
    };
    let is_remote = fields.text("url").is_some();
    let call = Call { context, who, headers, fields, datasource, mode: wanted };
    if is_remote { call.later(body, StatusCode::OK).await } else { call.now(body).await }
}

pub(super) async fn append(
    State(context): State<Context>,
    who: Who,
    Name(name): Name,
    uri: Uri,
    headers: HeaderMap,
    body: body::Body,
) -> Result<Response, ApiError> {
    let fields = Fields::of_query(uri.query());
    later(context, who, &name, fields, headers, body, AppendMode::Append).await
}

pub(super) async fn replace(
    State(context): State<Context>,
    who: Who,
    Name(name): Name,
    uri: Uri,
    headers: HeaderMap,
    body: body::Body,
) -> Result<Response, ApiError> {
    let fields = Fields::of_query(uri.query());
    let mode = replacing(&fields);
    later(context, who, &name, fields, headers, body, mode).await
}

async fn later(
    context: Context,
    who: Who,
    name: &str,
    fields: Fields,
    headers: HeaderMap,
    body: body::Body,
    mode: AppendMode,
) -> Result<Response, ApiError> {
    match datasource(&who, name, &mode) {
        Ok(datasource) => {
            Call { context, who, headers, fields, datasource, mode }.later(body, StatusCode::ACCEPTED).await
        }
        Err(fault) => {
            drain(headers.contains_key(header::EXPECT), body).await;
            Err(fault.into())
        }
    }
}

/// Everything that is asked for but the file.
struct Call {
    context: Context,
    who: Who,
    headers: HeaderMap,
    fields: Fields,
    datasource: Arc<Datasource>,
    mode: AppendMode,
}

impl Call {
    /// Answers when the rows are in.
    async fn now(self, body: body::Body) -> Result<Response, ApiError> {
        let (incoming, upload) = self.received(body).await?;
        let Call { who, datasource, mode, .. } = self;
        let warning = (mode != AppendMode::Append).then_some(VIEWS_STAY);
        let appended = who.workspace.load(incoming, upload, &datasource.name, mode).await?;
        let process_return = ProcessReturn {
            lines: appended.rows,
            parser: "birdhouse",
            quarantine: appended.quarantined,
            empty_lines: 0,
            bytes: appended.bytes,
            invalid_lines: 0,
        };
        let id = who.id_of("datasource", datasource.name.as_str());
        let reply = LoadedWire {
            datasource: json!({ "id": id, "name": datasource.name.to_string() }),
            quarantine_rows: appended.quarantined,
            invalid_lines: 0,
            error: None,
            errors: appended.errors,
            blocks: [Block { block_id: appended.import_id.clone(), process_return: [process_return] }],
            import_id: appended.import_id,
            warning,
        };
        Ok(Json(reply).into_response())
    }

    /// Answers when the file is on the disk or is known to be elsewhere, with a job.
    async fn later(self, body: body::Body, status: StatusCode) -> Result<Response, ApiError> {
        let (source, upload) = match self.fields.text("url").filter(|it| !it.trim().is_empty()) {
            Some(url) => self.remote(&url)?,
            None => {
                let (incoming, upload) = self.received(body).await?;
                (Source::Here(incoming), upload)
            }
        };
        let Call { who, headers, datasource, mode, .. } = self;
        let warning = (mode != AppendMode::Append).then_some(VIEWS_STAY);
        let job = who.workspace.load_as_job(source, upload, &datasource.name, mode)?;
        let mut reply = jobs::begun(&headers, &who, &job);
        reply["import_id"] = json!(job.id);
        if let Some(warning) = warning {
            reply["warning"] = json!(warning);
        }
        Ok((status, Json(reply)).into_response())
    }

    fn remote(&self, url: &str) -> Result<(Source, Upload), ApiError> {
        let (format, dialect) = (self.format()?, dialect(&self.fields)?);
        let source = self.who.workspace.source(url)?;
        let Source::At(url) = &source else { return Err(Fault::Missing("url").into()) };
        let name = url.path().rsplit('/').next().unwrap_or_default().to_owned();
        let format = format.or(FileFormat::of_name(&name)).unwrap_or(FileFormat::Csv);
        Ok((source, Upload { name: shown(&name, format), format, dialect }))
    }

    async fn received(&self, body: body::Body) -> Result<(Incoming, Upload), ApiError> {
        let expected = self.headers.contains_key(header::EXPECT);
        let prepared = self.format().and_then(|it| Ok((it, dialect(&self.fields)?)));
        let (format, dialect) = match prepared {
            Ok(prepared) => prepared,
            Err(fault) => {
                drain(expected, body).await;
                return Err(fault.into());
            }
        };
        let incoming = self.who.workspace.receive()?;
        let received = intake::receive(&self.context.settings, &self.headers, body, &incoming.path()).await?;
        let format = format.or(received.name.as_deref().and_then(FileFormat::of_name)).unwrap_or(FileFormat::Csv);
        let name = received.name.unwrap_or_else(|| self.datasource.name.to_string());
        Ok((incoming, Upload { name: shown(&name, format), format, dialect }))
    }

    /// Where it is not said, the file's name says it.
    fn format(&self) -> Result<Option<FileFormat>, Fault> {
        let given = self.fields.text("format").unwrap_or_default();
        match given.to_ascii_lowercase().as_str() {
            "" => Ok(None),
            "csv" => Ok(Some(FileFormat::Csv)),
            "ndjson" | "json" | "jsonl" => Ok(Some(FileFormat::Ndjson)),
            "parquet" => Ok(Some(FileFormat::Parquet)),
            other => Err(Fault::Bad {
                field: "format",
                message: format!("`{other}` is not known: csv, ndjson and parquet are"),
            }),
        }
    }
}

fn mode(fields: &Fields) -> String {
    fields.text("mode").unwrap_or_default()
}

fn replacing(fields: &Fields) -> AppendMode {
    match fields.given("replace_condition") {
        Some(condition) => {
            AppendMode::ReplaceWhere { condition, when_empty: fields.flag("replace_truncate_when_empty") }
        }
        None => AppendMode::Replace,
    }
}

fn datasource(who: &Who, name: &str, mode: &AppendMode) -> Result<Arc<Datasource>, Fault> {
    let found = who.datasource(name).filter(|it| match mode {
        AppendMode::Append => who.access.may_append(&it.name),
        AppendMode::Replace | AppendMode::ReplaceWhere { .. } => {
            who.access.may_create_datasource() || who.access.may_drop_datasource(&it.name)
        }
    });
    found.ok_or_else(|| who.missing("data source", name))
}

fn dialect(fields: &Fields) -> Result<Dialect, Fault> {
    let byte = |field: &'static str| {
        // A tab or a blank is a character like others here.
        let Some(text) = fields.text(field).filter(|it| !it.is_empty() && it != "None") else { return Ok(None) };
        let text = match text.as_str() {
            "\\t" => "\t",
            "\\n" | "\r\n" | "\\r\\n" => "\n",
            "\\r" => "\r",
            text => text,
        };
        match text.as_bytes() {
            [byte] if byte.is_ascii() => Ok(Some(*byte)),
            _ => Err(Fault::Bad { field, message: "one character of ASCII is expected".to_owned() }),
        }
    };
    Ok(Dialect {
        delimiter: byte("dialect_delimiter")?,
        new_line: byte("dialect_new_line")?.filter(|it| *it != b'\n'),
        escape: byte("dialect_escapechar")?.filter(|it| *it != b'"'),
    })
}

/// What a file is called where its rows are refused. Whoever reads its rows again tells CSV by its end.
fn shown(name: &str, format: FileFormat) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
    let plain = |it: char| if it.is_control() || it == ':' { '_' } else { it };
    let name: String = name.chars().map(plain).take(LONGEST).collect();
    let end = match format {
        FileFormat::Csv => ".csv",
        FileFormat::Ndjson => ".ndjson",
        FileFormat::Parquet => ".parquet",
    };
    if name.ends_with(end) { name } else { format!("{name}{end}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_harmless() {
        assert_eq!(shown("a.csv", FileFormat::Csv), "a.csv");
        assert_eq!(shown("../x/a.csv.gz", FileFormat::Csv), "a.csv");
        assert_eq!(shown("C:\\b\nc.txt", FileFormat::Ndjson), "b_c.txt.ndjson");
    }

    #[test]
    fn a_dialect_is_read() {
        let fields = Fields::of_query(Some("dialect_delimiter=%3B&dialect_new_line=%0A&dialect_escapechar=%5C"));
        let wanted = Dialect { delimiter: Some(b';'), new_line: None, escape: Some(b'\\') };
        assert_eq!(dialect(&fields), Ok(wanted));
        assert!(dialect(&Fields::of_query(Some("dialect_delimiter=ab"))).is_err());
    }
}
