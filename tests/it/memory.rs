//! What answers cost while nobody reads them: the built binary, its resident memory, real connections.
#![cfg(target_os = "linux")]

use super::{engine::library_path, resident};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const TOKEN: &str = "p.admin-of-the-memory-test";
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows of ninety bytes.
const ROWS: u64 = 1_000_000;

/// What an answer may take that nobody reads: a few blocks in the engine, a MiB or two between it and the
/// connection, what the allocator keeps.
const PER_ANSWER: u64 = 20 << 20;

struct Server {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_birdhouse"));
        command
            .args(["serve", "--port", "0"])
            .current_dir(directory.path())
            .env_clear()
            .env("HOME", directory.path())
            .env("BIRDHOUSE_LIBCHDB", library_path())
            .env("BIRDHOUSE_ADMIN_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.find(|it| it.contains("birdhouse serves at http://localhost:")).unwrap();
        thread::spawn(move || lines.for_each(drop));
        let port = line.split("localhost:").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        Server { child, address: format!("127.0.0.1:{port}"), _directory: directory }
    }

    fn memory(&self) -> u64 {
        resident(self.child.id())
    }

    /// Memory once it no longer grows.
    fn settled_memory(&self) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        let (mut most, mut since) = (self.memory(), Instant::now());
        while since.elapsed() < Duration::from_secs(1) {
            assert!(Instant::now() < deadline, "memory goes on growing: {most}");
            thread::sleep(Duration::from_millis(20));
            let now = self.memory();
            if now > most {
                (most, since) = (now, Instant::now());
            }
        }
        most
    }

    /// Asks, and reads no more than the status.
    fn ask(&self, rows: u64, format: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let query = format!("select+number,repeat('x',80)+from+numbers({rows})+format+{format}");
        let head = format!(
            "GET /v0/sql?q={query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut status = [0; 15];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200 OK");
        stream
    }

    /// Sends a body of so many bytes; what is answered.
    fn post(&self, path: &str, length: u64, body: impl FnOnce(&mut TcpStream)) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/csv\r\nContent-Length: \
             {length}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        body(&mut stream);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Adds a file of about so many bytes to the data source `t`, and gives the most memory that the server had.
    fn load(&self, bytes: u64) -> u64 {
        let row = |id: u64| format!("{id:012},kind {},some words that make a row as long as rows are\n", id % 10);
        let rows = bytes / row(0).len() as u64;
        let length = rows * row(0).len() as u64;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut most = 0;
                while !done.load(Ordering::Relaxed) {
                    most = most.max(self.memory());
                    thread::sleep(Duration::from_millis(10));
                }
                most
            });
            let answer = self.post("/v0/datasources?mode=append&name=t&format=csv", length, |stream| {
                for start in (0..rows).step_by(10_000) {
                    let piece: String = (start..rows.min(start + 10_000)).map(row).collect();
                    stream.write_all(piece.as_bytes()).unwrap();
                }
            });
            done.store(true, Ordering::Relaxed);
            assert!(answer.contains(&format!("\"lines\":{rows},")), "{answer}");
            watching.join().unwrap()
        })
    }

    fn whole(&self, rows: u64, format: &str) -> u64 {
        let mut stream = self.ask(rows, format);
        let (mut size, mut end, mut buffer) = (0, Vec::new(), vec![0; 1 << 16]);
        loop {
            let count = stream.read(&mut buffer).unwrap();
            if count == 0 {
                assert!(end.ends_with(b"\r\n0\r\n\r\n"), "the answer was cut after {size} bytes");
                return size;
            }
            size += count as u64;
            end.extend_from_slice(&buffer[..count]);
            end.drain(..end.len().saturating_sub(16));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn answers_that_nobody_reads_cost_a_few_blocks_each() {
    let server = Server::start();
    for format in ["CSV", "JSON"] {
        server.whole(ROWS, format);
        let before = server.settled_memory();
        let unread: Vec<_> = (0..10).map(|_| server.ask(ROWS, format)).collect();
        let grown = server.settled_memory().saturating_sub(before);
        assert!(grown < 10 * PER_ANSWER, "ten unread answers of 90 MB in {format} took {} MiB", grown >> 20);
        drop(unread);
    }
}

#[test]
fn an_answer_of_three_hundred_megabytes_passes_through() {
    let server = Server::start();
    server.whole(ROWS, "CSV");
    let before = server.settled_memory();
    let size = server.whole(3_500_000, "CSV");
    assert!(size > 300_000_000, "{size}");
    let grown = server.settled_memory().saturating_sub(before);
    assert!(grown < 2 * PER_ANSWER, "it took {} MiB", grown >> 20);
}

/// What a file may take that is larger than memory: a few blocks of its rows, here and in the engine.
const PER_FILE: u64 = 300 << 20;

#[test]
fn a_file_of_any_size_costs_a_few_of_its_blocks() {
    // Two gigabytes in `make torture`.
    let size = if std::env::var_os("BIRDHOUSE_TORTURE").is_some() { 2 << 30 } else { 40 << 20 };
    let server = Server::start();
    let columns = "id%20UInt64,%20kind%20String,%20note%20String";
    let path = format!("/v0/datasources?name=t&schema={columns}&engine=MergeTree&engine_sorting_key=id");
    let made = server.post(&path, 0, |_| ());
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    let before = server.settled_memory();
    let most = server.load(size);
    assert!(most.saturating_sub(before) < PER_FILE, "{size} bytes took {} MiB", most.saturating_sub(before) >> 20);
}
