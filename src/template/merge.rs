//! One list of parameters out of the declarations of many templates: what documentation and clients see.
//!
//! In: templates in the order in which they are met, each with where it stands. Out: [`Parameter`]s, each name
//! once. The rules:
//!
//! - The order is that of the first mention, template by template.
//! - A name that a template assigns, or that only its loops, comprehensions and lambdas know, is no parameter of it.
//!   A literal in a name's place is none either.
//! - A typed declaration beats a mention: one by `defined()` and its kin, or a bare `{{ x }}`. The first typed one
//!   gives the type; without any the type is String.
//! - The first default, description, enum, example and format that is given counts, of typed declarations before
//!   mentions.
//! - A parameter is required if its first `required=` says so. Without any it is when a typed declaration without
//!   a default exists, no default exists anywhere, no template asks `defined()` of it, and its type is not Boolean or
//!   JSON, which have a value without one.

use super::{ParamDecl, Template};
use indexmap::IndexMap;
use serde_json::Value;

/// A parameter of an endpoint, all its declarations put together. `W` says where each template stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter<W> {
    pub name: String,
    pub type_name: String,
    pub default: Option<Value>,
    pub required: bool,
    pub description: Option<String>,
    pub enumeration: Option<Vec<Value>>,
    pub example: Option<Value>,
    pub format: Option<String>,
    /// The templates that mention it, each once.
    pub used_in: Vec<W>,
}

/// Puts the declarations of templates together.
pub fn merge<'a, W: PartialEq + Clone>(templates: impl IntoIterator<Item = (W, &'a Template)>) -> Vec<Parameter<W>> {
    let mut found: IndexMap<String, Found<W>> = IndexMap::new();
    for (place, template) in templates {
        for decl in template.facts.params.iter().filter(|it| it.literal_name.is_none()) {
            if !template.program.names.free.iter().any(|it| *it.name == *decl.name && it.outside) {
                continue;
            }
            let found = found.entry(decl.name.clone()).or_default();
            if !found.used_in.contains(&place) {
                found.used_in.push(place.clone());
            }
            found.tested |= template.facts.tested.contains(&decl.name);
            found.decls.push(decl.clone());
        }
    }
    found.into_iter().map(|(name, found)| found.parameter(name)).collect()
}

struct Found<W> {
    decls: Vec<ParamDecl>,
    used_in: Vec<W>,
    /// Some template asks whether it is given.
    tested: bool,
}

impl<W> Default for Found<W> {
    fn default() -> Found<W> {
        Found { decls: Vec::new(), used_in: Vec::new(), tested: false }
    }
}

impl<W> Found<W> {
    fn parameter(mut self, name: String) -> Parameter<W> {
        // A stable sort: within each kind the order of the text stays.
        self.decls.sort_by_key(|it| !is_typed(it));
        let first = |of: &dyn Fn(&ParamDecl) -> Option<Value>| self.decls.iter().find_map(of);
        let default = first(&|it| it.default.clone());
        let typed = self.decls.iter().find(|it| is_typed(it));
        let type_name = typed.map_or_else(|| "String".to_owned(), |it| it.type_name.clone());
        let needs_value = typed.is_some() && !matches!(&*type_name, "Boolean" | "JSON");
        let required = self.decls.iter().find_map(|it| it.required);
        let is_text = |it: &String| !it.is_empty();
        Parameter {
            required: required.unwrap_or(needs_value && default.is_none() && !self.tested),
            description: self.decls.iter().find_map(|it| it.description.clone().filter(is_text)),
            enumeration: self.decls.iter().find_map(|it| it.enumeration.clone()),
            example: first(&|it| it.example.clone().filter(|it| !it.is_null())),
            format: self.decls.iter().find_map(|it| it.format.clone().filter(is_text)),
            name,
            type_name,
            default,
            used_in: self.used_in,
        }
    }
}

/// Whether a declaration says a type: a mention has none but String, and nothing else to say.
fn is_typed(decl: &ParamDecl) -> bool {
    decl.used_in.is_none() && !decl.bare
}
