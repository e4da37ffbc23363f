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

use crate::ingest::batch::Cuts;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
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

/// What a log held at the start: bodies with the segments they are in, and intents that are not done.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    pub(super) bodies: BTreeMap<u64, (BodyHead, Vec<u8>, u64)>,
    pub(super) intents: Vec<Intent>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
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
    segment: u64,
    segment_bytes: u64,
    /// Bodies of each segment that are not done.
    live: BTreeMap<u64, usize>,
    closed: bool,
}

/// Up to which position all is on the disk, and what went wrong with the last write up to the second one.
#[derive(Debug, Clone, Default)]
struct Synced {
    good: u64,
    failed: Option<(u64, Arc<str>)>,
}

impl Log {
    /// Reads what is there, begins a new segment and starts the thread that writes.
    pub(super) fn open(directory: &Path) -> io::Result<(Log, Unfinished)> {
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
        let shared =
            Arc::new(Shared { directory: directory.to_owned(), state: Mutex::new(state), more: Condvar::new() });
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
        if state.segment_bytes > SEGMENT_BYTES {
            state.segment += 1;
            state.segment_bytes = 0;
        }
        let segment = state.segment;
        state.segment_bytes += bytes.len() as u64;
        state.appended += 1;
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
        let settled =
            |it: &Synced| it.good >= place.position || it.failed.as_ref().is_some_and(|it| it.0 >= place.position);
        let settled = synced.wait_for(settled).await.map_err(|_| "the log is closed".to_owned())?;
        match &settled.failed {
            Some((at, message)) if settled.good < place.position && *at >= place.position => Err(message.to_string()),
            _ => Ok(()),
        }
    }

    /// Bodies in these segments are done; segments that nobody needs any more go.
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
            // One that cannot be removed is read again at the next start, and found done.
            _ = fs::remove_file(path(&self.directory, *first.key()));
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
    file: File,
    /// Where its records end.
    length: u64,
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
            let (position, closed) = (state.appended, state.closed);
            drop(state);
            if pending.is_empty() && closed {
                return;
            }
            let began = Instant::now();
            let written = pending.iter().try_for_each(|(segment, bytes)| self.write(*segment, bytes));
            took = began.elapsed();
            self.synced.send_modify(|it| match &written {
                Ok(()) => it.good = position,
                Err(error) => it.failed = Some((position, error.to_string().into())),
            });
        }
    }

    fn write(&mut self, number: u64, bytes: &[u8]) -> io::Result<()> {
        if self.file.as_ref().is_none_or(|it| it.number != number) {
            let file = File::create_new(path(&self.shared.directory, number))?;
            // The name must survive as well.
            File::open(&self.shared.directory)?.sync_all()?;
            self.file = Some(Segment { number, file, length: 0, prepared: 0 });
        }
        let Some(segment) = &mut self.file else { return Ok(()) };
        let written = segment.append(bytes);
        if written.is_err() {
            // A half record must not stand before whole ones, nor what failed after them.
            segment.prepared = segment.length;
            segment.file.set_len(segment.length)?;
        }
        written
    }
}

impl Segment {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.length + bytes.len() as u64;
        if end > self.prepared {
            let zeros = vec![0; (end - self.prepared + PREPARED_BYTES) as usize];
            self.file.write_all_at(&zeros, self.prepared)?;
            self.file.sync_data()?;
            self.prepared += zeros.len() as u64;
        }
        self.file.write_all_at(bytes, self.length)?;
        self.file.sync_data()?;
        self.length = end;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn body(number: u64) -> Record {
        let format = super::super::Format::Ndjson;
        Record::Body(BodyHead { number, datasource: "d".to_owned(), format, source: "r".to_owned() })
    }

    fn intent(token: &str, bodies: &[u64]) -> Record {
        let (token, datasource, bodies) = (token.to_owned(), "d".to_owned(), bodies.to_vec());
        Record::Intent(Intent { token, datasource, bodies, started: 1, cuts: Cuts::default() })
    }

    /// Whatever the disk has of the writes of a moment when the power goes, what is read is a begin of them.
    #[test]
    fn every_prefix_of_the_log_is_a_prefix_of_its_records() {
        let records =
            [body(1), body(2), intent("a", &[1, 2]), body(3), Record::Done { token: "a".to_owned() }, body(4)];
        let bytes: Vec<Vec<u8>> = records.iter().map(|it| encode(it, b"{\"n\":1}\n{\"n\":2}")).collect();
        let all = bytes.concat();
        let ends: Vec<_> = bytes.iter().scan(0, |end, it| Some(std::mem::replace(end, *end + it.len()))).collect();
        for length in 0..=all.len() {
            let (mut unfinished, mut done) = (Unfinished::default(), HashSet::new());
            read(&all[..length], 1, &mut unfinished, &mut done);
            let whole = bytes.iter().zip(&ends).filter(|(it, start)| *start + it.len() <= length).count();
            unfinished.finish(&done);
            let expected: &[u64] = [&[][..], &[1], &[1, 2], &[1, 2], &[1, 2, 3], &[3], &[3, 4]][whole];
            assert_eq!(unfinished.bodies.keys().copied().collect::<Vec<_>>(), expected, "{length} bytes");
            assert_eq!(unfinished.intents.len(), usize::from(whole == 3 || whole == 4));
        }
        // The zeros after the records are none.
        let (mut unfinished, mut done) = (Unfinished::default(), HashSet::new());
        read(&[&all[..], &[0; 100]].concat(), 1, &mut unfinished, &mut done);
        unfinished.finish(&done);
        assert_eq!(unfinished.bodies.keys().copied().collect::<Vec<_>>(), [3, 4]);
        // A byte that turned ends the log there, and nothing wrong is read.
        for at in 0..bytes[0].len() {
            let mut turned = all.clone();
            turned[at] ^= 0x10;
            let (mut unfinished, mut done) = (Unfinished::default(), HashSet::new());
            read(&turned, 1, &mut unfinished, &mut done);
            assert!(unfinished.bodies.is_empty(), "{at}");
        }
    }

    #[tokio::test]
    async fn what_was_synced_is_there_at_the_next_start_until_it_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let (log, unfinished) = Log::open(directory.path()).unwrap();
        assert!(unfinished.bodies.is_empty());
        let places = [1, 2].map(|it| log.append(&body(it), b"x"));
        log.synced(places[1]).await.unwrap();
        let place = log.append(&intent("a", &[1]), b"");
        log.synced(place).await.unwrap();
        let (again, unfinished) = Log::open(directory.path()).unwrap();
        assert_eq!(unfinished.bodies.len(), 2);
        assert_eq!(unfinished.intents[0].bodies, [1]);
        let place = again.append(&Record::Done { token: "a".to_owned() }, b"");
        again.synced(place).await.unwrap();
        let (_, unfinished) = Log::open(directory.path()).unwrap();
        assert_eq!((unfinished.bodies.len(), unfinished.intents.len()), (1, 0));
        assert_eq!(unfinished.bodies[&2].1, b"x");
    }

    #[tokio::test]
    async fn a_segment_goes_when_all_before_it_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(directory.path()).unwrap();
        let large = vec![b'x'; 20 << 20];
        let places = [1, 2, 3, 4].map(|it| log.append(&body(it), &large));
        log.synced(places[3]).await.unwrap();
        let segments = || fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(segments(), 2);
        log.release([places[2].segment, places[3].segment, places[0].segment]);
        assert_eq!(segments(), 2, "the second body is in the first segment");
        log.release([places[1].segment]);
        assert_eq!(segments(), 1);
    }
}
