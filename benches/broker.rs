//! The Kafka broker of the benchmark, and events for it.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub(crate) struct Broker {
    child: Child,
    pub(crate) address: String,
    _folder: TempDir,
}

/// Memory that looks like a disk. A broker has a disk of its own elsewhere: what it writes here must not be what the
/// server under test waits for.
const MEMORY: &str = "/dev/shm";

impl Broker {
    /// Starts the broker of this checkout's `.venv`; nothing if there is none.
    pub(crate) fn start() -> Option<Broker> {
        let program = std::env::var_os("BIRDHOUSE_NOIDA").map(std::path::PathBuf::from);
        let program = program.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/noida-db"));
        if !program.exists() {
            return None;
        }
        let folder = tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["start", "--only", "kafka", "--kafka-port", &port.to_string(), "--data-dir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let broker = Broker { child, address: format!("127.0.0.1:{port}"), _folder: folder };
        let start = Instant::now();
        while TcpStream::connect(&broker.address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "the broker does not start");
            thread::sleep(Duration::from_millis(50));
        }
        Some(broker)
    }

    /// Waits until it is idle: it goes on writing down what it has got for seconds, on the same two cores.
    pub(crate) fn rest(&self) {
        let stat = format!("/proc/{}/stat", self.child.id());
        let spent = || {
            let text = std::fs::read_to_string(&stat).unwrap();
            let fields: Vec<_> = text.rsplit(')').next().unwrap().split_whitespace().collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        let end = Instant::now() + Duration::from_secs(60);
        let mut quiet = 0;
        while quiet < 4 && Instant::now() < end {
            let before = spent();
            thread::sleep(Duration::from_millis(500));
            // Hundredths of a second.
            quiet = if spent() - before < 5 { quiet + 1 } else { 0 };
        }
    }

    /// Makes the topic and puts so many events into it. The broker (noida 0.2.3) answers a fetch with all that it has from
    /// there on, in every partition that was asked for, whatever sizes the fetch names; a client refuses an answer of more
    /// than `receive.message.max.bytes`, 100 MB, as a bad message. So what waits on one broker must be less, as it is
    /// stored: compressed, about a million events of 250 bytes; 350,000 that are not.
    pub(crate) async fn fill(&self, topic: &str, partitions: i32, events: usize) {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.address)
            .set("compression.type", "lz4")
            .set("linger.ms", "50")
            .set("batch.size", "250000");
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for made in admin.create_topics([&new], &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
        let topic = topic.to_owned();
        let fill = move || {
            let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
            let mut random = StdRng::seed_from_u64(7);
            for number in 0..events {
                let (key, value) = event(&mut random, number);
                let mut record = BaseRecord::to(&topic).key(&key).payload(&value);
                while let Err((error, back)) = producer.send(record) {
                    assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                    thread::sleep(Duration::from_millis(5));
                    record = back;
                }
            }
            producer.flush(Duration::from_secs(60)).unwrap();
        };
        tokio::task::spawn_blocking(fill).await.unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Events of the audit log come so fast, each second.
const RATE: usize = 1000;

/// An event of the audit log: its key and its JSON, of about 240 bytes.
pub(crate) fn event(random: &mut StdRng, number: usize) -> (String, String) {
    let author = format!("user{}@example.com", random.random_range(0..2000));
    let entity = ["project", "folder", "file", "group", "user"][random.random_range(0..5)];
    let action = ["created", "updated", "deleted"][random.random_range(0..3)];
    let browser = ["Chrome", "Brave", "Firefox", "Safari"][random.random_range(0..4)];
    let system = ["Windows", "Linux", "OSX", "iOS", "Android"][random.random_range(0..5)];
    let seconds = number / RATE;
    let (minute, second, micros) = (seconds / 60 % 60, seconds % 60, random.random_range(0..1_000_000));
    let value = format!(
        "{{\"datetime\": \"2026-03-{:02}T{:02}:{minute:02}:{second:02}.{micros:06}\", \"company_id\": {}, \
         \"event\": \"{entity}_{action}\", \"payload\": {{\"entity_id\": \"{:032x}\", \"author\": \"{author}\"}}, \
         \"device\": {{\"browser\": \"{browser}\", \"OS\": \"{system}\"}}}}",
        seconds / 86_400 % 28 + 1,
        seconds / 3600 % 24,
        random.random_range(1..6),
        random.random::<u128>(),
    );
    (author, value)
}
