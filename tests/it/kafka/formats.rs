//! Avro and numbered JSON, with a schema registry that comes and goes.

use super::{Broker, Feed, once, until, until_messages};
use crate::ingest::select;
use apache_avro::{Schema, to_avro_datum, types::Value as Avro};
use axum::{Json, Router, extract::Path, http::StatusCode, routing::get};
use birdhouse::{
    ingest::kafka::{RegistryUrl, State},
    project::ValueFormat,
};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

const EVENT: &str = r#"{"type":"record","name":"Event","fields":[{"name":"id","type":"long"},
    {"name":"company","type":{"type":"record","name":"Company","fields":[{"name":"id","type":["null","int"]}]}}]}"#;

/// The same in pieces: an event builds on a company, and both on a number's kind.
const NUMBER: &str = r#"{"type":"enum","name":"Size","namespace":"a.b","symbols":["small","large"]}"#;
const COMPANY: &str = r#"{"type":"record","name":"Company","namespace":"a.b","fields":[
    {"name":"id","type":["null","int"]},{"name":"size","type":"Size"}]}"#;
const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"a","fields":[{"name":"id","type":"long"},
    {"name":"company","type":"a.b.Company"},{"name":"size","type":"a.b.Size"}]}"#;

/// A registry over HTTP: it knows some schemas, is there or not, and wants a password.
struct Registry {
    url: RegistryUrl,
    is_there: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Registry {
    async fn start() -> Registry {
        let (is_there, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (there, count) = (is_there.clone(), asked.clone());
        let answer = move |Path(id): Path<u32>, headers: axum::http::HeaderMap| {
            count.fetch_add(1, Ordering::AcqRel);
            // user:p@ss
            let known = headers.get("authorization").is_some_and(|it| it == "Basic dXNlcjpwQHNz");
            let answer = match (there.load(Ordering::Acquire), known, id) {
                (false, ..) => (StatusCode::SERVICE_UNAVAILABLE, Json(Value::Null)),
                (_, false, _) => (StatusCode::UNAUTHORIZED, Json(Value::Null)),
                (_, _, 1) => (StatusCode::OK, Json(json!({ "schema": EVENT }))),
                (_, _, 2) => (StatusCode::OK, Json(json!({ "schema": "{}", "schemaType": "PROTOBUF" }))),
                (_, _, 3) => (
                    StatusCode::OK,
                    Json(json!({ "schema": ORDER, "references": [
                        {"name": "a.b.Company", "subject": "a/company", "version": 3},
                        {"name": "a.b.Size", "subject": "size", "version": 1},
                    ]})),
                ),
                (_, _, 4) => (
                    StatusCode::OK,
                    Json(json!({ "schema": ORDER, "references": [
                        {"name": "a.b.Company", "subject": "gone", "version": 1},
                    ]})),
                ),
                _ => (StatusCode::NOT_FOUND, Json(json!({ "error_code": 40403 }))),
            };
            async move { answer }
        };
        let (there, count) = (is_there.clone(), asked.clone());
        let referenced = move |Path((subject, version)): Path<(String, u32)>| {
            count.fetch_add(1, Ordering::AcqRel);
            // They refer to each other in a circle, too.
            let size = json!([{"name": "a.b.Size", "subject": "size", "version": 1}]);
            let company = json!([{"name": "a.b.Company", "subject": "a/company", "version": 3}]);
            let answer = match (there.load(Ordering::Acquire), subject.as_str(), version) {
                (false, ..) => (StatusCode::SERVICE_UNAVAILABLE, Json(Value::Null)),
                (_, "a/company", 3) => (StatusCode::OK, Json(json!({ "schema": COMPANY, "references": size }))),
                (_, "size", 1) => (StatusCode::OK, Json(json!({ "schema": NUMBER, "references": company }))),
                _ => (StatusCode::NOT_FOUND, Json(json!({ "error_code": 40401 }))),
            };
            async move { answer }
        };
        let router = Router::new()
            .route("/api/schemas/ids/{id}", get(answer))
            .route("/api/subjects/{subject}/versions/{version}", get(referenced));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user:p%40ss@{}/api/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Registry { url: RegistryUrl::parse(&url).unwrap(), is_there, asked }
    }
}

fn numbered(number: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &number.to_be_bytes(), bytes].concat()
}

fn avro(id: i64) -> Vec<u8> {
    let company = Avro::Union(1, Box::new(Avro::Int((id % 5 + 1) as i32)));
    let company = Avro::Record(vec![("id".to_owned(), company)]);
    let value = Avro::Record(vec![("id".to_owned(), Avro::Long(id)), ("company".to_owned(), company)]);
    numbered(1, &to_avro_datum(&Schema::parse_str(EVENT).unwrap(), value).unwrap())
}

fn send(broker: &Broker, values: impl IntoIterator<Item = Vec<u8>>) {
    let producer: ThreadedProducer<DefaultProducerContext> = broker.client().create().unwrap();
    for value in values {
        producer.send(BaseRecord::<(), _>::to("t").partition(0).payload(&value)).map_err(|(it, _)| it).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

async fn feed(broker: &Broker, format: ValueFormat) -> Feed {
    broker.topic("t", 1).await;
    let mut feed = Feed::new(broker, "t").await;
    let mut datasource = (*feed.target.datasource).clone();
    datasource.kafka.as_mut().unwrap().value_format = format;
    feed.target.datasource = Arc::new(datasource);
    feed
}

#[tokio::test(flavor = "multi_thread")]
async fn avro_is_read_by_the_schemas_of_a_registry_and_an_outage_makes_no_bad_rows() {
    let (broker, registry) = (Broker::start().await, Registry::start().await);
    let mut feed = feed(&broker, ValueFormat::Avro).await;
    feed.settings.registry = Some(registry.url.clone());
    send(&broker, (0..500).map(avro));
    registry.is_there.store(false, Ordering::Release);
    let consumer = feed.start().await;
    until("it says so", async || feed.heard("the schema registry does not answer: it answers 503") > 0).await;
    assert_eq!((consumer.status().quarantined, feed.quarantined().await), (0, 0));
    registry.is_there.store(true, Ordering::Release);
    until_messages(&consumer, 500).await;
    assert_eq!(feed.table().await, once(500));
    let row = &select(feed.engine, "value, company_id", &feed.target.table, "WHERE id = 7").await[0];
    assert_eq!(*row, json!({"value": r#"{"id":7,"company":{"id":3}}"#, "company_id": 3}));
    let asked = registry.asked.load(Ordering::Acquire);
    // What cannot be read says why; what can goes on; a schema is asked for once.
    let cut = avro(1)[..7].to_vec();
    let null = numbered(1, &[2, 0]);
    send(&broker, [vec![], b"{\"id\":1}".to_vec(), numbered(9, &[2]), numbered(2, &[2]), cut, null, avro(500)]);
    let status = until_messages(&consumer, 507).await;
    assert_eq!((status.rows, status.quarantined, status.state), (501, 6, State::Running));
    assert_eq!(registry.asked.load(Ordering::Acquire), asked + 2);
    consumer.stop().await;
    let kept =
        select(feed.engine, "c__error[1] AS e, offset", &feed.target.quarantine, "ORDER BY toInt64(offset)").await;
    let reasons: Vec<_> = kept.iter().map(|it| it["e"].as_str().unwrap()).collect();
    assert_eq!(
        reasons,
        [
            "no number of a schema stands before the Avro",
            "no number of a schema stands before the Avro",
            "the schema registry has no schema 9",
            "schema 2 cannot be used: it is of the kind PROTOBUF",
            "not Avro of schema 1: it ends in the middle of a value",
            "value 'null' on column 'company_id' is not Int8",
        ]
    );
    assert!(!format!("{:?}{:?}{:?}", feed.heard.lock().unwrap(), feed.settings, registry.url).contains("p%40ss"));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_after_a_schema_s_number_is_read_without_a_registry() {
    let broker = Broker::start().await;
    let feed = feed(&broker, ValueFormat::JsonWithSchema).await;
    send(&broker, (0..100).map(|id| numbered(3, super::event(id).as_bytes())).chain([b"{}".to_vec()]));
    let consumer = feed.start().await;
    let status = until_messages(&consumer, 101).await;
    consumer.stop().await;
    assert_eq!((status.rows, status.quarantined), (100, 1));
    assert_eq!(feed.table().await, once(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn avro_s_schemas_may_build_on_others() {
    let (broker, registry) = (Broker::start().await, Registry::start().await);
    let mut feed = feed(&broker, ValueFormat::Avro).await;
    feed.settings.registry = Some(registry.url.clone());
    // 14; the second branch, 3; large; small.
    send(&broker, [numbered(3, &[28, 2, 6, 2, 0]), numbered(4, &[28, 2, 6, 2, 0])]);
    let consumer = feed.start().await;
    let status = until_messages(&consumer, 2).await;
    consumer.stop().await;
    assert_eq!((status.rows, status.quarantined), (1, 1));
    assert_eq!(registry.asked.load(Ordering::Acquire), 5, "each once");
    let rows = select(feed.engine, "value, company_id", &feed.target.table, "").await;
    let value = r#"{"id":14,"company":{"id":3,"size":"large"},"size":"small"}"#;
    assert_eq!(rows, [json!({"value": value, "company_id": 3})]);
    let kept = select(feed.engine, "c__error[1] AS e", &feed.target.quarantine, "").await;
    let reason = "schema 4 cannot be used: it builds on version 1 of `gone`, which is not there";
    assert_eq!(kept, [json!({"e": reason})]);
}
