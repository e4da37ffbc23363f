//! Small projects, whole.

use super::*;
use crate::diagnostic::{Sources, Style, render};

fn files(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source::new(*path, *text)).collect()
}

fn said(sources: &[Source]) -> Vec<(&'static str, String)> {
    let (_, diagnostics) = resolve(sources, &Context::default());
    for it in &diagnostics {
        println!("{}\n", render(it, &Sources::of(sources), Style::Plain));
    }
    let place = |it: &Diagnostic| {
        let place = it.place.clone().unwrap();
        let source = sources.iter().find(|it| it.path == place.path).unwrap();
        format!("{}:{}", place.path, source.line_column(place.span.start).line)
    };
    diagnostics.iter().map(|it| (it.code, place(it))).collect()
}

const EVENTS: (&str, &str) = ("datasources/events.datasource", "SCHEMA >\n    `id` UInt32,\n    `at` DateTime\n");

#[test]
fn a_small_project_resolves() {
    let sources = files(&[
        EVENTS,
        (
            "datasources/daily.datasource",
            "SCHEMA >\n    `day` Date,\n    `n` UInt64\nENGINE SummingMergeTree\nENGINE_SORTING_KEY day\n",
        ),
        ("pipes/top.pipe", "NODE last\nSQL >\n    SELECT * FROM middle JOIN daily USING day\n"),
        (
            "pipes/middle.pipe",
            "NODE a\nSQL >\n    SELECT toDate(at) AS day FROM events\nNODE b\nSQL >\n    SELECT * FROM a\n",
        ),
        (
            "pipes/fill.pipe",
            "NODE v\nSQL >\n    SELECT toDate(at) AS day, count() AS n FROM events GROUP BY day\nTYPE materialized\nDATASOURCE daily\n",
        ),
    ]);
    let (project, diagnostics) = resolve(&sources, &Context::default());
    assert_eq!(diagnostics, []);
    let order: Vec<&str> = project.order.iter().map(ResourceName::as_str).collect();
    assert_eq!(order, ["fill", "middle", "top"]);
    let top = project.pipe("top").unwrap();
    assert!(top.is_endpoint());
    let tables: Vec<String> = project.node_tables(top, &top.nodes[0]).iter().map(ToString::to_string).collect();
    assert_eq!(tables, ["daily", "events"]);
    assert_eq!(
        project.pipe("fill").unwrap().kind,
        PipeKind::Materialized { target: ResourceName::new("daily").unwrap() }
    );
}

#[test]
fn wrong_names_are_told() {
    let sources = files(&[
        EVENTS,
        (
            "pipes/p.pipe",
            "NODE a\nSQL >\n    SELECT * FROM event\nNODE v\nSQL >\n    SELECT 1\nTYPE materialized\nDATASOURCE evnts\n",
        ),
        (
            "pipes/q.pipe",
            "NODE events\nSQL >\n    SELECT 1\nNODE q\nSQL >\n    SELECT 1\nNODE q\nSQL >\n    SELECT 1\n",
        ),
        ("more/events.pipe", "NODE a\nSQL >\n    SELECT 1\n"),
    ]);
    let at = |code, place: &str| (code, place.to_owned());
    assert_eq!(
        said(&sources),
        [
            at("unknown_table", "pipes/p.pipe:3"),
            at("target_missing", "pipes/p.pipe:8"),
            at("node_name_taken", "pipes/q.pipe:1"),
            at("node_name_taken", "pipes/q.pipe:4"),
            at("duplicate_node", "pipes/q.pipe:7"),
            at("node_name_taken", "pipes/q.pipe:7"),
            at("duplicate_name", "more/events.pipe:1"),
        ]
    );
}

#[test]
fn circles_are_told_once() {
    let sources = files(&[
        ("a.pipe", "NODE one\nSQL >\n    SELECT * FROM two\nNODE two\nSQL >\n    SELECT * FROM b\n"),
        ("b.pipe", "NODE three\nSQL >\n    SELECT * FROM a\n"),
        ("c.pipe", "NODE self\nSQL >\n    SELECT * FROM self\n"),
    ]);
    let codes: Vec<&str> = said(&sources).iter().map(|it| it.0).collect();
    assert_eq!(codes, ["cycle", "cycle"]);
}
