//! Whether a broker can be reached with a connection's settings.
//!
//! In: [`Settings`]. Out: yes, or why not, in words for the user who made the connection. No secret is in them.

use super::{
    oauth::Tokens,
    settings::{BadSettings, Settings},
    words::{explain, meaning, words},
};
use rdkafka::{
    ClientContext,
    client::OAuthToken,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
};
use std::{
    error::Error,
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

/// How long is listened for the reason when there was no answer.
const LISTEN: Duration = Duration::from_millis(500);

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
    let heard = Heard { said: Arc::default(), tokens: settings.tokens() };
    let refused = |reason: String| BrokerError::Refused { address: address.to_owned(), reason };
    let client = BaseConsumer::from_config_and_context(&settings.client_config(), heard.clone());
    let client: BaseConsumer<Heard> = client.map_err(|error| refused(words(&error)))?;
    client.context().tokens.listen(&client);
    // A broker answers metadata; what it says about topics is another question.
    match client.fetch_metadata(None, left()) {
        Ok(_) => Ok(()),
        Err(error) => {
            // What was wrong with the connection comes as events, with better words than the time-out.
            let until = Instant::now() + LISTEN;
            while !heard.knows() && Instant::now() < until {
                _ = client.poll(Duration::from_millis(20));
            }
            Err(refused(heard.best().unwrap_or_else(|| words(&error))))
        }
    }
}

/// What the client complains of.
#[derive(Clone)]
struct Heard {
    said: Arc<Mutex<Vec<String>>>,
    tokens: Tokens,
}

impl Heard {
    /// Something that can be acted on, else the first that says more than that all is lost.
    fn best(&self) -> Option<String> {
        let heard = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let found = heard.iter().find(|it| meaning(it).is_some());
        let found =
            found.or_else(|| heard.iter().find(|it| !it.contains("brokers are down"))).or_else(|| heard.first());
        found.map(|it| explain(it))
    }

    fn knows(&self) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|it| meaning(it).is_some())
    }
}

impl ClientContext for Heard {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.fetch()
    }

    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, reason: &str) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(reason.to_owned());
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
