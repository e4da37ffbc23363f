//! Transactions: what is aborted is never seen, what is open waits, and the gaps that they leave are no loss.

use super::{Broker, Feed, event, once, until, until_messages};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use std::time::Duration;

type Sender = ThreadedProducer<DefaultProducerContext>;

const PATIENCE: Duration = Duration::from_secs(60);

/// One who sends in transactions. Blocks, as the rest does.
fn sender(broker: &Broker, id: &str) -> Sender {
    let mut config = broker.client();
    let sender: Sender = config.set("transactional.id", id).create().unwrap();
    sender.init_transactions(PATIENCE).unwrap();
    sender
}

fn begin(sender: &Sender, ids: std::ops::Range<u64>) {
    sender.begin_transaction().unwrap();
    for id in ids {
        let value = event(id);
        let record = BaseRecord::<(), _>::to("t").payload(&value).partition((id % 2) as i32);
        sender.send(record).map_err(|(it, _)| it).unwrap();
    }
    sender.flush(PATIENCE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_transaction_is_never_seen_and_what_follows_it_is() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    broker.send("t", 2, (0..500).map(event));
    let feed = Feed::new(&broker, "t").await;
    let consumer = feed.start().await;
    until_messages(&consumer, 500).await;
    let committing = tokio::task::block_in_place(|| {
        let aborting = sender(&broker, "x");
        begin(&aborting, 9000..9100);
        aborting.abort_transaction(PATIENCE).unwrap();
        let committing = sender(&broker, "y");
        begin(&committing, 500..600);
        committing
    });
    assert_eq!(feed.table().await, once(500), "what is not committed is not seen");
    tokio::task::block_in_place(|| committing.commit_transaction(PATIENCE).unwrap());
    until_messages(&consumer, 600).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(600));
    assert_eq!(feed.heard.lock().unwrap().len(), 0, "gaps in the offsets are no loss");
}

/// A consumer that rests, because nothing comes that it may see, wakes when something does; one that starts anew
/// begins at an offset that no message has.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_an_open_transaction_comes_when_it_ends() {
    let broker = Broker::start().await;
    broker.topic("t", 2).await;
    broker.send("t", 2, (0..100).map(event));
    let mut feed = Feed::new(&broker, "t").await;
    feed.tuning.batch_rows = 30;
    let consumer = feed.start().await;
    until_messages(&consumer, 100).await;
    let open = tokio::task::block_in_place(|| {
        let aborting = sender(&broker, "x");
        begin(&aborting, 9000..9100);
        aborting.abort_transaction(PATIENCE).unwrap();
        let open = sender(&broker, "y");
        begin(&open, 8000..8100);
        open
    });
    // Behind what is open, and committed.
    broker.send("t", 2, (100..200).map(event));
    // 100 aborted messages and a mark in each partition.
    until("the broker says how far it may be read", async || consumer.status().lag == 102).await;
    // Long enough that it takes itself for idle and rests: how it wakes is what is tried.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(consumer.status().messages, 100);
    tokio::task::block_in_place(|| open.abort_transaction(PATIENCE).unwrap());
    until_messages(&consumer, 200).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(200));
    // The last thing in each partition is what nobody sees.
    tokio::task::block_in_place(|| {
        begin(&open, 7000..7100);
        open.abort_transaction(PATIENCE).unwrap();
    });
    let consumer = feed.start().await;
    broker.send("t", 2, (200..300).map(event));
    until_messages(&consumer, 100).await;
    consumer.stop().await;
    assert_eq!(feed.table().await, once(300));
    assert_eq!(feed.heard.lock().unwrap().len(), 0, "gaps in the offsets are no loss");
}
