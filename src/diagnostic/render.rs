//! Diagnostics as a person reads them: the line, a caret, the cause, the hint.

use super::{Diagnostic, Place, Severity, Source, Span};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Colour,
}

/// Prints one diagnostic with the lines it is about, which are looked up in `sources` by path.
pub fn render(diagnostic: &Diagnostic, sources: &[Source], style: Style) -> String {
    let source = |path: &str| sources.iter().find(|it| &*it.path == path);
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.code));
    let own = diagnostic.place.as_ref().and_then(|place| Some((place, source(&place.path)?)));
    let context =
        |place: &Place, message, text: &str| AnnotationKind::Context.span(visible(place.span, text)).label(message);
    let is_own = |place: &Place| own.is_some_and(|(own, _)| own.path == place.path);
    if let Some((place, source)) = own {
        let annotation = AnnotationKind::Primary.span(visible(place.span, &source.text));
        // What else is in this file is shown in the same picture.
        let related = diagnostic.related.iter().filter(|(place, _)| is_own(place));
        let related = related.map(|(place, message)| context(place, message.as_str(), &source.text));
        let snippet = Snippet::source(&*source.text).path(&*source.path).annotation(annotation).annotations(related);
        group = group.element(snippet);
    }
    for (place, message) in diagnostic.related.iter().filter(|(place, _)| !is_own(place)) {
        if let Some(source) = source(&place.path) {
            let annotation = context(place, message.as_str(), &source.text);
            group = group.element(Snippet::source(&*source.text).path(&*source.path).annotation(annotation));
        }
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

/// A range inside the text and on character boundaries, whatever a caller made of it.
fn visible(span: Span, text: &str) -> std::ops::Range<usize> {
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
