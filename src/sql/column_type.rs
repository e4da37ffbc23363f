//! ClickHouse column types, parsed: nesting, parameters, aggregate functions.

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{take_while, take_while1},
    character::complete::{char, digit1, multispace0, multispace1},
    combinator::{map, map_res, opt, recognize, verify},
    multi::{many1, separated_list0},
    number::complete::double,
    sequence::{delimited, pair, preceded},
};
use std::fmt;

/// A column's type. Families that carry no parameters of interest are kept by their canonical name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `String`, `UInt8`, `Date`, `UUID`, `Bool`, `JSON`, ...
    Plain(&'static str),
    /// A `JSON` or `Dynamic` with parameters, which are kept as the engine writes them.
    Tuned {
        family: &'static str,
        parameters: String,
    },
    FixedString(u32),
    Decimal {
        precision: u8,
        scale: u8,
    },
    DateTime {
        zone: Option<String>,
    },
    DateTime64 {
        precision: u8,
        zone: Option<String>,
    },
    Enum {
        width: u8,
        members: Vec<(String, Option<i16>)>,
    },
    Nullable(Box<ColumnType>),
    LowCardinality(Box<ColumnType>),
    Array(Box<ColumnType>),
    Map(Box<ColumnType>, Box<ColumnType>),
    Tuple(Vec<(Option<String>, ColumnType)>),
    Nested(Vec<(String, ColumnType)>),
    Variant(Vec<ColumnType>),
    AggregateFunction {
        function: String,
        arguments: Vec<ColumnType>,
    },
    SimpleAggregateFunction {
        function: String,
        argument: Box<ColumnType>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    #[error("unknown type `{name}`")]
    Unknown { name: String, nearest: Option<&'static str> },
    #[error("`{outer}` cannot hold `{inner}`")]
    Nesting { outer: &'static str, inner: String },
    #[error("{0}")]
    Parameters(String),
    /// A SimpleAggregateFunction whose function gives another type than it stores.
    #[error("{function} of `{argument}` gives `{result}`, which cannot be stored as `{argument}`")]
    Storage { function: String, argument: String, result: &'static str },
    #[error("this is not a type: `{0}`")]
    Syntax(String),
}

/// Families without parameters, by canonical name.
const PLAIN: &[&str] = &[
    "String",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UInt128",
    "UInt256",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Int128",
    "Int256",
    "Float32",
    "Float64",
    "BFloat16",
    "Bool",
    "Date",
    "Date32",
    "Time",
    "UUID",
    "IPv4",
    "IPv6",
    "JSON",
    "Dynamic",
    "Point",
    "Ring",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
    "Nothing",
];

/// Names that need parameters or have a variant of their own; listed for "did you mean".
const FAMILIES: &[&str] = &[
    "FixedString",
    "Decimal",
    "DateTime",
    "DateTime64",
    "Enum8",
    "Enum16",
    "Nullable",
    "LowCardinality",
    "Array",
    "Map",
    "Tuple",
    "Nested",
    "Variant",
    "AggregateFunction",
    "SimpleAggregateFunction",
];

/// Other spellings, compared without case, as the engine does.
const ALIASES: &[(&str, &str)] = &[
    ("tinyint", "Int8"),
    ("int1", "Int8"),
    ("byte", "Int8"),
    ("smallint", "Int16"),
    ("int", "Int32"),
    ("integer", "Int32"),
    ("mediumint", "Int32"),
    ("bigint", "Int64"),
    ("float", "Float32"),
    ("real", "Float32"),
    ("single", "Float32"),
    ("double", "Float64"),
    ("text", "String"),
    ("tinytext", "String"),
    ("mediumtext", "String"),
    ("longtext", "String"),
    ("varchar", "String"),
    ("char", "String"),
    ("blob", "String"),
    ("bytea", "String"),
    ("character", "String"),
    ("clob", "String"),
    ("bool", "Bool"),
    ("boolean", "Bool"),
    ("date", "Date"),
    ("inet4", "IPv4"),
    ("inet6", "IPv6"),
    ("timestamp", "DateTime"),
    ("datetime", "DateTime"),
    ("date32", "Date32"),
    ("json", "JSON"),
];

/// Other spellings of several words.
const MULTI_WORD: &[(&str, &str)] = &[
    ("double precision", "Float64"),
    ("int signed", "Int32"),
    ("integer signed", "Int32"),
    ("int unsigned", "UInt32"),
    ("integer unsigned", "UInt32"),
    ("tinyint signed", "Int8"),
    ("tinyint unsigned", "UInt8"),
    ("smallint signed", "Int16"),
    ("smallint unsigned", "UInt16"),
    ("bigint signed", "Int64"),
    ("bigint unsigned", "UInt64"),
    ("char varying", "String"),
    ("character varying", "String"),
    ("char large object", "String"),
    ("character large object", "String"),
    ("binary varying", "String"),
    ("binary large object", "String"),
    ("national char", "String"),
    ("national character", "String"),
    ("national char varying", "String"),
    ("national character varying", "String"),
];

const MULTI_WORD_FIRST: &[&str] = &["double", "int", "tinyint", "smallint", "bigint", "char", "binary", "national"];

/// Deeper nesting than any real type.
const MAX_DEPTH: usize = 32;

impl ColumnType {
    /// Whether its values have paths or types of their own, of which a column keeps one list for all of its rows.
    pub fn is_dynamic(&self) -> bool {
        match self {
            ColumnType::Plain(name) => matches!(*name, "JSON" | "Dynamic"),
            ColumnType::Tuned { .. } => true,
            ColumnType::Nullable(it) | ColumnType::LowCardinality(it) | ColumnType::Array(it) => it.is_dynamic(),
            ColumnType::SimpleAggregateFunction { argument, .. } => argument.is_dynamic(),
            ColumnType::Map(key, value) => key.is_dynamic() || value.is_dynamic(),
            ColumnType::Tuple(parts) => parts.iter().any(|(_, it)| it.is_dynamic()),
            ColumnType::Nested(parts) => parts.iter().any(|(_, it)| it.is_dynamic()),
            ColumnType::Variant(parts) | ColumnType::AggregateFunction { arguments: parts, .. } => {
                parts.iter().any(ColumnType::is_dynamic)
            }
            _ => false,
        }
    }

    pub fn parse(text: &str) -> Result<ColumnType, TypeError> {
        let depth = text.bytes().fold((0usize, 0usize), |(now, most), byte| match byte {
            b'(' => (now + 1, most.max(now + 1)),
            b')' => (now.saturating_sub(1), most),
            _ => (now, most),
        });
        if depth.1 > MAX_DEPTH {
            return Err(TypeError::Syntax("nested too deeply".to_owned()));
        }
        if let Some(tuned) = tuned(text.trim()) {
            return tuned;
        }
        match term(text.trim()) {
            Ok(("", term)) => build(&term),
            Ok((rest, _)) => Err(TypeError::Syntax(rest.trim().to_owned())),
            Err(_) => Err(TypeError::Syntax(text.trim().to_owned())),
        }
    }

    pub fn plain(name: &'static str) -> ColumnType {
        ColumnType::Plain(name)
    }

    pub fn nullable(self) -> ColumnType {
        ColumnType::Nullable(Box::new(self))
    }

    /// The type of the values: without Nullable and LowCardinality around it.
    pub fn inner(&self) -> &ColumnType {
        match self {
            ColumnType::Nullable(it) | ColumnType::LowCardinality(it) => it.inner(),
            it => it,
        }
    }

    pub fn is_nullable(&self) -> bool {
        match self {
            ColumnType::Nullable(_) => true,
            ColumnType::LowCardinality(it) => it.is_nullable(),
            _ => false,
        }
    }
}

/// A type as written: a name and what stands in its brackets.
struct Term<'a> {
    name: &'a str,
    arguments: Option<Vec<Argument<'a>>>,
}

enum Argument<'a> {
    Number(u64),
    /// A number with a sign, a point or an exponent, as written.
    Literal(&'a str),
    Text(String),
    Member(String, i16),
    Type(Term<'a>),
    /// A named part of a Tuple or Nested.
    Named(String, Term<'a>),
}

fn word(input: &str) -> IResult<&str, &str> {
    take_while1(|c: char| c.is_alphanumeric() || c == '_').parse(input)
}

fn quoted(input: &str) -> IResult<&str, String> {
    let part = recognize(take_while(|c| c != '\'' && c != '\\'));
    let (mut input, first) = preceded(char('\''), part).parse(input)?;
    let mut text = first.to_owned();
    loop {
        if let Some(rest) = input.strip_prefix('\\') {
            let c = rest
                .chars()
                .next()
                .ok_or(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Eof)))?;
            text.push(c);
            input = &rest[c.len_utf8()..];
        } else if let Some(rest) = input.strip_prefix("''") {
            text.push('\'');
            input = rest;
        } else {
            let (rest, _) = char('\'').parse(input)?;
            return Ok((rest, text));
        }
        let (rest, more) = take_while(|c| c != '\'' && c != '\\').parse(input)?;
        text.push_str(more);
        input = rest;
    }
}

fn backquoted(input: &str) -> IResult<&str, String> {
    map(delimited(char('`'), take_while1(|c| c != '`'), char('`')), str::to_owned).parse(input)
}

fn integer(input: &str) -> IResult<&str, i16> {
    map_res(recognize(pair(opt(char('-')), digit1)), str::parse::<i16>).parse(input)
}

fn argument(input: &str) -> IResult<&str, Argument<'_>> {
    let member = map((quoted, multispace0, char('='), multispace0, integer), |(name, _, _, _, value)| {
        Argument::Member(name, value)
    });
    let number = map_res(digit1, |it: &str| it.parse().map(Argument::Number));
    let literal = map(
        verify(recognize(double), |it: &str| it.starts_with(|c: char| c == '-' || c == '.' || c.is_ascii_digit())),
        |it: &str| it.parse().map_or(Argument::Literal(it), Argument::Number),
    );
    let several = map(verify(term, |it: &Term<'_>| multi_word(it.name).is_some()), Argument::Type);
    let part = alt((backquoted, map(word, str::to_owned)));
    let named = map((part, multispace1, term), |(name, _, term)| Argument::Named(name, term));
    delimited(
        multispace0,
        alt((member, map(quoted, Argument::Text), several, named, map(term, Argument::Type), literal, number)),
        multispace0,
    )
    .parse(input)
}

/// A name in a type: an identifier, or several words that together are one (`DOUBLE PRECISION`).
fn name(input: &str) -> IResult<&str, &str> {
    let lower = input.get(..24.min(input.len())).unwrap_or(input).to_ascii_lowercase();
    if MULTI_WORD_FIRST.iter().any(|it| lower.starts_with(it)) {
        let words = recognize((word, many1(preceded(multispace1, word))));
        let mut several = verify(words, |it: &str| multi_word(it).is_some());
        // As many words as make a name: `INT UNSIGNED` is one, `INT UNSIGNED DEFAULT` is not.
        for count in (2..=4).rev() {
            if let Some(head) = head_of_words(input, count)
                && let Ok(("", name)) = several.parse(head)
            {
                return Ok((&input[head.len()..], name));
            }
        }
    }
    word(input)
}

/// The first `count` words of a text.
fn head_of_words(input: &str, count: usize) -> Option<&str> {
    let mut rest = input;
    for index in 0..count {
        if index > 0 {
            rest = multispace1::<_, nom::error::Error<&str>>(rest).ok()?.0;
        }
        rest = word(rest).ok()?.0;
    }
    Some(&input[..input.len() - rest.len()])
}

/// The type that several words name, written with any blanks and in any case.
fn multi_word(text: &str) -> Option<&'static str> {
    if !text.trim().contains(char::is_whitespace) {
        return None;
    }
    let lower = text.split_whitespace().map(str::to_ascii_lowercase).collect::<Vec<_>>().join(" ");
    MULTI_WORD.iter().find(|(words, _)| *words == lower).map(|(_, name)| *name)
}

fn term(input: &str) -> IResult<&str, Term<'_>> {
    let arguments = delimited(char('('), separated_list0(char(','), argument), preceded(multispace0, char(')')));
    let (input, name) = name(input)?;
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Digit)));
    }
    let (input, arguments) = opt(preceded(multispace0, arguments)).parse(input)?;
    Ok((input, Term { name, arguments }))
}

/// `JSON(max_dynamic_paths = 4, a.b UInt8, SKIP c)`, `Dynamic(max_types = 8)`, `Object('json')`.
fn tuned(text: &str) -> Option<Result<ColumnType, TypeError>> {
    let (family, rest) = text.split_once('(')?;
    let inside = rest.strip_suffix(')')?;
    let family = match family.trim() {
        it if it.eq_ignore_ascii_case("json") => "JSON",
        "Dynamic" => "Dynamic",
        "Object" if inside.trim() == "'json'" => return Some(Ok(ColumnType::Plain("JSON"))),
        _ => return None,
    };
    let parameters = top_level_parts(inside).into_iter().map(|part| {
        let part = part.trim();
        let unknown = || TypeError::Parameters(format!("`{family}` has no parameter `{part}`"));
        if let Some((name, value)) = part.split_once('=') {
            let (name, value) = (name.trim(), value.trim());
            let known = matches!(
                (family, name),
                ("JSON", "max_dynamic_paths" | "max_dynamic_types") | ("Dynamic", "max_types")
            );
            return match value.parse::<u32>() {
                Ok(value) if known => Ok(format!("{name}={value}")),
                _ => Err(unknown()),
            };
        }
        if family == "Dynamic" {
            return Err(unknown());
        }
        let path = |it: &str| {
            it.trim().chars().all(|c| c.is_alphanumeric() || "_.`-:".contains(c)).then(|| it.trim().to_owned())
        };
        match part.get(..4).filter(|it| it.eq_ignore_ascii_case("skip")) {
            Some(_) => {
                let rest = part[4..].trim();
                let regexp = rest.get(..6).is_some_and(|it| it.eq_ignore_ascii_case("regexp"));
                match regexp.then(|| quoted(rest[6..].trim())) {
                    Some(Ok(("", _))) => Ok(format!("SKIP REGEXP {}", rest[6..].trim())),
                    None => path(rest).map(|it| format!("SKIP {it}")).ok_or_else(unknown),
                    Some(_) => Err(unknown()),
                }
            }
            None => {
                let (name, column_type) = part.split_once(char::is_whitespace).ok_or_else(unknown)?;
                let name = path(name).ok_or_else(unknown)?;
                Ok(format!("{name} {}", ColumnType::parse(column_type)?))
            }
        }
    });
    let parameters = parameters.collect::<Result<Vec<_>, _>>();
    Some(parameters.map(|it| ColumnType::Tuned { family, parameters: it.join(", ") }))
}

/// The parts of a comma list, commas in brackets and quotes aside.
fn top_level_parts(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut in_quotes) = (Vec::new(), 0, 0usize, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\'' => in_quotes = !in_quotes,
            b'(' if !in_quotes => depth += 1,
            b')' if !in_quotes => depth = depth.saturating_sub(1),
            b',' if !in_quotes && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => (),
        }
    }
    parts.push(&text[start..]);
    parts
}

/// What a SimpleAggregateFunction of these gives, where that is another type than the argument's.
fn stored_otherwise(function: &str, argument: &ColumnType) -> Option<&'static str> {
    let name = match argument {
        ColumnType::Nullable(inner) => return stored_otherwise(function, inner),
        ColumnType::Plain(name) => name,
        _ => return None,
    };
    match (function, *name) {
        ("sum" | "sumWithOverflow", "String" | "Date" | "UUID") => Some("nothing"),
        ("sum", "UInt8" | "UInt16" | "UInt32" | "Bool") => Some("UInt64"),
        ("sum", "Int8" | "Int16" | "Int32") => Some("Int64"),
        ("sum", "Float32") => Some("Float64"),
        _ => None,
    }
}

fn build(term: &Term<'_>) -> Result<ColumnType, TypeError> {
    let arguments = term.arguments.as_deref().unwrap_or_default();
    let lower = term.name.to_ascii_lowercase();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == lower).map(|(_, name)| *name);
    if let Some(name) = multi_word(term.name) {
        return Ok(ColumnType::Plain(name));
    }
    let known = PLAIN.iter().chain(FAMILIES).copied().find(|it| *it == term.name);
    let Some(name) = known.or(alias).or_else(|| {
        ["Decimal32", "Decimal64", "Decimal128", "Decimal256", "Enum", "Object"].into_iter().find(|it| *it == term.name)
    }) else {
        let names = PLAIN.iter().chain(FAMILIES).copied();
        let nearest = crate::diagnostic::nearest(term.name, names)
            .and_then(|it| PLAIN.iter().chain(FAMILIES).copied().find(|name| *name == it));
        return Err(TypeError::Unknown { name: term.name.to_owned(), nearest });
    };
    let parameters = |wanted: &str| TypeError::Parameters(format!("`{name}` takes {wanted}"));
    let one = || match arguments {
        [Argument::Type(it)] => build(it),
        _ => Err(parameters("one type")),
    };
    let types = || {
        arguments.iter().map(|it| match it {
            Argument::Type(it) => build(it),
            _ => Err(parameters("types")),
        })
    };
    Ok(match (name, arguments) {
        ("FixedString", [Argument::Number(n @ 1..=1_000_000)]) => ColumnType::FixedString(*n as u32),
        ("FixedString", _) => return Err(parameters("a length")),
        ("Decimal", [Argument::Number(p @ 1..=76)]) => ColumnType::Decimal { precision: *p as u8, scale: 0 },
        ("Decimal", [Argument::Number(p @ 1..=76), Argument::Number(s)]) if s <= p => {
            ColumnType::Decimal { precision: *p as u8, scale: *s as u8 }
        }
        ("Decimal", []) => ColumnType::Decimal { precision: 10, scale: 0 },
        ("Decimal32", [Argument::Number(s @ 0..=9)]) => ColumnType::Decimal { precision: 9, scale: *s as u8 },
        ("Decimal64", [Argument::Number(s @ 0..=18)]) => ColumnType::Decimal { precision: 18, scale: *s as u8 },
        ("Decimal128", [Argument::Number(s @ 0..=38)]) => ColumnType::Decimal { precision: 38, scale: *s as u8 },
        ("Decimal256", [Argument::Number(s @ 0..=76)]) => ColumnType::Decimal { precision: 76, scale: *s as u8 },
        ("Decimal" | "Decimal32" | "Decimal64" | "Decimal128" | "Decimal256", _) => {
            return Err(parameters("a precision and a scale that fit it"));
        }
        ("DateTime", []) => ColumnType::DateTime { zone: None },
        ("DateTime", [Argument::Text(zone)]) => ColumnType::DateTime { zone: Some(zone.clone()) },
        ("DateTime", _) => return Err(parameters("nothing or a time zone")),
        ("DateTime64", []) => ColumnType::DateTime64 { precision: 3, zone: None },
        ("DateTime64", [Argument::Number(p @ 0..=9)]) => ColumnType::DateTime64 { precision: *p as u8, zone: None },
        ("DateTime64", [Argument::Number(p @ 0..=9), Argument::Text(zone)]) => {
            ColumnType::DateTime64 { precision: *p as u8, zone: Some(zone.clone()) }
        }
        ("DateTime64", _) => return Err(parameters("a precision from 0 to 9 and perhaps a time zone")),
        ("Enum8" | "Enum16" | "Enum", [_, ..]) => {
            let members = arguments.iter().map(|it| match it {
                Argument::Text(name) => Ok((name.clone(), None)),
                Argument::Member(name, value) => Ok((name.clone(), Some(*value))),
                _ => Err(parameters("quoted names, each with a number or none")),
            });
            let members = members.collect::<Result<Vec<_>, _>>()?;
            let small = members.iter().all(|(_, value)| value.is_none_or(|it| i8::try_from(it).is_ok()))
                && members.len() <= 256;
            ColumnType::Enum { width: if name == "Enum16" || (name == "Enum" && !small) { 16 } else { 8 }, members }
        }
        ("Enum8" | "Enum16" | "Enum", []) => return Err(parameters("quoted names, each with a number or none")),
        ("Nullable", _) => match one()? {
            // The engine has the NULL inside: Tinybird writes it outside as well.
            ColumnType::SimpleAggregateFunction { function, argument } if !argument.is_nullable() => {
                ColumnType::SimpleAggregateFunction { function, argument: Box::new(argument.nullable()) }
            }
            it @ (ColumnType::Array(_)
            | ColumnType::Map(..)
            | ColumnType::Nullable(_)
            | ColumnType::LowCardinality(_)
            | ColumnType::Nested(_)
            | ColumnType::AggregateFunction { .. }
            | ColumnType::Variant(_)) => {
                return Err(TypeError::Nesting { outer: "Nullable", inner: it.to_string() });
            }
            it => ColumnType::Nullable(Box::new(it)),
        },
        ("LowCardinality", _) => match one()? {
            it if matches!(
                it.inner(),
                ColumnType::Plain(_) | ColumnType::FixedString(_) | ColumnType::DateTime { .. }
            ) =>
            {
                ColumnType::LowCardinality(Box::new(it))
            }
            it => return Err(TypeError::Nesting { outer: "LowCardinality", inner: it.to_string() }),
        },
        ("Array", _) => ColumnType::Array(Box::new(one()?)),
        ("Map", [Argument::Type(key), Argument::Type(value)]) => {
            ColumnType::Map(Box::new(build(key)?), Box::new(build(value)?))
        }
        ("Map", _) => return Err(parameters("a key type and a value type")),
        ("Tuple", _) => ColumnType::Tuple(
            arguments
                .iter()
                .map(|it| match it {
                    Argument::Type(it) => Ok((None, build(it)?)),
                    Argument::Named(name, it) => Ok((Some(name.clone()), build(it)?)),
                    _ => Err(parameters("types, named or not")),
                })
                .collect::<Result<_, _>>()?,
        ),
        ("Nested", [_, ..]) => ColumnType::Nested(
            arguments
                .iter()
                .map(|it| match it {
                    Argument::Named(name, it) => Ok((name.clone(), build(it)?)),
                    _ => Err(parameters("named types")),
                })
                .collect::<Result<_, _>>()?,
        ),
        ("Nested", []) => return Err(parameters("named types")),
        ("Variant", _) => ColumnType::Variant(types().collect::<Result<_, _>>()?),
        ("AggregateFunction", [Argument::Type(function), rest @ ..]) => ColumnType::AggregateFunction {
            function: function.to_string(),
            arguments: rest
                .iter()
                .map(|it| match it {
                    Argument::Type(it) => build(it),
                    _ => Err(parameters("a function and the types of its arguments")),
                })
                .collect::<Result<_, _>>()?,
        },
        ("SimpleAggregateFunction", [Argument::Type(function), Argument::Type(argument)]) => {
            let (function, argument) = (function.to_string(), build(argument)?);
            if let Some(result) = stored_otherwise(&function, &argument) {
                return Err(TypeError::Storage { function, argument: argument.to_string(), result });
            }
            ColumnType::SimpleAggregateFunction { function, argument: Box::new(argument) }
        }
        ("AggregateFunction" | "SimpleAggregateFunction", _) => {
            return Err(parameters("a function and the types of its arguments"));
        }
        // `VARCHAR(255)`, `INT(11)`, `JSON(max_dynamic_paths=..)`: the engine takes and ignores a length.
        (name, [] | [Argument::Number(_)]) => {
            ColumnType::Plain(PLAIN.iter().copied().find(|it| *it == name).ok_or_else(|| parameters("parameters"))?)
        }
        _ => return Err(parameters("no parameters")),
    })
}

impl fmt::Display for Term<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        let Some(arguments) = &self.arguments else { return Ok(()) };
        f.write_str("(")?;
        for (index, argument) in arguments.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match argument {
                Argument::Number(it) => write!(f, "{it}")?,
                Argument::Literal(it) => f.write_str(it)?,
                Argument::Text(it) => quote(f, it)?,
                Argument::Member(name, value) => {
                    quote(f, name)?;
                    write!(f, " = {value}")?;
                }
                Argument::Type(it) => write!(f, "{it}")?,
                Argument::Named(name, it) => write!(f, "{name} {it}")?,
            }
        }
        f.write_str(")")
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list(f: &mut fmt::Formatter<'_>, types: &[ColumnType]) -> fmt::Result {
            for (index, it) in types.iter().enumerate() {
                write!(f, "{}{it}", if index > 0 { ", " } else { "" })?;
            }
            f.write_str(")")
        }
        match self {
            ColumnType::Plain(name) => f.write_str(name),
            ColumnType::Tuned { family, parameters } => write!(f, "{family}({parameters})"),
            ColumnType::FixedString(length) => write!(f, "FixedString({length})"),
            ColumnType::Decimal { precision, scale } => write!(f, "Decimal({precision}, {scale})"),
            ColumnType::DateTime { zone: None } => f.write_str("DateTime"),
            ColumnType::DateTime { zone: Some(zone) } => {
                f.write_str("DateTime(")?;
                quote(f, zone)?;
                f.write_str(")")
            }
            ColumnType::DateTime64 { precision, zone: None } => write!(f, "DateTime64({precision})"),
            ColumnType::DateTime64 { precision, zone: Some(zone) } => {
                write!(f, "DateTime64({precision}, ")?;
                quote(f, zone)?;
                f.write_str(")")
            }
            ColumnType::Enum { width, members } => {
                write!(f, "Enum{width}(")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    f.write_str(if index > 0 { ", " } else { "" })?;
                    quote(f, name)?;
                    if let Some(value) = value {
                        write!(f, " = {value}")?;
                    }
                }
                f.write_str(")")
            }
            ColumnType::Nullable(it) => write!(f, "Nullable({it})"),
            ColumnType::LowCardinality(it) => write!(f, "LowCardinality({it})"),
            ColumnType::Array(it) => write!(f, "Array({it})"),
            ColumnType::Map(key, value) => write!(f, "Map({key}, {value})"),
            ColumnType::Tuple(parts) => {
                f.write_str("Tuple(")?;
                for (index, (name, it)) in parts.iter().enumerate() {
                    f.write_str(if index > 0 { ", " } else { "" })?;
                    match name {
                        Some(name) => write!(f, "{name} {it}")?,
                        None => write!(f, "{it}")?,
                    }
                }
                f.write_str(")")
            }
            ColumnType::Nested(parts) => {
                f.write_str("Nested(")?;
                for (index, (name, it)) in parts.iter().enumerate() {
                    write!(f, "{}{name} {it}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            ColumnType::Variant(types) => {
                f.write_str("Variant(")?;
                list(f, types)
            }
            ColumnType::AggregateFunction { function, arguments } => {
                write!(f, "AggregateFunction({function}")?;
                if !arguments.is_empty() {
                    f.write_str(", ")?;
                }
                list(f, arguments)
            }
            ColumnType::SimpleAggregateFunction { function, argument } => {
                write!(f, "SimpleAggregateFunction({function}, {argument})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_print_as_the_engine_writes_them() {
        for (text, printed) in [
            ("String", "String"),
            ("LowCardinality( Nullable(String) )", "LowCardinality(Nullable(String))"),
            ("DateTime64(3,'Etc/UTC')", "DateTime64(3, 'Etc/UTC')"),
            ("SimpleAggregateFunction(sum, UInt64)", "SimpleAggregateFunction(sum, UInt64)"),
            ("AggregateFunction(quantiles(0.5, 0.99), Float64)", "AggregateFunction(quantiles(0.5, 0.99), Float64)"),
            (
                "AggregateFunction(argMaxState, Nullable(String), DateTime64(6))",
                "AggregateFunction(argMaxState, Nullable(String), DateTime64(6))",
            ),
            ("JSON(max_dynamic_paths = 4, a.b UInt8, SKIP c)", "JSON(max_dynamic_paths=4, a.b UInt8, SKIP c)"),
            ("JSON", "JSON"),
            ("JSON(nonsense = 1)", ""),
            ("Object('json')", "JSON"),
            ("Dynamic(max_types=3)", "Dynamic(max_types=3)"),
            ("DOUBLE  PRECISION", "Float64"),
            ("bigint unsigned", "UInt64"),
            ("Array(INT SIGNED)", "Array(Int32)"),
            ("Nullable(SimpleAggregateFunction(sum, Int64))", "SimpleAggregateFunction(sum, Nullable(Int64))"),
            ("SimpleAggregateFunction(sum, Int32)", ""),
            ("SimpleAggregateFunction(max, Int32)", "SimpleAggregateFunction(max, Int32)"),
            ("AggregateFunction(topK(10), String)", "AggregateFunction(topK(10), String)"),
            ("AggregateFunction(count)", "AggregateFunction(count)"),
            ("Enum8('a' = 1, 'it\\'s' = -2)", "Enum8('a' = 1, 'it\\'s' = -2)"),
            ("Tuple(a UInt8, `b c` String)", "Tuple(a UInt8, b c String)"),
            ("Map(String, Array(Int64))", "Map(String, Array(Int64))"),
            ("VARCHAR(255)", "String"),
            ("int", "Int32"),
        ] {
            match ColumnType::parse(text) {
                Ok(it) => assert_eq!(it.to_string(), printed, "{text}"),
                Err(error) => assert_eq!(printed, "", "{text}: {error}"),
            }
        }
    }

    #[test]
    fn wrong_types_say_what_is_wrong() {
        assert_eq!(
            ColumnType::parse("Strng"),
            Err(TypeError::Unknown { name: "Strng".to_owned(), nearest: Some("String") })
        );
        assert!(matches!(ColumnType::parse("Nullable(Array(String))"), Err(TypeError::Nesting { .. })));
        assert!(matches!(ColumnType::parse("String String"), Err(TypeError::Syntax(_))));
        assert!(ColumnType::parse(&"Array(".repeat(10_000)).is_err());
    }
}
