//! Datafiles: the vectors of two generations of tools, and cases as a user sees them.

use birdhouse::{
    app::check,
    datafile::{Context, Dialect, Foreign, Kind},
    diagnostic::{Severity, Source, Sources, Style, render},
    engine::Engine,
    project::{check_tests, lint, resolve, verdict},
};
use proptest::prelude::*;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

/// Verdicts in which we mean to differ, and why.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("lex06_bom", "classic", "a mark of the byte order is no part of the first command"),
    ("lex06_bom", "forward", "a mark of the byte order is no part of the first command"),
];

/// How many verdicts there are, and how many are ours too; likewise lines and facts.
#[derive(Default)]
struct Count {
    verdicts: usize,
    good: usize,
    lines: usize,
    good_lines: usize,
    facts: usize,
    good_facts: usize,
}

/// Every verdict of both generations: `ok`, the code, Forward's line, and the parsed facts, each exactly. `judge` answers
/// for a file in a dialect.
fn check_vectors(judge: impl Fn(&Value, &'static str) -> Value + Sync) -> String {
    let entries = vectors();
    let half = entries.len().div_ceil(2);
    // The processes of one of the tests are many, and there are two cores.
    let (counts, wrong) = std::thread::scope(|scope| {
        let parts: Vec<_> = entries.chunks(half).map(|it| scope.spawn(|| judged(it, &judge))).collect();
        let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
        let mut wrong = Vec::new();
        for part in parts {
            let (more, faults) = part.join().unwrap();
            for (name, it) in more {
                let count = counts.entry(name).or_default();
                count.verdicts += it.verdicts;
                count.good += it.good;
                count.lines += it.lines;
                count.good_lines += it.good_lines;
                count.facts += it.facts;
                count.good_facts += it.good_facts;
            }
            wrong.extend(faults);
        }
        (counts, wrong)
    });
    let mut told = String::new();
    for (name, it) in &counts {
        told += &format!(
            "{name}: {} of {} verdicts, {} of {} parsed, {} of {} lines\n",
            it.good, it.verdicts, it.good_facts, it.facts, it.good_lines, it.lines
        );
    }
    assert!(wrong.is_empty(), "{}\n{told}", wrong.join("\n"));
    assert_eq!(counts.values().map(|it| it.verdicts).sum::<usize>(), 383);
    assert!(DIFFERENT.len() <= 4);
    told
}

fn vectors() -> Vec<Value> {
    let index = super::vectors::folder().join("datafiles/index.json");
    serde_json::from_str(&fs::read_to_string(index).unwrap()).unwrap()
}

fn judged(
    entries: &[Value],
    judge: &impl Fn(&Value, &'static str) -> Value,
) -> (BTreeMap<&'static str, Count>, Vec<String>) {
    let mut counts: BTreeMap<&'static str, Count> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in entries {
        let file = entry["file"].as_str().unwrap();
        for name in ["classic", "forward"] {
            let expected = &entry[name];
            let Some(ok) = expected["ok"].as_bool() else { continue };
            let count = counts.entry(name).or_default();
            count.verdicts += 1;
            let found = judge(entry, name);
            let mut faults = Vec::new();
            if found["ok"] != ok || expected["error"]["code"] != found["error"]["code"] {
                faults.push(format!("expected {}, found {}", expected["error"], found["error"]));
            }
            let excepted = ["sch35", "pipe23"].iter().any(|it| file.contains(it));
            if name == "forward" && !excepted && expected["error"]["line"].is_u64() {
                count.lines += 1;
                if expected["error"]["line"] == found["error"]["line"] {
                    count.good_lines += 1;
                } else {
                    faults.push(format!("expected line {}, found {}", expected["error"]["line"], found["error"]));
                }
            }
            if ok {
                count.facts += 1;
                if expected["parsed"] == found["parsed"] && expected["warnings"] == found["warnings"] {
                    count.good_facts += 1;
                } else {
                    faults.push(difference("parsed", &expected["parsed"], &found["parsed"]));
                    faults.push(difference("warnings", &expected["warnings"], &found["warnings"]));
                }
            }
            if faults.is_empty() {
                count.good += 1;
            } else if !DIFFERENT.iter().any(|(it, which, _)| file.contains(it) && *which == name) {
                wrong.push(format!("{file} {name}: {}", faults.join("; ")));
            }
        }
    }
    (counts, wrong)
}

#[test]
fn vectors_of_datafiles() {
    let root = super::vectors::folder().join("datafiles");
    let told = check_vectors(|entry, name| {
        let file = entry["file"].as_str().unwrap();
        let source = Source::new(file, fs::read_to_string(root.join(file)).unwrap());
        let include = |path: &str| {
            let text = fs::read_to_string(root.join("cases").join(path)).ok()?;
            Some(Source::new(format!("cases/{path}"), text))
        };
        let dialect = if name == "classic" { Dialect::Classic } else { Dialect::Forward };
        let environment: BTreeMap<String, String> = serde_json::from_value(entry["env"].clone()).unwrap();
        let context = Context { dialect, environment, ..Context::default() };
        verdict(&source, &context, &include).unwrap().value
    });
    println!("{told}");
}

/// The same, as whoever has nothing but the program would do it: a process for each file and dialect.
#[test]
fn vectors_of_datafiles_from_outside() {
    let root = super::vectors::folder().join("datafiles");
    let told = check_vectors(|entry, name| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_birdhouse"));
        command.args(["parse", entry["file"].as_str().unwrap(), "--dialect", name]).current_dir(&root);
        command.env_clear();
        for (key, value) in entry["env"].as_object().unwrap() {
            command.env(key, value.as_str().unwrap());
        }
        let output = command.output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let code = if found["ok"] == true { 0 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        found
    });
    println!("{told}");
}

/// The first places in which two values differ.
fn difference(path: &str, expected: &Value, found: &Value) -> String {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            let parts = keys.into_iter().filter(|it| a.get(*it) != b.get(*it));
            parts
                .map(|it| difference(&format!("{path}.{it}"), &expected[it], &found[it]))
                .collect::<Vec<_>>()
                .join("; ")
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let parts = a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b);
            parts.map(|(at, (a, b))| difference(&format!("{path}[{at}]"), a, b)).collect::<Vec<_>>().join("; ")
        }
        (a, b) if a == b => String::new(),
        (a, b) => format!("{path}: expected {a}, found {b}"),
    }
}

/// The project in this repository is clean, in the dialect that it is written in.
#[test]
fn the_projects_own_files_are_clean() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["datasources", "pipes", "endpoints"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if Kind::of(&relative).is_some() {
                sources.push(Source::new(relative, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    for dialect in [Dialect::Auto, Dialect::Classic] {
        let context = Context { dialect, ..Context::default() };
        let (project, mut diagnostics) = resolve(&sources, &context);
        diagnostics.extend(lint(&project));
        let printed: Vec<_> = diagnostics.iter().map(|it| render(it, &Sources::of(&sources), Style::Plain)).collect();
        assert!(printed.is_empty(), "{}", printed.join("\n\n"));
        assert_eq!((project.datasources.len(), project.pipes.len()), (4, 7));
        assert_eq!(project.pipes.values().filter(|it| it.is_endpoint()).count(), 5);
    }
}

/// Each case beside a data source `events`, as `check` prints what is wrong with it.
#[test]
fn cases_as_a_user_sees_them() {
    insta::glob!("../cases/datafile", "*.{datasource,pipe}", |path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let events = "SCHEMA >\n    `id` Int32,\n    `at` DateTime\n";
        let sources = [Source::new(name, fs::read_to_string(path).unwrap()), Source::new("events.datasource", events)];
        let (_, diagnostics) = resolve(&sources, &Context::default());
        let printed: Vec<_> = diagnostics.iter().map(|it| render(it, &Sources::of(&sources), Style::Plain)).collect();
        insta::assert_snapshot!(printed.join("\n\n"));
    });
}

/// The project that the pages' examples stand in.
fn around() -> Vec<Source> {
    vec![
        Source::new("events.datasource", "SCHEMA >\n    `id` Int32,\n    `at` DateTime\n"),
        Source::new("names.datasource", "SCHEMA >\n    `id` Int32,\n    `name` String\n"),
        Source::new(
            "copies.datasource",
            "SCHEMA >\n    `id` Int32,\n    `at` DateTime\n\nENGINE MergeTree\nENGINE_SORTING_KEY id\n",
        ),
        Source::new(
            "counts.datasource",
            "SCHEMA >\n    `id` Int32,\n    `n` UInt64,\n    `states` AggregateFunction(count)\n\nENGINE \
             AggregatingMergeTree\nENGINE_SORTING_KEY id\n",
        ),
    ]
}

/// The codes of an example, with what the engine says where its page asks for it.
async fn codes_of(engine: &Engine, fence: &str, example: &str) -> Vec<(&'static str, Severity)> {
    let mut words = fence.split(' ');
    let kind = words.next().unwrap();
    let how = words.next();
    let dialect = if how == Some("forward") { Dialect::Forward } else { Dialect::Auto };
    let context = Context { dialect, foreign: Foreign::Vendored(BTreeSet::new()), ..Context::default() };
    let mut sources = around();
    let mut tests = Vec::new();
    match kind {
        "yaml" => tests.push(Source::new("tests/x.yaml", example)),
        kind => sources.push(Source::new(format!("x.{kind}"), example)),
    }
    if kind == "yaml" {
        sources.push(Source::new("x.pipe", "NODE a\nSQL >\n    SELECT 1 AS x\n"));
    }
    let (project, mut diagnostics) = resolve(&sources, &context);
    diagnostics.extend(lint(&project));
    diagnostics.extend(check_tests(&sources, &tests, dialect));
    if how == Some("engine") {
        diagnostics.extend(check(engine, &project).await.unwrap());
    }
    diagnostics.iter().map(|it| (it.code, it.severity)).collect()
}

/// Every code that is anywhere in the code has a page, and each page's bad example shows it, its good one does not.
#[tokio::test(flavor = "multi_thread")]
async fn every_code_has_a_page_that_is_true() {
    let book = include_str!("../../docs/codes.md");
    let pages: BTreeMap<&str, &str> = book.split("\n## ").skip(1).map(|it| it.split_once('\n').unwrap()).collect();
    let missing: Vec<_> = codes_in_the_source().into_iter().filter(|it| !pages.contains_key(it.as_str())).collect();
    assert!(missing.is_empty(), "docs/codes.md has no page for {missing:?}");
    let engine = super::engine::engine().await;
    let mut wrong = Vec::new();
    let mut shown = 0;
    for (code, page) in &pages {
        assert!(page.contains("Bad:\n"), "{code} has no bad example");
        let examples: Vec<_> = page.split("```").skip(1).step_by(2).map(|it| it.split_once('\n').unwrap()).collect();
        let [(fence, bad), (_, good)] = examples[..] else { continue };
        shown += 1;
        let found = codes_of(engine, fence, bad).await;
        if !found.iter().any(|(it, _)| it == code) {
            wrong.push(format!("{code}: its bad example shows {found:?}"));
        }
        let found = codes_of(engine, fence, good).await;
        if found.iter().any(|(it, severity)| it == code || *severity == Severity::Error) {
            wrong.push(format!("{code}: its good example shows {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(shown > 110, "only {shown} pages have examples that are tried");
}

/// The codes in `Diagnostic::error("code"` and its like, over all of the source.
fn codes_in_the_source() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let is_test = path.ends_with("tests.rs");
            for mark in ["Diagnostic::error(", "Diagnostic::warning("] {
                for rest in code.split(mark).skip(1).filter(|_| !is_test) {
                    let Some(rest) = rest.trim_start().strip_prefix('"') else { continue };
                    codes.insert(rest.split('"').next().unwrap().to_owned());
                }
            }
        }
    }
    codes
}

/// Found by mutation: these once ended the process.
#[test]
fn odd_texts_are_reported() {
    for text in [
        "SCHEMA >\n    `id` UInt32\nINDEXES >\n    i GRANULARITY 1 id TYPE set(10) GRANULARITY 1\n",
        "SCHEMA >\n lowed   `\u{1812}` Int\n",
    ] {
        let sources = [Source::new("x.datasource", text)];
        let (_, diagnostics) = resolve(&sources, &Context::default());
        assert!(!diagnostics.is_empty(), "{text}");
    }
}

/// Pieces that datafiles are made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "SCHEMA >\n",
        "SQL >\n",
        "NODE a\n",
        "TYPE copy\n",
        "ENGINE \"MergeTree\"\n",
        "ENGINE_SORTING_KEY",
        " `a`",
        " String",
        "`json:$.a[:]`",
        " DEFAULT",
        " CODEC(",
        "'",
        "\"",
        "`",
        "(",
        ")",
        "[",
        ",",
        "\n",
        "\r",
        "#",
        "--",
        "%",
        "{{",
        "}}",
        " tb_secret(\"A\", ",
        "$A",
        "${",
        "INCLUDE \"x\"\n",
        "INDEXES >\n",
        " TYPE ",
        " GRANULARITY ",
        "é",
        "\u{feff}",
        "\0",
        "TOKEN t READ\n",
        "SHARED_WITH",
        "TAGS a=b,",
        "KAFKA_TOPIC ",
        "VERSION ",
        "    ",
        "\t",
        "Nullable(",
        "NULL",
        "NOT NULL",
    ]);
    proptest::collection::vec(pieces, 0..60).prop_map(|it| it.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any text gives diagnostics that can be printed, in every dialect, and never a panic.
    #[test]
    fn no_text_is_too_odd(text in prop_oneof![pieces(), any::<String>()], extension in prop_oneof!["datasource", "pipe", "connection", "token"]) {
        let sources = [
            Source::new(format!("x.{extension}"), text.clone()),
            Source::new("x", text),
        ];
        for dialect in [Dialect::Classic, Dialect::Forward, Dialect::Auto] {
            let environment = [("A".to_owned(), "(".to_owned())].into();
            let context = Context { dialect, environment, ..Context::default() };
            let (_, diagnostics) = resolve(&sources, &context);
            for diagnostic in &diagnostics {
                render(diagnostic, &Sources::of(&sources), Style::Plain);
            }
        }
    }
}
