//! Copies that run by themselves, at the moments that their `COPY_SCHEDULE` means.
//!
//! One at a time of each pipe: what is due while a copy of the same pipe goes on is left out, and so is what was due
//! while the server was away. What is paused stays so over restarts. A branch runs nothing by itself.

use super::{AppError, Workspace, whole};
use crate::{
    datafile::Cron,
    jobs::{Job, JobKind, Subject},
    name::ResourceName,
    observe::{Level, Observation},
    project::{Pipe, PipeKind, Project},
    template::Params,
};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The schedules of a workspace.
#[derive(Debug)]
pub(super) struct Schedules {
    paused: Mutex<BTreeSet<String>>,
    /// The project or what is paused is not what it was.
    changed: Notify,
    stop: CancellationToken,
    clock: Mutex<Clock>,
}

/// A copy pipe's schedule, for who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySchedule {
    /// Five fields, in UTC.
    pub cron: String,
    pub paused: bool,
}

/// The time of schedules: that of the machine, or one that goes faster.
#[derive(Debug, Clone, Copy)]
struct Clock {
    speed: u32,
    begun: (DateTime, Instant),
}

/// A clock that is set anew is noticed within this.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// When each pipe is due next, by the schedule that says so.
type Due = BTreeMap<ResourceName, (Cron, Option<DateTime>)>;

impl Schedules {
    pub(super) fn new(paused: BTreeSet<String>) -> Schedules {
        Schedules {
            paused: Mutex::new(paused),
            changed: Notify::new(),
            stop: CancellationToken::new(),
            clock: Mutex::new(Clock::new(1)),
        }
    }

    pub(super) fn change(&self) {
        self.changed.notify_one();
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    fn clock(&self) -> Clock {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paused(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to run, with when: as before where nothing has changed.
    fn follow(&self, project: &Project, due: Due, now: DateTime) -> Due {
        let paused = self.paused();
        let scheduled = project.pipes.values().filter(|it| !paused.contains(it.name.as_str()));
        let scheduled = scheduled.filter_map(|it| Some((it.name.clone(), Cron::parse(cron(it)?)?)));
        let mut before = due;
        let next = |(name, cron): (ResourceName, Cron)| {
            let known = before.remove(&name).filter(|(it, _)| *it == cron);
            let next = known.map_or_else(|| cron.after(now), |(_, next)| next);
            (name, (cron, next))
        };
        scheduled.map(next).collect()
    }
}

impl Clock {
    fn new(speed: u32) -> Clock {
        Clock { speed, begun: (utc_now(), Instant::now()) }
    }

    fn now(&self) -> DateTime {
        let (begun, at) = self.begun;
        let passed = |it: Duration| jiff::SignedDuration::try_from(it * self.speed).ok();
        match self.speed {
            1 => utc_now(),
            _ => passed(at.elapsed()).and_then(|it| begun.checked_add(it).ok()).unwrap_or(begun),
        }
    }

    fn until(&self, moment: DateTime) -> Duration {
        let left = moment.duration_since(self.now());
        Duration::try_from(left).unwrap_or_default() / self.speed
    }
}

impl Workspace {
    /// Runs what is due from here on, until the workspace is quiet.
    pub(super) fn start_schedules(self: &Arc<Self>) {
        if self.main().is_none() {
            tokio::spawn(keep_time(Arc::downgrade(self), self.schedules.stop.clone()));
        }
    }

    /// From now on schedules see so many minutes pass in one: for tests, which cannot wait for a real one.
    pub fn hurry_schedules(&self, speed: u32) {
        *self.schedules.clock.lock().unwrap_or_else(PoisonError::into_inner) = Clock::new(speed.max(1));
        self.schedules.change();
    }

    /// The schedule of a copy pipe.
    pub fn copy_schedule(&self, pipe: &Pipe) -> Option<CopySchedule> {
        let paused = self.schedules.paused().contains(pipe.name.as_str());
        cron(pipe).map(|it| CopySchedule { cron: it.to_owned(), paused })
    }

    /// Lets a copy pipe run by itself or not, over restarts. A copy that goes on ends as it would.
    pub async fn pause_copy(self: &Arc<Self>, pipe: &str, paused: bool) -> Result<(), AppError> {
        let pipe = self.copy_pipe(pipe)?;
        if cron(&pipe).is_none() {
            return Err(AppError::Invalid(format!("the copy pipe `{}` has no schedule", pipe.name)));
        }
        let (workspace, name) = (self.clone(), pipe.name.to_string());
        whole(async move {
            workspace.keep_paused(&name, paused).await?;
            workspace.schedules.change();
            Ok(())
        })
        .await
    }

    /// Cancels the copies of a pipe that go on, and gives them.
    pub fn cancel_copies(&self, pipe: &str) -> Result<Vec<Job>, AppError> {
        let pipe = self.copy_pipe(pipe)?;
        let running = self.copies(&pipe.name);
        if running.is_empty() {
            return Err(AppError::Invalid(format!("no copy of the pipe `{}` is under way", pipe.name)));
        }
        // One that has ended meanwhile is no reason to say that nothing was cancelled.
        Ok(running.iter().filter_map(|it| self.jobs.cancel(&it.id).ok()).collect())
    }

    fn copy_pipe(&self, pipe: &str) -> Result<Arc<Pipe>, AppError> {
        let pipe = self.existing_pipe(pipe)?;
        match pipe.kind {
            PipeKind::Copy { .. } => Ok(pipe),
            _ => Err(AppError::Invalid(format!("the pipe `{}` copies nothing", pipe.name))),
        }
    }

    fn copies(&self, pipe: &ResourceName) -> Vec<Job> {
        let is_one = |it: &Job| it.kind == JobKind::Copy && it.subject.pipe.as_deref() == Some(pipe.as_str());
        self.jobs.list().into_iter().filter(|it| is_one(it) && !it.status.is_end()).collect()
    }

    async fn keep_paused(&self, name: &str, paused: bool) -> Result<(), AppError> {
        let (id, kept) = (self.record.id.clone(), name.to_owned());
        self.shared.store(move |store| store.set_paused(&id, &kept, paused)).await?;
        let mut held = self.schedules.paused();
        match paused {
            true => held.insert(name.to_owned()),
            false => held.remove(name),
        };
        Ok(())
    }

    /// What is gone is paused no more: a pipe that is made under its name begins anew.
    async fn forget_paused(&self, project: &Project) {
        let is_gone = |it: &&String| project.pipe(it).is_none() && project.datasource(it).is_none();
        let gone: Vec<_> = self.schedules.paused().iter().filter(is_gone).cloned().collect();
        for name in gone {
            if let Err(error) = self.keep_paused(&name, false).await {
                self.shared.warn(format!("`{name}` is gone and stays noted as paused: {error}"));
            }
        }
    }

    async fn run_scheduled(self: &Arc<Self>, name: &ResourceName) {
        if !self.copies(name).is_empty() {
            let message = format!("the copy pipe `{name}` is due while a copy of it goes on: it is left out");
            self.sink.observe(Observation::Engine { level: Level::Info, message });
            return;
        }
        match self.copy(name.as_str(), Params::new(), None).await {
            Ok(_) | Err(AppError::Stopping) => {}
            Err(error) => {
                let subject = Subject { pipe: Some(name.to_string()), ..Subject::default() };
                let words = error.to_string();
                self.jobs.start(super::words::random_id(), JobKind::Copy, subject, async { Err(words) });
            }
        }
    }
}

async fn keep_time(workspace: Weak<Workspace>, stop: CancellationToken) {
    let mut due = Due::new();
    while let Some(held) = workspace.upgrade() {
        let project = held.project();
        held.forget_paused(&project).await;
        let now = held.schedules.clock().now();
        due = held.schedules.follow(&project, due, now);
        for (name, (cron, next)) in &mut due {
            if next.is_some_and(|it| it <= now) {
                *next = cron.after(now);
                held.run_scheduled(name).await;
            }
        }
        let first = due.values().filter_map(|(_, next)| *next).min();
        let wait = first.map(|it| held.schedules.clock().until(it).min(LOOK_AGAIN));
        let changed = held.schedules.changed.notified();
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed => {}
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
}

fn cron(pipe: &Pipe) -> Option<&str> {
    match &pipe.kind {
        PipeKind::Copy { schedule, .. } => schedule.as_deref(),
        _ => None,
    }
}

fn utc_now() -> DateTime {
    TimeZone::UTC.to_datetime(Timestamp::now())
}
