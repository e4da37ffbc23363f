//! The template language of pipe nodes: parsed once at push, evaluated by each request.
//!
//! In: the text after a node's `%`. Out: a [`Template`], and from it with [`Params`] a [`Rendered`] text.
//! Nothing here knows HTTP, tokens or projects.

use crate::diagnostic::Span;
use indexmap::IndexMap;

/// Request parameters by name, in the order they came.
pub type Params = IndexMap<String, serde_json::Value>;

#[derive(Debug, Clone)]
pub struct Template {}

/// What a render may know and how far it may go.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// Missing parameters become placeholders: what checks and deploys do.
    pub test_mode: bool,
    /// The names of secrets that exist.
    pub secrets: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rendered {
    pub sql: String,
    /// `max_threads`, `cache_ttl`, `backend_hint`, `activate`, `disable`.
    pub settings: IndexMap<String, serde_json::Value>,
    /// Secrets that stand in `sql` as `{name: String}`.
    pub secrets: Vec<String>,
}

/// A parameter as a pipe declares it, for documentation and clients.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParamDecl {
    pub name: String,
    pub type_name: String,
    pub default: Option<serde_json::Value>,
    pub required: Option<bool>,
    pub description: Option<String>,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// Our category, as in the vectors: `parse`, `missing_required`, `error`, ...
    pub category: &'static str,
    pub message: String,
    /// In the template's text.
    pub span: Span,
    /// 400, but for `custom_error`.
    pub status: u16,
    /// The body of `custom_error`.
    pub body: Option<serde_json::Value>,
    pub hint: Option<String>,
}

impl Template {
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let _ = text;
        Ok(Template {})
    }

    /// The declared parameters, in order found, with repeats.
    pub fn params(&self) -> Vec<ParamDecl> {
        Vec::new()
    }

    pub fn render(&self, params: &Params, options: &RenderOptions) -> Result<Rendered, TemplateError> {
        let _ = (params, options);
        Ok(Rendered::default())
    }
}
