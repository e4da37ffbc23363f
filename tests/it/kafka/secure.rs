//! Who is let in, and who is trusted: TLS and SASL, right and wrong, and what is said then.

use super::{
    Broker, Feed, event,
    front::{Asks, Authority, Front},
    once, until,
};
use birdhouse::ingest::kafka::{SaslMechanism, SecurityProtocol, Settings, State, check_broker};
use std::time::Duration;

const SECRET: &str = "pa55 wört";

fn login(front: &Front, protocol: SecurityProtocol, mechanism: SaslMechanism) -> Settings {
    Settings {
        security_protocol: protocol,
        mechanism,
        key: Some("heron".to_owned()),
        secret: Some(SECRET.to_owned()),
        ..Settings::plaintext(&front.address())
    }
}

fn door(broker: &Broker, authority: Option<(&Authority, &str)>, login: bool) -> Front {
    let asks = Asks {
        tls: authority.map(|(authority, host)| authority.acceptor(host)),
        login: login.then(|| ("heron".to_owned(), SECRET.to_owned())),
    };
    Front::open(broker.port, asks)
}

/// Why the broker cannot be used.
async fn refused(settings: &Settings) -> String {
    let settings = settings.clone();
    let checked = tokio::task::spawn_blocking(move || check_broker(&settings, Duration::from_secs(10)));
    checked.await.unwrap().unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_protocol_and_mechanism_reads_with_the_right_password_and_authority() {
    let broker = Broker::start().await;
    let authority = Authority::new();
    let (tls, both, passwords) = (
        door(&broker, Some((&authority, "127.0.0.1")), false),
        door(&broker, Some((&authority, "127.0.0.1")), true),
        door(&broker, None, true),
    );
    use {SaslMechanism as M, SecurityProtocol as P};
    for (index, (front, protocol, mechanism)) in [
        (&tls, P::Ssl, M::Plain),
        (&both, P::SaslSsl, M::Plain),
        (&both, P::SaslSsl, M::ScramSha256),
        (&both, P::SaslSsl, M::ScramSha512),
        (&passwords, P::SaslPlaintext, M::Plain),
        (&passwords, P::SaslPlaintext, M::ScramSha512),
    ]
    .into_iter()
    .enumerate()
    {
        let topic = format!("t{index}");
        broker.topic(&topic, 2).await;
        broker.send(&topic, 2, (0..100).map(event));
        let mut feed = Feed::new(&broker, &topic).await;
        feed.settings = Settings { ca_pem: Some(authority.pem()), ..login(front, protocol, mechanism) };
        let consumer = feed.start().await;
        until("all is in", async || consumer.status().messages >= 100 || !feed.heard.lock().unwrap().is_empty()).await;
        let heard = feed.heard.lock().unwrap().clone();
        assert!(heard.is_empty(), "{protocol:?} {mechanism:?}: nothing to complain of: {heard:?}");
        consumer.stop().await;
        assert_eq!(feed.table().await, once(100), "{protocol:?} {mechanism:?}");
    }
    assert!(both.logins() >= 3 && passwords.logins() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_login_is_said_without_the_secret() {
    let broker = Broker::start().await;
    let (authority, other) = (Authority::new(), Authority::new());
    let good = door(&broker, Some((&authority, "127.0.0.1")), true);
    let elsewhere = door(&broker, Some((&authority, "elsewhere.example")), true);
    let settings = login(&good, SecurityProtocol::SaslSsl, SaslMechanism::ScramSha256);
    let settings = Settings { ca_pem: Some(authority.pem()), ..settings };
    let wrong = [
        (Settings { secret: Some("wrong s3cret".to_owned()), ..settings.clone() }, "refuses the key or the secret"),
        (
            Settings { mechanism: SaslMechanism::Plain, key: Some("crow".to_owned()), ..settings.clone() },
            "refuses the key or the secret",
        ),
        (Settings { ca_pem: Some(other.pem()), ..settings.clone() }, "KAFKA_SSL_CA_PEM"),
        (Settings { ca_pem: None, ..settings.clone() }, "KAFKA_SSL_CA_PEM"),
        (Settings { bootstrap_servers: elsewhere.address(), ..settings.clone() }, "another host"),
        (Settings { security_protocol: SecurityProtocol::Plaintext, ..settings.clone() }, "does not answer"),
        (Settings { ca_pem: Some("gibberish".to_owned()), ..settings.clone() }, "KAFKA_SSL_CA_PEM"),
    ];
    for (settings, words) in wrong {
        let said = refused(&settings).await;
        assert!(said.contains(words), "{words}: {said}");
        for secret in ["s3cret", SECRET, "gibberish"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_with_a_wrong_password_says_so_once_and_hammers_nobody() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    let front = door(&broker, None, true);
    let mut feed = Feed::new(&broker, "t").await;
    let settings = login(&front, SecurityProtocol::SaslPlaintext, SaslMechanism::Plain);
    feed.settings = Settings { secret: Some("wrong s3cret".to_owned()), ..settings };
    let consumer = feed.start().await;
    until("it says so", async || feed.heard("refuses the key or the secret") > 0).await;
    assert_eq!(consumer.status().state, State::Waiting);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(feed.heard("refuses the key or the secret"), 1, "once, not again and again");
    assert!(!format!("{:?}{:?}", feed.heard, consumer.status()).contains("s3cret"));
    consumer.stop().await;
    assert_eq!(front.logins(), 0);
}
