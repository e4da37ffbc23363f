//! The HTTP side: routes, who may call them, and what goes over the wire.
//!
//! In: an [`App`], listeners, and a future that says when to stop. Out: replies. Every route but the health
//! checks wants a token, and each handler asks the token's access for what it does: nothing is open by
//! omission. Flags and the terminal are not known here.
//!
//! A request goes: `connection` (bytes) -> `entry` (request id, token, body within its limit) -> `routes/*`
//! (one file per API family) -> [`App`] -> `answer` (rows on their way out) or `error` (the one table). On ports of its
//! own `clickhouse` speaks to ClickHouse's clients, over the same reads.

mod answer;
mod audit;
mod cache;
mod clickhouse;
mod connection;
mod entry;
mod error;
mod extract;
mod frame;
mod gate;
mod intake;
mod params;
mod rates;
mod read;
mod routes;
mod upload;

pub use clickhouse::serve_engine;

use crate::{app::App, observe::Sink, template::Budgets};
use cache::Cache;
use gate::Gate;
use rates::{Rates, Shares};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// How much the server takes upon itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The largest body of calls that carry only parameters, in bytes.
    pub max_body: usize,
    /// The largest project that can be deployed in one call.
    pub max_project: usize,
    /// The largest body of events, unpacked.
    pub max_events: usize,
    /// The largest file that can be appended in one call, as it is sent.
    pub max_file: u64,
    /// The largest body of an insert over ClickHouse's protocol, and of a file that is only looked at.
    pub max_insert: usize,
    /// ClickHouse's port lets whoever runs the server speak to the engine itself.
    pub clickhouse_admin: bool,
    /// The longest URL, and the most that headers may take, in bytes.
    pub max_head: usize,
    /// Reads whose answers have not begun, at the same time.
    pub max_running: usize,
    /// Reads that wait for one of those places; the next one is sent away with `Retry-After`. When they have stood
    /// for a second, no more may wait than may run.
    pub max_waiting: usize,
    /// Files and projects that are taken in at the same time.
    pub max_uploads: usize,
    pub max_connections: usize,
    /// How long a client may take to send a head, or be silent within a body or between requests.
    pub client_patience: Duration,
    /// How long a request may wait for its place.
    pub queue_patience: Duration,
    /// How long a read may take until its answer begins.
    pub answer_within: Duration,
    /// How far the templates of one request may go.
    pub templates: Budgets,
    /// How long running requests may go on after the server was told to stop.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Settings {
            max_body: 1 << 20,
            max_project: 32 << 20,
            max_events: 10 << 20,
            max_file: 10 << 30,
            max_insert: 128 << 20,
            clickhouse_admin: false,
            max_head: 32 << 10,
            max_running: cores * 4,
            max_waiting: cores * 32,
            max_uploads: 4,
            max_connections: 8192,
            client_patience: Duration::from_secs(75),
            queue_patience: Duration::from_secs(10),
            answer_within: Duration::from_secs(60),
            templates: Budgets::default(),
            drain: Duration::from_secs(10),
        }
    }
}

/// A queue of reads that stands for longer than this is kept as short as keeps their latency within twice the work's.
const BURST: Duration = Duration::from_secs(1);

/// Where the server listens.
#[derive(Debug, Default)]
pub struct Listeners {
    pub api: Vec<TcpListener>,
    /// For whoever speaks to ClickHouse over HTTP.
    pub clickhouse: Vec<TcpListener>,
}

impl From<Vec<TcpListener>> for Listeners {
    fn from(api: Vec<TcpListener>) -> Listeners {
        Listeners { api, clickhouse: Vec::new() }
    }
}

/// What handlers share. Cheap to clone.
#[derive(Debug, Clone)]
struct Context {
    app: App,
    sink: Sink,
    settings: Arc<Settings>,
    reads: Gate,
    uploads: Gate,
    rates: Rates,
    /// Of tokens.
    shares: Shares,
    /// Of workspaces.
    parts: Shares,
    cache: Cache,
}

/// Serves until `shutdown` is ready, then lets running requests end for a while.
///
/// Returns when every connection is closed. The app is left open: whoever opened it closes it.
pub async fn serve(
    app: App,
    sink: Sink,
    settings: Settings,
    listeners: impl Into<Listeners>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let Listeners { api, clickhouse } = listeners.into();
    let context = Context {
        app,
        sink,
        reads: Gate::new(settings.max_running, settings.max_waiting, settings.queue_patience).bursts(BURST),
        uploads: Gate::new(settings.max_uploads, settings.max_uploads * 8, settings.queue_patience),
        rates: Rates::default(),
        // Half of the queue is always left for the other tokens.
        shares: Shares::new(settings.max_running + settings.max_waiting / 2),
        parts: Shares::new(usize::MAX),
        cache: Cache::default(),
        settings: Arc::new(settings),
    };
    let mut doors = vec![(routes::router(&context), api)];
    if !clickhouse.is_empty() {
        doors.push((clickhouse::router(&context).await, clickhouse));
    }
    connection::accept(doors, &context.settings, shutdown).await;
}
