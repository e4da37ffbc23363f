//! What was begun of a topic comes to its end, in the table, the quarantine and the views: after a kill, and also where
//! a push has given the data source other columns, another topic or another connection meanwhile.

use super::{Broker, event};
use crate::{
    cli::{Folder, Server},
    events::{ADMIN, EVENTS, House, TO_KINDS, ask, eventually, push},
};
use serde_json::json;

const KINDS: &str =
    "SCHEMA >\n    `kind` String,\n    `n` UInt64\n\nENGINE \"SummingMergeTree\"\nENGINE_SORTING_KEY \"kind\"\n";

/// The second is no row by `$.kind`, the first none by `$.sort`, and the third is another one.
const ROWS: [&str; 3] =
    ["{\"id\":1,\"kind\":\"a\"}", "{\"id\":2,\"sort\":\"b\"}", "{\"id\":3,\"kind\":\"a\",\"sort\":\"c\"}"];

const ALL: &str = "SELECT (SELECT groupArray((id, kind)) FROM (SELECT * FROM events ORDER BY id, kind)) AS good, \
                   (SELECT groupArray(c__raw) FROM (SELECT * FROM events_quarantine ORDER BY c__raw)) AS bad, \
                   (SELECT sum(n) FROM kinds) AS view";

fn throwing() -> String {
    TO_KINDS.replace("FROM events", "FROM events WHERE NOT throwIf(id < 10)")
}

fn kafka(connection: &str, topic: &str) -> String {
    format!(
        "{EVENTS}\nKAFKA_CONNECTION_NAME {connection}\nKAFKA_TOPIC {topic}\nKAFKA_GROUP_ID g\n\
         KAFKA_AUTO_OFFSET_RESET earliest\n"
    )
}

impl House {
    fn own(&self, server: &Server) {
        self.folder.ok(&["auth", "--host", &server.host(), "--token", ADMIN]);
    }

    fn connect(&self, name: &str, broker: &Broker) {
        let address = broker.address();
        let connection = ["--connection-name", name, "--bootstrap-servers", &address];
        let connection = [&["connection", "create", "kafka"][..], &connection, &["--security-protocol", "PLAINTEXT"]];
        self.folder.ok(&connection.concat());
    }

    /// A server on which the topic's rows are in the table and not in its view.
    async fn half_in(broker: &Broker, topic: &str, failpoint: &str) -> (House, Server) {
        broker.topic(topic, 1).await;
        broker.send(topic, 1, ROWS.map(str::to_owned));
        let house = House { folder: Folder::new() };
        house.folder.file("datasources/kinds.datasource", KINDS);
        house.folder.file("datasources/events.datasource", &kafka("broker", topic));
        house.folder.file("pipes/to_kinds.pipe", &throwing());
        let server = house.serve(failpoint);
        tokio::task::block_in_place(|| {
            house.own(&server);
            house.connect("broker", broker);
        });
        push(&house);
        let counts = "SELECT (SELECT count() > 0 FROM events) AS table, (SELECT count() FROM kinds) AS view";
        eventually(topic, &json!([{"table": 1, "view": 0}]), || ask(&server, counts));
        house.folder.file("pipes/to_kinds.pipe", TO_KINDS);
        (house, server)
    }

    /// Pushes to a server that dies of it, and gives the next one.
    fn push_and_die(&self, mut server: Server) -> Server {
        // It does not always answer.
        tokio::task::block_in_place(|| {
            self.folder.command(&["push"]).output().unwrap();
            server.child.wait().unwrap();
        });
        let server = self.serve("");
        tokio::task::block_in_place(|| self.own(&server));
        server
    }
}

/// The server dies between the two inserts of a batch, or between them and the note that they are done, after a push
/// that changed what is read of a message.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_a_topic_that_is_half_in_is_finished_as_it_was_begun_after_a_kill() {
    let broker = Broker::start().await;
    for failpoint in ["after-unit", "after-insert", "after-quarantine"] {
        let (house, server) = House::half_in(&broker, failpoint, failpoint).await;
        house.folder.file("datasources/events.datasource", &kafka("broker", failpoint).replace("$.kind", "$.sort"));
        let server = house.push_and_die(server);
        let wanted = json!([{"good": [[1, "a"], [3, "a"]], "bad": [ROWS[1]], "view": 2}]);
        eventually(failpoint, &wanted, || ask(&server, ALL));
        broker.send(failpoint, 1, ROWS.map(str::to_owned));
        let wanted = json!([{"good": [[1, "a"], [2, "b"], [3, "a"], [3, "c"]], "bad": [ROWS[0], ROWS[1]], "view": 4}]);
        eventually(failpoint, &wanted, || ask(&server, ALL));
    }
}

/// A push gives the data source another topic while a batch of the old one is half in: that is finished first, also
/// where the server dies of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_in_of_a_topic_is_finished_before_another_is_read() {
    let broker = Broker::start().await;
    for (old, new, failpoint) in [("a", "b", ""), ("c", "d", "after-unit")] {
        let (house, server) = House::half_in(&broker, old, failpoint).await;
        broker.topic(new, 1).await;
        broker.send(new, 1, (10..20).map(|id| format!("{{\"id\":{id},\"kind\":\"new\"}}")));
        house.folder.file("datasources/events.datasource", &kafka("broker", new));
        let server = if failpoint.is_empty() {
            push(&house);
            server
        } else {
            house.push_and_die(server)
        };
        let counts = "SELECT (SELECT count() FROM events WHERE id < 10) AS old, (SELECT count() FROM events WHERE id >= \
                      10) AS new, (SELECT count() FROM events_quarantine) AS bad, (SELECT sum(n) FROM kinds) AS view";
        let wanted = json!([{"old": 2, "new": 10, "bad": 1, "view": 12}]);
        eventually(new, &wanted, || ask(&server, counts));
        // What comes to the old one is nobody's any more, until it is set again: then it is read on.
        broker.send(old, 1, ["{\"id\":4,\"kind\":\"later\"}".to_owned()]);
        broker.send(new, 1, ["{\"id\":20,\"kind\":\"new\"}".to_owned()]);
        eventually(new, &json!([{"old": 2, "new": 11, "bad": 1, "view": 13}]), || ask(&server, counts));
        house.folder.file("datasources/events.datasource", &kafka("broker", old));
        push(&house);
        eventually(old, &json!([{"old": 3, "new": 11, "bad": 1, "view": 14}]), || ask(&server, counts));
    }
}

/// The same where the old topic is gone: what is in stays in, nobody waits, and it is said.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_in_of_a_topic_that_is_gone_is_said_and_in_nobodys_way() {
    let broker = Broker::start().await;
    let (house, server) = House::half_in(&broker, "old", "").await;
    broker.delete_topic("old").await;
    broker.topic("new", 1).await;
    broker.send("new", 1, (10..20).map(event));
    house.folder.file("datasources/events.datasource", &kafka("broker", "new").replace("$.kind", "$.text"));
    push(&house);
    let counts = "SELECT (SELECT count() FROM events WHERE id < 10) AS old, (SELECT count() FROM events WHERE id >= 10) \
                  AS new, (SELECT sum(n) FROM kinds) AS view";
    eventually("the new one", &json!([{"old": 2, "new": 10, "view": 10}]), || ask(&server, counts));
    let said = "SELECT partition, msg_type, msg FROM tinybird.kafka_ops_log WHERE topic = 'old' AND msg LIKE '%gone%'";
    let message = "the topic is gone; whether its offsets 0 to 3 are in is not known";
    eventually("it is said", &json!([{"partition": 0, "msg_type": "error", "msg": message}]), || ask(&server, said));
    // Another topic of that name is read from its begin, however long it is.
    broker.topic("old", 1).await;
    broker.send("old", 1, (30..40).map(event));
    house.folder.file("datasources/events.datasource", &kafka("broker", "old").replace("$.kind", "$.text"));
    push(&house);
    eventually("another old one", &json!([{"old": 2, "new": 20, "view": 20}]), || ask(&server, counts));
}

/// Another broker has a topic of the same name: what was begun is finished from the one where it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_in_is_finished_by_the_connection_that_it_was_begun_by() {
    let (broker, other) = (Broker::start().await, Broker::start().await);
    let (house, server) = House::half_in(&broker, "t", "").await;
    other.topic("t", 1).await;
    other.send("t", 1, (10..20).map(|id| format!("{{\"id\":{id},\"kind\":\"new\"}}")));
    tokio::task::block_in_place(|| house.connect("other", &other));
    house.folder.file("datasources/events.datasource", &kafka("other", "t"));
    push(&house);
    let counts = "SELECT count() AS n, uniqExact(id) AS u, (SELECT count() FROM events_quarantine) AS bad, (SELECT sum(n) \
                  FROM kinds) AS view FROM events";
    eventually("both", &json!([{"n": 12, "u": 12, "bad": 1, "view": 12}]), || ask(&server, counts));
}
