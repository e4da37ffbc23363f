//! What tables, views and topics do to a consumer that runs: it waits, goes on, and each message is in once.

use super::{Broker, Feed, event, once, processor_time, until, until_messages};
use crate::{ingest::select, torture};
use birdhouse::{
    ingest::kafka::{Settings, State},
    name::{Namespace, Physical, ResourceName},
    sql::Sql,
};
use rdkafka::{
    mocking::MockCluster,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde_json::json;
use std::time::Duration;

impl Feed {
    fn beside(&self, name: &str) -> Physical {
        Namespace::new(self.target.table.database()).table(&ResourceName::new(name).unwrap())
    }

    /// Runs a statement about the table.
    async fn change(&self, before: &'static str, after: &'static str) {
        let mut sql = Sql::new(before);
        sql.table(&self.target.table).push(after);
        self.engine.command(&sql).await.unwrap();
    }
}

/// A view that is taken away and made again misses what comes between, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_may_go_and_come_while_messages_come() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.batch_rows = 50;
    let [copy, view] = ["copy", "copy_view"].map(|it| feed.beside(it));
    let run = async |parts: &[&'static str]| {
        let mut sql = Sql::default();
        for part in parts {
            match *part {
                "copy" => sql.table(&copy),
                "view" => sql.table(&view),
                "table" => sql.table(&feed.target.table),
                words => sql.push(words),
            };
        }
        feed.engine.command(&sql).await.unwrap();
    };
    let kept = " (id UInt32) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000";
    run(&["CREATE TABLE ", "copy", kept]).await;
    let make = ["CREATE MATERIALIZED VIEW ", "view", " TO ", "copy", " AS SELECT id FROM ", "table"];
    run(&make).await;
    broker.send("t", 2, (0..1000).map(event));
    let consumer = feed.start().await;
    until_messages(&consumer, 1000).await;
    run(&["DROP TABLE ", "view", " SYNC"]).await;
    broker.send("t", 2, (1000..2000).map(event));
    until_messages(&consumer, 2000).await;
    run(&make).await;
    broker.send("t", 2, (2000..3000).map(event));
    until_messages(&consumer, 3000).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(3000));
    let rows =
        select(feed.engine, "count() AS c, uniqExact(id) AS u, countIf(id BETWEEN 1000 AND 1999) AS b", &copy, "");
    assert_eq!(rows.await, [json!({"c": 2000, "u": 2000, "b": 0})]);
}

/// The engine takes no more parts for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_too_many_parts_is_waited_for() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..1000).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.batch_rows = 100;
    feed.change("SYSTEM STOP MERGES ", "").await;
    feed.change("ALTER TABLE ", " MODIFY SETTING parts_to_delay_insert = 0, parts_to_throw_insert = 3").await;
    let consumer = feed.start().await;
    until("it is said to fail", async || consumer.status().state == State::Failing).await;
    let status = consumer.status();
    assert!(status.last_error.as_ref().is_some_and(|it| it.contains("Too many parts")), "{status:?}");
    assert!(status.messages < 1000 && status.quarantined == 0, "{status:?}");
    feed.change("ALTER TABLE ", " MODIFY SETTING parts_to_throw_insert = 3000").await;
    feed.change("SYSTEM START MERGES ", "").await;
    until_messages(&consumer, 1000).await;
    consumer.stop().await;
    assert_eq!((feed.table().await, feed.quarantined().await), (once(1000), 0));
}

/// Wants terabytes for a hundred rows, which the engine refuses before it takes any.
const TOO_MUCH: &str =
    " WHERE NOT arrayExists(it -> empty(toFixedString(toString(it), 16777215)), range(toUInt32(id % 2 + 1000)))";

const TOO_WIDE: &str = " ADD COLUMN wide UInt8 MATERIALIZED arrayExists(it -> empty(toFixedString(toString(it), \
                        16777215)), range(toUInt32(id % 2 + 1000)))";

/// Memory does not suffice for an insert, or for a view behind it: nothing is refused for that, and it is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_exceeds_the_memory_limit_is_waited_for() {
    let broker = Broker::start().await;
    for topic in ["table", "view"] {
        broker.topic(topic, 1).await;
        let message = |id: u64| if id % 100 == 99 { "{".to_owned() } else { event(id) };
        broker.send(topic, 1, (0..1000).map(message));
        let mut feed = Feed::new(&broker, topic).await;
        feed.tuning.batch_rows = 100;
        let copy = feed.copying("").await;
        match topic {
            "table" => feed.change("ALTER TABLE ", TOO_WIDE).await,
            _ => feed.set_copying(TOO_MUCH).await,
        }
        let consumer = feed.start().await;
        until("it is said to fail", async || consumer.status().state == State::Failing).await;
        let status = consumer.status();
        assert!(status.last_error.as_ref().is_some_and(|it| it.contains("memory limit exceeded")), "{status:?}");
        assert_eq!((status.messages, feed.quarantined().await), (0, 0));
        match topic {
            "table" => feed.change("ALTER TABLE ", " DROP COLUMN wide").await,
            _ => feed.set_copying("").await,
        }
        until_messages(&consumer, 1000).await;
        consumer.stop().await;
        assert_eq!((feed.table().await[..2].to_vec(), feed.quarantined().await), (vec![990, 990], 10));
        let copied = select(feed.engine, "count() AS c, uniqExact(id) AS u", &copy, "").await;
        assert_eq!(copied, [json!({"c": 990, "u": 990})], "{topic}");
    }
}

/// Of two data sources on one topic one cannot insert: the other keeps pace, and each has a lag of its own.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_data_sources_on_a_topic_may_be_stuck() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    let (stuck, well) = (Feed::new(&broker, "t").await, Feed::new(&broker, "t").await);
    let mut away = Sql::new("RENAME TABLE ");
    away.table(&stuck.target.table).push(" TO ").table(&stuck.beside("away"));
    stuck.engine.command(&away).await.unwrap();
    let (first, second) = (stuck.start().await, well.start().await);
    // So many batches that the one that is stuck stops to read: what waits is known all the same.
    for from in (0..1000).step_by(200) {
        broker.send("t", 2, (from..from + 200).map(event));
        until_messages(&second, from + 200).await;
    }
    until("each has its lag", async || (first.status().lag, second.status().lag) == (1000, 0)).await;
    let mut back = Sql::new("RENAME TABLE ");
    back.table(&stuck.beside("away")).push(" TO ").table(&stuck.target.table);
    stuck.engine.command(&back).await.unwrap();
    until_messages(&first, 1000).await;
    first.stop().await;
    second.stop().await;
    assert_eq!((stuck.table().await, well.table().await), (once(1000), once(1000)));
}

/// While a consumer runs and is behind, the broker throws away what it would read next; then the whole topic goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_loses_messages_or_is_made_anew_is_read_on_without_a_restart() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..100).map(event));
    let feed = Feed::new(&broker, "t").await;
    let consumer = feed.start().await;
    until_messages(&consumer, 100).await;
    broker.delete_topic("t").await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (100..150).map(event));
    until_messages(&consumer, 150).await;
    assert_eq!(feed.heard("it was made anew"), 1);
    // Partitions are added, and some of the messages deleted, while nobody looks.
    consumer.stop().await;
    broker.send("t", 1, (5000..5100).map(event));
    broker.grow_topic("t", 3).await;
    broker.delete_messages("t", 150).await;
    broker.send("t", 3, (150..300).map(event));
    feed.read(150).await;
    assert_eq!(feed.table().await, once(300));
    assert_eq!(feed.heard("offsets 50 to 150 are no longer on the broker: lost"), 1);
}

/// No broker of three is there for a while: nothing is lost, and nobody is kept busy.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_may_go_and_come_back() {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic("cluster", 3, 3).unwrap();
    let mut config = rdkafka::ClientConfig::new();
    let producer: ThreadedProducer<DefaultProducerContext> =
        config.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    let send = |ids: std::ops::Range<u64>| {
        for id in ids {
            let value = event(id);
            let record = BaseRecord::<(), _>::to("cluster").partition((id % 3) as i32).payload(&value);
            producer.send(record).map_err(|(it, _)| it).unwrap();
        }
    };
    send(0..1000);
    let feed = Feed::at(Settings::plaintext(&cluster.bootstrap_servers()), "cluster").await;
    let consumer = feed.start().await;
    until_messages(&consumer, 1000).await;
    for broker in 1..=3 {
        cluster.broker_down(broker).unwrap();
    }
    send(1000..2000);
    until("it is noticed", async || !feed.heard.lock().unwrap().is_empty()).await;
    let before = processor_time("kafka cluster");
    let time = Duration::from_secs(if torture() { 60 } else { 3 });
    tokio::time::sleep(time).await;
    assert!(processor_time("kafka cluster") - before < time / 20, "a busy loop");
    for broker in 1..=3 {
        cluster.broker_up(broker).unwrap();
    }
    until_messages(&consumer, 2000).await;
    tokio::task::block_in_place(|| producer.flush(Duration::from_secs(30)).unwrap());
    consumer.stop().await;
    assert_eq!((feed.table().await, feed.quarantined().await), (once(2000), 0));
}

/// Long after the last message the next one is read as if there had been no pause, and waiting costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_long_silence_the_next_message_is_read() {
    let broker = Broker::start().await;
    broker.topic("idle", 2).await;
    let feed = Feed::new(&broker, "idle").await;
    let consumer = feed.start().await;
    broker.send("idle", 2, (0..100).map(event));
    until_messages(&consumer, 100).await;
    // Longer than it takes to see that the broker never waits, so that it rests.
    let time = Duration::from_secs(if torture() { 600 } else { 12 });
    tokio::time::sleep(time).await;
    broker.send("idle", 2, (100..200).map(event));
    until_messages(&consumer, 200).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(200));
    assert_eq!(*feed.heard.lock().unwrap(), []);
}
