//! Datafiles: the vectors of two generations of tools, and cases as a user sees them.

use birdhouse::{
    datafile::{Context, Dialect, Kind, parse},
    diagnostic::{Diagnostic, Severity, Source, Style, render},
    project::resolve,
};
use proptest::prelude::*;
use serde_json::Value;
use std::{collections::BTreeMap, fs};

/// Our codes where the vectors have others for the same thing.
const CODES: &[(&str, &[&str])] = &[
    ("unclosed_quote", &["unknown_command"]),
    ("swallowed_command", &["sql_syntax", "type_syntax"]),
    ("type_syntax", &["sql_syntax"]),
    ("schema_unclosed_delimiter", &["sql_syntax"]),
    ("column_name_bad_char", &["schema_bad_char"]),
    ("array_in_schema", &["schema_bad_char", "column_name_bad_char"]),
    ("column_needs_type_or_default", &["schema_bad_char", "column_name_bad_char", "schema_value_missing"]),
    ("unknown_command", &["command_before_node"]),
];

/// Verdicts in which we mean to differ, and why.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("lex06_bom", "classic", "a mark of the byte order is no part of the first command"),
    ("lex06_bom", "forward", "a mark of the byte order is no part of the first command"),
];

/// Lines in which we mean to differ, and why.
const OTHER_LINES: &[(&str, &str)] = &[
    ("ds20", "we point at the misplaced NODE, the original at the end of the block that swallowed it"),
    ("lex15", "the original counts one line too few for each line that was dropped in the block"),
    ("pipe29", "we point at the unknown command, the original at the line that closed its block"),
    ("sch24", "we point at the empty SCHEMA, the original at the line that closed it"),
];

#[test]
fn vectors_of_datafiles() {
    let root = super::vectors::folder().join("datafiles");
    let index: Vec<Value> = serde_json::from_str(&fs::read_to_string(root.join("index.json")).unwrap()).unwrap();
    let (mut verdicts, mut good, mut lines, mut good_lines) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for entry in &index {
        let file = entry["file"].as_str().unwrap();
        let Some(kind) = Kind::of(file) else { continue };
        let source = Source::new(file, fs::read_to_string(root.join(file)).unwrap());
        let include = |path: &str| {
            let text = fs::read_to_string(root.join("cases").join(path)).ok()?;
            Some(Source::new(format!("cases/{path}"), text))
        };
        for (name, dialect) in [("classic", Dialect::Classic), ("forward", Dialect::Forward)] {
            let expected = &entry[name];
            let Some(ok) = expected["ok"].as_bool() else { continue };
            verdicts += 1;
            let environment: BTreeMap<String, String> = serde_json::from_value(entry["env"].clone()).unwrap();
            let context = Context { dialect, environment, ..Context::default() };
            let (datafile, mut diagnostics) = parse(&source, &context, &include).unwrap();
            if kind == Kind::Pipe {
                diagnostics.extend(birdhouse::project::check_templates(&datafile, &context));
            }
            diagnostics.retain(|it| it.severity == Severity::Error);
            diagnostics.sort_by_key(|it| it.place.as_ref().map(|it| it.span.start));
            let found = diagnostics.first();
            let line = found.and_then(|it| it.place.as_ref()).map(|it| source.line_column(it.span.start).line);
            let code = expected["error"]["code"].as_str();
            let same = ok == found.is_none() && code.is_none_or(|code| found.is_some_and(|it| means(it, code)));
            let excepted = DIFFERENT.iter().any(|(it, which, _)| file.contains(it) && *which == name);
            if same {
                good += 1;
            } else if !excepted {
                let found: Vec<_> = diagnostics.iter().map(|it| (it.code, &it.message)).collect();
                wrong.push(format!("{file} {name}: expected {code:?}, found {found:?}"));
            }
            let skipped = ["sch35", "pipe23"].iter().any(|it| file.contains(it));
            if name == "forward"
                && same
                && !skipped
                && let Some(wanted) = expected["error"]["line"].as_u64()
            {
                lines += 1;
                if line == Some(wanted as usize) {
                    good_lines += 1;
                } else if !OTHER_LINES.iter().any(|(it, _)| file.contains(it)) {
                    wrong.push(format!("{file} {name}: expected line {wanted}, found {line:?}"));
                }
            }
        }
    }
    println!("datafiles: {good} of {verdicts} verdicts, {good_lines} of {lines} lines");
    assert!(wrong.is_empty(), "{}\n{good} of {verdicts} verdicts, {good_lines} of {lines} lines", wrong.join("\n"));
}

fn means(diagnostic: &Diagnostic, code: &str) -> bool {
    diagnostic.code == code || CODES.iter().any(|(ours, theirs)| *ours == diagnostic.code && theirs.contains(&code))
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
        let (project, diagnostics) = resolve(&sources, &context);
        let printed: Vec<_> = diagnostics.iter().map(|it| render(it, &sources, Style::Plain)).collect();
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
        let printed: Vec<_> = diagnostics.iter().map(|it| render(it, &sources, Style::Plain)).collect();
        insta::assert_snapshot!(printed.join("\n\n"));
    });
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
                render(diagnostic, &sources, Style::Plain);
            }
        }
    }
}
