//! Who may run now, who waits, and who is sent away at once.
//!
//! In: how many may run and wait. Out: a [`Permit`], held until the answer has gone out. What runs is not
//! known here.

use super::error::Fault;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug, Clone)]
pub(super) struct Gate {
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    max_waiting: usize,
    patience: Duration,
}

/// The right to run; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Permit {
    _running: OwnedSemaphorePermit,
}

/// Counts one waiter for as long as it lives: a caller who goes away leaves the queue too.
struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    pub(super) fn new(running: usize, max_waiting: usize, patience: Duration) -> Gate {
        Gate { running: Arc::new(Semaphore::new(running)), waiting: Arc::default(), max_waiting, patience }
    }

    /// Waits for a place; says [`Fault::Busy`] when the queue is full or the wait is too long.
    pub(super) async fn enter(&self) -> Result<Permit, Fault> {
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(Permit { _running: permit });
        }
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiter = Waiter(&self.waiting);
        if before >= self.max_waiting {
            return Err(Fault::Busy);
        }
        match tokio::time::timeout(self.patience, self.running.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Permit { _running: permit }),
            Ok(Err(_)) | Err(_) => Err(Fault::Busy),
        }
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
        while gate.waiting.load(Ordering::Acquire) == 0 {
            assert!(futures_util::FutureExt::now_or_never(&mut second).is_none());
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.enter().await.unwrap_err(), Fault::Busy);
        drop(first);
        assert!(second.await.unwrap().is_ok());
        assert!(gate.enter().await.is_ok());
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
