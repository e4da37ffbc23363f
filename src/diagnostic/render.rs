//! Diagnostics as a person reads them: the line, a caret, the cause, the hint.

use super::{Diagnostic, Place, Severity, Sources, Span};
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Colour,
}

/// How far apart places of a file may be to be shown in one picture, in bytes; and how much text a picture may be of.
const NEAR: usize = 4096;

/// Prints one diagnostic with the lines it is about.
pub fn render(diagnostic: &Diagnostic, sources: &Sources<'_>, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.code));
    let own = diagnostic.place.as_ref().filter(|it| sources.get(&it.path).is_some());
    // What else is in this file is shown in the same picture, if it is not far.
    let is_near =
        |place: &Place| own.is_some_and(|it| it.path == place.path && it.span.start.abs_diff(place.span.start) < NEAR);
    let (near, far): (Vec<_>, Vec<_>) = diagnostic.related.iter().partition(|(place, _)| is_near(place));
    if let Some(place) = own {
        let context = near.into_iter().map(|(it, message)| (it.span, AnnotationKind::Context, Some(message.as_str())));
        let all: Vec<_> = std::iter::once((place.span, AnnotationKind::Primary, None)).chain(context).collect();
        group = with_picture(group, place, sources, &all);
    }
    for (place, message) in far {
        group = with_picture(group, place, sources, &[(place.span, AnnotationKind::Context, Some(message))]);
    }
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colour => Renderer::styled(),
    };
    renderer.render(&[group])
}

/// With the lines of a file that spans stand in, and no others: looking through a whole file for each of many diagnostics
/// would take for ever. Of a line that is too long to be read only the place is told.
fn with_picture<'a>(
    group: Group<'a>,
    place: &'a Place,
    sources: &Sources<'a>,
    spans: &[(Span, AnnotationKind, Option<&'a str>)],
) -> Group<'a> {
    if let Some(picture) = picture(place, sources, spans) {
        return group.element(picture);
    }
    let Some((start, _)) = sources.range(place) else { return group };
    group.element(Origin::path(&*place.path).line(start.line).char_column(start.column))
}

fn picture<'a>(
    place: &'a Place,
    sources: &Sources<'a>,
    spans: &[(Span, AnnotationKind, Option<&'a str>)],
) -> Option<Snippet<'a, Annotation<'a>>> {
    let (source, lines) = sources.get(&place.path)?;
    let text = &*source.text;
    let ranges = || spans.iter().map(|(span, ..)| visible(*span, text));
    let first = lines.line(ranges().map(|it| it.start).min()?);
    let last = lines.line(ranges().map(|it| it.end).max()?);
    let start = lines.range(text, first).start;
    let excerpt = &text[start..lines.range(text, last).end];
    if excerpt.len() > 2 * NEAR {
        return None;
    }
    let annotations = ranges().zip(spans).map(|(range, (_, kind, label))| {
        let annotation = kind.span(range.start - start..range.end - start);
        match label {
            Some(label) => annotation.label(*label),
            None => annotation,
        }
    });
    // A picture knows no lines that end with a lone carriage return.
    let excerpt = match excerpt.contains('\r') && excerpt.replace("\r\n", "").contains('\r') {
        true => excerpt.replace('\r', "\n").into(),
        false => std::borrow::Cow::Borrowed(excerpt),
    };
    Some(Snippet::source(excerpt).line_start(first).path(&*source.path).annotations(annotations.collect::<Vec<_>>()))
}

/// A range inside the text and on character boundaries, whatever a caller made of it.
fn visible(span: Span, text: &str) -> Range<usize> {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}
