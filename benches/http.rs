//! A client that keeps its connection, and the figures of many of them.

use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// What a run of requests or queries came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Figures {
    /// From the time that each took, with `elapsed` for all.
    pub(crate) fn of(mut times: Vec<Duration>, elapsed: Duration) -> Figures {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        Figures { per_second: times.len() as f64 / elapsed.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
    }
}

/// Asks for `target` on `connections` connections at once, for `time`.
pub(crate) async fn load(port: u16, target: &str, token: &str, connections: usize, time: Duration) -> Figures {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    let start = Instant::now();
    let clients: Vec<_> = (0..connections).map(|_| tokio::spawn(client(port, request.clone(), start + time))).collect();
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.unwrap());
    }
    Figures::of(times, start.elapsed())
}

async fn client(port: u16, request: String, end: Instant) -> Vec<Duration> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    let mut times = Vec::new();
    let (mut line, mut body) = (String::new(), Vec::new());
    while Instant::now() < end {
        let start = Instant::now();
        stream.get_mut().write_all(request.as_bytes()).await.unwrap();
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        let mut length = None;
        loop {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().ok();
            }
        }
        body.resize(length.expect("small answers have a length"), 0);
        stream.read_exact(&mut body).await.unwrap();
        times.push(start.elapsed());
    }
    times
}
