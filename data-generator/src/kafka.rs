//! The way to the broker: a topic that is there, a producer that counts what arrived.
//!
//! In: flags, messages. Out: [`Deliveries`]. What the messages say is not known here.

use crate::{args::Args, delivery::Deliveries};
use anyhow::{Context, bail};
use rdkafka::{
    ClientConfig, ClientContext, Message,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

pub struct Delivery {
    producer: ThreadedProducer<Counter>,
    counter: Arc<Counts>,
    topic: String,
}

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    failed: AtomicU64,
    reason: Mutex<Option<String>>,
}

struct Counter(Arc<Counts>);

/// How long a broker may take to answer at all.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// How long a message may take to be acknowledged.
const ACKNOWLEDGED: Duration = Duration::from_secs(30);

impl ClientContext for Counter {
    // Errors of the connection are repeated in the messages' own; the log would only double them.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // The client retries by itself; what it says is kept for the case that it gives up.
        self.0.note(|| format!("{reason} ({error})"));
    }
}

impl ProducerContext for Counter {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.0.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, message)) => {
                self.0.note(|| format!("{error}, topic {}", message.topic()));
                self.0.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Counts {
    fn note(&self, reason: impl FnOnce() -> String) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(reason);
    }
}

impl Delivery {
    pub fn open(args: &Args) -> anyhow::Result<Delivery> {
        let counter = Arc::new(Counts::default());
        let mut config = config(args);
        config
            .set("compression.type", "lz4")
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("message.timeout.ms", ACKNOWLEDGED.as_millis().to_string());
        let producer: ThreadedProducer<Counter> =
            config.create_with_context(Counter(counter.clone())).context("the flags make no Kafka producer")?;
        let answer = producer.client().fetch_metadata(None, FIRST_ANSWER);
        if let Err(error) = answer {
            let reason = counter.reason.lock().unwrap_or_else(PoisonError::into_inner).take();
            let reason = reason.unwrap_or_else(|| error.to_string());
            bail!("no broker answers at {} by {}: {reason}", servers(args), args.security_protocol);
        }
        Ok(Delivery { producer, counter, topic: args.topic.clone() })
    }

    /// The end of each partition: where the next message will stand.
    pub fn positions(&self) -> anyhow::Result<BTreeMap<i32, i64>> {
        let client = self.producer.client();
        let metadata = client.fetch_metadata(Some(&self.topic), FIRST_ANSWER)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let end = |partition: i32| -> anyhow::Result<(i32, i64)> {
            let (_, end) = client.fetch_watermarks(&self.topic, partition, FIRST_ANSWER)?;
            Ok((partition, end))
        };
        partitions.map(|it| end(it.id())).collect()
    }

    /// Hands a message over; waits when too many are on their way.
    pub fn send(&self, key: &str, message: &[u8]) -> anyhow::Result<()> {
        let mut record = BaseRecord::to(&self.topic).key(key).payload(message);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(error).with_context(|| format!("cannot send to {}", self.topic)),
            }
        }
    }

    pub fn so_far(&self) -> Deliveries {
        Deliveries {
            delivered: self.counter.delivered.load(Ordering::Relaxed),
            failed: self.counter.failed.load(Ordering::Relaxed),
            reason: self.counter.reason.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Waits until every message has arrived or has been given up.
    pub fn finish(self) -> anyhow::Result<Deliveries> {
        self.producer.flush(ACKNOWLEDGED * 2).context("messages are still on their way; gave up waiting")?;
        Ok(self.so_far())
    }
}

/// Makes the topic. `false` says that it was there.
pub fn create_topic(args: &Args) -> anyhow::Result<bool> {
    let admin: AdminClient<DefaultClientContext> = config(args).create().context("the flags make no Kafka client")?;
    let known = admin
        .inner()
        .fetch_metadata(None, FIRST_ANSWER)
        .with_context(|| format!("no broker answers at {} by {}", servers(args), args.security_protocol))?;
    if known.topics().iter().any(|it| it.name() == args.topic) {
        return Ok(false);
    }
    // -1 leaves it to the broker, which knows how many brokers there are.
    let topic = NewTopic::new(&args.topic, args.partitions, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().operation_timeout(Some(FIRST_ANSWER));
    let results = wait(admin.create_topics([&topic], &options))?;
    match results.into_iter().next() {
        Some(Ok(_)) => Ok(true),
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
        Some(Err((name, error))) => bail!("topic {name} cannot be made: {error}"),
        None => bail!("the broker said nothing about topic {}", args.topic),
    }
}

fn servers(args: &Args) -> &str {
    args.bootstrap_servers.as_deref().unwrap_or_default()
}

fn config(args: &Args) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", "data-generator")
        .set("bootstrap.servers", servers(args))
        .set("security.protocol", &args.security_protocol);
    if args.security_protocol.to_ascii_uppercase().starts_with("SASL") {
        config.set("sasl.mechanism", &args.sasl_mechanism);
        if let Some(username) = &args.sasl_plain_username {
            config.set("sasl.username", username);
        }
        if let Some(password) = &args.sasl_plain_password {
            config.set("sasl.password", password);
        }
    }
    if let Some(file) = &args.ssl_ca_location {
        config.set("ssl.ca.location", file.to_string_lossy());
    }
    config
}

fn wait<T, E: std::error::Error + Send + Sync + 'static>(
    work: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    Ok(runtime.block_on(work)?)
}
