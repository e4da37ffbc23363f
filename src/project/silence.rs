//! Comments that silence a warning: `# birdhouse: allow CODE, why`.
//!
//! In the lines before a file's first command such a comment holds for the whole file; elsewhere for the line
//! below it, with its block where that is a command, and with its node where that is NODE.

use crate::diagnostic::{Diagnostic, Lines, Severity, Source};
use std::{collections::BTreeMap, ops::Range};

const MARK: &str = "birdhouse: allow ";

/// Errors that one may know better about: nothing else is lost by going on.
const ARGUABLE: &[&str] = &["sorting_key_nullable", "swallowed_command", "template_without_percent"];

/// The comments of a project that silence something.
pub struct Silence<'a> {
    by_path: BTreeMap<&'a str, Silenced<'a>>,
}

struct Silenced<'a> {
    lines: Lines,
    silences: Silences<'a>,
}

impl<'a> Silence<'a> {
    pub fn of(sources: &'a [Source]) -> Silence<'a> {
        let marked = sources.iter().filter(|it| it.text.contains(MARK));
        let silenced = |it: &'a Source| {
            let lines = Lines::of(&it.text);
            Silenced { silences: silences(&it.text, &lines), lines }
        };
        Silence { by_path: marked.map(|it| (&*it.path, silenced(it))).collect() }
    }

    /// The diagnostics that no comment silences.
    pub fn rest(&self, diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
        if self.by_path.is_empty() {
            return diagnostics;
        }
        diagnostics.into_iter().filter(|it| !self.is_silenced(it)).collect()
    }

    fn is_silenced(&self, diagnostic: &Diagnostic) -> bool {
        let Some(place) = diagnostic.place.as_ref() else { return false };
        let Some(silenced) = self.by_path.get(&*place.path) else { return false };
        let line = silenced.lines.line(place.span.start) - 1;
        let may = diagnostic.severity == Severity::Warning || ARGUABLE.contains(&diagnostic.code);
        let Some(ranges) = silenced.silences.get(diagnostic.code).filter(|_| may) else { return false };
        let last = ranges.partition_point(|it| it.start <= line).checked_sub(1);
        last.and_then(|it| ranges.get(it)).is_some_and(|it| it.contains(&line))
    }
}

/// The lines for which a code is silenced, counted from zero: ranges that do not overlap, in order.
type Silences<'a> = BTreeMap<&'a str, Vec<Range<usize>>>;

/// What the comments of a text silence.
fn silences<'a>(text: &'a str, lines: &Lines) -> Silences<'a> {
    let lines: Vec<&str> = (1..=lines.line(text.len())).map(|it| text[lines.range(text, it)].trim_end()).collect();
    let is_comment = |line: &str| line.trim_start().starts_with(['#', '-']) && line.contains(MARK);
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#') && !is_comment(line);
    let is_command = |line: &str| says(line) && !line.starts_with([' ', '\t']);
    let is_node = |line: &str| {
        is_command(line) && line.split_whitespace().next().is_some_and(|it| it.eq_ignore_ascii_case("node"))
    };
    // For each line, the first one from there on that says something, begins a command, or a node.
    let end = lines.len();
    let following = |is: &dyn Fn(&str) -> bool| {
        let mut next = vec![end; end + 1];
        for index in (0..end).rev() {
            next[index] = if is(lines[index]) { index } else { next[index + 1] };
        }
        next
    };
    let (saying, command, node) = (following(&says), following(&is_command), following(&is_node));
    let first = saying[0];
    let mut found: Silences<'_> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, it)| is_comment(it)) {
        let Some((_, rest)) = line.split_once(MARK) else { continue };
        let code = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default();
        let next = saying[index];
        let range = if index < first {
            0..usize::MAX
        } else if next == end || !is_command(lines[next]) {
            next..next + 1
        } else if is_node(lines[next]) {
            next..node[next + 1]
        } else {
            next..command[next + 1]
        };
        let ranges = found.entry(code).or_default();
        // Comments are met from above, so a range begins no sooner than the one before.
        match ranges.last_mut().filter(|it| range.start <= it.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => ranges.push(range),
        }
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
        let of = |text: &'static str| {
            let found = silences(text, &Lines::of(text)).into_iter();
            found.flat_map(|(code, ranges)| ranges.into_iter().map(move |it| (code, it))).collect::<Vec<_>>()
        };
        assert_eq!(of(text), [("one", 2..6), ("two", 9..10)]);
        assert_eq!(of("# birdhouse: allow x\nNODE a\n"), [("x", 0..usize::MAX)]);
        let text = "A 1\n# birdhouse: allow x\nB 2\nC 3\n# birdhouse: allow x\n# birdhouse: allow y\nD >\n  e\n";
        assert_eq!(of(text), [("x", 2..3), ("x", 6..9), ("y", 6..9)]);
    }

    #[test]
    fn errors_stay() {
        let source = Source::new("a.pipe", "# birdhouse: allow x\n# birdhouse: allow y\nNODE a\n");
        let at = |it: Diagnostic| it.at(source.place(Span::at(43)));
        let found = vec![at(Diagnostic::error("x", "")), at(Diagnostic::warning("y", ""))];
        let left = Silence::of(std::slice::from_ref(&source)).rest(found);
        assert_eq!(left.iter().map(|it| it.code).collect::<Vec<_>>(), ["x"]);
    }
}
