//! Plans: what becomes of a project, in words and in SQL. A case is two projects, the deployed one and the
//! wanted one; its snapshot is what a user sees and what the engine is sent.

use birdhouse::{
    datafile::Context,
    ddl,
    diagnostic::{Source, Sources, Style, render},
    name::Namespace,
    plan,
    project::{self, Project},
};
use std::{fmt::Write, path::Path};

#[test]
fn cases() {
    insta::glob!("../cases/plan", "*.txt", |path| {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(path.parent().unwrap());
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.remove_snapshot_suffix();
        settings.bind(|| insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), check(path)));
    });
}

/// `=== deployed` and `=== wanted` begin a project, `--- path` a file of it.
fn check(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let (before, after) = text.split_once("=== wanted\n").unwrap();
    let current = resolve(before.strip_prefix("=== deployed\n").unwrap());
    let wanted = resolve(after);
    let plan = plan::diff(&current, &wanted);
    let mut res = plan.to_string();
    if plan.is_empty() {
        res.push_str("(nothing)\n");
    }
    if plan.refused().next().is_none() {
        for ddl in ddl::lower(&plan, &current, &wanted, &Namespace::new("db")).unwrap() {
            write!(res, "\n{}\n  undo: {}\n", ddl.sql.as_str(), ddl.undo.as_str()).unwrap();
        }
    }
    // The way back from a project to itself is empty, whatever the project is.
    assert!(plan::diff(&wanted, &wanted).is_empty());
    res
}

fn resolve(text: &str) -> Project {
    let files = text.split("--- ").skip(1).map(|it| {
        let (path, text) = it.split_once('\n').unwrap();
        Source::new(path, text)
    });
    let sources: Vec<_> = files.collect();
    let (project, diagnostics) = project::resolve(&sources, &Context::default());
    let words: String = diagnostics.iter().map(|it| render(it, &Sources::of(&sources), Style::Plain)).collect();
    assert_eq!(words, "");
    project
}
