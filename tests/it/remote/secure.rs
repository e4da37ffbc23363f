//! A server behind TLS and a network: whom it is trusted by, and what goes over the wire.

use super::Back;
use crate::{
    engine::{
        conformance::{self, all, count, insert, table},
        database_of,
    },
    kafka::front::Authority,
};
use birdhouse::{
    engine::{Deduplication, EngineErrorKind, EngineWire},
    query::Format,
    sql::Sql,
};
use openssl::ssl::SslAcceptor;
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A door before a server that speaks TLS, and counts what goes through it.
struct Door {
    port: u16,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl Door {
    fn before(back: u16, acceptor: SslAcceptor) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Door { port: listener.local_addr().unwrap().port(), sent: Arc::default(), received: Arc::default() };
        let (sent, received) = (door.sent.clone(), door.received.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (acceptor, sent, received) = (acceptor.clone(), sent.clone(), received.clone());
                thread::spawn(move || {
                    // One that does not trust us goes again.
                    let Ok(mut outer) = acceptor.accept(stream) else { return };
                    let mut inner = TcpStream::connect(("127.0.0.1", back)).unwrap();
                    let patience = Some(Duration::from_millis(1));
                    outer.get_ref().set_read_timeout(patience).unwrap();
                    inner.set_read_timeout(patience).unwrap();
                    while pass(&mut outer, &mut inner, &sent) && pass(&mut inner, &mut outer, &received) {}
                });
            }
        });
        door
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.port)
    }
}

/// Hands on all that is there; whether more may come.
fn pass(from: &mut impl Read, to: &mut impl Write, counted: &AtomicU64) -> bool {
    let mut bytes = vec![0; 256 << 10];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return false,
            Ok(length) => {
                counted.fetch_add(length as u64, Ordering::SeqCst);
                if write_all(to, &bytes[..length]).is_err() {
                    return false;
                }
            }
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

fn write_all(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_reached_by_https_and_what_is_large_is_packed() {
    const ROWS: u64 = 300_000;
    let back = tokio::task::spawn_blocking(Back::start).await.unwrap();
    let authority = Authority::new();
    let door = Door::before(back.port, authority.acceptor("localhost"));
    let trusted = Some(authority.pem().into_bytes());
    let (mut went, mut came) = (Vec::new(), Vec::new());
    for wire in [EngineWire::Plain, EngineWire::Packed] {
        let engine = back.engine_at(door.url("localhost"), 5, wire, trusted.clone()).await.unwrap();
        conformance::everything(&engine).await;
        let namespace = database_of(&engine).await;
        let table = table(&engine, &namespace, "ENGINE = MergeTree ORDER BY k").await;
        let before = [&door.sent, &door.received].map(|it| it.load(Ordering::SeqCst));
        let values: Vec<u64> = (0..ROWS).collect();
        insert(&engine, &table, "k", &values, Deduplication::Off).await.unwrap();
        let sum = ROWS * (ROWS - 1) / 2;
        assert_eq!(count(&engine, &table).await, format!("{{\"n\":{ROWS},\"s\":{sum}}}\n"));
        let mut sql = Sql::new("SELECT k FROM ");
        sql.table(&table).push(" ORDER BY k");
        let (read, _) = all(engine.read_as_user(&sql, Format::Csv).await.unwrap()).await.unwrap();
        assert!(read.len() > 1_900_000 && read.ends_with("\n299999\n"));
        went.push(door.sent.load(Ordering::SeqCst) - before[0]);
        came.push(door.received.load(Ordering::SeqCst) - before[1]);
        // An error in the head of an answer, and one amid rows.
        let error = engine.read_as_user(&Sql::new("SELECT nothing"), Format::Csv).await.map(drop).unwrap_err();
        assert_eq!((error.kind, error.code), (EngineErrorKind::Query, 47), "{error}");
        let sql = Sql::new("SELECT throwIf(number = 3000000) FROM numbers(4000000) SETTINGS max_block_size = 10000");
        let error = all(engine.read(&sql, Format::Csv).await.unwrap()).await.map(drop).unwrap_err();
        assert_eq!(error.code, 395, "{error}");
        // Values that no address takes.
        let long = "é".repeat(1 << 20);
        let parameters = [("long".to_owned(), long.clone()), ("short".to_owned(), "7".to_owned())];
        let sql = Sql::new("SELECT length({long:String}) AS n, {short:UInt8} AS s");
        let limits = engine.settings().read_limits();
        let rows = engine.read_within(&sql, &parameters, Format::Csv, limits).await.unwrap();
        assert_eq!(all(rows).await.unwrap().0, format!("{},7\n", long.len()));
        engine.close().await;
    }
    assert!(went[0] > 2_400_000 && went[1] * 3 < went[0], "{went:?}");
    assert!(came[0] > 1_900_000 && came[1] * 2 < came[0], "{came:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_is_refused_at_once() {
    let back = tokio::task::spawn_blocking(Back::start).await.unwrap();
    let (authority, another) = (Authority::new(), Authority::new());
    let door = Door::before(back.port, authority.acceptor("localhost"));
    let elsewhere = Door::before(back.port, authority.acceptor("engine.example"));
    let plain = back.url().replace("http:", "https:");
    let (own, other) = (Some(authority.pem().into_bytes()), Some(another.pem().into_bytes()));
    for (url, trusted) in [
        (door.url("localhost"), None),
        (door.url("localhost"), other),
        (elsewhere.url("localhost"), own.clone()),
        // There is no TLS at all.
        (plain, own),
    ] {
        let began = Instant::now();
        let error = back.engine_at(url.clone(), 60, EngineWire::Plain, trusted).await.map(drop).unwrap_err();
        // Who is not there is asked again for a minute.
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!(error.kind, EngineErrorKind::Unreachable);
        assert!(error.message.contains("no secure connection") && error.message.contains("CA_FILE"), "{error}");
    }
}
