//! What a template asks of the server: settings and secrets.
//!
//! In: values. Out: a comment line and an entry in the render's settings; a bound parameter for a secret. A value
//! in a comment is kept to its line.

use super::{Args, Function};
use crate::template::{
    error::{Class, Fault, Result},
    eval::Interp,
    text,
    value::Value,
};
use serde_json::json;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("max_threads", max_threads),
    ("cache_ttl", cache_ttl),
    ("backend_hint", backend_hint),
    ("activate", activate),
    ("disable", disable),
    ("tb_secret", tb_secret),
    ("tb_var", tb_secret),
];

const TTLS: &[&str] = &["5s", "1m", "5m", "30m", "1h"];
const FEATURES: &[&str] = &["analyzer", "parallel_replicas", "optimize_aggregation_in_order"];

/// A time of `cache_ttl` in seconds.
pub(in crate::template) fn seconds_of_ttl(ttl: &str) -> Option<u64> {
    let (number, unit) = ttl.split_at_checked(ttl.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * seconds)
}

fn comment(interp: &Interp<'_>, words: &str, value: &Value) -> Result<Value> {
    let value = interp.heap.print(value)?;
    let value: String =
        value.chars().map(|c| if c != '\t' && (c.is_control() || c == '\u{2028}') { ' ' } else { c }).collect();
    interp.check_text(value.len())?;
    Ok(Value::fragment(format!("-- {words} {value}\n")))
}

fn max_threads(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value] = args.bind("max_threads", ["n"], 1)?;
    let value = value.unwrap_or(Value::None);
    let number = match (value.as_str(), value.as_num()) {
        (Some(text), _) => text::parse_int(text).and_then(|it| i64::try_from(it).ok()),
        (None, Some(number)) => match number.to_big() {
            Some(it) => i64::try_from(it).ok(),
            None => Some(number.to_float()).filter(|it| it.is_finite()).map(|it| it.trunc() as i64),
        },
        (None, None) => None,
    };
    match number {
        Some(number) => {
            interp.settings.insert("max_threads".to_owned(), json!(number));
            comment(interp, "max_threads", &value)
        }
        None => comment(interp, "max_threads: wrong argument", &value),
    }
}

fn bad_setting(function: &str, known: &[&str]) -> Box<Fault> {
    let message = format!("`{function}` takes one of {}", known.join(", "));
    Fault::new("invalid_setting", Class::ValueError, message)
}

fn known(value: &Value, function: &str, known: &[&str]) -> Result<String> {
    let text = value.as_str().filter(|it| known.contains(&&***it));
    text.map(|it| it.to_string()).ok_or_else(|| bad_setting(function, known))
}

fn cache_ttl(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value] = args.bind("cache_ttl", ["ttl"], 1)?;
    let value = value.unwrap_or(Value::None);
    let ttl = known(&value, "cache_ttl", TTLS)?;
    interp.settings.insert("cache_ttl".to_owned(), json!(ttl));
    comment(interp, "cache_ttl", &value)
}

fn backend_hint(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value] = args.bind("backend_hint", ["hint"], 1)?;
    let value = value.unwrap_or(Value::None);
    let hint = match &value {
        Value::None | Value::Bool(false) => serde_json::Value::Null,
        other => json!(interp.heap.print(other)?),
    };
    interp.settings.insert("backend_hint".to_owned(), hint);
    comment(interp, "backend_hint", &value)
}

fn activate(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value] = args.bind("activate", ["feature"], 1)?;
    let value = value.unwrap_or(Value::None);
    let feature = known(&value, "activate", FEATURES)?;
    let list = interp.settings.entry("activate".to_owned()).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut()
        && let Err(at) = list.binary_search_by(|it| it.as_str().unwrap_or_default().cmp(&feature))
    {
        list.insert(at, json!(feature));
    }
    comment(interp, "activate", &value)
}

fn disable(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [value] = args.bind("disable", ["feature"], 1)?;
    let value = value.unwrap_or(Value::None);
    let feature = known(&value, "disable", &["analyzer"])?;
    interp.settings.insert("disable".to_owned(), json!(feature));
    comment(interp, "disable", &value)
}

fn tb_secret(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let first = if interp.raw.is_some() { "secret_name" } else { "x" };
    let [name, default] = args.bind("tb_secret", [first, "default"], 1)?;
    let name = name.unwrap_or(Value::None);
    if let Some(raw) = interp.raw {
        return raw.value(&name, default);
    }
    let bad = |words: String| Fault::new("secret", Class::ValueError, words);
    let Some(name) = name.as_str() else {
        return Err(bad(format!("the name of a secret is a text, not {}", name.type_name())));
    };
    let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if name.is_empty() || !name.chars().all(is_word) {
        return Err(bad(format!("`{name}` cannot be the name of a secret: use letters, digits and underscores")));
    }
    let exists = interp.options.secrets.iter().any(|it| it.strip_prefix("tb_secret_").unwrap_or(it) == &**name);
    let default = default.filter(|it| !it.is_none());
    let passes = exists || (interp.options.test_mode && interp.options.secrets_in_test_mode);
    match default {
        Some(default) if !exists => Ok(default),
        None if !passes => Err(bad(format!("there is no secret `{name}` and it has no default"))),
        _ => {
            interp.secrets.insert(name.to_string());
            Ok(Value::symbol(format!("{{{name}: String}}")))
        }
    }
}
