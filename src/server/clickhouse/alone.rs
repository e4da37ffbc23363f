//! An engine that is alone in its process, for the server that started it.
//!
//! In: an engine and a socket that only its owner can open. Out: what [`raw`] answers. There are no tokens here: whoever
//! opened the socket may say anything.

use super::{error::Exception, raw, reply::Head};
use crate::{
    engine::Engine,
    server::{clickhouse::request, params::Fields},
};
use axum::{
    body::{Body, Bytes},
    extract::Request,
    response::Response,
};
use futures_util::StreamExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, sync::Arc};
use tokio::net::UnixListener;

/// Serves for ever; what is dropped ends its queries.
pub async fn serve_engine(engine: Engine, listener: UnixListener) {
    let version: Arc<str> = engine.version().await.unwrap_or_default().into();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let (engine, version) = (engine.clone(), version.clone());
        let service = service_fn(move |request| {
            let (engine, version) = (engine.clone(), version.clone());
            async move { Ok::<_, Infallible>(answer(&engine, &version, request).await) }
        });
        tokio::spawn(async move { _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await });
    }
}

async fn answer(engine: &Engine, version: &Arc<str>, request: Request<Incoming>) -> Response {
    let (parts, body) = request.into_parts();
    let fields = Fields::of_query(parts.uri.query());
    let head = Head::new(&request::query_id(&fields).unwrap_or_default(), version);
    let answered = match pieces(body).await {
        Ok(body) => raw::answer(engine, &head, &parts.headers, &fields, body).await,
        Err(words) => Err(Exception::new(raw::CUT_BODY, format!("the body is not whole: {words}"))),
    };
    answered.unwrap_or_else(|exception| exception.reply(&head))
}

async fn pieces(body: Incoming) -> Result<Vec<Bytes>, String> {
    let (mut stream, mut size, mut res) = (Body::new(body).into_data_stream(), 0, Vec::new());
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| error.to_string())?;
        size += piece.len();
        if size > raw::MAX_BODY {
            return Err(format!("it has more than {} bytes", raw::MAX_BODY));
        }
        res.push(piece);
    }
    Ok(res)
}
