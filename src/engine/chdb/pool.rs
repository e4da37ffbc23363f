//! Workers by purpose, a queue before each, and the keeper that ends what must end.
//!
//! In: work. Out: workers that run it. A place in the queue is held while a job works; a worker is made when
//! a place is free and no worker is, and lives until its connection fails. What the work means is not known
//! here.

use super::{
    config::Purpose,
    ffi::Connection,
    session::{self, Origin},
    worker::{self, Job, Killed, Slot, Why, Work, Worker},
};
use crate::{
    engine::{EngineError, EngineErrorKind, ReadLimits},
    observe::{Level, Observation, Sink},
    sql::statement,
};
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Workers of one purpose for each place in its queue: more than one, because an answer that waits for a
/// slow client gives its place to the next.
const WORKERS_PER_PLACE: usize = 16;

/// How often what works is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(50);

/// How long a killed query may take to end before its connection counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// How long statements and inserts may go on when the engine closes.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// How long closing waits for everything.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Pool {
    pub(super) origin: Origin,
    sink: Sink,
    queues: [Queue; 5],
    state: Mutex<State>,
    /// Told when a worker or the keeper ends.
    changed: Condvar,
    keeper: mpsc::Sender<Order>,
}

struct Queue {
    purpose: Purpose,
    places: usize,
    semaphore: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    idle: Vec<Worker>,
    slots: Vec<Weak<Slot>>,
    workers: [usize; 5],
    made: u64,
    closing: bool,
    keeper_ended: bool,
}

/// What the keeper is asked to do.
pub(super) enum Order {
    /// Nobody waits for this run of the slot any more.
    End(Weak<Slot>, u64),
    Close,
}

impl Pool {
    /// Starts the engine and its keeper; the first connection is the keeper's.
    pub(super) fn start(origin: Origin, sink: Sink) -> Result<Arc<Pool>, EngineError> {
        let settings = &origin.settings;
        let queue = |purpose, places| Queue { purpose, places, semaphore: Arc::new(Semaphore::new(places)) };
        let reads = queue(Purpose::Read, settings.readers.max(1));
        // Both wait for the same places.
        let whole = Queue { purpose: Purpose::Whole, places: reads.places, semaphore: Arc::clone(&reads.semaphore) };
        let queues = [
            reads,
            whole,
            queue(Purpose::Command, 4),
            queue(Purpose::Insert, settings.writers.max(1)),
            queue(Purpose::Parse, 1),
        ];
        let (keeper, orders) = mpsc::channel();
        let pool = Arc::new(Pool { origin, sink, queues, state: Mutex::default(), changed: Condvar::new(), keeper });
        let (ready, started) = mpsc::sync_channel(1);
        let keeper = Arc::clone(&pool);
        spawn(&pool, "engine-keeper".to_owned(), move || {
            let connection = open_keeper(&keeper);
            let connection = match connection {
                Ok(connection) => {
                    _ = ready.send(Ok(()));
                    Some(connection)
                }
                Err(error) => {
                    _ = ready.send(Err(error));
                    None
                }
            };
            if let Some(connection) = connection {
                keep(&keeper, connection, &orders);
            }
            keeper.state().keeper_ended = true;
            keeper.changed.notify_all();
        })?;
        let gone = || EngineError::own(EngineErrorKind::Internal, "the engine's keeper ended");
        started.recv().map_err(|_| gone())??;
        Ok(pool)
    }

    /// Waits for a place, then gives the work to a worker. Waiting can be given up at any time.
    pub(super) async fn submit(
        self: &Arc<Self>,
        purpose: Purpose,
        limits: ReadLimits,
        work: impl FnOnce(u64, &Arc<Slot>) -> Work,
    ) -> Result<(), EngineError> {
        let semaphore = Arc::clone(&self.queue(purpose).semaphore);
        let permit = semaphore.acquire_owned().await.map_err(|_| EngineError::closed())?;
        self.give(purpose, limits, permit, work)
    }

    fn give(
        self: &Arc<Self>,
        purpose: Purpose,
        limits: ReadLimits,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce(u64, &Arc<Slot>) -> Work,
    ) -> Result<(), EngineError> {
        let worker = self.worker(purpose, limits)?;
        let slot = Arc::clone(&worker.slot);
        let number = slot.begin(permit);
        let work = work(number, &slot);
        let jobs = worker.jobs.clone();
        if let Err(mpsc::SendError(job)) = jobs.send(Job { worker, work }) {
            // Its thread has just ended, which its slot does not know yet.
            slot.running().permit = None;
            drop(job);
            return Err(EngineError::own(EngineErrorKind::Internal, "an engine connection ended; try again"));
        }
        Ok(())
    }

    fn worker(self: &Arc<Self>, purpose: Purpose, limits: ReadLimits) -> Result<Worker, EngineError> {
        let mut state = self.state();
        if state.closing {
            return Err(EngineError::closed());
        }
        let fits = |it: &Worker| it.slot.purpose == purpose && (it.slot.limits == limits || !purpose.is_read());
        if let Some(at) = state.idle.iter().rposition(fits) {
            return Ok(state.idle.swap_remove(at));
        }
        let limit = self.queue(purpose).places * WORKERS_PER_PLACE;
        // One that waits with other limits makes room; it counts until its thread has closed its connection.
        if state.workers[purpose as usize] >= limit / 2
            && let Some(at) = state.idle.iter().position(|it| it.slot.purpose == purpose)
        {
            state.idle.remove(at);
        }
        if state.workers[purpose as usize] >= limit {
            let message = format!("{limit} answers wait for their readers already; try again later");
            return Err(EngineError { kind: EngineErrorKind::Limit, code: 202, message });
        }
        state.made += 1;
        let tag = format!("birdhouse-{}", state.made);
        let slot = Arc::new(Slot::new(tag.clone(), purpose, limits));
        let (jobs, received) = mpsc::channel();
        let (pool, own) = (Arc::clone(self), Arc::clone(&slot));
        state.workers[purpose as usize] += 1;
        let guard = Leaving { pool, purpose };
        // The guard is dropped even if the thread cannot be made or panics; it takes the lock.
        drop(state);
        spawn(self, tag, move || {
            worker::run(&guard.pool, &own, &received);
            drop(received);
            drop(guard);
        })?;
        self.state().slots.push(Arc::downgrade(&slot));
        Ok(Worker { jobs, slot })
    }

    /// A worker that has done its job waits for the next; `false` if there is none to come.
    pub(super) fn take_back(&self, worker: Worker) -> bool {
        let mut state = self.state();
        if !state.closing {
            state.idle.push(worker);
        }
        !state.closing
    }

    /// Has the keeper end a run that nobody waits for. Does not wait.
    pub(super) fn end(&self, slot: Weak<Slot>, number: u64) {
        _ = self.keeper.send(Order::End(slot, number));
    }

    /// Ends everything and closes every connection; waits until it is so.
    pub(super) fn close(&self) {
        let mut state = self.state();
        if !state.closing {
            state.closing = true;
            for queue in &self.queues {
                queue.semaphore.close();
            }
            state.idle.clear();
            _ = self.keeper.send(Order::Close);
        }
        let limit = Instant::now() + CLOSE_LIMIT + Duration::from_secs(1);
        while !state.keeper_ended && Instant::now() < limit {
            let wait = self.changed.wait_timeout(state, Duration::from_millis(100));
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state().closing
    }

    pub(super) fn observe_failure(&self, error: &EngineError) {
        let message = format!("an engine connection was closed: {error}");
        self.sink.observe(Observation::Engine { level: Level::Warning, message });
    }

    fn queue(&self, purpose: Purpose) -> &Queue {
        let queue = &self.queues[purpose as usize];
        debug_assert_eq!(queue.purpose, purpose);
        queue
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        let mut state = self.state();
        state.slots.retain(|it| it.strong_count() > 0);
        state.slots.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Counts a worker out when its thread ends, by a panic too.
struct Leaving {
    pool: Arc<Pool>,
    purpose: Purpose,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.workers[self.purpose as usize] -= 1;
        let closing = state.closing;
        drop(state);
        if closing {
            self.pool.changed.notify_all();
        }
    }
}

fn open_keeper(pool: &Pool) -> Result<Connection, EngineError> {
    session::open(&pool.origin, Purpose::Command, pool.origin.settings.read_limits(), "birdhouse-keeper")
}

/// The keeper: ends what nobody waits for and what takes too long, and closes the engine.
fn keep(pool: &Pool, mut connection: Connection, orders: &mpsc::Receiver<Order>) {
    let mut watched = Instant::now();
    'open: loop {
        let first = match orders.recv_timeout(WATCH_EVERY.saturating_sub(watched.elapsed())) {
            Ok(order) => Some(order),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        };
        // Whatever else has come is done in the same statement: a crowd that leaves at once waits for one.
        let mut left = Vec::new();
        for order in first.into_iter().chain(orders.try_iter()) {
            match order {
                Order::End(slot, number) => left.extend(slot.upgrade().map(|it| (it, Some(number), Why::Left))),
                Order::Close => break 'open,
            }
        }
        kill(pool, &mut connection, left);
        // However many leave: what works for too long is looked for too.
        if watched.elapsed() >= WATCH_EVERY {
            watch(pool, &mut connection);
            watched = Instant::now();
        }
    }
    let start = Instant::now();
    while pool.state().workers.iter().any(|it| *it > 0) && start.elapsed() < CLOSE_LIMIT {
        let ended = pool.slots().into_iter().filter(|it| it.purpose.is_read() || start.elapsed() >= CLOSE_GRACE);
        kill(pool, &mut connection, ended.map(|it| (it, None, Why::Closing)).collect());
        let state = pool.state();
        if state.workers.iter().any(|it| *it > 0) {
            drop(pool.changed.wait_timeout(state, Duration::from_millis(10)));
        }
    }
}

/// Ends reads that have worked for too long, tells the engine again of those that go on, and gives up
/// connections that do not end when killed.
fn watch(pool: &Pool, connection: &mut Connection) {
    let mut ended = Vec::new();
    for slot in pool.slots() {
        let limit = slot.limits.execution_time;
        let mut running = slot.running();
        if !running.is_busy() {
            continue;
        }
        let number = running.number;
        let worked = running.worked();
        match &mut running.killed {
            None if slot.purpose.is_read() && worked > limit => {
                drop(running);
                ended.push((slot, Some(number), Why::TooLong));
            }
            None => (),
            Some(killed) => {
                let (why, since) = (killed.why, killed.at.elapsed());
                let again = killed.again <= Instant::now();
                if again {
                    killed.again = Instant::now() + since;
                }
                if since > STUCK_AFTER && running.permit.take().is_some() {
                    let message = format!("a query does not end after it was killed ({why:?})");
                    pool.sink.observe(Observation::Engine { level: Level::Warning, message });
                }
                drop(running);
                if again {
                    ended.push((slot, Some(number), why));
                }
            }
        }
    }
    kill(pool, connection, ended);
}

/// Kills what runs in these slots, where it is still that run, in one statement. They are locked meanwhile, so
/// that the next statement of a connection cannot be hit. What is not in the engine just now is only marked: it
/// does not come back there.
fn kill(pool: &Pool, connection: &mut Connection, runs: Vec<(Arc<Slot>, Option<u64>, Why)>) {
    let mut inside = Vec::new();
    for (at, (slot, _, why)) in runs.iter().enumerate() {
        // One lock for each: a slot can be named twice.
        if runs[..at].iter().any(|(it, ..)| Arc::ptr_eq(it, slot)) {
            continue;
        }
        let numbers: Vec<_> = runs.iter().filter(|(it, ..)| Arc::ptr_eq(it, slot)).map(|it| it.1).collect();
        let mut running = slot.running();
        if !running.is_busy() || !numbers.iter().any(|it| it.is_none_or(|it| it == running.number)) {
            continue;
        }
        let now = Instant::now();
        running.killed.get_or_insert(Killed { why: *why, at: now, again: now + WATCH_EVERY });
        if running.is_inside() {
            inside.push((slot, running));
        }
    }
    let killed = match inside.is_empty() {
        true => Ok(Vec::new()),
        false => session::run(connection, &statement::kill(inside.iter().map(|(slot, _)| &*slot.tag))),
    };
    drop(inside);
    for (slot, ..) in &runs {
        slot.wake();
    }
    if let Err(error) = killed {
        pool.observe_failure(&error);
        if let Ok(fresh) = open_keeper(pool) {
            *connection = fresh;
        }
    }
}

/// A thread that may call the engine: it confines itself first, or does nothing.
fn spawn(pool: &Pool, name: String, body: impl FnOnce() + Send + 'static) -> Result<(), EngineError> {
    let sandbox = pool.origin.sandbox.clone();
    let sink = pool.sink.clone();
    let made = thread::Builder::new().name(name).spawn(move || match sandbox.enter() {
        Ok(_) => body(),
        Err(error) => {
            let message = format!("a thread of the engine could not be confined, so it ended: {error}");
            sink.observe(Observation::Engine { level: Level::Error, message });
        }
    });
    made.map(drop).map_err(|error| {
        EngineError::own(EngineErrorKind::Internal, format!("no thread could be made for the engine: {error}"))
    })
}
