//! Test files and token files: do they speak of things that there are?

use super::Project;
use crate::{
    datafile::{Datafile, Dialect, Kind, TestFile, TestForm, parse_tests},
    diagnostic::{Diagnostic, Source, Span, nearest},
    sql::scan::{self, Position},
};
use std::collections::BTreeSet;

/// What is wrong with the test files of a project, of which `sources` are the datafiles.
pub fn check_tests(_: &Project, sources: &[Source], tests: &[Source], dialect: Dialect) -> Vec<Diagnostic> {
    let of_kind = |kind: Kind| {
        let paths = sources.iter().filter(move |it| Kind::of(&it.path) == Some(kind));
        paths.map(move |it| kind.resource_name(&it.path)).collect::<BTreeSet<_>>()
    };
    let (pipes, datasources) = (of_kind(Kind::Pipe), of_kind(Kind::Datasource));
    let mut diagnostics = Vec::new();
    for source in tests {
        let (file, found) = parse_tests(source, dialect);
        diagnostics.extend(found);
        if let Some(file) = file {
            names(&file, source, &pipes, &datasources, &mut diagnostics);
        }
    }
    diagnostics
}

fn names(
    file: &TestFile,
    source: &Source,
    pipes: &BTreeSet<String>,
    datasources: &BTreeSet<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let place = |word: &str| source.place(find(&source.text, word));
    let unknown = |code, what: &str, name: &str, known: &mut dyn Iterator<Item = &str>| {
        let diagnostic = Diagnostic::error(code, format!("there is no {what} called `{name}`")).at(place(name));
        match nearest(name, known) {
            Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
            None => diagnostic,
        }
    };
    match file.form {
        TestForm::Answers if !file.items.is_empty() && !pipes.contains(&file.name) => {
            let diagnostic = Diagnostic::warning(
                "test_pipe_unknown",
                format!("there is no pipe `{}`, so these tests are never run", file.name),
            );
            let diagnostic = diagnostic.at(source.place(Span::at(0)));
            let hint = match nearest(&file.name, pipes.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean to call the file {meant}.yaml?"),
                None => "a test file is called like the pipe that it tests".to_owned(),
            };
            diagnostics.push(diagnostic.hint(hint));
        }
        TestForm::Quality => {
            for test in file.quality() {
                let pipe = test.pipe.and_then(|it| it.get("name")).and_then(|it| it.as_str());
                if let Some(pipe) = pipe.filter(|it| !pipes.contains(*it)) {
                    diagnostics.push(unknown("test_pipe_unknown", "pipe", pipe, &mut pipes.iter().map(String::as_str)));
                }
                let Some(sql) = test.sql else {
                    if test.pipe.is_none() {
                        let message =
                            format!("the test `{}` has neither sql nor a pipe: there is nothing to run", test.name);
                        diagnostics.push(Diagnostic::warning("test_case_incomplete", message).at(place(test.name)));
                    }
                    continue;
                };
                match scan::scan(sql) {
                    Err(error) => {
                        let message = format!("the SQL of the test `{}`: {error}", test.name);
                        diagnostics.push(Diagnostic::error("sql_syntax", message).at(place(test.name)));
                    }
                    Ok(scan) => {
                        for table in scan.tables.iter().filter(|it| it.position == Position::From) {
                            if !pipes.contains(&table.name) && !datasources.contains(&table.name) {
                                let mut known = pipes.iter().chain(datasources).map(String::as_str);
                                diagnostics.push(unknown(
                                    "unknown_table",
                                    "data source or pipe",
                                    &table.name,
                                    &mut known,
                                ));
                            }
                        }
                    }
                }
            }
        }
        TestForm::Regression | TestForm::Answers => (),
    }
}

/// A `.token` file speaks of resources by name, and of rows by conditions.
pub(super) fn token(
    file: &Datafile,
    datasources: &BTreeSet<String>,
    pipes: &BTreeSet<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for scope in &file.scopes {
        let kind = scope.scope.as_str().split(':').next().unwrap_or_default().to_ascii_uppercase();
        let (what, known) = match kind.as_str() {
            "DATASOURCES" => ("data source", datasources),
            "PIPES" => ("pipe", pipes),
            _ => continue,
        };
        match &scope.resource {
            Some(resource) if resource.as_str() != "*" && !known.contains(resource.as_str()) => {
                let message = format!("there is no {what} called `{resource}`");
                let diagnostic = Diagnostic::error("token_resource_unknown", message).at(file.place(resource.span));
                diagnostics.push(match nearest(resource.as_str(), known.iter().map(String::as_str)) {
                    Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
                    None => diagnostic,
                });
            }
            _ => (),
        }
        if let Some(filter) = scope.filter.as_ref()
            && let Err(error) = scan::scan_filter(filter.as_str())
        {
            let end = filter.as_str().len();
            let span = Span::new(error.span.start.min(end), error.span.end.min(end));
            let diagnostic = Diagnostic::error("token_filter_invalid", format!("this is no condition: {error}"));
            diagnostics.push(diagnostic.at(file.place(filter.value.span(span))));
        }
    }
}

/// Where a word stands by itself in a text; its beginning if it does not.
fn find(text: &str, word: &str) -> Span {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut all = text
        .match_indices(word)
        .filter(|(at, _)| !part(text[..*at].chars().next_back()) && !part(text[at + word.len()..].chars().next()));
    all.next().map_or(Span::at(0), |(at, _)| Span::new(at, at + word.len()))
}
