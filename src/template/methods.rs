//! The methods of strings, lists, dicts and sets.
//!
//! In: a receiver, a method's name, arguments. Out: a value. An identifier ([`Value::Symbol`]) has no methods,
//! so nothing can be cut out of it.

use super::{
    error::{Class, Fault, Result},
    eval::Interp,
    functions::{Args, builtins},
    scan::is_space,
    value::{Map, Value},
};
use std::sync::Arc;

pub(super) fn attribute(_: &mut Interp<'_>, receiver: Value, name: &Arc<str>) -> Result<Value> {
    if has(&receiver, name) {
        return Ok(Value::Bound(Box::new((receiver, name.clone()))));
    }
    Err(missing(&receiver, name))
}

fn missing(receiver: &Value, name: &str) -> Box<Fault> {
    let message = format!("{} has no method `{name}`", receiver.type_name());
    let fault = Fault::new("runtime", Class::AttributeError, message);
    if receiver.is_none() { fault.hint("is a parameter missing? Test it with `defined()` first") } else { fault }
}

const STRING: &[&str] = &[
    "split",
    "rsplit",
    "splitlines",
    "join",
    "replace",
    "lower",
    "upper",
    "strip",
    "lstrip",
    "rstrip",
    "startswith",
    "endswith",
    "title",
    "capitalize",
    "swapcase",
    "casefold",
    "isdigit",
    "isnumeric",
    "isdecimal",
    "isalpha",
    "isalnum",
    "isspace",
    "isupper",
    "islower",
    "istitle",
    "isidentifier",
    "isascii",
    "isprintable",
    "count",
    "find",
    "rfind",
    "index",
    "rindex",
    "zfill",
    "ljust",
    "rjust",
    "center",
    "partition",
    "rpartition",
    "removeprefix",
    "removesuffix",
    "expandtabs",
];
const LIST: &[&str] =
    &["append", "extend", "insert", "pop", "remove", "index", "count", "reverse", "sort", "copy", "clear"];
const DICT: &[&str] = &["get", "keys", "values", "items", "pop", "setdefault", "update", "copy", "clear", "popitem"];
const SET: &[&str] = &[
    "add",
    "remove",
    "discard",
    "union",
    "intersection",
    "difference",
    "symmetric_difference",
    "issubset",
    "issuperset",
    "isdisjoint",
    "copy",
    "clear",
    "pop",
    "update",
];

fn has(receiver: &Value, name: &str) -> bool {
    let names: &[&str] = match receiver {
        Value::Str(_) | Value::Fragment(_) => STRING,
        Value::List(_) => LIST,
        Value::Tuple(_) | Value::Range(..) => &["index", "count"],
        Value::Dict(_) => DICT,
        Value::Set(_) => SET,
        Value::Num(_) | Value::Typed(..) | Value::Bool(_) => &["bit_length", "is_integer"],
        Value::Bytes(_) => &["decode"],
        Value::Placeholder(_) => &["split", "startswith"],
        _ => &[],
    };
    names.contains(&name)
}

/// Whether the receiver has the method: asked before its arguments are evaluated, as Python does.
pub(super) fn check(receiver: &Value, name: &str) -> Result<()> {
    if has(receiver, name) { Ok(()) } else { Err(missing(receiver, name)) }
}

pub(super) fn call(interp: &mut Interp<'_>, receiver: Value, name: &str, args: Args) -> Result<Value> {
    if !has(&receiver, name) {
        return Err(missing(&receiver, name));
    }
    match &receiver {
        Value::Str(text) | Value::Fragment(text) => string(interp, &text.clone(), name, args),
        Value::List(id) => list(interp, *id, name, args),
        Value::Tuple(_) | Value::Range(..) => {
            let [item] = args.bind(name, ["value"], 1)?;
            let items = interp.iterate(&receiver)?;
            find_item(interp, &items, &item.unwrap_or(Value::None), name)
        }
        Value::Dict(id) => dict(interp, *id, name, args),
        Value::Set(id) => set(interp, *id, name, args),
        Value::Placeholder(parameter) => match name {
            "startswith" => Ok(Value::Bool(false)),
            _ => {
                let [_] = args.bind(name, ["sep"], 1)?;
                interp.list(vec![Value::Placeholder(parameter.clone()); 2])
            }
        },
        Value::Bytes(bytes) => interp.text(String::from_utf8_lossy(bytes).into_owned()),
        other => {
            let number = other.as_num();
            match (name, number) {
                ("bit_length", Some(it)) if it.to_big().is_some() => {
                    Ok(Value::int(it.to_big().map_or(0, |it| it.bits() as i64)))
                }
                ("is_integer", Some(it)) => Ok(Value::Bool(it.to_float().fract() == 0.0)),
                _ => Err(missing(other, name)),
            }
        }
    }
}

fn text_arg(value: &Value, what: &str) -> Result<Arc<str>> {
    value
        .as_str()
        .cloned()
        .ok_or_else(|| Fault::type_error(format!("`{what}` needs a string, not {}", value.type_name())))
}

fn optional_text(value: &Option<Value>, what: &str) -> Result<Option<Arc<str>>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(it) => text_arg(it, what).map(Some),
    }
}

fn string(interp: &mut Interp<'_>, text: &Arc<str>, name: &str, args: Args) -> Result<Value> {
    interp.check_text(text.len())?;
    match name {
        "lower" | "casefold" => return no_args(args, name).and_then(|()| interp.text(text.to_lowercase())),
        "upper" => return no_args(args, name).and_then(|()| interp.text(text.to_uppercase())),
        "swapcase" | "title" | "capitalize" => {
            no_args(args, name)?;
            return interp.text(recase(text, name));
        }
        "splitlines" => {
            let lines: Vec<Value> = text.lines().map(Value::str).collect();
            return interp.list(lines);
        }
        _ => {}
    }
    if name.starts_with("is") {
        no_args(args, name)?;
        return Ok(Value::Bool(is(text, name)));
    }
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = args.bind(name, ["chars"], 0)?;
            let chars = optional_text(&chars, name)?;
            let cut = |c: char| chars.as_ref().map_or_else(|| is_space(c), |it| it.contains(c));
            let mut rest: &str = text;
            if name != "rstrip" {
                rest = rest.trim_start_matches(cut);
            }
            if name != "lstrip" {
                rest = rest.trim_end_matches(cut);
            }
            interp.text(rest)
        }
        "split" | "rsplit" => {
            let [separator, limit] = args.bind(name, ["sep", "maxsplit"], 0)?;
            let separator = optional_text(&separator, name)?;
            let limit = limit.as_ref().map_or(Some(-1), Value::as_index);
            let limit = limit.ok_or_else(|| Fault::type_error(format!("`{name}` takes a whole number")))?;
            let limit = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
            if separator.as_ref().is_some_and(|it| it.is_empty()) {
                return Err(Fault::value_error("the separator may not be empty"));
            }
            let parts = split(text, separator.as_deref(), limit, name == "rsplit");
            interp.list(parts)
        }
        "join" => {
            let [items] = args.bind(name, ["items"], 1)?;
            let items = interp.iterate(&items.unwrap_or(Value::None))?;
            let mut out = String::new();
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(text);
                }
                out.push_str(&text_arg(item, name)?);
                if out.len() > interp.options.budgets.string {
                    interp.check_text(out.len())?;
                }
            }
            interp.text(out)
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"], 2)?;
            let old = text_arg(&old.unwrap_or(Value::None), name)?;
            let new = text_arg(&new.unwrap_or(Value::None), name)?;
            let count = count.as_ref().and_then(Value::as_index).unwrap_or(-1);
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let found = text.matches(&*old).take(count).count();
            interp.check_text(text.len().saturating_add(found.saturating_mul(new.len())))?;
            interp.text(text.replacen(&*old, &new, count))
        }
        "startswith" | "endswith" => {
            let [part, from, to] = args.bind(name, ["prefix", "start", "end"], 1)?;
            let whole = Value::Str(text.clone());
            let cut = super::ops::slice(interp, &whole, [from, to, None])?;
            let cut = text_arg(&cut, name)?;
            let parts = match part.unwrap_or(Value::None) {
                Value::Tuple(id) => interp.heap.sequences[id].clone(),
                other => vec![other],
            };
            for part in parts {
                let part = text_arg(&part, name)?;
                if if name == "startswith" { cut.starts_with(&*part) } else { cut.ends_with(&*part) } {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        "count" | "find" | "rfind" | "index" | "rindex" => {
            let [part] = args.bind(name, ["sub"], 1)?;
            let part = text_arg(&part.unwrap_or(Value::None), name)?;
            if name == "count" {
                return Ok(Value::int(text.matches(&*part).count() as i64));
            }
            let at = if name.starts_with('r') { text.rfind(&*part) } else { text.find(&*part) };
            match at.map(|at| text[..at].chars().count() as i64) {
                Some(at) => Ok(Value::int(at)),
                None if name.ends_with("index") => Err(Fault::value_error("the text was not found")),
                None => Ok(Value::int(-1)),
            }
        }
        "zfill" | "ljust" | "rjust" | "center" => {
            let [width, fill] = args.bind(name, ["width", "fillchar"], 1)?;
            let width = width.as_ref().and_then(Value::as_index);
            let width =
                width.ok_or_else(|| Fault::type_error(format!("`{name}` needs a whole number")))?.max(0) as usize;
            interp.check_text(width)?;
            let fill = optional_text(&fill, name)?.unwrap_or_else(|| if name == "zfill" { "0" } else { " " }.into());
            if fill.chars().count() != 1 {
                return Err(Fault::type_error("the filling is one character"));
            }
            let missing = width.saturating_sub(text.chars().count());
            let filled = |count: usize| fill.repeat(count);
            interp.text(match name {
                "ljust" => format!("{text}{}", filled(missing)),
                "center" => {
                    let left = missing / 2 + (missing & width & 1);
                    format!("{}{text}{}", filled(left), filled(missing - left))
                }
                "zfill" => {
                    let sign = usize::from(text.starts_with(['+', '-']));
                    format!("{}{}{}", &text[..sign], filled(missing), &text[sign..])
                }
                _ => format!("{}{text}", filled(missing)),
            })
        }
        "partition" | "rpartition" => {
            let [separator] = args.bind(name, ["sep"], 1)?;
            let separator = text_arg(&separator.unwrap_or(Value::None), name)?;
            if separator.is_empty() {
                return Err(Fault::value_error("the separator may not be empty"));
            }
            let found = if name == "partition" { text.split_once(&*separator) } else { text.rsplit_once(&*separator) };
            let parts = match found {
                Some((before, after)) => [before, &separator, after],
                None if name == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            let parts = parts.iter().map(|it| Value::str(*it)).collect();
            Ok(interp.heap.tuple(parts))
        }
        "removeprefix" | "removesuffix" => {
            let [part] = args.bind(name, ["part"], 1)?;
            let part = text_arg(&part.unwrap_or(Value::None), name)?;
            let cut = if name == "removeprefix" { text.strip_prefix(&*part) } else { text.strip_suffix(&*part) };
            interp.text(cut.unwrap_or(text))
        }
        _ => interp.text(text.replace('\t', "        ")),
    }
}

fn no_args(args: Args, name: &str) -> Result<()> {
    args.bind(name, [], 0).map(|[]| ())
}

fn recase(text: &str, name: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside_word = false;
    for (index, c) in text.chars().enumerate() {
        let upper = match name {
            "swapcase" => !c.is_uppercase(),
            "title" => !inside_word,
            _ => index == 0,
        };
        if upper {
            out.extend(c.to_uppercase())
        } else {
            out.extend(c.to_lowercase())
        }
        inside_word = c.is_alphabetic();
    }
    out
}

fn is(text: &str, name: &str) -> bool {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    match name {
        "isdigit" | "isnumeric" | "isdecimal" => {
            all(|c| super::text::digit(c).is_some()) || (name != "isdecimal" && all(char::is_numeric))
        }
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(is_space),
        "isascii" => text.is_ascii(),
        "isprintable" => text.chars().all(|c| !c.is_control()),
        "isidentifier" => all(|c| c == '_' || c.is_alphanumeric()) && !text.starts_with(|c: char| c.is_numeric()),
        "isupper" => text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        "islower" => text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        _ => text.chars().any(char::is_uppercase) && recase(text, "title") == text,
    }
}

fn split(text: &str, separator: Option<&str>, limit: usize, from_right: bool) -> Vec<Value> {
    let mut parts: Vec<&str> = match (separator, from_right) {
        (Some(separator), false) => text.splitn(limit, separator).collect(),
        (Some(separator), true) => text.rsplitn(limit, separator).collect(),
        (None, false) => {
            let mut parts = Vec::new();
            let mut rest = text.trim_start_matches(is_space);
            while !rest.is_empty() {
                let end = rest.find(is_space).unwrap_or(rest.len());
                if parts.len() + 1 == limit {
                    parts.push(rest.trim_end_matches(is_space));
                    break;
                }
                parts.push(&rest[..end]);
                rest = rest[end..].trim_start_matches(is_space);
            }
            parts
        }
        (None, true) => {
            let mut parts = Vec::new();
            let mut rest = text.trim_end_matches(is_space);
            while !rest.is_empty() {
                let begin =
                    rest.char_indices().rev().find(|(_, c)| is_space(*c)).map_or(0, |(at, c)| at + c.len_utf8());
                if parts.len() + 1 == limit {
                    parts.push(rest.trim_start_matches(is_space));
                    break;
                }
                parts.push(&rest[begin..]);
                rest = rest[..begin].trim_end_matches(is_space);
            }
            parts
        }
    };
    if from_right {
        parts.reverse();
    }
    parts.into_iter().map(Value::str).collect()
}

fn find_item(interp: &Interp<'_>, items: &[Value], item: &Value, name: &str) -> Result<Value> {
    let mut count = 0;
    for (index, it) in items.iter().enumerate() {
        if interp.heap.equal(it, item)? {
            if name == "index" {
                return Ok(Value::int(index as i64));
            }
            count += 1;
        }
    }
    if name == "index" { Err(Fault::value_error("the item is not in the list")) } else { Ok(Value::int(count)) }
}

fn list(interp: &mut Interp<'_>, id: usize, name: &str, args: Args) -> Result<Value> {
    interp.limit_items(interp.heap.sequences[id].len() + 1)?;
    if name != "append" {
        interp.charge(interp.heap.sequences[id].len() / 4)?;
    }
    match name {
        "append" => {
            let [item] = args.bind(name, ["item"], 1)?;
            interp.heap.sequences[id].push(item.unwrap_or(Value::None));
        }
        "extend" => {
            let [items] = args.bind(name, ["items"], 1)?;
            let items = interp.iterate(&items.unwrap_or(Value::None))?;
            interp.check_items(interp.heap.sequences[id].len() + items.len())?;
            interp.heap.sequences[id].extend(items);
        }
        "insert" => {
            let [index, item] = args.bind(name, ["index", "item"], 2)?;
            let index = index.as_ref().and_then(Value::as_index);
            let index = index.ok_or_else(|| Fault::type_error("`insert` needs a whole number"))?;
            let items = &mut interp.heap.sequences[id];
            let length = items.len() as i64;
            let at = if index < 0 { (index.saturating_add(length)).max(0) } else { index.min(length) };
            items.insert(at as usize, item.unwrap_or(Value::None));
        }
        "pop" => {
            let [index] = args.bind(name, ["index"], 0)?;
            let index = index.unwrap_or(Value::int(-1));
            let whole = Value::List(id);
            let found = super::ops::item(interp, &whole, &index)?;
            let items = &mut interp.heap.sequences[id];
            let index = index.as_index().unwrap_or(-1);
            let at = if index < 0 { index + items.len() as i64 } else { index };
            items.remove(at as usize);
            return Ok(found);
        }
        "remove" => {
            let [item] = args.bind(name, ["item"], 1)?;
            let items = interp.heap.sequences[id].clone();
            let at = find_item(interp, &items, &item.unwrap_or(Value::None), "index")?;
            interp.heap.sequences[id].remove(at.as_index().unwrap_or(0) as usize);
        }
        "index" | "count" => {
            let [item] = args.bind(name, ["item"], 1)?;
            let items = interp.heap.sequences[id].clone();
            return find_item(interp, &items, &item.unwrap_or(Value::None), name);
        }
        "reverse" => {
            no_args(args, name)?;
            interp.heap.sequences[id].reverse();
        }
        "sort" => {
            let items = interp.heap.sequences[id].clone();
            let sorted = builtins::sort(interp, items, args)?;
            interp.heap.sequences[id] = sorted;
        }
        "copy" => {
            let items = interp.heap.sequences[id].clone();
            return interp.list(items);
        }
        _ => interp.heap.sequences[id].clear(),
    }
    Ok(Value::None)
}

fn dict(interp: &mut Interp<'_>, id: usize, name: &str, args: Args) -> Result<Value> {
    match name {
        "get" | "pop" | "setdefault" => {
            let [key, default] = args.bind(name, ["key", "default"], 1)?;
            let key = key.unwrap_or(Value::None);
            let index = interp.heap.key(&key)?;
            if let Some((_, value)) = interp.heap.maps[id].get(&index) {
                let value = value.clone();
                if name == "pop" {
                    interp.heap.maps[id].shift_remove(&index);
                }
                return Ok(value);
            }
            if name == "pop" && default.is_none() {
                return super::ops::item(interp, &Value::Dict(id), &key);
            }
            let default = default.unwrap_or(Value::None);
            if name == "setdefault" {
                interp.heap.maps[id].insert(index, (key, default.clone()));
            }
            Ok(default)
        }
        "keys" | "values" => {
            no_args(args, name)?;
            let pairs = interp.heap.maps[id].values();
            let items = pairs.map(|(key, value)| if name == "keys" { key.clone() } else { value.clone() }).collect();
            interp.list(items)
        }
        "items" => {
            no_args(args, name)?;
            let pairs: Vec<(Value, Value)> = interp.heap.maps[id].values().cloned().collect();
            let items = pairs.into_iter().map(|(key, value)| interp.heap.tuple(vec![key, value])).collect();
            interp.list(items)
        }
        "update" => {
            let [other] = args.bind(name, ["other"], 1)?;
            let Some(Value::Dict(other)) = other else { return Err(Fault::type_error("`update` needs a dict")) };
            let more = interp.heap.maps[other].clone();
            interp.check_items(more.len())?;
            interp.heap.maps[id].extend(more);
            Ok(Value::None)
        }
        "popitem" => match interp.heap.maps[id].pop() {
            Some((_, (key, value))) => Ok(interp.heap.tuple(vec![key, value])),
            None => Err(Fault::new("missing_key", Class::KeyError, "the dict is empty")),
        },
        "copy" => {
            let map = interp.heap.maps[id].clone();
            interp.check_items(map.len())?;
            Ok(interp.heap.dict(map))
        }
        _ => {
            interp.heap.maps[id].clear();
            Ok(Value::None)
        }
    }
}

fn set(interp: &mut Interp<'_>, id: usize, name: &str, args: Args) -> Result<Value> {
    let here = interp.heap.maps[id].clone();
    interp.check_items(here.len())?;
    match name {
        "copy" | "clear" | "pop" => {
            no_args(args, name)?;
            match name {
                "copy" => return interp.heap.set(here.into_values().map(|(item, _)| item).collect()),
                "clear" => interp.heap.maps[id].clear(),
                _ => {
                    let found = interp.heap.maps[id].shift_remove_index(0);
                    return found
                        .map(|(_, (item, _))| item)
                        .ok_or_else(|| Fault::new("missing_key", Class::KeyError, "the set is empty"));
                }
            }
            return Ok(Value::None);
        }
        _ => {}
    }
    let [other] = args.bind(name, ["other"], 1)?;
    let other = other.unwrap_or(Value::None);
    if matches!(name, "add" | "remove" | "discard") {
        let key = interp.heap.key(&other)?;
        match name {
            "add" => _ = interp.heap.maps[id].entry(key).or_insert((other, Value::None)),
            _ => {
                let gone = interp.heap.maps[id].shift_remove(&key);
                if gone.is_none() && name == "remove" {
                    return Err(Fault::new("missing_key", Class::KeyError, "the item is not in the set"));
                }
            }
        }
        return Ok(Value::None);
    }
    let mut there = Map::new();
    for item in interp.iterate(&other)? {
        there.insert(interp.heap.key(&item)?, (item, Value::None));
    }
    let mut out = here.clone();
    match name {
        "issubset" => return Ok(Value::Bool(here.keys().all(|it| there.contains_key(it)))),
        "issuperset" => return Ok(Value::Bool(there.keys().all(|it| here.contains_key(it)))),
        "isdisjoint" => return Ok(Value::Bool(!there.keys().any(|it| here.contains_key(it)))),
        "update" => {
            interp.heap.maps[id].extend(there);
            return Ok(Value::None);
        }
        "union" => out.extend(there),
        "intersection" => out.retain(|key, _| there.contains_key(key)),
        "difference" => out.retain(|key, _| !there.contains_key(key)),
        _ => {
            out.retain(|key, _| !there.contains_key(key));
            out.extend(there.into_iter().filter(|(key, _)| !here.contains_key(key)));
        }
    }
    interp.heap.set(out.into_values().map(|(item, _)| item).collect())
}
