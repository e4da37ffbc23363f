//! The functions that give a parameter its type: `String`, `Int32`, `DateTime`, `Array`, `JSON` and their kin.
//!
//! In: a parameter's value or nothing, and a default. Out: a value that prints as a literal or a cast, or an
//! error that names the parameter.

use super::{Args, Function, json};
use crate::template::{
    error::{Class, Fault, Result},
    eval::Interp,
    scan::is_space,
    text,
    value::{Map, NO_VALUE, Num, Value},
};
use num_bigint::BigInt;
use num_traits::Signed;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Scalar {
    String,
    /// How it is called, the cast it prints, bits, signed. Without a cast it prints plain.
    Int(&'static str, Option<&'static str>, u32, bool),
    Float(&'static str, &'static str),
    Date,
    DateTime,
    DateTime64,
}

const SCALARS: &[Scalar] = &[
    Scalar::String,
    Scalar::Int("Int8", Some("toInt8"), 8, true),
    Scalar::Int("Int16", Some("toInt16"), 16, true),
    Scalar::Int("Int32", Some("toInt32"), 32, true),
    Scalar::Int("Int64", Some("toInt64"), 64, true),
    Scalar::Int("Int128", Some("toInt128"), 128, true),
    Scalar::Int("Int256", Some("toInt256"), 256, true),
    Scalar::Int("UInt8", Some("toUInt8"), 8, false),
    Scalar::Int("UInt16", Some("toUInt16"), 16, false),
    Scalar::Int("UInt32", Some("toUInt32"), 32, false),
    Scalar::Int("UInt64", Some("toUInt64"), 64, false),
    Scalar::Int("UInt128", Some("toUInt128"), 128, false),
    Scalar::Int("UInt256", Some("toUInt256"), 256, false),
    Scalar::Int("Int", None, 32, true),
    Scalar::Int("Integer", None, 32, true),
    Scalar::Float("Float32", "toFloat32"),
    Scalar::Float("Float64", "toFloat64"),
    Scalar::Date,
    Scalar::DateTime,
    Scalar::DateTime64,
];

macro_rules! scalars {
    ($($name:literal),* $(,)?) => {
        pub(in crate::template) const FUNCTIONS: &[(&str, Function)] = &[
            $(($name, |interp, args| scalar(interp, $name, args)),)*
            ("Boolean", boolean),
            ("Array", array),
            ("JSON", json_function),
        ];
    };
}

scalars!(
    "String",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Int128",
    "Int256",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UInt128",
    "UInt256",
    "Int",
    "Integer",
    "Float32",
    "Float64",
    "Date",
    "DateTime",
    "DateTime64",
);

pub(in crate::template) fn is_scalar(name: &str) -> bool {
    Scalar::named(name).is_some()
}

/// Whether the first argument of this scalar function is documented as a parameter.
pub(in crate::template) fn is_extracted(name: &str) -> bool {
    Scalar::named(name).is_some() && !matches!(name, "Int" | "Integer")
}

impl Scalar {
    fn name(self) -> &'static str {
        match self {
            Scalar::String => "String",
            Scalar::Int(name, ..) | Scalar::Float(name, _) => name,
            Scalar::Date => "Date",
            Scalar::DateTime => "DateTime",
            Scalar::DateTime64 => "DateTime64",
        }
    }

    fn named(name: &str) -> Option<Scalar> {
        SCALARS.iter().copied().find(|it| it.name() == name)
    }

    fn placeholder(self) -> Value {
        match self {
            Scalar::String => Value::str(NO_VALUE),
            Scalar::Int(..) | Scalar::Float(..) => Value::int(0),
            Scalar::Date => Value::str("2019-01-01"),
            Scalar::DateTime => Value::str("2019-01-01 00:00:00"),
            Scalar::DateTime64 => Value::str("2019-01-01 00:00:00.000"),
        }
    }

    /// The value, if its text is one of this type.
    fn read(self, text: &Arc<str>) -> Option<Value> {
        match self {
            Scalar::String => Some(Value::Str(text.clone())),
            Scalar::Int(_, cast, bits, signed) => {
                let number = Num::big(read_int(text, bits, signed)?);
                Some(cast.map_or(Value::Num(number.clone()), |cast| Value::Typed(cast, number)))
            }
            Scalar::Float(_, cast) => {
                let number = if text.contains('_') { None } else { text::parse_float(text) };
                number.map(|it| Value::Typed(cast, Num::Float(it)))
            }
            Scalar::Date => is_date(text).then(|| Value::Str(text.clone())),
            Scalar::DateTime => is_date_time(text, false).then(|| Value::Str(text.clone())),
            Scalar::DateTime64 => is_date_time(text, true).then(|| Value::Str(text.clone())),
        }
    }

    /// What a value must look like, for messages.
    fn wants(self) -> String {
        match self {
            Scalar::String => "a text".to_owned(),
            Scalar::Int(_, _, bits, true) => format!("a whole number of {bits} bits"),
            Scalar::Int(_, _, bits, false) => format!("a whole number of {bits} bits that is not negative"),
            Scalar::Float(..) => "a number".to_owned(),
            Scalar::Date => "a date like 2024-01-31".to_owned(),
            Scalar::DateTime => "a time like 2024-01-31 10:20:30".to_owned(),
            Scalar::DateTime64 => "a time like 2024-01-31 10:20:30.123".to_owned(),
        }
    }
}

fn read_int(text: &str, bits: u32, signed: bool) -> Option<BigInt> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let has_sign = text.starts_with(['+', '-']);
    if has_sign && !signed && bits < 128 {
        return None;
    }
    let unsigned = if has_sign { &text[1..] } else { text };
    let digits: String = unsigned.chars().map(text::digit).collect::<Option<_>>()?;
    let significant = digits.trim_start_matches('0');
    if digits.is_empty() || significant.len() > 78 {
        return None;
    }
    let size = BigInt::parse_bytes(digits.as_bytes(), 10)?;
    let number = if text.starts_with('-') { -size } else { size };
    let limit = BigInt::from(1) << (bits - u32::from(signed));
    let fits = number < limit && if signed { number >= -limit } else { !number.is_negative() };
    fits.then_some(number)
}

/// Reads characters by a pattern: `0` is a digit, `.` anything but a line break, ` ` the separator of date and
/// time, the rest itself.
fn matches_prefix<'t>(text: &'t str, pattern: &str) -> Option<&'t str> {
    let mut chars = text.chars();
    for want in pattern.chars() {
        let c = chars.next()?;
        let fits = match want {
            '0' => text::digit(c).is_some(),
            '.' => c != '\n',
            ' ' => c == 'T' || is_space(c),
            want => c == want,
        };
        if !fits {
            return None;
        }
    }
    Some(chars.as_str())
}

fn is_date(text: &str) -> bool {
    matches!(matches_prefix(text, "0000-00-00"), Some("" | "\n"))
}

fn is_date_time(text: &str, fraction: bool) -> bool {
    if let Some(rest) = matches_prefix(text, "0000.00.00 00:00:00")
        && (!fraction || matches_prefix(rest, ".000").is_some())
    {
        return true;
    }
    // The day comes first.
    let Some(rest) = matches_prefix(text, "00.00.0000.") else { return false };
    let one_or_two = |rest: &str| -> Vec<usize> {
        let count = rest.chars().take(2).take_while(|c| text::digit(*c).is_some()).count();
        (1..=count).rev().collect()
    };
    let skip =
        |rest: &'_ str, count: usize| -> usize { rest.char_indices().nth(count).map_or(rest.len(), |(at, _)| at) };
    let mut rest = rest;
    for _ in 0..2 {
        let Some(count) = one_or_two(rest).first().copied() else { return false };
        rest = &rest[skip(rest, count)..];
        let Some(after) = rest.strip_prefix(':') else { return false };
        rest = after;
    }
    one_or_two(rest).into_iter().any(|count| {
        let after = &rest[skip(rest, count)..];
        !fraction || matches_prefix(after, ".0").is_some()
    })
}

/// The arguments that every typed function has, in their order.
const ARGUMENTS: [&str; 8] = ["x", "default", "defined", "required", "description", "enum", "example", "format"];

fn scalar(interp: &mut Interp<'_>, name: &'static str, args: Args) -> Result<Value> {
    let Some(scalar) = Scalar::named(name) else { return Ok(Value::None) };
    let label = args.label.clone();
    let [value, default, defined, ..] = args.bind(name, ARGUMENTS, 1)?;
    let value = value.unwrap_or(Value::None);
    let chosen = match choose(interp, value, default, defined, scalar.placeholder(), label.as_deref(), name)? {
        Some(chosen) => chosen,
        None => return Ok(Value::None),
    };
    convert(interp, scalar, &chosen, label.as_deref())
}

fn convert(interp: &Interp<'_>, scalar: Scalar, value: &Value, label: Option<&str>) -> Result<Value> {
    let text = match value {
        Value::Str(text) => text.clone(),
        other => interp.heap.print(other)?.into(),
    };
    scalar.read(&text).ok_or_else(|| invalid(label, scalar.name(), &scalar.wants(), &text))
}

fn invalid(label: Option<&str>, type_name: &str, wants: &str, text: &str) -> Box<Fault> {
    let shown: String = text.chars().take(60).collect();
    let what = label.map_or_else(|| "this value".to_owned(), |label| format!("the parameter `{label}`"));
    let message = format!("{what} must be {wants} ({type_name}), not `{shown}`");
    Fault::new("invalid_value", Class::ValueError, message)
}

/// The value or its default. Nothing when both are missing and the function says `defined=False`.
fn choose(
    interp: &Interp<'_>,
    value: Value,
    default: Option<Value>,
    defined: Option<Value>,
    placeholder: Value,
    label: Option<&str>,
    function: &str,
) -> Result<Option<Value>> {
    match value {
        Value::Placeholder(_) => {
            let default = default.filter(|it| interp.heap.truth(it));
            Ok(Some(default.unwrap_or(placeholder)))
        }
        Value::None => match default {
            Some(default) if !default.is_none() => Ok(Some(default)),
            _ if defined.is_none_or(|it| interp.heap.truth(&it)) => Err(missing(interp, label, function)),
            _ => Ok(None),
        },
        value => Ok(Some(value)),
    }
}

fn missing(interp: &Interp<'_>, label: Option<&str>, function: &str) -> Box<Fault> {
    let mut names: Vec<&str> = interp.program.required.iter().map(|it| &**it).collect();
    names.retain(|it| interp.params.get(*it).is_none_or(serde_json::Value::is_null));
    if let Some(label) = label
        && !names.contains(&label)
    {
        names.insert(0, label);
    }
    let message = match &names[..] {
        [] => format!("`{function}` has no value and no default"),
        [name] => format!("the parameter `{name}` is required"),
        [names @ .., last] => {
            let names: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
            format!("the parameters {} and `{last}` are required", names.join(", "))
        }
    };
    Fault::new("missing_required", Class::ValueError, message)
}

pub(in crate::template) fn boolean(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value, default] = args.bind("Boolean", ["x", "default"], 1)?;
    let value = match value.unwrap_or(Value::None) {
        Value::None => default.unwrap_or(Value::None),
        Value::Placeholder(_) => default.filter(|it| interp.heap.truth(it)).unwrap_or(Value::int(0)),
        value => value,
    };
    Ok(Value::int(i64::from(is_true(interp, &value)?)))
}

fn is_true(interp: &Interp<'_>, value: &Value) -> Result<bool> {
    if !interp.heap.truth(value) {
        return Ok(false);
    }
    let text = interp.heap.print(value)?;
    Ok(text != "0" && !text.eq_ignore_ascii_case("false"))
}

fn array(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let label = args.label.clone();
    let names = ["x", "_type", "default", "defined", "required", "description", "enum", "example", "format"];
    let [value, item_type, default, defined, ..] = args.bind("Array", names, 1)?;
    let item_type = match &item_type {
        Some(it) => it.as_str().cloned().unwrap_or_else(|| "".into()),
        None => "".into(),
    };
    let placeholder = match Scalar::named(&item_type) {
        _ if is_boolean(&item_type) => Value::str("0,0"),
        _ if is_identifier(&item_type) => Value::str("`placeholder`,`placeholder`"),
        None | Some(Scalar::String) => Value::str(""),
        Some(scalar) => {
            let item = interp.heap.print(&scalar.placeholder())?;
            Value::str(format!("{item},{item}"))
        }
    };
    let value = value.unwrap_or(Value::None);
    let Some(chosen) = choose(interp, value, default, defined, placeholder, label.as_deref(), "Array")? else {
        return Ok(Value::None);
    };
    let items = array_items(interp, &chosen, label.as_deref())?;
    let mut printed = String::from("[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            printed.push(',');
        }
        print_item(interp, &item_type, item, index, label.as_deref(), &mut printed)?;
        interp.check_text(printed.len() / 8)?;
    }
    printed.push(']');
    interp.check_text(printed.len())?;
    Ok(Value::fragment(printed))
}

fn array_items(interp: &mut Interp<'_>, value: &Value, label: Option<&str>) -> Result<Vec<Value>> {
    match value {
        Value::Str(text) | Value::Fragment(text) => {
            interp.check_items(text.len())?;
            Ok(text.split(',').map(Value::str).collect())
        }
        Value::List(id) => Ok(interp.heap.sequences[*id].clone()),
        other => {
            let what = label.map_or_else(|| "the value".to_owned(), |it| format!("`{it}`"));
            let message = format!("{what} must be a text with commas or a list, not {}", other.type_name());
            Err(Fault::new("invalid_argument", Class::ValueError, message))
        }
    }
}

fn print_item(
    interp: &Interp<'_>,
    item_type: &str,
    item: &Value,
    index: usize,
    label: Option<&str>,
    out: &mut String,
) -> Result<()> {
    let text = interp.heap.print(item)?;
    match item_type {
        _ if is_boolean(item_type) => out.push_str(if is_true(interp, item)? { "1" } else { "0" }),
        _ if is_identifier(item_type) => out.push_str(&text::backquote(&text)),
        // Of an unknown type, an item is what it is.
        _ if Scalar::named(item_type).is_none() && !matches!(item, Value::Str(_)) => match item {
            Value::None => {
                let message = format!("the item at {index} has no value");
                return Err(Fault::new("null_expression", Class::ValueError, message));
            }
            Value::Num(_) | Value::Bool(_) | Value::Typed(..) => out.push_str(&text),
            _ => interp.heap.repr(item, true, out, 0)?,
        },
        _ => {
            let scalar = Scalar::named(item_type).unwrap_or(Scalar::String);
            let text: Arc<str> = text.into();
            match scalar.read(&text) {
                Some(Value::Str(text)) => out.push_str(&text::quote(&text)),
                Some(Value::Typed(_, number) | Value::Num(number)) => out.push_str(&number.print()),
                _ => {
                    let wants = format!("a list whose items are each {}; the one at {index} is not", scalar.wants());
                    return Err(invalid(label, &format!("Array({item_type})"), &wants, &text));
                }
            }
        }
    }
    Ok(())
}

fn is_boolean(item_type: &str) -> bool {
    matches!(item_type, "Boolean" | "bool")
}

fn is_identifier(item_type: &str) -> bool {
    matches!(item_type, "Symbol" | "Column" | "column" | "symbol")
}

/// The list that an array's text stands for, when it can be read back.
pub(in crate::template) fn parsed_array(
    interp: &mut Interp<'_>,
    value: &Value,
    item_type: &str,
) -> Result<Option<Value>> {
    if !matches!(value, Value::Str(_) | Value::List(_))
        || is_identifier(item_type)
        || !item_type.chars().all(|c| c == '_' || c.is_alphanumeric())
    {
        return Ok(None);
    }
    let items = array_items(interp, value, None)?;
    let mut list = Vec::with_capacity(items.len());
    for item in items {
        let text: Arc<str> = interp.heap.print(&item)?.into();
        if is_boolean(item_type) {
            list.push(Value::int(i64::from(is_true(interp, &item)?)));
            continue;
        }
        if Scalar::named(item_type).is_none() && matches!(item, Value::Num(_)) {
            list.push(item);
            continue;
        }
        let scalar = Scalar::named(item_type).unwrap_or(Scalar::String);
        list.push(match scalar.read(&text) {
            Some(Value::Typed(_, Num::Float(it))) if !it.is_finite() => return Ok(None),
            Some(Value::Typed(_, number)) => Value::Num(number),
            Some(Value::Str(text)) => {
                // The original reads its own literal back as Python: `\%` stays as two characters.
                let mut escaped = String::new();
                text::escape_into(&text, true, &mut escaped);
                match crate::template::token::unescape(&escaped) {
                    Ok(text) => Value::str(text),
                    Err(_) => return Ok(None),
                }
            }
            Some(value) => value,
            None => return Ok(None),
        });
    }
    interp.list(list).map(Some)
}

fn json_function(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let label = args.label.clone();
    let [value, default] = args.bind("JSON", ["x", "default"], 1)?;
    let value = match value.unwrap_or(Value::None) {
        Value::None => match default {
            Some(default @ (Value::Str(_) | Value::Fragment(_))) => default,
            _ => return Ok(interp.heap.dict(Map::new())),
        },
        Value::Placeholder(name) => {
            let default = default.filter(|it| interp.heap.truth(it));
            default.unwrap_or(Value::Placeholder(name))
        }
        value => value,
    };
    match &value {
        Value::Str(text) | Value::Fragment(text) => json::parse(interp, text).and_then(|parsed| {
            parsed.ok_or_else(|| {
                let short: String = text.chars().take(16).collect();
                let what = label.map_or_else(|| "this text".to_owned(), |it| format!("the parameter `{it}`"));
                Fault::new("invalid_json", Class::ValueError, format!("{what} is not JSON: `{short}`"))
            })
        }),
        Value::Placeholder(name) => {
            let message = format!("the parameter `{name}` has no value: give `JSON` a default");
            Err(Fault::new("invalid_json", Class::ValueError, message))
        }
        _ => Ok(value),
    }
}
