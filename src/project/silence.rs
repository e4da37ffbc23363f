//! Comments that silence a warning: `# birdhouse: allow CODE, why`.
//!
//! In the lines before a file's first command such a comment holds for the whole file; elsewhere for the line
//! below it, with its block where that is a command, and with its node where that is NODE.

use crate::diagnostic::{Diagnostic, Severity, Source, line_column};
use std::{collections::BTreeMap, ops::Range};

const MARK: &str = "birdhouse: allow ";

/// Errors that one may know better about: nothing else is lost by going on.
const ARGUABLE: &[&str] = &["sorting_key_nullable", "swallowed_command", "template_without_percent"];

/// The diagnostics that no comment silences.
pub fn not_silenced(diagnostics: Vec<Diagnostic>, sources: &[Source]) -> Vec<Diagnostic> {
    if diagnostics.is_empty() {
        return diagnostics;
    }
    let marked: BTreeMap<&str, (&Source, Silences<'_>)> =
        sources.iter().filter(|it| it.text.contains(MARK)).map(|it| (&*it.path, (it, silences(&it.text)))).collect();
    let is_silenced = |it: &Diagnostic| {
        let Some(place) = it.place.as_ref() else { return false };
        let Some((source, silences)) = marked.get(&*place.path) else { return false };
        let line = line_column(&source.text, place.span.start).line - 1;
        let may = it.severity == Severity::Warning || ARGUABLE.contains(&it.code);
        may && silences.iter().any(|(code, lines)| *code == it.code && lines.contains(&line))
    };
    diagnostics.into_iter().filter(|it| !is_silenced(it)).collect()
}

/// Codes, each with the lines for which it is silenced, counted from zero.
type Silences<'a> = Vec<(&'a str, Range<usize>)>;

/// What the comments of a text silence.
fn silences(text: &str) -> Silences<'_> {
    let lines: Vec<&str> = text.lines().collect();
    let is_comment = |line: &str| line.trim_start().starts_with(['#', '-']) && line.contains(MARK);
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#') && !is_comment(line);
    let first = lines.iter().position(|it| says(it)).unwrap_or(lines.len());
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, it)| is_comment(it)) {
        let Some((_, rest)) = line.split_once(MARK) else { continue };
        let code = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default();
        if index < first {
            found.push((code, 0..usize::MAX));
            continue;
        }
        let next = (index..lines.len()).find(|it| says(lines[*it])).unwrap_or(lines.len());
        let is_command = lines.get(next).is_some_and(|it| !it.starts_with([' ', '\t']));
        let word = |it: usize| lines[it].split_whitespace().next().unwrap_or_default();
        let end = if !is_command {
            next + 1
        } else if word(next).eq_ignore_ascii_case("node") {
            let is_node = |it: &usize| word(*it).eq_ignore_ascii_case("node") && !lines[*it].starts_with([' ', '\t']);
            (next + 1..lines.len()).find(is_node).unwrap_or(lines.len())
        } else {
            let is_next = |it: &usize| says(lines[*it]) && !lines[*it].starts_with([' ', '\t']);
            (next + 1..lines.len()).find(is_next).unwrap_or(lines.len())
        };
        found.push((code, next..end));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Span;

    #[test]
    fn a_comment_reaches_what_follows_it() {
        let text = "TOKEN a READ\n# birdhouse: allow one, for a reason\nNODE a\nSQL >\n    SELECT 1\n\nNODE b\nSQL >\n    \
                    -- birdhouse: allow two\n    SELECT 2\n    FROM x\n";
        assert_eq!(silences(text), [("one", 2..6), ("two", 9..10)]);
        assert_eq!(silences("# birdhouse: allow x\nNODE a\n"), [("x", 0..usize::MAX)]);
    }

    #[test]
    fn errors_stay() {
        let source = Source::new("a.pipe", "# birdhouse: allow x\n# birdhouse: allow y\nNODE a\n");
        let at = |it: Diagnostic| it.at(source.place(Span::at(43)));
        let found = vec![at(Diagnostic::error("x", "")), at(Diagnostic::warning("y", ""))];
        let left = not_silenced(found, std::slice::from_ref(&source));
        assert_eq!(left.iter().map(|it| it.code).collect::<Vec<_>>(), ["x"]);
    }
}
