//! Memory that comes and goes by the block is kept at hand for the next block.
//!
//! In: how much has passed through. Out: what is not needed goes back to the system a while later. What is kept in the
//! memory is not known here.
//!
//! A block of rows takes tens of megabytes for a tenth of a second. The C library gives such pieces back to the system
//! at once, and the system clears each page of the next ones: a quarter to a third of the time that decoding takes. So they stay for
//! some seconds. On other C libraries nothing is changed.

use std::{
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Pieces up to this are taken from what is kept; it is the most that the library allows.
const KEPT_PIECE: i32 = 32 << 20;
/// So much is kept at the end of each of its heaps.
const KEPT: i32 = 128 << 20;
/// After so much has passed through, what is not needed is given back, but not more often than this.
const WORTH: usize = 64 << 20;
const GIVE_BACK: Duration = Duration::from_secs(5);

static PASSED: AtomicUsize = AtomicUsize::new(0);
static KEEPER: Once = Once::new();

/// Keeps memory from now on. Called at the start of `main`.
pub fn keep() {
    library::keep(KEPT_PIECE, KEPT);
}

/// So many bytes were gathered, and are no longer needed.
pub fn passed(bytes: usize) {
    if PASSED.fetch_add(bytes, Ordering::Relaxed) + bytes < WORTH {
        return;
    }
    KEEPER.call_once(|| {
        let keeper = || {
            loop {
                thread::sleep(GIVE_BACK);
                if PASSED.load(Ordering::Relaxed) >= WORTH {
                    PASSED.store(0, Ordering::Relaxed);
                    library::give_back();
                }
            }
        };
        // Without a thread it stays until the process ends, which loses nothing.
        _ = thread::Builder::new().name("memory".to_owned()).spawn(keeper);
    });
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the fence around the C library's allocator")]
mod library {
    use std::ffi::c_int;

    const TRIM_THRESHOLD: c_int = -1;
    const MMAP_THRESHOLD: c_int = -3;

    unsafe extern "C" {
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
        fn malloc_trim(left: usize) -> c_int;
    }

    pub(super) fn keep(piece: c_int, at_end: c_int) {
        // SAFETY: both take numbers, may be called at any time, and change how memory is kept and nothing else.
        unsafe {
            mallopt(MMAP_THRESHOLD, piece);
            mallopt(TRIM_THRESHOLD, at_end);
        }
    }

    pub(super) fn give_back() {
        // SAFETY: as above; the library locks what it walks over.
        unsafe {
            malloc_trim(0);
        }
    }
}

#[cfg(not(target_env = "gnu"))]
mod library {
    pub(super) fn keep(_: i32, _: i32) {}

    pub(super) fn give_back() {}
}
