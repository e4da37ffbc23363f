//! Python expressions: tokens to tree, with Python's precedence.
//!
//! In: the tokens of one piece of a template. Out: an [`Expr`]. What is allowed where is the checker's
//! business; statements are `statement`'s.

use super::{
    TemplateError,
    ast::{
        Binary, Call, Collect, CompFor, Compare, Comprehension, Const, Expr, Keyword, Kind, Lambda, Name, Piece, Place,
        Ternary, Unary,
    },
    error::problem,
    token::{Tok, Token, is_keyword, syntax, tokenize, unescape},
};
use crate::diagnostic::Span;
use num_traits::ToPrimitive;
use std::sync::Arc;

/// How deep an expression may nest.
pub(super) const MAX_DEPTH: usize = 80;

type Parsed = Result<Expr, TemplateError>;

pub(super) struct Parser<'a> {
    template: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(template: &'a str, tokens: Vec<Token>) -> Parser<'a> {
        Parser { template, tokens, at: 0, depth: 0 }
    }

    pub(super) fn span(&self) -> Span {
        self.tokens.get(self.at).map_or_else(Span::default, |it| it.span)
    }

    pub(super) fn tok(&self) -> &Tok {
        self.tokens.get(self.at).map_or(&Tok::End, |it| &it.tok)
    }

    pub(super) fn remaining(&self) -> &[Token] {
        &self.tokens[self.at.min(self.tokens.len())..]
    }

    pub(super) fn previous(&self) -> Option<&Tok> {
        self.at.checked_sub(1).and_then(|it| self.tokens.get(it)).map(|it| &it.tok)
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn rewind(&mut self, position: usize) {
        self.at = position;
        self.depth = 0;
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token.unwrap_or(Token { tok: Tok::End, span: Span::default() })
    }

    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(self.tok(), Tok::Op(it) if *it == op)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.tok(), Tok::Name(it) if &**it == word)
    }

    pub(super) fn take_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        self.at += usize::from(found);
        found
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn unexpected(&self) -> TemplateError {
        let words = match self.tok() {
            Tok::End => "the expression ends too early".to_owned(),
            Tok::Newline => "a line break is allowed only inside brackets".to_owned(),
            Tok::Name(name) if is_keyword(name) => {
                format!("the word `{name}` cannot stand here, nor be the name of a parameter")
            }
            Tok::Name(name) => format!("`{name}` is unexpected here"),
            Tok::Op(op) => format!("`{op}` is unexpected here"),
            _ => "this value is unexpected here".to_owned(),
        };
        syntax(self.span(), words)
    }

    fn expect(&mut self, op: &str) -> Result<(), TemplateError> {
        if self.take_op(op) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn expect_word(&mut self, word: &str) -> Result<(), TemplateError> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn make(&self, kind: Kind, start: Span) -> Parsed {
        let end = self.tokens.get(self.at.saturating_sub(1)).map_or(start.end, |it| it.span.end);
        let expr = Expr::new(kind, Span::new(start.start, end));
        if expr.depth > MAX_DEPTH {
            return Err(too_deep(expr.span));
        }
        Ok(expr)
    }

    /// A comma list, which makes a bare tuple, or one expression.
    pub(super) fn list(&mut self) -> Parsed {
        let start = self.span();
        let first = self.starred()?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_op(",") {
            if !self.starts_expression() {
                break;
            }
            items.push(self.starred()?);
        }
        self.make(Kind::Tuple(items), start)
    }

    fn starts_expression(&self) -> bool {
        match self.tok() {
            Tok::End | Tok::Newline => false,
            Tok::Op(op) => matches!(*op, "(" | "[" | "{" | "-" | "+" | "~" | "..." | "*"),
            Tok::Name(name) => {
                !is_keyword(name) || matches!(&**name, "None" | "True" | "False" | "not" | "lambda" | "await")
            }
            _ => true,
        }
    }

    fn starred(&mut self) -> Parsed {
        let start = self.span();
        if self.take_op("*") {
            let value = self.binary(4)?;
            return self.make(Kind::Starred(Box::new(value)), start);
        }
        self.expression()
    }

    /// An expression in which `name := value` may stand.
    fn named(&mut self) -> Parsed {
        let start = self.span();
        if self.is_op("*") {
            return self.starred();
        }
        let value = self.expression()?;
        if self.is_op(":=") && value.as_name().is_some() {
            self.at += 1;
            let right = self.expression()?;
            return self.make(Kind::Walrus(Box::new(value), Box::new(right)), start);
        }
        Ok(value)
    }

    pub(super) fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_deep(self.span()));
        }
        let result = self.ternary();
        self.depth = self.depth.saturating_sub(1);
        result
    }

    fn ternary(&mut self) -> Parsed {
        let start = self.span();
        if self.is_word("lambda") {
            return self.lambda();
        }
        let body = self.binary(1)?;
        if !self.take_word("if") {
            return Ok(body);
        }
        let test = self.binary(1)?;
        self.expect_word("else")?;
        let otherwise = self.expression()?;
        self.make(Kind::Ternary(Box::new(Ternary { test, body, otherwise })), start)
    }

    fn lambda(&mut self) -> Parsed {
        let start = self.span();
        self.at += 1;
        let mut params = Vec::new();
        while !self.is_op(":") {
            let name = self.identifier()?;
            let default = if self.take_op("=") { Some(self.expression()?) } else { None };
            params.push((name, default));
            if !self.take_op(",") {
                break;
            }
        }
        self.expect(":")?;
        let body = self.expression()?;
        self.make(Kind::Lambda(Arc::new(Lambda { params, body })), start)
    }

    pub(super) fn identifier(&mut self) -> Result<Arc<str>, TemplateError> {
        match self.tok() {
            Tok::Name(name) if !is_keyword(name) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Operators that bind at least as tightly as `least`: 1 `or`, 2 `and`, 3 `not`, 4 comparisons, 5 `|`,
    /// 6 `^`, 7 `&`, 8 shifts, 9 sums, 10 products, 11 signs.
    pub(super) fn binary(&mut self, least: u8) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_deep(self.span()));
        }
        let result = self.binary_inner(least);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    fn binary_inner(&mut self, least: u8) -> Parsed {
        let start = self.span();
        let mut left = self.prefixed(least)?;
        loop {
            let Some((level, operator)) = self.operator() else { return Ok(left) };
            if level < least {
                return Ok(left);
            }
            left = match operator {
                Infix::Bool(is_and) => {
                    let word = if is_and { "and" } else { "or" };
                    let mut items = vec![left];
                    while self.take_word(word) {
                        items.push(self.binary(level + 1)?);
                    }
                    self.make(Kind::Bool(is_and, items), start)?
                }
                Infix::Compare(_) => {
                    let mut rest = Vec::new();
                    while let Some((4, Infix::Compare(compare))) = self.operator() {
                        self.at += if matches!(compare, Compare::NotIn | Compare::IsNot) { 2 } else { 1 };
                        rest.push((compare, self.binary(5)?));
                    }
                    self.make(Kind::Compare(Box::new(left), rest), start)?
                }
                Infix::Binary(binary) => {
                    self.at += 1;
                    let right = self.binary(level + 1)?;
                    self.make(Kind::Binary(binary, Box::new(left), Box::new(right)), start)?
                }
            };
        }
    }

    fn prefixed(&mut self, least: u8) -> Parsed {
        let start = self.span();
        let unary = match self.tok() {
            Tok::Name(name) if &**name == "not" && least <= 3 => Unary::Not,
            Tok::Op("-") => Unary::Minus,
            Tok::Op("+") => Unary::Plus,
            Tok::Op("~") => Unary::Invert,
            _ => return self.power(),
        };
        self.at += 1;
        let operand = self.binary(if unary == Unary::Not { 3 } else { 11 })?;
        self.make(Kind::Unary(unary, Box::new(operand)), start)
    }

    fn power(&mut self) -> Parsed {
        let start = self.span();
        let base = if self.take_word("await") {
            let value = self.primary()?;
            self.make(Kind::Suspend(vec![value]), start)?
        } else {
            self.primary()?
        };
        if !self.take_op("**") {
            return Ok(base);
        }
        let exponent = self.binary(11)?;
        self.make(Kind::Binary(Binary::Pow, Box::new(base), Box::new(exponent)), start)
    }

    fn operator(&self) -> Option<(u8, Infix)> {
        Some(match self.tok() {
            Tok::Op(op) => match *op {
                "==" => (4, Infix::Compare(Compare::Eq)),
                "!=" => (4, Infix::Compare(Compare::Ne)),
                "<" => (4, Infix::Compare(Compare::Lt)),
                "<=" => (4, Infix::Compare(Compare::Le)),
                ">" => (4, Infix::Compare(Compare::Gt)),
                ">=" => (4, Infix::Compare(Compare::Ge)),
                "|" => (5, Infix::Binary(Binary::Or)),
                "^" => (6, Infix::Binary(Binary::Xor)),
                "&" => (7, Infix::Binary(Binary::And)),
                "<<" => (8, Infix::Binary(Binary::LShift)),
                ">>" => (8, Infix::Binary(Binary::RShift)),
                "+" => (9, Infix::Binary(Binary::Add)),
                "-" => (9, Infix::Binary(Binary::Sub)),
                "*" => (10, Infix::Binary(Binary::Mul)),
                "/" => (10, Infix::Binary(Binary::Div)),
                "//" => (10, Infix::Binary(Binary::FloorDiv)),
                "%" => (10, Infix::Binary(Binary::Mod)),
                "@" => (10, Infix::Binary(Binary::MatMul)),
                _ => return None,
            },
            Tok::Name(name) => {
                let next = self.tokens.get(self.at + 1).map(|it| &it.tok);
                let next_is = |word: &str| matches!(next, Some(Tok::Name(it)) if &**it == word);
                match &**name {
                    "or" => (1, Infix::Bool(false)),
                    "and" => (2, Infix::Bool(true)),
                    "in" => (4, Infix::Compare(Compare::In)),
                    "not" if next_is("in") => (4, Infix::Compare(Compare::NotIn)),
                    "is" if next_is("not") => (4, Infix::Compare(Compare::IsNot)),
                    "is" => (4, Infix::Compare(Compare::Is)),
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    fn primary(&mut self) -> Parsed {
        let start = self.span();
        let mut value = self.atom()?;
        loop {
            value = if self.take_op(".") {
                let name = match self.next().tok {
                    Tok::Name(name) if !is_keyword(&name) => name,
                    _ => {
                        self.at -= 1;
                        return Err(self.unexpected());
                    }
                };
                self.make(Kind::Attribute(Box::new(value), name), start)?
            } else if self.take_op("(") {
                let (args, keywords) = self.arguments()?;
                self.make(Kind::Call(Box::new(Call { function: value, args, keywords })), start)?
            } else if self.take_op("[") {
                let index = self.index()?;
                self.make(Kind::Subscript(Box::new(value), Box::new(index)), start)?
            } else {
                return Ok(value);
            };
        }
    }

    fn arguments(&mut self) -> Result<(Vec<Expr>, Vec<Keyword>), TemplateError> {
        let mut args = Vec::new();
        let mut keywords: Vec<Keyword> = Vec::new();
        while !self.take_op(")") {
            let start = self.span();
            if self.take_op("**") {
                keywords.push(Keyword { name: None, value: self.expression()? });
            } else if self.is_op("*") {
                args.push(self.starred()?);
            } else {
                let value = self.named()?;
                if self.is_op("=") && value.as_name().is_some() {
                    self.at += 1;
                    let name = value.as_name().cloned();
                    if keywords.iter().any(|it| it.name == name) {
                        return Err(syntax(start, "this argument is named twice"));
                    }
                    keywords.push(Keyword { name, value: self.expression()? });
                } else if self.is_word("for") {
                    args.push(self.comprehension(Collect::Generator, value, None, start)?);
                } else if keywords.is_empty() {
                    args.push(value);
                } else {
                    return Err(syntax(start, "a plain argument may not follow a named one"));
                }
            }
            if !self.take_op(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok((args, keywords))
    }

    fn index(&mut self) -> Parsed {
        let start = self.span();
        let first = self.slice()?;
        if self.take_op("]") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_op(",") {
            if self.is_op("]") {
                break;
            }
            items.push(self.slice()?);
        }
        let index = self.make(Kind::Tuple(items), start)?;
        self.expect("]")?;
        Ok(index)
    }

    fn slice(&mut self) -> Parsed {
        let start = self.span();
        let mut parts: [Option<Box<Expr>>; 3] = [None, None, None];
        let mut colons = 0;
        loop {
            if self.is_op(":") && colons < 2 {
                self.at += 1;
                colons += 1;
            } else if self.is_op("]") || self.is_op(",") {
                break;
            } else if parts[colons].is_none() {
                parts[colons] = Some(Box::new(self.named()?));
            } else {
                return Err(self.unexpected());
            }
        }
        let [from, to, step] = parts;
        match (colons, from) {
            (0, Some(index)) => Ok(*index),
            (0, None) => Err(self.unexpected()),
            (_, from) => self.make(Kind::Slice(from, to, step), start),
        }
    }

    fn atom(&mut self) -> Parsed {
        let start = self.span();
        let constant = match self.tok().clone() {
            Tok::Name(name) => match &*name {
                "None" => Const::None,
                "True" => Const::Bool(true),
                "False" => Const::Bool(false),
                "lambda" | "yield" => return Err(self.unexpected()),
                word if is_keyword(word) => return Err(self.unexpected()),
                _ => {
                    self.at += 1;
                    return self.make(Kind::Name(Name { text: name, place: Place::Scoped }), start);
                }
            },
            Tok::Int(number) => match number.to_i64() {
                Some(small) => Const::Int(small),
                None => Const::Big(Arc::new(number)),
            },
            Tok::Float(number) => Const::Float(number),
            Tok::Imaginary => Const::Imaginary,
            Tok::Op("...") => Const::Ellipsis,
            Tok::Op("(") => return self.parenthesis(),
            Tok::Op("[") => return self.square(),
            Tok::Op("{") => return self.braces(),
            Tok::Str(_) | Tok::FString { .. } | Tok::Bytes(_) => return self.strings(),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        self.make(Kind::Const(constant), start)
    }

    fn strings(&mut self) -> Parsed {
        let start = self.span();
        let mut pieces = Vec::new();
        let mut bytes: Option<Vec<u8>> = None;
        let mut is_format = false;
        let mut is_text = false;
        loop {
            match self.tok().clone() {
                Tok::Str(text) => {
                    is_text = true;
                    push_text(&mut pieces, text);
                }
                Tok::FString { inside, raw } => {
                    is_format = true;
                    is_text = true;
                    pieces.extend(self.format_string(inside, raw, 0)?);
                }
                Tok::Bytes(more) => bytes.get_or_insert_default().extend(more),
                _ => break,
            }
            self.at += 1;
        }
        match bytes {
            Some(_) if is_text => Err(syntax(start, "text and bytes cannot be joined")),
            Some(bytes) => self.make(Kind::Const(Const::Bytes(bytes.into())), start),
            None if is_format => self.make(Kind::FString(pieces), start),
            None => {
                let text = pieces.into_iter().map(|it| match it {
                    Piece::Text(text) => text,
                    Piece::Field { .. } => String::new(),
                });
                self.make(Kind::Const(Const::Str(text.collect::<String>().into())), start)
            }
        }
    }

    /// The pieces of an f-string, or of the format after a `:` in one.
    fn format_string(&mut self, inside: Span, raw: bool, level: usize) -> Result<Vec<Piece>, TemplateError> {
        let text = &self.template[inside.start..inside.end];
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            if level == 0 && (rest.starts_with("{{") || rest.starts_with("}}")) {
                plain.push(c);
                at += 2;
            } else if c == '}' {
                return Err(syntax(inside, "a single `}` in an f-string"));
            } else if c != '{' {
                plain.push(c);
                at += c.len_utf8();
            } else {
                push_text(&mut pieces, literal(std::mem::take(&mut plain), raw, inside)?);
                let (field, end) = self.field(Span::new(inside.start + at + 1, inside.end), raw, level)?;
                if let Some(echo) = field.1 {
                    push_text(&mut pieces, echo);
                }
                pieces.push(field.0);
                at = end - inside.start;
            }
        }
        push_text(&mut pieces, literal(plain, raw, inside)?);
        Ok(pieces)
    }

    /// One `{value!r:format}`, from behind its brace; gives the text of `{value=}` and where it ends.
    fn field(
        &mut self,
        span: Span,
        raw: bool,
        level: usize,
    ) -> Result<((Piece, Option<String>), usize), TemplateError> {
        if level > 1 {
            return Err(syntax(span, "this f-string nests too deep"));
        }
        let text = &self.template[span.start..span.end];
        let parts = split_field(text).ok_or_else(|| syntax(span, "this f-string is not closed"))?;
        let source = &text[..parts.value];
        let (value_text, echo) = match source.trim_end().strip_suffix('=') {
            Some(before) if !before.ends_with(['=', '!', '<', '>']) => (before, Some(source.to_owned())),
            _ => (source, None),
        };
        let inner = super::scan::trim(self.template, Span::new(span.start, span.start + value_text.len()));
        if inner.is_empty() {
            return Err(syntax(span, "an f-string has an empty `{}`"));
        }
        let tokens = tokenize(self.template, inner)?;
        let mut parser = Parser { template: self.template, tokens: tokens.list, at: 0, depth: self.depth + 1 };
        while parser.tokens.iter().any(|it| it.tok == Tok::Newline) {
            parser.tokens.retain(|it| it.tok != Tok::Newline);
        }
        let value = parser.list()?;
        if *parser.tok() != Tok::End {
            return Err(parser.unexpected());
        }
        let spec = match parts.spec {
            Some((from, to)) => self.format_string(Span::new(span.start + from, span.start + to), raw, level + 1)?,
            None => Vec::new(),
        };
        let debug = echo.is_some() && parts.conversion.is_none() && parts.spec.is_none();
        let conversion = parts.conversion.or(debug.then_some('r'));
        if conversion.is_some_and(|it| !matches!(it, 'r' | 's' | 'a')) {
            return Err(syntax(span, "an f-string converts with `!r`, `!s` or `!a`"));
        }
        Ok(((Piece::Field { value, conversion, spec }, echo), span.start + parts.end))
    }

    fn parenthesis(&mut self) -> Parsed {
        let start = self.span();
        self.at += 1;
        if self.take_op(")") {
            return self.make(Kind::Tuple(vec![]), start);
        }
        if self.take_word("yield") {
            self.take_word("from");
            let value = if self.is_op(")") { vec![] } else { vec![self.list()?] };
            self.expect(")")?;
            return self.make(Kind::Suspend(value), start);
        }
        let first = self.named()?;
        if self.is_word("for") {
            let generator = self.comprehension(Collect::Generator, first, None, start)?;
            self.expect(")")?;
            return Ok(generator);
        }
        if self.take_op(")") {
            if matches!(first.kind, Kind::Starred(_)) {
                return Err(syntax(start, "a star cannot stand here"));
            }
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_op(",") {
            if self.is_op(")") {
                break;
            }
            items.push(self.named()?);
        }
        self.expect(")")?;
        self.make(Kind::Tuple(items), start)
    }

    fn square(&mut self) -> Parsed {
        let start = self.span();
        self.at += 1;
        let mut items = Vec::new();
        while !self.is_op("]") {
            items.push(self.named()?);
            if items.len() == 1 && self.is_word("for") {
                let item = items.remove(0);
                let list = self.comprehension(Collect::List, item, None, start)?;
                self.expect("]")?;
                return Ok(list);
            }
            if !self.take_op(",") {
                break;
            }
        }
        self.expect("]")?;
        self.make(Kind::List(items), start)
    }

    fn braces(&mut self) -> Parsed {
        let start = self.span();
        self.at += 1;
        let mut items = Vec::new();
        let mut pairs = Vec::new();
        while !self.is_op("}") {
            if self.take_op("**") {
                pairs.push((None, self.binary(5)?));
            } else {
                let first = self.named()?;
                if items.is_empty() && self.take_op(":") {
                    let value = self.expression()?;
                    if pairs.is_empty() && self.is_word("for") {
                        let dict = self.comprehension(Collect::Dict, first, Some(value), start)?;
                        self.expect("}")?;
                        return Ok(dict);
                    }
                    pairs.push((Some(first), value));
                } else if pairs.is_empty() {
                    if items.is_empty() && self.is_word("for") {
                        let set = self.comprehension(Collect::Set, first, None, start)?;
                        self.expect("}")?;
                        return Ok(set);
                    }
                    items.push(first);
                } else {
                    return Err(self.unexpected());
                }
            }
            if !self.take_op(",") {
                break;
            }
        }
        self.expect("}")?;
        let kind = if items.is_empty() { Kind::Dict(pairs) } else { Kind::Set(items) };
        self.make(kind, start)
    }

    fn comprehension(&mut self, collect: Collect, item: Expr, value: Option<Expr>, start: Span) -> Parsed {
        let mut loops = Vec::new();
        while self.take_word("for") {
            let target = self.targets()?;
            self.expect_word("in")?;
            let iter = self.binary(1)?;
            let mut conditions = Vec::new();
            while self.take_word("if") {
                conditions.push(self.binary(1)?);
            }
            loops.push(CompFor { target, iter, conditions });
        }
        self.make(Kind::Comprehension(Box::new(Comprehension { collect, item, value, loops })), start)
    }

    /// What a `for` assigns to, up to its `in`.
    pub(super) fn targets(&mut self) -> Parsed {
        let start = self.span();
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let target = if self.is_op("*") { self.starred()? } else { self.binary(5)? };
            check_target(&target)?;
            items.push(target);
            if !self.take_op(",") {
                break;
            }
            is_tuple = true;
            if self.is_word("in") {
                break;
            }
        }
        match items.pop() {
            Some(only) if !is_tuple && !matches!(only.kind, Kind::Starred(_)) => Ok(only),
            Some(last) => {
                items.push(last);
                self.make(Kind::Tuple(items), start)
            }
            None => Err(self.unexpected()),
        }
    }
}

enum Infix {
    Bool(bool),
    Compare(Compare),
    Binary(Binary),
}

fn too_deep(span: Span) -> TemplateError {
    problem("budget", span, format!("this expression nests deeper than its budget of {MAX_DEPTH} levels"))
}

fn push_text(pieces: &mut Vec<Piece>, text: String) {
    if text.is_empty() {
        return;
    }
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(&text),
        _ => pieces.push(Piece::Text(text)),
    }
}

fn literal(text: String, raw: bool, span: Span) -> Result<String, TemplateError> {
    if raw { Ok(text) } else { unescape(&text).map_err(|message| syntax(span, message)) }
}

/// Offsets in the text after the opening brace of an f-string's field.
struct FieldParts {
    value: usize,
    conversion: Option<char>,
    spec: Option<(usize, usize)>,
    end: usize,
}

fn split_field(text: &str) -> Option<FieldParts> {
    let mut depth = 0usize;
    let mut quote = None;
    let mut value = None;
    let mut conversion = None;
    let mut spec = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if spec.is_some() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    return Some(FieldParts {
                        value: value?,
                        conversion,
                        spec: spec.map(|from| (from, at)),
                        end: at + 1,
                    });
                }
                '}' => depth -= 1,
                _ => {}
            }
            continue;
        }
        match (quote, c) {
            (Some(open), c) => quote = (open != c).then_some(open),
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, '}') if depth == 0 => {
                return Some(FieldParts { value: value.unwrap_or(at), conversion, spec: None, end: at + 1 });
            }
            (None, ')' | ']' | '}') => depth = depth.checked_sub(1)?,
            (None, '!') if depth == 0 && !text[at + 1..].starts_with('=') => {
                value = Some(at);
                conversion = Some(chars.next()?.1);
            }
            (None, ':') if depth == 0 => {
                value = value.or(Some(at));
                spec = Some(at + 1);
            }
            _ => {}
        }
    }
    None
}

/// Only names, items, attributes and lists of such can be assigned to.
pub(super) fn check_target(target: &Expr) -> Result<(), TemplateError> {
    match &target.kind {
        Kind::Name(_) | Kind::Subscript(..) | Kind::Attribute(..) => Ok(()),
        Kind::Starred(it) => check_target(it),
        Kind::Tuple(items) | Kind::List(items) => items.iter().try_for_each(check_target),
        _ => Err(syntax(target.span, "this cannot be assigned to")),
    }
}
