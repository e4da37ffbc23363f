//! Lines become statements: a command with its words or its block.
//!
//! Blank lines and `#` lines vanish, also inside blocks; a command at column zero closes a block; INCLUDE is
//! replaced by the lines of the file it names. Every piece of text still knows where it came from.

use super::{
    Context, Dialect, Files, Includes, Kind, MissingSecret,
    commands::{home, is_command, names},
    secrets,
    values::{substitute, unquote},
};
use crate::{
    diagnostic::{Diagnostic, Mapped, Source, Span, nearest},
    sql::ColumnType,
};
use std::sync::Arc;

/// What the lexer makes of a file.
pub(super) struct Lexed {
    /// All lines, those of included files in their place; spans of statements are in it.
    pub(super) text: Mapped,
    pub(super) files: Files,
    pub(super) statements: Vec<Statement>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Statement {
    /// The command in lower case.
    pub(super) name: String,
    /// The words of the line, the command first.
    pub(super) words: Vec<Span>,
    /// The lines of its block, line breaks included.
    pub(super) block: Option<Vec<Span>>,
}

/// How a line falls into words.
#[derive(Debug, PartialEq)]
pub(super) enum Words {
    /// The words, and where a `#` cut one.
    Split(Vec<Span>, Option<usize>),
    /// A word begins with a quote, here, that nothing closes.
    Unclosed(usize),
}

/// A file that is being read.
struct Frame {
    text: Arc<str>,
    /// The offset of its first byte among the files.
    base: usize,
    position: usize,
    /// What INCLUDE gave for its variables; nothing for the file itself.
    variables: Option<Vec<(String, String)>>,
}

struct Lexer<'a> {
    kind: Kind,
    context: &'a Context,
    includes: Includes<'a>,
    frames: Vec<Frame>,
    out: Lexed,
    open: Option<Statement>,
    /// The last line was no command: what is indented beneath it belongs to it.
    after_unknown: bool,
    /// The rest of an open SCHEMA is not read: a command was lost in it.
    skip_block: bool,
}

const MAX_INCLUDE_DEPTH: usize = 16;
const MAX_INCLUDES: usize = 1000;

/// Reads a file.
pub(super) fn lex(kind: Kind, source: &Source, context: &Context, includes: Includes<'_>) -> Lexed {
    let out = Lexed {
        text: Mapped::default(),
        files: Files::new(source.clone()),
        statements: Vec::new(),
        diagnostics: Vec::new(),
    };
    let mut lexer =
        Lexer { kind, context, includes, frames: Vec::new(), out, open: None, after_unknown: false, skip_block: false };
    lexer.out.text.reserve(source.text.len() + 1);
    // A mark of the byte order at the beginning is no part of the first command.
    let position = if source.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    lexer.frames.push(Frame { text: source.text.clone(), base: 0, position, variables: None });
    while let Some(line) = lexer.next_line() {
        lexer.line(line);
    }
    lexer.close();
    lexer.out
}

impl Lexed {
    pub(super) fn get(&self, span: Span) -> &str {
        &self.text.text()[span.start..span.end]
    }
}

impl Lexer<'_> {
    /// Takes over the next line with `\n` as its end, and gives its span without that.
    fn next_line(&mut self) -> Option<Span> {
        loop {
            let frame = self.frames.last_mut()?;
            if frame.position >= frame.text.len() {
                self.frames.pop();
                continue;
            }
            let from = frame.position;
            let rest = &frame.text[from..];
            let length = rest.find(['\n', '\r']).unwrap_or(rest.len());
            let ending = if rest[length..].starts_with("\r\n") { 2 } else { 1 };
            frame.position = from + length + ending;
            let (text, base) = (frame.text.clone(), frame.base);
            let line = &text[from..from + length];
            let start = self.out.text.text().len();
            if frame.variables.is_none() && !line.contains("{{") {
                self.out.text.push(line, base + from);
            } else {
                let line = Mapped::whole(line, base + from);
                let line = match &frame.variables {
                    Some(variables) => substitute(line, |name| {
                        variables.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
                    }),
                    None => line,
                };
                let line = self.reveal(line);
                self.out.text.push_from(&line, Span::new(0, line.text().len()));
            }
            let end = self.out.text.text().len();
            self.out.text.push("\n", base + from + length);
            return Some(Span::new(start, end));
        }
    }

    /// Puts secrets in their places: Forward renders these files before it reads them.
    fn reveal(&mut self, line: Mapped) -> Mapped {
        let renders =
            self.context.dialect != Dialect::Classic && matches!(self.kind, Kind::Datasource | Kind::Connection);
        if !renders || !line.text().contains("{{") || line.text().trim_start().starts_with('#') {
            return line;
        }
        let (line, diagnostics) = secrets::render(&line, self.context);
        for (span, diagnostic) in diagnostics {
            let severe =
                self.context.dialect == Dialect::Forward || self.context.missing_secret == MissingSecret::Error;
            if severe {
                self.out.diagnostics.push(diagnostic.at(self.out.files.place(span)));
            }
        }
        line
    }

    fn line(&mut self, line: Span) {
        let words = split(self.out.get(line));
        let indented = self.out.get(line).starts_with([' ', '\t']);
        match words {
            Words::Split(words, _) if words.is_empty() => (),
            Words::Split(words, cut) => {
                let words: Vec<Span> = words.into_iter().map(|it| it.shift(line.start)).collect();
                let cut = cut.map(|it| it + line.start);
                if self.open.is_some() {
                    if self.closes(words[0], indented) {
                        self.close();
                    } else {
                        return self.text(line, &words, indented);
                    }
                }
                self.statement(line, words, cut, indented);
            }
            Words::Unclosed(at) => {
                if self.open.is_some() {
                    return self.text(line, &[], indented);
                }
                let at = line.start + at;
                let span = Span::new(at, line.end);
                self.report(
                    Diagnostic::error("unclosed_quote", "this quote is never closed")
                        .hint("a word that begins with a quote ends with the same quote, on the same line"),
                    span,
                );
                self.after_unknown = true;
            }
        }
    }

    /// Whether a line with this first word ends the open block.
    fn closes(&self, first: Span, indented: bool) -> bool {
        if indented {
            return false;
        }
        let name = self.out.get(first).to_lowercase();
        name != "from" && is_command(&name, self.kind, self.context.dialect)
    }

    fn close(&mut self) {
        self.skip_block = false;
        if let Some(statement) = self.open.take()
            && is_command(&statement.name, self.kind, self.context.dialect)
        {
            self.out.statements.push(statement);
        }
    }

    /// A line of the open block.
    fn text(&mut self, line: Span, words: &[Span], indented: bool) {
        if self.skip_block {
            return;
        }
        if let Some(&first) = words.first()
            && self.is_lost_command(first, words.get(1).copied(), indented)
        {
            return;
        }
        if let Some(lines) = self.open.as_mut().and_then(|it| it.block.as_mut()) {
            // The line break is in the text, just after the line.
            lines.push(Span::new(line.start, line.end + 1));
        }
    }

    /// Looks for a command that the open block swallows. Whether the line is better left out of the block.
    fn is_lost_command(&mut self, first: Span, second: Option<Span>, indented: bool) -> bool {
        let word = self.out.get(first);
        let loud = word.len() > 2 && word.chars().all(|it| it.is_ascii_uppercase() || it == '_');
        let Some(open) = self.open.as_ref().filter(|_| loud) else { return false };
        let (block, name) = (open.name.to_uppercase(), word.to_lowercase());
        let second = second.map_or("", |it| self.out.get(it));
        let schema = open.name == "schema" || open.name == "indexes";
        if schema {
            let before = open.block.as_ref().and_then(|it| it.last()).map_or("", |it| self.out.get(*it).trim_end());
            let is_column =
                before.is_empty() || before.ends_with(',') || ColumnType::parse(second.trim_end_matches(',')).is_ok();
            if is_column || before.contains("--") || (indented && !is_command(&name, self.kind, Dialect::Auto)) {
                return false;
            }
        } else if indented {
            let plain =
                ["from", "settings", "sql", "node", "source", "filter", "mode", "token", "test", "ttl", "version"];
            let known = is_command(&name, self.kind, self.context.dialect) && !plain.contains(&name.as_str());
            if !known || second.is_empty() || second.starts_with([',', '=', '(']) {
                return false;
            }
        } else if is_sql_word(word)
            || (second != ">" && !names(self.kind, self.context.dialect).any(|it| close(&name, it)))
        {
            return false;
        }
        let known = is_command(&name, self.kind, self.context.dialect);
        let message = match known {
            true => format!("`{word}` is indented, so it is read as text of the {block} block, not as a command"),
            false => format!("`{word}` is no command, so this line is read as text of the {block} block"),
        };
        let meant = names(self.kind, self.context.dialect);
        let hint = match (known, nearest(&name, meant)) {
            (true, _) => "remove the blanks before it".to_owned(),
            (false, Some(meant)) => format!("did you mean {}?", meant.to_uppercase()),
            (false, None) => match home(&name) {
                Some(home) => format!("{word} is a command of {home} files"),
                None => format!("the {block} block goes on until the next line that begins with a command"),
            },
        };
        let diagnostic = match schema {
            true => Diagnostic::error("swallowed_command", message),
            false => Diagnostic::warning("swallowed_command", message),
        };
        self.report(diagnostic.hint(hint), first);
        self.skip_block = schema;
        schema
    }

    /// A line outside of blocks.
    fn statement(&mut self, line: Span, words: Vec<Span>, cut: Option<usize>, indented: bool) {
        let name = self.out.get(words[0]).to_lowercase();
        let known = is_command(&name, self.kind, self.context.dialect);
        if words.get(1).is_some_and(|it| self.out.get(*it) == ">") {
            if !known {
                self.unknown(words[0], "unknown_block_command");
            }
            if let Some(lost) = words.get(2) {
                let lost = Span::new(lost.start, line.end);
                self.report(
                    Diagnostic::warning("text_after_block_mark", "the text after `>` is lost")
                        .hint("a block begins on the line below its command"),
                    lost,
                );
            }
            self.after_unknown = false;
            self.open = Some(Statement { name, words, block: Some(Vec::new()) });
            return;
        }
        if name == "settings" && matches!(self.kind, Kind::Datasource | Kind::Pipe) {
            self.report(
                Diagnostic::error("settings_command_forbidden", "SETTINGS is no command of a datafile")
                    .hint("settings of a table are written as ENGINE_SETTINGS; in SQL, indent the line"),
                words[0],
            );
            self.after_unknown = true;
            return;
        }
        if !known {
            if !(self.after_unknown && indented) {
                self.unknown(words[0], "unknown_command");
            }
            self.after_unknown = true;
            return;
        }
        self.after_unknown = false;
        if let Some(cut) = cut {
            self.report(
                Diagnostic::warning("hash_cuts_value", "`#` begins a comment here, in the middle of a word")
                    .hint("put the value in quotes to keep the `#`"),
                Span::new(cut, cut + 1),
            );
        }
        if name == "include" && self.kind != Kind::Connection && self.context.dialect != Dialect::Forward {
            self.include(&words);
            return;
        }
        self.out.statements.push(Statement { name, words, block: None });
    }

    fn unknown(&mut self, word: Span, code: &'static str) {
        let text = self.out.get(word).to_owned();
        let name = text.to_lowercase();
        let extension = self.kind.extension();
        let diagnostic = Diagnostic::error(code, format!("`{text}` is no command of a .{extension} file"));
        let diagnostic = if let Some(glued) = text.strip_suffix('>').filter(|it| !it.is_empty()) {
            diagnostic.hint(format!("a blank is missing: {} >", glued.to_uppercase()))
        } else if let Some(meant) = nearest(&name, names(self.kind, self.context.dialect)) {
            diagnostic.hint(format!("did you mean {}?", meant.to_uppercase()))
        } else if let Some(home) = home(&name) {
            let belongs = if is_command(&name, self.kind, Dialect::Auto) {
                "the other generation of Tinybird knows it: check with --dialect auto".to_owned()
            } else {
                format!("it is a command of {home} files")
            };
            diagnostic.hint(belongs)
        } else {
            diagnostic
        };
        self.report(diagnostic, word);
    }

    fn include(&mut self, words: &[Span]) {
        let whole = |lexer: &Self, span: Span| {
            let value = unquote(lexer.out.text.slice(span));
            substitute(value, |name| lexer.context.environment.get(name).map(String::as_str)).text().to_owned()
        };
        let Some(&path_span) = words.get(1) else {
            self.report(Diagnostic::error("missing_argument", "INCLUDE needs the path of a file"), words[0]);
            return;
        };
        let path = whole(self, path_span);
        let mut variables = Vec::new();
        for &word in &words[2..] {
            match whole(self, word).split_once('=') {
                Some((name, value)) => variables.push((name.to_owned(), value.to_owned())),
                None => self.report(
                    Diagnostic::error("include_variable", "a variable of INCLUDE is written \"NAME=value\""),
                    word,
                ),
            }
        }
        if self.frames.len() >= MAX_INCLUDE_DEPTH || self.out.files.count() >= MAX_INCLUDES {
            let message = format!("`{path}` is included too deeply: files that include each other never end");
            self.report(Diagnostic::error("include_too_deep", message), path_span);
            return;
        }
        let Some(source) = (self.includes)(&path) else {
            self.report(
                Diagnostic::error("include_not_found", format!("there is no file `{path}` to include"))
                    .hint("the path is relative to the folder of this file"),
                path_span,
            );
            return;
        };
        let text = source.text.clone();
        let base = self.out.files.add(source);
        self.frames.push(Frame { text, base, position: 0, variables: Some(variables) });
    }

    /// Says something about a range of the text.
    fn report(&mut self, diagnostic: Diagnostic, span: Span) {
        let place = self.out.files.place(self.out.text.span(span));
        self.out.diagnostics.push(diagnostic.at(place));
    }
}

fn close(name: &str, command: &str) -> bool {
    nearest(name, [command]).is_some()
}

/// Words in capitals that begin lines of SQL.
fn is_sql_word(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "JOIN",
        "LEFT",
        "RIGHT",
        "INNER",
        "OUTER",
        "FULL",
        "CROSS",
        "ANY",
        "ALL",
        "ASOF",
        "UNION",
        "HAVING",
        "WITH",
        "AND",
        "OR",
        "NOT",
        "ON",
        "USING",
        "AS",
        "PREWHERE",
        "ARRAY",
        "FINAL",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "IN",
        "INTERSECT",
        "EXCEPT",
        "SETTINGS",
        "FORMAT",
        "SAMPLE",
        "WINDOW",
        "QUALIFY",
        "DISTINCT",
        "BETWEEN",
        "LIKE",
        "ILIKE",
        "NULL",
        "ASC",
        "DESC",
        "TTL",
    ];
    WORDS.contains(&word)
}

/// Splits a line as Tinybird's tools do: at blanks; a word that begins with a quote ends with it; `#` ends the line.
pub(super) fn split(line: &str) -> Words {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let at = line.len() - rest.len();
        let Some(first) = rest.chars().next() else { return Words::Split(words, None) };
        match first {
            '#' => {
                let glued = at > 0 && !line[..at].ends_with([' ', '\t']);
                return Words::Split(words, glued.then_some(at));
            }
            '\'' | '"' => match rest[1..].find(first) {
                Some(length) => {
                    let length = length + 2;
                    words.push(Span::new(at, at + length));
                    rest = &rest[length..];
                }
                None => return Words::Unclosed(at),
            },
            _ => {
                let length = rest.find([' ', '\t', '\r', '\n', '#']).unwrap_or(rest.len());
                words.push(Span::new(at, at + length));
                rest = &rest[length..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_the_original_splits_them() {
        let words = |line: &str| match split(line) {
            Words::Split(words, cut) => (words.iter().map(|it| line[it.start..it.end].to_owned()).collect(), cut),
            Words::Unclosed(at) => (vec![], Some(at)),
        };
        let list = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        for (line, expected) in [
            ("  NODE\ta ", (list(&["NODE", "a"]), None)),
            ("A \"a\"b", (list(&["A", "\"a\"", "b"]), None)),
            ("A it's DateTime('UTC')", (list(&["A", "it's", "DateTime('UTC')"]), None)),
            ("A a#b c", (list(&["A", "a"]), Some(3))),
            ("A \"a#b\" # c", (list(&["A", "\"a#b\""]), None)),
            ("A \"a\"#c", (list(&["A", "\"a\""]), Some(5))),
            ("# 'x", (list(&[]), None)),
            ("", (list(&[]), None)),
            ("D 'tis", (vec![], Some(2))),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
    }
}
