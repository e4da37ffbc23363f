//! `birdhouse datasource connect|pause|resume`, on a real topic.

use crate::{
    cli::Folder,
    events::{ADMIN, ask, eventually},
    kafka::Broker,
};
use serde_json::json;
use std::fs;

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_connected_paused_and_resumed_by_the_command_line() {
    let broker = Broker::start().await;
    broker.topic("birds", 1).await;
    let bird = |id: u64| format!("{{\"id\":{id},\"name\":\"tit {id}\",\"at\":\"2026-01-02T10:00:00Z\"}}");
    broker.send("birds", 1, (0..10).map(bird));
    let folder = Folder::new();
    let mut command = folder.command(&["serve", "--port", "0"]);
    command.env("BIRDHOUSE_ADMIN_TOKEN", ADMIN).env("BIRDHOUSE_KAFKA_BATCH_SECONDS", "0.05");
    let server = crate::cli::Server::start(command);
    let run = |arguments: &[&str]| {
        let output = tokio::task::block_in_place(|| folder.command(arguments).output().unwrap());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    let ok = |arguments: &[&str]| {
        let (code, said) = run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        said
    };
    ok(&["auth", "--host", &server.host(), "--token", ADMIN]);
    let address = broker.address();
    let connection = ["--connection-name", "broker", "--bootstrap-servers", &address];
    ok(&[&["connection", "create", "kafka"][..], &connection, &["--security-protocol", "PLAINTEXT"]].concat());
    let connect = ["datasource", "connect", "broker", "birds"];
    let (code, said) = run(&connect);
    assert!(code == 1 && said.contains("--topic names one of: birds"), "{said}");
    let (code, said) = run(&[&connect[..], &["--topic", "fish"]].concat());
    assert!(code == 1 && said.contains("fish"), "{said}");
    let with_topic = [&connect[..], &["--topic", "birds"]].concat();
    let printed = ok(&[&with_topic[..], &["--print"]].concat());
    assert!(printed.contains("`id` Int64 `json:$.id`") && printed.contains("KAFKA_TOPIC birds"), "{printed}");
    let file = folder.path().join("datasources/birds.datasource");
    assert!(!file.exists());
    assert!(ok(&with_topic).contains("wrote datasources/birds.datasource"));
    assert_eq!(fs::read_to_string(&file).unwrap(), printed);
    let (code, said) = run(&with_topic);
    assert!(code == 1 && said.contains("--force"), "{said}");
    ok(&[&with_topic[..], &["--force", "--group", "mine"]].concat());
    assert!(fs::read_to_string(&file).unwrap().contains("KAFKA_GROUP_ID mine"));
    ok(&["push"]);
    let counts = || ask(&server, "SELECT count() AS n, uniqExact(id) AS u FROM birds");
    eventually("the first", &json!([{"n": 10, "u": 10}]), counts);
    assert!(ok(&["datasource", "pause", "birds"]).contains("nothing is read"));
    broker.send("birds", 1, (10..20).map(bird));
    // A push starts what may run.
    ok(&["push"]);
    assert_eq!(counts(), json!([{"n": 10, "u": 10}]));
    assert!(ok(&["datasource", "resume", "birds"]).contains("reads on"));
    eventually("the rest", &json!([{"n": 20, "u": 20}]), counts);
    for arguments in [["datasource", "pause", "absent"], ["datasource", "resume", "no name"]] {
        let (code, said) = run(&arguments);
        assert!(code == 1 && !said.is_empty(), "{arguments:?}: {said}");
    }
}
