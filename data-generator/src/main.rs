//! Makes audit-log events and sends them to Kafka or to a server: the source of the quickstart's data.
//!
//! In: flags. Out: events on a topic, the rate on the terminal, and an exit code that is 0 only when every
//! event was delivered. A client: it knows nothing of birdhouse.

mod args;
mod delivery;
mod event;
mod http;
mod kafka;

use anyhow::bail;
use args::Args;
use clap::Parser;
use delivery::Delivery;
use event::Generator;
use jiff::Timestamp;
use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    if args.create_topic && args.host.is_none() {
        match kafka::create_topic(args)? {
            true => eprintln!("made topic {} with {} partitions", args.topic, args.partitions),
            false => eprintln!("topic {} is there already", args.topic),
        }
    }
    let delivery = Delivery::open(args)?;
    if let (true, Delivery::Kafka(delivery)) = (args.positions, &delivery) {
        println!("{}", serde_json::to_string(&delivery.positions()?)?);
    }
    let mut generator = Generator::new(args.seed);
    let mut pace = Pace::new(args.mps);
    let mut round = 0;
    let mut sent = 0;
    while args.repeat == 0 || round < args.repeat {
        if round > 0 {
            thread::sleep(Duration::from_secs_f64(args.sleep));
            pace = Pace { sent: 0, begin: Instant::now(), ..pace };
        }
        for _ in 0..args.sample {
            let at = match args.first_moment() {
                Some(first) => first + Duration::from_millis(sent),
                None => Timestamp::now(),
            };
            let event = generator.event(at);
            delivery.send(&event.payload.author, &serde_json::to_vec(&event)?)?;
            sent += 1;
            pace.keep(&delivery);
        }
        round += 1;
    }
    let begin = pace.first;
    let target = delivery.target(args);
    let deliveries = delivery.finish()?;
    let seconds = begin.elapsed().as_secs_f64();
    let rate = deliveries.delivered as f64 / seconds.max(1e-6);
    println!("delivered {} events to {} in {seconds:.1} s, {rate:.0} a second", deliveries.delivered, target);
    if deliveries.delivered < sent {
        let reason = deliveries.reason.unwrap_or_else(|| "nobody said why".to_owned());
        bail!("{} of {sent} events were not delivered: {reason}", sent - deliveries.delivered);
    }
    Ok(())
}

/// Keeps to so many messages a second, and says how fast it goes.
struct Pace {
    most: u64,
    sent: u64,
    begin: Instant,
    first: Instant,
    said: Instant,
    said_delivered: u64,
}

impl Pace {
    fn new(most: u64) -> Pace {
        let now = Instant::now();
        Pace { most, sent: 0, begin: now, first: now, said: now, said_delivered: 0 }
    }

    /// Called after each message.
    fn keep(&mut self, delivery: &Delivery) {
        self.sent += 1;
        if self.most > 0 {
            let due = self.begin + Duration::from_secs_f64(self.sent as f64 / self.most as f64);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let elapsed = self.said.elapsed();
        if elapsed >= Duration::from_secs(1) {
            let deliveries = delivery.so_far();
            let rate = (deliveries.delivered - self.said_delivered) as f64 / elapsed.as_secs_f64();
            eprintln!("{} delivered, {} failed, {rate:.0} a second", deliveries.delivered, deliveries.failed);
            self.said = Instant::now();
            self.said_delivered = deliveries.delivered;
        }
    }
}
