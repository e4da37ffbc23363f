//! The engine's lexing of SQL, token by token; what the engine and this file could read differently is refused.
//!
//! In: a text. Out: the tokens that matter (no white space, no comments), brackets paired.

use super::{Refused, ScanError};
use crate::diagnostic::Span;
use std::borrow::Cow;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    pub span: Span,
    /// For a bracket: the index of its partner.
    pub partner: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A bare word: a name or a keyword.
    Word,
    /// A name in quotes.
    Quoted,
    /// A string literal, here documents included.
    String,
    Number,
    /// `(`, `[`, `{`.
    Open(u8),
    Close(u8),
    Comma,
    Semicolon,
    Dot,
    Star,
    Arrow,
    /// `::`
    Cast,
    /// Any other operator.
    Operator,
}

const MAX_DEPTH: usize = 200;
pub(super) const MAX_LENGTH: usize = 1 << 20;

pub(super) fn lex(text: &str) -> Result<Vec<Token>, ScanError> {
    if text.len() > MAX_LENGTH {
        return Err(error(Span::at(0), "this SQL is longer than 1 MB"));
    }
    lex_until(text, |_| false)
}

/// The tokens up to the first after which `done` says so: what follows need not be SQL.
pub(super) fn lex_until(text: &str, done: impl Fn(&[Token]) -> bool) -> Result<Vec<Token>, ScanError> {
    let mut lexer = Lexer { text, bytes: text.as_bytes(), at: 0 };
    let mut tokens: Vec<Token> = Vec::with_capacity((text.len() / 4).min(4096));
    let mut open: Vec<usize> = Vec::new();
    while lexer.skip_blank()? {
        let start = lexer.at;
        let kind = lexer.next(tokens.last().map(|it| it.kind))?;
        let span = Span::new(start, lexer.at);
        let mut partner = 0;
        match kind {
            Kind::Open(_) => {
                if open.len() == MAX_DEPTH {
                    return Err(error(span, "brackets are nested too deep"));
                }
                open.push(tokens.len());
            }
            Kind::Close(bracket) => match open.pop() {
                Some(index) if tokens[index].kind == Kind::Open(opening(bracket)) => {
                    partner = index;
                    tokens[index].partner = tokens.len();
                }
                _ => return Err(error(span, "this bracket closes none")),
            },
            _ => (),
        }
        tokens.push(Token { kind, span, partner });
        if done(&tokens) {
            break;
        }
    }
    match open.pop() {
        Some(index) => Err(error(tokens[index].span, "this bracket is not closed")),
        None => Ok(tokens),
    }
}

/// What a quoted name stands for, as the engine unescapes it; nothing where it holds an escape that names
/// have no use for.
pub(super) fn unquote(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = if let Some(inner) = quoted.strip_prefix('“') {
        return inner.strip_suffix('”').filter(|it| !it.is_empty()).map(Cow::Borrowed);
    } else {
        quoted.get(1..quoted.len() - 1)?
    };
    if inner.is_empty() {
        return None;
    }
    let quote = *quoted.as_bytes().first()?;
    if !inner.as_bytes().iter().any(|it| *it == b'\\' || *it == quote) {
        return Some(Cow::Borrowed(inner));
    }
    let mut res: Vec<u8> = Vec::with_capacity(inner.len());
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next()? {
                it @ (b'\\' | b'`' | b'"' | b'\'') => res.push(it),
                b'x' => {
                    let digit = |it: u8| char::from(it).to_digit(16).map(|it| it as u8);
                    let value = digit(bytes.next()?)? * 16 + digit(bytes.next()?)?;
                    // A NUL would end the name for some readers and not for others.
                    res.push(Some(value).filter(|it| *it != 0)?);
                }
                _ => return None,
            },
            // Doubled.
            it if it == quote => res.push(bytes.next()?),
            it => res.push(it),
        }
    }
    String::from_utf8(res).ok().map(Cow::Owned)
}

pub(super) fn error(span: Span, message: impl Into<String>) -> ScanError {
    ScanError { category: Refused::Syntax, span, message: message.into() }
}

fn opening(close: u8) -> u8 {
    match close {
        b')' => b'(',
        b']' => b'[',
        _ => b'{',
    }
}

struct Lexer<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Skips white space and comments; false at the end.
    fn skip_blank(&mut self) -> Result<bool, ScanError> {
        loop {
            match self.peek(0) {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'-' if self.peek(1) == b'-' => self.skip_line(),
                b'#' if matches!(self.peek(1), b' ' | b'!') => self.skip_line(),
                b'/' if self.peek(1) == b'*' => {
                    // Comments do not nest.
                    let Some(end) = self.text[self.at + 2..].find("*/") else {
                        return Err(error(Span::new(self.at, self.text.len()), "this comment is not closed"));
                    };
                    self.at += 2 + end + 2;
                }
                0x80.. => match self.text[self.at..].chars().next() {
                    Some(c) if is_unicode_blank(c) => self.at += c.len_utf8(),
                    _ => return Ok(true),
                },
                _ => return Ok(self.at < self.bytes.len()),
            }
        }
    }

    fn skip_line(&mut self) {
        self.at = self.text[self.at..].find('\n').map_or(self.text.len(), |it| self.at + it);
    }

    fn skip_while(&mut self, accept: impl Fn(u8) -> bool) {
        while self.at < self.bytes.len() && accept(self.bytes[self.at]) {
            self.at += 1;
        }
    }

    fn next(&mut self, previous: Option<Kind>) -> Result<Kind, ScanError> {
        let start = self.at;
        let byte = self.peek(0);
        let one = |it: &mut Self, kind| {
            it.at += 1;
            Ok(kind)
        };
        let two = |it: &mut Self, kind| {
            it.at += 2;
            Ok(kind)
        };
        match (byte, self.peek(1)) {
            (b'(' | b'[' | b'{', _) => one(self, Kind::Open(byte)),
            (b')' | b']' | b'}', _) => one(self, Kind::Close(byte)),
            (b',', _) => one(self, Kind::Comma),
            (b';', _) => one(self, Kind::Semicolon),
            (b'*', _) => one(self, Kind::Star),
            (b'-', b'>') => two(self, Kind::Arrow),
            (b':', b':') => two(self, Kind::Cast),
            (b'<', b'=') if self.peek(2) == b'>' => {
                self.at += 3;
                Ok(Kind::Operator)
            }
            (b'!', b'=') | (b'<', b'=' | b'>') | (b'>' | b'=', b'=') | (b'|', b'|') => two(self, Kind::Operator),
            (b'+' | b'-' | b'/' | b'%' | b'=' | b'<' | b'>' | b'?' | b':' | b'^', _) => one(self, Kind::Operator),
            (b'\'', _) => self.quoted(b'\'', Kind::String),
            (b'"' | b'`', _) => self.quoted(byte, Kind::Quoted),
            (b'.', next) => {
                let after_value =
                    matches!(previous, Some(Kind::Close(b')' | b']') | Kind::Word | Kind::Quoted | Kind::Number));
                if self.at == 0 || !next.is_ascii_digit() || after_value {
                    return one(self, Kind::Dot);
                }
                self.at += 1;
                self.skip_while(|it| it.is_ascii_digit() || it == b'_');
                self.exponent(false);
                Ok(Kind::Number)
            }
            (b'0'..=b'9', _) => self.number(previous == Some(Kind::Dot)),
            (b'$', _) => self.heredoc(),
            _ if is_word(byte) => {
                self.skip_while(|it| is_word(it) || it == b'$');
                Ok(Kind::Word)
            }
            (0x80.., _) => {
                let rest = &self.text[self.at..];
                let c = rest.chars().next().unwrap_or_default();
                let (close, kind) = match c {
                    '“' => ('”', Kind::Quoted),
                    '‘' => ('’', Kind::String),
                    '\u{2212}' => {
                        self.at += c.len_utf8();
                        return Ok(Kind::Operator);
                    }
                    _ => {
                        return Err(error(
                            Span::new(start, start + c.len_utf8()),
                            "names with such letters need quotes",
                        ));
                    }
                };
                match rest.find(close) {
                    Some(end) => {
                        self.at += end + close.len_utf8();
                        Ok(kind)
                    }
                    None => Err(error(Span::new(start, self.text.len()), "this quote is not closed")),
                }
            }
            _ => Err(error(Span::new(start, start + 1), "this character has no meaning here")),
        }
    }

    fn quoted(&mut self, quote: u8, kind: Kind) -> Result<Kind, ScanError> {
        let start = self.at;
        self.at += 1;
        loop {
            self.skip_while(|it| it != quote && it != b'\\');
            if self.at >= self.bytes.len() {
                return Err(error(Span::new(start, self.bytes.len()), "this quote is not closed"));
            }
            if self.bytes[self.at] == b'\\' {
                self.at += 2;
                continue;
            }
            self.at += 1;
            if self.peek(0) != quote {
                return Ok(kind);
            }
            self.at += 1;
        }
    }

    /// `$tag$ .. $tag$`, or a word that begins with `$`.
    fn heredoc(&mut self) -> Result<Kind, ScanError> {
        let start = self.at;
        self.at += 1;
        self.skip_while(is_word);
        if self.peek(0) == b'$' {
            let tag = &self.text[start..=self.at];
            return match self.text[self.at + 1..].find(tag) {
                Some(end) => {
                    self.at += 1 + end + tag.len();
                    Ok(Kind::String)
                }
                None => Err(error(Span::new(start, self.at + 1), "this here document is not closed")),
            };
        }
        if self.at == start + 1 {
            return Err(error(Span::new(start, start + 1), "this character has no meaning here"));
        }
        Ok(Kind::Word)
    }

    fn number(&mut self, after_dot: bool) -> Result<Kind, ScanError> {
        let start = self.at;
        if after_dot {
            self.skip_while(|it| it.is_ascii_digit() || it == b'_');
        } else {
            let hex = self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X') && self.peek(2).is_ascii_hexdigit();
            let binary =
                self.peek(0) == b'0' && matches!(self.peek(1), b'b' | b'B') && matches!(self.peek(2), b'0' | b'1');
            if hex || binary {
                self.at += 2;
            }
            let digit = move |it: u8| if hex { it.is_ascii_hexdigit() } else { it.is_ascii_digit() };
            self.skip_while(|it| digit(it) || it == b'_');
            if self.peek(0) == b'.' {
                self.at += 1;
                self.skip_while(|it| digit(it) || it == b'_');
            }
            self.exponent(hex);
        }
        if is_word(self.peek(0)) || self.bytes[self.at - 1] == b'_' {
            self.skip_while(is_word);
            let all_word = self.bytes[start..self.at].iter().all(|it| is_word(*it));
            // `1name` is a name, `1.name` nothing.
            return if all_word {
                Ok(Kind::Word)
            } else {
                Err(error(Span::new(start, self.at), "this is not a number"))
            };
        }
        Ok(Kind::Number)
    }

    fn exponent(&mut self, hex: bool) {
        let mark = self.peek(0).to_ascii_lowercase();
        if mark == if hex { b'p' } else { b'e' } && self.at + 1 < self.bytes.len() {
            self.at += 1;
            if matches!(self.peek(0), b'+' | b'-') && self.at + 1 < self.bytes.len() {
                self.at += 1;
            }
            self.skip_while(|it| it.is_ascii_digit() || it == b'_');
        }
    }
}

/// The characters outside ASCII that the engine skips, as measured.
fn is_unicode_blank(c: char) -> bool {
    matches!(
        c,
        '\u{85}' | '\u{a0}' | '\u{180e}' | '\u{2000}'
            ..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{2060}' | '\u{3000}' | '\u{feff}'
    )
}
