//! One value becomes the bytes of its column's type, or is refused.
//!
//! In: JSON text or plain text, and a [`Kind`]. Out: bytes in a [`Buffer`]. What the engine would take and
//! change in silence (300 as Int8, null as 0, 30 February, 1e400) is refused here.

use super::time::{self, Moment, Zone};
use crate::{
    native::{Buffer, decimal_width, enum_values, fixed_width},
    sql::ColumnType,
};
use num_bigint::BigInt;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// How values of a type are read.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Text,
    FixedText(usize),
    /// JSON kept as its text.
    Json,
    Int {
        width: usize,
    },
    UInt {
        width: usize,
    },
    Float32,
    Float64,
    Bool,
    Date,
    Date32,
    DateTime(Zone),
    DateTime64 {
        precision: u8,
        zone: Zone,
    },
    Decimal {
        precision: usize,
        scale: usize,
    },
    Uuid,
    Ipv4,
    Ipv6,
    Enum {
        width: usize,
        members: HashMap<String, i16>,
    },
    Nullable(Box<Kind>),
    Array(Box<Kind>),
    Map(Box<Kind>, Box<Kind>),
    Tuple(Vec<(Option<String>, Kind)>),
}

/// The value is not one of its column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad;

/// Years that the engine's wide dates hold.
const DATE32: std::ops::RangeInclusive<i32> = -25_567..=120_529;

impl Kind {
    /// The error names what cannot be read.
    pub(super) fn new(column_type: &ColumnType) -> Result<Kind, String> {
        let zone = |name: &Option<String>| {
            Zone::find(name.as_deref()).ok_or_else(|| format!("the time zone {name:?} is not known"))
        };
        Ok(match column_type {
            ColumnType::Plain(name) => match *name {
                "String" => Kind::Text,
                "JSON" => Kind::Json,
                "Float32" => Kind::Float32,
                "Float64" => Kind::Float64,
                "Bool" => Kind::Bool,
                "Date" => Kind::Date,
                "Date32" => Kind::Date32,
                "UUID" => Kind::Uuid,
                "IPv4" => Kind::Ipv4,
                "IPv6" => Kind::Ipv6,
                name => match fixed_width(name) {
                    Some(width) if name.starts_with("UInt") => Kind::UInt { width },
                    Some(width) if name.starts_with("Int") => Kind::Int { width },
                    _ => return Err(format!("values of {name} cannot be ingested")),
                },
            },
            ColumnType::Tuned { family: "JSON", .. } => Kind::Json,
            ColumnType::Tuned { family, .. } => return Err(format!("values of {family} cannot be ingested")),
            ColumnType::FixedString(width) => Kind::FixedText(*width as usize),
            ColumnType::Decimal { precision, scale } => {
                Kind::Decimal { precision: usize::from(*precision), scale: usize::from(*scale) }
            }
            ColumnType::DateTime { zone: name } => Kind::DateTime(zone(name)?),
            ColumnType::DateTime64 { precision, zone: name } => {
                Kind::DateTime64 { precision: *precision, zone: zone(name)? }
            }
            ColumnType::Enum { width, members } => Kind::Enum {
                width: usize::from(*width) / 8,
                members: enum_values(members).map(|(name, value)| (name.to_owned(), value)).collect(),
            },
            ColumnType::Nullable(inner) => Kind::Nullable(Box::new(Kind::new(inner)?)),
            ColumnType::LowCardinality(inner) => Kind::new(inner)?,
            ColumnType::SimpleAggregateFunction { argument, .. } => Kind::new(argument)?,
            ColumnType::Array(inner) => Kind::Array(Box::new(Kind::new(inner)?)),
            ColumnType::Map(key, value) => Kind::Map(Box::new(Kind::new(key)?), Box::new(Kind::new(value)?)),
            ColumnType::Tuple(parts) => {
                let parts = parts.iter().map(|(name, it)| Ok((name.clone(), Kind::new(it)?)));
                Kind::Tuple(parts.collect::<Result<_, String>>()?)
            }
            ColumnType::Nested(_) | ColumnType::Variant(_) | ColumnType::AggregateFunction { .. } => {
                return Err(format!("values of {column_type} cannot be ingested"));
            }
        })
    }

    pub(super) fn is_nullable(&self) -> bool {
        matches!(self, Kind::Nullable(_))
    }

    /// The kind of an array's items, `depth` arrays down.
    pub(super) fn items(&self, depth: usize) -> Option<&Kind> {
        match (self, depth) {
            (kind, 0) => Some(kind),
            (Kind::Array(items), depth) => items.items(depth - 1),
            _ => None,
        }
    }
}

/// Appends the value that a piece of JSON is. After an error the buffer holds half a value: roll it back.
pub(super) fn json(kind: &Kind, raw: &str, buffer: &mut Buffer) -> Result<(), Bad> {
    match kind {
        Kind::Nullable(_) if raw == "null" => {
            buffer.push_null();
            return Ok(());
        }
        Kind::Nullable(inner) => return json(inner, raw, buffer.value()),
        _ if raw == "null" => return Err(Bad),
        Kind::Array(items) => {
            each_item(raw, |item| json(items, item, buffer.items()))?;
            buffer.end();
            return Ok(());
        }
        Kind::Map(key, value) => {
            each_field(raw, |name, item| {
                let [keys, values] = buffer.items().parts() else { return Err(Bad) };
                text(key, name, keys)?;
                json(value, item, values)
            })?;
            buffer.end();
            return Ok(());
        }
        Kind::Tuple(parts) => return tuple(parts, raw, buffer.parts()),
        Kind::Json => {
            if !raw.starts_with('{') {
                return Err(Bad);
            }
            buffer.push(raw.as_bytes());
            return Ok(());
        }
        _ => (),
    }
    match raw.as_bytes().first() {
        Some(b'"') => text(kind, &unquote(raw).ok_or(Bad)?, buffer),
        _ => bare(kind, raw, buffer),
    }
}

/// Appends the value that a JSON string without escapes is.
#[inline]
pub(super) fn plain(kind: &Kind, raw: &str, buffer: &mut Buffer) -> Result<(), Bad> {
    match kind {
        Kind::Nullable(inner) => plain(inner, raw, buffer.value()),
        Kind::Json | Kind::Array(_) | Kind::Map(..) | Kind::Tuple(_) => Err(Bad),
        kind => text(kind, &raw[1..raw.len() - 1], buffer),
    }
}

/// Appends the value that a text is: the inside of a JSON string, or a field of a CSV file.
pub(super) fn text(kind: &Kind, text: &str, buffer: &mut Buffer) -> Result<(), Bad> {
    match kind {
        Kind::Text => buffer.push(text.as_bytes()),
        Kind::FixedText(width) => {
            let mut bytes = text.as_bytes().to_vec();
            if bytes.len() > *width {
                return Err(Bad);
            }
            bytes.resize(*width, 0);
            buffer.push(&bytes);
        }
        Kind::DateTime(zone) => date_time(time::moment(text, zone).ok_or(Bad)?, buffer)?,
        Kind::DateTime64 { precision, zone } => {
            date_time64(time::moment(text, zone).ok_or(Bad)?, *precision, buffer)?;
        }
        Kind::Date => {
            let days = u16::try_from(time::date(text).ok_or(Bad)?).map_err(|_| Bad)?;
            buffer.push(&days.to_le_bytes());
        }
        Kind::Date32 => {
            let days = time::date(text).filter(|it| DATE32.contains(it)).ok_or(Bad)?;
            buffer.push(&days.to_le_bytes());
        }
        Kind::Int { width } => int(text, *width, buffer)?,
        Kind::UInt { width } => uint(text, *width, buffer)?,
        Kind::Float32 => {
            let number = text.parse::<f32>().map_err(|_| Bad)?;
            if number.is_infinite() && text.bytes().any(|it| it.is_ascii_digit()) {
                return Err(Bad);
            }
            buffer.push(&number.to_le_bytes());
        }
        Kind::Float64 => {
            let number = text.parse::<f64>().map_err(|_| Bad)?;
            if number.is_infinite() && text.bytes().any(|it| it.is_ascii_digit()) {
                return Err(Bad);
            }
            buffer.push(&number.to_le_bytes());
        }
        Kind::Bool => match text {
            "true" | "True" | "TRUE" | "1" => buffer.push(&[1]),
            "false" | "False" | "FALSE" | "0" => buffer.push(&[0]),
            _ => return Err(Bad),
        },
        Kind::Decimal { precision, scale } => decimal(text, *precision, *scale, buffer)?,
        Kind::Uuid => uuid(text, buffer)?,
        Kind::Ipv4 => {
            let address: Ipv4Addr = text.parse().map_err(|_| Bad)?;
            buffer.push(&u32::from(address).to_le_bytes());
        }
        Kind::Ipv6 => {
            let address = text.parse::<Ipv6Addr>().or_else(|_| text.parse().map(|it: Ipv4Addr| it.to_ipv6_mapped()));
            buffer.push(&address.map_err(|_| Bad)?.octets());
        }
        Kind::Enum { width, members } => {
            let number = || text.parse().ok().filter(|it| members.values().any(|value| value == it));
            let value: i16 = members.get(text).copied().or_else(number).ok_or(Bad)?;
            buffer.push(&value.to_le_bytes()[..*width]);
        }
        Kind::Nullable(inner) => return self::text(inner, text, buffer.value()),
        Kind::Json => {
            let object = text.trim();
            if !object.starts_with('{') || serde_json::from_str::<IgnoredAny>(object).is_err() {
                return Err(Bad);
            }
            buffer.push(object.as_bytes());
        }
        Kind::Array(_) | Kind::Map(..) | Kind::Tuple(_) => return Err(Bad),
    }
    Ok(())
}

/// Appends the value of a CSV field: as [`text`], and arrays, maps and tuples as they are written in one,
/// with double or single quotes.
pub(super) fn field(kind: &Kind, field: &str, buffer: &mut Buffer) -> Result<(), Bad> {
    match kind {
        Kind::Array(_) | Kind::Map(..) | Kind::Tuple(_) => match serde_json::from_str::<IgnoredAny>(field) {
            Ok(_) => json(kind, field.trim(), buffer),
            Err(_) => {
                let quoted = double_quoted(field);
                serde_json::from_str::<IgnoredAny>(&quoted).map_err(|_| Bad)?;
                json(kind, quoted.trim(), buffer)
            }
        },
        kind => text(kind, field, buffer),
    }
}

/// A number, true or false, an object or an array where none of these is special.
fn bare(kind: &Kind, raw: &str, buffer: &mut Buffer) -> Result<(), Bad> {
    let truth = match raw {
        "true" => Some(1u8),
        "false" => Some(0),
        _ => None,
    };
    match kind {
        Kind::Text => buffer.push(raw.as_bytes()),
        Kind::Int { .. } | Kind::UInt { .. } | Kind::Float32 | Kind::Float64 | Kind::Bool => match truth {
            Some(1) => text(kind, "1", buffer)?,
            Some(_) => text(kind, "0", buffer)?,
            None => text(kind, raw, buffer)?,
        },
        Kind::Decimal { .. } | Kind::Enum { .. } => text(kind, raw, buffer)?,
        // A number is the engine's own: days, seconds, or as many parts of a second as the column keeps.
        Kind::Date => uint(raw, 2, buffer)?,
        Kind::Date32 => {
            let days: i32 = raw.parse().ok().filter(|it| DATE32.contains(it)).ok_or(Bad)?;
            buffer.push(&days.to_le_bytes());
        }
        Kind::DateTime(_) => uint(raw, 4, buffer)?,
        Kind::DateTime64 { precision, .. } => {
            let ticks: i64 = raw.parse().map_err(|_| Bad)?;
            let unit = 10i64.pow(u32::from(*precision));
            let days = i32::try_from(ticks.div_euclid(unit).div_euclid(86_400)).map_err(|_| Bad)?;
            if !DATE32.contains(&days) {
                return Err(Bad);
            }
            buffer.push(&ticks.to_le_bytes());
        }
        _ => return Err(Bad),
    }
    Ok(())
}

/// Appends a whole number; the usual columns take it without its text being made.
pub(super) fn integer(kind: &Kind, number: i64, buffer: &mut Buffer) -> Result<(), Bad> {
    match kind {
        Kind::Int { width: 2 } => buffer.push(&i16::try_from(number).map_err(|_| Bad)?.to_le_bytes()),
        Kind::Int { width: 4 } => buffer.push(&i32::try_from(number).map_err(|_| Bad)?.to_le_bytes()),
        Kind::Int { width: 8 } => buffer.push(&number.to_le_bytes()),
        kind => json(kind, &number.to_string(), buffer)?,
    }
    Ok(())
}

pub(super) fn date_time(moment: Moment, buffer: &mut Buffer) -> Result<(), Bad> {
    let seconds = u32::try_from(moment.seconds).map_err(|_| Bad)?;
    buffer.push(&seconds.to_le_bytes());
    Ok(())
}

pub(super) fn date_time64(moment: Moment, precision: u8, buffer: &mut Buffer) -> Result<(), Bad> {
    let days = i32::try_from(moment.seconds.div_euclid(86_400)).map_err(|_| Bad)?;
    if !DATE32.contains(&days) {
        return Err(Bad);
    }
    let unit = 10i64.pow(u32::from(precision));
    let parts = i64::from(moment.nanos) / (1_000_000_000 / unit);
    let ticks = moment.seconds.checked_mul(unit).and_then(|it| it.checked_add(parts)).ok_or(Bad)?;
    buffer.push(&ticks.to_le_bytes());
    Ok(())
}

fn int(text: &str, width: usize, buffer: &mut Buffer) -> Result<(), Bad> {
    match width {
        1 => buffer.push(&text.parse::<i8>().map_err(|_| Bad)?.to_le_bytes()),
        2 => buffer.push(&text.parse::<i16>().map_err(|_| Bad)?.to_le_bytes()),
        4 => buffer.push(&text.parse::<i32>().map_err(|_| Bad)?.to_le_bytes()),
        8 => buffer.push(&text.parse::<i64>().map_err(|_| Bad)?.to_le_bytes()),
        16 => buffer.push(&text.parse::<i128>().map_err(|_| Bad)?.to_le_bytes()),
        _ => big(&big_int(text)?, width, buffer)?,
    }
    Ok(())
}

fn uint(text: &str, width: usize, buffer: &mut Buffer) -> Result<(), Bad> {
    match width {
        1 => buffer.push(&text.parse::<u8>().map_err(|_| Bad)?.to_le_bytes()),
        2 => buffer.push(&text.parse::<u16>().map_err(|_| Bad)?.to_le_bytes()),
        4 => buffer.push(&text.parse::<u32>().map_err(|_| Bad)?.to_le_bytes()),
        8 => buffer.push(&text.parse::<u64>().map_err(|_| Bad)?.to_le_bytes()),
        16 => buffer.push(&text.parse::<u128>().map_err(|_| Bad)?.to_le_bytes()),
        _ => {
            let (sign, mut bytes) = big_int(text)?.to_bytes_le();
            if sign == num_bigint::Sign::Minus || bytes.len() > width {
                return Err(Bad);
            }
            bytes.resize(width, 0);
            buffer.push(&bytes);
        }
    }
    Ok(())
}

fn big_int(text: &str) -> Result<BigInt, Bad> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    // Longer than any type holds; the limit also keeps the conversion, which is quadratic, short.
    if digits.is_empty() || digits.len() > 100 || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return Err(Bad);
    }
    text.parse().map_err(|_| Bad)
}

fn big(number: &BigInt, width: usize, buffer: &mut Buffer) -> Result<(), Bad> {
    let mut bytes = number.to_signed_bytes_le();
    if bytes.len() > width {
        return Err(Bad);
    }
    bytes.resize(width, if number.sign() == num_bigint::Sign::Minus { 0xff } else { 0 });
    buffer.push(&bytes);
    Ok(())
}

/// Digits beyond the scale are cut off, as the engine does; digits beyond the precision are refused.
fn decimal(text: &str, precision: usize, scale: usize, buffer: &mut Buffer) -> Result<(), Bad> {
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| Bad)?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = whole.bytes().chain(fraction.bytes());
    if whole.len() + fraction.len() == 0 || all.clone().any(|it| !it.is_ascii_digit()) {
        return Err(Bad);
    }
    let zeros = all.clone().take_while(|it| *it == b'0').count();
    let significant = whole.len() + fraction.len() - zeros;
    // How many digits stand before the end of the scale, leading zeros aside.
    let kept = whole.len() as i64 + i64::from(exponent) + scale as i64 - zeros as i64;
    let number = if significant == 0 || kept <= 0 {
        BigInt::ZERO
    } else if kept > precision as i64 {
        return Err(Bad);
    } else {
        let digits = all.skip(zeros).chain(std::iter::repeat(b'0')).take(kept as usize);
        BigInt::parse_bytes(&digits.collect::<Vec<_>>(), 10).ok_or(Bad)?
    };
    big(&if negative { -number } else { number }, decimal_width(precision as u8), buffer)
}

fn uuid(text: &str, buffer: &mut Buffer) -> Result<(), Bad> {
    let hyphens = text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-');
    if !hyphens && text.len() != 32 {
        return Err(Bad);
    }
    let mut number = 0u128;
    let mut digits = 0;
    for (at, byte) in text.bytes().enumerate() {
        if hyphens && [8, 13, 18, 23].contains(&at) {
            continue;
        }
        number = number << 4 | u128::from((byte as char).to_digit(16).ok_or(Bad)?);
        digits += 1;
    }
    if digits != 32 {
        return Err(Bad);
    }
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&((number >> 64) as u64).to_le_bytes());
    bytes[8..].copy_from_slice(&(number as u64).to_le_bytes());
    buffer.push(&bytes);
    Ok(())
}

fn tuple(parts: &[(Option<String>, Kind)], raw: &str, buffers: &mut [Buffer]) -> Result<(), Bad> {
    let named = parts.iter().all(|(name, _)| name.is_some());
    if !named {
        let mut index = 0;
        each_item(raw, |item| {
            let ((_, kind), buffer) = parts.get(index).zip(buffers.get_mut(index)).ok_or(Bad)?;
            index += 1;
            json(kind, item, buffer)
        })?;
        return if index == parts.len() { Ok(()) } else { Err(Bad) };
    }
    let mut values = vec![None; parts.len()];
    each_field(raw, |name, item| {
        if let Some(index) = parts.iter().position(|(it, _)| it.as_deref() == Some(name)) {
            values[index] = Some(item);
        }
        Ok(())
    })?;
    for (((_, kind), buffer), value) in parts.iter().zip(buffers).zip(values) {
        json(kind, value.unwrap_or("null"), buffer)?;
    }
    Ok(())
}

/// The text of a JSON string.
pub(super) fn unquote(raw: &str) -> Option<Cow<'_, str>> {
    let inside = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inside.contains('\\') {
        return Some(Cow::Borrowed(inside));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}

/// Single quotes as the engine writes them in arrays, made double.
fn double_quoted(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    let mut chars = text.chars();
    let mut inside = false;
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                inside = !inside;
                res.push('"');
            }
            '"' if inside => res.push_str("\\\""),
            '\\' if inside => match chars.next() {
                Some('\'') => res.push('\''),
                Some(c) => res.extend(['\\', c]),
                None => res.push('\\'),
            },
            c => res.push(c),
        }
    }
    res
}

/// Calls `each` with the text of every item of a JSON array.
fn each_item<'a>(raw: &'a str, each: impl FnMut(&'a str) -> Result<(), Bad>) -> Result<(), Bad> {
    walk(raw, Items { each })
}

/// Calls `each` with the name and the text of every field of a JSON object.
fn each_field<'a>(raw: &'a str, each: impl FnMut(&str, &'a str) -> Result<(), Bad>) -> Result<(), Bad> {
    walk(raw, Fields { each })
}

fn walk<'a, V: Visitor<'a, Value = ()>>(raw: &'a str, visitor: V) -> Result<(), Bad> {
    serde_json::Deserializer::from_str(raw).deserialize_any(visitor).map_err(|_| Bad)
}

struct Items<F> {
    each: F,
}

impl<'de, F: FnMut(&'de str) -> Result<(), Bad>> Visitor<'de> for Items<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<&RawValue>()? {
            (self.each)(item.get()).map_err(|Bad| serde::de::Error::custom("bad"))?;
        }
        Ok(())
    }
}

struct Fields<F> {
    each: F,
}

impl<'de, F: FnMut(&str, &'de str) -> Result<(), Bad>> Visitor<'de> for Fields<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key_seed(Name)? {
            let item = fields.next_value::<&RawValue>()?;
            (self.each)(&name, item.get()).map_err(|Bad| serde::de::Error::custom("bad"))?;
        }
        Ok(())
    }
}

/// A field's name, borrowed where it holds no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}
