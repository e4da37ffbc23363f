//! Names to places: what the template assigns anywhere is local everywhere, the rest comes from outside.
//!
//! In: a tree. Out: the same tree with every [`Place`] set, and the tables of local and free names.

use super::{
    ast::{Body, Expr, Kind, Name, Node, Piece, Place, SetKind},
    functions::{self, Entry},
};
use indexmap::IndexSet;
use std::{collections::HashSet, sync::Arc};

#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) locals: Vec<Arc<str>>,
    pub(super) free: Vec<Free>,
}

/// A name that the template does not assign.
#[derive(Debug, Clone)]
pub(super) struct Free {
    pub(super) name: Arc<str>,
    /// What it means when the request gives no such parameter, and always when it is called.
    pub(super) entry: Option<&'static Entry>,
    /// It stands in the open, not only within comprehensions and lambdas: there the original does not look, and
    /// a name that the request does not give is unknown to it.
    pub(super) outside: bool,
}

pub(super) fn resolve(nodes: &mut Body) -> Names {
    let mut resolver = Resolver::default();
    resolver.collect(nodes);
    resolver.body(nodes);
    let outside = resolver.outside;
    let free = resolver.free.into_iter().map(|name| Free {
        entry: functions::find(&name),
        outside: outside.contains(&name),
        name,
    });
    Names { locals: resolver.locals.into_iter().collect(), free: free.collect() }
}

#[derive(Default)]
struct Resolver {
    locals: IndexSet<Arc<str>>,
    free: IndexSet<Arc<str>>,
    outside: HashSet<Arc<str>>,
    /// How many comprehensions and lambdas are around.
    inner: usize,
    /// The variables of the comprehensions and lambdas around.
    scopes: Vec<Arc<str>>,
}

impl Resolver {
    fn collect(&mut self, nodes: &Body) {
        for node in nodes {
            match node {
                Node::Text(..) | Node::Break | Node::Continue => {}
                Node::Print(exprs, _) => exprs.iter().for_each(|it| self.walruses(it)),
                Node::Set(set) => {
                    match &set.kind {
                        SetKind::Expression => {}
                        SetKind::Assign(targets) => targets.iter().for_each(|it| self.target(it)),
                        SetKind::Augmented(target, _) => self.target(target),
                    }
                    self.walruses(&set.value);
                }
                Node::If(arms, otherwise) => {
                    for (test, body) in arms {
                        self.walruses(test);
                        self.collect(body);
                    }
                    otherwise.iter().for_each(|it| self.collect(it));
                }
                Node::For(it) => {
                    self.target(&it.target);
                    self.walruses(&it.iter);
                    self.collect(&it.body);
                    it.otherwise.iter().for_each(|it| self.collect(it));
                }
                Node::While(test, body, otherwise) => {
                    self.walruses(test);
                    self.collect(body);
                    otherwise.iter().for_each(|it| self.collect(it));
                }
                Node::Try(it) => {
                    self.collect(&it.body);
                    for handler in &it.handlers {
                        self.locals.extend(handler.name.iter().map(|it| it.text.clone()));
                        self.collect(&handler.body);
                    }
                    it.otherwise.iter().for_each(|it| self.collect(it));
                    it.finally.iter().for_each(|it| self.collect(it));
                }
            }
        }
    }

    fn target(&mut self, target: &Expr) {
        match &target.kind {
            Kind::Name(name) => _ = self.locals.insert(name.text.clone()),
            Kind::Starred(it) => self.target(it),
            Kind::Tuple(items) | Kind::List(items) => items.iter().for_each(|it| self.target(it)),
            _ => {}
        }
    }

    fn walruses(&mut self, expr: &Expr) {
        if let Kind::Walrus(name, _) = &expr.kind {
            self.target(name);
        }
        let mut found = Vec::new();
        super::ast::children(&expr.kind, &mut |child| found.push(child));
        found.into_iter().for_each(|it| self.walruses(it));
    }

    fn body(&mut self, nodes: &mut Body) {
        for node in nodes {
            match node {
                Node::Text(..) | Node::Break | Node::Continue => {}
                Node::Print(exprs, _) => exprs.iter_mut().for_each(|it| self.expr(it)),
                Node::Set(set) => {
                    match &mut set.kind {
                        SetKind::Expression => {}
                        SetKind::Assign(targets) => targets.iter_mut().for_each(|it| self.expr(it)),
                        SetKind::Augmented(target, _) => self.expr(target),
                    }
                    self.expr(&mut set.value);
                }
                Node::If(arms, otherwise) => {
                    for (test, body) in arms {
                        self.expr(test);
                        self.body(body);
                    }
                    otherwise.iter_mut().for_each(|it| self.body(it));
                }
                Node::For(it) => {
                    self.expr(&mut it.target);
                    self.expr(&mut it.iter);
                    self.body(&mut it.body);
                    it.otherwise.iter_mut().for_each(|it| self.body(it));
                }
                Node::While(test, body, otherwise) => {
                    self.expr(test);
                    self.body(body);
                    otherwise.iter_mut().for_each(|it| self.body(it));
                }
                Node::Try(it) => {
                    self.body(&mut it.body);
                    for handler in &mut it.handlers {
                        handler.class.iter_mut().for_each(|it| self.expr(it));
                        handler.name.iter_mut().for_each(|it| self.name(it));
                        self.body(&mut handler.body);
                    }
                    it.otherwise.iter_mut().for_each(|it| self.body(it));
                    it.finally.iter_mut().for_each(|it| self.body(it));
                }
            }
        }
    }

    fn name(&mut self, name: &mut Name) {
        name.place = if self.scopes.contains(&name.text) {
            Place::Scoped
        } else if let Some(slot) = self.locals.get_index_of(&name.text) {
            Place::Local(slot)
        } else {
            if self.inner == 0 {
                self.outside.insert(name.text.clone());
            }
            Place::Free(self.free.insert_full(name.text.clone()).0)
        };
    }

    fn expr(&mut self, expr: &mut Expr) {
        match &mut expr.kind {
            Kind::Const(_) => {}
            Kind::Name(name) => self.name(name),
            Kind::Tuple(items) | Kind::List(items) | Kind::Set(items) | Kind::Bool(_, items) | Kind::Suspend(items) => {
                items.iter_mut().for_each(|it| self.expr(it));
            }
            Kind::Dict(pairs) => {
                for (key, value) in pairs {
                    key.iter_mut().for_each(|it| self.expr(it));
                    self.expr(value);
                }
            }
            Kind::FString(pieces) => self.pieces(pieces),
            Kind::Unary(_, it) | Kind::Attribute(it, _) | Kind::Starred(it) => self.expr(it),
            Kind::Binary(_, left, right) | Kind::Subscript(left, right) => {
                self.expr(left);
                self.expr(right);
            }
            Kind::Walrus(target, value) => {
                self.expr(value);
                // Python assigns to the template's own variable, even in a comprehension.
                let scopes = std::mem::take(&mut self.scopes);
                self.expr(target);
                self.scopes = scopes;
            }
            Kind::Compare(first, rest) => {
                self.expr(first);
                rest.iter_mut().for_each(|(_, it)| self.expr(it));
            }
            Kind::Ternary(it) => {
                self.expr(&mut it.test);
                self.expr(&mut it.body);
                self.expr(&mut it.otherwise);
            }
            Kind::Call(call) => {
                self.expr(&mut call.function);
                call.args.iter_mut().for_each(|it| self.expr(it));
                call.keywords.iter_mut().for_each(|it| self.expr(&mut it.value));
            }
            Kind::Slice(from, to, step) => [from, to, step].into_iter().flatten().for_each(|it| self.expr(it)),
            Kind::Lambda(lambda) => {
                // Nobody else holds the tree yet.
                let Some(lambda) = Arc::get_mut(lambda) else { return };
                lambda.params.iter_mut().filter_map(|(_, it)| it.as_mut()).for_each(|it| self.expr(it));
                let outer = self.scopes.len();
                self.scopes.extend(lambda.params.iter().map(|(name, _)| name.clone()));
                self.inner += 1;
                self.expr(&mut lambda.body);
                self.inner -= 1;
                self.scopes.truncate(outer);
            }
            Kind::Comprehension(it) => {
                let outer = self.scopes.len();
                for (index, each) in it.loops.iter_mut().enumerate() {
                    // Python evaluates the first one outside.
                    self.inner += usize::from(index > 0);
                    self.expr(&mut each.iter);
                    self.inner += usize::from(index == 0);
                    self.scope(&each.target);
                    self.expr(&mut each.target);
                    each.conditions.iter_mut().for_each(|it| self.expr(it));
                    self.inner -= usize::from(index > 0);
                }
                self.expr(&mut it.item);
                it.value.iter_mut().for_each(|it| self.expr(it));
                self.inner -= 1;
                self.scopes.truncate(outer);
            }
        }
    }

    fn pieces(&mut self, pieces: &mut [Piece]) {
        for piece in pieces {
            if let Piece::Field { value, spec, .. } = piece {
                self.expr(value);
                self.pieces(spec);
            }
        }
    }

    fn scope(&mut self, target: &Expr) {
        match &target.kind {
            Kind::Name(name) => self.scopes.push(name.text.clone()),
            Kind::Starred(it) => self.scope(it),
            Kind::Tuple(items) | Kind::List(items) => items.iter().for_each(|it| self.scope(it)),
            _ => {}
        }
    }
}

/// Every lambda of the tree: the walker borrows their bodies from here.
pub(super) fn lambdas(nodes: &Body, found: &mut Vec<Arc<super::ast::Lambda>>) {
    for node in nodes {
        match node {
            Node::Text(..) | Node::Break | Node::Continue => {}
            Node::Print(exprs, _) => exprs.iter().for_each(|it| lambdas_in(it, found)),
            Node::Set(set) => {
                match &set.kind {
                    SetKind::Expression => {}
                    SetKind::Assign(targets) => targets.iter().for_each(|it| lambdas_in(it, found)),
                    SetKind::Augmented(target, _) => lambdas_in(target, found),
                }
                lambdas_in(&set.value, found);
            }
            Node::If(arms, otherwise) => {
                for (test, body) in arms {
                    lambdas_in(test, found);
                    lambdas(body, found);
                }
                otherwise.iter().for_each(|it| lambdas(it, found));
            }
            Node::For(it) => {
                lambdas_in(&it.target, found);
                lambdas_in(&it.iter, found);
                lambdas(&it.body, found);
                it.otherwise.iter().for_each(|it| lambdas(it, found));
            }
            Node::While(test, body, otherwise) => {
                lambdas_in(test, found);
                lambdas(body, found);
                otherwise.iter().for_each(|it| lambdas(it, found));
            }
            Node::Try(it) => {
                lambdas(&it.body, found);
                for handler in &it.handlers {
                    handler.class.iter().for_each(|it| lambdas_in(it, found));
                    lambdas(&handler.body, found);
                }
                it.otherwise.iter().for_each(|it| lambdas(it, found));
                it.finally.iter().for_each(|it| lambdas(it, found));
            }
        }
    }
}

fn lambdas_in(expr: &Expr, found: &mut Vec<Arc<super::ast::Lambda>>) {
    if let Kind::Lambda(lambda) = &expr.kind {
        found.push(lambda.clone());
    }
    let mut inner = Vec::new();
    super::ast::children(&expr.kind, &mut |it| inner.push(it));
    inner.into_iter().for_each(|it| lambdas_in(it, found));
}
