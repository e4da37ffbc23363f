//! What happened, as one enum, and the one sink it goes to.
//!
//! Logs, metrics and the `tinybird.*` service data sources are views of [`Observation`]; whoever does
//! something worth knowing says so here and nowhere else. This module does not know who observes.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

#[derive(Debug, Clone)]
pub enum Observation {
    ServerStarted {
        address: String,
    },
    /// Others than this machine reach the server, without TLS.
    ServerOpen {
        address: String,
    },
    ServerStopped,
    Deployed {
        changed: usize,
        elapsed: Duration,
    },
    DeployFailed {
        message: String,
    },
    Request {
        request_id: String,
        method: String,
        path: String,
        status: u16,
        elapsed: Duration,
        error: Option<String>,
    },
    /// A pipe or `/v0/sql` was asked. `pipe` is nothing for `/v0/sql`.
    Query {
        request_id: String,
        pipe: Option<String>,
        status: u16,
        elapsed: Duration,
        rows_read: u64,
        bytes_read: u64,
        rows: u64,
        error: Option<String>,
        call: Box<Call>,
        /// It asked for what is kept of such calls: it is not kept itself.
        about_calls: bool,
    },
    /// Somebody was denied something, or did what changes the workspace. Nothing in it is a token.
    Audited {
        request_id: String,
        /// Empty where the caller's token is none.
        token_name: String,
        method: String,
        path: String,
        /// What it is about, where a field of the request says so and not the path.
        resource: String,
        status: u16,
    },
    /// A data source was made, changed, emptied or dropped.
    Operation {
        kind: &'static str,
        datasource: String,
        elapsed: Duration,
    },
    /// A job is new or has come further.
    Job(Box<JobState>),
    /// An answer had begun when the engine failed; the connection was cut.
    AnswerCut {
        request_id: String,
        message: String,
    },
    Inserted {
        datasource: String,
        rows: u64,
        quarantined: u64,
        elapsed: Duration,
        source: &'static str,
    },
    InsertFailed {
        datasource: String,
        message: String,
        retry_in: Option<Duration>,
    },
    Kafka {
        datasource: String,
        topic: String,
        partition: Option<i32>,
        level: Level,
        message: String,
    },
    /// Messages of one partition are in.
    KafkaRead(Box<KafkaRead>),
    Engine {
        level: Level,
        message: String,
    },
}

/// A batch of messages that came in.
#[derive(Debug, Clone)]
pub struct KafkaRead {
    pub datasource: String,
    pub topic: String,
    pub partition: i32,
    pub messages: u64,
    pub bytes: u64,
    /// Messages of the partition that are still to come.
    pub lag: i64,
    /// From its first message to its last, to make rows of them, to insert those.
    pub reading: Duration,
    pub decoding: Duration,
    pub inserting: Duration,
}

/// How somebody asked an endpoint or `/v0/sql`. Nothing in it is a token.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub method: String,
    /// Path and query; nothing where that is too long to keep.
    pub url: Option<String>,
    pub parameters: Vec<(String, String)>,
    /// The token's id, which opens nothing.
    pub token: String,
    pub token_name: String,
    pub user_agent: Option<String>,
}

/// A job at one moment, in words.
#[derive(Debug, Clone)]
pub struct JobState {
    pub id: String,
    pub kind: &'static str,
    pub status: &'static str,
    pub pipe: Option<String>,
    pub datasource: Option<String>,
    pub created_at: String,
    pub updated_at: String,
    pub started_at: Option<String>,
    pub error: Option<String>,
    pub rows: Option<u64>,
    pub elapsed: Duration,
    pub is_end: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    Warning,
    Error,
}

/// Where observations go. Cheap to clone; every clone is the same sink.
#[derive(Clone, Default)]
pub struct Sink {
    views: Arc<Mutex<Vec<View>>>,
}

type View = Arc<dyn Fn(&Observation) + Send + Sync>;

impl Sink {
    /// A sink that writes each observation to the log.
    pub fn logging() -> Sink {
        let sink = Sink::default();
        sink.attach(log);
        sink
    }

    /// Adds a view. A view must be quick and must not observe anything itself.
    pub fn attach(&self, view: impl Fn(&Observation) + Send + Sync + 'static) {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(view));
    }

    /// A sink of a part of the whole: what is observed there is observed here too.
    pub fn child(&self) -> Sink {
        let (child, parent) = (Sink::default(), self.clone());
        child.attach(move |it| parent.show(it));
        child
    }

    pub fn observe(&self, observation: Observation) {
        self.show(&observation);
    }

    fn show(&self, observation: &Observation) {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for view in views {
            view(observation);
        }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

/// The log's view of an observation. Nothing that comes in here may hold a secret.
fn log(observation: &Observation) {
    match observation {
        Observation::ServerStarted { address } => tracing::info!(%address, "server started"),
        Observation::ServerOpen { address } => tracing::warn!(
            "whoever reaches {address} can try tokens here, and they travel readable, since there is no TLS: put a proxy \
             that speaks TLS before it, or trust the network"
        ),
        Observation::ServerStopped => tracing::info!("server stopped"),
        Observation::Deployed { changed, elapsed } => tracing::info!(changed, ?elapsed, "project deployed"),
        Observation::DeployFailed { message } => tracing::warn!(%message, "deploy failed"),
        Observation::Request { request_id, method, path, status, elapsed, error } => {
            let error = error.as_deref().unwrap_or_default();
            tracing::info!(%request_id, %method, %path, status, ?elapsed, error, "request");
        }
        Observation::Query { request_id, pipe, status, elapsed, rows_read, bytes_read, error, .. } => {
            let pipe = pipe.as_deref().unwrap_or("/v0/sql");
            let error = error.as_deref().unwrap_or_default();
            tracing::debug!(%request_id, pipe, status, ?elapsed, rows_read, bytes_read, error, "query");
        }
        Observation::Audited { request_id, token_name, method, path, resource, status } => {
            let token = token_name.as_str();
            tracing::info!(%request_id, token, %method, %path, resource, status, "audit");
        }
        Observation::Operation { kind, datasource, elapsed } => {
            tracing::debug!(kind, %datasource, ?elapsed, "data source");
        }
        Observation::Job(job) => {
            let error = job.error.as_deref().unwrap_or_default();
            tracing::debug!(id = %job.id, kind = job.kind, status = job.status, error, "job");
        }
        Observation::AnswerCut { request_id, message } => tracing::warn!(%request_id, %message, "answer cut"),
        Observation::Inserted { datasource, rows, quarantined, elapsed, source } => {
            tracing::debug!(%datasource, rows, quarantined, ?elapsed, source, "inserted");
        }
        Observation::InsertFailed { datasource, message, retry_in } => {
            tracing::warn!(%datasource, %message, ?retry_in, "insert failed");
        }
        Observation::Kafka { datasource, topic, partition, level, message } => match level {
            Level::Info => tracing::info!(%datasource, %topic, partition, "{message}"),
            Level::Warning => tracing::warn!(%datasource, %topic, partition, "{message}"),
            Level::Error => tracing::error!(%datasource, %topic, partition, "{message}"),
        },
        Observation::KafkaRead(it) => {
            let KafkaRead { datasource, topic, partition, messages, lag, .. } = &**it;
            tracing::debug!(%datasource, %topic, partition, messages, lag, "messages");
        }
        Observation::Engine { level, message } => match level {
            Level::Info => tracing::info!("{message}"),
            Level::Warning => tracing::warn!("{message}"),
            Level::Error => tracing::error!("{message}"),
        },
    }
}
