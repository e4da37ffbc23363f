//! A datafile as it should look: the same statements in the same order, each in its usual form.
//!
//! In: a text. Out: the text with commands in capitals, blocks indented by four blanks, one column a line, blank
//! lines where a new part begins. Comments stay where they are, and nothing that the parser reads changes. What
//! is printed is printed the same a second time.

use super::{
    ColumnLine, Dialect, Kind,
    commands::is_command,
    lexer::{Words, split},
    schema,
};
use crate::diagnostic::Mapped;

/// A text, read as far as its layout goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout<'a> {
    items: Vec<Item<'a>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Item<'a> {
    Blank,
    /// A `#` line, from its mark on.
    Comment(&'a str),
    /// A line whose words are known, and the comment that ends it.
    Line {
        command: String,
        words: Vec<&'a str>,
        comment: Option<&'a str>,
        glued: bool,
    },
    Block {
        command: String,
        head: &'a str,
        kind: BlockKind,
        lines: Vec<&'a str>,
    },
    /// A line that is better left as it is.
    Raw(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum BlockKind {
    Schema,
    /// Every line counts by itself.
    Lines,
    Sql,
    /// Indentation is part of the value.
    Text,
    /// Nobody knows what it is.
    Raw,
}

const INDENT: &str = "    ";

impl<'a> Layout<'a> {
    pub fn read(text: &'a str, kind: Kind, dialect: Dialect) -> Layout<'a> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut items = Vec::new();
        let mut block: Option<Item<'a>> = None;
        let mut after_raw = false;
        for line in lines(text) {
            let words = split(line);
            let first = match &words {
                Words::Split(words, _) => words.first().map(|it| &line[it.start..it.end]),
                Words::Unclosed(_) => None,
            };
            let name = first.map(str::to_lowercase).unwrap_or_default();
            let indented = line.starts_with([' ', '\t']);
            // A fragment may hold commands of any kind.
            let known = match kind {
                Kind::Include => [Kind::Datasource, Kind::Pipe].into_iter().any(|it| is_command(&name, it, dialect)),
                kind => is_command(&name, kind, dialect),
            };
            if let Some(Item::Block { lines, .. }) = &mut block {
                if indented || !known || name == "from" {
                    lines.push(line);
                    continue;
                }
                items.extend(block.take().into_iter().flat_map(Item::without_tail));
            }
            let Words::Split(words, _) = words else {
                items.push(Item::Raw(line.trim_end()));
                after_raw = true;
                continue;
            };
            let Some(last) = words.last() else {
                let trimmed = line.trim();
                items.push(if trimmed.is_empty() { Item::Blank } else { Item::Comment(trimmed) });
                continue;
            };
            let command = name.to_uppercase();
            let is_block = words.get(1).is_some_and(|it| &line[it.start..it.end] == ">");
            if !known || (after_raw && indented) {
                after_raw = true;
                if is_block {
                    let head = line.trim_end();
                    block = Some(Item::Block { command: String::new(), head, kind: BlockKind::Raw, lines: Vec::new() });
                } else {
                    items.push(Item::Raw(line.trim_end()));
                }
                continue;
            }
            after_raw = false;
            if is_block {
                let kind = match name.as_str() {
                    "schema" => BlockKind::Schema,
                    "sql" | "forward_query" => BlockKind::Sql,
                    "indexes" | "indices" | "shared_with" => BlockKind::Lines,
                    _ => BlockKind::Text,
                };
                let head = line[words[1].end..].trim();
                block = Some(Item::Block { command, head, kind, lines: Vec::new() });
                continue;
            }
            let comment = Some(line[last.end..].trim()).filter(|it| !it.is_empty());
            let words = words[1..].iter().map(|it| &line[it.start..it.end]).collect();
            items.push(Item::Line { command, words, comment, glued: line[last.end..].starts_with('#') });
        }
        items.extend(block.into_iter().flat_map(Item::without_tail));
        Layout { items }
    }

    pub fn print(&self) -> String {
        let mut out = String::new();
        let mut before: Option<&Item<'_>> = None;
        let mut blank = false;
        for (index, item) in self.items.iter().enumerate() {
            if *item == Item::Blank {
                blank = true;
                continue;
            }
            // What a comment stands above belongs to it.
            let begins = self.items[index..].iter().find(|it| !matches!(it, Item::Comment(_) | Item::Blank));
            let begins = begins.is_some_and(|it| it.begins_part()) && !matches!(before, Some(Item::Comment(_)));
            let after_block = matches!(before, Some(Item::Block { .. }));
            if before.is_some() && (blank || begins || after_block) {
                out.push('\n');
            }
            item.print(&mut out);
            before = Some(item);
            blank = false;
        }
        out
    }
}

impl<'a> Item<'a> {
    /// Comments at the margin at the end of a block stand above what follows it.
    fn without_tail(self) -> Vec<Item<'a>> {
        let Item::Block { command, head, kind, mut lines } = self else { return vec![self] };
        let outside = |it: &&str| it.trim().is_empty() || it.starts_with('#');
        let said = lines.iter().rposition(|it| !outside(it)).map_or(0, |it| it + 1);
        let tail = lines.split_off(said);
        let tail = tail.into_iter().map(str::trim);
        let tail = tail.map(|it| if it.is_empty() { Item::Blank } else { Item::Comment(it) });
        let block = Item::Block { command, head, kind, lines };
        std::iter::once(block).chain(tail).collect()
    }

    /// A blank line stands before it.
    fn begins_part(&self) -> bool {
        matches!(self, Item::Line { command, .. } if command == "NODE" || command == "SCOPE")
    }

    fn print(&self, out: &mut String) {
        match self {
            Item::Blank => (),
            Item::Comment(text) | Item::Raw(text) => push(out, "", text),
            Item::Line { command, words, comment, glued } => {
                let mut line = command.clone();
                for word in words {
                    line.push(' ');
                    line.push_str(word);
                }
                if let Some(comment) = comment {
                    // A mark that cuts a word is shown as what it is.
                    line.push_str(if *glued { "" } else { "  " });
                    line.push_str(comment);
                }
                push(out, "", &line);
            }
            Item::Block { command, head, kind, lines } => {
                match (command.is_empty(), head.is_empty()) {
                    (true, _) => push(out, "", head),
                    (false, true) => push(out, "", &format!("{command} >")),
                    (false, false) => push(out, "", &format!("{command} > {head}")),
                }
                // Blank lines at the end stand between the block and what follows.
                let said = lines.iter().rposition(|it| !it.trim().is_empty()).map_or(0, |it| it + 1);
                block(out, *kind, &lines[..said]);
            }
        }
    }
}

fn push(out: &mut String, indent: &str, line: &str) {
    if !line.is_empty() {
        out.push_str(indent);
    }
    out.push_str(line);
    out.push('\n');
}

fn block(out: &mut String, kind: BlockKind, lines: &[&str]) {
    let is_comment = |it: &&&str| it.trim_start().starts_with('#');
    match kind {
        BlockKind::Schema => {
            if let Some(columns) = columns(lines) {
                let last = columns.len().saturating_sub(1);
                for (index, column) in columns.iter().enumerate() {
                    push(out, INDENT, &format!("{column}{}", if index < last { "," } else { "" }));
                }
                return;
            }
            for line in lines {
                push(out, INDENT, line.trim());
            }
        }
        BlockKind::Lines => {
            for line in lines.iter().filter(|it| !it.trim().is_empty()) {
                push(out, INDENT, line.trim());
            }
        }
        BlockKind::Sql if !breaks_in_quotes(lines) => sql(out, lines),
        BlockKind::Text if lines.iter().filter(|it| !it.trim().is_empty() && !is_comment(it)).count() == 1 => {
            for line in lines.iter().filter(|it| !it.trim().is_empty()) {
                push(out, INDENT, line.trim());
            }
        }
        BlockKind::Sql | BlockKind::Text | BlockKind::Raw => {
            for line in lines {
                push(out, "", line.trim_end_matches(['\r', '\n']));
            }
        }
    }
}

/// The lines of SQL with the indentation they share replaced by ours; at most one blank line in a row.
fn sql(out: &mut String, lines: &[&str]) {
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let says = |it: &&&str| !it.trim().is_empty() && !it.trim_start().starts_with('#');
    let heads = lines.iter().filter(says).map(|it| &it[..indent(it)]);
    let common = heads.reduce(|a, b| {
        let length = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
        &a[..length]
    });
    let margin = common.map_or(0, str::len);
    let mut blank = true;
    for line in lines {
        let text = line.trim();
        if text.is_empty() {
            blank = blank || {
                out.push('\n');
                true
            };
            continue;
        }
        blank = false;
        if text.starts_with('#') {
            push(out, INDENT, text);
        } else {
            push(out, INDENT, line[margin.min(indent(line))..].trim_end());
        }
    }
}

/// Whether a line ends inside of quotes: then blanks at its ends are part of a value.
fn breaks_in_quotes(lines: &[&str]) -> bool {
    let mut quote = None;
    for line in lines.iter().filter(|it| !it.trim_start().starts_with('#')) {
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match quote {
                Some(open) => match c {
                    '\\' => _ = chars.next(),
                    c if c == open => quote = None,
                    _ => (),
                },
                None if matches!(c, '\'' | '"' | '`') => quote = Some(c),
                None if c == '-' && chars.peek() == Some(&'-') => break,
                None => (),
            }
        }
        if quote.is_some() {
            return true;
        }
    }
    false
}

/// The columns of a SCHEMA without comments, each in canonical order; nothing where something is wrong with one.
fn columns(lines: &[&str]) -> Option<Vec<String>> {
    let text: String = lines.iter().flat_map(|it| [*it, "\n"]).collect();
    let commented = lines.iter().any(|it| it.trim_start().starts_with('#') || it.contains("--"));
    let quoted = text.trim_start().starts_with(['"', '\'']);
    if commented || quoted || text.trim().is_empty() {
        return None;
    }
    let schema = schema::parse(Mapped::whole(text, 0), Dialect::Auto);
    if !schema.diagnostics.is_empty() {
        return None;
    }
    let columns: Vec<String> = schema.columns.iter().map(ColumnLine::written).collect();
    columns.iter().all(|it| !it.contains('\n')).then_some(columns)
}

/// The lines of a text, whatever ends them.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let line = &rest[..length];
        let after = &rest[length..];
        rest = after.strip_prefix("\r\n").or_else(|| after.get(1..)).unwrap_or_default();
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(kind: Kind, text: &str) -> String {
        let once = Layout::read(text, kind, Dialect::Auto).print();
        assert_eq!(Layout::read(&once, kind, Dialect::Auto).print(), once, "not a fixpoint");
        once
    }

    #[test]
    fn a_data_source() {
        let text = "\u{feff}# what it is\nschema >\r\n\t`a`   Int32,b String codec(ZSTD(1)) `json:$.b` \n\n\nengine   \
                    \"MergeTree\"# fast\n  ENGINE_SORTING_KEY a,  b\n\n\n\nTOKEN 'x' READ";
        let expected = "# what it is\nSCHEMA >\n    `a` Int32,\n    `b` String `json:$.b` CODEC(ZSTD(1))\n\nENGINE \
                        \"MergeTree\"# fast\nENGINE_SORTING_KEY a, b\n\nTOKEN 'x' READ\n";
        assert_eq!(printed(Kind::Datasource, text), expected);
    }

    #[test]
    fn a_pipe_keeps_its_comments() {
        let text = "DESCRIPTION >\n  one\n    two\nNODE a\nSQL >\n  %\n    SELECT {{String(x, 'a  b')}}\n\n\n  # why\n      FROM \
                    t\nTYPE endpoint\n# of b\nNODE b\nSQL >\n SELECT '1\n  2'\n";
        let expected = "DESCRIPTION >\n  one\n    two\n\nNODE a\nSQL >\n    %\n      SELECT {{String(x, 'a  b')}}\n\n    # \
                        why\n        FROM t\n\nTYPE endpoint\n\n# of b\nNODE b\nSQL >\n SELECT '1\n  2'\n";
        assert_eq!(printed(Kind::Pipe, text), expected);
    }

    #[test]
    fn what_is_not_understood_stays() {
        for text in ["NONSENSE 1   2\n    3\n", "DESCRIPTION 'it\n", "NOTES > x\n   y\n"] {
            assert_eq!(printed(Kind::Pipe, text), text);
        }
    }
}
