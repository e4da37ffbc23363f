//! Numbers and text with a format: the `:` of f-strings and the `%` of strings.
//!
//! In: a value and a format. Out: text. The widths a format may ask for are bounded like every string.

use super::{
    error::{Class, Fault, Result},
    eval::Interp,
    value::{Num, Value},
};

#[derive(Debug, Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    /// A `0` before the width: numbers keep their sign in front of it.
    zero: bool,
    width: usize,
    group: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

const MAX_PRECISION: usize = 1000;

pub(super) fn format(interp: &Interp<'_>, value: &Value, text: &str) -> Result<String> {
    if text.is_empty() {
        return interp.heap.print(value);
    }
    let bad = || Fault::value_error(format!("`{text}` is not a format for {}", value.type_name()));
    let spec = parse(text).ok_or_else(bad)?;
    interp.check_text(spec.width)?;
    let (body, is_number) = match value.as_num() {
        Some(number) => (number_text(&number, &spec).ok_or_else(bad)?, true),
        None => match value.as_str() {
            Some(_) if !matches!(spec.kind, None | Some('s')) || spec.sign.is_some() || spec.group.is_some() => {
                return Err(bad());
            }
            Some(it) => (it.chars().take(spec.precision.unwrap_or(usize::MAX)).collect(), false),
            None => return Err(Fault::type_error(format!("{} takes no format", value.type_name()))),
        },
    };
    Ok(pad(&body, &spec, is_number))
}

fn parse(text: &str) -> Option<Spec> {
    let chars: Vec<char> = text.chars().collect();
    let mut spec = Spec::default();
    let mut at = 0;
    let is_align = |c: Option<&char>| matches!(c, Some('<' | '>' | '=' | '^'));
    if is_align(chars.get(1)) {
        spec.fill = chars.first().copied();
        spec.align = chars.get(1).copied();
        at = 2;
    } else if is_align(chars.first()) {
        spec.align = chars.first().copied();
        at = 1;
    }
    if let Some(sign @ ('+' | '-' | ' ')) = chars.get(at) {
        spec.sign = Some(*sign);
        at += 1;
    }
    if chars.get(at) == Some(&'#') {
        spec.alternate = true;
        at += 1;
    }
    if chars.get(at) == Some(&'0') {
        spec.fill = spec.fill.or(Some('0'));
        spec.zero = true;
        at += 1;
    }
    let number = |at: &mut usize| {
        let mut number = None;
        while let Some(digit) = chars.get(*at).and_then(|it| it.to_digit(10)) {
            number = Some(number.unwrap_or(0usize).checked_mul(10)?.checked_add(digit as usize)?);
            *at += 1;
        }
        Some(number)
    };
    spec.width = number(&mut at)?.unwrap_or(0);
    if let Some(group @ (',' | '_')) = chars.get(at) {
        spec.group = Some(*group);
        at += 1;
    }
    if chars.get(at) == Some(&'.') {
        at += 1;
        spec.precision = Some(number(&mut at)??);
    }
    if let Some(kind) = chars.get(at) {
        spec.kind = Some(*kind);
        at += 1;
    }
    (at == chars.len() && spec.precision.is_none_or(|it| it <= MAX_PRECISION)).then_some(spec)
}

fn number_text(number: &Num, spec: &Spec) -> Option<String> {
    let (negative, digits) = match (number, spec.kind) {
        (Num::Float(_), Some('d' | 'x' | 'X' | 'o' | 'b' | 'c' | 's' | 'n')) | (_, Some('s')) => return None,
        (Num::Float(it), kind) => (it.is_sign_negative(), float_text(it.abs(), kind, spec)?),
        (whole, Some(kind @ ('f' | 'F' | 'e' | 'E' | 'g' | 'G' | '%'))) => {
            let it = whole.to_float();
            (it.is_sign_negative(), float_text(it.abs(), Some(kind), spec)?)
        }
        (whole, kind) => {
            if spec.precision.is_some() {
                return None;
            }
            let big = whole.to_big()?;
            let negative = big.sign() == num_bigint::Sign::Minus;
            let size = big.magnitude();
            let text = match kind {
                None | Some('d' | 'n') => size.to_string(),
                Some('x') => format!("{}{}", if spec.alternate { "0x" } else { "" }, size.to_str_radix(16)),
                Some('X') => {
                    format!("{}{}", if spec.alternate { "0X" } else { "" }, size.to_str_radix(16).to_uppercase())
                }
                Some('o') => format!("{}{}", if spec.alternate { "0o" } else { "" }, size.to_str_radix(8)),
                Some('b') => format!("{}{}", if spec.alternate { "0b" } else { "" }, size.to_str_radix(2)),
                Some('c') => char::from_u32(u32::try_from(&big).ok()?)?.to_string(),
                _ => return None,
            };
            (negative, text)
        }
    };
    let digits = match spec.group {
        Some(mark) => grouped(&digits, mark),
        None => digits,
    };
    let sign = match (negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    Some(format!("{sign}{digits}"))
}

fn grouped(digits: &str, mark: char) -> String {
    let whole = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let mut out = String::new();
    for (index, c) in digits[..whole].chars().enumerate() {
        if index > 0 && (whole - index).is_multiple_of(3) {
            out.push(mark);
        }
        out.push(c);
    }
    out + &digits[whole..]
}

fn exponent_text(text: &str) -> String {
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, number) = match exponent.strip_prefix('-') {
                Some(rest) => ('-', rest),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{number:0>2}")
        }
        None => text.to_owned(),
    }
}

/// A float that is not negative.
fn float_text(number: f64, kind: Option<char>, spec: &Spec) -> Option<String> {
    if !number.is_finite() {
        let text = super::text::float(number);
        return Some(if matches!(kind, Some('F' | 'E' | 'G')) { text.to_uppercase() } else { text });
    }
    let precision = spec.precision.unwrap_or(6);
    Some(match kind {
        None if spec.precision.is_none() => super::text::float(number),
        Some('f' | 'F') => format!("{number:.precision$}"),
        Some('%') => format!("{:.precision$}%", number * 100.0),
        Some('e') => exponent_text(&format!("{number:.precision$e}")),
        Some('E') => exponent_text(&format!("{number:.precision$e}")).to_uppercase(),
        None | Some('g' | 'G' | 'n') => {
            let significant = precision.max(1);
            let scientific = format!("{:.*e}", significant - 1, number);
            let exponent: i32 = scientific.split_once('e')?.1.parse().ok()?;
            let limit = if kind.is_none() { significant as i32 - 1 } else { significant as i32 };
            let text = if (-4..limit).contains(&exponent) {
                let places = usize::try_from(significant as i32 - 1 - exponent).unwrap_or(0);
                trimmed(&format!("{number:.places$}"), spec.alternate)
            } else {
                let (digits, exponent) = scientific.split_once('e')?;
                exponent_text(&format!("{}e{exponent}", trimmed(digits, spec.alternate)))
            };
            let text = if kind.is_none() && !text.contains(['.', 'e']) { text + ".0" } else { text };
            if kind == Some('G') { text.to_uppercase() } else { text }
        }
        _ => return None,
    })
}

fn trimmed(digits: &str, keep: bool) -> String {
    if keep || !digits.contains('.') {
        return digits.to_owned();
    }
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn pad(body: &str, spec: &Spec, is_number: bool) -> String {
    let missing = spec.width.saturating_sub(body.chars().count());
    if missing == 0 {
        return body.to_owned();
    }
    let fill = |count: usize| spec.fill.unwrap_or(' ').to_string().repeat(count);
    let usual = match is_number {
        true if spec.zero => '=',
        true => '>',
        false => '<',
    };
    match spec.align.unwrap_or(usual) {
        '<' => format!("{body}{}", fill(missing)),
        '^' => format!("{}{body}{}", fill(missing / 2), fill(missing - missing / 2)),
        '=' if is_number => {
            let sign = usize::from(body.starts_with(['-', '+', ' ']));
            format!("{}{}{}", &body[..sign], fill(missing), &body[sign..])
        }
        _ => format!("{}{body}", fill(missing)),
    }
}

/// `'%s …' % values`
pub(super) fn percent(interp: &mut Interp<'_>, pattern: &str, value: &Value) -> Result<String> {
    let items = match value {
        Value::Tuple(id) => interp.heap.sequences[*id].clone(),
        other => vec![other.clone()],
    };
    let mut items = items.into_iter();
    let mut used_names = false;
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut named = None;
        if chars.peek() == Some(&'(') {
            chars.next();
            let name: String = chars.by_ref().take_while(|c| *c != ')').collect();
            named = Some(super::ops::item(interp, value, &Value::str(name))?);
            used_names = true;
        }
        let mut spec = Spec::default();
        while let Some(flag @ ('-' | '+' | ' ' | '0' | '#')) = chars.peek().copied() {
            chars.next();
            match flag {
                '-' => spec.align = Some('<'),
                '0' => spec.fill = Some('0'),
                '#' => spec.alternate = true,
                sign => spec.sign = Some(sign),
            }
        }
        let mut digits = String::new();
        let mut precision = None;
        while let Some(c) = chars.peek().copied().filter(|c| c.is_ascii_digit() || *c == '.' || *c == '*') {
            chars.next();
            let star = if c == '*' { items.next().and_then(|it| it.as_index()) } else { None };
            match c {
                '.' => {
                    spec.width = std::mem::take(&mut digits).parse().unwrap_or(spec.width);
                    precision = Some(());
                }
                '*' => digits = star.unwrap_or(0).max(0).to_string(),
                digit => digits.push(digit),
            }
        }
        match precision {
            Some(()) => spec.precision = Some(digits.parse().unwrap_or(0)),
            None if !digits.is_empty() => spec.width = digits.parse().unwrap_or(usize::MAX),
            None => {}
        }
        if spec.precision.is_some_and(|it| it > MAX_PRECISION) {
            return Err(Fault::value_error("this format asks for too many digits"));
        }
        interp.check_text(spec.width)?;
        let Some(kind) = chars.next() else { return Err(Fault::value_error("the format ends after `%`")) };
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match named {
            Some(value) => value,
            None => items.next().ok_or_else(|| Fault::type_error("the format has more places than values"))?,
        };
        out.push_str(&one(interp, kind, &value, spec)?);
        interp.check_text(out.len())?;
    }
    if !used_names && items.next().is_some() && !matches!(value, Value::Dict(_) | Value::List(_)) {
        return Err(Fault::type_error("the format has fewer places than values"));
    }
    Ok(out)
}

fn one(interp: &Interp<'_>, kind: char, value: &Value, mut spec: Spec) -> Result<String> {
    let wrong = || Fault::type_error(format!("`%{kind}` cannot print {}", value.type_name()));
    let align_number = |spec: &mut Spec| {
        if spec.fill == Some('0') && spec.align.is_none() {
            spec.align = Some('=');
        }
    };
    match kind {
        's' | 'r' | 'a' => {
            let mut text = String::new();
            if kind == 's' {
                text = interp.heap.print(value)?;
            } else {
                interp.heap.repr(value, false, &mut text, 0)?;
            }
            let text: String = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
            spec.fill = None;
            spec.align = spec.align.or(Some('>'));
            Ok(pad(&text, &spec, false))
        }
        'c' => match (value.as_index(), value.as_str()) {
            (Some(code), _) => {
                let c = u32::try_from(code).ok().and_then(char::from_u32);
                c.map(String::from).ok_or_else(|| Fault::new("runtime", Class::OverflowError, "not a character"))
            }
            (_, Some(text)) if text.chars().count() == 1 => Ok(text.to_string()),
            _ => Err(wrong()),
        },
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let number = value.as_num().ok_or_else(wrong)?;
            let number = match number {
                Num::Float(it) if matches!(kind, 'd' | 'i' | 'u') && it.is_finite() => {
                    Num::big(num_traits::FromPrimitive::from_f64(it.trunc()).ok_or_else(wrong)?)
                }
                Num::Float(_) => return Err(wrong()),
                whole => whole,
            };
            let digits = spec.precision.take();
            spec.kind = Some(if matches!(kind, 'i' | 'u') { 'd' } else { kind });
            align_number(&mut spec);
            let body = number_text(&number, &spec).ok_or_else(wrong)?;
            let sign = usize::from(body.starts_with(['-', '+', ' ']));
            let zeros = digits.unwrap_or(0).saturating_sub(body.len() - sign);
            let body = format!("{}{}{}", &body[..sign], "0".repeat(zeros), &body[sign..]);
            Ok(pad(&body, &spec, true))
        }
        'f' | 'F' | 'e' | 'E' | 'g' | 'G' => {
            let number = Num::Float(value.as_num().ok_or_else(wrong)?.to_float());
            spec.kind = Some(kind);
            align_number(&mut spec);
            let body = number_text(&number, &spec).ok_or_else(wrong)?;
            Ok(pad(&body, &spec, true))
        }
        other => Err(Fault::value_error(format!("`%{other}` is not a format"))),
    }
}
