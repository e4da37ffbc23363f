//! Deploys with the real engine: a whole project or nothing, and what is left after a restart.

use crate::{
    engine::engine,
    kafka::{Broker, until},
};
use birdhouse::{
    app::{
        ADMIN_TOKEN, App, AppError, AppendMode, DeployOptions, DeployReport, FileFormat, NewConnection, NewToken,
        Settings, Workspace,
    },
    auth::Scope,
    datafile::Context,
    diagnostic::{Source, Sources, Style, render},
    name::ResourceName,
    observe::Sink,
    query::{Format, Request},
    sql::Sql,
    store::{DataDirectory, Secret},
};
use bytes::Bytes;
use std::{fs, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

/// An app of one test, over the engine that all share.
pub(crate) struct House {
    directory: TempDir,
    app: App,
}

impl House {
    pub(crate) async fn new() -> House {
        let directory = tempfile::tempdir().unwrap();
        let app = start(directory.path()).await;
        House { directory, app }
    }

    /// The same data directory after the process went away and came back.
    pub(crate) async fn restart(self) -> House {
        self.app.leave().await;
        drop(self.app);
        let app = start(self.directory.path()).await;
        House { directory: self.directory, app }
    }

    pub(crate) fn workspace(&self) -> &Arc<Workspace> {
        self.app.workspace()
    }

    async fn deploy(&self, files: &[Source]) -> DeployReport {
        self.workspace().deploy(files.to_vec(), DeployOptions::default()).await.unwrap()
    }

    /// Deploys what must be right.
    async fn deployed(&self, files: &[Source]) -> DeployReport {
        let report = self.deploy(files).await;
        assert_eq!(problems(&report), "");
        report
    }

    pub(crate) async fn load(&self, datasource: &str, csv: &str, mode: AppendMode) -> u64 {
        let (name, body) = (ResourceName::new(datasource).unwrap(), Bytes::from(csv.to_owned()));
        self.workspace().append(&name, FileFormat::Csv, body, mode).await.unwrap().rows
    }

    pub(crate) async fn read(&self, sql: &str) -> Result<String, AppError> {
        let caller = self.app.authenticate(self.workspace().admin_token().reveal()).unwrap();
        let request = Request { format: Format::Csv, ..Request::sql(sql) };
        let (mut rows, _) = caller.workspace.query(&caller.access, &request, None).await?;
        let mut text = Vec::new();
        while let Some(chunk) = rows.next().await {
            text.extend_from_slice(&chunk?);
        }
        Ok(String::from_utf8(text).unwrap())
    }

    /// What the engine has of this workspace's project, tables and their columns.
    pub(crate) async fn tables(&self) -> String {
        let mut sql =
            Sql::new("SELECT table, groupArray((name, type)) AS columns FROM system.columns WHERE database = ");
        sql.string(self.workspace().namespace().database())
            .push(" AND table NOT LIKE '%tinybird.%' GROUP BY table ORDER BY table");
        let mut views = Sql::new("SELECT name, as_select FROM system.tables WHERE as_select != '' AND database = ");
        views.string(self.workspace().namespace().database()).push(" AND name NOT LIKE '%tinybird.%' ORDER BY name");
        let engine = engine().await;
        let text = |it: Bytes| String::from_utf8(it.to_vec()).unwrap();
        text(engine.command(&sql).await.unwrap()) + &text(engine.command(&views).await.unwrap())
    }
}

async fn settings(directory: &Path) -> Settings {
    Settings {
        data_directory: directory.to_owned(),
        engine: engine().await.settings().clone(),
        admin_token: None,
        hold_at_most: Duration::from_secs(60),
        limits: Default::default(),
        workspace_limits: Default::default(),
        kafka: birdhouse::ingest::kafka::Tuning::default(),
        events: birdhouse::ingest::events::Tuning::default(),
        fetch: birdhouse::app::FetchRules { private: false, max_bytes: 1 << 30 },
        context: Context::default(),
    }
}

async fn start(directory: &Path) -> App {
    start_with(settings(directory).await).await
}

async fn start_with(settings: Settings) -> App {
    let engine = engine().await;
    let directory = DataDirectory::open(&settings.data_directory).unwrap();
    App::start(settings, directory, engine.clone(), Sink::default()).await.unwrap()
}

fn problems(report: &DeployReport) -> String {
    report.diagnostics.iter().map(|it| render(it, &Sources::of(&report.sources), Style::Plain) + "\n").collect()
}

fn file(path: &str, text: &str) -> Source {
    Source::new(path, text)
}

const EVENTS: &str = "SCHEMA >\n    `at` DateTime,\n    `kind` String,\n    `size` UInt32\n\nENGINE \"MergeTree\"\n\
    ENGINE_SORTING_KEY \"at\"\n";
const SIZES: &str =
    "SCHEMA >\n    `kind` String,\n    `size` UInt64\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"kind\"\n";
const FEED: &str = "NODE n\nSQL >\n    SELECT kind, size FROM events\n\nTYPE materialized\nDATASOURCE sizes\n";
const TOTAL: &str = "TOKEN app READ\n\nNODE n\nSQL >\n    SELECT sum(size) AS total FROM sizes\n\nTYPE endpoint\n";

fn project() -> Vec<Source> {
    vec![
        file("datasources/events.datasource", EVENTS),
        file("datasources/sizes.datasource", SIZES),
        file("endpoints/total.pipe", TOTAL),
        file("pipes/feed.pipe", FEED),
    ]
}

fn with(path: &str, text: &str) -> Vec<Source> {
    let mut files = project();
    files.retain(|it| &*it.path != path);
    files.push(file(path, text));
    files
}

/// This repository's own project.
pub(crate) fn audit_log() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["datasources", "pipes", "endpoints"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                files.push(Source::new(name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}

fn demo_connection() -> NewConnection {
    NewConnection {
        name: "demo_audit_log_connection".to_owned(),
        // Nobody listens there: the consumer waits.
        bootstrap_servers: "127.0.0.1:9".to_owned(),
        security_protocol: "PLAINTEXT".to_owned(),
        sasl_mechanism: "PLAIN".to_owned(),
        key: None,
        secret: None,
        ssl_ca_pem: None,
        schema_registry_url: None,
        oauth_token_url: None,
        oauth_scope: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn this_repositorys_project_is_deployed_once() {
    let house = House::new().await;
    let report = house.deploy(&audit_log()).await;
    let words = problems(&report);
    assert!(words.contains("there is no Kafka connection `demo_audit_log_connection`"), "{words}");
    assert!(words.contains("birdhouse connection create kafka --connection-name demo_audit_log_connection"), "{words}");
    assert!(!report.changed);
    assert_eq!(house.tables().await, "");

    house.workspace().create_connection(demo_connection()).await.unwrap();
    let report = house.deployed(&audit_log()).await;
    assert!(report.changed);
    insta::assert_snapshot!("audit_log_plan", report.plan.to_string());
    let token = house.workspace().token("ui_token").unwrap();
    assert_eq!(token.token.scopes.len(), 4, "one for each endpoint with a TOKEN line");

    let before = house.tables().await;
    let again = house.deployed(&audit_log()).await;
    assert!(again.plan.is_empty() && !again.changed);
    assert_eq!(house.tables().await, before);
    assert!(house.workspace().delete_connection("demo_audit_log_connection").await.is_err(), "it is used");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_flow_through_views_and_survive_changes() {
    let house = House::new().await;
    house.deployed(&project()).await;
    assert_eq!(house.load("events", "2026-01-01 00:00:00,a,1\n2026-01-01 00:00:00,b,2\n", AppendMode::Append).await, 2);
    assert_eq!(house.read("SELECT * FROM total").await.unwrap(), "3\n");

    // A column more: stored rows stay, files have it in its place.
    let wider = EVENTS.replace("`kind` String", "`who` String DEFAULT 'nobody',\n    `kind` String");
    let report = house.deployed(&with("datasources/events.datasource", &wider)).await;
    assert_eq!(report.plan.to_string(), "+ column events.who String\n");
    house.load("events", "2026-01-02 00:00:00,me,c,4\n", AppendMode::Append).await;
    assert_eq!(
        house.read("SELECT who, kind FROM events ORDER BY kind").await.unwrap(),
        "\"nobody\",\"a\"\n\"nobody\",\"b\"\n\"me\",\"c\"\n"
    );

    // The view's query changes for rows that come.
    let mut files = with("datasources/events.datasource", &wider);
    files.retain(|it| &*it.path != "pipes/feed.pipe");
    files.push(file("pipes/feed.pipe", &FEED.replace("kind, size", "upper(kind) AS kind, size * 10 AS size")));
    let report = house.deployed(&files).await;
    assert!(report.plan.to_string().starts_with("~ materialization feed into sizes"), "{}", report.plan);
    house.load("events", "2026-01-03 00:00:00,me,d,1\n", AppendMode::Append).await;
    assert_eq!(
        house.read("SELECT kind, size FROM sizes ORDER BY size").await.unwrap(),
        "\"a\",1\n\"b\",2\n\"c\",4\n\"D\",10\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_lose_rows_is_refused_with_its_place() {
    let house = House::new().await;
    house.deployed(&project()).await;
    let before = house.tables().await;
    let narrower = EVENTS.replace("`size` UInt32", "`size` UInt8");
    let report = house.deploy(&with("datasources/events.datasource", &narrower)).await;
    insta::assert_snapshot!("refused_type", problems(&report));
    let lonely = [file("datasources/sizes.datasource", SIZES), file("endpoints/total.pipe", TOTAL)];
    let report = house.deploy(&lonely).await;
    let words = problems(&report);
    assert!(words.contains("data source events is not in the project any more"), "{words}");
    assert_eq!(house.tables().await, before);
    assert!(house.workspace().project().datasource("events").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_finds_wrong_has_its_place_in_the_file() {
    let house = House::new().await;
    for (name, path, text) in [
        ("unknown_column", "endpoints/total.pipe", TOTAL.replace("sum(size)", "sum(sise)")),
        ("unknown_function", "endpoints/total.pipe", TOTAL.replace("sum(size)", "summ(size)")),
        ("view_column_unknown", "pipes/feed.pipe", FEED.replace("kind, size", "kind AS kin, size")),
        ("view_column_type", "pipes/feed.pipe", FEED.replace("kind, size", "kind, at AS size")),
        ("bad_default", "datasources/events.datasource", EVENTS.replace("UInt32", "UInt32 DEFAULT nosuch(1)")),
        ("bad_sorting_key", "datasources/events.datasource", EVENTS.replace("\"at\"", "\"nowhere\"")),
    ] {
        let report = house.deploy(&with(path, &text)).await;
        insta::assert_snapshot!(name, problems(&report));
        assert!(!report.changed);
        assert_eq!(house.tables().await, "", "{name}");
    }
}

/// The engine runs a query that gives a constant already when it is asked what a node's columns are.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_ends_holds_no_push_for_good() {
    let house = House::new().await;
    let endless = "NODE endless\nSQL >\n    WITH (SELECT sum(sipHash64(number)) FROM numbers(1000000000000)) AS x \
                   SELECT x AS total\n\nTYPE endpoint\n";
    let report = house.deploy(&with("endpoints/total.pipe", endless)).await;
    assert!(problems(&report).contains("longer than 10s"), "{}", problems(&report));
    assert!(!report.changed);
    house.deployed(&project()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_changes_nothing_and_says_what_would_happen() {
    let house = House::new().await;
    let options = DeployOptions { check: true, ..DeployOptions::default() };
    let report = house.workspace().deploy(project(), options).await.unwrap();
    assert_eq!(problems(&report), "");
    assert!(!report.changed && !report.plan.is_empty());
    assert_eq!(house.tables().await, "");
    assert!(house.workspace().project().datasources.is_empty());
    assert!(house.workspace().token("app").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_leaves_the_workspace_as_it_was() {
    let house = House::new().await;
    house.deployed(&project()).await;
    let before = house.tables().await;
    // A column that nobody knows of is in the way of the last step but one.
    let mut clash = Sql::new("ALTER TABLE ");
    let sizes = ResourceName::new("sizes").unwrap();
    clash.table(&house.workspace().namespace().table(&sizes)).push(" ADD COLUMN `late` Int8");
    engine().await.command(&clash).await.unwrap();

    let mut files = with("datasources/events.datasource", &EVENTS.replace("`kind`", "`who` String,\n    `kind`"));
    files.retain(|it| &*it.path != "datasources/sizes.datasource");
    files.push(file("datasources/aa_early.datasource", SIZES));
    files.push(file("datasources/sizes.datasource", &SIZES.replace("`kind`", "`late` String,\n    `kind`")));
    let report = house.deploy(&files).await;
    let words = problems(&report);
    assert!(words.contains("datasources/sizes.datasource") && words.contains("already exists"), "{words}");
    assert!(!report.changed);
    assert_eq!(house.tables().await, before);
    assert!(house.workspace().project().datasource("aa_early").is_none());
    // And it can be tried again.
    house.deployed(&files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_project_leaves_the_rest_alone() {
    let house = House::new().await;
    house.deployed(&project()).await;
    let one = vec![file("endpoints/total.pipe", &TOTAL.replace("sum(size)", "count()"))];
    let options = DeployOptions { partial: true, ..DeployOptions::default() };
    let report = house.workspace().deploy(one, options).await.unwrap();
    assert_eq!(problems(&report), "");
    assert_eq!(report.plan.to_string(), "~ endpoint total\n");
    assert_eq!(house.workspace().project().sources.len(), 4);

    // Whole again, without the endpoint: it goes, and its token stays.
    let files: Vec<_> = project().into_iter().filter(|it| &*it.path != "endpoints/total.pipe").collect();
    let report = house.deployed(&files).await;
    assert_eq!(report.plan.to_string(), "- endpoint total\n");
    assert!(house.workspace().token("app").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_brings_everything_back() {
    let house = House::new().await;
    house.deployed(&project()).await;
    house.load("events", "2026-01-01 00:00:00,a,1\n", AppendMode::Append).await;
    house.workspace().create_connection(demo_connection()).await.unwrap();
    let admin = house.workspace().admin_token();
    let (tokens, sources) = (house.workspace().tokens(), house.workspace().project().sources.clone());

    let house = house.restart().await;
    assert_eq!(house.workspace().admin_token(), admin);
    assert_eq!(house.workspace().tokens(), tokens);
    assert_eq!(house.workspace().project().sources, sources);
    assert!(house.workspace().connection("demo_audit_log_connection").await.unwrap().is_some());
    assert_eq!(house.read("SELECT * FROM total").await.unwrap(), "1\n");
    assert!(house.deployed(&project()).await.plan.is_empty());
    house.load("events", "2026-01-01 00:00:00,b,2\n", AppendMode::Append).await;
    assert_eq!(house.read("SELECT * FROM total").await.unwrap(), "3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_a_crash_cut_off_is_taken_back() {
    let house = House::new().await;
    house.deployed(&project()).await;
    let before = house.tables().await;
    // What a process leaves that dies after its first statements.
    let wider = EVENTS.replace("`kind` String", "`who` String,\n    `kind` String");
    let mut files = with("datasources/events.datasource", &wider);
    files.push(file("datasources/more.datasource", SIZES));
    let id = house.workspace().id().to_owned();
    let mut add = Sql::new("ALTER TABLE ");
    let events = ResourceName::new("events").unwrap();
    add.table(&house.workspace().namespace().table(&events)).push(" ADD COLUMN who String AFTER `at`");
    engine().await.command(&add).await.unwrap();
    let mut create = Sql::new("CREATE TABLE ");
    let more = ResourceName::new("more").unwrap();
    create.table(&house.workspace().namespace().table(&more)).push(" (x Int8) ENGINE = Log");
    engine().await.command(&create).await.unwrap();
    house.app.leave().await;
    DataDirectory::open(house.directory.path()).unwrap().store().unwrap().begin_deploy(&id, &files).unwrap();

    let house = house.restart().await;
    assert_eq!(house.tables().await, before);
    house.deployed(&files).await;
}

/// A workspace whose files were deployed by another birdhouse: this one does not take that of `events`.
async fn with_a_file_that_breaks_a_rule() -> House {
    let house = House::new().await;
    house.deployed(&project()).await;
    house.load("events", "2026-01-01 00:00:00,a,1\n", AppendMode::Append).await;
    let id = house.workspace().id().to_owned();
    house.app.leave().await;
    let broken = with("datasources/events.datasource", &EVENTS.replace("ENGINE \"", "NO_SUCH_COMMAND \""));
    DataDirectory::open(house.directory.path()).unwrap().store().unwrap().finish_deploy(&id, &broken, &[]).unwrap();
    house.restart().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_file_breaks_a_new_rule_is_taken_up_again() {
    let house = with_a_file_that_breaks_a_rule().await;
    assert!(house.workspace().project().datasource("events").is_none());
    // The view reads what there is no file for, so it is missing too; its table is not.
    assert_eq!(house.read("SELECT * FROM total").await.unwrap(), "1\n");

    // A part of the project does not hide what is wrong with the rest.
    let options = DeployOptions { partial: true, ..DeployOptions::default() };
    let one = vec![file("endpoints/total.pipe", &TOTAL.replace("sum(size)", "count()"))];
    let report = house.workspace().deploy(one, options).await.unwrap();
    assert!(problems(&report).contains("datasources/events.datasource:"), "{}", problems(&report));

    // Other columns than those of the table: nothing is done.
    let other = EVENTS.replace("`size` UInt32", "`size` String,\n    `more` Int8");
    let report = house.deploy(&with("datasources/events.datasource", &other)).await;
    insta::assert_snapshot!("table_differs", problems(&report));
    assert!(!report.changed);

    // The file is mended, and the view's query is another one now.
    let mut files = project();
    files.retain(|it| &*it.path != "pipes/feed.pipe");
    files.push(file("pipes/feed.pipe", &FEED.replace("kind, size", "kind, size * 10 AS size")));
    house.deployed(&files).await;
    house.load("events", "2026-01-02 00:00:00,b,2\n", AppendMode::Append).await;
    assert_eq!(house.read("SELECT count() FROM events").await.unwrap(), "2\n", "its rows were kept");
    assert_eq!(house.read("SELECT * FROM total").await.unwrap(), "21\n");
    let house = house.restart().await;
    assert!(house.deployed(&files).await.plan.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_table_is_taken_up_again_loses_no_rows() {
    let house = with_a_file_that_breaks_a_rule().await;
    let id = house.workspace().id().to_owned();
    house.app.leave().await;
    let store = DataDirectory::open(house.directory.path()).unwrap().store().unwrap();
    store.begin_deploy(&id, &project()).unwrap();
    drop(store);
    let house = house.restart().await;
    house.deployed(&project()).await;
    assert_eq!(house.read("SELECT count() FROM events").await.unwrap(), "1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_table_shows_old_rows_or_new_ones() {
    let house = House::new().await;
    house.deployed(&project()).await;
    house.load("events", "2026-01-01 00:00:00,a,1\n2026-01-01 00:00:00,b,1\n", AppendMode::Append).await;
    house.load("events", "2026-01-02 00:00:00,c,5\n", AppendMode::Replace).await;
    assert_eq!(house.read("SELECT kind FROM events").await.unwrap(), "\"c\"\n");
    assert_eq!(house.read("SELECT * FROM total").await.unwrap(), "2\n", "views do not see a replace");
    house.load("events", "2026-01-03 00:00:00,d,10\n", AppendMode::Append).await;
    assert_eq!(house.read("SELECT * FROM total").await.unwrap(), "12\n", "they go on with what is appended");
    let statistics = house.workspace().statistics().await.unwrap();
    assert_eq!(statistics[&ResourceName::new("events").unwrap()].rows, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_count_from_their_making_to_their_end() {
    let house = House::new().await;
    let (app, workspace) = (&house.app, house.workspace());
    let scopes = |texts: &[&str]| texts.iter().map(|it| Scope::parse(it).unwrap()).collect::<Vec<_>>();
    let new = NewToken {
        name: "reader".to_owned(),
        scopes: scopes(&["DATASOURCES:READ:events:size=1", "DATASOURCES:READ:events:size=1"]),
        ..NewToken::default()
    };
    let token = workspace.create_token(new.clone()).await.unwrap();
    assert!(token.value.reveal().starts_with("p.ey"));
    assert_eq!(token.token.scopes.len(), 1);
    assert!(matches!(workspace.create_token(new).await, Err(AppError::Exists { .. })));
    assert_eq!(app.authenticate(token.value.reveal()).unwrap().access.token_name(), "reader");
    assert!(app.authenticate("reader").is_none() && app.authenticate(&token.token.id).is_none());

    // A filter is not lifted by leaving it out.
    let changed = workspace.change_token("reader", scopes(&["DATASOURCES:READ:events"]), None, None).await.unwrap();
    assert_eq!(changed.token.scopes, scopes(&["DATASOURCES:READ:events:size=1"]));

    let refreshed = workspace.refresh_token(&token.token.id).await.unwrap();
    assert!(app.authenticate(token.value.reveal()).is_none());
    assert!(app.authenticate(refreshed.value.reveal()).is_some());
    workspace.delete_token("reader").await.unwrap();
    assert!(app.authenticate(refreshed.value.reveal()).is_none());
    assert!(matches!(workspace.delete_token(ADMIN_TOKEN).await, Err(AppError::Invalid(_))));
    assert!(matches!(workspace.delete_token("reader").await, Err(AppError::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environments_admin_token_wins() {
    let house = House::new().await;
    let made = house.workspace().admin_token();
    house.app.leave().await;
    let wanted = Settings { admin_token: Some(Secret::new("mine")), ..settings(house.directory.path()).await };
    let app = start_with(wanted).await;
    assert!(app.authenticate("mine").unwrap().access.is_admin());
    assert!(app.authenticate(made.reveal()).is_none());
}

#[test]
fn a_second_server_on_a_data_directory_names_the_first_ones_process() {
    let directory = tempfile::tempdir().unwrap();
    let _first = DataDirectory::open(directory.path()).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_birdhouse"))
        .args(["serve", "--port", "0", "--data-dir"])
        .arg(directory.path())
        .current_dir(directory.path())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains(&format!("is in use by process {}", std::process::id())), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_finds_every_event_that_was_there_before_it() {
    const TOPIC: &str = "audit_log_demo";
    const EVENTS: u64 = 10_000;
    let broker = Broker::start().await;
    broker.topic(TOPIC, 4).await;
    broker.send(TOPIC, 4, (0..EVENTS).map(event));
    let house = House::new().await;
    let connection = NewConnection { bootstrap_servers: broker.address(), ..demo_connection() };
    house.workspace().create_connection(connection).await.unwrap();
    let options = DeployOptions { hold_consumers: true, ..DeployOptions::default() };
    let report = house.workspace().deploy(audit_log(), options).await.unwrap();
    assert_eq!(problems(&report), "");
    assert!(house.workspace().kafka_status().await.is_empty(), "consumers wait for the fixtures");

    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasources/fixtures/companies.csv");
    assert_eq!(house.load("companies", &fs::read_to_string(fixture).unwrap(), AppendMode::Replace).await, 5);
    house.workspace().release_consumers().await.unwrap();
    let counts = "SELECT count(), uniqExact(payload_entity_id), (SELECT sum(total_events) FROM events_per_min_mv), \
        (SELECT count() FROM kafka_audit_log) FROM enriched_events_mv";
    let all = |count: u64| format!("{count},{count},{count},{count}\n");
    until("every event is in every view", async || house.read(counts).await.unwrap() == all(EVENTS)).await;
    // The views agree with a recomputation from what arrived.
    let per_kind = house
        .read("SELECT company_id, event, sum(total_events) FROM events_per_min_mv GROUP BY ALL ORDER BY ALL")
        .await
        .unwrap();
    let recomputed =
        house.read("SELECT company_id, event, count() FROM kafka_audit_log GROUP BY ALL ORDER BY ALL").await.unwrap();
    assert_eq!(per_kind, recomputed);

    // After a restart it goes on where it was.
    let house = house.restart().await;
    broker.send(TOPIC, 4, (EVENTS..EVENTS + 100).map(event));
    until("the rest is in as well", async || house.read(counts).await.unwrap() == all(EVENTS + 100)).await;
    house.app.leave().await;
}

/// An event as the data generator makes them.
fn event(id: u64) -> String {
    let (company, minute) = (id % 5 + 1, id / 1000 % 60);
    format!(
        r#"{{"datetime": "2026-01-31T12:{minute:02}:00.123456", "company_id": {company}, "event": "file_created",
        "payload": {{"entity_id": "{id:032x}", "author": "a@b.example"}}, "device": {{"browser": "Brave", "OS": "Linux"}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_never_comes_back_holds_no_consumer_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let hold_at_most = Duration::from_millis(1500);
    let app = start_with(Settings { hold_at_most, ..settings(directory.path()).await }).await;
    let workspace = app.workspace();
    workspace.create_connection(demo_connection()).await.unwrap();
    let options = DeployOptions { hold_consumers: true, ..DeployOptions::default() };
    let begun = std::time::Instant::now();
    assert!(workspace.deploy(audit_log(), options).await.unwrap().changed);
    // A push that took as long as that is one that does not come back.
    assert!(workspace.kafka_status().await.is_empty() || begun.elapsed() > hold_at_most);
    until("the consumer runs", async || !workspace.kafka_status().await.is_empty()).await;
    app.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_wait_for_fixtures_over_a_restart() {
    let house = House::new().await;
    house.workspace().create_connection(demo_connection()).await.unwrap();
    let options = DeployOptions { hold_consumers: true, ..DeployOptions::default() };
    assert!(house.workspace().deploy(audit_log(), options).await.unwrap().changed);

    // The process ends before the fixtures are in: the next one waits for them as well.
    let house = house.restart().await;
    assert!(house.workspace().kafka_status().await.is_empty());
    house.load("companies", "1,a,1,free\n", AppendMode::Replace).await;
    house.workspace().release_consumers().await.unwrap();
    assert_eq!(house.workspace().kafka_status().await.len(), 1);

    // What was released stays released.
    let house = house.restart().await;
    assert_eq!(house.workspace().kafka_status().await.len(), 1);

    // And a client that never comes back does not stop ingestion for good, whatever was restarted meanwhile.
    let options = DeployOptions { hold_consumers: true, ..DeployOptions::default() };
    house.workspace().deploy(audit_log(), options).await.unwrap();
    house.app.leave().await;
    let hold_at_most = Duration::from_millis(1500);
    let begun = std::time::Instant::now();
    let app = start_with(Settings { hold_at_most, ..settings(house.directory.path()).await }).await;
    assert!(app.workspace().kafka_status().await.is_empty() || begun.elapsed() > hold_at_most);
    until("the consumer runs", async || !app.workspace().kafka_status().await.is_empty()).await;
    app.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_answer_delays_neither_stop_nor_start() {
    let house = House::new().await;
    // A place that takes connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bootstrap_servers = silent.local_addr().unwrap().to_string();
    house.workspace().create_connection(NewConnection { bootstrap_servers, ..demo_connection() }).await.unwrap();
    house.deployed(&audit_log()).await;
    assert_eq!(house.workspace().kafka_status().await.len(), 1);

    // Whoever waits for the broker does so each time; a busy machine is not slow each time.
    let House { directory, mut app } = house;
    let (mut stopped, mut started) = (Vec::new(), Vec::new());
    let quick = |times: &[Duration]| times.iter().any(|it| *it < Duration::from_secs(1));
    while stopped.len() < 10 && !(quick(&stopped) && quick(&started)) {
        let begun = std::time::Instant::now();
        app.leave().await;
        stopped.push(begun.elapsed());
        drop(app);
        let begun = std::time::Instant::now();
        app = start(directory.path()).await;
        started.push(begun.elapsed());
        assert_eq!(app.workspace().kafka_status().await.len(), 1);
    }
    assert!(quick(&stopped), "{stopped:?}");
    assert!(quick(&started), "{started:?}");
    app.leave().await;
}
