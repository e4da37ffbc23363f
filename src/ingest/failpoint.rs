//! Places at which a test has the process die, as if the power of its machine's owner had ended it there.
//!
//! In: what `BIRDHOUSE_FAILPOINT` says. Out: a process that is gone. Without it every call is a look at an
//! empty cell. What the places are for is known only to those who name them.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

#[derive(Debug)]
struct Armed {
    name: String,
    /// Passes that are left before the one that ends the process.
    left: AtomicU64,
}

static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();

/// With this one armed, inserts say nothing of who they are: what is repeated is in twice.
pub const NO_DEDUPLICATION: &str = "no-deduplication";

/// With this one armed, the engine is said to refuse the rows of an insert: the first, or the one of the count.
pub const REFUSED: &str = "refused";

/// With this one armed, every insert takes a while longer: an engine that does not keep up.
pub const SLOW: &str = "slow-insert";

/// From this reading of the clock on it is a day back.
pub const CLOCK_BACK: &str = "clock-back";

/// Takes `name` or `name:3` (die at the third time), several with commas between.
pub fn arm(text: &str) -> Result<(), String> {
    let mut armed = Vec::new();
    for part in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let (name, count) = part.split_once(':').unwrap_or((part, "1"));
        let count: u64 = count.parse().map_err(|_| format!("`{count}` is no number of times"))?;
        armed.push(Armed { name: name.to_owned(), left: count.max(1).into() });
    }
    ARMED.set(armed).map_err(|_| "it is set already".to_owned())
}

pub(super) fn is_armed(name: &str) -> bool {
    ARMED.get().is_some_and(|armed| armed.iter().any(|it| it.name == name))
}

/// Dies here, if it is time to.
pub(crate) fn reach(name: &str) {
    if due(name) {
        die();
    }
}

/// Dies a moment after here: in the middle of what follows.
pub(super) fn reach_soon(name: &str) {
    if due(name) {
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(2));
            die();
        });
    }
}

pub(super) fn due(name: &str) -> bool {
    let Some(armed) = ARMED.get() else { return false };
    armed.iter().any(|it| it.name == name && it.left.fetch_sub(1, Ordering::AcqRel) == 1)
}

/// It is time for it, or was before.
pub(super) fn passed(name: &str) -> bool {
    let Some(armed) = ARMED.get() else { return false };
    let count = |it: &Armed| it.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |it| it.checked_sub(1));
    armed.iter().filter(|it| it.name == name).any(|it| count(it).unwrap_or_default() <= 1)
}

/// No destructor runs, no buffer is written: what a crash leaves is what is left.
fn die() {
    _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}
