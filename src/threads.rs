//! Work on many things at once, where that is worth threads.
//!
//! In: items, and what is to be made of each. Out: that, in their order, as if one thread had done it. What the work is
//! is not known here.

use std::{
    panic::resume_unwind,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// How many threads share the work. The machine is not asked: a few too many cost nothing that can be measured.
const THREADS: usize = 4;
/// Items that a thread takes at a time; starting one costs as much as a handful of files.
const CHUNK: usize = 16;

/// What `work` makes of each item, in the order of the items.
pub fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let chunks: Vec<&[T]> = items.chunks(CHUNK).collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut made: Vec<(usize, Vec<R>)> = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = chunks.get(index) else { return made };
            made.push((index, chunk.iter().map(&work).collect()));
        }
    };
    let mut made = thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS.min(chunks.len())).map(|_| scope.spawn(worker)).collect();
        let mut made = worker();
        for other in others {
            made.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        made
    });
    made.sort_unstable_by_key(|(index, _)| *index);
    let mut all = Vec::with_capacity(items.len());
    made.into_iter().for_each(|(_, made)| all.extend(made));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept() {
        for count in [0, 1, CHUNK, 10 * CHUNK + 1] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(each(&items, |it| it * 2), (0..count).map(|it| it * 2).collect::<Vec<_>>());
        }
    }
}
