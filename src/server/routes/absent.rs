//! Routes of Tinybird's own that are not here, with the reason: a client shows it to whoever typed the command.

use crate::server::error::{ApiError, Fault};
use axum::http::Uri;

/// Where a path begins so, it is one of these.
const ABSENT: [(&str, &str); 9] = [
    (
        "/v1/deployments",
        "there are no deployments to look at or to promote: what is deployed is live once the call that brings it is answered",
    ),
    ("/v1/build", "projects are not built on this server: `birdhouse check` looks at one, `birdhouse push` deploys it"),
    ("/v1/migrate-to-forward", "nothing has to be migrated: a workspace takes Classic and Forward projects alike"),
    ("/tokens", "this server gives its tokens to nobody who asks: the administrator's is in its data directory"),
    ("/v0/organizations", "there are no organizations here"),
    ("/v1/billing", "there is nothing to pay here"),
    ("/v1/infra", "this server is all the infrastructure there is"),
    ("/v0/playgrounds", "there are no playgrounds here"),
    ("/v0/integrations", "connections to other services than Kafka are not known here"),
];

pub(super) async fn absent(uri: Uri) -> ApiError {
    let is_below = |begin: &str| uri.path().strip_prefix(begin).is_some_and(|it| it.is_empty() || it.starts_with('/'));
    let found = ABSENT.iter().find(|(begin, _)| is_below(begin));
    found.map_or(Fault::NoRoute, |(_, words)| Fault::Absent(words)).into()
}
