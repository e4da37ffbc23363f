use super::*;
use crate::auth::{Limits, Scope, ScopeKind};
use std::{fs, os::unix::fs::PermissionsExt};

const WORKSPACE: &str = "w1";

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn token(id: &str, name: &str, value: &str) -> StoredToken {
    let scope = Scope {
        kind: ScopeKind::DatasourcesRead,
        resource: Some("events".to_owned()),
        filter: Some("company_id = 1".to_owned()),
    };
    let token = Token {
        id: id.to_owned(),
        name: name.to_owned(),
        description: "of the test".to_owned(),
        origin: "C".to_owned(),
        scopes: vec![scope],
        limits: Limits { max_rows_to_read: Some(7), ..Limits::default() },
    };
    let time = "2026-01-31 12:00:00.000000".to_owned();
    StoredToken { token, value: Secret::new(value), created_at: time.clone(), updated_at: time }
}

fn connection() -> KafkaConnection {
    KafkaConnection {
        id: "c1".to_owned(),
        name: "demo".to_owned(),
        bootstrap_servers: "127.0.0.1:9092".to_owned(),
        security_protocol: "SASL_SSL".to_owned(),
        sasl_mechanism: "PLAIN".to_owned(),
        key: Some("user".to_owned()),
        secret: Some(Secret::new("hunter2-secret")),
        ssl_ca_pem: None,
        schema_registry_url: None,
        oauth_token_url: Some("https://a.example/token".to_owned()),
        oauth_scope: Some("kafka".to_owned()),
        created_at: "2026-01-31 12:00:00.000000".to_owned(),
    }
}

fn position(partition: i32, next_offset: i64) -> KafkaPosition {
    KafkaPosition {
        datasource: "events".to_owned(),
        topic: "t".to_owned(),
        partition,
        next_offset,
        ingest_epoch: 3,
        intent: Some(vec![0, 255]),
        last: Some(7),
    }
}

#[test]
fn everything_is_there_after_a_reopen() {
    let directory = directory();
    let workspace = WorkspaceRecord {
        id: WORKSPACE.into(),
        name: "Home".into(),
        main: None,
        created_at: None,
        leaves: false,
        database: "w00_x".into(),
    };
    let sources = vec![Source::new("a.pipe", "A"), Source::new("b.pipe", "B")];
    let (first, second) = (token("t1", "one", "p.ey1.x"), token("t2", "two", "p.ey2.x"));
    {
        let directory = DataDirectory::open(directory.path()).unwrap();
        let store = directory.store().unwrap();
        store.add_workspace(&workspace).unwrap();
        store.begin_deploy(WORKSPACE, &sources).unwrap();
        store.finish_deploy(WORKSPACE, &sources, &[first.clone(), second.clone()]).unwrap();
        store.put_kafka_connection(WORKSPACE, &connection()).unwrap();
        store.save_kafka_positions(WORKSPACE, &[position(1, 10), position(0, i64::MAX)]).unwrap();
    }
    let directory = DataDirectory::open(directory.path()).unwrap();
    let store = directory.store().unwrap();
    assert_eq!(store.workspaces().unwrap(), [workspace]);
    assert_eq!(store.sources(WORKSPACE).unwrap(), sources);
    assert_eq!(store.pending_sources(WORKSPACE).unwrap(), None);
    assert_eq!(store.tokens(WORKSPACE).unwrap(), [first, second]);
    assert_eq!(store.kafka_connections(WORKSPACE).unwrap(), [connection()]);
    assert_eq!(store.kafka_positions(WORKSPACE, "events", "t").unwrap(), [position(0, i64::MAX), position(1, 10)]);
    assert_eq!(store.kafka_positions("other", "events", "t").unwrap(), []);
    let done = KafkaPosition { topic: "u".to_owned(), intent: None, ..position(0, 10) };
    let begun = KafkaPosition { topic: "v".to_owned(), ..position(2, 10) };
    store.save_kafka_positions(WORKSPACE, &[done, begun.clone()]).unwrap();
    let wanted = [position(0, i64::MAX), position(1, 10), begun];
    assert_eq!(store.kafka_intents(WORKSPACE, "events").unwrap(), wanted);
    assert_eq!(store.kafka_intents(WORKSPACE, "other").unwrap(), []);
}

#[test]
fn an_unfinished_deploy_is_remembered_beside_the_deployed_files() {
    let directory = directory();
    let store = DataDirectory::open(directory.path()).unwrap().store().unwrap();
    let deployed = vec![Source::new("a.pipe", "old")];
    store.finish_deploy(WORKSPACE, &deployed, &[]).unwrap();
    let wanted = vec![Source::new("a.pipe", "new"), Source::new("b.pipe", "B")];
    store.begin_deploy(WORKSPACE, &wanted).unwrap();
    assert_eq!(store.sources(WORKSPACE).unwrap(), deployed);
    assert_eq!(store.pending_sources(WORKSPACE).unwrap(), Some(wanted));
    store.abandon_deploy(WORKSPACE).unwrap();
    assert_eq!(store.pending_sources(WORKSPACE).unwrap(), None);
    store.begin_deploy(WORKSPACE, &[]).unwrap();
    assert_eq!(store.pending_sources(WORKSPACE).unwrap(), Some(vec![]), "an empty project is one too");
}

#[test]
fn a_deploy_that_cannot_be_saved_whole_is_not_saved_at_all() {
    let directory = directory();
    let store = DataDirectory::open(directory.path()).unwrap().store().unwrap();
    store.put_token(WORKSPACE, &token("t1", "one", "value")).unwrap();
    let clash = token("t2", "one", "another value");
    assert!(store.finish_deploy(WORKSPACE, &[Source::new("a.pipe", "A")], &[clash]).is_err());
    assert_eq!(store.sources(WORKSPACE).unwrap(), []);
}

#[test]
fn a_token_is_changed_in_place_and_deleted() {
    let directory = directory();
    let store = DataDirectory::open(directory.path()).unwrap().store().unwrap();
    store.put_token(WORKSPACE, &token("t1", "one", "value")).unwrap();
    store.put_token(WORKSPACE, &token("t2", "two", "value 2")).unwrap();
    let changed = StoredToken { value: Secret::new("refreshed"), ..token("t1", "one", "value") };
    store.put_token(WORKSPACE, &changed).unwrap();
    assert_eq!(store.tokens(WORKSPACE).unwrap(), [changed, token("t2", "two", "value 2")]);
    store.delete_token(WORKSPACE, "t1").unwrap();
    assert_eq!(store.tokens(WORKSPACE).unwrap(), [token("t2", "two", "value 2")]);
}

#[test]
fn the_files_hold_no_secret_in_clear() {
    let directory = directory();
    {
        let store = DataDirectory::open(directory.path()).unwrap().store().unwrap();
        store.put_token(WORKSPACE, &token("t1", "one", "p.eyTokenValue.sig")).unwrap();
        store.put_kafka_connection(WORKSPACE, &connection()).unwrap();
        assert_eq!(format!("{:?}", store.tokens(WORKSPACE).unwrap()).matches("p.ey").count(), 0);
    }
    let mut files = 0;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for secret in ["p.eyTokenValue.sig", "hunter2-secret"] {
            assert!(!bytes.windows(secret.len()).any(|it| it == secret.as_bytes()));
        }
        files += 1;
    }
    assert!(files >= 4);
}

#[test]
fn the_directory_is_for_its_owner_alone() {
    let parent = directory();
    let path = parent.path().join("deep/data");
    let directory = DataDirectory::open(&path).unwrap();
    let _store = directory.store().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("key")), 0o600);
    assert_eq!(mode(&path.join("store.sqlite")), 0o600);
}

#[test]
fn a_second_owner_is_told_the_first_ones_process() {
    let directory = directory();
    let first = DataDirectory::open(directory.path()).unwrap();
    let error = DataDirectory::open(directory.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the data directory {} is in use by process {}", directory.path().display(), std::process::id())
    );
    drop(first);
    DataDirectory::open(directory.path()).unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let directory = directory();
    fs::write(directory.path().join("format"), "7\n").unwrap();
    let error = DataDirectory::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { .. }), "{error}");
    assert!(
        error.to_string().ends_with("has format 7, and this birdhouse knows formats up to 1: use a newer birdhouse")
    );
    fs::write(directory.path().join("format"), "seven\n").unwrap();
    assert!(matches!(DataDirectory::open(directory.path()), Err(StoreError::Damaged(_))));
}

#[test]
fn another_key_is_refused_and_a_lost_one_not_replaced() {
    let (ours, other) = (directory(), directory());
    DataDirectory::open(ours.path()).unwrap().store().unwrap();
    DataDirectory::open(other.path()).unwrap().store().unwrap();
    let key = ours.path().join("key");
    fs::copy(other.path().join("key"), &key).unwrap();
    let error = DataDirectory::open(ours.path()).unwrap().store().unwrap_err();
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
    fs::remove_file(&key).unwrap();
    let error = DataDirectory::open(ours.path()).unwrap_err();
    assert!(matches!(error, StoreError::MissingKey { .. }), "{error}");
    assert!(!key.exists());
}

#[test]
fn a_sealed_text_opens_for_its_purpose_only() {
    let key = Key::random();
    let sealed = key.seal("token a", "value");
    assert_eq!(key.open("token a", &sealed).as_deref(), Some("value"));
    assert_eq!(key.open("token b", &sealed), None);
    assert_eq!(Key::random().open("token a", &sealed), None);
    assert_eq!(key.open("token a", &sealed[..10]), None);
    let same = Key::parse(&key.print()).unwrap();
    assert_eq!(same.lookup().hash("value"), key.lookup().hash("value"));
    assert_ne!(Key::random().lookup().hash("value"), key.lookup().hash("value"));
}
