//! Words and blocks become values: joined, unquoted, dedented, variables put in their places.

use super::{
    ast::Text,
    lexer::{Lexed, Statement},
};
use crate::diagnostic::{Mapped, Span};

impl Lexed {
    /// The words after a command as they stand, and where.
    fn arguments(&self, statement: &Statement) -> Span {
        match (statement.words.get(1), statement.words.last()) {
            (Some(first), Some(last)) => Span::new(first.start, last.end),
            _ => Span::at(statement.words[0].end),
        }
    }

    /// The words after a command with `separator` between them.
    pub(super) fn joined(&self, statement: &Statement, separator: &str) -> Text {
        let mut value = Mapped::default();
        for (index, &word) in statement.words[1..].iter().enumerate() {
            if index > 0 {
                value.push(separator, self.text.offset(word.start));
            }
            value.push_from(&self.text, word);
        }
        Text { value, span: self.text.span(self.arguments(statement)) }
    }

    /// A single word, without its quotes.
    pub(super) fn word(&self, span: Span) -> Text {
        Text { value: unquote(self.text.slice(span)), span: self.text.span(span) }
    }

    /// The lines of a block as they are, but for blanks around the whole.
    pub(super) fn block(&self, lines: &[Span]) -> Text {
        let mut value = Mapped::default();
        value.reserve(lines.iter().map(|it| it.end - it.start).sum());
        for &line in lines {
            value.push_from(&self.text, line);
        }
        let value = trim(value);
        let span = match (lines.first(), lines.last()) {
            (Some(first), Some(last)) => self.text.span(Span::new(first.start, last.end - 1)),
            _ => Span::default(),
        };
        Text { value, span }
    }

    /// The SQL of a block: a template from its `%` on, other text without the indentation its lines share.
    pub(super) fn sql(&self, lines: &[Span]) -> Mapped {
        let whole = self.block(lines).value;
        if whole.text().starts_with('%') {
            return whole;
        }
        let indent = |line: &Span| {
            let text = self.get(*line);
            text[..text.len() - text.trim_start_matches([' ', '\t']).len()].to_owned()
        };
        let margin = lines.iter().map(indent).reduce(|a, b| {
            let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            a[..common].to_owned()
        });
        let margin = margin.map_or(0, |it| it.len());
        let mut value = Mapped::default();
        for line in lines {
            value.push_from(&self.text, Span::new(line.start + margin, line.end));
        }
        let end = value.text().trim_end().len();
        value.part(Span::new(0, end))
    }
}

/// Without blanks at both ends.
pub(super) fn trim(text: Mapped) -> Mapped {
    let whole = text.text();
    let start = whole.len() - whole.trim_start().len();
    let end = whole.trim_end().len().max(start);
    text.part(Span::new(start, end))
}

/// Without the quotes around it, if the first and the last character are any quotes.
pub(super) fn unquote(text: Mapped) -> Mapped {
    let trimmed = trim(text);
    let whole = trimmed.text();
    match whole.starts_with(['\'', '"']) && whole.ends_with(['\'', '"']) {
        true if whole.len() < 2 => Mapped::default(),
        true => trimmed.slice(Span::new(1, whole.len() - 1)),
        false => trimmed,
    }
}

/// Puts values in the places of `$NAME` and `${NAME}`; unknown names stay, `$$` becomes `$`.
pub(super) fn substitute<'a>(text: Mapped, value: impl Fn(&str) -> Option<&'a str>) -> Mapped {
    if !text.text().contains('$') {
        return text;
    }
    let text = &text;
    let whole = text.text();
    let mut out = Mapped::default();
    let mut at = 0;
    while let Some(dollar) = whole[at..].find('$').map(|it| it + at) {
        out.push_from(text, Span::new(at, dollar));
        let rest = &whole[dollar + 1..];
        let name_of = |text: &str| {
            let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
            if text.starts_with(|c: char| c.is_ascii_digit()) { 0 } else { end }
        };
        let (name, length) = if rest.starts_with('$') {
            out.push_from(text, Span::new(dollar, dollar + 1));
            at = dollar + 2;
            continue;
        } else if let Some(braced) = rest.strip_prefix('{') {
            let end = name_of(braced);
            (if braced[end..].starts_with('}') { &braced[..end] } else { "" }, end + 3)
        } else {
            let end = name_of(rest);
            (&rest[..end], end + 1)
        };
        match value(name).filter(|_| !name.is_empty()) {
            Some(value) => {
                replace(&mut out, value, text.offset(dollar));
                at = dollar + length;
            }
            None => {
                out.push_from(text, Span::new(dollar, dollar + 1));
                at = dollar + 1;
            }
        }
    }
    out.push_from(text, Span::new(at, whole.len()));
    out
}

/// Appends text that stands for what is at `from`: all of it points there.
pub(super) fn replace(out: &mut Mapped, text: &str, from: usize) {
    let mut buffer = [0; 4];
    for c in text.chars() {
        out.push(c.encode_utf8(&mut buffer), from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_their_places() {
        let value = |name: &str| (name == "A").then_some("long value");
        for (text, expected) in [
            ("$A-${A}", "long value-long value"),
            ("$AB $B ${B} $$A $ $1 ${A", "$AB $B ${B} $A $ $1 ${A"),
            ("^x$", "^x$"),
        ] {
            let out = substitute(Mapped::whole(text, 10), value);
            assert_eq!(out.text(), expected);
        }
        let out = substitute(Mapped::whole("x $A y", 10), value);
        assert_eq!(out.offset(out.text().find('y').unwrap()), 15);
        assert_eq!(out.offset(5), 12);
    }

    #[test]
    fn quotes_need_not_match() {
        for (text, expected) in [("\"a\"", "a"), ("'a\"", "a"), ("\"a\", \"b\"", "a\", \"b"), ("\"\"", ""), ("a", "a")]
        {
            assert_eq!(unquote(Mapped::whole(text, 0)).text(), expected);
        }
    }
}
