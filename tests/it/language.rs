//! The commands about datafiles, as one types them: check in all its forms, parse, fmt, explain, dependencies, init,
//! datasource generate; and files that nobody should write.

use birdhouse::{
    datafile::{Context, Dialect, Kind, Layout, no_includes, parse_as},
    diagnostic::{Source, Sources, Style, has_errors, render},
    project::{facts, resolve, verdict},
};
use proptest::prelude::*;
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

const EVENTS: &str = "SCHEMA >\n    `id` Int32,\n    `at` DateTime\n";
const GOOD: &str = "TOKEN t READ\n\nNODE n\nSQL >\n    SELECT id FROM events\n\nTYPE endpoint\n";

pub(super) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

pub(super) fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_birdhouse"));
    command.args(arguments).current_dir(folder).env("BIRDHOUSE_LIBCHDB", super::engine::library_path());
    command.env("NO_COLOR", "1").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub(super) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_engine_judges_nodes_through_templates_and_other_nodes() {
    let bad = "TOKEN t READ\n\nNODE first\nSQL >\n    %\n    SELECT id, at\n    FROM events\n    WHERE idd = {{Int32(x, \
               1)}}\n\nNODE last\nSQL >\n    SELECT id FROM first\n\nTYPE endpoint\n";
    let folder = folder(&[("datasources/events.datasource", EVENTS), ("endpoints/p.pipe", bad)]);
    let output = run(folder.path(), &["check", "--format", "json"], "");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let diagnostics = found["diagnostics"].as_array().unwrap();
    assert_eq!(diagnostics.len(), 1, "{found:#}");
    let it = &diagnostics[0];
    let place = (&it["code"], &it["file"], &it["line"], &it["column"]);
    assert_eq!(place, (&"unknown_column".into(), &"endpoints/p.pipe".into(), &8.into(), &11.into()), "{it}");
    assert_eq!(it["hint"], "maybe you meant `id`");
    assert_eq!(run(folder.path(), &["check", "--no-engine"], "").status.code(), Some(0));
}

#[test]
fn check_prints_what_each_reader_wants() {
    let folder = folder(&[
        ("datasources/events.datasource", EVENTS),
        ("endpoints/p.pipe", "NODE n\nSQL >\n    SELECT id FROM evnts\nTYPE endpoint\n"),
    ]);
    let form = |name: &str| {
        let output = run(folder.path(), &["check", "--no-engine", "--format", name], "");
        assert_eq!(output.status.code(), Some(1));
        text(&output)
    };
    assert!(form("human").contains("endpoints/p.pipe:3:20"), "{}", form("human"));
    assert!(form("github").starts_with("::error file=endpoints/p.pipe,line=3,endLine=3,col=20,endColumn=25,"));
    let sarif: Value = serde_json::from_str(&form("sarif")).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "unknown_table");
    assert!(
        form("junit").contains(
            "<failure type=\"unknown_table\" message=\"there is no node, data source or pipe called `evnts`\">"
        )
    );
}

#[test]
fn warnings_can_be_denied_and_silenced() {
    let silent = format!("# birdhouse: allow endpoint_without_token, it is internal\n{}", &GOOD[14..]);
    for (pipe, denied) in [(GOOD, 0), (&GOOD[14..], 1), (silent.as_str(), 0)] {
        let folder = folder(&[("datasources/events.datasource", EVENTS), ("endpoints/p.pipe", pipe)]);
        assert_eq!(run(folder.path(), &["check", "--no-engine"], "").status.code(), Some(0));
        let output = run(folder.path(), &["check", "--no-engine", "--deny-warnings"], "");
        assert_eq!(output.status.code(), Some(denied), "{pipe}: {}", text(&output));
    }
}

#[test]
fn standard_input_is_checked_within_the_project() {
    let folder = folder(&[("datasources/events.datasource", EVENTS), ("endpoints/p.pipe", "broken\n")]);
    let arguments = ["check", "--no-engine", "-", "--name", "endpoints/p.pipe"];
    assert_eq!(run(folder.path(), &arguments, GOOD).status.code(), Some(0));
    let output = run(folder.path(), &arguments, &GOOD.replace("events", "evnts"));
    assert!(text(&output).contains("did you mean `events`?"), "{}", text(&output));
}

#[test]
fn test_and_token_files_speak_of_what_there_is() {
    let folder = folder(&[
        ("datasources/events.datasource", EVENTS),
        ("endpoints/p.pipe", GOOD),
        ("tests/q.yaml", "- name: a\n  parameters: ''\n  expected_result: ''\n"),
        ("tests/quality.yaml", "- none:\n    sql: SELECT * FROM evnts\n- gone:\n    pipe:\n      name: pp\n"),
        ("tests/bad.yml", "- a: [\n"),
        ("tests/regression.yaml", "- pipe: 'q_.*'\n  tests: []\n- pipe: 'p('\n  tests: []\n- pipe: p|z\n  tests: []\n"),
        ("tokens/t.token", "SCOPE \"PIPES:READ\"\nRESOURCE x\n"),
        ("fixtures/evnts.csv", ""),
        ("fixtures/events_some.ndjson", ""),
        ("connections/shop.connection", "TYPE kafka\nKAFKA_BOOTSTRAP_SERVERS a:1\n"),
        (
            "datasources/k.datasource",
            "SCHEMA >\n    `id` Int32 `json:$.id`\n\nKAFKA_CONNECTION_NAME shoop\nKAFKA_TOPIC t\nKAFKA_GROUP_ID g\n",
        ),
    ]);
    let output = run(folder.path(), &["check", "--no-engine", "--json"], "");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes: Vec<_> = found["diagnostics"].as_array().unwrap().iter().map(|it| &it["code"]).collect();
    let mut codes: Vec<&str> = codes.into_iter().map(|it| it.as_str().unwrap()).collect();
    codes.sort_unstable();
    let expected = [
        "connection_unknown",
        "fixture_unused",
        "test_file_syntax",
        "test_pattern_invalid",
        "test_pipe_unknown",
        "test_pipe_unknown",
        "test_pipe_unknown",
        "token_resource_unknown",
        "unknown_table",
    ];
    assert_eq!(codes, expected, "{found:#}");
}

#[test]
fn the_projects_own_files_are_in_their_usual_form() {
    let output = run(Path::new(env!("CARGO_MANIFEST_DIR")), &["fmt", "--check", "--diff"], "");
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn fmt_writes_once() {
    let folder =
        folder(&[("p.pipe", "node n\nsql >\n  SELECT 1 AS x # one\nBAD\n"), ("q.pipe", "node n\nsql >\n  SELECT 1\n")]);
    assert_eq!(run(folder.path(), &["fmt", "--check"], "").status.code(), Some(1));
    assert!(text(&run(folder.path(), &["fmt", "--diff"], "")).contains("+NODE n"));
    assert_eq!(run(folder.path(), &["fmt"], "").status.code(), Some(0));
    assert_eq!(fs::read_to_string(folder.path().join("q.pipe")).unwrap(), "NODE n\nSQL >\n    SELECT 1\n");
    assert_eq!(run(folder.path(), &["fmt", "--check"], "").status.code(), Some(0));
    let output = run(folder.path(), &["fmt", "-", "--name", "a.pipe"], "node n\nSQL >\n SELECT 1");
    assert_eq!(text(&output), "NODE n\nSQL >\n    SELECT 1\n");
}

#[test]
fn parse_answers_in_the_shape_of_the_vectors() {
    let folder = folder(&[("a.datasource", EVENTS), ("b.pipe", "NODE a\nSQL >\n\nTYPE endpoint\n")]);
    let good: Value = serde_json::from_str(&text(&run(folder.path(), &["parse", "a.datasource"], ""))).unwrap();
    assert_eq!((&good["ok"], &good["parsed"]["schema_sql"]), (&true.into(), &"`id` Int32,`at` DateTime".into()));
    let output = run(folder.path(), &["parse", "b.pipe", "--dialect", "forward"], "");
    let bad: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &bad["error"]["code"]), (Some(1), &"missing_sql_text".into()));
    assert_eq!(bad["diagnostics"][0]["line"], 2);
}

#[test]
fn new_projects_are_right() {
    for (template, files) in [("audit-log", 11), ("web-analytics", 5)] {
        let folder = folder(&[]);
        assert!(run(folder.path(), &["init", "--template", template], "").status.success());
        let output = run(folder.path(), &["check", "--deny-warnings"], "");
        assert_eq!(text(&output), format!("nothing is wrong in {files} files\n"));
        assert!(run(folder.path(), &["fmt", "--check"], "").status.success());
        for (form, begins) in [("dot", "digraph"), ("mermaid", "flowchart"), ("json", "{"), ("text", "a")] {
            let graph = text(&run(folder.path(), &["dependencies", "--format", form], ""));
            assert!(graph.starts_with(begins) || form == "text", "{graph}");
        }
    }
    let empty = folder(&[]);
    assert!(run(empty.path(), &["init"], "").status.success());
    assert!(empty.path().join("datasources").is_dir());
}

#[test]
fn a_file_of_rows_becomes_a_data_source() {
    let folder = folder(&[
        ("orders.csv", "id,at,name\n1,2026-01-01 10:00:00,a\n"),
        ("events.ndjson", "{\"id\": 1, \"tags\": [\"a\"], \"deep\": {\"x\": 1}}\n"),
    ]);
    for file in ["orders.csv", "events.ndjson"] {
        let output = run(folder.path(), &["datasource", "generate", file], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let events = fs::read_to_string(folder.path().join("datasources/events.datasource")).unwrap();
    assert!(events.contains("`tags` Array(String) `json:$.tags[:]`"), "{events}");
    assert_eq!(text(&run(folder.path(), &["check"], "")), "nothing is wrong in 2 files\n");
    assert_eq!(run(folder.path(), &["datasource", "generate", "orders.csv"], "").status.code(), Some(1));
}

/// Whoever copies the workflow builds what somebody has looked at: a commit of this repository, by its whole hash.
#[test]
fn the_workflow_builds_one_commit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workflow = fs::read_to_string(root.join("docs/check.workflow.yml")).unwrap();
    let commit = workflow.split_once("BIRDHOUSE_COMMIT: ").unwrap().1.lines().next().unwrap();
    assert!(commit.len() == 40 && commit.chars().all(|it| it.is_ascii_hexdigit()), "{commit} is no whole hash");
    let git = |arguments: &[&str]| Command::new("git").args(arguments).current_dir(root).output().unwrap();
    // A copy of the sources without their history cannot tell.
    if git(&["rev-parse", "--is-shallow-repository"]).stdout == b"false\n" {
        assert!(git(&["merge-base", "--is-ancestor", commit, "HEAD"]).status.success(), "{commit} is not behind HEAD");
    }
}

/// Files that nobody should write end in diagnostics, and soon. The bound is wide: the machine has other work too.
#[test]
fn monsters_are_read_in_time() {
    let columns: String = (0..100_000).map(|it| format!("    `c{it}` Int32 `json:$.c{it}`,\n")).collect();
    let depth = 10_000;
    let monsters = [
        ("a.datasource", format!("SCHEMA >\n{columns}    `last` String\n")),
        ("b.datasource", format!("SCHEMA >\n    `a` {}Int32{}\n", "Array(".repeat(depth), ")".repeat(depth))),
        ("c.datasource", format!("{EVENTS}\nENGINE_SORTING_KEY {}id{}\n", "(".repeat(depth), ")".repeat(depth))),
        ("d.pipe", format!("NODE a\nSQL >\n    SELECT {}1{}\n", "(".repeat(depth), ")".repeat(depth))),
        ("e.pipe", format!("NODE a\nSQL >\n    %\n    SELECT {{{{ {}1{} }}}}\n", "(".repeat(depth), ")".repeat(depth))),
        ("f.pipe", format!("NODE a\nSQL >\n    SELECT '{}'\n", "x".repeat(10 << 20))),
        ("g.pipe", "NODE a\n".repeat(1 << 17)),
        ("h.pipe", format!("DESCRIPTION >\n{}", "    text\n".repeat(1 << 20))),
        ("i.datasource", format!("SCHEMA >\n    {}", "`a` String DEFAULT 'x' ".repeat(20_000))),
        ("j.datasource", "\0SCHEMA >\r    a\0 String\r\u{feff}ENGINE \0\r".to_owned()),
        ("k.pipe", format!("NODE a\nSQL >\n    %\n{}", "{% if x %}".repeat(5_000))),
        ("l.datasource", format!("{EVENTS}{}", "TAGS \"a=b,\"\n".repeat(100_000))),
    ];
    for (name, text) in monsters {
        let sources = [Source::new(name, text)];
        let begun = Instant::now();
        let (_, diagnostics) = resolve(&sources, &Context::default());
        for it in diagnostics.iter().take(3) {
            render(it, &Sources::of(&sources), Style::Plain);
        }
        let took = begun.elapsed();
        println!("{name}: {took:?}");
        assert!(took < Duration::from_secs(30), "{name} took {took:?}");
    }
}

/// Nanoseconds that this thread has had a processor: other work on the machine is not in it.
fn processor_time() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// What takes time in proportion to `n` in a file that one can make as long as one likes.
type Family = (&'static str, fn(usize) -> String);

const FAMILIES: &[Family] = &[
    ("columns.datasource", |n| format!("SCHEMA >\n{}    `z` Int8\n", numbered(n, "    `c@` Int32 `json:$.c@`,\n"))),
    ("types.datasource", |n| format!("SCHEMA >\n{}    `z` Int8\n", numbered(n, "    `c@` Strng,\n"))),
    ("keys.datasource", |n| {
        let columns = numbered(n, "    `c@` Int32,\n");
        format!("SCHEMA >\n{columns}    `z` Int8\n\nENGINE MergeTree\nENGINE_SORTING_KEY {}z\n", numbered(n, "c@, "))
    }),
    ("indexes.datasource", |n| {
        format!("{EVENTS}\nINDEXES >\n{}", numbered(n, "    i@ id TYPE minmax GRANULARITY 1\n"))
    }),
    ("nodes.pipe", |n| format!("NODE n0\nSQL >\n    SELECT 1 AS x\n{}", chained(n))),
    ("tables.pipe", |n| numbered(n, "NODE n@\nSQL >\n    SELECT id FROM missing@\n")),
    ("joins.pipe", |n| format!("NODE n\nSQL >\n    %\n    SELECT 1 AS x FROM a{}\n", numbered(n, " JOIN x@"))),
    ("tags.pipe", |n| {
        format!(
            "NODE n\nSQL >\n    %\n    SELECT 1 AS x{}\n",
            numbered(n, " {% if defined(p@) %}, {{Int32(p@, 1)}} AS c@{% end %}")
        )
    }),
    ("silence.pipe", |n| numbered(n, "# birdhouse: allow hash_cuts_value\nNODE n@\nSQL >\n    SELECT id FROM x\n")),
    ("comments.pipe", |n| format!("NODE n\nSQL >\n{}    SELECT 1 AS x\n", "# birdhouse: allow x\n".repeat(n))),
    ("same.pipe", |n| "NODE a\n".repeat(n)),
    ("words.pipe", |n| "ENGNE a\n".repeat(n)),
];

fn numbered(n: usize, text: &str) -> String {
    (0..n).map(|it| text.replace('@', &it.to_string())).collect()
}

fn chained(n: usize) -> String {
    (1..n).map(|it| format!("NODE n{it}\nSQL >\n    SELECT x FROM n{}\n", it - 1)).collect()
}

/// Four times the text takes about four times as long: sixteen times would be each part looking at each other.
#[test]
fn time_grows_with_the_text() {
    let cost = |name: &str, text: String| {
        let sources = [Source::new(name, text)];
        let least = (0..3).map(|_| {
            let begun = processor_time();
            let (_, diagnostics) = resolve(&sources, &Context::default());
            let known = Sources::of(&sources);
            diagnostics.iter().take(1000).for_each(|it| _ = render(it, &known, Style::Plain));
            processor_time() - begun
        });
        least.min().unwrap() as f64
    };
    let mut slow = Vec::new();
    for (name, text) in FAMILIES {
        // Long enough to be measured, whatever the family is.
        let mut n = 250;
        let mut small = cost(name, text(n));
        while small < 8e6 && n < 32_000 {
            n *= 2;
            small = cost(name, text(n));
        }
        let ratio = cost(name, text(4 * n)) / small;
        println!("{name}: {n} take {:.1} ms, four times as many {ratio:.1} times as long", small / 1e6);
        if ratio > 10.0 {
            slow.push(format!("{name}: {ratio:.1}"));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

/// Pieces of datafiles, and lines of them, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "SCHEMA >\n",
        "SQL >\n",
        "node a\n",
        "NODE b\n",
        "TYPE copy\n",
        "  TYPE endpoint\n",
        "ENGINE \"MergeTree\"\n",
        "    `a` Int32",
        "    b String `json:$.b`",
        ",\n",
        "\n",
        "\n\n\n",
        "# why\n",
        "   # how\n",
        "  %\n",
        "\tSELECT 1\n",
        "      FROM t\n",
        "SELECT 'a\n  b'\n",
        "DESCRIPTION >\n",
        "DESCRIPTION  it's   so\n",
        "INDEXES >\n",
        " ix a TYPE minmax GRANULARITY 1\n",
        "X >\n",
        "Y 1\n",
        "TOKEN 'x'  READ # c\n",
        "KAFKA_TOPIC a#b\n",
        "\r\n",
        "\u{feff}",
        "é",
        "'",
        "\"",
        "TAGS >\n",
        "FROM x\n",
        "SETTINGS y\n",
        "-- z\n",
    ]);
    proptest::collection::vec(pieces, 0..40).prop_map(|it| it.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// What is printed is printed the same again, and says the same, in whatever form it came.
    #[test]
    fn printing_is_a_fixpoint(text in pieces(), is_pipe in any::<bool>()) {
        // A mark of the byte order inside of a text is an error, and such files are left as they are.
let text = format!("{}{}", if text.starts_with('\u{feff}') { "\u{feff}" } else { "" }, text.replace('\u{feff}', ""));
        let kind = if is_pipe { Kind::Pipe } else { Kind::Datasource };
        let print = |text: &str| Layout::read(text, kind, Dialect::Auto).print();
        let once = print(&text);
        prop_assert_eq!(print(&once), once.clone());
        let said = |text: &str| -> Option<String> {
            let source = Source::new("x", text);
            let (file, diagnostics) = parse_as(kind, &source, &Context::default(), &no_includes);
            // Files with errors are not printed at all.
            if has_errors(&diagnostics) {
                return None;
            }
            let facts = facts(&file, &Context::default()).to_string();
            facts.replace("\\t", "\\n").split("\\n").flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ").into()
        };
        if let Some(before) = said(&text) {
            prop_assert_eq!(said(&once), Some(before));
        }
        let comments = |text: &str| text.lines().filter(|it| it.trim_start().starts_with('#')).count();
        prop_assert_eq!(comments(&once), comments(text.replace('\r', "\n").trim_start_matches('\u{feff}')));
    }

    /// Any bytes that are text have a verdict, in every dialect and kind.
    #[test]
    fn any_text_has_a_verdict(text in prop_oneof![pieces(), any::<String>()], name in prop_oneof!["a\\.pipe", "a\\.datasource", "a\\.connection", "a\\.token", "a\\.incl", "tests/a\\.yaml"]) {
        for dialect in [Dialect::Classic, Dialect::Forward, Dialect::Auto] {
            let context = Context { dialect, ..Context::default() };
            let found = verdict(&Source::new(name.as_str(), text.as_str()), &context, &no_includes);
            prop_assert!(found.is_some());
        }
    }
}

/// Few for every test run; `FUZZ_CASES` makes it minutes.
fn cases() -> u32 {
    std::env::var_os("FUZZ_CASES").and_then(|it| it.to_str()?.parse().ok()).unwrap_or(300)
}
