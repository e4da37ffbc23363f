//! Names and conditions: `column`, `columns`, `symbol`, `table`, `defined`, `sql_and`, `sql_unescape`, the array
//! helpers and the two errors.
//!
//! In: values. Out: SQL fragments whose quoting a value cannot leave. Where the original prints a name bare, only
//! letters, digits, underscores and dots stay bare here.

use super::{Args, Function};
use crate::template::{
    error::{Class, Fault, Result},
    eval::Interp,
    scan::is_space,
    text,
    value::Value,
};
use std::sync::Arc;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("column", column),
    ("columns", columns),
    ("symbol", symbol),
    ("table", table),
    ("TABLE", table),
    ("defined", defined),
    ("sql_and", sql_and),
    ("sql_unescape", sql_unescape),
    ("split_to_array", split_to_array),
    ("enumerate_with_last", enumerate_with_last),
    ("error", error),
    ("custom_error", custom_error),
];

fn needs_text(value: &Value, function: &str) -> Result<Arc<str>> {
    value.as_str().cloned().ok_or_else(|| {
        let message = format!("`{function}` needs a text, not {}", value.type_name());
        let fault = Fault::new("runtime", Class::AttributeError, message);
        if value.is_none() { fault.hint("is a parameter missing?") } else { fault }
    })
}

fn is_missing(value: &Value) -> bool {
    matches!(value, Value::None | Value::Placeholder(_))
}

fn value_or_default(args: Args, function: &'static str) -> Result<(Value, Option<Value>)> {
    let label = args.label.clone();
    let [value, default, more] = args.bind(function, ["x", "default", "fn"], 1)?;
    let value = value.unwrap_or(Value::None);
    if !is_missing(&value) {
        return Ok((value, more));
    }
    match default {
        Some(default) if !is_missing(&default) => Ok((default, more)),
        _ => {
            let name = label.map_or_else(String::new, |it| format!(" for `{it}`"));
            let message = format!("`{function}` has no value and no default{name}");
            Err(Fault::new("missing_default", Class::ValueError, message))
        }
    }
}

fn column(_: &mut Interp<'_>, args: Args) -> Result<Value> {
    if args.positional.len() > 2 || args.keywords.iter().any(|(name, _)| &**name == "fn") {
        return Err(Fault::type_error("`column` takes a name and a default"));
    }
    let (value, _) = value_or_default(args, "column")?;
    Ok(Value::symbol(text::column(&needs_text(&value, "column")?)))
}

fn columns(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let (value, function) = value_or_default(args, "columns")?;
    let Some(names) = value.as_str() else {
        let message = format!("`columns` needs a text with commas, not {}", value.type_name());
        return Err(Fault::new("invalid_argument", Class::ValueError, message));
    };
    interp.check_items(names.len())?;
    let function = function.filter(|it| interp.heap.truth(it));
    let function = function.map(|it| interp.heap.print(&it)).transpose()?;
    if let Some(name) = &function
        && !text::is_plain(name)
    {
        let message = format!("`{name}` is not the name of a function");
        return Err(Fault::new("invalid_argument", Class::ValueError, message));
    }
    let columns = names.split(',').map(|name| {
        let name = name.trim_matches(is_space);
        let quoted = text::column(name);
        match &function {
            None => quoted,
            Some(function) => {
                let alias =
                    if text::is_plain(name) && !name.is_empty() { name.to_owned() } else { text::backquote(name) };
                format!("{function}({quoted}) as {alias}")
            }
        }
    });
    let printed = columns.collect::<Vec<_>>().join(",");
    interp.check_text(printed.len())?;
    Ok(Value::fragment(printed))
}

fn symbol(_: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [name, quote] = args.bind("symbol", ["x", "quote"], 1)?;
    let name = name.unwrap_or(Value::None);
    if matches!(name, Value::Placeholder(_)) {
        return Ok(Value::symbol("`placeholder`"));
    }
    let name = needs_text(&name, "symbol")?;
    let quote = match quote {
        None => "`".into(),
        Some(quote) => needs_text(&quote, "symbol")?,
    };
    Ok(Value::symbol(match &*quote {
        "\"" => format!("\"{}\"", text::identifier(&name)),
        "" if text::is_plain(&name) && !name.is_empty() => name.to_string(),
        _ => text::backquote(&name),
    }))
}

fn table(_: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [name, quote] = args.bind("table", ["x", "quote"], 1)?;
    let _ = quote;
    let name = name.unwrap_or(Value::None);
    let name = if matches!(name, Value::Placeholder(_)) { "placeholder".into() } else { needs_text(&name, "table")? };
    Ok(Value::symbol(if text::is_plain(&name) && !name.is_empty() { name } else { text::backquote(&name).into() }))
}

fn defined(_: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value] = args.bind("defined", ["x"], 0)?;
    Ok(Value::Bool(!is_missing(&value.unwrap_or(Value::None))))
}

fn sql_and(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let mut conditions = Vec::new();
    for (name, value) in args.keywords {
        if value.is_none() {
            continue;
        }
        let (column, operator) = match name.rsplit_once("__") {
            None => (&*name, "="),
            Some((column, operator)) => {
                let sign = match operator {
                    "in" => "in",
                    "not_in" => "not in",
                    "gt" => ">",
                    "lt" => "<",
                    "gte" => ">=",
                    "lte" => "<=",
                    other => {
                        let message = format!("`sql_and` has no operator `{other}`");
                        return Err(Fault::new("invalid_operand", Class::ValueError, message)
                            .hint("it has in, not_in, gt, lt, gte and lte"));
                    }
                };
                (column, sign)
            }
        };
        if !text::is_plain(column) {
            let message = format!("`{column}` is not the name of a column");
            return Err(Fault::new("invalid_operand", Class::ValueError, message));
        }
        let printed = match &value {
            Value::Str(it) => text::quote(it),
            Value::Placeholder(_) => "'__no_value__'".to_owned(),
            Value::Fragment(_) | Value::Symbol(_) | Value::Typed(..) => interp.heap.print(&value)?,
            Value::Num(_) | Value::Bool(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Set(_) => {
                let mut out = String::new();
                interp.heap.repr(&value, true, &mut out, 0)?;
                out
            }
            other => return Err(Fault::type_error(format!("`sql_and` cannot print {}", other.type_name()))),
        };
        conditions.push(format!("{column} {operator} {printed}"));
    }
    let printed = conditions.join(" and ");
    interp.check_text(printed.len())?;
    Ok(Value::fragment(printed))
}

fn sql_unescape(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value, what] = args.bind("sql_unescape", ["x", "what"], 1)?;
    let value = needs_text(&value.unwrap_or(Value::None), "sql_unescape")?;
    let what = match what {
        None | Some(Value::None) => "".into(),
        Some(what) => needs_text(&what, "sql_unescape")?,
    };
    let mut inside = String::new();
    text::escape_into(&value, true, &mut inside);
    if !what.is_empty() && !what.contains(['\'', '"', '\\']) {
        inside = inside.replace(&format!("\\{what}"), &what);
    }
    interp.check_text(inside.len())?;
    Ok(Value::fragment(format!("'{inside}'")))
}

fn split_to_array(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value, default, separator] = args.bind("split_to_array", ["x", "default", "separator"], 1)?;
    let value = value.filter(|it| !is_missing(it)).or(default).filter(|it| !is_missing(it));
    let value = value.unwrap_or_else(|| Value::str(""));
    let Some(text) = value.as_str() else {
        let message = format!("`split_to_array` needs a text, not {}", value.type_name());
        return Err(Fault::new("invalid_argument", Class::ValueError, message));
    };
    let separator = match separator {
        None => ",".into(),
        Some(it) => needs_text(&it, "split_to_array")?,
    };
    if separator.is_empty() {
        return Err(Fault::value_error("the separator may not be empty"));
    }
    interp.check_items(text.len())?;
    let items = text.split(&*separator).map(|it| Value::str(it.trim_matches(is_space))).collect();
    interp.list(items)
}

fn enumerate_with_last(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [items] = args.bind("enumerate_with_last", ["x"], 1)?;
    let items = items.unwrap_or(Value::None);
    if matches!(items, Value::Placeholder(_) | Value::Iter(_)) {
        return Err(Fault::type_error(format!("`enumerate_with_last` needs a list, not {}", items.type_name())));
    }
    let items = interp.iterate(&items)?;
    let last = items.len().wrapping_sub(1);
    let pairs = items.into_iter().enumerate();
    let pairs = pairs.map(|(at, item)| interp.heap.tuple(vec![Value::Bool(at == last), item])).collect();
    interp.list(pairs)
}

fn error(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [message, _] = args.bind("error", ["message", "code"], 1)?;
    if interp.options.test_mode {
        return Ok(Value::fragment("-- {x} \n"));
    }
    let message = interp.heap.print(&message.unwrap_or(Value::None))?;
    Err(Fault::new("error", Class::ValueError, message))
}

fn custom_error(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [body, code] = args.bind("custom_error", ["body", "code"], 1)?;
    if interp.options.test_mode {
        return Ok(Value::fragment("-- {x} \n"));
    }
    let body = to_json(interp, &body.unwrap_or(Value::None), 0)?;
    let message = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    let code = match &code {
        None => Some(400),
        Some(Value::Str(text)) => text::parse_int(text).and_then(|it| u16::try_from(it).ok()),
        Some(code) => code.as_index().and_then(|it| u16::try_from(it).ok()),
    };
    let mut fault = Fault::new("custom_error", Class::Exception, message);
    fault.error.status = code.unwrap_or(400);
    fault.error.body = Some(body);
    Err(fault)
}

fn to_json(interp: &Interp<'_>, value: &Value, depth: usize) -> Result<serde_json::Value> {
    interp.charge(1)?;
    if depth > 50 {
        return Err(Fault::budget("levels of an error's body", 50));
    }
    Ok(match value {
        Value::None => serde_json::Value::Null,
        Value::Bool(it) => (*it).into(),
        Value::Num(number) | Value::Typed(_, number) => match (number.to_big(), number.to_float()) {
            (Some(big), _) => match i64::try_from(&big) {
                Ok(small) => small.into(),
                Err(_) => big.to_string().into(),
            },
            (None, float) => serde_json::Number::from_f64(float).map_or(serde_json::Value::Null, Into::into),
        },
        Value::List(id) | Value::Tuple(id) => {
            let items = interp.heap.sequences[*id].iter().map(|it| to_json(interp, it, depth + 1));
            serde_json::Value::Array(items.collect::<Result<_>>()?)
        }
        Value::Set(id) => {
            let items = interp.heap.maps[*id].values().map(|(it, _)| to_json(interp, it, depth + 1));
            serde_json::Value::Array(items.collect::<Result<_>>()?)
        }
        Value::Dict(id) => {
            let mut object = serde_json::Map::new();
            for (key, value) in interp.heap.maps[*id].values() {
                object.insert(interp.heap.print(key)?, to_json(interp, value, depth + 1)?);
            }
            serde_json::Value::Object(object)
        }
        other => interp.heap.print(other)?.into(),
    })
}
