//! Test files, fixtures and token files: do they speak of things that there are?

use crate::{
    datafile::{Datafile, Dialect, Kind, TestFile, TestForm, parse_tests},
    diagnostic::{Diagnostic, Place, Source, Span, nearest},
    sql::scan::{self, Position},
};
use regex::Regex;
use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
};

/// What is wrong with the test files of a project, of which `sources` are the datafiles.
pub fn check_tests(sources: &[Source], tests: &[Source], dialect: Dialect) -> Vec<Diagnostic> {
    let (pipes, datasources) = (of_kind(sources, Kind::Pipe), of_kind(sources, Kind::Datasource));
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

/// Fixtures, by their paths, that no data source of the project takes.
pub fn check_fixtures(sources: &[Source], fixtures: &[String]) -> Vec<Diagnostic> {
    const KINDS: &[&str] = &["csv", "ndjson", "jsonl", "parquet", "sql"];
    let datasources = of_kind(sources, Kind::Datasource);
    let mut diagnostics = Vec::new();
    for path in fixtures {
        let file = path.rsplit('/').next().unwrap_or(path);
        let Some((stem, _)) = file.rsplit_once('.').filter(|(_, kind)| KINDS.contains(kind)) else { continue };
        // Forward takes `name_anything.ndjson` for `name` too.
        let is_of =
            |it: &String| stem.strip_prefix(it.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
        if datasources.iter().any(is_of) {
            continue;
        }
        let message = format!("there is no data source called `{stem}`, so nothing loads this fixture");
        let place = Place { path: path.as_str().into(), span: Span::default() };
        let diagnostic = Diagnostic::warning("fixture_unused", message).at(place);
        diagnostics.push(match nearest(stem, datasources.iter().map(String::as_str)) {
            Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
            None => diagnostic.hint("a fixture is called like the data source that it fills"),
        });
    }
    diagnostics
}

/// The names of the files of a kind.
fn of_kind(sources: &[Source], kind: Kind) -> BTreeSet<String> {
    let paths = sources.iter().filter(|it| Kind::of(&it.path) == Some(kind));
    paths.map(|it| kind.resource_name(&it.path)).collect()
}

fn names(
    file: &TestFile,
    source: &Source,
    pipes: &BTreeSet<String>,
    datasources: &BTreeSet<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let words = LazyLock::new(|| Words::of(&source.text));
    let place = |word: &str| source.place(words.find(word));
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
        TestForm::Regression => regression(file, pipes, &place, diagnostics),
        TestForm::Answers => (),
    }
}

/// Rules are for the pipes whose names begin with what a pattern describes; a later rule wins over an earlier one.
fn regression(
    file: &TestFile,
    pipes: &BTreeSet<String>,
    place: &dyn Fn(&str) -> Place,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for pattern in file.items.iter().filter_map(|it| it.get("pipe")?.as_str()) {
        match Regex::new(&format!("^(?:{pattern})")) {
            Ok(regex) if pipes.iter().any(|it| regex.is_match(it)) => (),
            Ok(_) => {
                let message = format!("no pipe has a name that `{pattern}` describes, so this rule is for none");
                let diagnostic = Diagnostic::warning("test_pipe_unknown", message).at(place(pattern));
                diagnostics.push(match nearest(pattern, pipes.iter().map(String::as_str)) {
                    Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
                    None => diagnostic.hint("a pattern is a regular expression: api_.* for all that begin with api_"),
                });
            }
            // What looks around is Python's, and may be right.
            Err(_) if pattern.contains("(?") => (),
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                let message = format!("`{pattern}` is no regular expression: {reason}");
                diagnostics.push(Diagnostic::warning("test_pattern_invalid", message).at(place(pattern)));
            }
        }
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

/// The words of a text, each with the first of its places.
struct Words<'a> {
    text: &'a str,
    places: HashMap<&'a str, usize>,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Words<'a> {
        let mut places = HashMap::new();
        let mut start = None;
        let ends = text.char_indices().chain([(text.len(), ' ')]);
        for (at, c) in ends {
            match (start, c.is_alphanumeric() || c == '_') {
                (None, true) => start = Some(at),
                (Some(from), false) => {
                    places.entry(&text[from..at]).or_insert(from);
                    start = None;
                }
                _ => (),
            }
        }
        Words { text, places }
    }

    /// Where a word stands by itself, or several; the beginning of the text if they do not.
    fn find(&self, words: &str) -> Span {
        let first = words.split(|c: char| !(c.is_alphanumeric() || c == '_')).find(|it| !it.is_empty());
        let Some(at) = first.and_then(|it| self.places.get(it)) else { return Span::at(0) };
        if first == Some(words) {
            return Span::new(*at, at + words.len());
        }
        // What stands before the first word belongs to it: `.*_totals`.
        let from = at.saturating_sub(words.len());
        let from = (0..=from).rev().find(|it| self.text.is_char_boundary(*it)).unwrap_or_default();
        self.text[from..].find(words).map_or(Span::at(*at), |it| Span::new(from + it, from + it + words.len()))
    }
}
