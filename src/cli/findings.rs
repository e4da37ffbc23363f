//! What a check found, in the forms that people and machines read.
//!
//! In: diagnostics and the sources they are about. Out: text for a terminal, JSON, annotations of GitHub, SARIF,
//! JUnit. What was checked, and how, is not known here.

use super::printer::{PrintError, Printer};
use crate::diagnostic::{Diagnostic, Place, Severity, Source, Sources};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum FindingsFormat {
    #[default]
    Human,
    Json,
    Github,
    Sarif,
    Junit,
}

/// All that was found; paths are as a reader in the current folder finds them.
pub(super) struct Findings {
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) sources: Vec<Source>,
    /// How many files were looked at.
    pub(super) files: usize,
    /// Node SQL was tried out on the engine.
    pub(super) engine: bool,
}

impl Findings {
    pub(super) fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|it| it.severity == severity).count()
    }

    pub(super) fn print(&self, format: FindingsFormat, printer: &Printer) -> Result<(), PrintError> {
        match format {
            FindingsFormat::Human => {
                let known = self.known();
                self.diagnostics.iter().try_for_each(|it| printer.finding(it, &known))
            }
            FindingsFormat::Json => printer.line(self.json()),
            FindingsFormat::Github => {
                let known = self.known();
                self.diagnostics.iter().try_for_each(|it| printer.line(annotation(it, &known)))
            }
            FindingsFormat::Sarif => printer.line(format!("{:#}", self.sarif())),
            FindingsFormat::Junit => printer.line(self.junit()),
        }
    }

    /// `3 errors and 1 warning in 11 files`.
    pub(super) fn summary(&self) -> String {
        summary(self.count(Severity::Error), self.count(Severity::Warning), self.files)
    }

    fn known(&self) -> Sources<'_> {
        Sources::of(&self.sources)
    }

    fn json(&self) -> Value {
        let known = self.known();
        let errors = self.count(Severity::Error);
        json!({
            "ok": errors == 0,
            "files": self.files,
            "errors": errors,
            "warnings": self.count(Severity::Warning),
            "engine": self.engine,
            "diagnostics": self.diagnostics.iter().map(|it| object(it, &known)).collect::<Vec<_>>(),
        })
    }

    fn sarif(&self) -> Value {
        let known = self.known();
        let location = |place: &Place| {
            let mut physical = json!({"artifactLocation": {"uri": uri(&place.path)}});
            if let Some((from, to)) = known.range(place) {
                physical["region"] = json!({
                    "startLine": from.line, "startColumn": from.column, "endLine": to.line, "endColumn": to.column,
                });
            }
            json!({"physicalLocation": physical})
        };
        let mut codes: Vec<&str> = self.diagnostics.iter().map(|it| it.code).collect();
        codes.sort_unstable();
        codes.dedup();
        let rule =
            |code: &&str| json!({"id": code, "shortDescription": {"text": super::commands::explain::meaning(code)}});
        let result = |it: &Diagnostic| {
            let mut text = it.message.clone();
            if let Some(hint) = &it.hint {
                text.push_str(&format!(" ({hint})"));
            }
            let related = it.related.iter().map(|(place, words)| {
                let mut value = location(place);
                value["message"] = json!({"text": words});
                value
            });
            json!({
                "ruleId": it.code,
                "level": word(it.severity),
                "message": {"text": text},
                "locations": it.place.iter().map(location).collect::<Vec<_>>(),
                "relatedLocations": related.collect::<Vec<_>>(),
            })
        };
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "columnKind": "unicodeCodePoints",
                "tool": {"driver": {
                    "name": "birdhouse",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": codes.iter().map(rule).collect::<Vec<_>>(),
                }},
                "results": self.diagnostics.iter().map(result).collect::<Vec<_>>(),
            }],
        })
    }

    /// A test for each file: it fails by its errors.
    fn junit(&self) -> String {
        let known = self.known();
        let mut by_file: BTreeMap<&str, Vec<&Diagnostic>> =
            self.sources.iter().map(|it| (&*it.path, Vec::new())).collect();
        for diagnostic in &self.diagnostics {
            by_file.entry(diagnostic.place.as_ref().map_or("project", |it| &it.path)).or_default().push(diagnostic);
        }
        let failing = |found: &[&Diagnostic]| found.iter().any(|it| it.severity == Severity::Error);
        let failures = by_file.values().filter(|it| failing(it)).count();
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"birdhouse check\" \
             tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"0\">\n",
            by_file.len()
        );
        for (file, found) in &by_file {
            let name = escaped(file);
            // Readers of such files want a time, and a check of one file has none of its own.
            let case = format!("    <testcase classname=\"birdhouse\" name=\"{name}\" file=\"{name}\" time=\"0\"");
            if found.is_empty() {
                out.push_str(&format!("{case}/>\n"));
                continue;
            }
            out.push_str(&format!("{case}>\n"));
            let mut lines = Vec::new();
            for it in found {
                let at = it.place.as_ref().and_then(|it| known.range(it));
                let at = at.map_or(String::new(), |(from, _)| format!("{}:{}: ", from.line, from.column));
                let hint = it.hint.as_ref().map_or(String::new(), |it| format!(" ({it})"));
                lines.push(format!("{at}{} [{}] {}{hint}", word(it.severity), it.code, it.message));
            }
            let text = escaped(&lines.join("\n"));
            if failing(found) {
                let first = found.iter().find(|it| it.severity == Severity::Error);
                let message = escaped(first.map_or("", |it| it.message.as_str()));
                let code = first.map_or("", |it| it.code);
                out.push_str(&format!("      <failure type=\"{code}\" message=\"{message}\">{text}</failure>\n"));
            } else {
                out.push_str(&format!("      <system-out>{text}</system-out>\n"));
            }
            out.push_str("    </testcase>\n");
        }
        out.push_str("  </testsuite>\n</testsuites>");
        out
    }
}

/// A command that a workflow of GitHub shows at its line.
fn annotation(diagnostic: &Diagnostic, known: &Sources<'_>) -> String {
    let value = |text: &str| {
        let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        text.replace(':', "%3A").replace(',', "%2C")
    };
    let message = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let mut properties = Vec::new();
    if let Some(place) = &diagnostic.place {
        properties.push(format!("file={}", value(&place.path)));
        if let Some((from, to)) = known.range(place) {
            properties.push(format!("line={},endLine={}", from.line, to.line));
            if from.line == to.line {
                properties.push(format!("col={},endColumn={}", from.column, to.column));
            }
        }
    }
    properties.push(format!("title={}", value(diagnostic.code)));
    let mut text = diagnostic.message.clone();
    if let Some(hint) = &diagnostic.hint {
        text.push_str(&format!("\n{hint}"));
    }
    format!("::{} {}::{}", word(diagnostic.severity), properties.join(","), message(&text))
}

/// One diagnostic as `check --format json` and `parse` print it.
pub(super) fn object(diagnostic: &Diagnostic, sources: &Sources<'_>) -> Value {
    let place = |place: &Place| {
        let mut value = json!({"file": &*place.path});
        if let Some((start, end)) = sources.range(place) {
            value["line"] = start.line.into();
            value["column"] = start.column.into();
            value["end_line"] = end.line.into();
            value["end_column"] = end.column.into();
        }
        value
    };
    let mut value = diagnostic.place.as_ref().map_or_else(|| json!({}), place);
    value["severity"] = word(diagnostic.severity).into();
    value["code"] = diagnostic.code.into();
    value["message"] = diagnostic.message.as_str().into();
    value["hint"] = diagnostic.hint.as_deref().into();
    let related = diagnostic.related.iter().map(|(it, words)| {
        let mut value = place(it);
        value["message"] = words.as_str().into();
        value
    });
    value["related"] = related.collect();
    value
}

/// A path as a URI reference: what is no plain character of one is written as its bytes.
fn uri(path: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');
    utf8_percent_encode(path, ESCAPED).to_string()
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Text for XML: what XML cannot hold at all becomes a question mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

fn summary(errors: usize, warnings: usize, files: usize) -> String {
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    let files = count(files, "file");
    match (errors, warnings) {
        (0, 0) => format!("nothing is wrong in {files}"),
        (errors, 0) => format!("{} in {files}", count(errors, "error")),
        (0, warnings) => format!("{} in {files}", count(warnings, "warning")),
        (errors, warnings) => format!("{} and {} in {files}", count(errors, "error"), count(warnings, "warning")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Span;

    fn findings() -> Findings {
        let source = Source::new("pipes/a,b.pipe", "NODE a\nSQL >\n  SELECT <x>\n");
        let place = source.place(Span::new(15, 21));
        let diagnostic = Diagnostic::error("sql_syntax", "100% & \"wrong\"\nhere").at(place).hint("mend it");
        Findings { diagnostics: vec![diagnostic], sources: vec![source], files: 1, engine: false }
    }

    #[test]
    fn summaries() {
        assert_eq!(summary(0, 0, 11), "nothing is wrong in 11 files");
        assert_eq!(summary(1, 0, 1), "1 error in 1 file");
        assert_eq!(summary(3, 1, 11), "3 errors and 1 warning in 11 files");
        assert_eq!(summary(0, 2, 1), "2 warnings in 1 file");
    }

    #[test]
    fn what_would_end_an_annotation_is_escaped() {
        let findings = findings();
        assert_eq!(
            annotation(&findings.diagnostics[0], &findings.known()),
            "::error file=pipes/a%2Cb.pipe,line=3,endLine=3,col=3,endColumn=9,title=sql_syntax::100%25 & \
             \"wrong\"%0Ahere%0Amend it"
        );
    }

    #[test]
    fn machines_read_the_other_forms() {
        let findings = findings();
        let sarif = findings.sarif();
        let result = &sarif["runs"][0]["results"][0];
        assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 3);
        assert_eq!(sarif["runs"][0]["tool"]["driver"]["rules"][0]["id"], "sql_syntax");
        let junit = findings.junit();
        assert!(junit.contains("failures=\"1\"") && junit.contains("100% &amp; &quot;wrong&quot;"), "{junit}");
        assert!(junit.contains("3:3: error [sql_syntax]"), "{junit}");
    }
}
