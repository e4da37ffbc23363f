//! How often and how much at once one token may ask.
//!
//! In: a token's key and its limit. Out: a [`Rate`] for the reply's headers, or a refusal; a [`Share`] of the
//! places for reads. What the token may read is not known here.

use super::error::Fault;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Counts requests by token, in windows of a second. Cheap to clone; every clone is the same count.
#[derive(Debug, Clone, Default)]
pub(super) struct Rates {
    windows: Arc<Mutex<HashMap<[u8; 32], Window>>>,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    used: u32,
}

/// Where a token stands in its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    limit: u32,
    remaining: u32,
    /// Whether this request is one too many.
    pub(super) exceeded: bool,
}

const WINDOW: Duration = Duration::from_secs(1);

/// Tokens that are remembered before those whose window has passed are let go.
const REMEMBERED: usize = 4096;

impl Rates {
    pub(super) fn take(&self, key: [u8; 32], limit: u32, now: Instant) -> Rate {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= REMEMBERED {
            windows.retain(|_, it| now.duration_since(it.start) < WINDOW);
        }
        let window = windows.entry(key).or_insert(Window { start: now, used: 0 });
        if now.duration_since(window.start) >= WINDOW {
            *window = Window { start: now, used: 0 };
        }
        let exceeded = window.used >= limit;
        window.used = window.used.saturating_add(1);
        Rate { limit, remaining: limit.saturating_sub(window.used), exceeded }
    }
}

impl Rate {
    /// All three or none: clients read them together.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let mut set = |name, value: u32| headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        set("x-ratelimit-limit", self.limit);
        set("x-ratelimit-remaining", self.remaining);
        set("x-ratelimit-reset", 1);
    }
}

/// Keeps one token from taking every place that reads have.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    counts: Arc<Mutex<HashMap<[u8; 32], usize>>>,
    most: usize,
}

/// One read of a token; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Share {
    shares: Shares,
    key: [u8; 32],
}

impl Shares {
    pub(super) fn new(most: usize) -> Shares {
        Shares { counts: Arc::default(), most: most.max(1) }
    }

    /// `own` is what the token limits by itself.
    pub(super) fn take(&self, key: [u8; 32], own: Option<u32>) -> Result<Share, Fault> {
        let most = own.and_then(|it| usize::try_from(it).ok()).map_or(self.most, |it| it.min(self.most));
        let mut counts = self.counts();
        let count = counts.entry(key).or_insert(0);
        if *count >= most {
            return Err(Fault::TooMany);
        }
        *count += 1;
        Ok(Share { shares: self.clone(), key })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<[u8; 32], usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.shares.counts();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_so_many() {
        let (rates, now) = (Rates::default(), Instant::now());
        let taken = |key: u8, millis| {
            let rate = rates.take([key; 32], 2, now + Duration::from_millis(millis));
            (rate.remaining, rate.exceeded)
        };
        assert_eq!([taken(1, 0), taken(1, 10), taken(1, 999)], [(1, false), (0, false), (0, true)]);
        assert_eq!(taken(2, 999), (1, false));
        assert_eq!(taken(1, 1000), (1, false));
    }

    #[test]
    fn a_share_comes_back() {
        let shares = Shares::new(1);
        let share = shares.take([1; 32], None).unwrap();
        assert_eq!(shares.take([1; 32], None).err(), Some(Fault::TooMany));
        assert!(shares.take([2; 32], Some(9)).is_ok());
        drop(share);
        assert!(shares.take([1; 32], Some(1)).is_ok());
        assert!(shares.counts().is_empty());
    }
}
