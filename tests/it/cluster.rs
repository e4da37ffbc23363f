//! Statements for a cluster. None runs here: golden files hold them, and the engine's own parser reads every one.

use super::{cli::Folder, engine::engine};
use birdhouse::{
    datafile::Context,
    ddl::{self, Cluster, Fill, Shard},
    diagnostic::Source,
    engine::Verdict,
    name::Namespace,
    plan,
    project::{self, Project},
    query,
    sql::Sql,
};
use std::{collections::BTreeSet, fmt::Write, num::NonZero, path::Path};

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_on_replicas_of_one_shard() {
    check("audit_log_1_shard", &Project::default(), &audit_log(), 1, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_on_three_shards() {
    check("audit_log_3_shards", &Project::default(), &audit_log(), 3, &[]).await;
}

/// A column comes, a view changes its query, another is new over rows that are there, a data source goes.
#[tokio::test(flavor = "multi_thread")]
async fn changes_on_three_shards() {
    let choices: [(&str, &[&str]); 2] = [("events", &["company_id"]), ("last", &["note"])];
    check("changes_3_shards", &resolve(deployed()), &resolve(wanted()), 3, &choices).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_on_replicas_of_one_shard() {
    check("changes_1_shard", &resolve(deployed()), &resolve(wanted()), 1, &[]).await;
}

/// What brings old rows into the target of a view, shard by shard: the shard's own rows, but all of what the view joins.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_filled_shard_by_shard() {
    let project = resolve(wanted());
    let cluster = Cluster::new("birds", NonZero::new(3).unwrap());
    let namespace = Namespace::new("db");
    let pipe = project.pipe("to_hours").unwrap();
    let (source, target) = (pipe.source(&project).unwrap(), project.datasource("hours").unwrap());
    let at_shard = namespace.at_shard(&source);
    let filters = ["at > '2026-01-01'".to_owned(), "rand() < 429496729".to_owned()];
    let select = query::compile_populate(&project, &at_shard, pipe, &source, &filters).unwrap();
    let columns = ["hour".to_owned(), "events".to_owned()].to_vec();
    let target = namespace.table(&target.name);
    let fill = Fill { target, view: namespace.populating("7"), columns, select };
    let mut all = vec![(cluster.weights(), Verdict::Read), (cluster.shard_names(), Verdict::Read)];
    for shard in Shard::all([(1, 1), (2, 9), (3, 1)]).unwrap() {
        all.extend([
            (fill.show(&cluster, shard), Verdict::Other),
            (fill.insert(&cluster, shard, "job 7"), Verdict::Other),
        ]);
    }
    all.push((fill.clear(&cluster, "it's"), Verdict::Other));
    let mut res = String::new();
    for (sql, verdict) in &all {
        assert_eq!(engine().await.classify(sql.as_str()).await, Ok(*verdict), "{}", sql.as_str());
        writeln!(res, "{}\n", sql.as_str()).unwrap();
    }
    assert_eq!(Shard::all([(1, 1), (2, 0)]), Err(2), "nothing can be sent to it");
    golden("filled_3_shards", &res);
}

/// Rows of a quarantine that are read again: numbered above what all shards give, named where they leave.
#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_read_again() {
    let project = resolve(wanted());
    let layout = ddl::Layout::from(Cluster::new("birds", NonZero::new(3).unwrap()));
    let namespace = Namespace::new("db");
    let events = project.datasource("events").unwrap();
    let (gathering, replay) = (namespace.gathering(&events.name), namespace.replay(&events.name));
    let quarantine = namespace.table(&events.name.quarantine());
    let condition = query::compile_condition(&project, &namespace, &events.name.quarantine(), "note = 'x'").unwrap();
    let mut all = ddl::gather(&layout, &gathering, events, &quarantine, Some(&condition));
    all.extend([
        layout.rename_whole(&gathering, &replay),
        ddl::identities(&layout, &replay, 0..2500),
        ddl::forget_these(&layout, &quarantine, [(1767225600, u64::MAX), (1767225601, 7)]),
        ddl::complete_gathered(&layout, &replay, events.columns.iter().map(|it| &it.name)),
        ddl::refused_rows(&layout, &replay, events.columns.iter().map(|it| &it.name), 0..5000),
        layout.drop_whole(&replay),
    ]);
    let mut res = String::new();
    for sql in &all {
        let verdict = engine().await.classify(sql.as_str()).await;
        assert!(matches!(verdict, Ok(Verdict::Read | Verdict::Other)), "{}", sql.as_str());
        writeln!(res, "{}\n", sql.as_str()).unwrap();
    }
    golden("read_again_3_shards", &res);
}

#[test]
fn rows_are_spread_by_columns_that_are_there() {
    let project = audit_log();
    let mut cluster = Cluster::new("birds", NonZero::new(3).unwrap());
    let mut words = |name: &str, columns: &[&str]| cluster.shard_by(&project, name, columns).unwrap_err().to_string();
    assert_eq!(words("nothing", &["a"]), "there is no data source `nothing`");
    assert_eq!(words("companies", &["rand()"]), "the data source `companies` has no column `rand()`");
    assert_eq!(words("companies", &[]), "no column is named to spread the rows of `companies` by");
    assert_eq!(cluster.shard_by(&project, "companies", &["company_id", "plan"]), Ok(()));
}

/// Names stand in statements as names, whatever they are.
#[tokio::test(flavor = "multi_thread")]
async fn names_are_quoted() {
    let project = audit_log();
    let plan = plan::diff(&Project::default(), &project);
    let cluster = Cluster::new("b`i'rds\\", NonZero::new(2).unwrap());
    let namespace = Namespace::new("d`b'\\");
    let statements = ddl::lower_to_cluster(&plan, &Project::default(), &project, &namespace, &cluster).unwrap();
    for statement in statements {
        assert_eq!(engine().await.classify(statement.sql.as_str()).await, Ok(Verdict::Other), "{:?}", statement.sql);
    }
}

/// What a user sees: a script for one server, for replicas, for shards, for a change; and what is wrong with a choice.
#[test]
fn plans_are_printed() {
    let folder = Folder::new();
    let old = Folder::new();
    for (path, text) in wanted() {
        folder.file(path, text);
    }
    for (path, text) in deployed() {
        old.file(path, text);
    }
    let single = folder.ok(&["plan"]);
    assert!(single.starts_with("-- + data source events with 3 columns\n"), "{single}");
    assert!(single.contains("\nCREATE TABLE `birdhouse`.`events` (`at` DateTime, "), "{single}");
    assert!(!single.contains("ON CLUSTER"), "{single}");
    let replicas = folder.ok(&["plan", "--cluster", "birds", "--database", "db"]);
    assert!(replicas.contains("\nCREATE TABLE `db`.`events` ON CLUSTER `birds` (`at` DateTime, "), "{replicas}");
    assert!(!replicas.contains("Distributed"), "{replicas}");

    let sharded = ["plan", "--cluster", "birds", "--shards", "3", "--shard-by", "events=company_id, at"];
    let output = folder.command(&sharded).output().unwrap();
    let [sql, words] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    assert!(sql.contains("'local:events', ifNull(cityHash64(`company_id`, `at`), 0));\n"), "{sql}");
    assert!(words.contains("the rows of `hours` are spread over the shards by the hash of its sorting key (hour)"));
    assert!(!words.contains("rows of `events` are"), "{words}");

    let change = folder.ok(&[&sharded[..], &["--from", old.path().to_str().unwrap()]].concat());
    let statements: Vec<_> = change.lines().filter(|it| !it.starts_with("--")).collect();
    let statements = statements.join("\n");
    assert!(statements.contains("\nALTER TABLE `birdhouse`.`local:events` ON CLUSTER `birds` ADD COLUMN `note` "));
    assert!(
        statements.ends_with("\nDROP TABLE IF EXISTS `birdhouse`.`dropped:old_quarantine` ON CLUSTER `birds` SYNC;\n")
    );
    assert!(
        change.contains("\n--   INSERT INTO `birdhouse`.`local:last` (`company_id`, `at`, `note`) SELECT "),
        "{change}"
    );
    assert!(change.ends_with(";\n") && !statements.contains("INSERT"), "{change}");

    let fails = |arguments: &[&str], wanted: &str| {
        let output = folder.command(arguments).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && words.contains(wanted) && output.stdout.is_empty(), "{words}");
    };
    let choice = |it| ["plan", "--cluster", "birds", "--shards", "3", "--shard-by", it];
    fails(&choice("events"), "--shard-by events: DATASOURCE=COLUMNS is wanted, like events=company_id");
    fails(&choice("events=rand()"), "--shard-by events=rand(): the data source `events` has no column `rand()`");
    fails(&["plan", "--cluster", "birds", "--shards", "0"], "invalid value '0' for '--shards <NUMBER>'");
    old.file("datasources/events.datasource", "SCHEMA >\n    `at` Date\n\nENGINE \"MergeTree\"\n");
    fails(&["plan", "--from", old.path().to_str().unwrap()], "make a new data source for a new shape");
}

/// Compares what is made of a plan with the golden file.
async fn check(name: &str, current: &Project, wanted: &Project, shards: u64, shard_by: &[(&str, &[&str])]) {
    let mut cluster = Cluster::new("birds", NonZero::new(shards).unwrap());
    for (datasource, columns) in shard_by {
        cluster.shard_by(wanted, datasource, columns).unwrap();
    }
    let gone: BTreeSet<_> =
        current.datasources.keys().filter(|it| !wanted.datasources.contains_key(*it)).cloned().collect();
    let plan = plan::diff_dropping(current, wanted, &gone);
    assert_eq!(plan.refused().count(), 0);
    let namespace = Namespace::new("db");
    let mut res = String::new();
    for warning in cluster.warnings(wanted) {
        writeln!(res, "warning: {}", warning.message).unwrap();
    }
    write!(res, "{plan}").unwrap();
    let mut all: Vec<(Sql, &str)> = vec![(ddl::Layout::from(cluster.clone()).create_database(&namespace), "")];
    for it in ddl::lower_to_cluster(&plan, current, wanted, &namespace, &cluster).unwrap() {
        all.extend([(it.sql, ""), (it.undo, "  undo: ")]);
    }
    all.extend(cluster.finish(&plan, &namespace).into_iter().map(|it| (it, "at the end: ")));
    let backfills = cluster.backfills(&plan, current, wanted, &namespace).unwrap();
    all.extend(backfills.into_iter().map(|it| (it.sql, "on each shard: ")));
    for (sql, what) in &all {
        assert_eq!(engine().await.classify(sql.as_str()).await, Ok(Verdict::Other), "{}", sql.as_str());
        if what.is_empty() {
            res.push('\n');
        }
        writeln!(res, "{what}{}", sql.as_str()).unwrap();
    }
    golden(name, &res);
}

fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/cluster"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn resolve(files: Vec<(&str, &str)>) -> Project {
    let sources: Vec<_> = files.into_iter().map(|(path, text)| Source::new(path, text)).collect();
    let (project, diagnostics) = project::resolve(&sources, &Context::default());
    assert!(!birdhouse::diagnostic::has_errors(&diagnostics), "{diagnostics:?}");
    project
}

/// This repository's own project.
fn audit_log() -> Project {
    let (project, diagnostics) = project::resolve(&super::deploy::audit_log(), &Context::default());
    assert!(!birdhouse::diagnostic::has_errors(&diagnostics), "{diagnostics:?}");
    project
}

const EVENTS: &str = "\
SCHEMA >
    `at` DateTime,
    `company_id` Nullable(Int32)

ENGINE \"MergeTree\"
ENGINE_SORTING_KEY \"at\"
";

const EVENTS_WIDER: &str = "\
SCHEMA >
    `at` DateTime,
    `company_id` Nullable(Int32),
    `note` String DEFAULT 'none'

ENGINE \"MergeTree\"
ENGINE_SORTING_KEY \"at\"
";

const HOURS: &str = "\
SCHEMA >
    `hour` DateTime,
    `events` UInt64

ENGINE \"SummingMergeTree\"
ENGINE_SORTING_KEY \"hour\"
ENGINE_SETTINGS \"index_granularity = 1024\"
";

const LAST: &str = "\
SCHEMA >
    `company_id` Int32,
    `at` DateTime,
    `note` String

ENGINE \"ReplacingMergeTree\"
ENGINE_VER \"at\"
ENGINE_SORTING_KEY \"company_id\"
";

const OLD: &str = "\
SCHEMA >
    `x` UInt8

ENGINE \"Null\"
";

fn deployed() -> Vec<(&'static str, &'static str)> {
    vec![
        ("datasources/events.datasource", EVENTS),
        ("datasources/hours.datasource", HOURS),
        ("datasources/old.datasource", OLD),
        ("pipes/to_hours.pipe", TO_HOURS),
    ]
}

fn wanted() -> Vec<(&'static str, &'static str)> {
    vec![
        ("datasources/events.datasource", EVENTS_WIDER),
        ("datasources/hours.datasource", HOURS),
        ("datasources/last.datasource", LAST),
        ("pipes/to_hours.pipe", TO_HOURS_OTHERWISE),
        ("pipes/to_last.pipe", TO_LAST),
    ]
}

const TO_HOURS: &str = "\
NODE view
SQL >
    SELECT toStartOfHour(at) AS hour, count() AS events FROM events GROUP BY hour

TYPE materialized
DATASOURCE hours
";

const TO_HOURS_OTHERWISE: &str = "\
NODE view
SQL >
    SELECT toStartOfHour(at) AS hour, count() AS events FROM events
    WHERE company_id NOT IN (SELECT company_id FROM last) GROUP BY hour

TYPE materialized
DATASOURCE hours
";

const TO_LAST: &str = "\
NODE recent
SQL >
    SELECT assumeNotNull(company_id) AS company_id, at, note FROM events WHERE company_id IS NOT NULL

NODE view
SQL >
    SELECT * FROM recent

TYPE materialized
DATASOURCE last
";
