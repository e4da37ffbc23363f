//! The template language of pipe nodes: parsed once at push, evaluated by each request.
//!
//! In: the text after a node's `%`. Out: a [`Template`], and from it with [`Params`] a [`Rendered`] text.
//! Nothing here knows HTTP, tokens or projects.
//!
//! The folder is a small compiler: `scan` cuts text from braces, `token`, `parser` and `statement` read the
//! Python in them, `tree` pairs the tags, `check` refuses, `resolve` finds names, `params` extracts, `eval`
//! walks, `functions` and `methods` are what can be called.

mod ast;
mod check;
mod error;
mod eval;
mod format;
mod functions;
mod lint;
mod merge;
mod methods;
mod ops;
mod origins;
mod params;
mod parser;
mod print;
mod resolve;
mod scan;
mod secrets;
mod statement;
#[cfg(test)]
mod tests;
mod text;
mod token;
mod tree;
mod value;

pub use lint::Trap;
pub use merge::{Parameter, merge};
pub use origins::Origins;
pub use secrets::render_secrets;

use crate::diagnostic::Span;
use indexmap::IndexMap;
use std::sync::Arc;

/// Request parameters by name, in the order they came.
pub type Params = IndexMap<String, serde_json::Value>;

/// A template that was parsed and checked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Template {
    program: Arc<Program>,
    facts: Arc<params::Facts>,
}

/// What a render needs: the tree, its names, and what was found out at parse time.
#[derive(Debug)]
struct Program {
    nodes: ast::Body,
    names: resolve::Names,
    /// Parameters that are first declared as an array, with the type of their items.
    arrays: Vec<(Arc<str>, Arc<str>)>,
    /// Parameters without a default, for the message that one is missing.
    required: Vec<Arc<str>>,
    lambdas: Vec<Arc<ast::Lambda>>,
    /// Why the template can be read but not run.
    defect: Option<TemplateError>,
    text_size: usize,
}

/// What a render may know and how far it may go.
#[derive(Debug, Clone)]
pub struct RenderOptions {
    /// Missing parameters become placeholders: what checks and deploys do.
    pub test_mode: bool,
    /// The names of secrets that exist.
    pub secrets: Vec<String>,
    /// In test mode, secrets without a value pass.
    pub secrets_in_test_mode: bool,
    pub budgets: Budgets,
}

/// How far a render may go. Exceeding one is an error of category `budget` that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Expressions evaluated, and work on data in proportion to its size.
    pub steps: usize,
    /// Bytes of the rendered text.
    pub output: usize,
    /// Bytes of one string.
    pub string: usize,
    /// Bits of one whole number.
    pub integer_bits: usize,
    /// Items of one list, rounds of one loop.
    pub items: usize,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rendered {
    pub sql: String,
    /// `max_threads`, `cache_ttl`, `backend_hint`, `activate`, `disable`.
    pub settings: IndexMap<String, serde_json::Value>,
    /// Secrets that stand in `sql` as `{name: String}`, sorted.
    pub secrets: Vec<String>,
    /// The way back into the template; kept in test mode only.
    pub origins: Origins,
}

/// A parameter as a pipe declares it, for documentation and clients.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParamDecl {
    pub name: String,
    /// Set when a literal stands where a name should: such a declaration is refused at push.
    pub literal_name: Option<serde_json::Value>,
    pub type_name: String,
    pub default: Option<serde_json::Value>,
    pub required: Option<bool>,
    pub description: Option<String>,
    pub enumeration: Option<Vec<serde_json::Value>>,
    pub example: Option<serde_json::Value>,
    pub format: Option<String>,
    /// `function_call` when the parameter is only looked at, by `defined()` and its kin.
    pub used_in: Option<String>,
    /// A bare `{{ x }}`, which says nothing but the name.
    pub bare: bool,
    /// All keywords as given, but for `default`.
    pub keywords: IndexMap<String, serde_json::Value>,
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

impl Default for RenderOptions {
    fn default() -> RenderOptions {
        RenderOptions { test_mode: false, secrets: vec![], secrets_in_test_mode: true, budgets: Budgets::default() }
    }
}

impl Default for Budgets {
    fn default() -> Budgets {
        Budgets { steps: 2_000_000, output: 16 << 20, string: 4 << 20, integer_bits: 16_384, items: 500_000 }
    }
}

impl TemplateError {
    fn with_hint(mut self, hint: impl Into<String>) -> TemplateError {
        self.hint = Some(hint.into());
        self
    }
}

/// The text of the template in a node's SQL, and where it begins; nothing when the node is plain SQL.
pub fn template_of(sql: &str) -> Option<(&str, usize)> {
    let span = scan::trim(sql, Span::new(0, sql.len()));
    let inside = sql[span.start..span.end].strip_prefix('%')?;
    Some((inside, span.start + 1))
}

/// A time as `cache_ttl` takes it, in seconds.
pub fn seconds_of_ttl(ttl: &str) -> Option<u64> {
    functions::seconds_of_ttl(ttl)
}

impl Template {
    /// Parses and checks a template. What can be read but not run, like a reserved name, is an error too.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let template = Template::read(text)?;
        match &template.program.defect {
            Some(defect) => Err(defect.clone()),
            None => Ok(template),
        }
    }

    /// Parses a template of which only the documentation is wanted: it may use what no render accepts.
    pub fn read(text: &str) -> Result<Template, TemplateError> {
        let tree = tree::build(text)?;
        let mut nodes = tree.nodes;
        let facts = params::extract(text, &nodes);
        let names = resolve::resolve(&mut nodes);
        let mut lambdas = Vec::new();
        resolve::lambdas(&nodes, &mut lambdas);
        let defect = tree.defect.or_else(|| facts.reserved.clone()).or_else(|| facts.unusable.clone());
        let arrays = facts.first.iter().filter_map(|(name, type_name)| {
            let item = type_name.strip_prefix("Array(")?.strip_suffix(')')?;
            Some((name.as_str().into(), item.into()))
        });
        let arrays = arrays.collect();
        let is_required = |(decl, bare): &(&ParamDecl, &bool)| {
            !**bare && decl.default.is_none() && decl.used_in.is_none() && decl.type_name != "Boolean"
        };
        let mut required: Vec<Arc<str>> = Vec::new();
        for (decl, _) in facts.params.iter().zip(&facts.bare).filter(is_required) {
            if decl.keywords.is_empty() || decl.required != Some(false) {
                let name: Arc<str> = decl.name.as_str().into();
                if !required.contains(&name) && !names.locals.contains(&name) {
                    required.push(name);
                }
            }
        }
        let program = Program { nodes, names, arrays, required, lambdas, defect, text_size: text.len() };
        Ok(Template { program: Arc::new(program), facts: Arc::new(facts) })
    }

    /// The declared parameters, in order found, with repeats.
    pub fn params(&self) -> Vec<ParamDecl> {
        self.facts.params.clone()
    }

    /// The names that the template itself assigns: never a request's parameters.
    pub fn assigned(&self) -> impl Iterator<Item = &str> {
        self.program.names.locals.iter().map(|it| &**it)
    }

    /// The names that a request's parameters can give a value: all that it does not assign itself.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        self.program.names.free.iter().map(|it| &*it.name)
    }

    /// The tables that `table('…')` names with a constant, all branches, repeats kept.
    pub fn tables(&self) -> &[String] {
        &self.facts.tables
    }

    /// Names the template uses that mean something to the server, once per use.
    pub fn variable_warnings(&self) -> impl Iterator<Item = (&str, Span)> {
        self.facts.doubtful.iter().map(|(name, span)| (&**name, *span))
    }

    /// A declaration whose first argument is a literal, as in `String('')`: refused when a pipe is written.
    pub fn unusable_name(&self) -> Option<TemplateError> {
        if let Some(unusable) = &self.facts.unusable {
            return Some(unusable.clone());
        }
        let literal = self.facts.params.iter().find(|it| it.literal_name.is_some())?;
        let message = format!("`{}` cannot be the name of a parameter", literal.name);
        Some(error::problem("reserved_name", Span::default(), message))
    }

    /// Whether a list stands where the name of a parameter should: then nothing can be documented.
    pub fn has_listed_name(&self) -> bool {
        self.facts.unusable.is_some()
    }

    pub fn render(&self, params: &Params, options: &RenderOptions) -> Result<Rendered, TemplateError> {
        eval::render(&self.program, params, options).map_err(|fault| {
            let mut error = fault.error;
            // A missing parameter that is called like a function of many languages deserves its own words.
            let is_generic = match error.category {
                "runtime" => !matches!(fault.class, error::Class::AttributeError | error::Class::IndexError),
                category => matches!(category, "not_callable" | "missing_argument"),
            };
            let names = &self.program.names;
            let mut used = names.free.iter().filter(|it| it.outside).map(|it| &it.name).chain(&names.locals);
            let is_given = || params.get("length").is_some_and(|it| !matches!(it, serde_json::Value::Null));
            if is_generic && !options.test_mode && !is_given() && used.any(|it| &**it == "length") {
                error.category = "length_name";
                error.hint = Some("there is no function `length`: use `len()`".to_owned());
            }
            error
        })
    }
}
