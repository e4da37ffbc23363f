//! The tree of a template: nodes of text, expressions and blocks, and the Python expressions in them.
//!
//! In: what the parser found. Out: types that the checker, the resolver, the extractor and the walker read.

use crate::diagnostic::Span;
use num_bigint::BigInt;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub(super) kind: Kind,
    pub(super) span: Span,
    /// How deep the tree below is: what parser and walker bound.
    pub(super) depth: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Const(Const),
    Name(Name),
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Set(Vec<Expr>),
    /// A key that is missing is `**value`.
    Dict(Vec<(Option<Expr>, Expr)>),
    FString(Vec<Piece>),
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// `and` when true, else `or`.
    Bool(bool, Vec<Expr>),
    Compare(Box<Expr>, Vec<(Compare, Expr)>),
    Ternary(Box<Ternary>),
    Call(Box<Call>),
    Attribute(Box<Expr>, Arc<str>),
    Subscript(Box<Expr>, Box<Expr>),
    Slice(Option<Box<Expr>>, Option<Box<Expr>>, Option<Box<Expr>>),
    Lambda(Arc<Lambda>),
    Comprehension(Box<Comprehension>),
    Starred(Box<Expr>),
    Walrus(Box<Expr>, Box<Expr>),
    /// `yield` and `await`: parsed only to be refused.
    Suspend(Vec<Expr>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Const {
    None,
    Bool(bool),
    Int(i64),
    Big(Arc<BigInt>),
    Float(f64),
    Imaginary,
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    Ellipsis,
}

#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) text: Arc<str>,
    pub(super) place: Place,
}

/// Where a name's value is found; set by the resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Assigned somewhere in the template.
    Local(usize),
    /// A request parameter or something built in.
    Free(usize),
    /// The variable of a comprehension or a lambda.
    Scoped,
}

#[derive(Debug, Clone)]
pub(super) struct Ternary {
    pub(super) test: Expr,
    pub(super) body: Expr,
    pub(super) otherwise: Expr,
}

#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) function: Expr,
    pub(super) args: Vec<Expr>,
    pub(super) keywords: Vec<Keyword>,
}

/// Without a name it is `**value`.
#[derive(Debug, Clone)]
pub(super) struct Keyword {
    pub(super) name: Option<Arc<str>>,
    pub(super) value: Expr,
}

#[derive(Debug, Clone)]
pub(super) struct Lambda {
    pub(super) params: Vec<(Arc<str>, Option<Expr>)>,
    pub(super) body: Expr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collect {
    List,
    Set,
    Dict,
    Generator,
}

#[derive(Debug, Clone)]
pub(super) struct Comprehension {
    pub(super) collect: Collect,
    pub(super) item: Expr,
    /// The value of a dict comprehension.
    pub(super) value: Option<Expr>,
    pub(super) loops: Vec<CompFor>,
}

#[derive(Debug, Clone)]
pub(super) struct CompFor {
    pub(super) target: Expr,
    pub(super) iter: Expr,
    pub(super) conditions: Vec<Expr>,
}

/// A piece of an f-string.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Text(String),
    Field { value: Expr, conversion: Option<char>, spec: Vec<Piece> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unary {
    Not,
    Minus,
    Plus,
    Invert,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
    LShift,
    RShift,
    And,
    Or,
    Xor,
    MatMul,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
    Is,
    IsNot,
}

/// A node of the template, in source order.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// As it is printed, and where it stands.
    Text(Arc<str>, Span),
    /// `{{ }}`, with its source for the message about None.
    Print(Vec<Expr>, Arc<str>),
    Set(Box<Set>),
    If(Vec<(Expr, Body)>, Option<Body>),
    For(Box<For>),
    While(Expr, Body, Option<Body>),
    Try(Box<Try>),
    Break,
    Continue,
}

pub(super) type Body = Vec<Node>;

#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) kind: SetKind,
    pub(super) value: Expr,
    /// `{{` stands in the tag: a set of sets to Python, and nothing to the extractor.
    pub(super) has_braces: bool,
}

#[derive(Debug, Clone)]
pub(super) enum SetKind {
    Expression,
    /// `a = b = value` has two targets.
    Assign(Vec<Expr>),
    Augmented(Expr, Binary),
}

#[derive(Debug, Clone)]
pub(super) struct For {
    pub(super) target: Expr,
    pub(super) iter: Expr,
    pub(super) body: Body,
    pub(super) otherwise: Option<Body>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Try {
    pub(super) body: Body,
    pub(super) handlers: Vec<Handler>,
    pub(super) otherwise: Option<Body>,
    pub(super) finally: Option<Body>,
}

#[derive(Debug, Clone)]
pub(super) struct Handler {
    pub(super) class: Option<Expr>,
    pub(super) name: Option<Name>,
    pub(super) body: Body,
}

impl Expr {
    pub(super) fn new(kind: Kind, span: Span) -> Expr {
        let mut depth = 0;
        children(&kind, &mut |child| depth = depth.max(child.depth));
        Expr { kind, span, depth: depth + 1 }
    }

    pub(super) fn as_name(&self) -> Option<&Arc<str>> {
        match &self.kind {
            Kind::Name(name) => Some(&name.text),
            _ => None,
        }
    }
}

/// Calls `each` with every direct child expression, in the order of Python's own syntax tree.
pub(super) fn children<'a>(kind: &'a Kind, each: &mut dyn FnMut(&'a Expr)) {
    match kind {
        Kind::Const(_) | Kind::Name(_) => {}
        Kind::Tuple(items) | Kind::List(items) | Kind::Set(items) | Kind::Bool(_, items) | Kind::Suspend(items) => {
            items.iter().for_each(each);
        }
        Kind::Dict(pairs) => {
            pairs.iter().filter_map(|(key, _)| key.as_ref()).for_each(&mut *each);
            pairs.iter().map(|(_, value)| value).for_each(each);
        }
        Kind::FString(pieces) => piece_children(pieces, each),
        Kind::Unary(_, it) | Kind::Attribute(it, _) | Kind::Starred(it) => each(it),
        Kind::Binary(_, left, right) | Kind::Subscript(left, right) | Kind::Walrus(left, right) => {
            each(left);
            each(right);
        }
        Kind::Compare(first, rest) => {
            each(first);
            rest.iter().for_each(|(_, it)| each(it));
        }
        Kind::Ternary(it) => {
            each(&it.test);
            each(&it.body);
            each(&it.otherwise);
        }
        Kind::Call(call) => {
            each(&call.function);
            call.args.iter().for_each(&mut *each);
            call.keywords.iter().for_each(|it| each(&it.value));
        }
        Kind::Slice(from, to, step) => [from, to, step].into_iter().flatten().for_each(|it| each(it)),
        Kind::Lambda(lambda) => {
            lambda.params.iter().filter_map(|(_, default)| default.as_ref()).for_each(&mut *each);
            each(&lambda.body);
        }
        Kind::Comprehension(it) => {
            each(&it.item);
            it.value.iter().for_each(&mut *each);
            for each_loop in &it.loops {
                each(&each_loop.target);
                each(&each_loop.iter);
                each_loop.conditions.iter().for_each(&mut *each);
            }
        }
    }
}

fn piece_children<'a>(pieces: &'a [Piece], each: &mut dyn FnMut(&'a Expr)) {
    for piece in pieces {
        if let Piece::Field { value, spec, .. } = piece {
            each(value);
            piece_children(spec, each);
        }
    }
}
