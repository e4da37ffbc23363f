//! The running whole: one engine, one store, the workspaces in them, and what can be done with those.
//!
//! In: a data directory and settings. Out: an [`App`], whose [`Workspace`]s deploy projects, answer reads,
//! take rows and keep tokens and connections. Routes, flags and the terminal are not known here.
//!
//! # Consumers and pushes
//! A view joins the rows that are in the joined tables at the moment of the insert, so a Kafka consumer must
//! not start before the fixtures of the same push are in. A push with fixtures says `hold_consumers`; the
//! consumers of this workspace then start with [`Workspace::release_consumers`], which the client calls when
//! its fixtures are in, or when [`Settings::hold_at_most`] has passed since the last call of that push
//! (a client that died must not stop ingestion for good). Without `hold_consumers` they start at the end of
//! the deploy. Consumers that run already and whose data source has not changed are not touched.

mod deploy;
mod workspace;

pub use deploy::{DeployOptions, DeployReport};
pub use workspace::{AppendMode, Appended, FileFormat, NewConnection, NewToken, TableStatistics, Workspace};

use crate::{
    auth::Access,
    engine::{Engine, EngineError},
    observe::Sink,
    query::QueryError,
    store::{DataDirectory, Secret, StoreError},
};
use std::{path::PathBuf, sync::Arc, time::Duration};

#[derive(Debug, Clone)]
pub struct Settings {
    pub data_directory: PathBuf,
    /// The value of the admin token; made at the first start when nothing is given.
    pub admin_token: Option<Secret>,
    /// How long consumers wait for the end of a push that said it would have fixtures.
    pub hold_at_most: Duration,
}

/// Cheap to clone; every clone is the same app.
#[derive(Debug, Clone)]
pub struct App {}

/// Who asks: a token's access, in the workspace that the token belongs to.
#[derive(Debug, Clone)]
pub struct Caller {
    pub access: Access,
    pub workspace: Arc<Workspace>,
}

/// What can go wrong that is not about the text of a project (that is a diagnostic).
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("{0}")]
    Query(#[from] QueryError),
    /// The kind of thing, and its name.
    #[error("there is no {kind} `{name}`")]
    NotFound { kind: &'static str, name: String },
    #[error("there is already a {kind} `{name}`")]
    Exists { kind: &'static str, name: String },
    /// What was asked makes no sense; the words say why.
    #[error("{0}")]
    Invalid(String),
    #[error("the server is stopping")]
    Stopping,
}

impl App {
    /// Locks the data directory, opens store and engine, restores every workspace and starts its ingestion.
    pub async fn open(settings: Settings, sink: Sink) -> Result<App, AppError> {
        let _ = (settings, sink);
        Err(AppError::Stopping)
    }

    /// The same over an engine that is open already: tests share one, each with its own data directory.
    pub async fn start(
        settings: Settings,
        directory: DataDirectory,
        engine: Engine,
        sink: Sink,
    ) -> Result<App, AppError> {
        let _ = (settings, directory, engine, sink);
        Err(AppError::Stopping)
    }

    /// What the token of this value may do, and where. A deleted token is nobody at once.
    pub fn authenticate(&self, token: &str) -> Option<Caller> {
        let _ = token;
        None
    }

    /// The workspaces, in the order they were made.
    pub fn workspaces(&self) -> Vec<Arc<Workspace>> {
        vec![]
    }

    /// The one workspace there is at first.
    pub fn workspace(&self) -> Arc<Workspace> {
        todo!()
    }

    /// The engine answers.
    pub async fn ping(&self) -> Result<(), AppError> {
        Err(AppError::Stopping)
    }

    /// Stops consumers, finishes what they hold, ends reads, closes the engine and lets go of the directory.
    pub async fn close(&self) {}
}
