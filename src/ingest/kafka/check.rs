//! Whether a broker can be reached with a connection's settings.
//!
//! In: [`Settings`]. Out: yes, or why not, in words for the user who made the connection. No secret is in them.

use super::settings::{BadSettings, Settings};
use rdkafka::{
    ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
};
use std::{
    net::{TcpStream, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    #[error(transparent)]
    Settings(#[from] BadSettings),
    #[error("no connection to {address}: {reason}")]
    Unreachable { address: String, reason: String },
    /// Connected, but the broker, or the protection in between, refused.
    #[error("the broker at {address} does not answer: {reason}")]
    Refused { address: String, reason: String },
}

/// Connects to each address until one takes it, then asks for metadata. Blocks, for `timeout` in all.
pub fn check_broker(settings: &Settings, timeout: Duration) -> Result<(), BrokerError> {
    let until = Instant::now() + timeout;
    let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut last = None;
    let reached = settings.bootstrap_servers.split(',').map(str::trim).find(|address| {
        let connected = address.to_socket_addrs().and_then(|found| {
            let mut result = Err(std::io::Error::other("the name has no address"));
            for it in found {
                result = TcpStream::connect_timeout(&it, left());
                if result.is_ok() {
                    break;
                }
            }
            result
        });
        if let Err(error) = &connected {
            last = Some(BrokerError::Unreachable { address: (*address).to_owned(), reason: error.to_string() });
        }
        connected.is_ok()
    });
    let Some(address) = reached else {
        return Err(last.unwrap_or(BadSettings::Missing("KAFKA_BOOTSTRAP_SERVERS").into()));
    };
    let heard = Heard::default();
    let refused = |reason: String| BrokerError::Refused { address: address.to_owned(), reason };
    let client = BaseConsumer::from_config_and_context(&settings.client_config(), heard.clone());
    let client: BaseConsumer<Heard> = client.map_err(|error| refused(super::reader::words(&error)))?;
    // A broker answers metadata; what it says about topics is another question.
    match client.fetch_metadata(None, left()) {
        Ok(_) => Ok(()),
        Err(error) => {
            // Errors of the protocol come as events, with better words than the time-out.
            while client.poll(Duration::ZERO).is_some() {}
            let reason = heard.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            Err(refused(reason.unwrap_or_else(|| super::reader::words(&error))))
        }
    }
}

/// Keeps the first thing that the client complains of.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Option<String>>>);

impl ClientContext for Heard {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, reason: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| reason.to_owned());
    }
}

impl ConsumerContext for Heard {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_port_and_a_silent_one_are_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let silent = check_broker(&Settings::plaintext(&address), Duration::from_millis(300));
        assert!(matches!(silent, Err(BrokerError::Refused { .. })), "{silent:?}");
        drop(listener);
        let closed = check_broker(&Settings::plaintext(&address), Duration::from_millis(300));
        assert!(matches!(closed, Err(BrokerError::Unreachable { .. })), "{closed:?}");
    }
}
