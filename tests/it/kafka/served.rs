//! Topics over HTTP: looked at, connected, paused and resumed, and what is kept of all that.

use super::{Broker, event, until};
use crate::http::{ADMIN, Reply, Site, reply};
use reqwest::Method;
use serde_json::{Value, json};

async fn count(site: &Site, sql: &str) -> Value {
    let reply = site.sql(ADMIN, &format!("{sql} FORMAT JSON")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["data"][0].clone()
}

async fn connected(site: &Site, broker: &Broker) {
    let servers = broker.address();
    let connection =
        [("name", "broker"), ("kafka_bootstrap_servers", &*servers), ("kafka_security_protocol", "PLAINTEXT")];
    let made = site.form("/v0/connectors", ADMIN, &connection).await;
    assert_eq!(made.status, 200, "{}", made.text);
}

/// As the classic client asks: everything in the path, and a body of nothing.
async fn connect(site: &Site, name: &str, topic: &str) -> Reply {
    let path = format!(
        "/v0/datasources?connector=broker&name={name}&kafka_topic={topic}&kafka_group_id=g&kafka_auto_offset_reset=earliest"
    );
    reply(site.request(Method::POST, &path).bearer_auth(ADMIN)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_looked_at_connected_paused_and_resumed() {
    let broker = Broker::start().await;
    broker.topic("orders", 2).await;
    broker.topic("empty", 1).await;
    broker.send("orders", 2, (0..40).map(event));
    let site = Site::start().await;
    connected(&site, &broker).await;
    let topics = site.get("/v0/connectors/broker/preview?preview_activity=false", ADMIN).await;
    assert_eq!(topics.json()["preview"], json!([{"topic": "empty"}, {"topic": "orders"}]), "{}", topics.text);
    let seen = site.get("/v0/connectors/broker/preview?kafka_topic=orders&max_records=5", ADMIN).await.json();
    let columns: Vec<_> =
        seen["preview"][0]["analysis"]["columns"].as_array().unwrap().iter().map(|it| &it["path"]).collect();
    assert_eq!(columns, ["$.company.id", "$.id", "$.text"]);
    let data = seen["preview"][0]["deserialized"]["data"].as_array().unwrap();
    assert_eq!((data.len(), data[4]["__value"].as_str().is_some_and(|it| it.contains("\"id\""))), (5, true));
    assert!(seen["earliest"][0]["timestamp"].is_i64());
    let nobody = site.token("nobody", &["DATASOURCES:READ:nothing_of_it"]).await;
    assert_eq!(site.get("/v0/connectors/broker/preview", &nobody).await.status, 403);

    let made = connect(&site, "orders", "orders").await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert_eq!(made.json()["datasource"]["name"], "orders");
    let all = "SELECT count() AS c, sum(JSONExtractUInt(__value, 'id')) AS s, uniqExact(__offset, __partition) AS u \
               FROM orders";
    until("all are in", async || count(&site, all).await["c"] == 40).await;
    assert_eq!(count(&site, all).await, json!({"c": 40, "s": 780, "u": 40}));
    let made = connect(&site, "nothing", "empty").await;
    assert_eq!(made.status, 200, "{}", made.text);

    // Paused it reads nothing, whatever else is deployed; then it reads on where it was.
    let state = "/v0/datasources/orders/scheduling/state";
    let set = async |to: &str| {
        let change = site.request(Method::PUT, state).bearer_auth(ADMIN).body(format!("{{\"state\": \"{to}\"}}"));
        let changed = reply(change).await;
        assert_eq!((changed.status.as_u16(), &changed.json()["state"]), (200, &json!(to)), "{}", changed.text);
    };
    assert_eq!(site.get(state, ADMIN).await.json(), json!({"state": "running"}));
    set("paused").await;
    broker.send("orders", 2, (40..60).map(event));
    let other = "SCHEMA >\n    `a` Int8\n";
    assert_eq!(site.deploy(&[("datasources/other.datasource", other)], "?partial=true").await.status, 200);
    broker.send("empty", 1, (0..10).map(event));
    until("the other source reads", async || count(&site, "SELECT count() AS c FROM nothing").await["c"] == 10).await;
    assert_eq!(count(&site, all).await["c"], 40);
    assert_eq!(site.get(state, ADMIN).await.json(), json!({"state": "paused"}));
    set("running").await;
    until("the rest is in", async || count(&site, all).await["c"] == 60).await;
    assert_eq!(count(&site, all).await["u"], 60);
    assert_eq!(site.get("/v0/datasources/other/scheduling/state", ADMIN).await.status, 400);
    assert_eq!(site.get(state, &nobody).await.status, 403);

    // What is kept says how much came, and how far it is.
    let kept = "SELECT sum(processed_messages) AS m, sum(committed_messages) AS c, sum(processed_bytes) > 60 * 200 AS b, \
         uniqExact(partition) AS p, argMax(lag, timestamp) AS l, max(time_read) > 0 AND max(time_write) > 0 AS t \
         FROM tinybird.kafka_ops_log WHERE topic = 'orders' AND processed_messages > 0";
    until("it is kept", async || count(&site, kept).await["m"] == 60).await;
    assert_eq!(count(&site, kept).await, json!({"m": 60, "c": 60, "b": 1, "p": 2, "l": 0, "t": 1}));
    let said = "SELECT groupArray(msg) AS m FROM tinybird.kafka_ops_log WHERE topic = 'orders' AND msg != ''";
    let said = count(&site, said).await["m"].to_string();
    assert!(said.contains("paused") && said.contains("resumed"), "{said}");
    site.stop().await;
}
