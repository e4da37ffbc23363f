//! What a template says about itself without running: the parameters it declares, the tables it names, the
//! reserved names it uses.
//!
//! In: a tree. Out: [`ParamDecl`]s in the order found, with repeats. No branch is executed, so dead ones count.

use super::{
    ParamDecl, TemplateError,
    ast::{Body, Call, Const, Expr, Keyword, Kind, Node, Piece, SetKind, Unary},
    check,
    error::problem,
    functions,
    parser::Parser,
    statement,
    token::tokenize,
};
use crate::diagnostic::Span;
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::collections::{HashSet, VecDeque};

#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) params: Vec<ParamDecl>,
    /// Which of them are bare uses in `{{ }}`, which say nothing about a type.
    pub(super) bare: Vec<bool>,
    /// The type of each name's first declaration, bare uses in `{{ }}` not counted.
    pub(super) first: IndexMap<String, String>,
    /// The names that `defined()` is asked of.
    pub(super) tested: HashSet<String>,
    pub(super) tables: Vec<String>,
    pub(super) doubtful: Vec<(String, Span)>,
    /// A use of a name that requests may not have.
    pub(super) reserved: Option<TemplateError>,
    /// A declaration that cannot be put in words, as of a list.
    pub(super) unusable: Option<TemplateError>,
}

pub(super) fn extract(template: &str, nodes: &Body) -> Facts {
    let mut walk = Walk {
        template,
        facts: Facts::default(),
        in_expressions: HashSet::new(),
        in_statement: false,
        unreadable: false,
    };
    walk.body(nodes);
    walk.facts
}

struct Walk<'a> {
    template: &'a str,
    facts: Facts,
    in_expressions: HashSet<String>,
    in_statement: bool,
    /// A list of anything but constants and names makes the whole expression unreadable, in the original too.
    unreadable: bool,
}

#[derive(Debug)]
struct Found {
    decl: ParamDecl,
    bare: bool,
}

impl Walk<'_> {
    fn body(&mut self, nodes: &Body) {
        for node in nodes {
            self.node(node);
        }
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Text(..) | Node::Break | Node::Continue => {}
            Node::Print(exprs, _) => {
                exprs.iter().for_each(|it| self.names(it));
                self.expression(exprs);
            }
            Node::Set(set) => {
                let mut roots: Vec<&Expr> = match &set.kind {
                    SetKind::Expression => vec![],
                    SetKind::Assign(targets) => targets.iter().collect(),
                    SetKind::Augmented(target, _) => vec![target],
                };
                roots.push(&set.value);
                roots.iter().for_each(|it| self.names(it));
                if !set.has_braces {
                    self.statement(&roots);
                }
            }
            Node::If(arms, otherwise) => {
                // The first body, then the later arms as Python nests them, then the first condition.
                arms.iter().for_each(|(test, _)| self.names(test));
                if let Some((test, body)) = arms.first() {
                    self.body(body);
                    for (test, body) in &arms[1..] {
                        self.condition(&[test], test.span);
                        self.body(body);
                    }
                    otherwise.iter().for_each(|it| self.body(it));
                    self.condition(&[test], test.span);
                }
            }
            Node::For(it) => {
                self.names(&it.target);
                self.names(&it.iter);
                self.body(&it.body);
                it.otherwise.iter().for_each(|it| self.body(it));
                self.condition(&[&it.target, &it.iter], it.iter.span);
            }
            Node::While(test, body, otherwise) => {
                self.names(test);
                self.body(body);
                otherwise.iter().for_each(|it| self.body(it));
                self.condition(&[test], test.span);
            }
            Node::Try(it) => {
                self.body(&it.body);
                for handler in &it.handlers {
                    if let Some(class) = &handler.class {
                        self.names(class);
                        self.condition(&[class], class.span);
                    }
                    self.body(&handler.body);
                }
                it.otherwise.iter().for_each(|it| self.body(it));
                it.finally.iter().for_each(|it| self.body(it));
            }
        }
    }

    /// Reserved names and tables, wherever they stand.
    fn names(&mut self, expr: &Expr) {
        if let Some(name) = expr.as_name() {
            if check::RESERVED.contains(&&**name) && self.facts.reserved.is_none() {
                let message = format!("`{name}` means something to the server and cannot be a parameter");
                self.facts.reserved = Some(problem("reserved_name", expr.span, message));
            }
            if check::DOUBTFUL.contains(&&**name) {
                self.facts.doubtful.push((name.to_string(), expr.span));
            }
        }
        if let Kind::Call(call) = &expr.kind
            && call.function.as_name().is_some_and(|it| &**it == "defined")
            && let Some(name) = call.args.first().and_then(Expr::as_name)
        {
            self.facts.tested.insert(name.to_string());
        }
        let mut inner = Vec::new();
        super::ast::children(&expr.kind, &mut |it| inner.push(it));
        inner.into_iter().for_each(|it| self.names(it));
    }

    fn expression(&mut self, roots: &[Expr]) {
        let roots: Vec<&Expr> = roots.iter().collect();
        let found = self.scan(&roots);
        self.tables(&roots);
        for (name, found) in found {
            if !found.bare {
                self.facts.first.entry(name.clone()).or_insert_with(|| found.decl.type_name.clone());
            }
            self.in_expressions.insert(name);
            self.push(found);
        }
    }

    /// A tag's expressions; `{{ }}` inside a tag is scanned as an expression.
    fn condition(&mut self, roots: &[&Expr], span: Span) {
        let text = &self.template[span.start..span.end];
        let inner = text.find("{{").zip(text.rfind("}}")).filter(|(open, close)| open + 2 <= *close);
        if let Some((open, close)) = inner {
            let span = super::scan::trim(self.template, Span::new(span.start + open + 2, span.start + close));
            if let Ok(printed) = statement::print(self.template, span) {
                self.expression(&printed.exprs);
            } else if let Ok(tokens) = tokenize(self.template, span)
                && let Ok(expr) = Parser::new(self.template, tokens.list).list()
            {
                self.expression(&[expr]);
            }
        }
        self.statement(roots);
    }

    fn statement(&mut self, roots: &[&Expr]) {
        self.in_statement = true;
        let all = self.scan(roots);
        self.in_statement = false;
        for (name, found) in all {
            self.facts.first.entry(name.clone()).or_insert_with(|| found.decl.type_name.clone());
            if !self.in_expressions.contains(&name) {
                let mut decl = found.decl;
                // A name in a condition says no more than a bare one, though it counts for messages.
                decl.bare = found.bare;
                self.facts.bare.push(false);
                self.facts.params.push(decl);
            }
        }
    }

    fn push(&mut self, found: Found) {
        self.facts.bare.push(found.bare);
        self.facts.params.push(ParamDecl { bare: found.bare, ..found.decl });
    }

    /// The parameters of one expression, breadth first; a later find replaces an earlier one in its place.
    fn scan(&mut self, roots: &[&Expr]) -> IndexMap<String, Found> {
        let mut found: IndexMap<String, Found> = IndexMap::new();
        let mut queue: VecDeque<Item<'_>> = roots.iter().map(|it| Item::Expr(it, false)).collect();
        self.unreadable = false;
        while let Some(item) = queue.pop_front() {
            match item {
                Item::Keyword(keyword) => queue.push_back(Item::Expr(&keyword.value, false)),
                Item::Loop(each) => {
                    queue.push_back(Item::Expr(&each.target, false));
                    queue.push_back(Item::Expr(&each.iter, false));
                    queue.extend(each.conditions.iter().map(|it| Item::Expr(it, false)));
                }
                Item::Piece(Piece::Text(_)) => {}
                Item::Piece(Piece::Field { value, spec, .. }) => {
                    queue.push_back(Item::Expr(value, false));
                    queue.extend(spec.iter().map(Item::Piece));
                }
                Item::Expr(expr, in_call) => {
                    self.visit(expr, in_call, &mut found);
                    enqueue(expr, &mut queue);
                }
            }
        }
        if self.unreadable { IndexMap::new() } else { found }
    }

    fn visit(&mut self, expr: &Expr, in_call: bool, found: &mut IndexMap<String, Found>) {
        match &expr.kind {
            Kind::Name(name) if !in_call && functions::may_be_parameter(&name.text) => {
                let decl =
                    ParamDecl { name: name.text.to_string(), type_name: "String".to_owned(), ..Default::default() };
                found.insert(name.text.to_string(), Found { decl, bare: true });
            }
            Kind::Call(call) => {
                let Some(function) = call.function.as_name() else { return };
                let args = arguments(call);
                let first = match args.first() {
                    Some(Some(first)) => first,
                    Some(None) if &**function == "Array" && !self.in_statement => &Value::Null,
                    _ => return,
                };
                let is_nameless = first.is_null() && &**function == "Array" && !self.in_statement;
                if first.is_array() && (functions::declares_type(function) || functions::looks_at(function)) {
                    self.unreadable = true;
                    if !self.in_statement {
                        let message = "a list cannot be the name of a parameter";
                        self.facts.unusable = Some(problem("reserved_name", expr.span, message));
                    }
                    return;
                }
                if (first.is_null() && !is_nameless) || (self.in_statement && (!first.is_string() || first == "")) {
                    // A cast of a literal.
                    return;
                }
                if functions::declares_type(function) {
                    let values = call.args.iter().chain(call.keywords.iter().map(|it| &it.value));
                    if values.filter_map(list_items).any(|it| !is_uniform(it)) {
                        return;
                    }
                    let decl = declaration(function, first, &args, &call.keywords);
                    found.insert(key(first), Found { decl, bare: false });
                } else if functions::looks_at(function) && is_some(first) {
                    found.entry(key(first)).or_insert_with(|| Found {
                        decl: ParamDecl {
                            used_in: Some("function_call".to_owned()),
                            type_name: "String".to_owned(),
                            ..named(first)
                        },
                        bare: false,
                    });
                }
            }
            _ => {}
        }
    }

    fn tables(&mut self, roots: &[&Expr]) {
        let mut queue: VecDeque<&Expr> = roots.iter().copied().collect();
        while let Some(expr) = queue.pop_front() {
            if let Kind::Call(call) = &expr.kind
                && call.function.as_name().is_some_and(|it| matches!(&**it, "table" | "TABLE"))
                && let Some(name) = call.args.first().and_then(constant_text)
            {
                self.facts.tables.push(name);
            }
            super::ast::children(&expr.kind, &mut |it| queue.push_back(it));
        }
    }
}

enum Item<'a> {
    /// Whether it stands directly in a call.
    Expr(&'a Expr, bool),
    Keyword(&'a Keyword),
    Loop(&'a super::ast::CompFor),
    Piece(&'a Piece),
}

fn enqueue<'a>(expr: &'a Expr, queue: &mut VecDeque<Item<'a>>) {
    match &expr.kind {
        Kind::Call(call) => {
            queue.push_back(Item::Expr(&call.function, true));
            queue.extend(call.args.iter().map(|it| Item::Expr(it, true)));
            queue.extend(call.keywords.iter().map(Item::Keyword));
        }
        Kind::Comprehension(it) => {
            queue.push_back(Item::Expr(&it.item, false));
            queue.extend(it.value.iter().map(|it| Item::Expr(it, false)));
            queue.extend(it.loops.iter().map(Item::Loop));
        }
        Kind::FString(pieces) => queue.extend(pieces.iter().map(Item::Piece)),
        kind => super::ast::children(kind, &mut |it| queue.push_back(Item::Expr(it, false))),
    }
}

/// The arguments as constants: calls are left out, what is no constant is nothing.
fn arguments(call: &Call) -> Vec<Option<Value>> {
    call.args.iter().filter(|it| !matches!(it.kind, Kind::Call(_))).map(constant).collect()
}

fn constant(expr: &Expr) -> Option<Value> {
    match &expr.kind {
        Kind::Const(constant) => match constant {
            Const::None => Some(Value::Null),
            Const::Bool(it) => Some(json!(it)),
            Const::Int(it) => Some(json!(it)),
            Const::Big(it) => Some(json!(it.to_string())),
            Const::Float(it) => Some(json!(it)),
            Const::Str(it) => Some(json!(&**it)),
            Const::Bytes(_) | Const::Imaginary | Const::Ellipsis => None,
        },
        Kind::Name(name) => Some(json!(&*name.text)),
        Kind::Unary(operator, it) if matches!(it.kind, Kind::Const(_)) => {
            let value = constant(it)?;
            if *operator != Unary::Minus {
                return Some(value);
            }
            match (value.as_i64(), value.as_f64()) {
                (Some(it), _) => Some(json!(it.checked_neg()?)),
                (None, Some(it)) => Some(json!(-it)),
                (None, None) => None,
            }
        }
        Kind::Binary(_, left, right) => constant(left).filter(|it| !it.is_null()).or_else(|| constant(right)),
        // Of a list that begins with anything but a constant or a name, nothing is documented.
        Kind::List(items) if matches!(items.first().map(|it| &it.kind), Some(Kind::Const(_) | Kind::Name(_))) => {
            Some(Value::Array(items.iter().map(|it| constant(it).unwrap_or_default()).collect()))
        }
        Kind::List(_) => Some(json!([])),
        _ => None,
    }
}

/// Whether a list's items are all constants or all names, if its first is either: else the original reads
/// nothing of the whole declaration.
fn is_uniform(items: &[Expr]) -> bool {
    match items.first().map(|it| &it.kind) {
        Some(Kind::Const(_)) => items.iter().all(|it| matches!(it.kind, Kind::Const(_))),
        Some(Kind::Name(_)) => items.iter().all(|it| matches!(it.kind, Kind::Name(_))),
        _ => true,
    }
}

fn list_items(expr: &Expr) -> Option<&Vec<Expr>> {
    match &expr.kind {
        Kind::List(items) => Some(items),
        _ => None,
    }
}

fn constant_text(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Const(Const::Str(it)) => Some(it.to_string()),
        Kind::Const(Const::Int(it)) => Some(it.to_string()),
        Kind::Const(Const::Big(it)) => Some(it.to_string()),
        Kind::Const(Const::Float(it)) => Some(super::text::float(*it)),
        Kind::Const(Const::Bool(it)) => Some(if *it { "True" } else { "False" }.to_owned()),
        Kind::Binary(super::ast::Binary::Add, left, right) => Some(constant_text(left)? + &constant_text(right)?),
        _ => None,
    }
}

/// Python's truth of a constant.
fn is_some(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(it) => *it,
        Value::Number(it) => it.as_f64() != Some(0.0),
        Value::String(it) => !it.is_empty(),
        Value::Array(it) => !it.is_empty(),
        Value::Object(it) => !it.is_empty(),
    }
}

fn key(name: &Value) -> String {
    name.as_str().map_or_else(|| name.to_string(), str::to_owned)
}

/// A constant as Python shows it in a list.
fn as_python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(it) => if *it { "True" } else { "False" }.to_owned(),
        Value::String(it) => {
            let mut out = String::new();
            super::text::repr(it, false, &mut out);
            out
        }
        Value::Array(items) => format!("[{}]", items.iter().map(as_python).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn named(name: &Value) -> ParamDecl {
    let literal = (!name.is_string() || name == "").then(|| name.clone());
    ParamDecl { name: key(name), literal_name: literal, ..Default::default() }
}

const BIGGEST_SAFE: i64 = (1 << 53) - 1;

fn safe(value: Value) -> Value {
    match value.as_i64() {
        Some(it) if it > BIGGEST_SAFE => json!(it.to_string()),
        _ => value,
    }
}

fn declaration(function: &str, name: &Value, args: &[Option<Value>], keywords: &[Keyword]) -> ParamDecl {
    let mut decl = named(name);
    let is_array = function == "Array";
    decl.type_name = match args.get(1) {
        Some(Some(Value::Null)) if is_array => "Array(None)".to_owned(),
        Some(Some(Value::Bool(item))) if is_array => format!("Array({})", if *item { "True" } else { "False" }),
        Some(Some(item @ Value::Array(_))) if is_array => format!("Array({})", as_python(item)),
        Some(Some(item)) if is_array => match item.as_f64().filter(|_| item.is_f64()) {
            Some(it) => format!("Array({})", super::text::float(it)),
            None => format!("Array({})", key(item)),
        },
        Some(None) if is_array => "Array(None)".to_owned(),
        _ if is_array => "Array(String)".to_owned(),
        _ => function.to_owned(),
    };
    let mut default = args.get(if is_array { 2 } else { 1 }).cloned().flatten();
    default = default.filter(|it| !is_array || is_some(it));
    for keyword in keywords {
        let Some(keyword_name) = &keyword.name else { continue };
        let value = constant(&keyword.value).unwrap_or_default();
        match (&**keyword_name, &value) {
            ("default", _) => {
                default = Some(value);
                continue;
            }
            ("description", Value::String(it)) => decl.description = Some(it.clone()),
            ("required", Value::Bool(it)) => decl.required = Some(*it),
            ("enum", Value::Array(it)) => decl.enumeration = Some(it.clone()),
            ("example", _) => decl.example = Some(value.clone()),
            ("format", Value::String(it)) => decl.format = Some(it.clone()),
            _ => {}
        }
        decl.keywords.insert(keyword_name.to_string(), value);
    }
    decl.default = default.filter(|it| !it.is_null()).map(safe);
    decl
}
