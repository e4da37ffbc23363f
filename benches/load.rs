//! Load: what a request costs over the engine's own query, what idle connections weigh, and what happens beyond
//! the limit. A table on the terminal, and `target/load.json`.
//!
//! `against` is the engine alone in this process, driven by as many threads as the server has connections; where
//! throughput is compared, each of its queries is accompanied by one request of an equal client to a server that
//! does nothing, so that both sides pay for a client. `BENCH_SECONDS` makes a longer run.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is read on the terminal and may stop")]

mod http;
mod pressed;
#[expect(dead_code, reason = "blocks are inserted by the other benchmarks")]
mod raw;
mod served;

use birdhouse::engine::prepare_process;
use http::Figures;
use pressed::Ended;
use raw::Raw;
use served::Served;
use std::{
    env, fs,
    path::Path,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

fn main() {
    prepare_process();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lines = runtime.block_on(measure());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/load.json");
    fs::write(&file, serde_json::to_string_pretty(&lines).unwrap()).unwrap();
    println!("\nwritten to {}", file.display());
}

#[derive(serde::Serialize)]
struct Line {
    name: &'static str,
    value: f64,
    unit: &'static str,
}

#[derive(Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        println!("{name:<72} {value:>10.2} {unit}");
        self.0.push(Line { name, value, unit });
    }
}

fn ms(it: Duration) -> f64 {
    it.as_secs_f64() * 1000.0
}

async fn measure() -> Vec<Line> {
    let mut lines = Lines::default();
    let seconds = env::var_os("BENCH_SECONDS").and_then(|it| it.to_str()?.parse().ok()).unwrap_or(3);
    let time = Duration::from_secs(seconds);
    let library = served::library_path();
    let server = Served::start(&library).await;
    let sql = server.compiled().await;
    let arguments = server.raw_arguments();
    let raw = Raw::open(&library);
    let target = served::TARGET;
    http::load(server.port, target, &server.token, 8, time / 3).await;

    // One connection: what is added to the engine's own time.
    let asked = http::load(server.port, target, &server.token, 1, time).await;
    let bare = alone(raw, &arguments, &sql, 1, time, None).await;
    lines.add("one connection, p50 over HTTP", ms(asked.p50), "ms");
    lines.add("one connection, p50 of the engine alone", ms(bare.p50), "ms");
    lines.add("added at p50", ms(asked.p50) - ms(bare.p50), "ms");
    lines.add("added at p99", ms(asked.p99) - ms(bare.p99), "ms");

    // Eight: the engine's threads pay for a client too.
    let capacity = http::load(server.port, target, &server.token, 8, time).await;
    let nothing = served::nothing().await;
    let paired = alone(raw, &arguments, &sql, 8, time, Some(nothing)).await;
    lines.add("eight connections", capacity.per_second, "requests/s");
    lines.add(
        "eight threads on the engine, each with a client of a server that does nothing",
        paired.per_second,
        "1/s",
    );
    lines.add("ratio", capacity.per_second / paired.per_second, "");

    // Three times as much as there is.
    let wanted = 3.0 * capacity.per_second;
    let over = pressed::pressed(server.port, target, &server.token, 64, Some(wanted), time * 2).await;
    overloaded(&mut lines, &over, &capacity, time * 2);
    let retrying = pressed::pressed(server.port, target, &server.token, 64, None, time * 2).await;
    let accepted = retrying.iter().filter(|it| it.accepted).count() as f64 / (time * 2).as_secs_f64();
    lines.add("clients that retry at once: accepted", accepted / capacity.per_second, "of the limit");
    let after = http::load(server.port, target, &server.token, 8, time).await;
    lines.add("after them", after.per_second / capacity.per_second, "of the limit");

    let before = server.memory();
    let idle = pressed::idle(server.port, 1000).await;
    lines.add("1,000 idle connections", server.memory() - before, "MB");
    drop(idle);
    server.stop().await;
    lines.0
}

fn overloaded(lines: &mut Lines, over: &[Ended], capacity: &Figures, time: Duration) {
    // The first second is a burst, which is let in.
    let late: Vec<_> = over.iter().filter(|it| it.at > Duration::from_secs(1)).collect();
    let figures = |accepted: bool| {
        let times: Vec<_> = late.iter().filter(|it| it.accepted == accepted).map(|it| it.took).collect();
        Figures::of(times, time - Duration::from_secs(1))
    };
    let (accepted, refused) = (figures(true), figures(false));
    let sent = late.len() as f64 / (time - Duration::from_secs(1)).as_secs_f64();
    lines.add("overload: sent", sent / capacity.per_second, "times the limit");
    lines.add("overload: accepted", accepted.per_second / capacity.per_second, "of the limit");
    lines.add("overload: p50 of the accepted", ms(accepted.p50) / ms(capacity.p50), "times that at the limit");
    lines.add("overload: p99 of the accepted", ms(accepted.p99) / ms(capacity.p99), "times that at the limit");
    lines.add("overload: p50 of the refused", ms(refused.p50), "ms");
    lines.add("overload: p99 of the refused", ms(refused.p99), "ms");
    let hinted = late.iter().filter(|it| !it.accepted && it.retry_after).count();
    let all = late.iter().filter(|it| !it.accepted).count();
    lines.add("overload: refusals with Retry-After", hinted as f64 / all.max(1) as f64, "of all");
}

/// The query on raw connections; with a port, each query goes with a request to what listens there.
async fn alone(
    raw: Raw,
    arguments: &[String],
    sql: &str,
    connections: usize,
    time: Duration,
    beside: Option<u16>,
) -> Figures {
    let (arguments, sql) = (arguments.to_vec(), sql.to_owned());
    tokio::task::spawn_blocking(move || {
        let ready = Barrier::new(connections);
        let begun = Instant::now();
        let one = || {
            let mut connection = raw.connect(&arguments);
            let mut client = beside.map(pressed::Plain::connect);
            connection.query(&sql, "JSON");
            ready.wait();
            let begun = Instant::now();
            let mut times = Vec::new();
            while times.is_empty() || begun.elapsed() < time {
                let start = Instant::now();
                if let Some(client) = &mut client {
                    client.ask(served::TARGET);
                }
                connection.query(&sql, "JSON");
                times.push(start.elapsed());
            }
            times
        };
        let times: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
            threads.into_iter().flat_map(|it| it.join().unwrap()).collect()
        });
        Figures::of(times, begun.elapsed().min(time))
    })
    .await
    .unwrap()
}
