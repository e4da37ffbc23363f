//! Where the pieces of a rendered text come from in its template.
//!
//! In: the pieces, in the order in which they are printed. Out: the span of the template behind a span of the text.

use crate::diagnostic::Span;

/// The way back from a rendered text to its template; empty where nobody asked for it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Origins {
    /// In rising order of `at`; a piece ends where the next one begins.
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    at: usize,
    from: Span,
    /// The template's own characters, one for one; else what an expression printed.
    verbatim: bool,
}

impl Origins {
    /// The template's text `from` is printed at `at`; white space in it may be changed.
    pub(super) fn text(&mut self, at: usize, from: Span, length: usize) {
        self.pieces.push(Piece { at, from, verbatim: length == from.end - from.start });
    }

    /// The expression `from` is printed at `at`.
    pub(super) fn expression(&mut self, at: usize, from: Span) {
        self.pieces.push(Piece { at, from, verbatim: false });
    }

    /// What of the template a range of the rendered text comes from: an expression whole.
    pub fn span(&self, span: Span) -> Option<Span> {
        let first = self.of(span.start)?;
        let last = if span.is_empty() { first } else { self.of(span.end - 1)? };
        // A loop prints later what stands before.
        Some(Span::new(first.start.min(last.start), if span.is_empty() { first.start } else { last.end }))
    }

    /// What the character at an offset comes from.
    fn of(&self, offset: usize) -> Option<Span> {
        let index = self.pieces.partition_point(|it| it.at <= offset).checked_sub(1)?;
        let piece = self.pieces[index];
        if !piece.verbatim {
            return Some(piece.from);
        }
        let start = (piece.from.start + (offset - piece.at)).min(piece.from.end);
        Some(Span::new(start, (start + 1).min(piece.from.end)))
    }
}
