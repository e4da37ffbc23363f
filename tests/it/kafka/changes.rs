//! What changes around a consumer: what is read of a message while something is half in, a topic's partitions, the
//! group's offsets.

use super::{Broker, Feed, event, once, until, until_messages};
use crate::ingest::select;
use birdhouse::{ingest::kafka::State, project::OffsetReset};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// A batch is in the table and not in its view when what is read of a message changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_half_in_is_read_as_it_was_begun() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    // Of ten messages one is a row only before the change, and one only after it.
    let message = |id: u64| match id % 10 {
        3 => json!({"id": id, "other": {"id": 2}}),
        7 => json!({"id": id, "company": {"id": 1}}),
        _ => json!({"id": id, "company": {"id": 1}, "other": {"id": 2}}),
    };
    broker.send("t", 1, (0..100).map(|it| message(it).to_string()));
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.batch_rows = 100;
    let copy = feed.copying(" WHERE NOT throwIf(id = 70)").await;
    let consumer = feed.start().await;
    until("it is said to fail", async || consumer.status().state == State::Failing).await;
    consumer.stop().await;
    let lines: Vec<_> = super::COLUMNS.iter().map(|it| it.replace("$.company.id", "$.other.id")).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    feed.target.datasource = Arc::new(crate::ingest::datasource("t", &lines, Some("t")));
    broker.send("t", 1, (100..200).map(|it| message(it).to_string()));
    let consumer = feed.start().await;
    until("it fails again", async || consumer.status().state == State::Failing).await;
    feed.set_copying("").await;
    until_messages(&consumer, 200).await;
    consumer.stop().await;
    let head = "count() AS rows, uniqExact(id) AS ids, countIf(company_id = 1) AS before";
    assert_eq!(
        select(feed.engine, head, &feed.target.table, "").await,
        [json!({"rows": 180, "ids": 180, "before": 90})]
    );
    assert_eq!(select(feed.engine, "count() AS c, uniqExact(id) AS u", &copy, "").await, [json!({"c": 180, "u": 180})]);
    let refused = select(feed.engine, "toUInt32(offset) AS n", &feed.target.quarantine, "ORDER BY n").await;
    let wanted = (0..200).filter(|it| it % 10 == if *it < 100 { 3 } else { 7 }).map(Value::from).collect::<Vec<_>>();
    assert_eq!(refused.iter().map(|it| it["n"].clone()).collect::<Vec<_>>(), wanted);
    assert_eq!(feed.heard("columns"), 0);
}

impl Feed {
    fn begin_at(&mut self, reset: OffsetReset) {
        let mut datasource = (*self.target.datasource).clone();
        datasource.kafka.as_mut().unwrap().offset_reset = reset;
        self.target.datasource = Arc::new(datasource);
    }
}

/// A topic gets partitions while it is read: all that comes to them is read, whatever is to be left out of the others.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_come_while_a_topic_is_read_are_read_from_their_begin() {
    let broker = Broker::start().await;
    broker.topic("t", 4).await;
    broker.send("t", 4, (5000..5100).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    feed.begin_at(OffsetReset::Latest);
    feed.tuning.discovery = Duration::from_millis(500);
    let consumer = feed.start().await;
    until("it knows where it begins", async || feed.offsets.0.lock().unwrap().len() == 4).await;
    broker.grow_topic("t", 6).await;
    broker.send("t", 6, (0..600).map(event));
    until_messages(&consumer, 600).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(600));
}

/// With `none` nothing is read before somebody has said where to begin.
#[tokio::test(flavor = "multi_thread")]
async fn none_waits_for_an_offset_that_somebody_commits() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (1000..1100).map(event));
    broker.send("t", 1, (0..50).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    feed.begin_at(OffsetReset::None);
    let consumer = feed.start().await;
    until("it says so", async || feed.heard("KAFKA_AUTO_OFFSET_RESET is none") > 0).await;
    assert_eq!((consumer.status().state, feed.table().await[0]), (State::Waiting, 0));
    let group = feed.target.datasource.kafka.as_ref().unwrap().group_id.clone();
    let other: BaseConsumer = broker.client().set("group.id", &group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, Offset::Offset(100)).unwrap();
    other.commit(&list, CommitMode::Sync).unwrap();
    until_messages(&consumer, 50).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(50));
}

/// A topic that was made anew while nobody read it, and has more messages than the old one had.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_that_is_longer_already_is_read_from_its_begin() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..100).map(event));
    let feed = Feed::new(&broker, "t").await;
    feed.read(100).await;
    // As long as it is the same, nothing is read twice.
    let consumer = feed.start().await;
    broker.send("t", 1, (100..150).map(event));
    until_messages(&consumer, 50).await;
    consumer.stop().await;
    assert_eq!(feed.heard("made anew"), 0);
    broker.delete_topic("t").await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (150..400).map(event));
    feed.read(250).await;
    assert_eq!(feed.table().await, once(400));
    assert_eq!(feed.heard("the topic was made anew"), 1);
    assert_eq!(feed.offsets.0.lock().unwrap()[&0].epoch, 1);
}

/// The same while it is read: after a silence, and after trouble with the broker.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_while_it_is_read_is_noticed_though_it_is_longer() {
    let mut broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..100).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.discovery = Duration::from_secs(600);
    let consumer = feed.start().await;
    until_messages(&consumer, 100).await;
    // Whoever says little is read as ever.
    for id in 100..103 {
        tokio::time::sleep(SILENCE).await;
        broker.send("t", 1, [event(id)]);
        until_messages(&consumer, id + 1).await;
    }
    assert_eq!(feed.heard("made anew"), 0);
    tokio::time::sleep(SILENCE).await;
    broker.delete_topic("t").await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (103..400).map(event));
    until_messages(&consumer, 400).await;
    assert_eq!(feed.heard("made anew"), 1);
    // A broker that was away.
    let front = feed.heard.lock().unwrap().len();
    broker.restart().await;
    until("it is noticed", async || feed.heard.lock().unwrap().len() > front).await;
    broker.delete_topic("t").await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (400..1000).map(event));
    until_messages(&consumer, 1000).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(1000));
    // Which of the two shows first is the broker's: that it ends before, or that another message stands there.
    assert_eq!(feed.heard("made anew"), 2);
    assert_eq!(feed.offsets.0.lock().unwrap()[&0].epoch, 2);
}

/// Longer than a topic may be silent and count as the same.
const SILENCE: Duration = Duration::from_millis(2200);

/// The message that would be compared is not on the broker any more: that is no other topic.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_go_after_they_were_read_do_not_stop_the_reading() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..100).map(event));
    let feed = Feed::new(&broker, "t").await;
    let consumer = feed.start().await;
    until_messages(&consumer, 100).await;
    tokio::time::sleep(SILENCE).await;
    broker.delete_messages("t", 100).await;
    broker.send("t", 1, (100..200).map(event));
    until_messages(&consumer, 200).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(200));
    assert_eq!((feed.heard("made anew"), feed.heard("lost")), (0, 0));
}

/// The same with a batch that was begun: what the new one has at its offsets is not taken for the rest of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_a_topic_that_is_gone_is_not_ended_with_another_s_messages() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..100).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.batch_rows = 100;
    let copy = feed.copying(" WHERE NOT throwIf(id = 70)").await;
    let consumer = feed.start().await;
    until("it is said to fail", async || consumer.status().state == State::Failing).await;
    consumer.stop().await;
    feed.set_copying("").await;
    broker.delete_topic("t").await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (100..300).map(event));
    feed.read(200).await;
    assert_eq!(feed.table().await, once(300));
    let copied = select(feed.engine, "countIf(id >= 100) AS c, uniqExact(id) = count() AS u", &copy, "").await;
    assert_eq!(copied, [json!({"c": 200, "u": 1})]);
    assert_eq!(feed.heard("offsets 0 to 100 of the old one"), 1);
}
