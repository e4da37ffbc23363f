//! Operators, items and slices, as Python has them.
//!
//! In: values. Out: values, or the fault that Python would raise. Results that could grow without bound are
//! measured before they are made.

use super::{
    ast::{Binary, Compare, Unary},
    error::{Class, Fault, Result},
    eval::Interp,
    format,
    value::{Num, Value},
};
use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};
use std::cmp::Ordering;

pub(super) fn unary(interp: &Interp<'_>, operator: Unary, value: &Value) -> Result<Value> {
    let Some(number) = value.as_num() else {
        return Err(Fault::type_error(format!("{} has no sign", value.type_name())));
    };
    match (operator, number) {
        (Unary::Minus, Num::Float(it)) => Ok(Value::float(-it)),
        (Unary::Plus, Num::Float(it)) => Ok(Value::float(it)),
        (Unary::Invert, Num::Float(_)) => Err(Fault::type_error("`~` needs a whole number")),
        (operator, number) => {
            let number = number.to_big().unwrap_or_else(BigInt::zero);
            interp.number(match operator {
                Unary::Minus => -number,
                Unary::Invert => -(number + 1i64),
                _ => number,
            })
        }
    }
}

fn mismatch(operator: Binary, left: &Value, right: &Value) -> Box<Fault> {
    let symbol = match operator {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::FloorDiv => "//",
        Binary::Mod => "%",
        Binary::Pow => "**",
        Binary::LShift => "<<",
        Binary::RShift => ">>",
        Binary::And => "&",
        Binary::Or => "|",
        Binary::Xor => "^",
        Binary::MatMul => "@",
    };
    Fault::type_error(format!("`{symbol}` cannot join {} and {}", left.type_name(), right.type_name()))
}

pub(super) fn binary(interp: &mut Interp<'_>, operator: Binary, left: &Value, right: &Value) -> Result<Value> {
    if let (Some(a), Some(b)) = (left.as_num(), right.as_num()) {
        if let (Value::Bool(a), Value::Bool(b)) = (left, right) {
            match operator {
                Binary::And => return Ok(Value::Bool(a & b)),
                Binary::Or => return Ok(Value::Bool(a | b)),
                Binary::Xor => return Ok(Value::Bool(a ^ b)),
                _ => {}
            }
        }
        return arithmetic(interp, operator, &a, &b).unwrap_or_else(|| Err(mismatch(operator, left, right)));
    }
    match (operator, left, right) {
        (Binary::Add, Value::Placeholder(_), _) => Ok(left.clone()),
        (Binary::Add, Value::List(a), Value::List(b)) => {
            let mut items = interp.heap.sequences[*a].clone();
            items.extend_from_slice(&interp.heap.sequences[*b]);
            interp.list(items)
        }
        (Binary::Add, Value::Tuple(a), Value::Tuple(b)) => {
            let mut items = interp.heap.sequences[*a].clone();
            items.extend_from_slice(&interp.heap.sequences[*b]);
            interp.check_items(items.len())?;
            Ok(interp.heap.tuple(items))
        }
        (Binary::Add, left, right) => match (left.as_str(), right.as_str()) {
            (Some(a), Some(b)) => {
                interp.check_text(a.len() + b.len())?;
                interp.text(format!("{a}{b}"))
            }
            _ => Err(mismatch(operator, left, right).hint("a parameter is text until a type is given: `Int32(name)`")),
        },
        (Binary::Mul, value, times) if times.as_index().is_some() => {
            repeat(interp, value, times.as_index().unwrap_or(0)).unwrap_or_else(|| Err(mismatch(operator, left, right)))
        }
        (Binary::Mul, times, value) if times.as_index().is_some() => {
            repeat(interp, value, times.as_index().unwrap_or(0)).unwrap_or_else(|| Err(mismatch(operator, left, right)))
        }
        (Binary::Mod, text, value) if text.as_str().is_some() => {
            let pattern = text.as_str().cloned().unwrap_or_default();
            let printed = format::percent(interp, &pattern, value)?;
            interp.text(printed)
        }
        (Binary::And | Binary::Or | Binary::Sub | Binary::Xor, Value::Set(a), Value::Set(b)) => {
            let (a, b) = (interp.heap.maps[*a].clone(), interp.heap.maps[*b].clone());
            interp.check_items(a.len() + b.len())?;
            let mut out = a.clone();
            match operator {
                Binary::And => out.retain(|key, _| b.contains_key(key)),
                Binary::Sub => out.retain(|key, _| !b.contains_key(key)),
                Binary::Or => out.extend(b),
                _ => {
                    out.retain(|key, _| !b.contains_key(key));
                    out.extend(b.into_iter().filter(|(key, _)| !a.contains_key(key)));
                }
            }
            let items = out.into_values().map(|(item, _)| item).collect();
            interp.heap.set(items)
        }
        (Binary::Or, Value::Dict(a), Value::Dict(b)) => {
            let mut map = interp.heap.maps[*a].clone();
            map.extend(interp.heap.maps[*b].clone());
            interp.check_items(map.len())?;
            Ok(interp.heap.dict(map))
        }
        _ => Err(mismatch(operator, left, right)),
    }
}

/// `+=` on a list changes the list itself.
pub(super) fn augmented(interp: &mut Interp<'_>, operator: Binary, left: Value, right: Value) -> Result<Value> {
    if let (Binary::Add, Value::List(id)) = (operator, &left) {
        let items = interp.iterate(&right)?;
        interp.check_items(interp.heap.sequences[*id].len() + items.len())?;
        interp.heap.sequences[*id].extend(items);
        return Ok(left);
    }
    binary(interp, operator, &left, &right)
}

fn repeat(interp: &mut Interp<'_>, value: &Value, times: i64) -> Option<Result<Value>> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    if let Some(text) = value.as_str() {
        let size = text.len().saturating_mul(times);
        return Some(interp.check_text(size).and_then(|()| interp.text(text.repeat(times))));
    }
    let (Value::List(id) | Value::Tuple(id)) = value else { return None };
    let items = interp.heap.sequences[*id].clone();
    if let Err(fault) = interp.check_items(items.len().saturating_mul(times)) {
        return Some(Err(fault));
    }
    let total = items.len().saturating_mul(times);
    let items: Vec<Value> = items.iter().cycle().take(total).cloned().collect();
    Some(Ok(if matches!(value, Value::List(_)) { interp.heap.list(items) } else { interp.heap.tuple(items) }))
}

fn zero_division() -> Box<Fault> {
    Fault::new("runtime", Class::ZeroDivisionError, "a division by zero")
}

/// Nothing when the operator has no meaning for these numbers.
fn arithmetic(interp: &Interp<'_>, operator: Binary, a: &Num, b: &Num) -> Option<Result<Value>> {
    if let (Num::Int(a), Num::Int(b)) = (a, b) {
        let quick = match operator {
            Binary::Add => a.checked_add(*b),
            Binary::Sub => a.checked_sub(*b),
            Binary::Mul => a.checked_mul(*b),
            Binary::And => Some(a & b),
            Binary::Or => Some(a | b),
            Binary::Xor => Some(a ^ b),
            _ => None,
        };
        if let Some(number) = quick {
            return Some(Ok(Value::int(number)));
        }
    }
    match (a.to_big(), b.to_big()) {
        (Some(left), Some(right)) if operator != Binary::Div => whole(interp, operator, &left, &right),
        _ => fractional(operator, a.to_float(), b.to_float()),
    }
}

fn whole(interp: &Interp<'_>, operator: Binary, a: &BigInt, b: &BigInt) -> Option<Result<Value>> {
    let limit = interp.options.budgets.integer_bits as u64;
    let too_big = || Some(Err(Fault::budget("bits in one number", limit as usize)));
    Some(match operator {
        Binary::Add => interp.number(a + b),
        Binary::Sub => interp.number(a - b),
        Binary::Mul => interp.number(a * b),
        Binary::FloorDiv | Binary::Mod if b.is_zero() => Err(zero_division()),
        Binary::FloorDiv => interp.number(floor_div(a, b).0),
        Binary::Mod => interp.number(floor_div(a, b).1),
        Binary::Pow if b.is_negative() => {
            let (a, b) = (a.to_f64().unwrap_or(f64::NAN), b.to_f64().unwrap_or(f64::NAN));
            if a == 0.0 { Err(zero_division()) } else { Ok(Value::float(a.powf(b))) }
        }
        Binary::Pow => {
            let Some(exponent) = b.to_u32() else {
                return if a.bits() > 1 { too_big() } else { Some(interp.number(small_power(a, b))) };
            };
            if a.bits().saturating_mul(u64::from(exponent)) > limit && a.bits() > 1 {
                return too_big();
            }
            interp.number(if a.bits() > 1 { a.pow(exponent) } else { small_power(a, b) })
        }
        Binary::LShift | Binary::RShift if b.is_negative() => Err(Fault::value_error("a shift by a negative number")),
        Binary::LShift => {
            let Some(by) = b.to_u64() else { return too_big() };
            if a.bits().saturating_add(by) > limit && !a.is_zero() {
                return too_big();
            }
            interp.number(if a.is_zero() { BigInt::zero() } else { a << by })
        }
        Binary::RShift => interp.number(a >> b.to_u64().unwrap_or(u64::MAX).min(1 << 32)),
        Binary::And => interp.number(a & b),
        Binary::Or => interp.number(a | b),
        Binary::Xor => interp.number(a ^ b),
        Binary::Div | Binary::MatMul => return None,
    })
}

/// Powers of 0, 1 and -1, whose exponent may be huge.
fn small_power(a: &BigInt, b: &BigInt) -> BigInt {
    let is_even = !b.bit(0);
    if b.is_zero() || (a.is_negative() && is_even) { BigInt::from(1) } else { a.clone() }
}

/// Quotient and remainder with Python's signs. The divisor is not zero.
pub(super) fn floor_div(a: &BigInt, b: &BigInt) -> (BigInt, BigInt) {
    let (quotient, rest) = (a / b, a % b);
    if !rest.is_zero() && rest.is_negative() != b.is_negative() { (quotient - 1, rest + b) } else { (quotient, rest) }
}

fn fractional(operator: Binary, a: f64, b: f64) -> Option<Result<Value>> {
    Some(match operator {
        Binary::Add => Ok(Value::float(a + b)),
        Binary::Sub => Ok(Value::float(a - b)),
        Binary::Mul => Ok(Value::float(a * b)),
        Binary::Div | Binary::FloorDiv | Binary::Mod if b == 0.0 => Err(zero_division()),
        Binary::Div => Ok(Value::float(a / b)),
        Binary::FloorDiv => Ok(Value::float((a / b).floor())),
        Binary::Mod => {
            let rest = a % b;
            Ok(Value::float(if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }))
        }
        Binary::Pow if a == 0.0 && b < 0.0 => Err(zero_division()),
        Binary::Pow if a < 0.0 && b.fract() != 0.0 => Err(Fault::type_error("this power is not a real number")),
        Binary::Pow => Ok(Value::float(a.powf(b))),
        _ => return None,
    })
}

pub(super) fn compare(interp: &mut Interp<'_>, operator: Compare, left: &Value, right: &Value) -> Result<bool> {
    let order = |interp: &Interp<'_>| interp.heap.order(left, right);
    Ok(match operator {
        Compare::Eq => interp.heap.equal(left, right)?,
        Compare::Ne => !interp.heap.equal(left, right)?,
        Compare::Lt => order(interp)? == Some(Ordering::Less),
        Compare::Le => matches!(order(interp)?, Some(Ordering::Less | Ordering::Equal)),
        Compare::Gt => order(interp)? == Some(Ordering::Greater),
        Compare::Ge => matches!(order(interp)?, Some(Ordering::Greater | Ordering::Equal)),
        Compare::In => contains(interp, right, left)?,
        Compare::NotIn => !contains(interp, right, left)?,
        Compare::Is => same(left, right),
        Compare::IsNot => !same(left, right),
    })
}

/// Identity, as far as a template can rely on it.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::None, Value::None) | (Value::Ellipsis, Value::Ellipsis) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::List(a), Value::List(b))
        | (Value::Tuple(a), Value::Tuple(b))
        | (Value::Dict(a), Value::Dict(b))
        | (Value::Set(a), Value::Set(b))
        | (Value::Iter(a), Value::Iter(b))
        | (Value::Lambda(a), Value::Lambda(b)) => a == b,
        (Value::Function(a), Value::Function(b)) => a.name == b.name,
        (Value::Num(Num::Int(a)), Value::Num(Num::Int(b))) => a == b && (-5..=256).contains(a),
        (Value::Str(a), Value::Str(b)) => std::sync::Arc::ptr_eq(a, b) || (a == b && a.len() <= 1),
        _ => false,
    }
}

pub(super) fn contains(interp: &mut Interp<'_>, container: &Value, item: &Value) -> Result<bool> {
    match container {
        Value::Str(text) | Value::Fragment(text) => match item.as_str() {
            Some(part) => {
                interp.charge(text.len() / 32)?;
                Ok(text.contains(&**part))
            }
            None => {
                let message = format!("{} cannot be looked for in a string", item.type_name());
                Err(Fault::type_error(message).hint("is a parameter missing? Test it with `defined()` first"))
            }
        },
        Value::Dict(id) | Value::Set(id) => {
            let key = interp.heap.key(item)?;
            Ok(interp.heap.maps[*id].contains_key(&key))
        }
        Value::List(id) | Value::Tuple(id) => {
            for it in &interp.heap.sequences[*id] {
                if interp.heap.equal(it, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other => {
            let items = interp.iterate(other)?;
            for it in &items {
                if interp.heap.equal(it, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let length = length as i64;
    let index = if index < 0 { index.checked_add(length)? } else { index };
    usize::try_from(index).ok().filter(|it| (*it as i64) < length)
}

pub(super) fn item(interp: &mut Interp<'_>, value: &Value, index: &Value) -> Result<Value> {
    let whole_number = || {
        index
            .as_index()
            .ok_or_else(|| Fault::type_error(format!("{} is not indexed by {}", value.type_name(), index.type_name())))
    };
    let outside =
        |what: &str| Fault::new("runtime", Class::IndexError, format!("the {what} has no item at this index"));
    match value {
        Value::Str(text) | Value::Fragment(text) => {
            let index = whole_number()?;
            interp.charge(text.len() / 32)?;
            let found = position(index, text.chars().count()).and_then(|it| text.chars().nth(it));
            found
                .map(|c| Value::str(c.to_string()))
                .ok_or_else(|| Fault::new("index", Class::IndexError, "the string has no character at this index"))
        }
        Value::List(id) | Value::Tuple(id) => {
            let index = whole_number()?;
            let items = &interp.heap.sequences[*id];
            position(index, items.len()).map(|it| items[it].clone()).ok_or_else(|| outside("list"))
        }
        Value::Bytes(bytes) => {
            let index = whole_number()?;
            position(index, bytes.len()).map(|it| Value::int(bytes[it])).ok_or_else(|| outside("bytes"))
        }
        Value::Range(from, to, step) => {
            let length = super::value::range_length(*from, *to, *step);
            let found = position(whole_number()?, length);
            found.map(|it| Value::int(from + it as i64 * step)).ok_or_else(|| outside("range"))
        }
        Value::Dict(id) => {
            let key = interp.heap.key(index)?;
            match interp.heap.maps[*id].get(&key) {
                Some((_, value)) => Ok(value.clone()),
                None => {
                    let mut shown = String::new();
                    interp.heap.repr(index, false, &mut shown, 0)?;
                    let message = format!("the dict has no key {shown}");
                    Err(Fault::new("missing_key", Class::KeyError, message).hint("use `.get(key, default)`"))
                }
            }
        }
        Value::Placeholder(name) => match index.as_index() {
            Some(0..=2) => Ok(Value::Placeholder(name.clone())),
            Some(_) => Err(Fault::new("template", Class::IndexError, "a parameter without a value has three items")),
            None => Err(Fault::type_error("a parameter without a value is indexed by numbers only")),
        },
        other => {
            let fault = Fault::type_error(format!("{} has no items", other.type_name()));
            Err(if other.is_none() { fault.hint("is a parameter missing?") } else { fault })
        }
    }
}

pub(super) fn slice(interp: &mut Interp<'_>, value: &Value, bounds: [Option<Value>; 3]) -> Result<Value> {
    let mut numbers = [None; 3];
    for (number, bound) in numbers.iter_mut().zip(&bounds) {
        *number = match bound {
            None | Some(Value::None) => None,
            Some(it) => {
                Some(it.as_index().ok_or_else(|| Fault::type_error("the bounds of a slice are whole numbers"))?)
            }
        };
    }
    let [from, to, step] = numbers;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Fault::value_error("the step of a slice may not be 0"));
    }
    let pick = |length: usize| {
        let length = length as i64;
        let clamp = |it: i64, low: i64, high: i64| {
            let it = if it < 0 { it.saturating_add(length) } else { it };
            it.clamp(low, high)
        };
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        let begin = from.map_or(if step > 0 { low } else { high }, |it| clamp(it, low, high));
        let end = to.map_or(if step > 0 { high } else { low }, |it| clamp(it, low, high));
        let count = super::value::range_length(begin, end, step) as i64;
        (0..count).map(move |it| (begin + it * step) as usize)
    };
    match value {
        Value::Str(text) | Value::Fragment(text) => {
            interp.check_text(text.len())?;
            let chars: Vec<char> = text.chars().collect();
            let picked: String = pick(chars.len()).map(|it| chars[it]).collect();
            interp.text(picked)
        }
        Value::List(id) => {
            let items = &interp.heap.sequences[*id];
            let picked = pick(items.len()).map(|it| items[it].clone()).collect();
            interp.list(picked)
        }
        Value::Tuple(id) => {
            let items = &interp.heap.sequences[*id];
            let picked: Vec<Value> = pick(items.len()).map(|it| items[it].clone()).collect();
            interp.check_items(picked.len())?;
            Ok(interp.heap.tuple(picked))
        }
        Value::Bytes(bytes) => Ok(Value::Bytes(pick(bytes.len()).map(|it| bytes[it]).collect())),
        other => Err(Fault::type_error(format!("{} cannot be sliced", other.type_name()))),
    }
}

pub(super) fn set_item(interp: &mut Interp<'_>, container: &Value, index: &Value, value: Value) -> Result<()> {
    match container {
        Value::Dict(id) => {
            let key = interp.heap.key(index)?;
            interp.limit_items(interp.heap.maps[*id].len())?;
            interp.heap.maps[*id].insert(key, (index.clone(), value));
            Ok(())
        }
        Value::List(id) => {
            let index = index.as_index().ok_or_else(|| Fault::type_error("a list is indexed by numbers"))?;
            let items = &mut interp.heap.sequences[*id];
            let at = position(index, items.len())
                .ok_or_else(|| Fault::new("runtime", Class::IndexError, "the list has no item at this index"))?;
            items[at] = value;
            Ok(())
        }
        other => Err(Fault::type_error(format!("the items of {} cannot be set", other.type_name()))),
    }
}
