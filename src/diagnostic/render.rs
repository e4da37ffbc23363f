//! Diagnostics as a person reads them: the line, a caret, the cause, the hint.

use super::{Diagnostic, Severity, Source, Span};
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

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
    let mut group = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code).elements(
        diagnostic.place.iter().filter_map(|place| {
            let source = source(&place.path)?;
            let annotation = AnnotationKind::Primary.span(visible(place.span, &source.text));
            Some(Snippet::source(&*source.text).path(&*source.path).annotation(annotation))
        }),
    );
    for (place, message) in &diagnostic.related {
        if let Some(source) = source(&place.path) {
            let annotation = AnnotationKind::Context.span(visible(place.span, &source.text)).label(message.as_str());
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
