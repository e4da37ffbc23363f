//! Many files, and the places in them, found quickly however many are asked for.

use super::{LineColumn, Lines, Place, Source};
use std::{cell::OnceCell, collections::BTreeMap};

/// Files by their paths. Where the lines of one begin is found out once, when somebody asks.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    by_path: BTreeMap<&'a str, (&'a Source, OnceCell<Lines>)>,
}

impl<'a> Sources<'a> {
    pub fn of(sources: impl IntoIterator<Item = &'a Source>) -> Sources<'a> {
        Sources { by_path: sources.into_iter().map(|it| (&*it.path, (it, OnceCell::new()))).collect() }
    }

    pub fn get(&self, path: &str) -> Option<(&'a Source, &Lines)> {
        let (source, lines) = self.by_path.get(path)?;
        Some((source, lines.get_or_init(|| Lines::of(&source.text))))
    }

    /// Where a place begins and ends; nothing for a file that is not among these.
    pub fn range(&self, place: &Place) -> Option<(LineColumn, LineColumn)> {
        let (source, lines) = self.get(&place.path)?;
        let at = |offset| lines.line_column(&source.text, offset);
        Some((at(place.span.start), at(place.span.end)))
    }
}
