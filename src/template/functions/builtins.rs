//! Python's built-in functions, as far as they are safe.
//!
//! In: values. Out: values. Six of them may stand in `{{ }}`, all in tags.

use super::{Args, Function, typed};
use crate::template::{
    ast::Binary,
    error::{Fault, Result},
    eval::Interp,
    format, ops, text,
    value::{Map, Num, Value},
};
use num_bigint::BigInt;
use std::cmp::Ordering;

pub(super) const PRINTABLE: &[(&str, Function)] =
    &[("len", len), ("list", list), ("min", min), ("max", max), ("int", int), ("float", float)];

pub(super) const OTHERS: &[(&str, Function)] = &[
    ("abs", abs),
    ("all", all),
    ("any", any),
    ("ascii", repr),
    ("bin", |interp, args| radix(interp, args, "#b")),
    ("bool", typed::boolean),
    ("Column", column_type),
    ("Symbol", column_type),
    ("bytes", unsupported),
    ("bytearray", unsupported),
    ("callable", callable),
    ("chr", chr),
    ("complex", unsupported),
    ("dict", dict),
    ("divmod", divmod),
    ("enumerate", enumerate),
    ("filter", filter),
    ("frozenset", set),
    ("hash", unsupported),
    ("hex", |interp, args| radix(interp, args, "#x")),
    ("isinstance", isinstance),
    ("issubclass", unsupported),
    ("iter", iter),
    ("map", map),
    ("next", next),
    ("oct", |interp, args| radix(interp, args, "#o")),
    ("ord", ord),
    ("pow", pow),
    ("range", range),
    ("repr", repr),
    ("reversed", reversed),
    ("round", round),
    ("set", set),
    ("slice", unsupported),
    ("sorted", sorted),
    ("str", str),
    ("sum", sum),
    ("tuple", tuple),
    ("zip", zip),
];

fn unsupported(_: &mut Interp<'_>, _: Args) -> Result<Value> {
    Err(Fault::type_error("this built-in function is not available in templates"))
}

pub(super) fn raise_needs_a_statement(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let message = match args.positional.first() {
        Some(it) => interp.heap.print(it)?,
        None => String::new(),
    };
    interp.text(message)
}

fn column_type(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [name, _] = args.bind("Column", ["x", "default"], 1)?;
    let name = name.unwrap_or(Value::None);
    if name.is_none() {
        return Err(Fault::type_error("a column needs a name"));
    }
    let printed = interp.heap.print(&name)?;
    Ok(Value::symbol(text::backquote(&printed)))
}

fn only(args: Args, function: &str) -> Result<Value> {
    let [value] = args.bind(function, ["x"], 1)?;
    Ok(value.unwrap_or(Value::None))
}

fn len(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let value = only(args, "len")?;
    let length = match &value {
        Value::Str(text) | Value::Fragment(text) => text.chars().count(),
        Value::Bytes(it) => it.len(),
        Value::List(id) | Value::Tuple(id) => interp.heap.sequences[*id].len(),
        Value::Dict(id) | Value::Set(id) => interp.heap.maps[*id].len(),
        Value::Range(from, to, step) => crate::template::value::range_length(*from, *to, *step),
        other => {
            let fault = Fault::type_error(format!("{} has no length", other.type_name()));
            return Err(if other.is_none() { fault.hint("is a parameter missing?") } else { fault });
        }
    };
    Ok(Value::int(length as i64))
}

fn optional_items(interp: &mut Interp<'_>, args: Args, function: &str) -> Result<Vec<Value>> {
    let [items] = args.bind(function, ["items"], 0)?;
    items.map_or(Ok(vec![]), |it| interp.iterate(&it))
}

fn list(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let items = optional_items(interp, args, "list")?;
    interp.list(items)
}

fn tuple(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let items = optional_items(interp, args, "tuple")?;
    Ok(interp.heap.tuple(items))
}

fn set(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let items = optional_items(interp, args, "set")?;
    interp.heap.set(items)
}

fn dict(interp: &mut Interp<'_>, mut args: Args) -> Result<Value> {
    let keywords = std::mem::take(&mut args.keywords);
    let [pairs] = args.bind("dict", ["pairs"], 0)?;
    let mut map = Map::new();
    match pairs {
        Some(Value::Dict(id)) => map.extend(interp.heap.maps[id].clone()),
        Some(pairs) => {
            for pair in interp.iterate(&pairs)? {
                let pair = interp.iterate(&pair)?;
                let [key, value] = &pair[..] else { return Err(Fault::value_error("`dict` needs pairs")) };
                map.insert(interp.heap.key(key)?, (key.clone(), value.clone()));
            }
        }
        None => {}
    }
    for (name, value) in keywords {
        let key = Value::Str(name);
        map.insert(interp.heap.key(&key)?, (key, value));
    }
    interp.check_items(map.len())?;
    Ok(interp.heap.dict(map))
}

fn min(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    extreme(interp, args, Ordering::Less, "min")
}

fn max(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    extreme(interp, args, Ordering::Greater, "max")
}

fn take_keyword(args: &mut Args, name: &str) -> Option<Value> {
    let at = args.keywords.iter().position(|(it, _)| &**it == name)?;
    Some(args.keywords.remove(at).1)
}

fn keyed(interp: &mut Interp<'_>, key: Option<&Value>, item: &Value) -> Result<Value> {
    match key {
        None | Some(Value::None) => Ok(item.clone()),
        Some(function) => interp.call(function, Args::one(item.clone())),
    }
}

/// Comparing in a function is a plain type error, even of a placeholder.
fn order(interp: &Interp<'_>, left: &Value, right: &Value) -> Result<Option<Ordering>> {
    interp.heap.order(left, right).map_err(|mut fault| {
        if fault.error.category == "placeholder_type" {
            fault.error.category = "runtime";
        }
        fault
    })
}

fn extreme(interp: &mut Interp<'_>, mut args: Args, wanted: Ordering, name: &str) -> Result<Value> {
    let key = take_keyword(&mut args, "key");
    let default = take_keyword(&mut args, "default");
    if let Some((name, _)) = args.keywords.first() {
        return Err(Fault::type_error(format!("there is no argument `{name}`")));
    }
    let items = match &args.positional[..] {
        [] => return args.bind(name, ["items"], 1).map(|_| Value::None),
        [only] => interp.iterate(&only.clone())?,
        _ => args.positional,
    };
    let mut best: Option<(Value, Value)> = None;
    for item in items {
        let rank = keyed(interp, key.as_ref(), &item)?;
        let better = match &best {
            None => true,
            Some((best, _)) => order(interp, &rank, best)? == Some(wanted),
        };
        if better {
            best = Some((rank, item));
        }
    }
    match (best, default) {
        (Some((_, item)), _) => Ok(item),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(Fault::value_error(format!("`{name}` of nothing"))),
    }
}

fn int(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value, base] = args.bind("int", ["x", "base"], 0)?;
    let Some(value) = value else { return Ok(Value::int(0)) };
    if let (Some(text), Some(base)) = (value.as_str(), base.as_ref().and_then(Value::as_index)) {
        let radix = u32::try_from(base).ok().filter(|it| (2..=36).contains(it));
        let digits = text.trim_matches(crate::template::scan::is_space).replace('_', "").to_lowercase();
        let digits = match base {
            16 => digits.replacen("0x", "", 1),
            8 => digits.replacen("0o", "", 1),
            2 => digits.replacen("0b", "", 1),
            _ => digits,
        };
        interp.check_text(digits.len())?;
        let number = radix.filter(|_| digits.len() <= 4300).and_then(|it| BigInt::parse_bytes(digits.as_bytes(), it));
        return interp.number(number.ok_or_else(|| not_a_number(text, "int"))?);
    }
    match (value.as_str(), value.as_num()) {
        (Some(text), _) => interp.number(text::parse_int(text).ok_or_else(|| not_a_number(text, "int"))?),
        (None, Some(Num::Float(it))) => match num_traits::FromPrimitive::from_f64(it.trunc()) {
            Some(number) => interp.number(number),
            None => Err(Fault::new("runtime", crate::template::error::Class::OverflowError, "not a whole number")),
        },
        (None, Some(number)) => Ok(Value::Num(number)),
        (None, None) => Err(cannot(&value, "int")),
    }
}

fn not_a_number(text: &str, function: &str) -> Box<Fault> {
    let shown: String = text.chars().take(60).collect();
    Fault::value_error(format!("`{function}` cannot read `{shown}`"))
}

fn cannot(value: &Value, function: &str) -> Box<Fault> {
    Fault::type_error(format!("`{function}` cannot take {}", value.type_name()))
}

fn float(_: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value] = args.bind("float", ["x"], 0)?;
    let Some(value) = value else { return Ok(Value::float(0.0)) };
    match (value.as_str(), value.as_num()) {
        (Some(text), _) => text::parse_float(text).map(Value::float).ok_or_else(|| not_a_number(text, "float")),
        (None, Some(number)) => Ok(Value::float(number.to_float())),
        (None, None) => Err(cannot(&value, "float")),
    }
}

fn str(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value] = args.bind("str", ["x"], 0)?;
    match value {
        None => Ok(Value::str("")),
        Some(value) => {
            let printed = interp.heap.print(&value)?;
            interp.text(printed)
        }
    }
}

fn repr(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let value = only(args, "repr")?;
    let mut out = String::new();
    interp.heap.repr(&value, false, &mut out, 0)?;
    interp.text(out)
}

fn radix(interp: &mut Interp<'_>, args: Args, spec: &str) -> Result<Value> {
    let value = only(args, "hex")?;
    if value.as_index().is_none() {
        return Err(cannot(&value, "hex"));
    }
    let printed = format::format(interp, &Value::Num(value.as_num().unwrap_or(Num::Int(0))), spec)?;
    interp.text(printed)
}

fn abs(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let value = only(args, "abs")?;
    match value.as_num() {
        Some(Num::Float(it)) => Ok(Value::float(it.abs())),
        Some(number) => {
            let number = number.to_big().unwrap_or_default();
            interp.number(BigInt::from(number.magnitude().clone()))
        }
        None => Err(cannot(&value, "abs")),
    }
}

fn all(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let items = only(args, "all")?;
    let items = interp.iterate(&items)?;
    Ok(Value::Bool(items.iter().all(|it| interp.heap.truth(it))))
}

fn any(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let items = only(args, "any")?;
    let items = interp.iterate(&items)?;
    Ok(Value::Bool(items.iter().any(|it| interp.heap.truth(it))))
}

fn callable(_: &mut Interp<'_>, args: Args) -> Result<Value> {
    let value = only(args, "callable")?;
    Ok(Value::Bool(matches!(value, Value::Function(_) | Value::Lambda(_) | Value::Bound(_))))
}

fn chr(_: &mut Interp<'_>, args: Args) -> Result<Value> {
    let value = only(args, "chr")?;
    let c = value.as_index().and_then(|it| u32::try_from(it).ok()).and_then(char::from_u32);
    c.map(|it| Value::str(it.to_string())).ok_or_else(|| cannot(&value, "chr"))
}

fn ord(_: &mut Interp<'_>, args: Args) -> Result<Value> {
    let value = only(args, "ord")?;
    let mut chars = value.as_str().ok_or_else(|| cannot(&value, "ord"))?.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(Value::int(i64::from(u32::from(c)))),
        _ => Err(Fault::type_error("`ord` takes one character")),
    }
}

fn divmod(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [left, right] = args.bind("divmod", ["a", "b"], 2)?;
    let (left, right) = (left.unwrap_or(Value::None), right.unwrap_or(Value::None));
    let quotient = ops::binary(interp, Binary::FloorDiv, &left, &right)?;
    let rest = ops::binary(interp, Binary::Mod, &left, &right)?;
    Ok(interp.heap.tuple(vec![quotient, rest]))
}

fn enumerate(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [items, start] = args.bind("enumerate", ["iterable", "start"], 1)?;
    let items = interp.iterate(&items.unwrap_or(Value::None))?;
    let start = start.as_ref().map_or(Some(0), Value::as_index);
    let start = start.ok_or_else(|| Fault::type_error("`enumerate` starts at a whole number"))?;
    let pairs = items.into_iter().enumerate();
    let pairs = pairs.map(|(at, item)| interp.heap.tuple(vec![Value::int(start.saturating_add(at as i64)), item]));
    let pairs = pairs.collect();
    Ok(interp.heap.iter(pairs))
}

fn filter(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [function, items] = args.bind("filter", ["function", "items"], 2)?;
    let mut kept = Vec::new();
    for item in interp.iterate(&items.unwrap_or(Value::None))? {
        let value = keyed(interp, function.as_ref(), &item)?;
        if interp.heap.truth(&value) {
            kept.push(item);
        }
    }
    Ok(interp.heap.iter(kept))
}

fn map(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let mut positional = args.positional.into_iter();
    let Some(function) = positional.next() else { return Err(Fault::type_error("`map` needs a function")) };
    let mut columns = Vec::new();
    for items in positional {
        columns.push(interp.iterate(&items)?);
    }
    let length = columns.iter().map(Vec::len).min().unwrap_or(0);
    let mut results = Vec::with_capacity(length);
    for at in 0..length {
        let positional = columns.iter().map(|it| it[at].clone()).collect();
        results.push(interp.call(&function, Args { positional, keywords: vec![], label: None })?);
    }
    Ok(interp.heap.iter(results))
}

fn zip(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let mut columns = Vec::new();
    for items in args.positional {
        columns.push(interp.iterate(&items)?);
    }
    let length = columns.iter().map(Vec::len).min().unwrap_or(0);
    let rows = (0..length).map(|at| interp.heap.tuple(columns.iter().map(|it| it[at].clone()).collect())).collect();
    Ok(interp.heap.iter(rows))
}

fn iter(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let items = only(args, "iter")?;
    let items = interp.iterate(&items)?;
    Ok(interp.heap.iter(items))
}

fn next(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [items, default] = args.bind("next", ["iterator", "default"], 1)?;
    let Some(Value::Iter(id)) = items else { return Err(Fault::type_error("`next` needs a generator")) };
    interp.heap.sequences[id]
        .pop()
        .or(default)
        .ok_or_else(|| Fault::new("runtime", crate::template::error::Class::StopIteration, "the generator has ended"))
}

fn reversed(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let items = only(args, "reversed")?;
    let mut items = interp.iterate(&items)?;
    items.reverse();
    Ok(interp.heap.iter(items))
}

fn isinstance(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value, class] = args.bind("isinstance", ["value", "class"], 2)?;
    let value = value.unwrap_or(Value::None);
    let classes = match class.unwrap_or(Value::None) {
        Value::Tuple(id) => interp.heap.sequences[id].clone(),
        other => vec![other],
    };
    let mut found = false;
    for class in classes {
        let Value::Function(entry) = class else { return Err(Fault::type_error("`isinstance` needs a class")) };
        found |= match entry.name {
            "str" => value.as_str().is_some(),
            "int" => value.as_num().is_some_and(|it| it.to_big().is_some()),
            "float" => matches!(value.as_num(), Some(Num::Float(_))),
            "list" => matches!(value, Value::List(_)),
            "tuple" => matches!(value, Value::Tuple(_)),
            "dict" => matches!(value, Value::Dict(_)),
            "set" => matches!(value, Value::Set(_)),
            "range" => matches!(value, Value::Range(..)),
            "bytes" => matches!(value, Value::Bytes(_)),
            _ if entry.class.is_some() => match &value {
                Value::Exception(class, _) => entry.class.is_some_and(|it| class.is_a(it)),
                _ => false,
            },
            _ => return Err(Fault::type_error(format!("`{}` is not a class", entry.name))),
        };
    }
    Ok(Value::Bool(found))
}

fn pow(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [base, exponent, modulus] = args.bind("pow", ["base", "exp", "mod"], 2)?;
    let result = ops::binary(interp, Binary::Pow, &base.unwrap_or(Value::None), &exponent.unwrap_or(Value::None))?;
    match modulus {
        None | Some(Value::None) => Ok(result),
        Some(modulus) => ops::binary(interp, Binary::Mod, &result, &modulus),
    }
}

fn range(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [first, second, step] = args.bind("range", ["start", "stop", "step"], 1)?;
    let number = |value: &Value| {
        let fault = || Fault::type_error(format!("`range` needs whole numbers, not {}", value.type_name()));
        value.as_index().ok_or_else(|| fault().hint("a parameter is text until a type is given: `Int32(name)`"))
    };
    let first = number(&first.unwrap_or(Value::None))?;
    let (from, to) = match &second {
        None => (0, first),
        Some(second) => (first, number(second)?),
    };
    let step = step.as_ref().map_or(Ok(1), number)?;
    if step == 0 {
        return Err(Fault::value_error("the step of a range may not be 0"));
    }
    interp.check_items(crate::template::value::range_length(from, to, step))?;
    Ok(Value::Range(from, to, step))
}

fn round(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value, digits] = args.bind("round", ["number", "ndigits"], 1)?;
    let value = value.unwrap_or(Value::None);
    let digits = digits.filter(|it| !it.is_none());
    let places = digits.as_ref().map(|it| it.as_index().ok_or_else(|| cannot(it, "round"))).transpose()?;
    match (value.as_num(), places) {
        (Some(Num::Float(it)), None) => {
            let number = num_traits::FromPrimitive::from_f64(it.round_ties_even());
            interp.number(number.ok_or_else(|| Fault::value_error("this number cannot be rounded"))?)
        }
        (Some(Num::Float(it)), Some(places)) => {
            let places = places.clamp(-300, 300);
            if places >= 0 {
                let printed = format!("{it:.*}", places as usize);
                return Ok(Value::float(printed.parse().unwrap_or(it)));
            }
            let scale = 10f64.powi(-places as i32);
            Ok(Value::float((it / scale).round_ties_even() * scale))
        }
        (Some(number), None) => Ok(Value::Num(number)),
        (Some(number), Some(places)) if places >= 0 => Ok(Value::Num(number)),
        (Some(number), Some(places)) => {
            let scale = num_traits::Pow::pow(BigInt::from(10), places.unsigned_abs().min(5000) as u32);
            let number = number.to_big().unwrap_or_default();
            let (quotient, rest) = ops::floor_div(&number, &scale);
            let twice: BigInt = &rest * 2;
            let up = twice > scale || (twice == scale && &quotient % 2 != BigInt::from(0));
            interp.number((quotient + i32::from(up)) * scale)
        }
        (None, _) => Err(cannot(&value, "round")),
    }
}

fn sum(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [items, start] = args.bind("sum", ["items", "start"], 1)?;
    let mut total = start.unwrap_or(Value::int(0));
    if total.as_str().is_some() {
        return Err(Fault::type_error("`sum` adds no strings; use `''.join()`"));
    }
    for item in interp.iterate(&items.unwrap_or(Value::None))? {
        total = ops::binary(interp, Binary::Add, &total, &item)?;
    }
    Ok(total)
}

fn sorted(interp: &mut Interp<'_>, mut args: Args) -> Result<Value> {
    if args.positional.is_empty() {
        return Err(Fault::type_error("`sorted` needs a list"));
    }
    let items = args.positional.remove(0);
    let items = interp.iterate(&items)?;
    let sorted = sort(interp, items, args)?;
    interp.list(sorted)
}

/// Sorts as `list.sort` does: stable, by `key`, the other way round with `reverse`.
pub(in crate::template) fn sort(interp: &mut Interp<'_>, items: Vec<Value>, mut args: Args) -> Result<Vec<Value>> {
    let key = take_keyword(&mut args, "key");
    let reverse = take_keyword(&mut args, "reverse");
    args.bind("sort", [], 0).map(|[]| ())?;
    let mut ranked = Vec::with_capacity(items.len());
    for item in items {
        ranked.push((keyed(interp, key.as_ref(), &item)?, item));
    }
    let reverse = reverse.is_some_and(|it| interp.heap.truth(&it));
    let mut failed = None;
    if reverse {
        ranked.reverse();
    }
    // The order of numbers that are not numbers is nobody's; a sort must not panic over it.
    ranked = merge_sort(ranked, &mut |left, right| match order(interp, left, right) {
        Ok(order) => order.unwrap_or(Ordering::Equal),
        Err(fault) => {
            failed.get_or_insert(fault);
            Ordering::Equal
        }
    });
    if reverse {
        ranked.reverse();
    }
    match failed {
        Some(fault) => Err(fault),
        None => Ok(ranked.into_iter().map(|(_, item)| item).collect()),
    }
}

type Ranked = Vec<(Value, Value)>;

/// A merge sort that bears any order: the standard one may panic when an order contradicts itself, as with NaN.
fn merge_sort(mut items: Ranked, order: &mut dyn FnMut(&Value, &Value) -> Ordering) -> Ranked {
    if items.len() < 2 {
        return items;
    }
    let right = items.split_off(items.len() / 2);
    let (left, right) = (merge_sort(items, order), merge_sort(right, order));
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let takes_right = order(&b.0, &a.0) == Ordering::Less;
        out.extend(if takes_right { right.next() } else { left.next() });
    }
    out.extend(left);
    out.extend(right);
    out
}
