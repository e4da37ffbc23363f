//! A look at topics without reading them: which there are, and the last messages of one.
//!
//! In: [`Settings`]. Out: names, or messages as they are. No offset is kept anywhere for it.

use super::{check::BrokerError, oauth::Tokens, settings::Settings, words::words};
use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    client::OAuthToken,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    message::BorrowedMessage,
};
use std::{
    error::Error,
    time::{Duration, Instant},
};

/// A message as it is on the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

/// The topics that there are, but for the broker's own. Blocks.
pub fn topics(settings: &Settings, patience: Duration) -> Result<Vec<String>, BrokerError> {
    let client = client(settings, "birdhouse-preview")?;
    let metadata = client.fetch_metadata(None, patience).map_err(|error| refused(settings, &error))?;
    let names = metadata.topics().iter().map(|it| it.name().to_owned());
    let mut names: Vec<_> = names.filter(|it| !it.starts_with("__")).collect();
    names.sort();
    Ok(names)
}

/// The last messages of each partition, at most so many in all, the oldest first. Nothing where the topic is not
/// there. Blocks.
pub fn last_messages(
    settings: &Settings,
    topic: &str,
    group_id: Option<&str>,
    most: usize,
    patience: Duration,
) -> Result<Vec<Seen>, BrokerError> {
    let until = Instant::now() + patience;
    let client = client(settings, group_id.unwrap_or("birdhouse-preview"))?;
    let failed = |error| refused(settings, &error);
    let metadata = client.fetch_metadata(Some(topic), patience).map_err(failed)?;
    let found = metadata.topics().iter().find(|it| it.name() == topic && it.error().is_none());
    let mut list = TopicPartitionList::new();
    let mut wanted = 0;
    for partition in found.iter().flat_map(|it| it.partitions()) {
        let (low, high) = client.fetch_watermarks(topic, partition.id(), patience).map_err(failed)?;
        let from = low.max(high - most as i64);
        wanted += (high - from) as usize;
        if from < high {
            list.add_partition_offset(topic, partition.id(), Offset::Offset(from)).map_err(failed)?;
        }
    }
    client.assign(&list).map_err(failed)?;
    let mut res = Vec::new();
    // Aborted messages leave gaps, so the time ends it where the count does not.
    while res.len() < wanted && Instant::now() < until {
        if let Some(Ok(message)) = client.poll(Duration::from_millis(50)) {
            res.push(Seen::of(&message));
        }
    }
    res.sort_by_key(|it| (it.timestamp, it.partition, it.offset));
    Ok(res.split_off(res.len().saturating_sub(most)))
}

fn client(settings: &Settings, group_id: &str) -> Result<BaseConsumer<Quiet>, BrokerError> {
    let mut config = settings.client_config();
    config.set("group.id", group_id).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    let context = Quiet(settings.tokens());
    let client = BaseConsumer::from_config_and_context(&config, context);
    let client = client.map_err(|error| refused(settings, &error))?;
    client.context().0.listen(&client);
    Ok(client)
}

/// What goes wrong is in the answers.
struct Quiet(Tokens);

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.fetch()
    }

    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}

fn refused(settings: &Settings, error: &KafkaError) -> BrokerError {
    BrokerError::Refused { address: settings.bootstrap_servers.clone(), reason: words(error) }
}

impl Seen {
    fn of(message: &BorrowedMessage<'_>) -> Seen {
        Seen {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or_default(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
        }
    }
}
