//! `/v0/sql`: a query in the caller's own words, over what the token may read.

use crate::{
    name::ResourceName,
    query::{Format, Request, Target},
    server::{
        Context,
        error::{ApiError, Fault},
        extract::{Came, Who},
        params::{Body, Fields},
        read::{self, Asking},
    },
    sql::scan,
};
use axum::{body::Bytes, extract::State, response::Response};

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
    let format = match format {
        None => Format::Json,
        Some(name) => Format::parse(&name).ok_or_else(|| {
            let known = Format::ALL.map(Format::name).join(", ");
            Fault::Bad { field: "q", message: format!("FORMAT {name} is not known; there are {known}") }
        })?,
    };
    let target = match fields.text("pipeline") {
        Some(pipe) => {
            let pipe = ResourceName::new(&pipe).map_err(|_| read::no_such_endpoint(&who, &pipe))?;
            return read::ask(
                &context,
                &came,
                &who,
                Asking {
                    call,
                    pipe: Some(pipe.to_string()),
                    request: Request {
                        params: read::without(fields.template_params(), "pipeline"),
                        over: Some(text.to_owned()),
                        format,
                        ..Request::pipe(pipe, Default::default())
                    },
                },
            )
            .await;
        }
        None => Target::Sql(text.to_owned()),
    };
    let budgets = context.settings.templates;
    let request = Request { target, params: fields.template_params(), format, budgets, ..Request::sql("") };
    read::ask(&context, &came, &who, Asking { pipe: None, request, call }).await
}
