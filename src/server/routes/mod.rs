//! The routes, one file per API family, in three groups by what they take in and how long they may run.
//!
//! In: the shared context. Out: a router. What comes before a handler is `entry`'s.

mod absent;
mod api;
mod branches;
mod connectors;
mod datafiles;
mod datasources;
mod deploy;
mod events;
mod files;
mod health;
mod helpers;
mod identity;
mod jobs;
mod nodes;
mod openapi;
mod pipes;
mod quarantine;
mod releases;
mod resources;
mod scheduling;
mod scopes;
mod sql;
mod tags;
mod tokens;
mod variables;
mod workspace;

use super::{
    Context,
    entry::{self, Bodies, Door, Entry, Outermost},
    error::{ApiError, Fault},
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    response::IntoResponse,
    routing::{delete, get, post, put},
};
use std::sync::Arc;

pub(super) fn router(context: &Context) -> Router {
    let settings = &context.settings;
    let entry = |door, max_body, answer_within| Entry {
        context: context.clone(),
        door,
        max_body,
        bodies: Bodies::Whole,
        answer_within,
        gate: None,
    };
    let quick = Some(settings.answer_within);
    // A file or a project takes what it takes; the client sees it through or goes away.
    let large = |max_body| Entry { gate: Some(context.uploads.clone()), ..entry(Door::Token, max_body, None) };

    let open = Router::new()
        .route("/health", get(health::health))
        .route("/v0/health", get(health::health))
        .route("/v0/regions", get(identity::regions))
        .route("/version", get(identity::version))
        .route("/openapi.json", get(api::show))
        .fallback(absent::absent);
    let calls = Router::new()
        .route("/v0/connectors/", get(connectors::list).post(connectors::create))
        .route("/v0/connectors", get(connectors::list).post(connectors::create))
        .route("/v0/connectors/{name}/preview", get(connectors::preview))
        .route("/v0/pipes/openapi.json", get(openapi::show))
        .route("/v1/pipes", get(pipes::list))
        .route("/v1/pipes/{name}", get(pipes::show_or_ask))
        .route("/v0/sql", get(sql::ask).post(sql::ask))
        .route("/v0/tokens", get(tokens::list).post(tokens::create))
        .route("/v0/tokens/{name}", get(tokens::show).put(tokens::change).delete(tokens::remove))
        .route("/v0/tokens/{name}/audit", get(tokens::audit))
        .route("/v0/tokens/{name}/refresh", post(tokens::refresh))
        .route("/v0/variables", get(variables::list).post(variables::create))
        .route("/v0/variables/{name}", get(variables::show).put(variables::change).delete(variables::remove))
        .route("/v0/auth", get(identity::auth))
        .route("/v0/user/workspaces", get(identity::user_workspaces))
        .route("/v1/user/workspaces", get(identity::user_workspaces))
        .route("/v0/workspaces/{name}/releases", get(releases::list).post(releases::create))
        .route("/v0/workspaces/{name}/releases/oldest-rollback", get(releases::oldest_rollback))
        .route("/v0/workspaces/{name}/releases/{semver}", put(releases::change).delete(releases::remove))
        .route("/v0/templates", get(identity::templates))
        .route("/v0/sql_tables", get(helpers::tables).post(helpers::tables))
        .route("/v0/sql_format", get(helpers::format))
        .route("/v0/sql_replace", post(helpers::replace))
        .route("/v0/dependencies", get(helpers::dependencies))
        .route("/v0/pipes/{name}/explain", get(helpers::explain))
        .route("/examples/query.http", get(helpers::example))
        .route("/v0/jobs", get(jobs::list))
        .route("/v0/jobs/{id}", get(jobs::show))
        .route("/v0/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v0/workspace", get(workspace::show))
        .route("/v1/datasources/{name}/quarantine", get(quarantine::show))
        .route("/v1/workspace", get(workspace::show))
        .route("/v1/consumers/release", post(deploy::release_consumers));
    // What changes resources waits for deploys that are under way, and takes what it takes.
    let changes = Router::new()
        .route("/v0/workspaces", post(identity::create))
        .route("/v1/workspaces", post(identity::create))
        .route("/v0/workspaces/{name}", get(identity::show).delete(identity::remove))
        .route("/v1/workspaces/{name}", get(identity::show).delete(identity::remove))
        .route("/v0/workspaces/{name}/users", put(identity::members))
        .route("/v0/environments", get(branches::list).post(branches::create))
        .route("/v1/environments", get(branches::list).post(branches::create))
        .route("/v0/environments/{name}", get(branches::show).delete(branches::remove))
        .route("/v0/environments/{name}/{work}", post(branches::work))
        .route("/v0/environments/{name}/{work}/main", post(branches::work))
        // Changing one waits for deploys.
        .route("/v0/connectors/{name}", get(connectors::show).put(connectors::change).delete(connectors::remove))
        .route("/v0/tags", get(tags::list).post(tags::create))
        .route("/v0/tags/{name}", put(tags::change).delete(tags::remove))
        .route("/v0/datasources/{name}", get(datasources::show).put(resources::update).delete(resources::remove))
        .route("/v0/datasources/exchange", post(resources::exchange))
        .route("/v0/sql_copy", post(resources::copy_sql))
        .route("/v0/jobs/{id}/retry", post(jobs::retry))
        .route("/v0/datasources/{name}/scheduling/state", get(scheduling::show).put(scheduling::change))
        .route("/v0/datasources/{name}/scheduling/runs", post(scheduling::run))
        .route("/v0/datasources/{name}/start", post(scheduling::start))
        .route("/v0/datasources/{name}/stop", post(scheduling::stop))
        .route("/v0/datasources/{name}/alter", post(resources::alter))
        .route("/v0/datasources/{name}/share", post(resources::share).delete(resources::unshare))
        .route("/v0/datasources/{name}/truncate", post(resources::truncate))
        .route("/v0/datasources/{name}/delete", post(resources::delete_rows))
        .route("/v1/datasources/{name}/quarantine/replay", post(quarantine::replay))
        .route("/v0/pipes", get(pipes::list).post(nodes::create))
        .route("/v0/pipes/", get(pipes::list).post(nodes::create))
        .route("/v0/pipes/{name}", get(pipes::show_or_ask).post(pipes::ask).delete(nodes::remove))
        .route("/v0/pipes/{name}/copy", post(nodes::copy))
        .route("/v0/pipes/{name}/copy/{action}", post(nodes::schedule_copy))
        .route("/v0/pipes/{name}/sink", post(nodes::run_sink))
        .route("/v0/pipes/{name}/nodes", post(nodes::add))
        .route("/v0/pipes/{name}/nodes/{node}", put(nodes::change).delete(nodes::drop_node))
        .route("/v0/pipes/{name}/nodes/{node}/endpoint", post(nodes::publish).delete(nodes::unpublish))
        .route("/v0/pipes/{name}/nodes/{node}/analysis", get(nodes::analyse))
        .route("/v0/pipes/{name}/nodes/{node}/population", post(nodes::populate))
        .route("/v0/pipes/{name}/nodes/{node}/materialization", delete(nodes::unlink))
        .route("/v0/pipes/{name}/nodes/{node}/copy", post(nodes::set_copy).put(nodes::set_copy).delete(nodes::unlink))
        .route("/v0/pipes/{name}/nodes/{node}/sink", delete(nodes::unlink))
        .route("/v0/pipes/{name}/nodes/{node}/stream", delete(nodes::unlink));
    let events = Router::new().route("/v0/events", post(events::send));
    let files = Router::new()
        .route("/v0/datasources", get(datasources::list).post(files::load))
        .route("/v0/datasources/", get(datasources::list).post(files::load))
        .route("/v1/datasources/{name}/append", post(files::append))
        .route("/v1/datasources/{name}/replace", post(files::replace));
    let samples = Router::new().route("/v0/analyze", post(helpers::analyse));
    let projects =
        Router::new().route("/v1/deploy", post(deploy::deploy)).route("/v0/datafiles", post(datafiles::push));

    let outermost = Outermost { context: context.clone(), say: Arc::new(ApiError::into_response) };
    // Inside the entry, so that a wrong method tells a stranger no more than a right one.
    let enter = |router: Router<Context>, entry: Entry| {
        let router = router.method_not_allowed_fallback(async || ApiError::from(Fault::MethodNotAllowed));
        router.layer(from_fn_with_state(entry, entry::admit))
    };
    enter(open, entry(Door::Open, settings.max_body, quick))
        .merge(enter(calls, entry(Door::Token, settings.max_body, quick)))
        .merge(enter(changes, entry(Door::Token, settings.max_body, None)))
        .merge(enter(events, entry(Door::Token, settings.max_events, quick)))
        .merge(enter(files, Entry { bodies: Bodies::Files, ..large(settings.max_body) }))
        .merge(enter(samples, large(settings.max_insert)))
        .merge(enter(projects, large(settings.max_project)))
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(outermost, entry::observe))
        .with_state(context.clone())
}
