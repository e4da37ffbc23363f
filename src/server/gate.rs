//! Who may run now, who waits, and who is sent away at once.
//!
//! In: how many may run and wait. Out: a [`Permit`], held until the answer has gone out. What runs is not
//! known here.

use super::error::Fault;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug, Clone)]
pub(super) struct Gate {
    running: Arc<Semaphore>,
    queue: Arc<Mutex<Queue>>,
    max_running: usize,
    max_waiting: usize,
    patience: Duration,
    /// How long a queue may stand before it is no burst any more.
    burst: Option<Duration>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: usize,
    /// Since when somebody has been waiting, without a moment of none.
    since: Option<Instant>,
}

/// The right to run; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Permit {
    _running: OwnedSemaphorePermit,
}

/// Counts one waiter for as long as it lives: a caller who goes away leaves the queue too.
struct Waiter<'a>(&'a Gate);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.waiting -= 1;
        if queue.waiting == 0 {
            queue.since = None;
        }
    }
}

impl Gate {
    pub(super) fn new(running: usize, max_waiting: usize, patience: Duration) -> Gate {
        Gate {
            running: Arc::new(Semaphore::new(running)),
            queue: Arc::default(),
            max_running: running,
            max_waiting,
            patience,
            burst: None,
        }
    }

    /// A queue that stands for longer than this is an overload, not a burst: from then on no more may wait than
    /// may run. Who is let in waits about as long as the work takes, instead of behind everybody else.
    pub(super) fn bursts(self, burst: Duration) -> Gate {
        Gate { burst: Some(burst), ..self }
    }

    /// Waits for a place; says [`Fault::Busy`] when the queue is full or the wait is too long.
    pub(super) async fn enter(&self) -> Result<Permit, Fault> {
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(Permit { _running: permit });
        }
        let _waiter = self.wait()?;
        match tokio::time::timeout(self.patience, self.running.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Permit { _running: permit }),
            Ok(Err(_)) | Err(_) => Err(Fault::Busy),
        }
    }

    fn wait(&self) -> Result<Waiter<'_>, Fault> {
        let mut queue = self.queue();
        let stands = queue.since.zip(self.burst).is_some_and(|(since, burst)| since.elapsed() > burst);
        let room = if stands { self.max_waiting.min(self.max_running) } else { self.max_waiting };
        if queue.waiting >= room {
            return Err(Fault::Busy);
        }
        queue.waiting += 1;
        queue.since.get_or_insert_with(Instant::now);
        drop(queue);
        Ok(Waiter(self))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_a_free_place_lets_in() {
        let gate = Gate::new(1, 1, Duration::from_secs(60));
        let first = gate.enter().await.unwrap();
        let mut second = tokio_test_task(gate.clone());
        while gate.queue().waiting == 0 {
            assert!(futures_util::FutureExt::now_or_never(&mut second).is_none());
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.enter().await.unwrap_err(), Fault::Busy);
        drop(first);
        assert!(second.await.unwrap().is_ok());
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test]
    async fn a_queue_that_stands_is_kept_short() {
        let gate = Gate::new(1, 3, Duration::from_secs(60)).bursts(Duration::ZERO);
        let first = gate.enter().await.unwrap();
        let second = tokio_test_task(gate.clone());
        while gate.queue().since.is_none_or(|it| it.elapsed().is_zero()) {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.enter().await.unwrap_err(), Fault::Busy, "three may wait, but not for so long");
        drop(first);
        assert!(second.await.unwrap().is_ok());
        assert!(gate.queue().since.is_none() && gate.enter().await.is_ok(), "nobody waits any more");
    }

    fn tokio_test_task(gate: Gate) -> tokio::task::JoinHandle<Result<(), Fault>> {
        tokio::spawn(async move { gate.enter().await.map(|_| ()) })
    }

    #[tokio::test]
    async fn patience_ends() {
        let gate = Gate::new(0, 1, Duration::from_millis(1));
        assert_eq!(gate.enter().await.unwrap_err(), Fault::Busy);
    }
}
