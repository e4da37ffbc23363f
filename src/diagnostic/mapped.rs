//! Text cut out of a file (a block without its comments and indentation) that still knows where each
//! piece came from.

use super::Span;

/// Text made of pieces of a file. Offsets in it can be turned back into offsets in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapped {
    text: String,
    /// Where the first piece came from. Most texts have no other.
    from: usize,
    /// The pieces behind it, in rising order of `at`; a piece ends where the next one begins.
    more: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// Where the piece stands in `text`.
    at: usize,
    /// Where it came from in the file.
    from: usize,
}

impl Mapped {
    /// Text that is the file's own, from `from` on.
    pub fn whole(text: impl Into<String>, from: usize) -> Mapped {
        Mapped { text: text.into(), from, more: Vec::new() }
    }

    /// Appends `text`, which stands at `from` in the file.
    pub fn push(&mut self, text: &str, from: usize) {
        if text.is_empty() {
            return;
        }
        let last = self.more.last().copied().unwrap_or(Piece { at: 0, from: self.from });
        if self.text.is_empty() {
            self.from = from;
        } else if last.from + (self.text.len() - last.at) != from {
            self.more.push(Piece { at: self.text.len(), from });
        }
        self.text.push_str(text);
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Where an offset of the text stands in the file.
    pub fn offset(&self, offset: usize) -> usize {
        let index = self.more.partition_point(|piece| piece.at <= offset);
        match index.checked_sub(1).and_then(|index| self.more.get(index)) {
            Some(piece) => piece.from + (offset - piece.at),
            None => self.from + offset,
        }
    }

    /// The range of the file that a range of the text covers, dropped lines between included.
    pub fn span(&self, span: Span) -> Span {
        if span.is_empty() {
            return Span::at(self.offset(span.start));
        }
        Span::new(self.offset(span.start), self.offset(span.end - 1) + 1)
    }

    /// A part of the text, with its origins.
    pub fn slice(&self, span: Span) -> Mapped {
        let mut part = Mapped::default();
        part.push_from(self, span);
        part
    }

    /// The same as [`Mapped::slice`] of a text that nobody needs any more: all of it is not copied.
    pub fn part(self, span: Span) -> Mapped {
        if span == Span::new(0, self.text.len()) { self } else { self.slice(span) }
    }

    /// Makes place for so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.text.reserve(bytes);
    }

    /// Appends a part of another text, with its origins.
    pub fn push_from(&mut self, other: &Mapped, span: Span) {
        let mut at = span.start;
        let mut next = other.more.partition_point(|piece| piece.at <= at);
        self.text.reserve(span.end - span.start);
        while at < span.end {
            let end = other.more.get(next).map_or(span.end, |piece| piece.at.min(span.end));
            self.push(&other.text[at..end], other.offset(at));
            at = end;
            next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_survive_dropped_lines() {
        let file = "SQL >\n    a\n# gone\n    b\n";
        let mut mapped = Mapped::default();
        mapped.push("a\n", 10);
        mapped.push("b\n", 23);
        assert_eq!(mapped.text(), "a\nb\n");
        assert_eq!(&file[mapped.offset(0)..][..1], "a");
        assert_eq!(&file[mapped.offset(2)..][..1], "b");
        assert_eq!(mapped.span(Span::new(0, 3)), Span::new(10, 24));
        assert_eq!(mapped.slice(Span::new(2, 4)).offset(0), 23);
    }
}
