//! Who is let in, and who is trusted: TLS and SASL, right and wrong, and what is said then.

use super::{
    Broker, Feed, create, database, datasource, event,
    front::{Asks, Authority, Front, Issued},
    once, select, until, until_messages,
};
use axum::{Form, Json, Router, http::StatusCode, routing::post};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use birdhouse::ingest::kafka::{
    OAuth, SaslMechanism, SecurityProtocol, Settings, State, check_broker, last_messages, topics,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

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
        tokens: None,
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

/// The generator of this repository, as people use it against a cluster of somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn the_generator_sends_through_tls_and_a_login() {
    let broker = Broker::start().await;
    let (authority, other) = (Authority::new(), Authority::new());
    let front = door(&broker, Some((&authority, "127.0.0.1")), true);
    let folder = tempfile::tempdir().unwrap();
    let file = |authority: &Authority, name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.pem()).unwrap();
        path
    };
    let (right, wrong) = (file(&authority, "right.pem"), file(&other, "wrong.pem"));
    let generate = |authority: &Path| {
        // `make setup` builds it beside the server.
        let program = Path::new(env!("CARGO_BIN_EXE_birdhouse")).with_file_name("data-generator");
        let output = Command::new(program)
            .args(["--create-topic", "--partitions", "3", "--sample", "2000", "--bootstrap-servers", &front.address()])
            .args(["--topic", "generated", "--security_protocol", "SASL_SSL", "--ssl_ca_location"])
            .arg(authority)
            .envs([("KAFKA_KEY", "heron"), ("KAFKA_SECRET", SECRET)])
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (sent, said) = generate(&right);
    assert!(sent, "{said}");
    let (sent, said) = generate(&wrong);
    assert!(!sent && !said.is_empty() && !said.contains(SECRET), "{said}");
    let columns = [
        "value String",
        "partition Int16",
        "offset Int64",
        "company_id Int8 $.company_id",
        "payload_author String $.payload.author",
    ];
    let mut feed = Feed::new(&broker, "generated").await;
    let (engine, namespace) = database().await;
    feed.target = create(engine, &namespace, datasource("generated", &columns, Some("generated"))).await;
    feed.settings =
        Settings { ca_pem: Some(authority.pem()), ..login(&front, SecurityProtocol::SaslSsl, SaslMechanism::Plain) };
    feed.read(2000).await;
    let head = "count() AS rows, uniqExact(partition, offset) AS messages, uniqExact(partition) AS partitions, \
                countIf(payload_author = JSONExtractString(value, 'payload', 'author')) AS alike";
    let row = &select(engine, head, &feed.target.table, "").await[0];
    assert_eq!(["rows", "messages", "partitions", "alike"].map(|it| row[it].as_u64()), [2000, 2000, 3, 2000].map(Some));
    assert_eq!(feed.quarantined().await, 0);
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

/// An authority that gives each token a short life; only the last two are good.
async fn authority_of_tokens(issued: Issued) -> String {
    let wanted = format!("Basic {}", BASE64_STANDARD.encode("heron:pa55+w%C3%B6rt"));
    let answer = move |headers: axum::http::HeaderMap, Form(form): Form<BTreeMap<String, String>>| {
        let known = headers.get("authorization").is_some_and(|it| it == wanted.as_str());
        let wanted = [("grant_type", "client_credentials"), ("scope", "kafka")];
        let answer = if known && form.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(wanted) {
            let token = format!("t0ken-{:x}", rand::random::<u64>());
            let mut issued = issued.lock().unwrap();
            issued.push(token.clone());
            let old = issued.len().saturating_sub(2);
            issued[..old].fill(String::new());
            (StatusCode::OK, Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": 3})))
        } else {
            let error = json!({"error": "invalid_client", "error_description": format!("{headers:?}")});
            (StatusCode::UNAUTHORIZED, Json::<Value>(error))
        };
        async move { answer }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/token", post(answer))).await });
    format!("http://{address}/token")
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched_and_shown_anew_before_they_end() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    broker.send("t", 2, (0..100).map(event));
    let issued: Issued = Arc::new(Mutex::new(Vec::new()));
    let url = authority_of_tokens(issued.clone()).await;
    let login_of_nobody = ("nobody".to_owned(), "nothing".to_owned());
    let asks = Asks { tls: None, login: Some(login_of_nobody), tokens: Some(issued.clone()) };
    let front = Front::open(broker.port, asks);
    let settings = Settings {
        oauth: OAuth::new(&url, Some("kafka")),
        ..login(&front, SecurityProtocol::SaslPlaintext, SaslMechanism::OAuthBearer)
    };
    let looking = settings.clone();
    let looked = tokio::task::spawn_blocking(move || {
        check_broker(&looking, Duration::from_secs(10)).unwrap();
        let seen = last_messages(&looking, "t", None, 3, Duration::from_secs(10)).unwrap();
        (topics(&looking, Duration::from_secs(10)).unwrap(), seen.len())
    });
    assert_eq!(looked.await.unwrap(), (vec!["t".to_owned()], 3));
    let mut feed = Feed::new(&broker, "t").await;
    feed.settings = settings.clone();
    let consumer = feed.start().await;
    until_messages(&consumer, 100).await;
    let count = || issued.lock().unwrap().len();
    let (tokens, logins) = (count(), front.logins());
    // While nothing comes, tokens end and sessions too.
    until("tokens and sessions are renewed", async || count() > tokens + 2 && front.logins() > logins + 1).await;
    broker.send("t", 2, (100..200).map(event));
    until_messages(&consumer, 200).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(200));
    assert_eq!(*feed.heard.lock().unwrap(), []);

    // Whoever gets no token is told, and reads no secret.
    let wrong = Settings { secret: Some("wrong s3cret".to_owned()), ..settings.clone() };
    let said = refused(&wrong).await;
    assert!(said.contains("KAFKA_SASL_OAUTHBEARER_TOKEN_URL"), "{said}");
    assert!(said.contains("401") && said.contains("invalid_client"), "{said}");
    feed.settings = wrong;
    let consumer = feed.start().await;
    until("it says so", async || feed.heard("there is no token to log in with") > 0).await;
    until("it waits", async || consumer.status().state == State::Waiting).await;
    consumer.stop().await;
    let all = format!("{said}{:?}{:?}", feed.heard.lock().unwrap(), feed.settings);
    for secret in ["s3cret", SECRET, "t0ken", "Basic"] {
        assert!(!all.contains(secret), "{all}");
    }
}

/// An authority of tokens behind TLS, which asks for nothing.
fn authority_behind_tls(authority: &Authority, issued: Issued) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, acceptor) = (listener.local_addr().unwrap().port(), authority.acceptor("127.0.0.1"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever does not trust it goes away.
            let Ok(mut stream) = acceptor.accept(stream.unwrap()) else { continue };
            let mut asked = Vec::new();
            while !asked.ends_with(b"grant_type=client_credentials") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            let token = format!("t0ken-{:x}", rand::random::<u64>());
            let answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": 300}).to_string();
            issued.lock().unwrap().push(token);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}", answer.len())
                .unwrap();
            _ = stream.shutdown();
        }
    });
    format!("https://127.0.0.1:{port}/token")
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_over_https_from_an_authority_that_the_connection_trusts() {
    let broker = Broker::start().await;
    broker.topic("t", 1).await;
    broker.send("t", 1, (0..100).map(event));
    let (authority, other) = (Authority::new(), Authority::new());
    let issued: Issued = Arc::default();
    let url = authority_behind_tls(&authority, issued.clone());
    let login_of_nobody = ("nobody".to_owned(), "nothing".to_owned());
    let front =
        Front::open(broker.port, Asks { tls: None, login: Some(login_of_nobody), tokens: Some(issued.clone()) });
    let settings = Settings {
        oauth: OAuth::new(&url, None),
        ca_pem: Some(authority.pem()),
        ..login(&front, SecurityProtocol::SaslPlaintext, SaslMechanism::OAuthBearer)
    };
    for ca_pem in [None, Some(other.pem())] {
        let said = refused(&Settings { ca_pem, ..settings.clone() }).await;
        assert!(said.contains("KAFKA_SASL_OAUTHBEARER_TOKEN_URL") && !said.contains("pa55"), "{said}");
    }
    assert_eq!(issued.lock().unwrap().len(), 0);
    let mut feed = Feed::new(&broker, "t").await;
    feed.settings = settings;
    feed.read(100).await;
    assert_eq!(feed.table().await, once(100));
}
