//! A log of what was acknowledged and is not in its table yet: appended by many, written and synced by one
//! thread, so that those who wait together wait once.
//!
//! In: records. Out: positions, and the word that everything up to one would survive the loss of power; at the
//! next start, the records that nobody has marked as done. What rows mean is not known here.
//!
//! A record is its length, its checksum and its bytes. What is torn at the end of a segment was never
//! acknowledged, and is left out.
//!
//! Two things keep waits for the disk short. A segment is filled with zeros ahead of its records, so that a sync
//! has no file size to write down. And who came together is waited for together: without that, the first of
//! sixteen senders would be synced alone, and the other fifteen would wait for two syncs.

mod disk;
#[cfg(test)]
mod tests;

use crate::ingest::batch::Cuts;
use disk::{Disk, Folder, Storage};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Bytes after which a new segment is begun. A segment goes when all before it and all in it is done.
const SEGMENT_BYTES: u64 = 32 << 20;

/// Zeros written ahead of the records.
const PREPARED_BYTES: u64 = 1 << 20;

/// Nobody waits longer than this for others who may come.
const LONGEST_GATHERING: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record {
    /// A body as it came, unpacked; its bytes follow the head.
    Body(BodyHead),
    /// Bodies are about to be inserted together under this token. Later ones of a token replace earlier ones.
    Intent(Intent),
    /// The insert of this token is in.
    Done { token: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BodyHead {
    pub(super) number: u64,
    pub(super) datasource: String,
    pub(super) format: super::Format,
    /// Names the request in the quarantine.
    pub(super) source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) token: String,
    pub(super) datasource: String,
    /// The numbers of its bodies, in the order in which their rows are.
    pub(super) bodies: Vec<u64>,
    pub(super) started: u32,
    pub(super) cuts: Cuts,
    /// [`Schema::text`](crate::ingest::decode::Schema::text) of what its rows were read by; empty in older logs.
    #[serde(default)]
    pub(super) reading: String,
}

/// What an answer promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// The body survives the loss of power.
    #[default]
    Durable,
    /// The body survives the end of the process. It survives the loss of power once its batch is being inserted.
    Relaxed,
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Durability, String> {
        match text {
            "durable" => Ok(Durability::Durable),
            "relaxed" => Ok(Durability::Relaxed),
            _ => Err("it is durable or relaxed".to_owned()),
        }
    }
}

/// Cheap to clone; every clone is the same log.
#[derive(Debug, Clone)]
pub(super) struct Log {
    shared: Arc<Shared>,
    synced: watch::Receiver<Synced>,
}

/// Where a record stands: how many were appended before it in this process, and in which segment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    position: u64,
    pub(super) segment: u64,
}

impl Place {
    /// Of a record that an earlier process has written.
    pub(super) fn before(segment: u64) -> Place {
        Place { position: 0, segment }
    }
}

/// What a log held at the start: bodies with the segments they are in, and intents that are not done.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    pub(super) bodies: BTreeMap<u64, (BodyHead, Vec<u8>, u64)>,
    pub(super) intents: Vec<Intent>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    durability: Durability,
    /// Bytes after which a new segment is begun.
    longest: u64,
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is appended and not written, by segment.
    pending: Vec<(u64, Vec<u8>)>,
    appended: u64,
    /// Records that are pending, and how many of them the writer waits for.
    gathered: usize,
    wanted: usize,
    /// What is pending must survive the loss of power.
    firm: bool,
    segment: u64,
    segment_bytes: u64,
    /// Bodies of each segment that are not done.
    live: BTreeMap<u64, usize>,
    closed: bool,
}

/// Up to which position all is settled: written, and synced where it has to be, or not and never.
#[derive(Debug, Clone, Default)]
struct Synced {
    upto: u64,
    /// From which position to which it was not, the first first, and what was wrong at the end.
    failures: Arc<[(u64, u64, Arc<str>)]>,
}

/// Failures that are remembered, for those who have not heard of them yet.
const REMEMBERED: usize = 1000;

impl Synced {
    fn settle(&mut self, position: u64, error: Option<io::Error>) {
        let from = std::mem::replace(&mut self.upto, position) + 1;
        let Some(error) = error else { return };
        let mut failures = self.failures.to_vec();
        match failures.last_mut().filter(|it| it.1 + 1 == from) {
            Some(last) => (last.1, last.2) = (position, error.to_string().into()),
            None => failures.push((from, position, error.to_string().into())),
        }
        failures.drain(..failures.len().saturating_sub(REMEMBERED));
        self.failures = failures.into();
    }

    fn failure(&self, position: u64) -> Option<&str> {
        self.failures.iter().find(|it| (it.0..=it.1).contains(&position)).map(|it| &*it.2)
    }
}

impl Log {
    /// Reads what is there, begins a new segment and starts the thread that writes.
    pub(super) fn open(directory: &Path, durability: Durability) -> io::Result<(Log, Unfinished)> {
        Log::open_on(Arc::new(Folder), directory, durability, SEGMENT_BYTES)
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        directory: &Path,
        durability: Durability,
        longest: u64,
    ) -> io::Result<(Log, Unfinished)> {
        fs::create_dir_all(directory)?;
        let mut segments: Vec<u64> = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            segments.extend(name.to_str().and_then(|it| it.strip_suffix(".log")?.parse::<u64>().ok()));
        }
        segments.sort_unstable();
        let mut unfinished = Unfinished::default();
        let mut done = HashSet::new();
        for segment in &segments {
            read(&fs::read(path(directory, *segment))?, *segment, &mut unfinished, &mut done);
        }
        unfinished.finish(&done);
        let mut state = State { segment: segments.last().map_or(1, |it| it + 1), ..State::default() };
        state.live.extend(segments.into_iter().map(|it| (it, 0)));
        for (_, _, segment) in unfinished.bodies.values() {
            *state.live.entry(*segment).or_default() += 1;
        }
        let (directory, state) = (directory.to_owned(), Mutex::new(state));
        let shared = Arc::new(Shared { directory, durability, longest, disk, state, more: Condvar::new() });
        shared.remove_finished(&mut shared.state());
        let (sender, synced) = watch::channel(Synced::default());
        let writer = Writer { shared: shared.clone(), synced: sender, file: None };
        thread::Builder::new().name("events log".to_owned()).spawn(move || writer.run())?;
        Ok((Log { shared, synced }, unfinished))
    }

    /// Appends a record; it is safe when [`Log::synced`] says so.
    pub(super) fn append(&self, record: &Record, body: &[u8]) -> Place {
        let bytes = encode(record, body);
        let mut state = self.shared.state();
        if state.segment_bytes > self.shared.longest {
            state.segment += 1;
            state.segment_bytes = 0;
        }
        let segment = state.segment;
        state.segment_bytes += bytes.len() as u64;
        state.appended += 1;
        // An insert must never be more durable than the word that it was begun, nor its end less than what is left
        // of its bodies.
        state.firm |= self.shared.durability == Durability::Durable || !matches!(record, Record::Body(_));
        let live = state.live.entry(segment).or_default();
        *live += usize::from(matches!(record, Record::Body(_)));
        match state.pending.last_mut() {
            Some((it, pending)) if *it == segment => pending.extend_from_slice(&bytes),
            _ => state.pending.push((segment, bytes)),
        }
        let position = state.appended;
        state.gathered += 1;
        let enough = state.gathered >= state.wanted;
        drop(state);
        if enough {
            self.shared.more.notify_one();
        }
        Place { position, segment }
    }

    /// Waits until a record is on the disk.
    pub(super) async fn synced(&self, place: Place) -> Result<(), String> {
        let mut synced = self.synced.clone();
        let settled = synced.wait_for(|it| it.upto >= place.position).await;
        let settled = settled.map_err(|_| "the log is closed".to_owned())?;
        settled.failure(place.position).map_or(Ok(()), |it| Err(it.to_owned()))
    }

    /// Waits until all of these are settled; which of them are not on the disk and never will be.
    pub(super) async fn lost(&self, places: &[Place]) -> Vec<bool> {
        let last = places.iter().map(|it| it.position).max().unwrap_or_default();
        let mut synced = self.synced.clone();
        match synced.wait_for(|it| it.upto >= last).await {
            Ok(synced) => places.iter().map(|it| synced.failure(it.position).is_some()).collect(),
            Err(_) => vec![false; places.len()],
        }
    }

    /// Bodies in these segments are done, and the word of that is synced; segments that nobody needs any more go.
    pub(super) fn release(&self, segments: impl IntoIterator<Item = u64>) {
        let mut state = self.shared.state();
        for segment in segments {
            if let Some(live) = state.live.get_mut(&segment) {
                *live = live.saturating_sub(1);
            }
        }
        self.shared.remove_finished(&mut state);
    }

    /// Writes what is left and ends the thread.
    pub(super) fn close(&self) {
        self.shared.state().closed = true;
        self.shared.more.notify_one();
    }
}

impl Unfinished {
    fn finish(&mut self, done: &HashSet<String>) {
        let mut latest: BTreeMap<String, Intent> = BTreeMap::new();
        for intent in std::mem::take(&mut self.intents) {
            if done.contains(&intent.token) {
                intent.bodies.iter().for_each(|it| _ = self.bodies.remove(it));
            } else {
                latest.insert(intent.token.clone(), intent);
            }
        }
        self.intents = latest.into_values().collect();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only from the front: a mark that something is done must outlive what it is about.
    fn remove_finished(&self, state: &mut State) {
        while let Some(first) = state.live.first_entry() {
            if *first.get() > 0 || *first.key() >= state.segment {
                return;
            }
            // One that cannot be removed is read again at the next start, and found done. The next must not go before.
            if self.disk.remove(&path(&self.directory, *first.key())).is_err() {
                return;
            }
            first.remove();
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    synced: watch::Sender<Synced>,
    file: Option<Segment>,
}

/// The segment that is written.
struct Segment {
    number: u64,
    file: Box<dyn Storage>,
    /// Where its records end, and where those end that are synced.
    length: u64,
    synced: u64,
    /// Zeros that are written at a time.
    ahead: u64,
    /// Where the zeros after them end.
    prepared: u64,
}

impl Writer {
    fn run(mut self) {
        // How many came together the last time, and how long the disk took.
        let (mut together, mut took) = (1, Duration::ZERO);
        loop {
            let mut state = self.shared.state();
            state.wanted = 1;
            while state.pending.is_empty() && !state.closed {
                state = self.shared.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.gathered < together && !state.closed {
                state.wanted = together;
                let patience = (took / 2).min(LONGEST_GATHERING);
                let more = self.shared.more.wait_timeout_while(state, patience, |it| it.gathered < it.wanted);
                state = more.unwrap_or_else(PoisonError::into_inner).0;
            }
            let pending = std::mem::take(&mut state.pending);
            together = std::mem::take(&mut state.gathered).max(1);
            let (position, closed, firm) = (state.appended, state.closed, std::mem::take(&mut state.firm));
            drop(state);
            if pending.is_empty() && closed {
                return;
            }
            let began = Instant::now();
            let written = pending.iter().try_for_each(|(segment, bytes)| self.write(*segment, bytes, firm));
            took = began.elapsed();
            self.synced.send_modify(|it| it.settle(position, written.err()));
        }
    }

    fn write(&mut self, number: u64, bytes: &[u8], firm: bool) -> io::Result<()> {
        if self.file.as_ref().is_none_or(|it| it.number != number) {
            if let Some(before) = &mut self.file {
                before.sync()?;
            }
            let ahead = PREPARED_BYTES.min(self.shared.longest);
            let file = self.shared.disk.create(&path(&self.shared.directory, number))?;
            self.file = Some(Segment { number, file, length: 0, synced: 0, ahead, prepared: 0 });
        }
        let Some(segment) = &mut self.file else { return Ok(()) };
        let before = segment.length;
        let written = segment.append(bytes, firm);
        if written.is_err() {
            // A half record must not stand before whole ones, nor what failed after them.
            segment.length = before;
            segment.prepared = before;
            segment.file.cut(before)?;
        }
        written
    }
}

impl Segment {
    fn append(&mut self, bytes: &[u8], firm: bool) -> io::Result<()> {
        let end = self.length + bytes.len() as u64;
        if end > self.prepared {
            let zeros = vec![0; (end - self.prepared + self.ahead) as usize];
            self.file.write(&zeros, self.prepared)?;
            self.file.sync()?;
            self.prepared += zeros.len() as u64;
        }
        self.file.write(bytes, self.length)?;
        self.length = end;
        if firm { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.synced < self.length {
            self.file.sync()?;
            self.synced = self.length;
        }
        Ok(())
    }
}

fn path(directory: &Path, segment: u64) -> PathBuf {
    directory.join(format!("{segment:010}.log"))
}

/// Length of what follows the checksum, checksum, length of the head, head, body.
fn encode(record: &Record, body: &[u8]) -> Vec<u8> {
    let head = serde_json::to_vec(record).expect("numbers and texts are JSON");
    let mut res = Vec::with_capacity(12 + head.len() + body.len());
    res.extend_from_slice(&((4 + head.len() + body.len()) as u32).to_le_bytes());
    res.extend_from_slice(&[0; 4]);
    res.extend_from_slice(&(head.len() as u32).to_le_bytes());
    res.extend_from_slice(&head);
    res.extend_from_slice(body);
    let checksum = checksum(&res[8..]);
    res[4..8].copy_from_slice(&checksum.to_le_bytes());
    res
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Takes whole records from the begin of a segment until one is not whole.
fn read(mut bytes: &[u8], segment: u64, unfinished: &mut Unfinished, done: &mut HashSet<String>) {
    while let Some((record, body, rest)) = decode(bytes) {
        match record {
            Record::Body(head) => _ = unfinished.bodies.insert(head.number, (head, body.to_vec(), segment)),
            Record::Intent(intent) => unfinished.intents.push(intent),
            Record::Done { token } => _ = done.insert(token),
        }
        bytes = rest;
    }
}

fn decode(bytes: &[u8]) -> Option<(Record, &[u8], &[u8])> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let content = bytes.get(8..8 + number(0)? as usize)?;
    if checksum(content) != number(4)? {
        return None;
    }
    let head_end = 4 + number(8)? as usize;
    let record = serde_json::from_slice(content.get(4..head_end)?).ok()?;
    Some((record, &content[head_end..], &bytes[8 + content.len()..]))
}
