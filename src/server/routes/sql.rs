//! `/v0/sql`: a query in the caller's own words, over what the token may read.

use crate::{
    name::ResourceName,
    query::{Format, Request, Target},
    server::{
        Context, answer,
        error::{ApiError, Fault},
        extract::{Came, Who},
        params::{Body, Fields},
        read::{self, Asking},
    },
    sql::scan,
};
use axum::{body::Bytes, extract::State, response::Response};
use serde_json::json;

pub(super) async fn ask(
    State(context): State<Context>,
    came: Came,
    who: Who,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(came.uri.query());
    let mut text = None;
    match Body::read(&came.headers, &body)? {
        Body::Empty => (),
        Body::Fields(more) => fields = fields.and(more),
        Body::Text(sql) => text = Some(sql),
    }
    let text = fields.text("q").or(text).filter(|it| !it.trim().is_empty()).ok_or(Fault::Missing("q"))?;
    let call = read::call(&came, &who, &fields);
    let (text, format) = scan::cut_format(&text);
    let explain = scan::cut_explain(text);
    let text = explain.as_ref().map_or(text, |it| it.query);
    let format = match format {
        None => Format::Json,
        Some(name) => Format::parse(&name).ok_or_else(|| {
            let known = Format::ALL.map(Format::name).join(", ");
            Fault::Bad { field: "q", message: format!("FORMAT {name} is not known; there are {known}") }
        })?,
    };
    let budgets = context.settings.templates;
    let asking = match fields.text("pipeline") {
        Some(pipe) => {
            let pipe = ResourceName::new(&pipe).map_err(|_| read::no_such_endpoint(&who, &pipe))?;
            let params = read::without(fields.template_params(), "pipeline");
            let over = Some(text.to_owned());
            let name = Some(pipe.to_string());
            Asking { pipe: name, request: Request { over, format, budgets, ..Request::pipe(pipe, params) }, call }
        }
        None => {
            let target = Target::Sql(text.to_owned());
            let request = Request { target, params: fields.template_params(), format, budgets, ..Request::sql("") };
            Asking { pipe: None, request, call }
        }
    };
    if explain.is_some() || fields.flag("explain") {
        let mut lines = read::explain(&context, &came, &who, asking).await?;
        lines.truncate(explain.and_then(|it| it.most).unwrap_or(usize::MAX));
        let text = explained(&lines, format).ok_or_else(|| Fault::Bad {
            field: "q",
            message: "a plan comes in JSON, JSONEachRow, CSV, CSVWithNames, TSV and TSVWithNames".to_owned(),
        })?;
        return Ok(answer::typed(format, text.into()));
    }
    read::ask(&context, &came, &who, asking).await
}

/// A plan in the form of an answer; nothing in a format that is not made of lines.
fn explained(lines: &[String], format: Format) -> Option<String> {
    let head = matches!(format, Format::CsvWithNames | Format::TsvWithNames).then_some("explain");
    let lines = head.into_iter().chain(lines.iter().map(String::as_str));
    Some(match format {
        Format::Json => {
            let data: Vec<_> = lines.map(|it| json!({ "explain": it })).collect();
            let meta = json!([{ "name": "explain", "type": "String" }]);
            let statistics = json!({ "elapsed": 0.0, "rows_read": 0, "bytes_read": 0 });
            json!({ "meta": meta, "rows": data.len(), "data": data, "statistics": statistics }).to_string()
        }
        Format::JsonEachRow => lines.map(|it| format!("{}\n", json!({ "explain": it }))).collect(),
        Format::Csv | Format::CsvWithNames => lines.map(|it| format!("\"{}\"\n", it.replace('"', "\"\""))).collect(),
        Format::Tsv | Format::TsvWithNames => {
            lines.map(|it| it.replace('\\', "\\\\").replace('\t', "\\t").replace('\'', "\\'") + "\n").collect()
        }
        Format::PrettyCompact | Format::Parquet | Format::Prometheus | Format::Wire(_) => return None,
    })
}
