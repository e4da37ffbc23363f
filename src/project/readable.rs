//! A node's SQL as it can be read without a request, with the way back into its file.
//!
//! In: a [`Node`]. Out: its text, or what its template says without parameters, and the place in the file of every
//! part of that.

use super::{Node, NodeSql};
use crate::{
    diagnostic::{Mapped, Place, Span},
    template::Rendered,
};

/// What a node says, and where in its file it says so.
#[derive(Clone, Copy)]
pub struct Readable<'a> {
    node: &'a Node,
    text: &'a Mapped,
    rendered: Option<&'a Rendered>,
}

impl Node {
    /// The text as it stands in the file, from the `%` on for a template.
    pub fn text(&self) -> &Mapped {
        match &self.sql {
            NodeSql::Plain(text) | NodeSql::Template { text, .. } => text,
        }
    }

    /// The SQL; nothing where a template says none without parameters.
    pub fn readable(&self) -> Option<Readable<'_>> {
        match &self.sql {
            NodeSql::Plain(text) => Some(Readable { node: self, text, rendered: None }),
            NodeSql::Template { text, tried, .. } => {
                Some(Readable { node: self, text, rendered: Some(tried.as_deref()?) })
            }
        }
    }
}

impl<'a> Readable<'a> {
    pub fn sql(self) -> &'a str {
        self.rendered.map_or(self.text.text(), |it| &it.sql)
    }

    /// The secrets that stand in it as `{name: String}`.
    pub fn secrets(self) -> &'a [String] {
        self.rendered.map_or(&[], |it| &it.secrets)
    }

    /// Where a part of the SQL stands in the file: what an expression printed is the expression.
    pub fn span(self, span: Span) -> Span {
        let end = self.sql().len();
        let span = Span::new(span.start.min(end), span.end.min(end));
        match self.rendered {
            None => self.text.span(span),
            Some(rendered) => match rendered.origins.span(span) {
                Some(span) => self.text.span(span),
                None => self.text.span(Span::new(0, self.text.text().len())),
            },
        }
    }

    pub fn place(self, span: Span) -> Place {
        Place { path: self.node.place.path.clone(), span: self.span(span) }
    }
}
