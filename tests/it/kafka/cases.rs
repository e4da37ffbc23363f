//! What brokers, topics and other readers do to a consumer: each message arrives once all the same.

use super::{
    Broker, Feed, Kept, event,
    front::{Asks, Front, Trouble},
    once, processor_time, until, until_messages,
};
use crate::ingest::select;
use birdhouse::{
    ingest::kafka::{Offsets, Position, Settings, State},
    name::{Namespace, Physical, ResourceName},
    observe::Level,
    sql::Sql,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    message::{Header, OwnedHeaders},
    mocking::MockCluster,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

impl Feed {
    /// Takes the table away, so that nothing can be inserted, or brings it back.
    async fn hide(&self, hidden: bool) {
        let away = Namespace::new(self.target.table.database()).table(&ResourceName::new("away").unwrap());
        let (from, to) = if hidden { (&self.target.table, &away) } else { (&away, &self.target.table) };
        let mut sql = Sql::new("RENAME TABLE ");
        sql.table(from).push(" TO ").table(to);
        self.engine.command(&sql).await.unwrap();
    }

    /// A table that a view fills with the ids that are here, under a condition.
    pub(super) async fn copying(&self, condition: &'static str) -> Physical {
        let [copy, view] = self.copies();
        let mut sql = Sql::new("CREATE TABLE ");
        sql.table(&copy)
            .push(" (id UInt32) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000");
        self.engine.command(&sql).await.unwrap();
        let mut sql = Sql::new("CREATE MATERIALIZED VIEW ");
        sql.table(&view).push(" TO ").table(&copy).push(" AS SELECT id FROM ").table(&self.target.table);
        self.engine.command(&sql).await.unwrap();
        self.set_copying(condition).await;
        copy
    }

    pub(super) async fn set_copying(&self, condition: &'static str) {
        let mut sql = Sql::new("ALTER TABLE ");
        sql.table(&self.copies()[1]).push(" MODIFY QUERY SELECT id FROM ").table(&self.target.table).push(condition);
        self.engine.command(&sql).await.unwrap();
    }

    fn copies(&self) -> [Physical; 2] {
        let namespace = Namespace::new(self.target.table.database());
        ["copy", "copy_view"].map(|it| namespace.table(&ResourceName::new(it).unwrap()))
    }
}

/// Trouble on the way: answers cut in the middle, delayed, withheld.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_cut_or_late_lose_and_double_nothing() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    broker.send("t", 2, (0..2000).map(event));
    let front = Front::open(broker.port, Asks::default());
    let mut feed = Feed::new(&broker, "t").await;
    feed.settings = Settings::plaintext(&front.address());
    feed.tuning.batch_rows = 100;
    let consumer = feed.start().await;
    until_messages(&consumer, 2000).await;
    let mut sent = 2000;
    for trouble in [Trouble::Cut, Trouble::Delay, Trouble::Silence] {
        front.trouble(trouble);
        broker.send("t", 2, (sent..sent + 1000).map(event));
        sent += 1000;
        if trouble == Trouble::Delay {
            until_messages(&consumer, sent).await;
        } else {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        front.trouble(Trouble::None);
        until_messages(&consumer, sent).await;
    }
    consumer.stop().await;
    assert_eq!(feed.table().await, once(sent));
}

/// A cluster of three that is told how to fail, over connections that are real.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_in_trouble_is_read_to_the_end() {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic("t", 6, 3).unwrap();
    let send = |from: u64, to: u64| {
        let servers = cluster.bootstrap_servers();
        tokio::task::spawn_blocking(move || {
            let mut config = rdkafka::ClientConfig::new();
            config.set("bootstrap.servers", servers);
            let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
            for id in from..to {
                let (key, value) = (id.to_string(), event(id));
                producer
                    .send(BaseRecord::to("t").partition((id % 6) as i32).key(&key).payload(&value))
                    .map_err(|(error, _)| error)
                    .unwrap();
            }
            producer.flush(Duration::from_secs(30)).unwrap();
        })
    };
    send(0, 1000).await.unwrap();
    let mut feed = Feed::at(Settings::plaintext(&cluster.bootstrap_servers()), "t").await;
    feed.tuning.batch_rows = 50;
    let consumer = feed.start().await;
    until_messages(&consumer, 1000).await;
    use RDKafkaRespErr as E;
    let fetch = [
        E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        E::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
        E::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    cluster.request_errors(RDKafkaApiKey::Fetch, &fetch);
    let commit = [
        E::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        E::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        E::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    ];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &commit);
    send(1000, 2000).await.unwrap();
    until_messages(&consumer, 2000).await;
    // A leader moves, a broker goes and comes, and all are slow.
    cluster.partition_leader("t", 0, Some(2)).unwrap();
    cluster.broker_down(1).unwrap();
    cluster.broker_round_trip_time(2, Duration::from_millis(300)).unwrap();
    let sending = send(2000, 3000);
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.broker_up(1).unwrap();
    sending.await.unwrap();
    until_messages(&consumer, 3000).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(3000));
    assert_eq!(feed.quarantined().await, 0);
}

/// A group is only a mirror: whoever else is in it takes nothing away.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_in_the_same_group_changes_nothing() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    broker.send("t", 2, (0..1000).map(event));
    let feed = Feed::new(&broker, "t").await;
    let consumer = feed.start().await;
    until_messages(&consumer, 1000).await;
    let mut config = broker.client();
    config.set("group.id", "birdhouse-tests").set("auto.offset.reset", "earliest").set("session.timeout.ms", "6000");
    let stranger: BaseConsumer = config.create().unwrap();
    stranger.subscribe(&["t"]).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let joined = Arc::new(AtomicBool::new(false));
    let joins = joined.clone();
    let reading = std::thread::spawn(move || {
        while receiver.try_recv().is_err() {
            _ = stranger.poll(Duration::from_millis(100));
            if stranger.assignment().is_ok_and(|it| it.count() > 0) {
                joins.store(true, Ordering::SeqCst);
            }
        }
        // It sets the group back, too.
        let mut list = TopicPartitionList::new();
        for partition in 0..2 {
            list.add_partition_offset("t", partition, Offset::Offset(0)).unwrap();
        }
        _ = stranger.commit(&list, CommitMode::Sync);
    });
    broker.send("t", 2, (1000..3000).map(event));
    until_messages(&consumer, 3000).await;
    until("the stranger has joined", async || joined.load(Ordering::SeqCst)).await;
    sender.send(()).unwrap();
    reading.join().unwrap();
    broker.send("t", 2, (3000..4000).map(event));
    until_messages(&consumer, 4000).await;
    consumer.stop().await;
    assert!(feed.heard.lock().unwrap().iter().all(|(level, _)| *level == Level::Info));
    let consumer = feed.start().await;
    broker.send("t", 2, (4000..4100).map(event));
    until("the rest is in", async || consumer.status().messages >= 100).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(4100), "our own offsets decide");
}

/// Messages without a value, without a key, with odd headers; text that is none; a whole batch of them.
#[tokio::test(flavor = "multi_thread")]
async fn odd_messages_are_kept_as_what_they_are() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    let producer: ThreadedProducer<DefaultProducerContext> = broker.client().create().unwrap();
    let header = |key, value| Header { key, value };
    let binary: &[u8] = &[0, 255, 1];
    let headers = || {
        OwnedHeaders::new()
            .insert(header("h", Some(b"1".as_slice())))
            .insert(header("h", Some(b"2".as_slice())))
            .insert(header("binary", Some(binary)))
            .insert(header("nothing", None::<&[u8]>))
    };
    let value = event(7);
    let send = |record: BaseRecord<'_, [u8], [u8]>| producer.send(record.partition(0)).map_err(|(it, _)| it).unwrap();
    send(BaseRecord::to("t").payload(value.as_bytes()).headers(headers()));
    let other = event(8);
    send(BaseRecord::to("t").payload(other.as_bytes()).key(b"".as_slice()));
    // Not one of these is a row: a tombstone, nothing, bad UTF-8, half a surrogate, depth, a wrong type.
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let bad: [Option<&[u8]>; 6] = [
        None,
        Some(b""),
        Some(b"{\"id\": \"\xff\"}"),
        Some(b"\"\\ud800\""),
        Some(deep.as_bytes()),
        Some(b"{\"id\":[]}"),
    ];
    for value in bad {
        let record = BaseRecord::to("t").key(b"k".as_slice());
        send(match value {
            Some(value) => record.payload(value),
            None => record,
        });
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let mut feed = Feed::new(&broker, "t").await;
    // The bad ones are batches of their own.
    feed.tuning.batch_rows = 2;
    let consumer = feed.start().await;
    let status = until_messages(&consumer, 8).await;
    consumer.stop().await;
    assert_eq!((status.rows, status.quarantined), (2, 6));
    let rows = select(
        feed.engine,
        "key, __headers['nothing'] AS n, hex(__headers['binary']) AS b",
        &feed.target.table,
        "ORDER BY id",
    );
    let rows = rows.await;
    assert_eq!((&rows[0]["key"], &rows[1]["key"]), (&json!(""), &json!("")));
    assert_eq!((&rows[0]["b"], &rows[0]["n"]), (&json!("00FF01"), &json!("")));
    let pairs =
        select(feed.engine, "mapKeys(__headers) AS k, mapValues(__headers)[2] AS v", &feed.target.table, "ORDER BY id");
    assert_eq!(pairs.await[0], json!({"k": ["h", "h", "binary", "nothing"], "v": "2"}));
    let next: i64 = feed.offsets.0.lock().unwrap()[&0].next_offset;
    assert_eq!(next, 8, "the offsets go on over a batch without one good message");
    let kept =
        select(feed.engine, "offset, length(c__raw) AS l, key", &feed.target.quarantine, "ORDER BY toInt64(offset)");
    let kept = kept.await;
    assert_eq!(
        kept.iter().map(|it| it["offset"].as_str().unwrap()).collect::<Vec<_>>(),
        ["2", "3", "4", "5", "6", "7"]
    );
    assert_eq!(kept[4]["l"], deep.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_is_read() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    for (index, kind) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let mut config = broker.client();
        let producer: ThreadedProducer<DefaultProducerContext> = config.set("compression.type", kind).create().unwrap();
        for id in index * 100..(index + 1) * 100 {
            let (key, value) = (id.to_string(), event(id as u64));
            producer.send(BaseRecord::to("t").key(&key).payload(&value)).map_err(|(it, _)| it).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }
    let feed = Feed::new(&broker, "t").await;
    feed.read(500).await;
    assert_eq!(feed.table().await, once(500));
}

/// The broker has thrown away what was to be read next.
#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_the_broker_has_no_more_are_said_to_be_lost_and_reading_goes_on() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..100).map(event));
    let feed = Feed::new(&broker, "t").await;
    feed.read(100).await;
    broker.send("t", 1, (1000..1050).map(event));
    broker.send("t", 1, (100..150).map(event));
    broker.delete_messages("t", 150).await;
    feed.read(50).await;
    assert_eq!(feed.table().await, once(150));
    assert_eq!(feed.heard("offsets 100 to 150 are no longer on the broker: lost"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_found_and_read_from_their_begin() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    broker.send("t", 2, (0..100).map(event));
    let feed = Feed::new(&broker, "t").await;
    let consumer = feed.start().await;
    until_messages(&consumer, 100).await;
    broker.grow_topic("t", 4).await;
    broker.send("t", 4, (100..300).map(event));
    // New ones are looked for now and then, and at each start.
    consumer.stop().await;
    let consumer = feed.start().await;
    until("the new ones are in", async || feed.table().await[0] >= 300).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(300));
    assert_eq!(feed.offsets.0.lock().unwrap().len(), 4);
}

/// A store that was restored from an older copy: what the engine still remembers is not doubled.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_offsets_doubles_nothing_that_the_tables_remember() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..500).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    // Batches end at the same messages again.
    feed.tuning.batch_rows = 100;
    feed.tuning.batch_age = Duration::from_secs(60);
    feed.read(500).await;
    let old = Position { partition: 0, next_offset: 200, epoch: 0, intent: None, last: None };
    feed.offsets.save("events", "t", &[old]).unwrap();
    feed.read(300).await;
    assert_eq!(feed.table().await, once(500));
}

/// A view throws: nothing is lost, nobody else waits, and when it is mended all are level.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_throws_stops_its_own_source_alone_until_it_is_mended() {
    let broker = Broker::start().await;
    for topic in ["a", "b"] {
        broker.topic(topic, 1).await;
        broker.send(topic, 1, (0..100).map(event));
    }
    let mut stuck = Feed::new(&broker, "a").await;
    stuck.tuning.batch_rows = 50;
    let other = Feed::new(&broker, "b").await;
    let copy = stuck.copying(" WHERE NOT throwIf(id = 70)").await;
    let (one, two) = (stuck.start().await, other.start().await);
    until("it is said to fail", async || one.status().state == State::Failing).await;
    assert!(one.status().last_error.unwrap().contains("while pushing to view"));
    until_messages(&two, 100).await;
    broker.send("b", 1, (100..200).map(event));
    until_messages(&two, 200).await;
    assert_eq!(two.status().state, State::Running);
    // A restart changes nothing about it.
    one.stop().await;
    let one = stuck.start().await;
    until("it fails again", async || one.status().state == State::Failing).await;
    stuck.set_copying("").await;
    until_messages(&one, 50).await;
    one.stop().await;
    two.stop().await;
    assert_eq!((stuck.table().await, other.table().await), (once(100), once(200)));
    let copied = select(stuck.engine, "count() AS c, uniqExact(id) AS u", &copy, "").await;
    assert_eq!(copied, [json!({"c": 100, "u": 100})]);
}

/// The columns change while something is begun: that is read as it was, and the rest goes by the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_columns_while_a_batch_is_begun_is_for_what_comes_after() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..100).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.batch_rows = 100;
    // The table is away, so the first batch is begun and cannot end.
    feed.hide(true).await;
    let consumer = feed.start().await;
    until("the batch is begun", async || feed.offsets.0.lock().unwrap().get(&0).is_some_and(|it| it.intent.is_some()))
        .await;
    consumer.stop().await;
    assert!(feed.offsets.0.lock().unwrap()[&0].intent.is_some());
    feed.hide(false).await;
    let mut sql = Sql::new("ALTER TABLE ");
    sql.table(&feed.target.table).push(" ADD COLUMN text String");
    feed.engine.command(&sql).await.unwrap();
    let lines = [super::COLUMNS, &["text String $.text"]].concat();
    feed.target.datasource = Arc::new(crate::ingest::datasource("t", &lines, Some("t")));
    broker.send("t", 1, (100..200).map(event));
    feed.read(200).await;
    assert_eq!(feed.table().await, once(200));
    let filled = select(feed.engine, "countIf(text != '') AS c", &feed.target.table, "").await;
    assert_eq!(filled, [json!({"c": 100})]);
    assert_eq!(feed.heard("columns"), 0);
}

/// What is held in memory is bounded though the table takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_bounded_while_nothing_can_be_inserted() {
    let broker = Broker::start().await;
    broker.topic("big", 8).await;
    let text = |id: u64| json!({"id": id, "company": {"id": 1}, "text": "x".repeat(20_000)}).to_string();
    broker.send("big", 8, (0..4000).map(text));
    let mut feed = Feed::new(&broker, "big").await;
    feed.tuning.held_bytes = 4 << 20;
    feed.tuning.batch_bytes = 1 << 20;
    feed.hide(true).await;
    let consumer = feed.start().await;
    until("it fails", async || consumer.status().state == State::Failing).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // 80 MB wait on the broker; one batch of each partition may come on top of what is held.
    let held = consumer.status().held;
    assert!(held > 0 && held < 16 << 20, "{held} bytes");
    let before = processor_time("kafka big");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(processor_time("kafka big") - before < Duration::from_millis(150), "a busy loop");
    feed.hide(false).await;
    until_messages(&consumer, 4000).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(4000));
}

/// What is said to wait is what waits.
#[tokio::test(flavor = "multi_thread")]
async fn the_lag_is_the_truth() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    broker.send("t", 2, (0..1000).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.batch_rows = 100;
    feed.tuning.held_bytes = 1;
    feed.hide(true).await;
    let consumer = feed.start().await;
    until("all of it waits", async || consumer.status().lag == 1000).await;
    feed.hide(false).await;
    until_messages(&consumer, 1000).await;
    until("nothing waits", async || consumer.status().lag == 0).await;
    consumer.stop().await;
}

/// A batch is read again after TRUNCATE where the offsets are set back: rows return.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_truncate_the_same_messages_can_be_read_again() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..200).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.batch_rows = 100;
    feed.tuning.batch_age = Duration::from_secs(60);
    feed.read(200).await;
    let mut sql = Sql::new("TRUNCATE TABLE ");
    sql.table(&feed.target.table);
    feed.engine.command(&sql).await.unwrap();
    feed.offsets = Arc::<Kept>::default();
    feed.offsets
        .save("", "", &[Position { partition: 0, next_offset: 0, epoch: 0, intent: None, last: None }])
        .unwrap();
    feed.read(200).await;
    assert_eq!(feed.table().await, once(200));
}

/// Two data sources on one topic, each with offsets of its own.
#[tokio::test(flavor = "multi_thread")]
async fn two_data_sources_read_one_topic_side_by_side() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    broker.send("t", 2, (0..500).map(event));
    let (one, two) = (Feed::new(&broker, "t").await, Feed::new(&broker, "t").await);
    let (first, second) = (one.start().await, two.start().await);
    until_messages(&first, 500).await;
    first.stop().await;
    broker.send("t", 2, (500..1000).map(event));
    until_messages(&second, 1000).await;
    second.stop().await;
    let first = one.start().await;
    until_messages(&first, 500).await;
    first.stop().await;
    assert_eq!((one.table().await, two.table().await), (once(1000), once(1000)));
}

/// Whatever comes is a row or a refused one, and each once.
#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_spoilt_messages_each_is_somewhere_once() {
    let broker = Broker::start().await;
    broker.topic("t", 4).await;
    let mut random = StdRng::seed_from_u64(11);
    let producer: ThreadedProducer<DefaultProducerContext> = broker.client().create().unwrap();
    let spoilt = |random: &mut StdRng, id: u64| -> Vec<u8> {
        let mut value = event(id).into_bytes();
        match random.random_range(0..8u8) {
            0 => {
                let at = random.random_range(0..value.len());
                value[at] = random.random();
            }
            1 => value.truncate(random.random_range(0..value.len())),
            2 => value.insert(random.random_range(0..value.len()), 0xff),
            3 => value = format!("{{\"id\":{id},\"id\":{},\"company\":{{\"id\":1}}}}", id + 1).into_bytes(),
            4 => value = format!("{{\"id\":{id},\"company\":{{\"id\":1}},\"t\":\"\\ud800\"}}").into_bytes(),
            5 => {
                let depth = random.random_range(1..2000);
                value = format!("{{\"id\":{}{id}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
            }
            6 => value.extend(random.random::<[u8; 16]>()),
            _ if id.is_multiple_of(500) => {
                value = json!({"id": id, "company": {"id": 1}, "t": "x".repeat(900_000)}).to_string().into_bytes();
            }
            _ => (),
        }
        value
    };
    for id in 0..10_000u64 {
        let value = spoilt(&mut random, id);
        let mut record = BaseRecord::<(), _>::to("t").payload(&value).partition((id % 4) as i32);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            std::thread::yield_now();
        }
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.batch_rows = 700;
    let consumer = feed.start().await;
    let status = until_messages(&consumer, 10_000).await;
    consumer.stop().await;
    assert_eq!(status.rows + status.quarantined, 10_000);
    assert!(status.rows > 2000 && status.quarantined > 2000, "{status:?}");
    assert_eq!((feed.table().await[0], feed.quarantined().await), (status.rows, status.quarantined));
    let places = select(feed.engine, "uniqExact(partition, offset) AS u", &feed.target.table, "").await;
    assert_eq!(places, [json!({"u": status.rows})]);
}
