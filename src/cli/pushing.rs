//! A folder's project on its way to a server: files, the reply's plan and diagnostics, fixtures.
//!
//! In: the files of a project, a [`Client`]. Out: what came of it, in words for the terminal. `push` and `dev`
//! both go through here.

use super::{
    client::{Client, escape},
    discover::{Fixture, ProjectFiles},
    fault::user,
    printer::{Colour, Printer, Unit},
    tinyb::Tinyb,
};
use crate::{
    diagnostic::{Diagnostic, Place, Severity, Source, Sources, Span},
    query,
};
use anyhow::Context;
use reqwest::multipart::{Form, Part};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Only say what would happen.
    pub(super) check: bool,
    /// Files that are not sent stay as they are.
    pub(super) partial: bool,
    /// SHARED_WITH lines are carried out too.
    pub(super) share: bool,
    /// Fixtures follow, so that Kafka's rows have to wait for them.
    pub(super) hold_consumers: bool,
}

/// What a server says of a project.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    result: String,
    #[serde(default)]
    pub(super) plan: Vec<Step>,
    #[serde(default)]
    pub(super) diagnostics: Vec<WireDiagnostic>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Step {
    /// `+` comes, `~` changes, `-` goes, `!` is refused.
    pub(super) kind: String,
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireDiagnostic {
    severity: String,
    code: String,
    message: String,
    #[serde(flatten)]
    position: Position,
    hint: Option<String>,
    #[serde(default)]
    related: Vec<Related>,
}

#[derive(Debug, Deserialize)]
struct Related {
    message: String,
    #[serde(flatten)]
    position: Position,
}

/// One-based, in characters, as editors count.
#[derive(Debug, Default, Deserialize)]
struct Position {
    path: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    end_line: Option<usize>,
    end_column: Option<usize>,
}

impl Reply {
    pub(super) fn is_failed(&self) -> bool {
        self.result == "failed"
    }

    pub(super) fn is_unchanged(&self) -> bool {
        self.result == "no_changes"
    }

    /// How many errors there are, in words.
    pub(super) fn errors(&self) -> String {
        let number = self.diagnostics.iter().filter(|it| it.severity == "error").count();
        format!("{number} error{}", if number == 1 { "" } else { "s" })
    }

    /// Prints every diagnostic with the lines of our own files.
    pub(super) fn print_diagnostics(&self, sources: &[Source], printer: &Printer) {
        let known = Sources::of(sources);
        for diagnostic in &self.diagnostics {
            printer.diagnostic(&diagnostic.local(sources), &known);
        }
    }

    pub(super) fn print_plan(&self, printer: &Printer) -> anyhow::Result<()> {
        for Step { kind, text } in &self.plan {
            let colour = match kind.as_str() {
                "+" => Colour::Green,
                "-" | "!" => Colour::Red,
                _ => Colour::Yellow,
            };
            printer.line(format!("{} {text}", printer.paint(colour, kind)))?;
        }
        Ok(())
    }
}

impl WireDiagnostic {
    /// The diagnostic over our own files. When a file is not ours, the words say where it is.
    fn local(&self, sources: &[Source]) -> Diagnostic {
        let (place, prefix) = self.position.in_files(sources);
        let mut res = Diagnostic::error(interned(&self.code), format!("{prefix}{}", self.message));
        if self.severity != "error" {
            res.severity = Severity::Warning;
        }
        res.place = place;
        res.hint = self.hint.clone();
        for related in &self.related {
            if let (Some(place), _) = related.position.in_files(sources) {
                res.related.push((place, related.message.clone()));
            }
        }
        res
    }
}

impl Position {
    fn in_files(&self, sources: &[Source]) -> (Option<Place>, String) {
        let Some(path) = &self.path else { return (None, String::new()) };
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        let column = self.column.map(|column| format!(":{column}")).unwrap_or_default();
        let elsewhere = (None, format!("{path}{line}{column}: "));
        let Some(source) = sources.iter().find(|it| *it.path == **path) else { return elsewhere };
        let (Some(line), Some(column)) = (self.line, self.column) else { return elsewhere };
        let Some(start) = offset(&source.text, line, column) else { return elsewhere };
        let end = self.end_line.zip(self.end_column).and_then(|(line, column)| offset(&source.text, line, column));
        (Some(source.place(Span::new(start, end.unwrap_or(start)))), String::new())
    }
}

/// The byte at a one-based line and column; nothing when the text has no such line.
fn offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let begin = match line.checked_sub(2) {
        None => 0,
        Some(before) => text.match_indices('\n').nth(before)?.0 + 1,
    };
    let rest = &text[begin..];
    let rest = &rest[..rest.find('\n').unwrap_or(rest.len())];
    let within = rest.char_indices().nth(column.checked_sub(1)?).map_or(rest.len(), |(at, _)| at);
    Some(begin + within)
}

/// Codes are few and come again and again: each is kept once, for ever.
fn interned(code: &str) -> &'static str {
    static CODES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut codes = CODES.lock().unwrap_or_else(PoisonError::into_inner);
    match codes.get(code) {
        Some(known) => known,
        None => {
            let code: &'static str = Box::leak(code.to_owned().into_boxed_str());
            codes.insert(code);
            code
        }
    }
}

/// Sends files to a server and gives its reply, good or bad.
pub(super) async fn deploy(client: &Client, sources: &[Source], wish: Wish) -> anyhow::Result<Reply> {
    // Names go as they are: encoded, `data_project://` would be another one.
    let mut form = Form::new().percent_encode_noop();
    for source in sources {
        let part = Part::text(source.text.to_string()).file_name(source.path.to_string()).mime_str("text/plain")?;
        form = form.part("data_project://", part);
    }
    if sources.is_empty() {
        // A form of no part has no valid body.
        form = form.text("context://", "");
    }
    let flags = [
        ("check", wish.check),
        ("partial", wish.partial),
        ("hold_consumers", wish.hold_consumers),
        ("share", wish.share),
    ];
    let flags: Vec<String> = flags.iter().filter(|it| it.1).map(|it| format!("{}=true", it.0)).collect();
    let reply = client.post_files(&format!("/v1/deploy?{}", flags.join("&")), form).await?;
    serde_json::from_value(reply).context("the server's reply to a deploy is not what this birdhouse knows")
}

/// The consumers that waited for fixtures may start.
pub(super) async fn release_consumers(client: &Client) -> anyhow::Result<()> {
    client.post("/v1/consumers/release").await.map(drop)
}

/// Whether fixtures may take the place of what the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overwrite {
    /// Only of no rows, or of those that a fixture has left there.
    OwnRows,
    AllRows,
}

/// What is in a data source: how many rows, and a number that any other row changes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rows {
    rows: u64,
    hash: String,
}

/// Refuses, before anything is sent, fixtures that would take the place of rows which are not theirs.
pub(super) async fn spare_rows(
    client: &Client,
    fixtures: &[Fixture],
    overwrite: Overwrite,
    tinyb: &Path,
) -> anyhow::Result<()> {
    if overwrite == Overwrite::AllRows {
        return Ok(());
    }
    match foreign_rows(client, fixtures, tinyb).await?.first() {
        Some((fixture, there)) => {
            let (name, rows) = (&fixture.datasource, if *there == 1 { "row" } else { "rows" });
            Err(user(format!(
                "data source {name} holds {there} {rows} that no fixture is known to have left there; --force lets its \
                 fixture replace them"
            )))
        }
        None => Ok(()),
    }
}

/// The fixtures whose data sources hold other rows than the last fixture left there, with the number of rows.
pub(super) async fn foreign_rows<'a>(
    client: &Client,
    fixtures: &'a [Fixture],
    tinyb: &Path,
) -> anyhow::Result<Vec<(&'a Fixture, u64)>> {
    let mut res = Vec::new();
    if fixtures.is_empty() {
        return Ok(res);
    }
    let tinyb = Tinyb::read(tinyb)?;
    let reply = client.get("/v0/datasources").await?;
    let known = reply["datasources"].as_array().map(Vec::as_slice).unwrap_or_default();
    for fixture in fixtures {
        let Some(datasource) = known.iter().find(|it| it["name"] == fixture.datasource.as_str()) else { continue };
        let there = datasource["statistics"]["row_count"].as_u64().unwrap_or(0);
        let left = tinyb.fixture(client.host(), &fixture.datasource);
        let left: Option<Rows> = left.and_then(|it| serde_json::from_value(it.clone()).ok());
        // Counted before they are hashed: what differs in number need not be read.
        let own = match left {
            Some(left) if left.rows == there => rows_in(client, &fixture.datasource).await == Some(left),
            _ => false,
        };
        if there > 0 && !own {
            res.push((fixture, there));
        }
    }
    Ok(res)
}

/// What is in a data source now; `None` where rows cannot be hashed or the token may not read them.
async fn rows_in(client: &Client, datasource: &str) -> Option<Rows> {
    let query = query::fingerprint(datasource);
    let reply = client.post_form("/v0/sql", &[("q", query.as_str())]).await.ok()?;
    let row = &reply["data"][0];
    let rows = row["rows"].as_u64().or_else(|| row["rows"].as_str()?.parse().ok())?;
    Some(Rows { rows, hash: row["hash"].as_str()?.to_owned() })
}

/// Keeps in `.tinyb`, where there is one, what a fixture has left: the next one may take its place.
async fn remember_rows(client: &Client, datasource: &str, tinyb: &Path) -> anyhow::Result<()> {
    if !tinyb.exists() {
        return Ok(());
    }
    let rows = rows_in(client, datasource).await;
    let rows = rows.map(serde_json::to_value).transpose().context("a count is no JSON")?;
    let mut file = Tinyb::read(tinyb)?;
    file.set_fixture(client.host(), datasource, rows);
    file.write(tinyb)
}

/// The fixtures whose data sources are empty.
pub(super) async fn without_rows(client: &Client, fixtures: Vec<Fixture>) -> anyhow::Result<Vec<Fixture>> {
    let reply = client.get("/v0/datasources").await?;
    let known = reply["datasources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has_rows = |fixture: &Fixture| {
        let mut known = known.iter().filter(|it| it["name"] == fixture.datasource.as_str());
        known.any(|it| it["statistics"]["row_count"].as_u64().unwrap_or(0) > 0)
    };
    Ok(fixtures.into_iter().filter(|it| !has_rows(it)).collect())
}

/// Loads fixtures, each in place of the rows that are there. Where there are none it is appended: then the views see its
/// rows, which they do not when rows take the place of others.
pub(super) async fn load(
    client: &Client,
    fixtures: &[Fixture],
    root: &Path,
    tinyb: &Path,
    printer: &Printer,
) -> anyhow::Result<()> {
    let progress =
        (fixtures.len() > 3).then(|| printer.progress("loading fixtures", fixtures.len() as u64, Unit::Items));
    let empty = if fixtures.is_empty() { Vec::new() } else { without_rows(client, fixtures.to_vec()).await? };
    for fixture in fixtures {
        let mode = if empty.contains(fixture) { "append" } else { "replace" };
        let shown = fixture.path.strip_prefix(root).unwrap_or(&fixture.path).display().to_string();
        let format = format_of(&fixture.path).ok_or_else(|| user(format!("{shown} is neither CSV nor NDJSON")))?;
        let bytes = fs::read(&fixture.path).map_err(|error| user(format!("{shown} cannot be read: {error}")))?;
        let name = escape(&fixture.datasource);
        let path = format!("/v0/datasources?mode={mode}&name={name}&format={format}");
        let form = Form::new().percent_encode_noop().part(format, Part::bytes(bytes).file_name(shown.clone()));
        let reply = client.post_files(&path, form).await.with_context(|| format!("fixture {shown} was not loaded"))?;
        remember_rows(client, &fixture.datasource, tinyb).await?;
        let rows = reply["blocks"][0]["process_return"][0]["lines"].as_u64();
        let quarantined = reply["quarantine_rows"].as_u64().unwrap_or(0);
        let rows = rows.map(|rows| format!(": {rows} rows")).unwrap_or_default();
        printer.line(format!("{} fixture of {}{rows}", printer.paint(Colour::Green, "+"), fixture.datasource))?;
        if quarantined > 0 {
            let reasons = reply["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
            let reasons: Vec<&str> = reasons.iter().filter_map(|it| it.as_str()).take(3).collect();
            printer.warning(format!(
                "{quarantined} rows of {shown} do not fit and are in {}_quarantine: {}",
                fixture.datasource,
                reasons.join("; ")
            ));
        }
        if let Some(progress) = &progress {
            progress.advance(1);
        }
    }
    if let Some(progress) = progress {
        progress.finish();
    }
    Ok(())
}

fn format_of(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "csv" => Some("csv"),
        "ndjson" | "jsonl" => Some("ndjson"),
        _ => None,
    }
}

/// Says what could not be read of a project; `Err` if that is in the way.
pub(super) fn readable(files: &ProjectFiles, printer: &Printer) -> anyhow::Result<()> {
    let known = Sources::of(&files.sources);
    files.diagnostics.iter().for_each(|it| printer.diagnostic(it, &known));
    if crate::diagnostic::has_errors(&files.diagnostics) {
        return Err(user("the project cannot be read"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(json: serde_json::Value) -> Reply {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_place_comes_back_to_our_own_file() {
        let source = Source::new("pipes/p.pipe", "NODE n\nSQL >\n    sélect x\n");
        let reply = reply(serde_json::json!({"result": "failed", "diagnostics": [{
            "severity": "error", "code": "unknown_column", "message": "there is no column `x`", "path": "pipes/p.pipe",
            "line": 3, "column": 12, "end_line": 3, "end_column": 13, "hint": null, "related": [],
        }]}));
        let diagnostic = reply.diagnostics[0].local(std::slice::from_ref(&source));
        let span = diagnostic.place.unwrap().span;
        assert_eq!(&source.text[span.start..span.end], "x");
        assert_eq!(reply.errors(), "1 error");
    }

    #[test]
    fn a_place_in_a_file_that_is_not_ours_is_told_in_words() {
        let reply = reply(serde_json::json!({"result": "failed", "diagnostics": [{
            "severity": "warning", "code": "odd", "message": "odd", "path": "a.pipe", "line": 3, "column": 1,
        }]}));
        let diagnostic = reply.diagnostics[0].local(&[]);
        assert_eq!((diagnostic.message.as_str(), diagnostic.place), ("a.pipe:3:1: odd", None));
        assert_eq!(diagnostic.severity, Severity::Warning);
    }

    #[test]
    fn offsets() {
        let text = "ab\ncé\n";
        assert_eq!(offset(text, 1, 1), Some(0));
        assert_eq!(offset(text, 2, 3), Some(6));
        assert_eq!(offset(text, 2, 99), Some(6));
        assert_eq!(offset(text, 3, 1), Some(7));
        assert_eq!(offset(text, 9, 1), None);
    }
}
