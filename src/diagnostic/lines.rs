//! Lines and columns, as editors count them.

/// One-based line and column (in characters).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineColumn {
    pub line: usize,
    pub column: usize,
}

/// Where the lines of a text begin, to find many places in it. A line ends with `\n`, `\r\n` or `\r`.
#[derive(Debug, Clone)]
pub struct Lines {
    starts: Vec<usize>,
}

/// The one-based line and column of a byte offset; an offset past the end is the end.
pub fn line_column(text: &str, offset: usize) -> LineColumn {
    Lines::of(text).line_column(text, offset)
}

impl Lines {
    pub fn of(text: &str) -> Lines {
        let bytes = text.as_bytes();
        let ends = memchr::memchr2_iter(b'\n', b'\r', bytes);
        let ends = ends.filter(|at| bytes[*at] == b'\n' || bytes.get(at + 1) != Some(&b'\n'));
        Lines { starts: std::iter::once(0).chain(ends.map(|at| at + 1)).collect() }
    }

    /// The one-based line of a byte offset.
    pub fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|it| *it <= offset)
    }

    /// Where a line begins and where the next one does; `line` counts from one.
    pub fn range(&self, text: &str, line: usize) -> std::ops::Range<usize> {
        let start = |line: usize| self.starts.get(line).copied().unwrap_or(text.len());
        start(line.saturating_sub(1))..start(line)
    }

    /// The one-based line and column of a byte offset in the text; an offset past the end is the end.
    pub fn line_column(&self, text: &str, offset: usize) -> LineColumn {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.line(offset);
        let start = self.range(text, line).start;
        LineColumn { line, column: text[start..offset].chars().count() + 1 }
    }

    /// The lines, without what ends them. A text that ends with a line break has no line behind it.
    pub fn texts<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let count = self.starts.len() - usize::from(self.starts.last() == Some(&text.len()));
        (1..=count).map(|line| text[self.range(text, line)].trim_end_matches(['\r', '\n']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_line_counts_once() {
        let text = "a\r\nbé\rc\n\rd\n";
        let lines = Lines::of(text);
        assert_eq!(lines.texts(text).collect::<Vec<_>>(), ["a", "bé", "c", "", "d"]);
        let at = |word: &str| {
            let found = lines.line_column(text, text.find(word).unwrap());
            (found.line, found.column)
        };
        assert_eq!([at("a"), at("é"), at("c"), at("d")], [(1, 1), (2, 2), (3, 1), (5, 1)]);
        assert_eq!(line_column(text, 1000), LineColumn { line: 6, column: 1 });
        assert_eq!(Lines::of("").texts("").count(), 0);
    }
}
