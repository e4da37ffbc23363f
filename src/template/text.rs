//! Text as SQL and as Python: escapes of literals and identifiers, `repr`, numbers read and written.
//!
//! In: strings and numbers. Out: strings and numbers. The escapes of [`quote`] and [`identifier`] are what keeps
//! a value inside its literal.

use num_bigint::BigInt;
use std::fmt::Write;

/// A string literal of ClickHouse, as the original writes it: `%` and the backquote are escaped too.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    escape_into(text, true, &mut out);
    out.push('\'');
    out
}

pub(super) fn escape_into(text: &str, keeps_double_quotes: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '\0' => out.push_str("\\0"),
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x1a' => out.push_str("\\z"),
            '"' if !keeps_double_quotes => {}
            '"' | '\'' | '\\' | '%' | '`' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
}

/// The text of an identifier, without quotes around it.
pub(super) fn identifier(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape_into(text, false, &mut out);
    out
}

/// One identifier in backquotes.
pub(super) fn backquote(text: &str) -> String {
    format!("`{}`", identifier(text))
}

/// A dotted identifier, each part in backquotes.
pub(super) fn column(text: &str) -> String {
    text.split('.').map(backquote).collect::<Vec<_>>().join(".")
}

/// Whether the text is safe without quotes: names of letters, digits and underscores, with dots between them. What
/// could be a number is no name.
pub(super) fn is_plain(text: &str) -> bool {
    let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let may_be_number = |c: char| c.is_ascii_hexdigit() || matches!(c, 'x' | 'X' | 'p' | 'P' | '_');
    text.split('.').all(|part| {
        let starts_as_number = part.starts_with(|c: char| c.is_ascii_digit());
        part.chars().all(is_word) && !(starts_as_number && part.chars().all(may_be_number))
    })
}

/// A string as Python shows it in a list. `single` keeps to single quotes, in which ClickHouse sees a string too.
pub(super) fn repr(text: &str, single: bool, out: &mut String) {
    let quote = if !single && text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                // Writing to a string cannot fail.
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

fn is_printable(c: char) -> bool {
    !matches!(u32::from(c),
        0..=0x1f | 0x7f..=0xa0 | 0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x1680 | 0x180e
        | 0x2000..=0x200f | 0x2028..=0x202f | 0x205f..=0x206f | 0x3000 | 0xe000..=0xf8ff | 0xfeff
        | 0xfff0..=0xfffb | 0xfffe | 0xffff | 0xe0000..)
}

/// A float as Python prints it.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let text = format!("{number:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// The zeros of the decimal digits that Unicode knows; nine more follow each.
const ZEROS: &[u32] = &[
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620,
    0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0,
    0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60,
    0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

pub(super) fn digit(c: char) -> Option<char> {
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c);
    }
    let code = u32::from(c);
    let zero = ZEROS.get(ZEROS.partition_point(|it| *it <= code).checked_sub(1)?)?;
    char::from_digit((code - zero).min(10), 10)
}

/// What `int(text)` reads.
pub(super) fn parse_int(text: &str) -> Option<BigInt> {
    let text = text.trim_matches(super::scan::is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let digits: String = digits.chars().filter(|c| *c != '_').map(digit).collect::<Option<_>>()?;
    if digits.len() > 4300 {
        return None;
    }
    let number = BigInt::parse_bytes(digits.as_bytes(), 10)?;
    Some(if negative { -number } else { number })
}

/// What `float(text)` reads.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(super::scan::is_space);
    let lower = text.to_ascii_lowercase();
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    if matches!(unsigned, "inf" | "infinity" | "nan") {
        let number = if unsigned == "nan" { f64::NAN } else { f64::INFINITY };
        return Some(if lower.starts_with('-') { -number } else { number });
    }
    let bad_underscore = |it: &str| it.starts_with('_') || it.ends_with('_') || it.contains("__");
    if unsigned.contains('_') && unsigned.split(['.', 'e', '+', '-']).any(bad_underscore) {
        return None;
    }
    let mut plain = String::with_capacity(lower.len());
    for c in lower.chars().filter(|c| *c != '_') {
        plain.push(if matches!(c, '+' | '-' | '.' | 'e') { c } else { digit(c)? });
    }
    plain.parse().ok()
}
