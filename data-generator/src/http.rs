//! The way over HTTP: events are gathered into bodies of lines and sent to `/v0/events`.
//!
//! In: flags, messages. Out: [`Deliveries`]: what the server has acknowledged. A body that is told to come
//! again later comes again; one whose answer was lost does not, for nobody knows what became of it.

use crate::{args::Args, delivery::Deliveries};
use anyhow::{Context, anyhow, bail};
use reqwest::{Client, StatusCode, header::RETRY_AFTER};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

pub struct Delivery {
    messages: Option<SyncSender<Vec<u8>>>,
    so_far: Arc<Mutex<Deliveries>>,
    sending: thread::JoinHandle<()>,
}

/// What sends: one body at a time.
struct Sender {
    client: Client,
    url: String,
    token: String,
    so_far: Arc<Mutex<Deliveries>>,
}

#[derive(serde::Deserialize)]
struct Answer {
    successful_rows: u64,
    quarantined_rows: u64,
}

/// Messages that wait to be sent, at most.
const WAITING: usize = 20_000;
/// Messages and bytes of one body, at most, and how long its first message waits for others.
const BODY_MESSAGES: usize = 5_000;
const BODY_BYTES: usize = 2 << 20;
const LINGER: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_secs(60);
/// How often a body is sent that the server has no room for.
const TRIES: u32 = 60;

impl Delivery {
    pub fn open(args: &Args, host: &str) -> anyhow::Result<Delivery> {
        let token = args.token.clone().context("--host needs --token, or TB_TOKEN in the environment")?;
        let url = format!("{}/v0/events?name={}", host.trim_end_matches('/'), args.datasource);
        let client = Client::builder().timeout(ANSWER).build().context("no HTTP client")?;
        let so_far = Arc::new(Mutex::new(Deliveries::default()));
        let sender = Sender { client, url, token, so_far: so_far.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        // An empty body is none, and its answer says whether the rest can go there.
        runtime.block_on(sender.post(Vec::new()))?;
        let (messages, received) = sync_channel(WAITING);
        let sending = thread::spawn(move || runtime.block_on(sender.run(&received)));
        Ok(Delivery { messages: Some(messages), so_far, sending })
    }

    pub fn send(&self, message: &[u8]) -> anyhow::Result<()> {
        let messages = self.messages.as_ref().expect("taken at the end only");
        messages.send(message.to_vec()).map_err(|_| anyhow!("sending has ended"))
    }

    pub fn so_far(&self) -> Deliveries {
        lock(&self.so_far).clone()
    }

    /// Waits until every message has been answered or given up.
    pub fn finish(mut self) -> anyhow::Result<Deliveries> {
        self.messages = None;
        self.sending.join().map_err(|_| anyhow!("sending ended in a panic"))?;
        Ok(lock(&self.so_far).clone())
    }
}

impl Sender {
    async fn run(&self, received: &Receiver<Vec<u8>>) {
        let mut ended = false;
        while !ended {
            let Ok(mut body) = received.recv() else { return };
            body.push(b'\n');
            let (mut count, until) = (1, Instant::now() + LINGER);
            while count < BODY_MESSAGES && body.len() < BODY_BYTES {
                match received.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(message) => {
                        body.extend_from_slice(&message);
                        body.push(b'\n');
                        count += 1;
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        ended = true;
                        break;
                    }
                }
            }
            let answer = self.post(body).await;
            let mut so_far = lock(&self.so_far);
            match answer {
                Ok(answer) => {
                    so_far.delivered += answer.successful_rows;
                    so_far.failed += answer.quarantined_rows;
                    if answer.quarantined_rows > 0 {
                        so_far.reason.get_or_insert_with(|| "the server put them into quarantine".to_owned());
                    }
                }
                Err(error) => {
                    so_far.failed += count as u64;
                    so_far.reason.get_or_insert_with(|| format!("{error:#}"));
                }
            }
        }
    }

    async fn post(&self, body: Vec<u8>) -> anyhow::Result<Answer> {
        for _ in 0..TRIES {
            let request = self.client.post(&self.url).bearer_auth(&self.token).body(body.clone());
            let reply = request.send().await.map_err(reqwest::Error::without_url).context("no answer")?;
            let status = reply.status();
            if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                let seconds = reply.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
                tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(1))).await;
                continue;
            }
            let text = reply.text().await.map_err(reqwest::Error::without_url)?;
            if !status.is_success() {
                bail!("the server answers {status}: {text}");
            }
            return serde_json::from_str(&text).with_context(|| format!("an answer that is none: {text}"));
        }
        bail!("the server has no room for events")
    }
}

fn lock(so_far: &Mutex<Deliveries>) -> MutexGuard<'_, Deliveries> {
    so_far.lock().unwrap_or_else(PoisonError::into_inner)
}
