//! The tokens of the Python expressions inside `{{ }}` and `{% %}`.
//!
//! In: a piece of the template and where it stands. Out: [`Token`]s with spans in the template, ended by
//! [`Tok::End`]. Line breaks count only outside brackets, as in Python.

use super::{TemplateError, error::problem, scan::is_space};
use crate::diagnostic::Span;
use num_bigint::BigInt;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) tok: Tok,
    pub(super) span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tok {
    Name(Arc<str>),
    Int(BigInt),
    Float(f64),
    Imaginary,
    Str(String),
    Bytes(Vec<u8>),
    /// The raw inside of an f-string and whether backslashes are plain.
    FString {
        inside: Span,
        raw: bool,
    },
    Op(&'static str),
    Newline,
    End,
}

pub(super) struct Tokens {
    pub(super) list: Vec<Token>,
    pub(super) has_comment: bool,
}

/// Longest first.
const OPERATORS: &[&str] = &[
    "**=", "//=", ">>=", "<<=", "...", "**", "//", ">>", "<<", "<=", ">=", "==", "!=", "->", ":=", "+=", "-=", "*=",
    "/=", "%=", "&=", "|=", "^=", "@=", "+", "-", "*", "/", "%", "@", "&", "|", "^", "~", "<", ">", "(", ")", "[", "]",
    "{", "}", ",", ":", ".", ";", "=",
];

const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

pub(super) fn is_keyword(name: &str) -> bool {
    KEYWORDS.binary_search(&name).is_ok()
}

pub(super) fn tokenize(template: &str, span: Span) -> Result<Tokens, TemplateError> {
    let mut lexer =
        Lexer { text: &template[..span.end], at: span.start, list: vec![], brackets: vec![], has_comment: false };
    lexer.run()?;
    Ok(Tokens { list: lexer.list, has_comment: lexer.has_comment })
}

struct Lexer<'a> {
    /// The template up to the end of the piece: offsets are the template's.
    text: &'a str,
    at: usize,
    list: Vec<Token>,
    brackets: Vec<(&'static str, usize)>,
    has_comment: bool,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), TemplateError> {
        while let Some(c) = self.peek() {
            let start = self.at;
            match c {
                ' ' | '\t' | '\x0c' => self.at += 1,
                '\r' | '\n' => {
                    self.at += 1;
                    if self.brackets.is_empty() {
                        self.push(Tok::Newline, start);
                    }
                }
                '\\' if self.rest()[1..].starts_with('\n') => self.at += 2,
                '\\' if self.rest()[1..].starts_with("\r\n") => self.at += 3,
                '#' => {
                    self.has_comment = true;
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                }
                '0'..='9' => self.number()?,
                '.' if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number()?,
                '\'' | '"' => self.string(start, "")?,
                c if c == '_' || c.is_alphabetic() => self.word()?,
                _ => self.operator()?,
            }
        }
        if let Some((open, at)) = self.brackets.last() {
            return Err(syntax(Span::new(*at, *at + 1), format!("`{open}` is not closed")));
        }
        self.push(Tok::End, self.at);
        Ok(())
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, tok: Tok, start: usize) {
        self.list.push(Token { tok, span: Span::new(start, self.at) });
    }

    fn word(&mut self) -> Result<(), TemplateError> {
        let start = self.at;
        let length = self.rest().find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(self.rest().len());
        let word = self.rest()[..length].to_owned();
        self.at += length;
        let prefix = word.to_ascii_lowercase();
        let is_prefix = matches!(prefix.as_str(), "r" | "b" | "u" | "f" | "rb" | "br" | "fr" | "rf");
        if is_prefix && matches!(self.peek(), Some('\'' | '"')) {
            return self.string(start, &prefix);
        }
        self.push(Tok::Name(word.into()), start);
        Ok(())
    }

    fn number(&mut self) -> Result<(), TemplateError> {
        let start = self.at;
        let rest = self.rest();
        let is_word = |c: char| c == '_' || c.is_alphanumeric();
        let lower = rest.get(..2).map(str::to_ascii_lowercase);
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
            if lower.as_deref() == Some(prefix) {
                let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                let digits = digits(&rest[2..length], true);
                let number = digits.and_then(|it| BigInt::parse_bytes(it.as_bytes(), radix));
                self.at += length;
                let span = Span::new(start, self.at);
                let number = number.ok_or_else(|| syntax(span, "this is not a number"))?;
                self.push(Tok::Int(number), start);
                return Ok(());
            }
        }
        let bytes = rest.as_bytes();
        let run = |from: usize| {
            let more = rest[from..].find(|c: char| c != '_' && !c.is_ascii_digit());
            more.map_or(rest.len(), |it| from + it)
        };
        let mut end = run(0);
        let mut is_float = false;
        if bytes.get(end) == Some(&b'.') {
            is_float = true;
            end = run(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
                is_float = true;
                end = run(end + 1 + sign);
            }
        }
        let word = rest[..end].to_owned();
        let imaginary = matches!(bytes.get(end), Some(b'j' | b'J'));
        self.at += end + usize::from(imaginary);
        // `1if x` is Python, `1x` is not.
        let after = self.rest().split(|c: char| !is_word(c)).next().unwrap_or_default();
        let span = Span::new(start, self.at);
        if !after.is_empty() && !is_keyword(after) {
            return Err(syntax(span, "this is not a number"));
        }
        let plain = word.split(['.', 'e', 'E', '+', '-']).filter(|it| !it.is_empty());
        let mut well_formed = true;
        plain.for_each(|it| well_formed &= digits(it, false).is_some());
        let text = word.replace('_', "");
        if !well_formed {
            return Err(syntax(span, "this is not a number"));
        }
        let tok = if imaginary {
            Tok::Imaginary
        } else if is_float {
            Tok::Float(text.parse().map_err(|_| syntax(span, "this is not a number"))?)
        } else {
            if text.len() > 1 && text.starts_with('0') && text.bytes().any(|it| it != b'0') {
                return Err(syntax(span, "a whole number may not begin with 0"));
            }
            if text.len() > 4300 {
                return Err(problem("budget", span, "this number has more than its budget of 4300 digits"));
            }
            Tok::Int(BigInt::parse_bytes(text.as_bytes(), 10).ok_or_else(|| syntax(span, "this is not a number"))?)
        };
        self.push(tok, start);
        Ok(())
    }

    fn string(&mut self, start: usize, prefix: &str) -> Result<(), TemplateError> {
        let quote = self.peek().unwrap_or('\'');
        let triple: String = [quote; 3].iter().collect();
        let triple = self.rest().starts_with(&triple).then_some(triple);
        let close = triple.clone().unwrap_or_else(|| quote.to_string());
        self.at += close.len();
        let inside = self.at;
        let mut escaped = false;
        let found = self.rest().char_indices().find_map(|(at, c)| {
            if escaped {
                escaped = false;
                return None;
            }
            if c == '\\' {
                escaped = true;
                return None;
            }
            if self.rest()[at..].starts_with(&close) {
                return Some(Ok(at));
            }
            (c == '\n' && triple.is_none()).then_some(Err(at))
        });
        let Some(Ok(length)) = found else {
            return Err(syntax(Span::new(start, self.text.len()), "this string is not closed"));
        };
        self.at += length;
        let span = Span::new(inside, self.at);
        self.at += close.len();
        let raw = prefix.contains('r');
        let body = &self.text[span.start..span.end];
        let tok = if prefix.contains('f') {
            Tok::FString { inside: span, raw }
        } else if prefix.contains('b') {
            if !body.is_ascii() {
                return Err(syntax(span, "bytes hold ASCII characters only"));
            }
            Tok::Bytes(if raw { body.as_bytes().to_vec() } else { unescape_bytes(body) })
        } else if raw {
            Tok::Str(body.to_owned())
        } else {
            Tok::Str(unescape(body).map_err(|message| syntax(span, message))?)
        };
        self.push(tok, start);
        Ok(())
    }

    fn operator(&mut self) -> Result<(), TemplateError> {
        let start = self.at;
        let found = OPERATORS.iter().find(|it| self.rest().starts_with(**it));
        let Some(operator) = found else {
            let c = self.peek().unwrap_or(' ');
            if is_space(c) && c != '\u{a0}' && c.is_ascii() {
                self.at += c.len_utf8();
                return Ok(());
            }
            let span = Span::new(start, start + c.len_utf8());
            return Err(syntax(span, format!("`{c}` means nothing in an expression")));
        };
        match *operator {
            open @ ("(" | "[" | "{") => self.brackets.push((open, start)),
            close @ (")" | "]" | "}") => {
                let open = match close {
                    ")" => "(",
                    "]" => "[",
                    _ => "{",
                };
                if self.brackets.pop().is_none_or(|(it, _)| it != open) {
                    return Err(syntax(Span::new(start, start + 1), format!("`{close}` closes nothing")));
                }
            }
            _ => {}
        }
        self.at += operator.len();
        self.push(Tok::Op(operator), start);
        Ok(())
    }
}

/// The digits without their underscores, if these stand between digits only.
fn digits(text: &str, leading_underscore: bool) -> Option<String> {
    let starts = if leading_underscore { text.trim_start_matches('_') } else { text };
    if starts.is_empty() || starts.starts_with('_') || starts.ends_with('_') || starts.contains("__") {
        return None;
    }
    Some(starts.replace('_', ""))
}

pub(super) fn syntax(span: Span, message: impl Into<String>) -> TemplateError {
    problem("python_syntax", span, message)
}

/// What the escapes of a Python string literal stand for.
pub(super) fn unescape(body: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(body.len());
    let mut chars = body.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(kind) = chars.next() else { return Err("a backslash ends this string") };
        let hex = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>, count: usize| {
            let mut number = 0;
            for _ in 0..count {
                number = number * 16 + chars.next().and_then(|it| it.to_digit(16))?;
            }
            Some(number)
        };
        let code = match kind {
            '\n' => continue,
            '\\' | '\'' | '"' => {
                out.push(kind);
                continue;
            }
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '0'..='7' => {
                let mut number = kind.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|it| it.to_digit(8)) else { break };
                    number = number * 8 + digit;
                    chars.next();
                }
                number
            }
            'x' => hex(&mut chars, 2).ok_or("`\\x` needs two hexadecimal digits")?,
            'u' => hex(&mut chars, 4).ok_or("`\\u` needs four hexadecimal digits")?,
            'U' => hex(&mut chars, 8).ok_or("`\\U` needs eight hexadecimal digits")?,
            'N' => return Err("characters by name (`\\N`) are not supported"),
            other => {
                out.push('\\');
                out.push(other);
                continue;
            }
        };
        out.push(char::from_u32(code).ok_or("this escape is not a character")?);
    }
    Ok(out)
}

fn unescape_bytes(body: &str) -> Vec<u8> {
    let text = unescape(body).unwrap_or_else(|_| body.to_owned());
    text.chars().map(|it| u32::from(it) as u8).collect()
}
