//! The ways that events can take, as one.
//!
//! In: flags, messages. Out: [`Deliveries`].

use crate::{args::Args, http, kafka};
use anyhow::bail;

pub enum Delivery {
    Kafka(kafka::Delivery),
    Http(http::Delivery),
}

/// What has become of the messages so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deliveries {
    pub delivered: u64,
    pub failed: u64,
    /// Why the first one failed.
    pub reason: Option<String>,
}

impl Delivery {
    pub fn open(args: &Args) -> anyhow::Result<Delivery> {
        match (&args.host, &args.bootstrap_servers) {
            (Some(host), _) => http::Delivery::open(args, host).map(Delivery::Http),
            (None, Some(_)) => kafka::Delivery::open(args).map(Delivery::Kafka),
            (None, None) => bail!("where to? --bootstrap-servers says which Kafka, --host which server"),
        }
    }

    /// Where the events go, in words.
    pub fn target<'a>(&self, args: &'a Args) -> &'a str {
        match self {
            Delivery::Kafka(_) => &args.topic,
            Delivery::Http(_) => &args.datasource,
        }
    }

    pub fn send(&self, key: &str, message: &[u8]) -> anyhow::Result<()> {
        match self {
            Delivery::Kafka(it) => it.send(key, message),
            Delivery::Http(it) => it.send(message),
        }
    }

    pub fn so_far(&self) -> Deliveries {
        match self {
            Delivery::Kafka(it) => it.so_far(),
            Delivery::Http(it) => it.so_far(),
        }
    }

    /// Waits until every message has arrived or has been given up.
    pub fn finish(self) -> anyhow::Result<Deliveries> {
        match self {
            Delivery::Kafka(it) => it.finish(),
            Delivery::Http(it) => it.finish(),
        }
    }
}
