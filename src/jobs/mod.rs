//! Work that goes on after the call that asked for it: its states, how much of it runs at a time, its end.
//!
//! In: a future and words about it. Out: [`Job`]s, listed, looked up, cancelled. They survive a restart as
//! records; one that a stop cut off says so. HTTP, and what the work does, are not known here.

mod record;

use crate::{
    observe::{JobState, Observation, Sink},
    store::Store,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A job as it is at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: String,
    pub kind: JobKind,
    pub status: JobStatus,
    pub subject: Subject,
    /// `2026-01-31 12:00:00.000000`, in UTC.
    pub created_at: String,
    pub updated_at: String,
    pub started_at: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Rows that went; nothing where nobody counts.
    pub rows: Option<u64>,
    /// What an import has taken in by now.
    pub taken: Option<Taken>,
    /// It has come so far that it goes to its end.
    pub is_firm: bool,
}

/// What a file has become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    pub quarantined: u64,
    /// Of the file, unpacked.
    pub bytes: u64,
    /// Blocks that are in, and how many there are.
    pub blocks: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    Populate,
    Copy,
    DeleteRows,
    Import,
    Branch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    Waiting,
    Working,
    Done,
    Error,
    Cancelling,
    Cancelled,
}

/// What a job is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    pub pipe: Option<String>,
    pub node: Option<String>,
    /// The data source that is written to.
    pub datasource: Option<String>,
    /// A condition on the rows, as its user wrote it.
    pub condition: Option<String>,
    /// What was asked for, in the words of who does it: enough to ask once more. Nothing where that cannot be.
    pub asked: Option<serde_json::Value>,
}

/// Why a job cannot be cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCancelled {
    #[error("there is no job `{0}`")]
    NoSuchJob(String),
    #[error("the job has ended already")]
    Ended,
    #[error("the job cannot be cancelled any more: its rows are on their way in")]
    TooLate,
}

/// The jobs of one workspace. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    sink: Sink,
    workspace: String,
    jobs: Mutex<State>,
    places: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Oldest first.
    jobs: Vec<Job>,
    running: HashMap<String, CancellationToken>,
}

/// Jobs that are remembered.
const KEPT: usize = 100;

/// Jobs that work at the same time; others wait. Each may take what the engine has.
const AT_ONCE: usize = 2;

const CUT_OFF: &str = "the server stopped in the middle of it: start it again";

impl Jobs {
    /// With those that the store has; may block.
    pub fn load(store: Arc<Store>, workspace: &str, sink: Sink) -> Result<Jobs, crate::store::StoreError> {
        let mut jobs: Vec<Job> = store.jobs(workspace)?.iter().filter_map(|it| record::parse(it)).collect();
        for job in jobs.iter_mut().filter(|it| !it.status.is_end()) {
            job.status = JobStatus::Error;
            job.error = Some(CUT_OFF.to_owned());
            job.updated_at = now();
        }
        let inner = Inner {
            store,
            sink,
            workspace: workspace.to_owned(),
            jobs: Mutex::new(State { jobs, running: HashMap::new() }),
            places: Semaphore::new(AT_ONCE),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Ok(Jobs { inner: Arc::new(inner) })
    }

    /// Begins a job. `work` gives the number of rows that went, if it knows one, or why it failed in words for whoever asked; it is dropped
    /// where it stands when the job is cancelled or the server stops, and must leave nothing half done by that.
    /// Must be called inside a tokio runtime.
    pub fn start(
        &self,
        id: String,
        kind: JobKind,
        subject: Subject,
        work: impl Future<Output = Result<Option<u64>, String>> + Send + 'static,
    ) -> Job {
        let cancel = self.inner.stop.child_token();
        let job = self.add(id.clone(), kind, subject);
        self.inner.state().running.insert(id.clone(), cancel.clone());
        let inner = self.inner.clone();
        self.inner.tasks.spawn(async move {
            let working = async {
                let _place = inner.places.acquire().await;
                inner.change(&id, |job| {
                    job.status = JobStatus::Working;
                    job.started_at = Some(self::now());
                });
                work.await
            };
            let end = tokio::select! {
                biased;
                () = cancel.cancelled() => None,
                end = working => Some(end),
            };
            inner.state().running.remove(&id);
            let stopping = inner.stop.is_cancelled();
            inner.change(&id, |job| match end {
                Some(Ok(rows)) => (job.status, job.rows) = (JobStatus::Done, rows),
                Some(Err(error)) => (job.status, job.error) = (JobStatus::Error, Some(error)),
                None if stopping => (job.status, job.error) = (JobStatus::Error, Some(CUT_OFF.to_owned())),
                None => job.status = JobStatus::Cancelled,
            });
        });
        job
    }

    /// Takes a job in, in the place of one with the same id. Whoever does its work says how far it is, by
    /// [`update`](Jobs::update).
    pub fn add(&self, id: String, kind: JobKind, subject: Subject) -> Job {
        let now = now();
        let job = Job {
            id,
            kind,
            status: JobStatus::Waiting,
            subject,
            created_at: now.clone(),
            updated_at: now,
            started_at: None,
            error: None,
            rows: None,
            taken: None,
            is_firm: false,
        };
        {
            let mut state = self.inner.state();
            let before = state.jobs.iter().position(|it| it.id == job.id);
            let created_at = before.map(|at| state.jobs.remove(at).created_at);
            state.jobs.push(Job { created_at: created_at.unwrap_or_else(|| job.created_at.clone()), ..job.clone() });
            let surplus = state.jobs.len().saturating_sub(KEPT);
            // Those that still go on are never forgotten.
            let mut gone = 0;
            state.jobs.retain(|it| {
                let goes = gone < surplus && it.status.is_end();
                gone += usize::from(goes);
                !goes
            });
        }
        self.inner.keep(&job);
        job
    }

    /// A token that is cancelled when the job is, or when the server stops.
    pub fn cancellable(&self, id: &str) -> CancellationToken {
        let cancel = self.inner.stop.child_token();
        self.inner.state().running.insert(id.to_owned(), cancel.clone());
        cancel
    }

    /// Says how far a job is.
    pub fn update(&self, id: &str, change: impl FnOnce(&mut Job)) {
        self.inner.change(id, change);
        let mut state = self.inner.state();
        let over = state.jobs.iter().any(|it| it.id == id && (it.status.is_end() || it.is_firm));
        if over {
            state.running.remove(id);
        }
    }

    /// Newest first.
    pub fn list(&self) -> Vec<Job> {
        self.inner.state().jobs.iter().rev().cloned().collect()
    }

    pub fn get(&self, id: &str) -> Option<Job> {
        self.inner.state().jobs.iter().find(|it| it.id == id).cloned()
    }

    /// Asks a job to end; it does so within moments. What it has written so far may stay.
    pub fn cancel(&self, id: &str) -> Result<Job, NotCancelled> {
        let token = {
            let mut state = self.inner.state();
            let token = state.running.get(id).cloned();
            let job = state.jobs.iter_mut().find(|it| it.id == id);
            let job = job.ok_or_else(|| NotCancelled::NoSuchJob(id.to_owned()))?;
            let too_late = if job.is_firm { NotCancelled::TooLate } else { NotCancelled::Ended };
            let token = token.filter(|_| !job.status.is_end()).ok_or(too_late)?;
            job.status = JobStatus::Cancelling;
            token
        };
        token.cancel();
        self.get(id).ok_or_else(|| NotCancelled::NoSuchJob(id.to_owned()))
    }

    /// Ends everything that runs.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    fn change(&self, id: &str, change: impl FnOnce(&mut Job)) {
        let changed = {
            let mut state = self.state();
            let Some(job) = state.jobs.iter_mut().find(|it| it.id == id) else { return };
            change(job);
            job.updated_at = now();
            job.clone()
        };
        self.keep(&changed);
    }

    /// A record that could not be written is missed after a restart, and at no other time.
    fn keep(&self, job: &Job) {
        self.sink.observe(Observation::Job(Box::new(job.state())));
        let (store, workspace, id, record) =
            (self.store.clone(), self.workspace.clone(), job.id.clone(), record::print(job));
        let write = || _ = store.put_job(&workspace, &id, &record, KEPT as u32);
        // In order: each is written before the next change of the same job.
        match tokio::runtime::Handle::try_current().map(|it| it.runtime_flavor()) {
            Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(write),
            _ => write(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn state(&self) -> JobState {
        let moment = |text: &str| format!("{}Z", text.replacen(' ', "T", 1)).parse::<jiff::Timestamp>().ok();
        let elapsed = moment(&self.created_at).zip(moment(&self.updated_at)).map(|(from, to)| to.duration_since(from));
        JobState {
            id: self.id.clone(),
            kind: self.kind.name(),
            status: self.status.name(),
            pipe: self.subject.pipe.clone(),
            datasource: self.subject.datasource.clone(),
            created_at: self.created_at.clone(),
            updated_at: self.updated_at.clone(),
            started_at: self.started_at.clone(),
            error: self.error.clone(),
            rows: self.rows,
            elapsed: elapsed.map(|it| it.unsigned_abs()).unwrap_or_default(),
            is_end: self.status.is_end(),
        }
    }
}

impl JobStatus {
    pub const ALL: [JobStatus; 6] = [
        JobStatus::Waiting,
        JobStatus::Working,
        JobStatus::Done,
        JobStatus::Error,
        JobStatus::Cancelling,
        JobStatus::Cancelled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            JobStatus::Waiting => "waiting",
            JobStatus::Working => "working",
            JobStatus::Done => "done",
            JobStatus::Error => "error",
            JobStatus::Cancelling => "cancelling",
            JobStatus::Cancelled => "cancelled",
        }
    }

    /// Nothing comes after it.
    pub fn is_end(self) -> bool {
        matches!(self, JobStatus::Done | JobStatus::Error | JobStatus::Cancelled)
    }
}

impl JobKind {
    pub const ALL: [JobKind; 5] =
        [JobKind::Populate, JobKind::Copy, JobKind::DeleteRows, JobKind::Import, JobKind::Branch];

    /// As clients know it.
    pub fn name(self) -> &'static str {
        match self {
            JobKind::Populate => "populateview",
            JobKind::Copy => "copy",
            JobKind::DeleteRows => "delete_data",
            JobKind::Import => "import",
            JobKind::Branch => "data_branch",
        }
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jobs({})", self.inner.state().jobs.len())
    }
}

/// `2026-01-31 12:00:00.000000`, in UTC.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
}
