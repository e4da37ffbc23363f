//! Answers of endpoints whose templates say `cache_ttl`, kept for that long.
//!
//! In: a compiled read and who asks. Out: the answer that the same read of the same caller had before. The key holds
//! the whole text of the read, so its filters, parameters and the project's state with it, and the caller's token:
//! nobody is given what another one was answered. What was asked, and how, is not known here.

use crate::query::CompiledQuery;
use axum::body::Bytes;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Cheap to clone; every clone is the same cache.
#[derive(Debug, Clone, Default)]
pub(super) struct Cache(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Key, Entry>,
    /// Which of them ends first; the number tells those apart that end together.
    ends: BTreeMap<(Instant, u64), Key>,
    number: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    end: (Instant, u64),
}

/// An answer with the moment at which the engine gave it.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) body: Bytes,
    pub(super) rows: u64,
    made: Instant,
    ttl: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

/// As many bytes are kept in all.
const MOST: usize = 64 << 20;

/// What an answer costs besides its bytes, roughly.
const OVERHEAD: usize = 256;

impl Key {
    /// `caller` tells tokens apart.
    pub(super) fn of(workspace: &str, caller: &[u8; 32], query: &CompiledQuery) -> Key {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(workspace.as_bytes());
        part(caller);
        part(query.format().name().as_bytes());
        part(query.sql().as_str().as_bytes());
        for (name, value) in query.parameters() {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        Key(hash.finalize().into())
    }
}

impl Answer {
    pub(super) fn new(body: Bytes, rows: u64, ttl: Duration) -> Answer {
        Answer { body, rows, made: Instant::now(), ttl }
    }

    pub(super) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    fn size(&self) -> usize {
        self.body.len() + OVERHEAD
    }
}

impl Cache {
    /// An answer that is not too old.
    pub(super) fn get(&self, key: &Key) -> Option<Answer> {
        let kept = self.kept();
        kept.answers.get(key).map(|it| it.answer.clone()).filter(|it| it.age() < it.ttl)
    }

    /// Keeps an answer; those that end first make room.
    pub(super) fn put(&self, key: Key, answer: Answer) {
        let mut kept = self.kept();
        kept.forget(&key);
        kept.number += 1;
        let end = (answer.made + answer.ttl, kept.number);
        kept.bytes += answer.size();
        kept.ends.insert(end, key);
        kept.answers.insert(key, Entry { answer, end });
        let now = Instant::now();
        while let Some((&(moment, _), &first)) = kept.ends.first_key_value()
            && (moment <= now || kept.bytes > MOST)
        {
            kept.forget(&first);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.answers.remove(key) {
            self.ends.remove(&entry.end);
            self.bytes -= entry.answer.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_time_and_within_the_room() {
        let cache = Cache::default();
        let (key, other) = (Key([1; 32]), Key([2; 32]));
        cache.put(key, Answer::new(Bytes::from_static(b"a"), 1, Duration::from_secs(3600)));
        assert_eq!(&cache.get(&key).unwrap().body[..], b"a");
        assert!(cache.get(&other).is_none());
        cache.put(other, Answer::new(Bytes::from_static(b"b"), 1, Duration::ZERO));
        assert!(cache.get(&other).is_none());
        assert_eq!(cache.kept().answers.len(), 1, "what is over is let go");
        // The same key again takes the place of the first.
        cache.put(key, Answer::new(Bytes::from_static(b"c"), 1, Duration::from_secs(3600)));
        assert_eq!((&cache.get(&key).unwrap().body[..], cache.kept().ends.len()), (&b"c"[..], 1));
        let large = Bytes::from(vec![0; 1 << 20]);
        for number in 3..100 {
            cache.put(Key([number; 32]), Answer::new(large.clone(), 1, Duration::from_secs(60)));
        }
        assert!(cache.kept().bytes <= MOST, "{}", cache.kept().bytes);
        assert!(cache.get(&Key([99; 32])).is_some() && cache.get(&Key([3; 32])).is_none());
        let kept = cache.kept();
        assert_eq!(kept.bytes, kept.answers.values().map(|it| it.answer.size()).sum::<usize>());
    }
}
