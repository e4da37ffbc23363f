//! Clients that ask for more than there is, clients that only stay connected, and a plain one without a runtime.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader as AsyncReader},
    net::TcpStream as AsyncStream,
};

/// A request that was answered, one way or another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// When it was sent, since the start of all.
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    pub(crate) accepted: bool,
    pub(crate) retry_after: bool,
}

/// As many requests a second as wanted, or as many as the connections can send: a refused one is sent again at once.
pub(crate) async fn pressed(
    port: u16,
    target: &str,
    token: &str,
    connections: u32,
    per_second: Option<f64>,
    time: Duration,
) -> Vec<Ended> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    let pace = per_second.map(|it| Duration::from_secs_f64(f64::from(connections) / it));
    let start = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|number| {
            // They do not all send in the same moment.
            let first = pace.unwrap_or_default() * number / connections;
            tokio::spawn(client(port, request.clone(), start, first, pace, time))
        })
        .collect();
    let mut res = Vec::new();
    for client in clients {
        res.extend(client.await.unwrap());
    }
    res
}

async fn client(
    port: u16,
    request: String,
    start: Instant,
    first: Duration,
    pace: Option<Duration>,
    time: Duration,
) -> Vec<Ended> {
    let mut stream = AsyncReader::new(AsyncStream::connect(("127.0.0.1", port)).await.unwrap());
    stream.get_ref().set_nodelay(true).unwrap();
    let mut due = start + first;
    let mut res = Vec::new();
    while start.elapsed() < time {
        if let Some(pace) = pace {
            tokio::time::sleep_until(due.into()).await;
            // Who is late does not catch up: the load is what is wanted, not bursts of it.
            due = (due + pace).max(Instant::now());
        }
        let sent = Instant::now();
        stream.get_mut().write_all(request.as_bytes()).await.unwrap();
        let (mut status, mut length, mut retry_after) = (String::new(), 0, false);
        stream.read_line(&mut status).await.unwrap();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("retry-after", _)) => retry_after = true,
                Some(_) => {}
                None => break,
            }
        }
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        let accepted = status.starts_with("HTTP/1.1 200");
        assert!(accepted || status.starts_with("HTTP/1.1 503") || status.starts_with("HTTP/1.1 429"), "{status}");
        res.push(Ended { at: sent - start, took: sent.elapsed(), accepted, retry_after });
    }
    res
}

/// Connections that have asked once and stay.
pub(crate) async fn idle(port: u16, connections: usize) -> Vec<AsyncStream> {
    let mut res = Vec::new();
    for _ in 0..connections {
        let mut stream = AsyncStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        res.push(stream);
    }
    res
}

/// A client on a thread of its own.
pub(crate) struct Plain(BufReader<TcpStream>);

impl Plain {
    pub(crate) fn connect(port: u16) -> Plain {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Plain(BufReader::new(stream))
    }

    pub(crate) fn ask(&mut self, target: &str) {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line).unwrap();
        }
        self.0.read_exact(&mut [0; 2]).unwrap();
    }
}
