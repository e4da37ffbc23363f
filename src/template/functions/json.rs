//! JSON text to values, as Python's `json.loads` reads it: big numbers stay whole, `NaN` is a number.
//!
//! In: text. Out: a value, or nothing when the text is not JSON.

use crate::template::{
    error::{Fault, Result},
    eval::Interp,
    text,
    value::{Map, Value},
};

const MAX_DEPTH: usize = 50;

pub(super) fn parse(interp: &mut Interp<'_>, text: &str) -> Result<Option<Value>> {
    interp.check_text(text.len())?;
    let mut parser = Parser { text, at: 0 };
    let Some(value) = parser.value(interp, 0)? else { return Ok(None) };
    parser.space();
    Ok((parser.at == text.len()).then_some(value))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn value(&mut self, interp: &mut Interp<'_>, depth: usize) -> Result<Option<Value>> {
        interp.charge(1)?;
        if depth > MAX_DEPTH {
            return Err(Fault::budget("levels of JSON", MAX_DEPTH));
        }
        self.space();
        let Some(first) = self.rest().chars().next() else { return Ok(None) };
        Ok(match first {
            '{' => return self.object(interp, depth),
            '[' => return self.array(interp, depth),
            '"' => self.string().map(Value::str),
            '-' | '0'..='9' | 'N' | 'I' => return self.number(interp),
            _ if self.take("null") => Some(Value::None),
            _ if self.take("true") => Some(Value::Bool(true)),
            _ if self.take("false") => Some(Value::Bool(false)),
            _ => None,
        })
    }

    fn object(&mut self, interp: &mut Interp<'_>, depth: usize) -> Result<Option<Value>> {
        self.at += 1;
        let mut map = Map::new();
        self.space();
        if self.take("}") {
            return Ok(Some(interp.heap.dict(map)));
        }
        loop {
            self.space();
            if !self.rest().starts_with('"') {
                return Ok(None);
            }
            let Some(key) = self.string() else { return Ok(None) };
            self.space();
            if !self.take(":") {
                return Ok(None);
            }
            let Some(value) = self.value(interp, depth + 1)? else { return Ok(None) };
            let key = Value::str(key);
            map.insert(interp.heap.key(&key)?, (key, value));
            self.space();
            if self.take("}") {
                return Ok(Some(interp.heap.dict(map)));
            }
            if !self.take(",") {
                return Ok(None);
            }
        }
    }

    fn array(&mut self, interp: &mut Interp<'_>, depth: usize) -> Result<Option<Value>> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.take("]") {
            return interp.list(items).map(Some);
        }
        loop {
            let Some(value) = self.value(interp, depth + 1)? else { return Ok(None) };
            items.push(value);
            self.space();
            if self.take("]") {
                return interp.list(items).map(Some);
            }
            if !self.take(",") {
                return Ok(None);
            }
        }
    }

    fn number(&mut self, interp: &mut Interp<'_>) -> Result<Option<Value>> {
        for (word, number) in [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)] {
            if self.take(word) {
                return Ok(Some(Value::float(number)));
            }
        }
        let rest = self.rest();
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let word = rest[..end].to_owned();
        let unsigned = word.strip_prefix('-').unwrap_or(&word);
        let whole = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
        if whole == 0 || (whole > 1 && unsigned.starts_with('0')) {
            return Ok(None);
        }
        self.at += end;
        if whole == unsigned.len() {
            return match text::parse_int(&word) {
                Some(number) => interp.number(number).map(Some),
                None => Ok(None),
            };
        }
        let after_point = unsigned[whole..].strip_prefix('.');
        let well_formed = after_point.is_none_or(|it| it.starts_with(|c: char| c.is_ascii_digit()));
        Ok(if well_formed { word.parse().ok().map(Value::float) } else { None })
    }

    fn string(&mut self) -> Option<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let c = self.rest().chars().next()?;
            self.at += c.len_utf8();
            match c {
                '"' => return Some(out),
                '\\' => {
                    let escape = self.rest().chars().next()?;
                    self.at += escape.len_utf8();
                    out.push(match escape {
                        '"' | '\\' | '/' => escape,
                        'b' => '\x08',
                        'f' => '\x0c',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'u' => self.unicode()?,
                        _ => return None,
                    });
                }
                c if c < ' ' => return None,
                c => out.push(c),
            }
        }
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4)?;
        if !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
            return None;
        }
        let number = u32::from_str_radix(digits, 16).ok()?;
        self.at += 4;
        Some(number)
    }

    /// A code, or the two halves of one; half a character alone is the replacement character.
    fn unicode(&mut self) -> Option<char> {
        let high = self.hex()?;
        if (0xd800..0xdc00).contains(&high) && self.rest().starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                return char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            }
            self.at = before;
        }
        Some(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}
