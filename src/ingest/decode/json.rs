//! One walk over a JSON row along the tree of jsonpaths.
//!
//! In: a row's text and the tree. Out: calls to a [`Leaves`] with the text of each value that a path ends
//! at. What the values mean is not known here; what no path wants is only checked to be JSON.
//!
//! The walk reads the text itself: every byte is looked at once, keys are compared where they stand, nothing is
//! copied. A general parser with a seed took twice as long, as it reads values into its own forms first.

use super::schema::Node;
use serde::de::IgnoredAny;
use std::ops::Range;

/// Takes what the walk finds. `depth` counts the `[:]` on the way.
pub(super) trait Leaves {
    /// A value of a column. The same column comes again where a row repeats a key.
    fn leaf(&mut self, column: usize, raw: &str, depth: usize);
    /// An array whose items go to these columns begins, has had an item, ends.
    fn array(&mut self, columns: &[usize], depth: usize);
    fn item(&mut self, columns: &[usize], depth: usize);
    fn end(&mut self, columns: &[usize], depth: usize);
    /// By node: the place of the key that is expected next.
    fn hint(&mut self, node: usize) -> &mut usize;
    /// A value was passed, here in the row's text.
    fn passed(&mut self, _value: Range<usize>, _what: Passed<'_>) {}
}

/// What a value was to the walk.
pub(super) enum Passed<'a> {
    /// A value of these columns.
    Leaf(&'a [usize]),
    /// The value of a key that no path names.
    Unknown,
    /// Neither object nor array, where paths go on into one.
    Scalar,
    /// Something whose parts count too.
    Odd,
}

/// Walks a row. The error is a sentence about the text; leaves before it may have been taken.
pub(super) fn walk(root: &Node, row: &str, leaves: &mut impl Leaves) -> Result<(), String> {
    let mut walk = Walk { scan: Scan::new(row), leaves };
    let walked = walk.value(root, 0).and_then(|()| match walk.scan.next() {
        None => Ok(()),
        Some(_) => Err(Wrong),
    });
    walked.map_err(|Wrong| match serde_json::from_str::<IgnoredAny>(row) {
        Err(error) => error.to_string(),
        Ok(_) => format!("what stands before byte {} cannot be read", walk.scan.at),
    })
}

/// The text is no JSON. What exactly is wrong is asked of a parser that says it well.
pub(super) struct Wrong;

struct Walk<'a, L> {
    scan: Scan<'a>,
    leaves: &'a mut L,
}

/// A place in a row's text.
pub(super) struct Scan<'a> {
    row: &'a str,
    bytes: &'a [u8],
    pub(super) at: usize,
    /// How the containers end that are open in what is skipped.
    open: Vec<u8>,
}

impl<L: Leaves> Walk<'_, L> {
    fn value(&mut self, node: &Node, depth: usize) -> Result<(), Wrong> {
        let first = self.scan.next();
        let start = self.scan.at;
        if !node.leaves.is_empty() {
            self.scan.skip()?;
            let end = self.scan.at;
            for column in &node.leaves {
                self.leaves.leaf(*column, &self.scan.row[start..end], depth);
            }
            if node.is_leaf() {
                self.leaves.passed(start..end, Passed::Leaf(&node.leaves));
                return Ok(());
            }
            self.leaves.passed(start..end, Passed::Odd);
            self.scan.at = start;
        }
        // Where a path goes on but the value does not, there is nothing to find.
        match first {
            Some(b'{') if !node.keys.is_empty() => self.object(node, depth),
            Some(b'[') if node.each.is_some() || !node.indexes.is_empty() => self.array(node, depth),
            first => {
                self.scan.skip()?;
                let container = matches!(first, Some(b'{' | b'['));
                let what = if container { Passed::Odd } else { Passed::Scalar };
                self.leaves.passed(start..self.scan.at, what);
                Ok(())
            }
        }
    }

    fn object(&mut self, node: &Node, depth: usize) -> Result<(), Wrong> {
        self.scan.at += 1;
        if self.scan.next() == Some(b'}') {
            self.scan.at += 1;
            return Ok(());
        }
        loop {
            let hint = *self.leaves.hint(node.id);
            match self.child(node, hint)? {
                Some(index) => {
                    *self.leaves.hint(node.id) = index + 1;
                    self.value(&node.keys[index].1, depth)?;
                }
                None => {
                    self.scan.next();
                    let start = self.scan.at;
                    self.scan.skip()?;
                    self.leaves.passed(start..self.scan.at, Passed::Unknown);
                }
            }
            if self.scan.ends(b'}')? {
                return Ok(());
            }
        }
    }

    fn array(&mut self, node: &Node, depth: usize) -> Result<(), Wrong> {
        self.leaves.passed(self.scan.at..self.scan.at, Passed::Odd);
        self.scan.at += 1;
        let each = node.each.as_deref();
        if let Some(each) = each {
            self.leaves.array(&each.columns, depth);
        }
        let empty = self.scan.next() == Some(b']');
        if empty {
            self.scan.at += 1;
        }
        for index in 0.. {
            if empty {
                break;
            }
            let indexed = node.indexes.iter().find(|(it, _)| *it == index).map(|(_, node)| node);
            match (each, indexed) {
                (None, None) => self.scan.skip()?,
                (None, Some(node)) => self.value(node, depth)?,
                (Some(each), indexed) => {
                    self.scan.next();
                    let start = self.scan.at;
                    self.value(&each.node, depth + 1)?;
                    self.leaves.item(&each.columns, depth);
                    if let Some(node) = indexed {
                        // An item that `[:]` and `[0]` both want is walked twice.
                        self.scan.at = start;
                        self.value(node, depth)?;
                    }
                }
            }
            if self.scan.ends(b']')? {
                break;
            }
        }
        if let Some(each) = each {
            self.leaves.end(&each.columns, depth);
        }
        Ok(())
    }

    /// Reads a key and its colon. Gives the child that the key names; the expected one is tried first.
    fn child(&mut self, node: &Node, hint: usize) -> Result<Option<usize>, Wrong> {
        self.scan.next();
        if let Some((expected, _)) = node.keys.get(hint)
            && !node.has_odd_keys
            && let Some(rest) = self.scan.bytes[self.scan.at..].strip_prefix(b"\"")
            && let Some([b'"', ..]) = rest.strip_prefix(expected.as_bytes())
        {
            self.scan.at += expected.len() + 2;
            self.scan.colon()?;
            return Ok(Some(hint));
        }
        let start = self.scan.at;
        let plain = self.scan.string()?;
        let raw = &self.scan.row[start..self.scan.at];
        let find = |key: &str| node.keys.iter().position(|(it, _)| it == key);
        let found = match plain {
            true => find(&raw[1..raw.len() - 1]),
            false => find(&serde_json::from_str::<String>(raw).map_err(|_| Wrong)?),
        };
        self.scan.colon()?;
        Ok(found)
    }
}

impl<'a> Scan<'a> {
    pub(super) fn new(row: &'a str) -> Scan<'a> {
        Scan { row, bytes: row.as_bytes(), at: 0, open: Vec::new() }
    }

    /// After an item: whether the container ends here, else the next item follows.
    fn ends(&mut self, end: u8) -> Result<bool, Wrong> {
        let found = self.next();
        self.at += 1;
        match found {
            Some(b',') => Ok(false),
            Some(it) if it == end => Ok(true),
            _ => Err(Wrong),
        }
    }

    fn colon(&mut self) -> Result<(), Wrong> {
        if self.next() != Some(b':') {
            return Err(Wrong);
        }
        self.at += 1;
        Ok(())
    }

    /// The next byte that is not blank, not passed yet.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.row[start..self.at]
    }

    /// Passes the value that begins here with this byte. True says that it is a string and nothing in it is escaped.
    #[inline]
    pub(super) fn value(&mut self, first: u8) -> Result<bool, Wrong> {
        match first {
            b'"' => self.string(),
            b' ' | b'\n' | b'\t' | b'\r' => Err(Wrong),
            b'-' | b'0'..=b'9' => self.number().map(|()| false),
            _ => self.skip().map(|()| false),
        }
    }

    /// Passes a value. Depth costs memory, not stack.
    fn skip(&mut self) -> Result<(), Wrong> {
        loop {
            match self.next() {
                Some(start @ (b'{' | b'[')) => {
                    let end = start + 2;
                    self.at += 1;
                    if self.next() != Some(end) {
                        self.open.push(end);
                        self.key_in(end)?;
                        continue;
                    }
                    self.at += 1;
                }
                Some(b'"') => _ = self.string()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => return Err(Wrong),
            }
            loop {
                let Some(end) = self.open.last().copied() else { return Ok(()) };
                if self.ends(end)? {
                    self.open.pop();
                } else {
                    self.key_in(end)?;
                    break;
                }
            }
        }
    }

    /// In an object, passes the key of the next item.
    fn key_in(&mut self, end: u8) -> Result<(), Wrong> {
        if end == b'}' {
            self.next();
            self.string()?;
            self.colon()?;
        }
        Ok(())
    }

    /// Passes a string. True says that nothing in it is escaped.
    fn string(&mut self) -> Result<bool, Wrong> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return Err(Wrong);
        }
        self.at += 1;
        let mut plain = true;
        loop {
            self.at += ordinary(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(plain);
                }
                Some(b'\\') => {
                    plain = false;
                    self.at += match self.bytes.get(self.at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') => match self.bytes.get(self.at + 2..self.at + 6) {
                            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => 6,
                            _ => return Err(Wrong),
                        },
                        _ => return Err(Wrong),
                    };
                }
                _ => return Err(Wrong),
            }
        }
    }

    fn number(&mut self) -> Result<(), Wrong> {
        self.at += usize::from(self.bytes[self.at] == b'-');
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Wrong> {
        let digits = self.bytes[self.at..].iter().take_while(|it| it.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 { Err(Wrong) } else { Ok(()) }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Wrong> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(Wrong);
        }
        self.at += word.len();
        Ok(())
    }
}

/// How many bytes from the begin mean themselves inside a string: all but quotes, backslashes and control
/// characters. Eight are looked at together.
fn ordinary(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // A byte's high bit is set where it is the wanted one; above the first such byte borrows may lie.
        let is = |byte: u8| {
            let zero = word ^ (ONES * u64::from(byte));
            zero.wrapping_sub(ONES) & !zero
        };
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (is(b'"') | is(b'\\') | control) & HIGH;
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let tail = rest.iter().take_while(|it| !matches!(it, b'"' | b'\\' | 0..0x20)).count();
    words.len() * 8 + tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Nothing;

    impl Leaves for Nothing {
        fn leaf(&mut self, _: usize, _: &str, _: usize) {}
        fn array(&mut self, _: &[usize], _: usize) {}
        fn item(&mut self, _: &[usize], _: usize) {}
        fn end(&mut self, _: &[usize], _: usize) {}
        fn hint(&mut self, _: usize) -> &mut usize {
            unreachable!("the tree has no keys")
        }
    }

    /// The walk and a general parser have one opinion of what JSON is.
    fn agrees(text: &str) {
        let ours = walk(&Node::default(), text, &mut Nothing);
        let theirs = serde_json::from_str::<IgnoredAny>(text).map_err(|it| it.to_string());
        assert_eq!(ours, theirs.map(|_| ()), "{text:?}");
    }

    #[test]
    fn what_is_json_is_so_for_any_parser() {
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        for text in [
            "{}",
            " [ ] ",
            r#"{"a":[1,-0,0.5,1e9,-2E+3,true,false,null,"x\n\u00e9"],"b":{"c":{}}}"#,
            "",
            " ",
            "{",
            "[1,]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "[1 2]",
            "01",
            "1.",
            "-",
            ".5",
            "1e",
            "tru",
            "nulll",
            "{]",
            "[}",
            r#""\x""#,
            r#""\u12g4""#,
            "\"a\tb\"",
            "\"a",
            "\"long enough for two words\u{1}\"",
            r#""\ud800""#,
            "1 1",
            &deep,
        ] {
            agrees(text);
        }
    }

    proptest! {
        #[test]
        fn mutated_json_is_so_for_any_parser(at in 0usize..90, byte in 0x09u8..0x7f, cut in 0usize..90) {
            let text = r#"{"company_id":-12.5e3,"a":["x\"y",{"b":null},[]],"device":{"os":"M\u00e1c","v":true}}"#;
            let mut bytes = text.as_bytes().to_vec();
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            agrees(&String::from_utf8_lossy(&bytes));
            agrees(&text[..cut.min(text.len())]);
        }
    }
}
