//! The begin of a consumer's pipe: a thread that finds the topic's partitions, reads them from our own
//! offsets and cuts batches.
//!
//! In: a client, our offsets. Out: commands for the writer. Nothing here inserts. Errors of the client are
//! news, not reasons to end: the client connects again by itself.

use super::{
    Position, State, Tuning,
    intent::Intent,
    pending::{Batch, Stream, mark},
    registry::Unreachable,
    shared::{Shared, Voice},
    words::words,
    writer::Command,
};
use crate::{
    ingest::{batch::Rows, failpoint},
    observe::Level,
    project::OffsetReset,
};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

pub(super) struct Reader {
    pub(super) client: BaseConsumer<Voice>,
    pub(super) stream: Arc<Stream>,
    /// By partition: how that was read which a crash cut short, where a push has changed it since.
    pub(super) before: BTreeMap<i32, Arc<Stream>>,
    pub(super) wanted: Wanted,
    /// How often the broker said that it does not have the topic.
    pub(super) missed: u32,
    pub(super) reset: OffsetReset,
    pub(super) tuning: Tuning,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) stop: CancellationToken,
    /// Our own offsets, of partitions that are not read yet.
    pub(super) saved: BTreeMap<i32, Saved>,
    /// How many partitions the topic had when it was first read, from 0 on; nothing until it is, and 0 where an earlier
    /// start read it.
    pub(super) at_first: Option<i32>,
    /// Partitions wait for the end of what a crash cut short.
    pub(super) look_now: bool,
    pub(super) partitions: BTreeMap<i32, Partition>,
    /// When the last message came.
    pub(super) heard: Instant,
    pub(super) rests: Rests,
}

/// What is to be read of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// What was begun, and no more: the data source has another topic now.
    Begun,
}

/// How a consumer waits for a broker that never does.
#[derive(Debug)]
pub(super) struct Rests {
    /// How long it listens between two rests.
    glance: Duration,
    /// Where the partitions ended, all together, when that began.
    ends: i64,
}

/// A position with its intent in the form that is worked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) position: Position,
    pub(super) intent: Option<Intent>,
}

/// A partition that is read.
pub(super) struct Partition {
    epoch: u32,
    /// The offset that follows the last message that was read.
    next_offset: i64,
    open: Option<Batch>,
    /// What a crash cut short: the first batch is exactly this, and read as it was then.
    again: Option<(Intent, Arc<Stream>)>,
    wanted: Wanted,
    /// What the message before the next one was when it was read, if that is to be seen again first.
    last: Option<u32>,
    /// The same, known; nothing while it stands in the open batch.
    seen: Option<u32>,
    /// When its last message came; nothing since there was trouble.
    heard: Option<Instant>,
    /// The message before the next one is to be looked at again, before any other is taken.
    look_back: bool,
    /// It is not the partition that was read: the topic was made anew.
    is_anew: bool,
}

/// A time in which nothing can be taken from the client.
struct Stall {
    began: Instant,
    /// What is not fetched until it ends.
    paused: Option<TopicPartitionList>,
    /// Something came all the same and was not taken.
    missed: bool,
}

/// The writer is gone, or the server stops.
struct Ended;

/// Something that may be better later, said in words.
struct NotNow(String);

const ANSWER: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);
/// The shortest wait for a message.
const MOMENT: Duration = Duration::from_millis(2);
const GLANCE: Duration = Duration::from_millis(20);
const LONGEST_GLANCE: Duration = Duration::from_secs(2);
/// After so long without a message a consumer is idle; then it rests so long at a time.
const IDLE: Duration = Duration::from_secs(2);
/// After so long without a message a topic of the same name may be another one.
const SILENCE: Duration = Duration::from_secs(2);
/// A broker may not know its topics for a moment: it is asked so often whether one is gone.
const MISSED: u32 = 4;
/// After so long in which nothing can be taken the client stops fetching and is listened to.
const LONG: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(200);
const SOONEST_RETRY: Duration = Duration::from_millis(500);
const LATEST_RETRY: Duration = Duration::from_secs(5);
/// Nothing depends on it, so it is as often as Kafka's own clients do it.
const COMMIT: Duration = Duration::from_secs(5);
/// How long the last commit may take.
pub(super) const FAREWELL: Duration = Duration::from_millis(500);

impl Reader {
    pub(super) fn run(mut self) {
        let mut discovery = Instant::now();
        let mut retry = SOONEST_RETRY;
        let mut commit = Instant::now() + COMMIT;
        self.client.context().1.listen(&self.client);
        while !self.stop.is_cancelled() && !self.is_done() {
            let now = Instant::now();
            if now >= discovery || std::mem::take(&mut self.look_now) {
                match self.discover() {
                    Ok(()) => {
                        discovery = Instant::now() + self.tuning.discovery;
                        retry = SOONEST_RETRY;
                    }
                    Err(NotNow(message)) => {
                        if self.partitions.is_empty() {
                            self.shared.set_state(State::Waiting);
                        }
                        self.shared.complain(Level::Warning, None, &message.clone(), message);
                        discovery = Instant::now() + retry;
                        retry = (retry * 2).min(LATEST_RETRY);
                    }
                }
            }
            if now >= commit {
                self.commit();
                commit = now + COMMIT;
            }
            if self.read().is_err() {
                break;
            }
        }
        if self.wanted == Wanted::All {
            self.commit();
            let until = Instant::now() + FAREWELL;
            while Instant::now() < until && self.client.poll(Duration::from_millis(50)).is_some() {}
        }
        self.shared.set_state(State::Stopped);
        // A client that cannot reach its broker takes its time to close: nobody waits for that.
        let client = self.client;
        _ = std::thread::Builder::new().name("kafka close".to_owned()).spawn(move || drop(client));
    }

    /// What was begun is read, and nothing else is wanted.
    fn is_done(&self) -> bool {
        let waits = self.saved.values().any(|it| it.intent.is_some());
        self.wanted == Wanted::Begun && self.partitions.is_empty() && !waits
    }

    /// Finds partitions that are not read yet and begins to read them.
    fn discover(&mut self) -> Result<(), NotNow> {
        let stream = self.stream.clone();
        let topic = &stream.topic;
        let metadata = self.client.fetch_metadata(Some(topic), ANSWER);
        let metadata = metadata.map_err(|error| NotNow(format!("no broker answers: {}", words(&error))))?;
        let found = metadata.topics().iter().find(|it| it.name() == topic);
        let found = found.ok_or_else(|| NotNow(format!("the broker does not know the topic `{topic}`")))?;
        if let Some(code) = found.error() {
            let code = RDKafkaErrorCode::from(code);
            let gone = matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic);
            self.missed += u32::from(gone);
            if self.wanted == Wanted::Begun && self.missed >= MISSED {
                return self.forget_intents_of_others(&[], "the topic is gone");
            }
            return Err(NotNow(match code {
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                    format!("the topic `{topic}` does not exist; it is read as soon as it does")
                }
                code => format!("the topic `{topic}` cannot be read: {code}"),
            }));
        }
        let known: Vec<_> = found.partitions().iter().map(|it| it.id()).collect();
        if known.is_empty() {
            return Err(NotNow(format!("the topic `{topic}` has no partitions")));
        }
        self.at_first.get_or_insert(known.iter().max().map_or(0, |it| it + 1));
        self.forget_intents_of_others(&known, "the partition is gone")?;
        // First what a crash cut short, and nothing else until that is read: later inserts must not make the
        // tables forget the tokens that it will be repeated with.
        let unfinished = self.saved.values().any(|it| it.intent.is_some());
        let unfinished = unfinished || self.partitions.values().any(|it| it.again.is_some());
        let fresh = known.into_iter().filter(|it| !self.partitions.contains_key(it));
        for partition in fresh.collect::<Vec<_>>() {
            let saved = self.saved.get(&partition).cloned();
            if unfinished && saved.as_ref().is_none_or(|it| it.intent.is_none()) {
                continue;
            }
            let saved = self.settle(partition, saved)?;
            self.assign(saved)?;
            self.saved.remove(&partition);
        }
        // What was settled without its intent leaves nobody to wait for.
        self.look_now = unfinished && self.partitions.values().all(|it| it.again.is_none());
        self.shared.well();
        Ok(())
    }

    /// Where a partition is to be read on: our own offset, else the group's, else by the data source's
    /// setting; never outside of what the broker has.
    fn settle(&self, partition: i32, saved: Option<Saved>) -> Result<Saved, NotNow> {
        let topic = &self.stream.topic;
        let not_now = |error| NotNow(format!("partition {partition} does not answer: {}", words(&error)));
        let (low, high) = self.client.fetch_watermarks(topic, partition, ANSWER).map_err(not_now)?;
        let known = low..=high;
        self.shared.ends(partition, high);
        let position = match saved {
            Some(it) if it.needs() > high && self.wanted == Wanted::Begun => {
                return self.give_up(it, &format!("the topic ends at {high}, so it was made anew"));
            }
            Some(it) if it.needs() > high => {
                let end = it.needs();
                let mut message =
                    format!("the topic ends at {high}, before {end}: it was made anew and is read from its begin");
                if it.intent.is_some() {
                    let from = it.position.next_offset;
                    message += &format!("; whether offsets {from} to {end} of the old one are in is not known");
                }
                self.shared.say(Level::Error, Some(partition), message);
                Position { partition, next_offset: low, epoch: it.position.epoch + 1, intent: None, last: None }
            }
            Some(mut it) if it.position.next_offset >= low => {
                if it.position.next_offset == low {
                    it.position.last = None;
                }
                return Ok(it);
            }
            Some(it) => {
                let message = format!("offsets {} to {low} are no longer on the broker: lost", it.position.next_offset);
                self.shared.say(Level::Error, Some(partition), message);
                if it.intent.as_ref().is_some_and(|it| it.to > low) {
                    // What is left of the range is repeated, as the part of it that it is.
                    return Ok(Saved { position: Position { next_offset: low, ..it.position }, ..it });
                }
                Position { next_offset: low, intent: None, last: None, ..it.position }
            }
            None => {
                let mut asked = TopicPartitionList::new();
                asked.add_partition(topic, partition);
                let committed = self.client.committed_offsets(asked, ANSWER).map_err(not_now)?;
                let committed = committed.elements().first().map(|it| it.offset());
                let next_offset = match (committed, self.reset) {
                    (Some(Offset::Offset(it)), _) if known.contains(&it) => it,
                    // Nobody can have meant to leave out what came to a partition that was not there.
                    _ if self.at_first.is_some_and(|it| partition >= it) => low,
                    (_, OffsetReset::Earliest) => low,
                    (_, OffsetReset::Latest) => high,
                    (_, OffsetReset::None) => {
                        return Err(NotNow(format!(
                            "KAFKA_AUTO_OFFSET_RESET is none and the group has no offset of partition {partition}: it \
                             is read as soon as somebody commits one"
                        )));
                    }
                };
                Position { partition, next_offset, epoch: 0, intent: None, last: None }
            }
        };
        // Saved now: a restart before the first message must not decide again, and differently.
        self.send(Command::Save(position.clone())).map_err(|Ended| NotNow("stopping".to_owned()))?;
        Ok(Saved { position, intent: None })
    }

    /// Intents of partitions that the topic does not have any more cannot be repeated.
    fn forget_intents_of_others(&mut self, known: &[i32], reason: &str) -> Result<(), NotNow> {
        let gone = self.saved.values().filter(|it| it.intent.is_some() && !known.contains(&it.position.partition));
        for it in gone.cloned().collect::<Vec<_>>() {
            let given_up = self.give_up(it, reason)?;
            self.saved.insert(given_up.position.partition, given_up);
        }
        Ok(())
    }

    /// What was begun cannot be ended: that is said, and nobody waits for it. Where the same messages are found once
    /// more they count as read; others at their offsets do not, for the last one tells them apart.
    fn give_up(&self, saved: Saved, reason: &str) -> Result<Saved, NotNow> {
        let Saved { position, intent: Some(Intent { from, to, last, .. }) } = saved else { return Ok(saved) };
        let message = format!("{reason}; whether its offsets {from} to {to} are in is not known");
        self.shared.say(Level::Error, Some(position.partition), message);
        let position = Position { next_offset: to, intent: None, last, ..position };
        self.send(Command::Save(position.clone())).map_err(|Ended| NotNow("stopping".to_owned()))?;
        Ok(Saved { position, intent: None })
    }

    fn assign(&mut self, saved: Saved) -> Result<(), NotNow> {
        if self.wanted == Wanted::Begun && saved.intent.is_none() {
            return Ok(());
        }
        let Saved { position: Position { partition, next_offset, epoch, last, .. }, intent } = saved;
        let mut list = TopicPartitionList::new();
        let assigned = list
            .add_partition_offset(
                &self.stream.topic,
                partition,
                Offset::Offset(next_offset - i64::from(last.is_some())),
            )
            .and_then(|()| self.client.incremental_assign(&list));
        assigned.map_err(|error| NotNow(format!("partition {partition} is not assigned: {}", words(&error))))?;
        self.shared.positioned(partition, next_offset);
        let before = self.before.get(&partition).unwrap_or(&self.stream).clone();
        let again = intent.map(|it| (it, before));
        let (wanted, heard) = (self.wanted, Some(Instant::now()));
        let state = Partition {
            epoch,
            next_offset,
            open: None,
            again,
            wanted,
            last,
            seen: last,
            heard,
            look_back: false,
            is_anew: false,
        };
        self.partitions.insert(partition, state);
        Ok(())
    }

    /// Reads for a moment, and cuts what is full or old enough.
    fn read(&mut self) -> Result<(), Ended> {
        if self.is_full() {
            self.stall(|| (!self.is_full() || self.shared.handed.load(Ordering::Acquire) == 0).then_some(()))?;
        }
        if self.is_full() {
            // All that is held is in open batches: small ones cost more than they free.
            let open = self.partitions.values().filter(|it| it.again.is_none()).filter_map(|it| it.open.as_ref());
            let largest = open.map(Batch::size).max().unwrap_or_default();
            self.cut(|it| it.size() == largest)?;
        }
        let age = self.tuning.batch_age;
        let oldest = self.partitions.values().filter(|it| it.again.is_none()).filter_map(|it| it.open.as_ref());
        let oldest = oldest.map(|it| it.opened).min();
        let poll = if self.heard.elapsed() > IDLE && self.shared.hurried.load(Ordering::Acquire) {
            self.rests.glance
        } else {
            POLL
        };
        let patience =
            oldest.map_or(poll, |it| (it + age).saturating_duration_since(Instant::now()).clamp(MOMENT, poll));
        let mut out_of_range = false;
        if self.shared.doubtful.swap(false, Ordering::AcqRel) {
            self.partitions.values_mut().for_each(|it| it.heard = None);
        }
        // The clock is looked at now and then only; a full batch is seen at once.
        let mut now = Instant::now();
        for index in 0..256 {
            match self.client.poll(if index == 0 { patience } else { Duration::ZERO }) {
                None if index == 0 && oldest.is_none() => {
                    self.rest();
                    break;
                }
                None => break,
                Some(Ok(message)) => {
                    if index == 0 {
                        now = Instant::now();
                    }
                    self.heard = now;
                    let taking = (&self.stream, &*self.shared, &self.tuning);
                    if let Some(full) = take(&mut self.partitions, taking, &message, now) {
                        drop(message);
                        let partition = full.partition;
                        self.look_now |= full.again.is_some();
                        self.insert(full)?;
                        if self.wanted == Wanted::Begun {
                            _ = self.unassign(partition);
                        }
                        // To decode it and hand it on takes its time.
                        now = Instant::now();
                    }
                }
                Some(Err(error)) => {
                    out_of_range |= self.hear(&error);
                    self.partitions.values_mut().for_each(|it| it.heard = None);
                }
            }
        }
        if out_of_range {
            self.look_again()?;
        }
        self.look_back()?;
        let anew = self.partitions.iter().filter(|(_, it)| it.is_anew).map(|(partition, _)| *partition);
        for partition in anew.collect::<Vec<_>>() {
            self.begin_anew(partition)?;
        }
        // While others are inserted a batch does not come in sooner by being cut, and a larger one costs less a row.
        if self.shared.handed.load(Ordering::Acquire) > 1 {
            return Ok(());
        }
        let now = Instant::now();
        self.cut(|batch| now.duration_since(batch.opened) >= age)
    }

    fn is_full(&self) -> bool {
        self.shared.held.load(Ordering::Acquire) > self.tuning.held_bytes
    }

    /// Where nothing comes from a broker that says so again and again, it is not asked for a while: the client
    /// would keep a part of a core busy with its answers.
    fn rest(&mut self) {
        if !self.shared.hurried.load(Ordering::Acquire) || self.heard.elapsed() < IDLE {
            self.rests = Rests::default();
            return;
        }
        // After a rest the client asks anew for all that follows the last message. Where there is more and none of
        // it came, because the way is long or what comes first is not to be seen, it gets longer and longer, until
        // it is clear that what is there is nothing.
        let (lag, ends) = self.shared.lag();
        if ends != self.rests.ends {
            self.rests = Rests { ends, ..Rests::default() };
        } else if lag > 0 {
            self.rests.glance = if self.rests.glance < LONGEST_GLANCE { self.rests.glance * 2 } else { GLANCE };
        }
        let Ok(assigned) = self.client.assignment() else { return };
        if self.client.pause(&assigned).is_ok() {
            std::thread::sleep(REST);
            while self.client.resume(&assigned).is_err() && !self.stop.is_cancelled() {
                std::thread::sleep(REST);
            }
        }
    }

    /// Hands over the open batches that `wanted` says; those that must become what they were are not cut.
    fn cut(&mut self, wanted: impl Fn(&Batch) -> bool) -> Result<(), Ended> {
        let open = self.partitions.values_mut().filter(|it| it.again.is_none());
        let open = open.filter(|it| it.open.as_ref().is_some_and(&wanted));
        for batch in open.filter_map(Partition::close).collect::<Vec<_>>() {
            self.insert(batch)?;
        }
        Ok(())
    }

    /// Has the message before the next one come again, where there is one.
    fn look_back(&mut self) -> Result<(), Ended> {
        for (partition, it) in self.partitions.iter_mut().filter(|(_, it)| it.look_back) {
            it.last = it.mark();
            it.look_back = false;
            it.heard = Some(Instant::now());
            seek(&self.client, &self.stream.topic, *partition, it.first_offset(), &self.shared, &self.stop)?;
        }
        Ok(())
    }

    fn insert(&self, mut batch: Batch) -> Result<(), Ended> {
        batch.reading = batch.opened.elapsed();
        while let Err(Unreachable(reason)) = batch.learn() {
            let message = format!("the schema registry does not answer: {reason}; it is waited for");
            self.shared.complain(Level::Warning, Some(batch.partition), "registry", message);
            let until = Instant::now() + SOONEST_RETRY;
            while Instant::now() < until {
                if self.stop.is_cancelled() {
                    return Err(Ended);
                }
                std::thread::sleep(GLANCE);
            }
        }
        let began = Instant::now();
        let decoded = batch.decode(&batch.all());
        batch.decoding = began.elapsed();
        self.shared.handed.fetch_add(1, Ordering::AcqRel);
        self.send(Command::Insert(Box::new((batch, decoded))))
    }

    fn send(&self, command: Command) -> Result<(), Ended> {
        let mut command = Some(command);
        self.stall(|| match self.commands.try_send(command.take()?) {
            Ok(()) => Some(Ok(())),
            Err(TrySendError::Closed(_)) => Some(Err(Ended)),
            Err(TrySendError::Full(back)) => {
                command = Some(back);
                None
            }
        })?
    }

    /// Waits until `done` says so. The client renews tokens and tells how far the topic goes only when it is listened
    /// to, so that is done when it takes long, with all partitions paused: nothing is taken from them.
    fn stall<T>(&self, mut done: impl FnMut() -> Option<T>) -> Result<T, Ended> {
        let mut stall = Stall { began: Instant::now(), paused: None, missed: false };
        let res = loop {
            if let Some(res) = done() {
                break Ok(res);
            }
            if self.stop.is_cancelled() {
                return Err(Ended);
            }
            if stall.paused.is_none() && stall.began.elapsed() > LONG {
                let assigned = self.client.assignment().ok();
                stall.paused = assigned.filter(|it| self.client.pause(it).is_ok());
            }
            match &stall.paused {
                None => std::thread::sleep(Duration::from_millis(1)),
                Some(_) => match self.client.poll(POLL) {
                    None => (),
                    Some(Ok(_)) => stall.missed = true,
                    Some(Err(error)) => stall.missed |= self.hear(&error),
                },
            }
        };
        let Some(paused) = &stall.paused else { return res };
        while self.client.resume(paused).is_err() && !self.stop.is_cancelled() {
            std::thread::sleep(REST);
        }
        if stall.missed {
            for (partition, it) in &self.partitions {
                // Where it is read on anyway, or the client says again what is wrong with the offset.
                seek(&self.client, &self.stream.topic, *partition, it.first_offset(), &self.shared, &self.stop)?;
            }
        }
        res
    }

    /// Notes what the client reports. True says that some offset is not on the broker.
    fn hear(&self, error: &KafkaError) -> bool {
        let code = error.rdkafka_error_code();
        let out_of_range = matches!(code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange));
        if !out_of_range {
            let kind = code.map_or_else(String::new, |it| format!("{it:?}"));
            let message = format!("the client reports: {}; it goes on trying", words(error));
            self.shared.complain(Level::Warning, None, &kind, message);
        }
        out_of_range
    }

    /// Puts partitions whose next offset is not on the broker where there is one.
    fn look_again(&mut self) -> Result<(), Ended> {
        for partition in self.partitions.keys().copied().collect::<Vec<_>>() {
            let Some(state) = self.partitions.get_mut(&partition) else { continue };
            let intent = state.again.as_ref().map(|(it, _)| it.clone());
            // What must become what it was is read from its begin again.
            let next_offset = intent.as_ref().map_or(state.next_offset, |it| it.from);
            let position = Position {
                partition,
                next_offset,
                epoch: state.epoch,
                intent: intent.as_ref().map(Intent::write),
                last: None,
            };
            let saved = Saved { position, intent };
            let looks_back = state.last.is_some();
            if let Some(batch) = state.open.take_if(|_| saved.intent.is_none()) {
                self.insert(batch)?;
            }
            let settled = self.settle(partition, Some(saved.clone())).and_then(|settled| {
                if settled == saved && saved.intent.is_none() && !looks_back {
                    return Ok(());
                }
                self.unassign(partition)?;
                self.assign(settled)
            });
            if let Err(NotNow(message)) = settled {
                self.shared.complain(Level::Warning, Some(partition), &message.clone(), message);
                // Found again as a new partition, with the offset that is known.
                if self.unassign(partition).is_ok() {
                    self.saved.insert(partition, saved);
                }
            }
        }
        Ok(())
    }

    /// Another topic has the name of the one that was read, and is as long: it is read from its begin.
    fn begin_anew(&mut self, partition: i32) -> Result<(), Ended> {
        let Some(state) = self.partitions.get_mut(&partition) else { return Ok(()) };
        if let Some(batch) = state.open.take_if(|_| state.again.is_none()) {
            self.insert(batch)?;
        }
        let Some(Partition { epoch, next_offset, again, .. }) = self.partitions.get(&partition) else { return Ok(()) };
        if let (Wanted::Begun, Some((intent, _))) = (self.wanted, again) {
            let position =
                Position { partition, next_offset: intent.from, epoch: *epoch, intent: None, last: intent.last };
            let saved = Saved { position, intent: Some(intent.clone()) };
            _ = self.unassign(partition);
            return self.give_up(saved, "the topic was made anew").map(|_| ()).map_err(|_| Ended);
        }
        let mut message = format!(
            "what stands before offset {next_offset} is not what was read there: the topic was made anew and is read \
             from its begin"
        );
        if let Some((Intent { from, to, .. }, _)) = again {
            message += &format!("; whether offsets {from} to {to} of the old one are in is not known");
        }
        let epoch = epoch + 1;
        self.shared.say(Level::Error, Some(partition), message);
        let low = self.client.fetch_watermarks(&self.stream.topic, partition, ANSWER).map_or(0, |(low, _)| low);
        let position = Position { partition, next_offset: low, epoch, intent: None, last: None };
        self.send(Command::Save(position.clone()))?;
        let saved = Saved { position, intent: None };
        if self.unassign(partition).and_then(|()| self.assign(saved.clone())).is_err() {
            // Found again as a new partition, with the offset that is known.
            self.partitions.remove(&partition);
            self.saved.insert(partition, saved);
        }
        Ok(())
    }

    fn unassign(&mut self, partition: i32) -> Result<(), NotNow> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.stream.topic, partition);
        self.client.incremental_unassign(&list).map_err(|error| NotNow(words(&error)))?;
        self.partitions.remove(&partition);
        Ok(())
    }

    /// Mirrors our offsets into the group, for other tools.
    fn commit(&self) {
        if !self.shared.moved.swap(false, Ordering::AcqRel) {
            return;
        }
        failpoint::reach("before-commit");
        let mut list = TopicPartitionList::new();
        for (partition, next_offset) in self.shared.next_offsets() {
            if list.add_partition_offset(&self.stream.topic, partition, Offset::Offset(next_offset)).is_err() {
                return;
            }
        }
        if let Err(error) = self.client.commit(&list, CommitMode::Async) {
            let message = format!("the group's offsets were not committed: {}", words(&error));
            self.shared.complain(Level::Info, None, "commit", message);
        }
    }
}

impl Default for Rests {
    fn default() -> Rests {
        Rests { glance: GLANCE, ends: 0 }
    }
}

impl Saved {
    pub(super) fn read(position: Position) -> Result<Saved, String> {
        let intent = position.intent.as_deref().map(Intent::read).transpose()?;
        Ok(Saved { position, intent })
    }

    /// The offset that the partition must reach, if it is the one that was read.
    fn needs(&self) -> i64 {
        self.intent.as_ref().map_or(self.position.next_offset, |it| it.to)
    }
}

impl Partition {
    fn close(&mut self) -> Option<Batch> {
        let batch = self.open.take()?;
        self.seen = batch.last();
        Some(batch)
    }

    /// What the message before the next one was, where it was read.
    fn mark(&self) -> Option<u32> {
        self.open.as_ref().and_then(Batch::last).or(self.seen)
    }

    /// Where the client reads on.
    fn first_offset(&self) -> Offset {
        Offset::Offset(self.next_offset - i64::from(self.last.is_some()))
    }

    /// A topic that is deleted and made again goes on at the same offsets, and a client does not always say so. It takes
    /// a moment in which nothing comes, or it shows as an error: then what was read last is compared once more.
    fn is_doubtful(&self, now: Instant) -> bool {
        let waits = self.last.is_none() && self.again.is_none();
        waits && self.heard.is_none_or(|it| now.duration_since(it) > SILENCE) && self.mark().is_some()
    }
}

fn seek(
    client: &BaseConsumer<Voice>,
    topic: &str,
    partition: i32,
    offset: Offset,
    shared: &Shared,
    stop: &CancellationToken,
) -> Result<(), Ended> {
    while let Err(error) = client.seek(topic, partition, offset, ANSWER) {
        if stop.is_cancelled() {
            return Err(Ended);
        }
        shared.complain(Level::Warning, Some(partition), "seek", words(&error));
        std::thread::sleep(REST);
    }
    Ok(())
}

/// Puts a message into its partition's batch, and gives the batch if that fills it.
fn take(
    partitions: &mut BTreeMap<i32, Partition>,
    (stream, shared, tuning): (&Arc<Stream>, &Shared, &Tuning),
    message: &BorrowedMessage<'_>,
    now: Instant,
) -> Option<Batch> {
    let number = message.partition();
    let partition = partitions.get_mut(&number)?;
    if partition.is_anew || partition.look_back {
        return None;
    }
    if message.offset() < partition.next_offset {
        // Read once more to be compared, or left over from before a partition was put elsewhere.
        let is_last = message.offset() + 1 == partition.next_offset;
        partition.is_anew = partition.last.take_if(|_| is_last).is_some_and(|it| it != mark(message));
        return None;
    }
    if partition.is_doubtful(now) {
        partition.look_back = true;
        return None;
    }
    partition.last = None;
    partition.heard = Some(now);
    partition.next_offset = message.offset() + 1;
    let epoch = partition.epoch;
    if let Some((again, before)) = partition.again.take() {
        let mut batch = partition.open.take().unwrap_or_else(|| Batch::new(&before, number, epoch));
        let within = message.offset() < again.to;
        if within {
            batch.push(message);
        }
        if message.offset() + 1 < again.to {
            partition.open = Some(batch);
            partition.again = Some((again, before));
            return None;
        }
        // As many messages and others: no part of them may count as what was begun of those.
        if batch.len() as u64 >= again.messages && batch.digest() != again.digest {
            partition.is_anew = true;
            partition.again = Some((again, before));
            return None;
        }
        // What holds the reading back must not wait for what only reading ends, so it counts from now on.
        shared.held.fetch_add(batch.size(), Ordering::AcqRel);
        batch.again = Some(again);
        partition.seen = batch.last();
        if !within && partition.wanted == Wanted::All {
            // The last messages of the range are gone from the broker: this one begins the next batch.
            let mut next = Batch::new(stream, number, epoch);
            shared.held.fetch_add(next.push(message), Ordering::AcqRel);
            partition.open = Some(next);
        }
        return Some(batch);
    }
    let batch = partition.open.get_or_insert_with(|| {
        shared.well();
        Batch::new(stream, number, epoch)
    });
    let size = batch.push(message);
    shared.held.fetch_add(size, Ordering::AcqRel);
    let full = batch.len() >= tuning.batch_rows || batch.size() >= tuning.batch_bytes;
    if full { partition.close() } else { None }
}
