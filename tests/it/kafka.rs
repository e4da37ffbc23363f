//! Kafka to rows, with a real broker: what is sent arrives once, through stops, outages and bad messages.

mod begun;
mod cases;
mod changes;
mod formats;
pub(crate) mod front;
mod secure;
mod served;
mod transactions;
mod trouble;

use crate::{
    engine::database,
    ingest::{create, datasource, select},
};
use birdhouse::{
    engine::Engine,
    ingest::{
        Target,
        kafka::{self, BrokerError, Consumer, Context, Offsets, Position, Settings, Source, State, Status, Tuning},
    },
    observe::{Level, Observation, Sink},
    project::OffsetReset,
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, Producer, ThreadedProducer},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env, fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// A broker of one test, with its data.
pub(crate) struct Broker {
    directory: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Broker {
    pub(crate) async fn start() -> Broker {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("noida-{port}"));
        _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let mut broker = Broker { directory, port, child: None };
        broker.up().await;
        broker
    }

    /// Starts the process and waits until it answers.
    async fn up(&mut self) {
        let program = env::var_os("BIRDHOUSE_NOIDA").map(PathBuf::from);
        let program = program.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/noida-db"));
        let mut command = Command::new(&program);
        command.args(["start", "--only", "kafka", "--kafka-port", &self.port.to_string(), "--data-dir"]);
        command.arg(&self.directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // The command is a script that starts the broker: both are in a group of their own, and end together.
        let child = command.process_group(0).spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{}: {error}; `make` installs it", program.display())));
        let settings = self.settings();
        until("the broker answers", || {
            let settings = settings.clone();
            async move {
                let check = move || kafka::check_broker(&settings, Duration::from_millis(500));
                tokio::task::spawn_blocking(check).await.unwrap().is_ok()
            }
        })
        .await;
    }

    /// Ends it; it keeps what it was sent only if it may end in peace.
    fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let group = rustix::process::Pid::from_child(&child);
            _ = rustix::process::kill_process_group(group, rustix::process::Signal::INT);
            let end = Instant::now() + Duration::from_secs(5);
            while rustix::process::test_kill_process_group(group).is_ok() && Instant::now() < end {
                _ = child.try_wait();
                std::thread::sleep(Duration::from_millis(10));
            }
            _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            _ = child.wait();
        }
    }

    pub(crate) async fn restart(&mut self) {
        self.down();
        self.up().await;
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn settings(&self) -> Settings {
        Settings::plaintext(&self.address())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        config
    }

    pub(crate) async fn topic(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let made = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    async fn delete_topic(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let gone = admin.delete_topics(&[name], &AdminOptions::new()).await.unwrap();
        assert!(gone.iter().all(Result::is_ok), "{gone:?}");
    }

    async fn grow_topic(&self, name: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let more =
            admin.create_partitions(&[NewPartitions::new(name, partitions)], &AdminOptions::new()).await.unwrap();
        assert!(more.iter().all(Result::is_ok), "{more:?}");
    }

    /// The first partition's messages before this offset go.
    async fn delete_messages(&self, topic: &str, before: i64) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(before)).unwrap();
        let deleted = admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
        assert_eq!(deleted.elements()[0].error(), Ok(()));
    }

    /// Sends values, spread over the topic's partitions.
    pub(crate) fn send(&self, topic: &str, partitions: i32, values: impl IntoIterator<Item = String>) {
        // noida answers a fetch with all that it has from there on, whatever size is asked for, and a client refuses
        // answers above receive.message.max.bytes, 100 MB: what is compressed gets there later.
        let mut config = self.client();
        let producer: ThreadedProducer<_> =
            config.set("linger.ms", "5").set("compression.type", "lz4").create().unwrap();
        for (index, value) in values.into_iter().enumerate() {
            let key = format!("key-{index}");
            let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("v") });
            let record = BaseRecord::to(topic).key(&key).payload(&value).headers(headers);
            let mut record = record.partition(index as i32 % partitions);
            while let Err((_, back)) = producer.send(record) {
                record = back;
                std::thread::yield_now();
            }
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.down();
        _ = fs::remove_dir_all(&self.directory);
    }
}

/// Offsets that outlive a consumer, in memory.
#[derive(Debug, Default)]
struct Kept(Mutex<BTreeMap<i32, Position>>);

impl Offsets for Kept {
    fn load(&self, _: &str, _: &str) -> Result<Vec<Position>, String> {
        Ok(self.0.lock().unwrap().values().cloned().collect())
    }

    fn begun(&self, _: &str) -> Result<Vec<(String, Position)>, String> {
        Ok(Vec::new())
    }

    fn save(&self, _: &str, _: &str, positions: &[Position]) -> Result<(), String> {
        self.0.lock().unwrap().extend(positions.iter().map(|it| (it.partition, it.clone())));
        Ok(())
    }
}

/// A data source on a topic, its offsets, and what was observed.
struct Feed {
    engine: &'static Engine,
    target: Target,
    offsets: Arc<Kept>,
    heard: Arc<Mutex<Vec<(Level, String)>>>,
    settings: Settings,
    tuning: Tuning,
}

const COLUMNS: &[&str] = &[
    "value String",
    "topic LowCardinality(String)",
    "partition Int16",
    "offset Int64",
    "timestamp DateTime",
    "key String",
    "__headers Map(String, String)",
    "id UInt32 $.id",
    "company_id Int8 $.company.id",
];

impl Feed {
    async fn new(broker: &Broker, topic: &str) -> Feed {
        Feed::at(broker.settings(), topic).await
    }

    async fn at(settings: Settings, topic: &str) -> Feed {
        let (engine, namespace) = database().await;
        let target = create(engine, &namespace, datasource(topic, COLUMNS, Some(topic))).await;
        Feed {
            engine,
            target,
            offsets: Arc::default(),
            heard: Arc::default(),
            settings,
            tuning: Tuning { batch_age: Duration::from_millis(50), ..Tuning::default() },
        }
    }

    async fn start(&self) -> Consumer {
        let sink = Sink::default();
        let heard = self.heard.clone();
        sink.attach(move |observation| {
            if let Observation::Kafka { level, message, .. } = observation {
                heard.lock().unwrap().push((*level, message.clone()));
            }
        });
        let context = Context {
            engine: self.engine.clone(),
            offsets: self.offsets.clone(),
            sink,
            tuning: self.tuning.clone(),
            mended: Arc::default(),
        };
        let source = Source {
            id: "events".to_owned(),
            target: self.target.clone(),
            connection: self.settings.clone(),
            connections: BTreeMap::new(),
        };
        kafka::start(&context, source).await.unwrap()
    }

    /// Runs a consumer until it has taken so many messages.
    async fn read(&self, messages: u64) -> Status {
        let consumer = self.start().await;
        let status = until_messages(&consumer, messages).await;
        consumer.stop().await;
        status
    }

    /// Rows, different ids, the sum of the ids.
    async fn table(&self) -> [u64; 3] {
        let head = "count() AS rows, uniqExact(id) AS ids, sum(toUInt64(id)) AS total";
        let row = &select(self.engine, head, &self.target.table, "").await[0];
        ["rows", "ids", "total"].map(|it| row[it].as_u64().unwrap())
    }

    async fn quarantined(&self) -> u64 {
        select(self.engine, "count() AS c", &self.target.quarantine, "").await[0]["c"].as_u64().unwrap()
    }

    fn heard(&self, words: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|(_, message)| message.contains(words)).count()
    }
}

/// Waits for a condition, for a minute at most.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_messages(consumer: &Consumer, wanted: u64) -> Status {
    let end = Instant::now() + Duration::from_secs(120);
    while consumer.status().messages < wanted {
        assert!(Instant::now() < end, "not all of {wanted} messages are in: {:?}", consumer.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    consumer.status()
}

fn event(id: u64) -> String {
    json!({"id": id, "company": {"id": id % 5 + 1}, "text": "x".repeat(200)}).to_string()
}

/// Rows, ids and their sum of `0..count`.
fn once(count: u64) -> [u64; 3] {
    [count, count, (0..count).sum()]
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_events_arrive_once_each_with_all_that_a_message_has() {
    let broker = Broker::start().await;
    broker.topic("t", 4).await;
    broker.send("t", 4, (0..10_000).map(event));
    let feed = Feed::new(&broker, "t").await;
    let consumer = feed.start().await;
    let status = until_messages(&consumer, 10_000).await;
    assert_eq!((status.rows, status.quarantined, status.state), (10_000, 0, State::Running));
    assert_eq!(feed.table().await, once(10_000));
    let head = "value, topic, partition, offset, timestamp > now() - 3600 AS fresh, key, __headers, company_id";
    let row = &select(feed.engine, head, &feed.target.table, "WHERE id = 5").await[0];
    assert_eq!(
        *row,
        json!({
            "value": event(5), "topic": "t", "partition": 1, "offset": row["offset"], "fresh": 1, "key": "key-5",
            "__headers": {"h": "v"}, "company_id": 1,
        })
    );
    // Later messages come too, and the group's offsets follow ours.
    broker.send("t", 4, (10_000..10_010).map(event));
    until_messages(&consumer, 10_010).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(10_010));
    let next: i64 = feed.offsets.0.lock().unwrap().values().map(|it| it.next_offset).sum();
    assert_eq!(next, 10_010);
    assert_eq!(feed.heard.lock().unwrap().len(), 0, "nothing to complain of");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_kept_with_their_reason_and_in_nobodys_way() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    let bad =
        ["{", "", "[1]", "{\"id\":1}", "{\"id\":-1,\"company\":{\"id\":1}}", "{\"id\":1,\"company\":{\"id\":300}}"];
    let all = (0..1000).map(event).chain(bad.map(str::to_owned)).chain((1000..2000).map(event));
    broker.send("t", 2, all);
    let feed = Feed::new(&broker, "t").await;
    let consumer = feed.start().await;
    let status = until_messages(&consumer, 2006).await;
    consumer.stop().await;
    assert_eq!((status.rows, status.quarantined), (2000, 6));
    assert_eq!(feed.table().await, once(2000));
    let head = "c__raw, c__error, c__error_column, partition, offset, c__source";
    let kept = select(feed.engine, head, &feed.target.quarantine, "WHERE c__raw LIKE '%300%'").await;
    assert_eq!(kept[0]["c__error"], json!(["value '300' on column 'company_id' is not Int8"]));
    assert_eq!(kept[0]["c__error_column"], json!(["company_id"]));
    let offset = kept[0]["offset"].as_str().unwrap();
    assert_eq!(kept[0]["c__source"], Value::from(format!("t:{}:{offset}", kept[0]["partition"].as_str().unwrap())));
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_in_the_middle_lose_and_double_nothing() {
    let broker = Broker::start().await;
    broker.topic("t", 3).await;
    broker.send("t", 3, (0..20_000).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.batch_rows = 500;
    let mut done = 0;
    let mut stops = 0;
    while done < 20_000 {
        let consumer = feed.start().await;
        let wanted = (done + 3_000).min(20_000);
        until("some messages are in", async || done + consumer.status().messages >= wanted).await;
        consumer.stop().await;
        done = feed.table().await[0];
        stops += 1;
    }
    assert!(stops > 3, "{stops} stops are few");
    assert_eq!(feed.table().await, once(20_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_does_not_exist_is_said_and_waited_for() {
    let broker = Broker::start().await;
    let feed = Feed::new(&broker, "later").await;
    let consumer = feed.start().await;
    until("it says so", async || feed.heard("`later` does not exist") > 0).await;
    assert_eq!(consumer.status().state, State::Waiting);
    let admin: AdminClient<DefaultClientContext> = broker.client().create().unwrap();
    let names = admin.inner().fetch_metadata(None, Duration::from_secs(5)).unwrap();
    assert!(names.topics().iter().all(|it| it.name() != "later"), "nobody creates it");
    broker.topic("later", 1).await;
    broker.send("later", 1, (0..10).map(event));
    until_messages(&consumer, 10).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(10));
    assert_eq!(feed.heard("does not exist"), 1, "once, not again and again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_may_go_and_come_back() {
    let mut broker = Broker::start().await;
    broker.topic("away", 2).await;
    broker.send("away", 2, (0..1000).map(event));
    let feed = Feed::new(&broker, "away").await;
    let consumer = feed.start().await;
    until_messages(&consumer, 1000).await;
    broker.down();
    until("it is noticed", async || !feed.heard.lock().unwrap().is_empty()).await;
    assert!(feed.heard.lock().unwrap().iter().all(|(level, _)| *level != Level::Error), "{:?}", feed.heard);
    let before = processor_time("kafka away");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(processor_time("kafka away") - before < Duration::from_millis(200), "a busy loop");
    broker.up().await;
    broker.send("away", 2, (1000..2000).map(event));
    until_messages(&consumer, 2000).await;
    // Stopping must not wait for a broker that is gone.
    broker.down();
    let begun = Instant::now();
    consumer.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(feed.table().await, once(2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_a_broker_waits_for_it() {
    let mut broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..10).map(event));
    broker.down();
    let feed = Feed::new(&broker, "t").await;
    let consumer = feed.start().await;
    until("it says so", async || feed.heard("no broker answers") > 0).await;
    assert_eq!(consumer.status().state, State::Waiting);
    broker.up().await;
    until_messages(&consumer, 10).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_is_read_from_its_begin() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..100).map(event));
    let feed = Feed::new(&broker, "t").await;
    feed.read(100).await;
    broker.delete_topic("t").await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (100..150).map(event));
    feed.read(50).await;
    assert_eq!(feed.table().await, once(150));
    assert_eq!(feed.heard("it was made anew"), 1);
    let position = feed.offsets.0.lock().unwrap()[&0].clone();
    assert_eq!((position.next_offset, position.epoch, position.intent), (50, 1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_means_what_comes_after_the_first_start() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (1000..1100).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    let mut latest = (*feed.target.datasource).clone();
    latest.kafka.as_mut().unwrap().offset_reset = OffsetReset::Latest;
    feed.target.datasource = Arc::new(latest);
    let consumer = feed.start().await;
    until("the first offset is kept", async || !feed.offsets.0.lock().unwrap().is_empty()).await;
    consumer.stop().await;
    // What comes while nobody reads is after the first start all the same.
    broker.send("t", 1, (0..10).map(event));
    feed.read(10).await;
    assert_eq!(feed.table().await, once(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_table_holds_the_reading_back() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    broker.send("t", 2, (0..20_000).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.held_bytes = 256 << 10;
    feed.tuning.batch_bytes = 64 << 10;
    feed.read(20_000).await;
    assert_eq!(feed.table().await, once(20_000));
    assert_eq!(feed.quarantined().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_checked_in_words() {
    let broker = Broker::start().await;
    let check = |settings: Settings| {
        tokio::task::spawn_blocking(move || kafka::check_broker(&settings, Duration::from_secs(20)))
    };
    assert_eq!(check(broker.settings()).await.unwrap(), Ok(()));
    // A broker without TLS does not answer one who speaks it.
    let tls = Settings { security_protocol: kafka::SecurityProtocol::Ssl, ..broker.settings() };
    let error = check(tls).await.unwrap().unwrap_err();
    assert!(matches!(error, BrokerError::Refused { .. }), "{error}");
}

/// User and system time of the thread of that name.
fn processor_time(thread: &str) -> Duration {
    let mut tasks = fs::read_dir("/proc/self/task").unwrap().flatten().map(|it| it.path());
    let named = |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|it| it.trim_end() == thread);
    let stat = fs::read_to_string(tasks.find(named).unwrap().join("stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in hundredths of a second, are the twelfth and thirteenth after the name.
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
