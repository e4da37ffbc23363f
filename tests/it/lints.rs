//! The warnings about what is allowed and bites all the same: each is told with its place, in plain SQL and in
//! templates, is silenced by a comment, and has a page.

use super::language::{folder, run, text};
use serde_json::Value;

const EVENTS: (&str, &str) =
    ("datasources/events.datasource", "SCHEMA >\n    `id` Int32,\n    `key` Int32,\n    `at` DateTime\n");
const TOTALS: (&str, &str) = (
    "datasources/totals.datasource",
    "SCHEMA >\n    `id` Int32,\n    `total` UInt64\n\nENGINE \"AggregatingMergeTree\"\nENGINE_SORTING_KEY \"id\"\n",
);

/// What `check` finds in a project, as `code file:line:column`.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let folder = folder(files);
    let output = run(folder.path(), &["check", "--no-engine", "--json"], "");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let said = |it: &Value| format!("{} {}:{}:{}", it["code"], it["file"], it["line"], it["column"]).replace('"', "");
    found["diagnostics"].as_array().unwrap().iter().map(said).collect()
}

/// The file's lint stands at `place`; with the comment above the whole it is gone.
fn check(file: (&str, &str), lint: &str, place: &str) {
    let expected = format!("{lint} {}:{place}", file.0);
    let plain = found(&[EVENTS, TOTALS, file]);
    assert!(plain.contains(&expected), "no {expected}: {plain:?}");
    let silenced = format!("# birdhouse: allow {lint}, for a reason\n{}", file.1);
    let silent = found(&[EVENTS, TOTALS, (file.0, &silenced)]);
    assert!(!silent.iter().any(|it| it.starts_with(lint)), "{lint} is not silenced: {silent:?}");
    let page = run(std::path::Path::new("."), &["explain", lint], "");
    assert!(page.status.success() && text(&page).contains("Bad:"), "{lint} has no page");
}

#[test]
fn each_lint_has_a_place_a_comment_and_a_page() {
    let pipe = |text| ("pipes/p.pipe", text);
    let source = |text| ("datasources/s.datasource", text);
    for (file, lint, place) in [
        (source("SCHEMA >\n    `id` Int32\nENGNE \"MergeTree\"\n"), "swallowed_command", "3:1"),
        (pipe("TOKEN t READ\nNODE a\nSQL >\n    SELECT 1 AS x\n  TYPE endpoint\n"), "swallowed_command", "5:3"),
        (
            source("SCHEMA >\n    `id` Int32\n\nKAFKA_CONNECTION_NAME k\nKAFKA_GROUP_ID g\nKAFKA_TOPIC a#b\n"),
            "hash_cuts_value",
            "6:14",
        ),
        (
            pipe("TOKEN t READ\nNODE a\nDESCRIPTION > words\nSQL >\n    SELECT 1 AS x\n"),
            "text_after_block_mark",
            "3:15",
        ),
        (
            pipe("TOKEN t READ\nNODE a\nSQL >\n    SELECT id FROM events WHERE id = {{Int32(x, 1)}}\n"),
            "template_without_percent",
            "4:38",
        ),
        (
            pipe("TOKEN t READ\nNODE a\nSQL >\n    SELECT id FROM events\nNODE b\nSQL >\n    SELECT id FROM a FINAL\n"),
            "final_on_node",
            "7:22",
        ),
        (
            pipe(
                "NODE a\nSQL >\n    %\n    SELECT id, toUInt64(key) AS total FROM events WHERE key = {{Int32(x, 1)}}\nTYPE \
                 materialized\nDATASOURCE totals\n",
            ),
            "materialized_with_parameters",
            "4:71",
        ),
        (
            source("SCHEMA >\n    `id` Nullable(Int32)\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"id\"\n"),
            "sorting_key_nullable",
            "5:20",
        ),
        (
            pipe(
                "NODE a\nSQL >\n    SELECT id, count() AS total FROM events GROUP BY id\nTYPE materialized\nDATASOURCE \
                  totals\n",
            ),
            "plain_aggregate",
            "3:16",
        ),
        (
            pipe(
                "NODE a\nSQL >\n    SELECT e.id, t.total FROM events e JOIN totals t ON e.id = t.id\nTYPE \
                  materialized\nDATASOURCE totals\n",
            ),
            "join_not_limited",
            "3:45",
        ),
        (pipe("NODE a\nSQL >\n    SELECT 1 AS x\nTYPE endpoint\n"), "endpoint_without_token", "1:6"),
    ] {
        check(file, lint, place);
    }
}

/// Templates are read as they render without parameters, and places are those of the template.
#[test]
fn lints_see_through_templates() {
    let pipe = |text| ("pipes/p.pipe", text);
    for (file, lint, place) in [
        (
            pipe(
                "TOKEN t READ\nNODE a\nSQL >\n    SELECT id FROM events\nNODE b\nSQL >\n    %\n    SELECT {{Int32(x, \
                  1)}} AS a FROM {% if defined(z) %} a {% else %} a {% end %} FINAL WHERE id = {{Int32(y, 2)}}\n",
            ),
            "final_on_node",
            "8:83",
        ),
        (
            pipe(
                "NODE a\nSQL >\n    %\n    {# count() AS total #} SELECT id, {% if True %}count(){% end %} AS total FROM \
                  events GROUP BY id\nTYPE materialized\nDATASOURCE totals\n",
            ),
            "plain_aggregate",
            "4:52",
        ),
        (
            pipe(
                "NODE a\nSQL >\n    %\n    {% set how = 'totals' %}\n    SELECT e.id, t.total FROM events e JOIN \
                  {{table(how)}} t ON e.id = t.id\nTYPE materialized\nDATASOURCE totals\n",
            ),
            "join_not_limited",
            "5:47",
        ),
    ] {
        check(file, lint, place);
    }
}

#[test]
fn what_other_workspaces_and_the_service_have_is_no_error() {
    let pipe = "TOKEN t READ\nNODE a\nSQL >\n    SELECT x FROM other.clicks JOIN tinybird.bi_stats_rt AS s ON s.x = \
                other.clicks.x\nNODE b\nSQL >\n    SELECT x FROM a\n";
    let codes = found(&[EVENTS, ("pipes/p.pipe", pipe)]);
    assert_eq!(codes, ["shared_datasource pipes/p.pipe:4:19", "service_datasource pipes/p.pipe:4:37"]);
    let folder =
        folder(&[("pipes/p.pipe", pipe), ("vendor/other/datasources/clicks.datasource", "SCHEMA >\n    `x` Int8\n")]);
    let output = run(folder.path(), &["check"], "");
    assert!(output.status.success() && !text(&output).contains("there is no vendor"), "{}", text(&output));
}

#[test]
fn names_with_a_version_mean_the_file_with_that_version() {
    let source = ("datasources/clicks.datasource", "VERSION 3\n\nSCHEMA >\n    `x` Int8\n");
    let pipe = |version: &str| {
        format!("TOKEN t READ\nNODE a\nSQL >\n    SELECT clicks__v{version}.x FROM clicks__v{version}\n")
    };
    let folder = folder(&[source, ("pipes/p.pipe", &pipe("3"))]);
    let output = run(folder.path(), &["check"], "");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(found(&[source, ("pipes/p.pipe", &pipe("2"))]), ["unknown_table pipes/p.pipe:4:30"]);
}

#[test]
fn what_connectors_bring_along_is_a_column() {
    let kafka = "SCHEMA >\n    `x` Int8 `json:$.x`\n\nENGINE \"MergeTree\"\nENGINE_PARTITION_KEY \
                 \"toYYYYMM(__timestamp)\"\nENGINE_SORTING_KEY \"__timestamp\"\n\nKAFKA_CONNECTION_NAME k\nKAFKA_TOPIC \
                 t\nKAFKA_GROUP_ID g\n";
    let pipe = "TOKEN t READ\nNODE a\nSQL >\n    SELECT __offset, x FROM clicks\n";
    let folder = folder(&[("datasources/clicks.datasource", kafka), ("pipes/p.pipe", pipe)]);
    let output = run(folder.path(), &["check"], "");
    assert!(output.status.success(), "{}", text(&output));
}
