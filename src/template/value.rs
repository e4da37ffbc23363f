//! The values of the language, and the heap that holds its containers.
//!
//! In: what the walker computes. Out: truth, equality, order, `str` and `repr`. Containers are indices into a
//! heap that lives as long as one render: cycles and deep nests are freed flat, and sharing works as in Python.

use super::{
    error::{Class, Fault, Result},
    functions::Entry,
    text,
};
use indexmap::IndexMap;
use num_bigint::BigInt;
use num_traits::{ToPrimitive, Zero};
use std::{cell::Cell, cmp::Ordering, sync::Arc};

#[derive(Debug, Clone)]
pub(super) enum Value {
    None,
    Bool(bool),
    Num(Num),
    /// A number that prints as a cast, `toInt32('5')`. Arithmetic gives a plain number.
    Typed(&'static str, Num),
    Str(Arc<str>),
    /// SQL that a template function made. It is text to everything but the printer, so any edit loses the trust.
    Fragment(Arc<str>),
    /// An identifier or a bound secret. It is not text.
    Symbol(Arc<str>),
    Bytes(Arc<[u8]>),
    Ellipsis,
    List(usize),
    Tuple(usize),
    Dict(usize),
    Set(usize),
    /// What is left of a generator, last item first.
    Iter(usize),
    Range(i64, i64, i64),
    Function(&'static Entry),
    Lambda(usize),
    Bound(Box<(Value, Arc<str>)>),
    Exception(Class, Arc<str>),
    /// A missing parameter in test mode.
    Placeholder(Arc<str>),
}

#[derive(Debug, Clone)]
pub(super) enum Num {
    Int(i64),
    Big(Arc<BigInt>),
    Float(f64),
}

/// A value as the key of a dict.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    None,
    Int(BigInt),
    Float(u64),
    Str(Arc<str>),
    Symbol(Arc<str>),
    Bytes(Arc<[u8]>),
    Tuple(Vec<Key>),
    Other(String),
}

pub(super) type Map = IndexMap<Key, (Value, Value)>;

#[derive(Debug, Default)]
pub(super) struct Heap {
    pub(super) sequences: Vec<Vec<Value>>,
    pub(super) maps: Vec<Map>,
    /// Steps done and allowed. Looking into values costs steps too: a small value can unfold into a huge one.
    pub(super) steps: Cell<usize>,
    pub(super) max_steps: usize,
}

pub(super) const NO_VALUE: &str = "__no_value__";
const MAX_NEST: usize = 60;

impl Num {
    pub(super) fn big(number: BigInt) -> Num {
        match number.to_i64() {
            Some(small) => Num::Int(small),
            None => Num::Big(Arc::new(number)),
        }
    }

    pub(super) fn to_big(&self) -> Option<BigInt> {
        match self {
            Num::Int(it) => Some(BigInt::from(*it)),
            Num::Big(it) => Some((**it).clone()),
            Num::Float(_) => None,
        }
    }

    pub(super) fn to_float(&self) -> f64 {
        match self {
            Num::Int(it) => *it as f64,
            Num::Big(it) => it.to_f64().unwrap_or(f64::INFINITY),
            Num::Float(it) => *it,
        }
    }

    pub(super) fn print(&self) -> String {
        match self {
            Num::Int(it) => it.to_string(),
            Num::Big(it) => it.to_string(),
            Num::Float(it) => text::float(*it),
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        match self {
            Num::Int(it) => *it == 0,
            Num::Big(it) => it.is_zero(),
            Num::Float(it) => *it == 0.0,
        }
    }

    pub(super) fn compare(&self, other: &Num) -> Option<Ordering> {
        match (self, other) {
            (Num::Int(left), Num::Int(right)) => Some(left.cmp(right)),
            (Num::Float(left), Num::Float(right)) => left.partial_cmp(right),
            (Num::Float(left), right) => compare_float(*left, &right.to_big()?),
            (left, Num::Float(right)) => compare_float(*right, &left.to_big()?).map(Ordering::reverse),
            (left, right) => Some(left.to_big()?.cmp(&right.to_big()?)),
        }
    }
}

fn compare_float(left: f64, right: &BigInt) -> Option<Ordering> {
    if left.is_nan() {
        return None;
    }
    if left.is_infinite() {
        return Some(if left > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    let whole = num_traits::FromPrimitive::from_f64(left.trunc()).unwrap_or_else(BigInt::zero);
    Some(whole.cmp(right).then(left.fract().partial_cmp(&0.0)?))
}

impl Value {
    pub(super) fn str(text: impl Into<Arc<str>>) -> Value {
        Value::Str(text.into())
    }

    pub(super) fn fragment(text: impl Into<Arc<str>>) -> Value {
        Value::Fragment(text.into())
    }

    pub(super) fn symbol(text: impl Into<Arc<str>>) -> Value {
        Value::Symbol(text.into())
    }

    pub(super) fn int(number: impl Into<i64>) -> Value {
        Value::Num(Num::Int(number.into()))
    }

    pub(super) fn float(number: f64) -> Value {
        Value::Num(Num::Float(number))
    }

    /// The text of what is a string to Python.
    pub(super) fn as_str(&self) -> Option<&Arc<str>> {
        match self {
            Value::Str(text) | Value::Fragment(text) => Some(text),
            _ => None,
        }
    }

    /// The number of what is a number to Python, booleans included.
    pub(super) fn as_num(&self) -> Option<Num> {
        match self {
            Value::Num(number) | Value::Typed(_, number) => Some(number.clone()),
            Value::Bool(it) => Some(Num::Int(i64::from(*it))),
            _ => None,
        }
    }

    /// A whole number that fits an index.
    pub(super) fn as_index(&self) -> Option<i64> {
        match self.as_num()? {
            Num::Int(it) => Some(it),
            Num::Big(it) => Some(if it.sign() == num_bigint::Sign::Minus { i64::MIN } else { i64::MAX }),
            Num::Float(_) => None,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Value::None)
    }

    /// The name of the type, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::None => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Num(Num::Float(_)) | Value::Typed(_, Num::Float(_)) => "a float",
            Value::Num(_) | Value::Typed(..) => "a number",
            Value::Str(_) => "a string",
            Value::Fragment(_) => "SQL",
            Value::Symbol(_) => "an identifier",
            Value::Bytes(_) => "bytes",
            Value::Ellipsis => "`...`",
            Value::List(_) => "a list",
            Value::Tuple(_) => "a tuple",
            Value::Dict(_) => "a dict",
            Value::Set(_) => "a set",
            Value::Iter(_) => "a generator",
            Value::Range(..) => "a range",
            Value::Function(_) | Value::Lambda(_) | Value::Bound(_) => "a function",
            Value::Exception(..) => "an error",
            Value::Placeholder(_) => "a parameter without a value",
        }
    }
}

impl Heap {
    /// Counts steps; an error when the budget is spent.
    pub(super) fn spend(&self, steps: usize) -> Result<()> {
        let spent = self.steps.get().saturating_add(steps);
        self.steps.set(spent);
        if spent > self.max_steps { Err(Fault::budget("steps", self.max_steps)) } else { Ok(()) }
    }

    pub(super) fn list(&mut self, items: Vec<Value>) -> Value {
        self.sequences.push(items);
        Value::List(self.sequences.len() - 1)
    }

    pub(super) fn tuple(&mut self, items: Vec<Value>) -> Value {
        self.sequences.push(items);
        Value::Tuple(self.sequences.len() - 1)
    }

    pub(super) fn iter(&mut self, mut items: Vec<Value>) -> Value {
        items.reverse();
        self.sequences.push(items);
        Value::Iter(self.sequences.len() - 1)
    }

    pub(super) fn dict(&mut self, map: Map) -> Value {
        self.maps.push(map);
        Value::Dict(self.maps.len() - 1)
    }

    pub(super) fn set(&mut self, items: Vec<Value>) -> Result<Value> {
        let mut map = Map::new();
        for item in items {
            map.entry(self.key(&item)?).or_insert((item, Value::None));
        }
        self.maps.push(map);
        Ok(Value::Set(self.maps.len() - 1))
    }

    pub(super) fn truth(&self, value: &Value) -> bool {
        match value {
            Value::None => false,
            Value::Bool(it) => *it,
            Value::Num(it) | Value::Typed(_, it) => !it.is_zero(),
            Value::Str(it) | Value::Fragment(it) => !it.is_empty(),
            Value::Bytes(it) => !it.is_empty(),
            Value::List(id) | Value::Tuple(id) => !self.sequences[*id].is_empty(),
            Value::Dict(id) | Value::Set(id) => !self.maps[*id].is_empty(),
            Value::Range(from, to, step) => range_length(*from, *to, *step) > 0,
            _ => true,
        }
    }

    pub(super) fn key(&self, value: &Value) -> Result<Key> {
        self.key_at(value, 0)
    }

    fn key_at(&self, value: &Value, depth: usize) -> Result<Key> {
        self.spend(1)?;
        if depth > MAX_NEST {
            return Err(Fault::budget("levels of nested values", MAX_NEST));
        }
        Ok(match value {
            Value::None => Key::None,
            Value::Bool(_) | Value::Num(_) | Value::Typed(..) => match value.as_num() {
                Some(Num::Float(it)) if it.fract() == 0.0 => {
                    Key::Int(num_traits::FromPrimitive::from_f64(it).unwrap_or_else(BigInt::zero))
                }
                Some(Num::Float(it)) => Key::Float(it.to_bits()),
                Some(number) => Key::Int(number.to_big().unwrap_or_else(BigInt::zero)),
                None => Key::None,
            },
            Value::Str(it) | Value::Fragment(it) => Key::Str(it.clone()),
            Value::Symbol(it) => Key::Symbol(it.clone()),
            Value::Bytes(it) => Key::Bytes(it.clone()),
            Value::Tuple(id) => {
                let items = self.sequences[*id].iter().map(|it| self.key_at(it, depth + 1));
                Key::Tuple(items.collect::<Result<_>>()?)
            }
            Value::List(_) | Value::Dict(_) | Value::Set(_) => {
                let message = format!("{} cannot be the key of a dict or in a set", value.type_name());
                return Err(Fault::new("not_callable", Class::TypeError, message));
            }
            Value::Function(entry) => Key::Other(entry.name.to_owned()),
            other => Key::Other(format!("{other:?}")),
        })
    }

    pub(super) fn equal(&self, left: &Value, right: &Value) -> Result<bool> {
        self.equal_at(left, right, 0)
    }

    fn equal_at(&self, left: &Value, right: &Value, depth: usize) -> Result<bool> {
        self.spend(1)?;
        if depth > MAX_NEST {
            return Err(Fault::budget("levels of nested values", MAX_NEST));
        }
        if let (Some(left), Some(right)) = (left.as_num(), right.as_num()) {
            return Ok(left.compare(&right) == Some(Ordering::Equal));
        }
        if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
            return Ok(left == right);
        }
        Ok(match (left, right) {
            (Value::None, Value::None) | (Value::Ellipsis, Value::Ellipsis) => true,
            (Value::Symbol(left), Value::Symbol(right)) => left == right,
            (Value::Bytes(left), Value::Bytes(right)) => left == right,
            (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
                let (left, right) = (&self.sequences[*left], &self.sequences[*right]);
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (left, right) in left.iter().zip(right) {
                    if !self.equal_at(left, right, depth + 1)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Dict(left), Value::Dict(right)) => {
                let (left, right) = (&self.maps[*left], &self.maps[*right]);
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (key, (_, value)) in left {
                    match right.get(key) {
                        Some((_, other)) if self.equal_at(value, other, depth + 1)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (Value::Set(left), Value::Set(right)) => {
                let (left, right) = (&self.maps[*left], &self.maps[*right]);
                left.len() == right.len() && left.keys().all(|it| right.contains_key(it))
            }
            (Value::Range(a, b, c), Value::Range(d, e, f)) => (a, b, c) == (d, e, f),
            (Value::Function(left), Value::Function(right)) => left.name == right.name,
            (Value::Lambda(left), Value::Lambda(right)) => left == right,
            (Value::Exception(left, a), Value::Exception(right, b)) => left == right && a == b,
            _ => false,
        })
    }

    /// `<` and its kin: nothing for what is not a number.
    pub(super) fn order(&self, left: &Value, right: &Value) -> Result<Option<Ordering>> {
        self.order_at(left, right, 0)
    }

    fn order_at(&self, left: &Value, right: &Value, depth: usize) -> Result<Option<Ordering>> {
        self.spend(1)?;
        if depth > MAX_NEST {
            return Err(Fault::budget("levels of nested values", MAX_NEST));
        }
        if let (Some(left), Some(right)) = (left.as_num(), right.as_num()) {
            return Ok(left.compare(&right));
        }
        if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
            return Ok(Some(left.chars().cmp(right.chars())));
        }
        match (left, right) {
            (Value::Bytes(left), Value::Bytes(right)) => Ok(Some(left.cmp(right))),
            (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
                let (left, right) = (&self.sequences[*left], &self.sequences[*right]);
                for (left, right) in left.iter().zip(right) {
                    if !self.equal_at(left, right, depth + 1)? {
                        return self.order_at(left, right, depth + 1);
                    }
                }
                Ok(Some(left.len().cmp(&right.len())))
            }
            (Value::Set(left), Value::Set(right)) => {
                let (left, right) = (&self.maps[*left], &self.maps[*right]);
                let less = left.keys().all(|it| right.contains_key(it));
                let more = right.keys().all(|it| left.contains_key(it));
                Ok(match (less, more) {
                    (true, true) => Some(Ordering::Equal),
                    (true, false) => Some(Ordering::Less),
                    (false, true) => Some(Ordering::Greater),
                    (false, false) => None,
                })
            }
            (Value::Placeholder(name), _) | (_, Value::Placeholder(name)) => {
                let message = format!("the parameter `{name}` has no type here: wrap it, as in `Int32({name})`");
                Err(Fault::new("placeholder_type", Class::ValueError, message))
            }
            _ => {
                let message = format!("{} and {} cannot be compared", left.type_name(), right.type_name());
                Err(Fault::type_error(message).hint("a parameter is text until a type is given: `Int32(name)`"))
            }
        }
    }

    pub(super) fn print(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        match value {
            Value::Str(it) | Value::Fragment(it) | Value::Symbol(it) | Value::Exception(_, it) => out.push_str(it),
            Value::Typed(cast, number) => {
                out.push_str(cast);
                out.push_str("('");
                out.push_str(&number.print());
                out.push_str("')");
            }
            Value::Placeholder(_) => out.push_str(NO_VALUE),
            other => self.repr(other, false, &mut out, 0)?,
        }
        Ok(out)
    }

    /// `single` keeps strings in single quotes, as SQL needs them.
    pub(super) fn repr(&self, value: &Value, single: bool, out: &mut String, depth: usize) -> Result<()> {
        self.spend(1)?;
        if depth > MAX_NEST {
            return Err(Fault::budget("levels of nested values", MAX_NEST));
        }
        if out.len() > MAX_REPR {
            return Err(Fault::budget("bytes of text", MAX_REPR));
        }
        match value {
            Value::None => out.push_str("None"),
            Value::Bool(it) => out.push_str(if *it { "True" } else { "False" }),
            Value::Num(it) | Value::Typed(_, it) => out.push_str(&it.print()),
            Value::Str(it) | Value::Fragment(it) | Value::Symbol(it) => text::repr(it, single, out),
            Value::Placeholder(_) => out.push_str("'__no_value__'"),
            Value::Bytes(it) => {
                let text: String = it.iter().map(|byte| char::from(*byte)).collect();
                out.push('b');
                text::repr(&text, false, out);
            }
            Value::Ellipsis => out.push_str("Ellipsis"),
            Value::List(id) => {
                out.push('[');
                self.repr_items(self.sequences[*id].iter(), single, out, depth)?;
                out.push(']');
            }
            Value::Tuple(id) => {
                let items = &self.sequences[*id];
                out.push('(');
                self.repr_items(items.iter(), single, out, depth)?;
                out.push_str(if items.len() == 1 { ",)" } else { ")" });
            }
            Value::Set(id) if self.maps[*id].is_empty() => out.push_str("set()"),
            Value::Set(id) => {
                out.push('{');
                self.repr_items(self.maps[*id].values().map(|(item, _)| item), single, out, depth)?;
                out.push('}');
            }
            Value::Dict(id) => {
                out.push('{');
                for (index, (key, value)) in self.maps[*id].values().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    self.repr(key, single, out, depth + 1)?;
                    out.push_str(": ");
                    self.repr(value, single, out, depth + 1)?;
                }
                out.push('}');
            }
            Value::Range(from, to, 1) => out.push_str(&format!("range({from}, {to})")),
            Value::Range(from, to, step) => out.push_str(&format!("range({from}, {to}, {step})")),
            Value::Function(entry) if entry.is_class => out.push_str(&format!("<class '{}'>", entry.name)),
            Value::Function(entry) => out.push_str(&format!("<built-in function {}>", entry.name)),
            Value::Iter(_) => out.push_str("<generator>"),
            Value::Lambda(_) | Value::Bound(_) => out.push_str("<function>"),
            Value::Exception(class, message) => {
                out.push_str(class.name());
                out.push('(');
                text::repr(message, single, out);
                out.push(')');
            }
        }
        Ok(())
    }

    fn repr_items<'a>(
        &self,
        items: impl Iterator<Item = &'a Value>,
        single: bool,
        out: &mut String,
        depth: usize,
    ) -> Result<()> {
        for (index, item) in items.enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            self.repr(item, single, out, depth + 1)?;
        }
        Ok(())
    }
}

const MAX_REPR: usize = 32 << 20;

pub(super) fn range_length(from: i64, to: i64, step: i64) -> usize {
    let span = i128::from(to) - i128::from(from);
    let step = i128::from(step);
    if step == 0 || span.signum() != step.signum() {
        return 0;
    }
    usize::try_from((span.abs() + step.abs() - 1) / step.abs()).unwrap_or(usize::MAX)
}
