//! Resources made and changed one by one, by fields: what becomes of them, and of the rows they hold.

use crate::{deploy::House, kafka::until};
use birdhouse::{
    app::{Altered, AppError, AppendMode, JobStatus, NewDatasource, NewNode, NewPipe, Populate},
    template::Params,
};
use std::collections::BTreeMap;

fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn events() -> NewDatasource {
    NewDatasource {
        name: "events".to_owned(),
        description: "What happened".to_owned(),
        schema: "`at` DateTime,`kind` String DEFAULT 'a,b',`size` UInt32".to_owned(),
        engine: fields(&[("engine", "MergeTree"), ("engine_sorting_key", "at")]),
        ..NewDatasource::default()
    }
}

fn node(name: &str, sql: &str, kind: &str, settings: &[(&str, &str)]) -> NewNode {
    NewNode {
        name: name.to_owned(),
        sql: sql.to_owned(),
        kind: kind.to_owned(),
        settings: fields(settings),
        ..NewNode::default()
    }
}

fn pipe(name: &str, nodes: Vec<NewNode>) -> NewPipe {
    NewPipe { name: name.to_owned(), nodes, ..NewPipe::default() }
}

async fn ended(house: &House, id: &str) -> birdhouse::app::Job {
    let workspace = house.workspace();
    until("the job has ended", async || workspace.job(id).is_some_and(|it| it.status.is_end())).await;
    workspace.job(id).unwrap()
}

const ROWS: &str = "2026-01-01 00:00:00,a,1\n2026-01-01 00:00:00,b,2\n2026-01-01 00:00:00,b,3\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_data_source_of_fields_is_a_file_like_any_other() {
    let house = House::new().await;
    let workspace = house.workspace();
    workspace.create_datasource(events()).await.unwrap();
    assert!(matches!(workspace.create_datasource(events()).await, Err(AppError::Exists { .. })));
    let file = |path: &str| workspace.project().sources.iter().find(|it| &*it.path == path).unwrap().text.to_string();
    insta::assert_snapshot!("classic_datasource", file("datasources/events.datasource"));

    // Nothing to do is an error with the words that clients look for.
    let nothing = workspace.alter_datasource("events", Altered::default(), true).await.unwrap_err();
    assert!(nothing.to_string().contains("There were no operations to perform"), "{nothing}");
    let schema = Some("`at` DateTime,`kind` String DEFAULT 'a,b',`who` String,`size` UInt32".to_owned());
    let wider = Altered { schema, ..Altered::default() };
    let operations = workspace.alter_datasource("events", wider.clone(), true).await.unwrap();
    assert_eq!(operations, ["+ column events.who String"]);
    assert!(!file("datasources/events.datasource").contains("who"), "a dry run changes nothing");
    workspace.alter_datasource("events", wider, false).await.unwrap();
    house.load("events", "2026-01-01 00:00:00,a,me,1\n", AppendMode::Append).await;
    assert_eq!(house.read("SELECT who FROM events").await.unwrap(), "\"me\"\n");
    workspace.truncate("events").await.unwrap();
    assert_eq!(house.read("SELECT count() FROM events").await.unwrap(), "0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_of_nodes_is_published_when_its_client_says_so() {
    let house = House::new().await;
    let workspace = house.workspace();
    workspace.create_datasource(events()).await.unwrap();
    let nodes = || {
        vec![
            node("some", "%\n    SELECT * FROM events WHERE size > {{Int32(least, 0)}}", "standard", &[]),
            node("total", "SELECT count() AS total\n    FROM some", "standard", &[]),
        ]
    };
    workspace.put_pipe(pipe("totals", nodes()), false).await.unwrap();
    assert!(!workspace.project().pipe("totals").unwrap().is_endpoint());
    workspace.publish("totals", "total").await.unwrap();
    assert!(workspace.project().pipe("totals").unwrap().is_endpoint());
    let text = workspace.project().sources.iter().find(|it| &*it.path == "pipes/totals.pipe").unwrap().text.to_string();
    insta::assert_snapshot!("classic_pipe", text);

    // Put in its own place it stays callable, and the text is the same.
    assert!(matches!(workspace.put_pipe(pipe("totals", nodes()), false).await, Err(AppError::Exists { .. })));
    workspace.put_pipe(pipe("totals", nodes()), true).await.unwrap();
    let again =
        workspace.project().sources.iter().find(|it| &*it.path == "pipes/totals.pipe").unwrap().text.to_string();
    assert_eq!(again, text);
    workspace.unpublish("totals").await.unwrap();
    assert!(!workspace.project().pipe("totals").unwrap().is_endpoint());
    workspace.drop_pipe("totals").await.unwrap();
    assert!(workspace.project().pipe("totals").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_filled_and_copies_made_as_jobs() {
    let house = House::new().await;
    let workspace = house.workspace();
    workspace.create_datasource(events()).await.unwrap();
    house.load("events", ROWS, AppendMode::Append).await;
    let settings = [("datasource", "per_kind")];
    let view = node("n", "SELECT kind, count() AS count FROM events GROUP BY kind", "materialized", &settings);
    let view = NewNode { engine: fields(&[("engine", "SummingMergeTree"), ("engine_sorting_key", "kind")]), ..view };
    let made = workspace.put_pipe(pipe("feed", vec![view]), false).await.unwrap();
    assert!(made.created_target);

    // Some rows, then all of them in their place.
    let some = Populate { condition: Some("size > 1".to_owned()), ..Populate::default() };
    let job = workspace.populate("feed", some).await.unwrap();
    assert_eq!(ended(&house, &job.id).await.status, JobStatus::Done);
    assert_eq!(house.read("SELECT kind, sum(count) FROM per_kind GROUP BY kind").await.unwrap(), "\"b\",2\n");
    let all = Populate { truncate: true, ..Populate::default() };
    let job = workspace.populate("feed", all).await.unwrap();
    assert_eq!(ended(&house, &job.id).await.error, None);
    assert_eq!(
        house.read("SELECT kind, sum(count) FROM per_kind GROUP BY kind ORDER BY kind").await.unwrap(),
        "\"a\",1\n\"b\",2\n"
    );
    let bad = Populate { condition: Some("(SELECT 1".to_owned()), ..Populate::default() };
    assert!(workspace.populate("feed", bad).await.is_err());

    let settings = [("target_datasource", "copied"), ("mode", "replace"), ("copy_schedule", "@on-demand")];
    let copy = node("c", "SELECT kind, size FROM events", "copy", &settings);
    workspace.put_pipe(pipe("copies", vec![copy]), false).await.unwrap();
    for _ in 0..2 {
        let job = workspace.copy("copies", Params::new(), None).await.unwrap();
        assert_eq!(ended(&house, &job.id).await.error, None);
    }
    assert_eq!(house.read("SELECT count() FROM copied").await.unwrap(), "3\n", "each copy replaces the one before");
    let job = workspace.copy("copies", Params::new(), Some(false)).await.unwrap();
    assert_eq!(ended(&house, &job.id).await.error, None);
    assert_eq!(house.read("SELECT count() FROM copied").await.unwrap(), "6\n");

    assert_eq!(workspace.count_rows("copied", "kind = 'b'").await.unwrap(), 4);
    let job = workspace.delete_rows("copied", "kind = 'b'").await.unwrap();
    assert_eq!(ended(&house, &job.id).await.rows, Some(4));
    assert_eq!(house.read("SELECT kind FROM copied").await.unwrap(), "\"a\"\n\"a\"\n");

    // Jobs are remembered, and a data source goes only where nobody needs it.
    let count = workspace.jobs().len();
    let refused = workspace.drop_datasource("copied", false).await;
    assert!(matches!(refused, Err(AppError::InUse { .. })));
    let gone = workspace.drop_datasource("copied", true).await.unwrap();
    assert_eq!(gone.pipes.iter().map(|it| it.as_str()).collect::<Vec<_>>(), ["copies"]);
    assert!(house.read("SELECT count() FROM copied").await.is_err());
    let house = house.restart().await;
    assert_eq!(house.workspace().jobs().len(), count);
    assert!(house.workspace().project().datasource("copied").is_none());
    assert!(!house.tables().await.contains("copied"));
}
