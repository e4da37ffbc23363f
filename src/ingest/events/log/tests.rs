//! The log, cut off anywhere.

use super::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

fn body(number: u64) -> Record {
    let format = super::super::Format::Ndjson;
    Record::Body(BodyHead { number, datasource: "d".to_owned(), format, source: "r".to_owned() })
}

fn intent(token: &str, bodies: &[u64]) -> Record {
    let (token, datasource, bodies) = (token.to_owned(), "d".to_owned(), bodies.to_vec());
    Record::Intent(Intent { token, datasource, bodies, started: 1, cuts: Cuts::default(), reading: String::new() })
}

/// Whatever the disk has of the writes of a moment when the power goes, what is read is a begin of them.
#[test]
fn every_prefix_of_the_log_is_a_prefix_of_its_records() {
    let records = [body(1), body(2), intent("a", &[1, 2]), body(3), Record::Done { token: "a".to_owned() }, body(4)];
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
    let (log, unfinished) = Log::open(directory.path(), Durability::Durable).unwrap();
    assert!(unfinished.bodies.is_empty());
    let places = [1, 2].map(|it| log.append(&body(it), b"x"));
    log.synced(places[1]).await.unwrap();
    let place = log.append(&intent("a", &[1]), b"");
    log.synced(place).await.unwrap();
    let (again, unfinished) = Log::open(directory.path(), Durability::Durable).unwrap();
    assert_eq!(unfinished.bodies.len(), 2);
    assert_eq!(unfinished.intents[0].bodies, [1]);
    let place = again.append(&Record::Done { token: "a".to_owned() }, b"");
    again.synced(place).await.unwrap();
    let (_, unfinished) = Log::open(directory.path(), Durability::Durable).unwrap();
    assert_eq!((unfinished.bodies.len(), unfinished.intents.len()), (1, 0));
    assert_eq!(unfinished.bodies[&2].1, b"x");
}

#[tokio::test]
async fn a_segment_goes_when_all_before_it_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(directory.path(), Durability::Durable).unwrap();
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

/// A disk that remembers what was asked of it, and loses power in any moment afterwards.
#[derive(Debug, Clone, Default)]
struct Recording(Arc<Mutex<Vec<Event>>>);

#[derive(Debug)]
struct Recorded {
    segment: u64,
    recording: Recording,
}

#[derive(Debug, Clone)]
enum Event {
    Create(u64),
    Write {
        segment: u64,
        at: u64,
        bytes: Vec<u8>,
    },
    Sync(u64),
    Remove(u64),
    /// Somebody was told that this is safe.
    Body(u64),
    Intent(String, Vec<u64>),
    Done(String),
}

impl Recording {
    fn note(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

fn number(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

impl Disk for Recording {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Storage>> {
        self.note(Event::Create(number(path)));
        Ok(Box::new(Recorded { segment: number(path), recording: self.clone() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note(Event::Remove(number(path)));
        Ok(())
    }
}

impl Storage for Recorded {
    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.recording.note(Event::Write { segment: self.segment, at, bytes: bytes.to_vec() });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.recording.note(Event::Sync(self.segment));
        Ok(())
    }

    fn cut(&mut self, _length: u64) -> io::Result<()> {
        unreachable!("nothing fails here")
    }
}

const SECTOR: usize = 512;

/// What is on the disk when the power goes after some events. Of what was written and not synced, each sector is
/// there if `keep` says so.
fn left(events: &[Event], mut keep: impl FnMut() -> bool) -> BTreeMap<u64, Vec<u8>> {
    let mut segments: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Create(it) => _ = segments.insert(*it, Vec::new()),
            Event::Remove(it) => _ = segments.remove(it),
            Event::Write { segment, at, bytes } => {
                let synced = events[index..].iter().any(|it| matches!(it, Event::Sync(it) if it == segment));
                let Some(content) = segments.get_mut(segment) else { continue };
                for (piece, bytes) in bytes.chunks(SECTOR).enumerate().filter(|_| synced || keep()) {
                    let from = *at as usize + piece * SECTOR;
                    content.resize(content.len().max(from + bytes.len()), 0);
                    content[from..from + bytes.len()].copy_from_slice(bytes);
                }
            }
            _ => {}
        }
    }
    segments
}

fn reread(segments: &BTreeMap<u64, Vec<u8>>) -> Unfinished {
    let (mut unfinished, mut done) = (Unfinished::default(), HashSet::new());
    segments.iter().for_each(|(segment, bytes)| read(bytes, *segment, &mut unfinished, &mut done));
    unfinished.finish(&done);
    unfinished
}

/// What was promised before is kept. `all` bodies that were acknowledged, or only those of an intent.
fn check(events: &[Event], found: &Unfinished, all: bool, when: &str) {
    let done: HashSet<_> =
        events.iter().filter_map(|it| if let Event::Done(it) = it { Some(it) } else { None }).collect();
    let intents =
        events.iter().filter_map(|it| if let Event::Intent(token, of) = it { Some((token, of)) } else { None });
    let mut finished: HashSet<&u64> = HashSet::new();
    for (token, bodies) in intents {
        if done.contains(token) {
            finished.extend(bodies);
            let again: Vec<_> = bodies.iter().filter(|it| found.bodies.contains_key(it)).collect();
            assert!(again.is_empty(), "{when}: {again:?} are done and there again");
            continue;
        }
        // Its insert may be in: the same bodies must go in under the same token, or it must be done.
        if let Some(intent) = found.intents.iter().find(|it| it.token == *token) {
            assert_eq!(intent.bodies, *bodies, "{when}");
            assert!(bodies.iter().all(|it| found.bodies.contains_key(it)), "{when}: {token} has lost bodies");
        } else {
            assert!(bodies.iter().all(|it| !found.bodies.contains_key(it)), "{when}: {token} is forgotten");
        }
    }
    if all {
        let in_an_intent: HashSet<_> = found.intents.iter().flat_map(|it| &it.bodies).collect();
        let known = |it: &u64| found.bodies.contains_key(it) || finished.contains(it) || in_an_intent.contains(it);
        let acknowledged = events.iter().filter_map(|it| if let Event::Body(it) = it { Some(*it) } else { None });
        let maybe_done: HashSet<u64> = events
            .iter()
            .filter_map(|it| if let Event::Intent(_, of) = it { Some(of.iter().copied()) } else { None })
            .flatten()
            .collect();
        let lost: Vec<_> = acknowledged.filter(|it| !known(it) && !maybe_done.contains(it)).collect();
        assert!(lost.is_empty(), "{when}: {lost:?} were acknowledged and are gone");
    }
    for (number, (_, bytes, _)) in &found.bodies {
        assert!(bytes.iter().all(|it| *it == b'a' + (*number % 26) as u8), "{when}: body {number} is another");
    }
}

/// Wherever the power goes, and whatever the disk has of what was not synced, everything that was acknowledged is
/// there, and what may have been inserted goes in under the same token.
#[tokio::test]
async fn the_power_may_go_at_any_moment() {
    for durability in [Durability::Durable, Durability::Relaxed] {
        let directory = tempfile::tempdir().unwrap();
        let recording = Recording::default();
        let disk: Arc<dyn Disk> = Arc::new(recording.clone());
        let (log, _) = Log::open_on(disk, directory.path(), durability, 8 << 10).unwrap();
        let mut random = StdRng::seed_from_u64(7);
        let (mut next, mut waiting) = (1, Vec::new());
        for batch in 0..12 {
            for _ in 0..random.random_range(1..6) {
                // Some come together, and are safe together.
                let mut places = Vec::new();
                for _ in 0..random.random_range(1..4) {
                    let bytes = vec![b'a' + (next % 26) as u8; random.random_range(1..2000)];
                    places.push((next, log.append(&body(next), &bytes)));
                    next += 1;
                }
                for (number, place) in places {
                    log.synced(place).await.unwrap();
                    recording.note(Event::Body(number));
                    waiting.push((number, place.segment));
                }
            }
            let (token, bodies) = (format!("t{batch}"), std::mem::take(&mut waiting));
            let numbers: Vec<_> = bodies.iter().map(|it| it.0).collect();
            let place = log.append(&intent(&token, &numbers), b"");
            log.synced(place).await.unwrap();
            recording.note(Event::Intent(token.clone(), numbers));
            let place = log.append(&Record::Done { token: token.clone() }, b"");
            log.synced(place).await.unwrap();
            recording.note(Event::Done(token));
            log.release(bodies.iter().map(|it| it.1));
        }
        let events = recording.0.lock().unwrap().clone();
        assert!(events.iter().any(|it| matches!(it, Event::Remove(_))), "segments go");
        for length in 0..=events.len() {
            let events = &events[..length];
            let all = durability == Durability::Durable;
            check(events, &reread(&left(events, || true)), true, &format!("{durability:?}, killed after {length}"));
            check(events, &reread(&left(events, || false)), all, &format!("{durability:?}, cut after {length}"));
            for _ in 0..8 {
                let found = reread(&left(events, || random.random()));
                check(events, &found, all, &format!("{durability:?}, torn after {length}"));
            }
        }
    }
}

/// Who is told late that a write failed is told so though others have succeeded since.
#[test]
fn a_failure_is_not_forgotten_by_a_success() {
    let mut synced = Synced::default();
    let full = || Some(io::Error::from(io::ErrorKind::StorageFull));
    synced.settle(3, None);
    synced.settle(5, full());
    synced.settle(6, full());
    synced.settle(9, None);
    assert_eq!([3, 4, 6, 7].map(|it| synced.failure(it).is_some()), [false, true, true, false]);
    assert_eq!((synced.upto, synced.failures.len()), (9, 1));
}
