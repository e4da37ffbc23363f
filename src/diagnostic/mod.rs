//! What is wrong with somebody's text, and where.
//!
//! In: a [`Source`], a [`Span`] in it, a code and words. Out: [`Diagnostic`]s, printed with a caret by
//! [`render`]. This module does not know who complains.

mod lines;
mod mapped;
mod render;
mod sources;

pub use lines::{LineColumn, Lines, line_column};
pub use mapped::Mapped;
pub use render::{Style, render};
pub use sources::Sources;

use std::sync::Arc;

/// A file as it was read: its path (relative to the project) and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub path: Arc<str>,
    pub text: Arc<str>,
}

/// A range of bytes in the text of a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// A range of bytes in a file that is named: what a [`Span`] becomes once files meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub path: Arc<str>,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// One thing to say about a file: stable code, words, place, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Stable, in snake case: `unknown_command`.
    pub code: &'static str,
    pub message: String,
    /// Nothing when the complaint is about the project as a whole.
    pub place: Option<Place>,
    pub hint: Option<String>,
    /// Other places that belong to the story: the first definition of a name that stands twice.
    pub related: Vec<(Place, String)>,
}

impl Source {
    pub fn new(path: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    pub fn place(&self, span: Span) -> Place {
        Place { path: self.path.clone(), span }
    }

    pub fn line_column(&self, offset: usize) -> LineColumn {
        line_column(&self.text, offset)
    }
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end: end.max(start) }
    }

    pub fn at(offset: usize) -> Span {
        Span { start: offset, end: offset }
    }

    /// The same range in a text that holds this one from `by` on.
    pub fn shift(self, by: usize) -> Span {
        Span { start: self.start + by, end: self.end + by }
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

impl Diagnostic {
    pub fn error(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            place: None,
            hint: None,
            related: vec![],
        }
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    pub fn at(mut self, place: Place) -> Diagnostic {
        self.place = Some(place);
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }

    pub fn related(mut self, place: Place, message: impl Into<String>) -> Diagnostic {
        self.related.push((place, message.into()));
        self
    }
}

pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|it| it.severity == Severity::Error)
}

/// The candidate closest to `name`, if it is close enough to be meant: for "did you mean".
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let length = name.chars().count();
    let limit = (length / 3).max(1);
    candidates
        .into_iter()
        .filter(|it| it.chars().count().abs_diff(length) <= limit)
        .map(|it| (strsim::damerau_levenshtein(&lower, &it.to_lowercase()), it))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, it)| it)
}
