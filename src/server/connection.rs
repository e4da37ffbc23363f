//! Bytes in and out: accepting connections, HTTP/1.1 on them, and stopping without cutting answers short.
//!
//! In: listeners, each with its router, a future that says when to stop. Out: nothing, when all is closed. What the
//! routes do is not known here.

use super::Settings;
use axum::{
    Router,
    extract::Request,
    http::{Uri, uri::PathAndQuery},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{future::Future, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

/// How long to wait when the system gives no more connections: they end, and then it does.
const OUT_OF_SOCKETS: Duration = Duration::from_millis(100);

pub(super) async fn accept(
    doors: Vec<(Router, Vec<TcpListener>)>,
    settings: &Settings,
    shutdown: impl Future<Output = ()> + Send,
) {
    let mut http = http1::Builder::new();
    // Room for heads that are too long by our own rule, which is told in JSON; what is longer still is told
    // by the status alone.
    let room = settings.max_head * 4;
    http.timer(TokioTimer::new()).header_read_timeout(settings.client_patience).max_buf_size(room);
    let stop = CancellationToken::new();
    let places = Arc::new(Semaphore::new(settings.max_connections));
    let mut loops = JoinSet::new();
    for (router, listeners) in doors {
        for listener in listeners {
            loops.spawn(listen(listener, router.clone(), http.clone(), places.clone(), stop.clone()));
        }
    }
    shutdown.await;
    stop.cancel();
    let ended = async {
        let mut connections = JoinSet::new();
        while let Some(of_loop) = loops.join_next().await {
            if let Ok(mut of_loop) = of_loop {
                connections.spawn(async move { while of_loop.join_next().await.is_some() {} });
            }
        }
        while connections.join_next().await.is_some() {}
    };
    // What is not done by then is dropped with its join set, which ends its queries too.
    _ = tokio::time::timeout(settings.drain, ended).await;
}

/// Accepts until told to stop; gives back the connections that are still open.
async fn listen(
    listener: TcpListener,
    router: Router,
    http: http1::Builder,
    places: Arc<Semaphore>,
    stop: CancellationToken,
) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return connections,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = async {
                let place = places.clone().acquire_owned().await;
                (listener.accept().await, place)
            } => accepted,
        };
        match accepted {
            (Ok((stream, _)), place) => {
                let connection = serve(stream, router.clone(), http.clone(), stop.clone());
                connections.spawn(async move {
                    let _place = place;
                    connection.await;
                });
            }
            (Err(error), _) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(OUT_OF_SOCKETS).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router, http: http1::Builder, stop: CancellationToken) {
    _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        without_trailing_slash(request.uri_mut());
        router.clone().call(request)
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client that went away, or an answer that was cut and has been observed where it was.
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

/// `/v0/tokens/` is `/v0/tokens`. A redirect would lose the body of a POST.
fn without_trailing_slash(uri: &mut Uri) {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() || trimmed.len() == path.len() {
        return;
    }
    let text = match uri.query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    if let Ok(path_and_query) = PathAndQuery::try_from(text) {
        parts.path_and_query = Some(path_and_query);
        if let Ok(plain) = Uri::from_parts(parts) {
            *uri = plain;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_slashes_go_and_queries_stay() {
        for (given, expected) in [
            ("/v0/tokens/", "/v0/tokens"),
            ("/v0/tokens/?a=b/", "/v0/tokens?a=b/"),
            ("/v0/tokens?x=/", "/v0/tokens?x=/"),
            ("/", "/"),
            ("//", "//"),
            ("/v0/pipes/x.json//?q=1", "/v0/pipes/x.json?q=1"),
        ] {
            let mut uri: Uri = given.parse().unwrap();
            without_trailing_slash(&mut uri);
            assert_eq!(uri.to_string(), expected, "{given}");
        }
    }
}
