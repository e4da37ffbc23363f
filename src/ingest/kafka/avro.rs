//! Avro's binary form becomes JSON text, by the schema that it was written with.
//!
//! In: a schema's JSON, and bytes. Out: one JSON value, its fields in the schema's order; the same bytes give the
//! same text. Bytes of others are not trusted: depth and sizes are bounded by what is there.

use crate::ingest::decode::MAX_ROW;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use num_bigint::BigInt;
use serde_json::Value;
use std::collections::HashMap;

/// A parsed schema. Names refer to what is declared elsewhere in it.
#[derive(Debug, Clone)]
pub(super) struct AvroSchema {
    root: Kind,
    named: HashMap<String, Kind>,
}

#[derive(Debug, Clone)]
enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    Array(Box<Kind>),
    Map(Box<Kind>),
    Union(Vec<Kind>),
    /// Names are JSON strings already.
    Record(Vec<(String, Kind)>),
    Named(String),
    Date,
    /// A fraction of a second, as digits after the point; and whether that is a time of the day.
    Time(u8),
    Timestamp(u8),
    Decimal {
        scale: usize,
        fixed: Option<usize>,
    },
}

/// Deeper values are refused: a schema may refer to itself.
const DEEPEST: usize = 64;

impl AvroSchema {
    /// `others` declare names that the schema may use.
    pub(super) fn parse(text: &str, others: &[String]) -> Result<AvroSchema, String> {
        let read = |text: &str| serde_json::from_str(text).map_err(|error| format!("the schema is no JSON: {error}"));
        let mut named = HashMap::new();
        for other in others {
            Kind::parse(&read(other)?, "", &mut named)?;
        }
        let value: Value = read(text)?;
        let root = Kind::parse(&value, "", &mut named)?;
        Ok(AvroSchema { root, named })
    }

    /// The JSON of a value that takes up all of the bytes.
    pub(super) fn json(&self, bytes: &[u8]) -> Result<String, String> {
        let mut reading = Reading { schema: self, bytes, out: String::new() };
        reading.value(&self.root, 0)?;
        match reading.bytes {
            [] => Ok(reading.out),
            rest => Err(format!("{} bytes follow the value", rest.len())),
        }
    }
}

impl Kind {
    fn parse(value: &Value, space: &str, named: &mut HashMap<String, Kind>) -> Result<Kind, String> {
        let fields = match value {
            Value::String(name) => return Kind::by_name(name, space),
            Value::Array(branches) => {
                let branches = branches.iter().map(|it| Kind::parse(it, space, named));
                return Ok(Kind::Union(branches.collect::<Result<_, _>>()?));
            }
            Value::Object(fields) => fields,
            _ => return Err("the schema has something that is no type".to_owned()),
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let within = |name: &str| fields.get(name).ok_or_else(|| format!("the schema lacks `{name}`"));
        let kind = match within("type")? {
            Value::String(kind) => kind.as_str(),
            nested => return Kind::parse(nested, space, named),
        };
        let size = |name: &str| fields.get(name).and_then(Value::as_u64).map(|it| it as usize);
        let decimal = |fixed| {
            (text("logicalType") == Some("decimal"))
                .then(|| Kind::Decimal { scale: size("scale").unwrap_or_default(), fixed })
        };
        let own = match kind {
            "record" | "error" | "enum" | "fixed" => {
                full_name(text("name").ok_or("a type lacks its name")?, text("namespace").unwrap_or(space))
            }
            _ => String::new(),
        };
        let space = own.rsplit_once('.').map_or(if own.is_empty() { space } else { "" }, |(space, _)| space).to_owned();
        let made = match kind {
            "record" | "error" => {
                let list = within("fields")?.as_array().ok_or("`fields` is no list")?;
                let mut parts = Vec::with_capacity(list.len());
                for field in list {
                    let name = field["name"].as_str().ok_or("a field lacks its name")?;
                    parts.push((Value::from(name).to_string(), Kind::parse(&field["type"], &space, named)?));
                }
                Kind::Record(parts)
            }
            "enum" => {
                let symbols = within("symbols")?.as_array().ok_or("`symbols` is no list")?;
                Kind::Enum(symbols.iter().map(|it| Value::from(it.as_str().unwrap_or_default()).to_string()).collect())
            }
            "fixed" => {
                let size = size("size").ok_or("a fixed type lacks its size")?;
                decimal(Some(size)).unwrap_or(Kind::Fixed(size))
            }
            "array" => Kind::Array(Box::new(Kind::parse(within("items")?, &space, named)?)),
            "map" => Kind::Map(Box::new(Kind::parse(within("values")?, &space, named)?)),
            primitive => match (primitive, text("logicalType")) {
                ("bytes", Some("decimal")) => decimal(None).unwrap_or(Kind::Bytes),
                ("int", Some("date")) => Kind::Date,
                ("int", Some("time-millis")) => Kind::Time(3),
                ("long", Some("time-micros")) => Kind::Time(6),
                ("long", Some("timestamp-millis" | "local-timestamp-millis")) => Kind::Timestamp(3),
                ("long", Some("timestamp-micros" | "local-timestamp-micros")) => Kind::Timestamp(6),
                ("long", Some("timestamp-nanos" | "local-timestamp-nanos")) => Kind::Timestamp(9),
                _ => Kind::by_name(primitive, &space)?,
            },
        };
        if own.is_empty() {
            return Ok(made);
        }
        named.insert(own.clone(), made);
        Ok(Kind::Named(own))
    }

    fn by_name(name: &str, space: &str) -> Result<Kind, String> {
        Ok(match name {
            "null" => Kind::Null,
            "boolean" => Kind::Boolean,
            "int" => Kind::Int,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "bytes" => Kind::Bytes,
            "string" => Kind::Text,
            "" => return Err("a type has no name".to_owned()),
            name => Kind::Named(full_name(name, space)),
        })
    }
}

fn full_name(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

struct Reading<'a> {
    schema: &'a AvroSchema,
    bytes: &'a [u8],
    out: String,
}

impl<'a> Reading<'a> {
    fn value(&mut self, kind: &'a Kind, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("it is more than {DEEPEST} levels deep"));
        }
        // Items that take few bytes, or none, may be many.
        if self.out.len() > MAX_ROW {
            return Err(format!("its JSON has more than {MAX_ROW} bytes"));
        }
        match kind {
            Kind::Null => self.out.push_str("null"),
            Kind::Boolean => {
                let word = match self.take(1)? {
                    [0] => "false",
                    [1] => "true",
                    _ => return Err("a boolean is neither 0 nor 1".to_owned()),
                };
                self.out.push_str(word);
            }
            Kind::Int | Kind::Long => {
                let number = self.long()?;
                if matches!(kind, Kind::Int) && i32::try_from(number).is_err() {
                    return Err(format!("{number} is no int"));
                }
                self.out.push_str(&number.to_string());
            }
            Kind::Float => {
                let number = f32::from_le_bytes(self.array()?);
                self.float(f64::from(number), number.to_string());
            }
            Kind::Double => {
                let number = f64::from_le_bytes(self.array()?);
                self.float(number, number.to_string());
            }
            Kind::Bytes => {
                let bytes = self.sized()?;
                self.binary(bytes);
            }
            Kind::Fixed(size) => {
                let bytes = self.take(*size)?;
                self.binary(bytes);
            }
            Kind::Text => {
                let bytes = self.sized()?;
                let text = std::str::from_utf8(bytes).map_err(|_| "a string is not UTF-8".to_owned())?;
                self.text(text);
            }
            Kind::Enum(symbols) => {
                let index = self.long()?;
                let symbol = usize::try_from(index).ok().and_then(|it| symbols.get(it));
                self.out.push_str(symbol.ok_or_else(|| format!("an enum has no symbol {index}"))?);
            }
            Kind::Union(branches) => {
                let index = self.long()?;
                let branch = usize::try_from(index).ok().and_then(|it| branches.get(it));
                self.value(branch.ok_or_else(|| format!("a union has no branch {index}"))?, depth + 1)?;
            }
            Kind::Record(fields) => {
                for (index, (name, kind)) in fields.iter().enumerate() {
                    self.out.push(if index == 0 { '{' } else { ',' });
                    self.out.push_str(name);
                    self.out.push(':');
                    self.value(kind, depth + 1)?;
                }
                self.out.push_str(if fields.is_empty() { "{}" } else { "}" });
            }
            Kind::Array(items) => {
                self.out.push('[');
                self.blocks(|this| this.value(items, depth + 1))?;
                self.out.push(']');
            }
            Kind::Map(values) => {
                self.out.push('{');
                self.blocks(|this| {
                    let key = this.sized()?;
                    let key = std::str::from_utf8(key).map_err(|_| "a key is not UTF-8".to_owned())?;
                    this.text(key);
                    this.out.push(':');
                    this.value(values, depth + 1)
                })?;
                self.out.push('}');
            }
            Kind::Named(name) => {
                let schema = self.schema;
                let kind = schema.named.get(name).ok_or_else(|| format!("the schema has no type `{name}`"))?;
                self.value(kind, depth + 1)?;
            }
            Kind::Date => {
                let days = self.long()?;
                let second = days.checked_mul(86_400).and_then(|it| jiff::Timestamp::from_second(it).ok());
                let date = second.ok_or_else(|| format!("day {days} is no date"))?.strftime("%Y-%m-%d").to_string();
                self.text(&date);
            }
            Kind::Time(digits) => {
                let number = self.long()?;
                let unit = 10i64.pow(u32::from(*digits));
                let (second, fraction) = (number.div_euclid(unit), number.rem_euclid(unit));
                if !(0..86_400).contains(&second) {
                    return Err(format!("{number} is no time of the day"));
                }
                let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
                let width = usize::from(*digits);
                self.text(&format!("{hour:02}:{minute:02}:{second:02}.{fraction:0width$}"));
            }
            Kind::Timestamp(digits) => {
                let number = self.long()?;
                let unit = 10i64.pow(u32::from(*digits));
                let moment = jiff::Timestamp::from_second(number.div_euclid(unit));
                let moment =
                    moment.map_err(|_| format!("{number} is no time"))?.strftime("%Y-%m-%dT%H:%M:%S").to_string();
                let (fraction, width) = (number.rem_euclid(unit), usize::from(*digits));
                self.text(&format!("{moment}.{fraction:0width$}Z"));
            }
            Kind::Decimal { scale, fixed } => {
                let bytes = match fixed {
                    Some(size) => self.take(*size)?,
                    None => self.sized()?,
                };
                let number = decimal(&BigInt::from_signed_bytes_be(bytes), *scale);
                self.out.push_str(&number);
            }
        }
        Ok(())
    }

    /// The items of an array or a map, which come in blocks with their counts.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let mut first = true;
        loop {
            let mut count = self.long()?;
            if count < 0 {
                count = count.checked_neg().ok_or("a block has no count")?;
                // The block's bytes, for those who pass it.
                self.long()?;
            }
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                if !std::mem::take(&mut first) {
                    self.out.push(',');
                }
                item(self)?;
            }
        }
    }

    fn long(&mut self) -> Result<i64, String> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err("a number has more than 64 bits".to_owned())
    }

    fn sized(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        self.take(usize::try_from(length).map_err(|_| format!("a length of {length}"))?)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self.take(N)?;
        Ok(std::array::from_fn(|index| bytes[index]))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("it ends in the middle of a value")?;
        self.bytes = rest;
        Ok(taken)
    }

    /// JSON has no NaN and no infinity: they are texts that a float column takes.
    fn float(&mut self, number: f64, text: String) {
        match number.is_finite() {
            true => self.out.push_str(&text),
            false => self.text(&text.to_ascii_lowercase()),
        }
    }

    /// As text where it is one.
    fn binary(&mut self, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(text),
            Err(_) => self.text(&BASE64_STANDARD.encode(bytes)),
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(&Value::from(text).to_string());
    }
}

/// A whole number with its point moved.
fn decimal(number: &BigInt, scale: usize) -> String {
    let digits = format!("{:0>width$}", number.magnitude().to_string(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if number.sign() == num_bigint::Sign::Minus { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::{Schema, to_avro_datum, types::Value as Avro};
    use proptest::prelude::*;

    const EVENT: &str = r#"{"type":"record","name":"Event","namespace":"n","fields":[
        {"name":"id","type":"long"},
        {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["made","gone"]}},
        {"name":"note","type":["null","string"],"default":null},
        {"name":"tags","type":{"type":"array","items":"string"}},
        {"name":"sizes","type":{"type":"map","values":"int"}},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"day","type":{"type":"int","logicalType":"date"}},
        {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
        {"name":"ratio","type":"double"},
        {"name":"raw","type":"bytes"},
        {"name":"id4","type":{"type":"fixed","name":"Four","size":4}},
        {"name":"other","type":["null","Kind"]}]}"#;

    /// Bytes as the field's own library writes them.
    fn written(schema: &str, value: Avro) -> Vec<u8> {
        to_avro_datum(&Schema::parse_str(schema).unwrap(), value).unwrap()
    }

    fn event() -> Vec<u8> {
        let field = |name: &str, value| (name.to_owned(), value);
        written(
            EVENT,
            Avro::Record(vec![
                field("id", Avro::Long(-7)),
                field("kind", Avro::Enum(1, "gone".to_owned())),
                field("note", Avro::Union(1, Box::new(Avro::String("a \"b\"".to_owned())))),
                field("tags", Avro::Array(vec![Avro::String("x".to_owned()), Avro::String("ü".to_owned())])),
                field("sizes", Avro::Map([("s".to_owned(), Avro::Int(3))].into())),
                field("at", Avro::TimestampMillis(1_772_000_000_123)),
                field("day", Avro::Date(20_000)),
                field("price", Avro::Decimal(vec![0xff, 0x38].into())),
                field("ratio", Avro::Double(0.5)),
                field("raw", Avro::Bytes(vec![0xff, 0])),
                field("id4", Avro::Fixed(4, b"abcd".to_vec())),
                field("other", Avro::Union(1, Box::new(Avro::Enum(0, "made".to_owned())))),
            ]),
        )
    }

    #[test]
    fn what_the_field_s_own_library_writes_is_read() {
        let json = AvroSchema::parse(EVENT, &[]).unwrap().json(&event()).unwrap();
        assert_eq!(
            json,
            "{\"id\":-7,\"kind\":\"gone\",\"note\":\"a \\\"b\\\"\",\"tags\":[\"x\",\"ü\"],\"sizes\":{\"s\":3},\
             \"at\":\"2026-02-25T06:13:20.123Z\",\"day\":\"2024-10-04\",\"price\":-2.00,\"ratio\":0.5,\"raw\":\"/wA=\",\
             \"id4\":\"abcd\",\"other\":\"made\"}"
        );
    }

    #[test]
    fn what_is_no_value_says_why() {
        let schema = AvroSchema::parse(EVENT, &[]).unwrap();
        let bytes = event();
        for end in 0..bytes.len() {
            assert!(schema.json(&bytes[..end]).is_err());
        }
        assert!(schema.json(&[&bytes[..], &[0]].concat()).unwrap_err().contains("1 bytes follow"));
        let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
        let list = AvroSchema::parse(list, &[]).unwrap();
        assert_eq!(list.json(&[2, 2, 0]).unwrap(), "{\"next\":{\"next\":{\"next\":null}}}");
        assert!(list.json(&[2; 1000]).unwrap_err().contains("levels deep"));
        let nulls = AvroSchema::parse(r#"{"type":"array","items":"null"}"#, &[]).unwrap();
        assert_eq!(nulls.json(&[4, 0]).unwrap(), "[null,null]");
        let many = nulls.json(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]);
        assert!(many.unwrap_err().contains("its JSON has more than"));
        for schema in ["{", "7", "{\"type\":\"record\"}", "{\"type\":\"record\",\"name\":\"a\"}", "\"\""] {
            assert!(AvroSchema::parse(schema, &[]).is_err(), "{schema}");
        }
    }

    proptest! {
        #[test]
        fn numbers_and_texts_are_those_of_the_library(number in any::<i64>(), double in any::<f64>(), text in ".*") {
            let json = |schema: &str, value| AvroSchema::parse(schema, &[]).unwrap().json(&written(schema, value)).unwrap();
            prop_assert_eq!(json("\"long\"", Avro::Long(number)), number.to_string());
            let read = json("\"double\"", Avro::Double(double)).parse::<f64>();
            prop_assert!(read == Ok(double) || !double.is_finite());
            prop_assert_eq!(json("\"string\"", Avro::String(text.clone())), Value::from(text).to_string());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let schema = AvroSchema::parse(EVENT, &[]).unwrap();
            if let Ok(json) = schema.json(&bytes) {
                prop_assert!(serde_json::from_str::<Value>(&json).is_ok(), "{}", json);
            }
        }
    }
}
