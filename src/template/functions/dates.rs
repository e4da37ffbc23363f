//! Differences of dates: `day_diff`, `date_diff_in_days`, `…_hours`, `…_minutes`, `…_seconds`.
//!
//! In: two texts and their format, in the letters of `strptime`. Out: a whole number. The calendar is computed
//! here; no clock is read.

use super::{Args, Function};
use crate::template::{
    error::{Class, Fault, Result},
    eval::Interp,
    scan::is_space,
    text,
    value::Value,
};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("day_diff", day_diff),
    ("date_diff_in_days", |interp, args| diff(interp, args, "date_diff_in_days", 86_400, "%Y-%m-%d")),
    ("date_diff_in_hours", |interp, args| diff(interp, args, "date_diff_in_hours", 3_600, "%Y-%m-%d %H:%M:%S")),
    ("date_diff_in_minutes", |interp, args| diff(interp, args, "date_diff_in_minutes", 60, "%Y-%m-%d %H:%M:%S")),
    ("date_diff_in_seconds", |interp, args| diff(interp, args, "date_diff_in_seconds", 1, "%Y-%m-%d %H:%M:%S")),
];

fn day_diff(interp: &mut Interp<'_>, args: Args) -> Result<Value> {
    let [from, to, _] = args.bind("day_diff", ["d0", "d1", "default"], 2)?;
    let args = Args { positional: [from, to].into_iter().flatten().collect(), keywords: vec![], label: None };
    diff(interp, args, "day_diff", 86_400, "%Y-%m-%d")
}

fn diff(interp: &mut Interp<'_>, args: Args, name: &'static str, unit: i64, format: &str) -> Result<Value> {
    let names = ["d0", "d1", "date_format", "default", "backup_date_format", "none_if_error"];
    let [from, to, chosen, default, backup, none_if_error] = args.bind(name, names, 2)?;
    let (from, to) = (from.unwrap_or(Value::None), to.unwrap_or(Value::None));
    if matches!(from, Value::Placeholder(_)) || matches!(to, Value::Placeholder(_)) {
        return Ok(default.filter(|it| !it.is_none()).unwrap_or(Value::int(0)));
    }
    let format = chosen.as_ref().and_then(Value::as_str).map_or(format, |it| it);
    let backup = backup.as_ref().and_then(Value::as_str);
    let read = |value: &Value| {
        let text = value.as_str()?;
        parse(text, format).or_else(|| parse(text, backup?))
    };
    match (read(&from), read(&to)) {
        (Some(from), Some(to)) => {
            let micros = (from - to).unsigned_abs();
            Ok(Value::int((micros / 1_000_000 / unit as u128) as i64))
        }
        _ if none_if_error.is_some_and(|it| interp.heap.truth(&it)) => Ok(Value::None),
        (found, _) => {
            let wrong = if found.is_none() { &from } else { &to };
            let shown: String = interp.heap.print(wrong)?.chars().take(60).collect();
            let message = format!("`{name}` needs dates like `{format}`, not `{shown}`");
            Err(Fault::new("invalid_date", Class::ValueError, message))
        }
    }
}

#[derive(Default)]
struct Parts {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: i64,
    half: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
    offset: i64,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Microseconds since 1970, if the text has the format.
fn parse(text: &str, format: &str) -> Option<i128> {
    let mut parts = Parts::default();
    let mut rest = text;
    let mut letters = format.chars();
    while let Some(c) = letters.next() {
        if is_space(c) {
            let trimmed = rest.trim_start_matches(is_space);
            if trimmed.len() == rest.len() {
                return None;
            }
            rest = trimmed;
            while letters.as_str().starts_with(is_space) {
                letters.next();
            }
            continue;
        }
        if c != '%' {
            let mut chars = rest.chars();
            if chars.next()?.to_lowercase().ne(c.to_lowercase()) {
                return None;
            }
            rest = chars.as_str();
            continue;
        }
        match letters.next()? {
            'Y' => parts.year = Some(number(&mut rest, 4, 4, 0, 9999)?),
            'y' => {
                let year = number(&mut rest, 2, 2, 0, 99)?;
                parts.year = Some(if year < 69 { 2000 + year } else { 1900 + year });
            }
            'm' => parts.month = Some(number(&mut rest, 1, 2, 1, 12)?),
            'd' => parts.day = Some(number(&mut rest, 1, 2, 1, 31)?),
            'j' => parts.day_of_year = Some(number(&mut rest, 1, 3, 1, 366)?),
            'H' => parts.hour = number(&mut rest, 1, 2, 0, 23)?,
            'I' => {
                parts.hour = number(&mut rest, 1, 2, 1, 12)? % 12;
                parts.half = parts.half.or(Some(false));
            }
            'M' => parts.minute = number(&mut rest, 1, 2, 0, 59)?,
            'S' => parts.second = number(&mut rest, 1, 2, 0, 59)?,
            'f' => {
                let before = rest;
                let found = number(&mut rest, 1, 6, 0, 999_999)?;
                let digits = before.chars().count() - rest.chars().count();
                parts.micros = found * 10i64.pow(6 - digits as u32);
            }
            'p' => parts.half = Some(word(&mut rest, &["am", "pm"], 2)? == 1),
            'b' | 'h' => parts.month = Some(word(&mut rest, &MONTHS, 3)? as i64 + 1),
            'B' => parts.month = Some(word(&mut rest, &MONTHS, 9)? as i64 + 1),
            'a' => _ = word(&mut rest, &DAYS, 3)?,
            'A' => _ = word(&mut rest, &DAYS, 9)?,
            'z' => parts.offset = offset(&mut rest)?,
            '%' => rest = rest.strip_prefix('%')?,
            'T' => return None,
            _ => return None,
        }
    }
    if rest.is_empty() { seconds(&parts) } else { None }
}

/// As many digits as fit the bounds.
fn number(rest: &mut &str, least: usize, most: usize, low: i64, high: i64) -> Option<i64> {
    let digits: String = rest.chars().take(most).map_while(text::digit).collect();
    for count in (least..=digits.len()).rev() {
        let value: i64 = digits[..count].parse().ok()?;
        if (low..=high).contains(&value) {
            *rest = rest.char_indices().nth(count).map_or("", |(at, _)| &rest[at..]);
            return Some(value);
        }
    }
    None
}

/// Which of the words stands here, each cut to `length` letters.
fn word(rest: &mut &str, words: &[&str], length: usize) -> Option<usize> {
    let found = words.iter().position(|it| {
        let short = &it[..it.len().min(length)];
        rest.get(..short.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(short))
    })?;
    *rest = &rest[words[found].len().min(length)..];
    Some(found)
}

fn offset(rest: &mut &str) -> Option<i64> {
    if let Some(after) = rest.strip_prefix('Z') {
        *rest = after;
        return Some(0);
    }
    let sign = if rest.starts_with('-') { -1 } else { 1 };
    *rest = rest.strip_prefix(['+', '-'])?;
    let hours = number(rest, 2, 2, 0, 23)?;
    *rest = rest.strip_prefix(':').unwrap_or(rest);
    let minutes = number(rest, 2, 2, 0, 59)?;
    Some(sign * (hours * 3600 + minutes * 60))
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn seconds(parts: &Parts) -> Option<i128> {
    let year = parts.year.unwrap_or(1900);
    if year < 1 {
        return None;
    }
    let (month, day) = match parts.day_of_year {
        Some(mut day) if parts.month.is_none() && parts.day.is_none() => {
            let mut month = 1;
            while day > days_in(year, month) {
                day -= days_in(year, month);
                month += 1;
                if month > 12 {
                    return None;
                }
            }
            (month, day)
        }
        _ => (parts.month.unwrap_or(1), parts.day.unwrap_or(1)),
    };
    if day > days_in(year, month) {
        return None;
    }
    let years = year - 1;
    let mut days = years * 365 + years / 4 - years / 100 + years / 400 - 719_162 + day - 1;
    days += (1..month).map(|it| days_in(year, it)).sum::<i64>();
    let hour = parts.hour + if parts.half == Some(true) && parts.hour < 12 { 12 } else { 0 };
    let seconds = days * 86_400 + hour * 3600 + parts.minute * 60 + parts.second - parts.offset;
    Some(i128::from(seconds) * 1_000_000 + i128::from(parts.micros))
}
