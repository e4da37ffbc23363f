//! What stands inside one pair of braces: the expression of `{{ }}`, the words after a tag.
//!
//! In: a piece of the template. Out: checked expressions, targets and assignments. Python statements that have
//! no place in a template are told from mere nonsense, because they are refused in other words.

use super::{
    TemplateError,
    ast::{Binary, Const, Expr, Kind, Set, SetKind},
    check,
    error::problem,
    parser::{Parser, check_target},
    token::{Tok, Token, syntax, tokenize},
};
use crate::diagnostic::Span;

/// The inside of `{{ }}`. What can be read but not run keeps its tree, for the extractor.
pub(super) struct Printed {
    pub(super) exprs: Vec<Expr>,
    pub(super) defect: Option<TemplateError>,
}

pub(super) fn print(template: &str, span: Span) -> Result<Printed, TemplateError> {
    let tokens = tokenize(template, span)?;
    let has_comment = tokens.has_comment;
    let mut parser = Parser::new(template, tokens.list);
    let mut exprs = Vec::new();
    let mut defect = None;
    loop {
        let begin = parser.position();
        let failed = match parser.list() {
            Ok(expr) if matches!(parser.tok(), Tok::End) || parser.is_op(";") => {
                check::allowed(&expr)?;
                exprs.push(expr);
                None
            }
            Ok(_) => Some(parser.unexpected()),
            Err(error) => Some(error),
        };
        if let Some(mut error) = failed {
            // The original refuses this one word with the forbidden tags.
            if parser.is_word("from") && matches!(parser.previous(), None | Some(Tok::Op("("))) {
                error.category = "parse";
            }
            parser.rewind(begin);
            return Err(match foreign_statement(&mut parser) {
                Some(what) => problem("forbidden", span, format!("{what} cannot stand in {{{{ }}}}")),
                None => error,
            });
        }
        if !parser.is_op(";") {
            break;
        }
        defect = Some(syntax(parser.span(), "only one expression can stand in {{ }}"));
        parser.next();
        if matches!(parser.tok(), Tok::End) {
            break;
        }
    }
    let text = &template[span.start..span.end];
    if has_comment {
        defect = Some(syntax(span, "a comment cannot stand in {{ }}; use {# #}"));
    } else if let [Expr { kind: Kind::Tuple(_), span: tuple, .. }] = &exprs[..]
        && !template[tuple.start..tuple.end].starts_with('(')
        && bare_tuple(&exprs[0])
    {
        let trailing = text.trim_end().ends_with(',');
        let message = "several values cannot stand in one {{ }}; put brackets around them";
        defect = Some(problem(if trailing { "python_syntax" } else { "runtime" }, span, message));
    }
    Ok(Printed { exprs, defect })
}

/// Whether the tuple has no brackets of its own: its first item begins where it does.
fn bare_tuple(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Tuple(items) => items.first().is_some_and(|it| it.span.start == expr.span.start),
        _ => false,
    }
}

/// A Python statement, named, when the tokens are one that an expression is not.
fn foreign_statement(parser: &mut Parser<'_>) -> Option<&'static str> {
    if let Tok::Name(word) = parser.tok().clone() {
        let rest: Vec<Token> = parser.remaining().to_vec();
        let alone = rest.len() == 2;
        let has_colon = rest.iter().any(|it| it.tok == Tok::Op(":"));
        let has_more = rest.len() > 2;
        let what = match &*word {
            "pass" | "break" | "continue" => alone.then_some("a statement"),
            "import" | "from" => {
                (has_more && rest.iter().all(|it| !matches!(it.tok, Tok::Str(_)))).then_some("an import")
            }
            "global" | "nonlocal" | "del" | "assert" => (has_more && parses_after(parser)).then_some("a statement"),
            "return" | "raise" | "yield" => (!has_more || parses_after(parser)).then_some("a statement"),
            "if" | "for" | "while" | "with" | "def" | "class" | "async" => {
                (has_more && has_colon).then_some("a block statement")
            }
            "try" => has_colon.then_some("a block statement"),
            _ => None,
        };
        if what.is_some() {
            return what;
        }
    }
    let begin = parser.position();
    let target = parser.list().ok()?;
    let is_assignment = match parser.next().tok {
        Tok::Op("=") => check_target(&target).is_ok() && parser.list().is_ok(),
        Tok::Op(":") => check_target(&target).is_ok() && parser.expression().is_ok(),
        Tok::Op(op) => augmented(op).is_some() && check_target(&target).is_ok() && parser.list().is_ok(),
        _ => false,
    };
    parser.rewind(begin);
    is_assignment.then_some("an assignment")
}

fn parses_after(parser: &mut Parser<'_>) -> bool {
    let begin = parser.position();
    parser.next();
    let fine = parser.list().is_ok();
    parser.rewind(begin);
    fine
}

/// The condition of `if`, `elif` and `while`, the class of `except`.
pub(super) fn condition(template: &str, span: Span) -> Result<Expr, TemplateError> {
    let mut parser = Parser::new(template, tag_tokens(template, span)?);
    let expr = parser.list_or_walrus().map_err(|error| smuggled(&parser, error))?;
    finish(&parser)?;
    if matches!(expr.kind, Kind::Starred(_)) || bare_tuple(&expr) {
        return Err(syntax(expr.span, "several values are no condition; put brackets around them"));
    }
    check::harmless(&expr)?;
    Ok(expr)
}

/// `target in values`
pub(super) fn for_head(template: &str, span: Span) -> Result<(Expr, Expr), TemplateError> {
    let mut parser = Parser::new(template, tag_tokens(template, span)?);
    let target = parser.targets()?;
    if !parser.take_word("in") {
        return Err(parser.unexpected());
    }
    let iter = parser.list().map_err(|error| smuggled(&parser, error))?;
    finish(&parser)?;
    check::harmless(&target)?;
    check::harmless(&iter)?;
    Ok((target, iter))
}

/// `Class as name`
pub(super) fn except_head(
    template: &str,
    span: Span,
) -> Result<(Option<Expr>, Option<std::sync::Arc<str>>), TemplateError> {
    if span.is_empty() {
        return Ok((None, None));
    }
    let mut parser = Parser::new(template, tag_tokens(template, span)?);
    let class = parser.expression()?;
    let name = if parser.take_word("as") { Some(parser.identifier()?) } else { None };
    finish(&parser)?;
    check::harmless(&class)?;
    Ok((Some(class), name))
}

pub(super) fn set(template: &str, span: Span) -> Result<Set, TemplateError> {
    let tokens = tokenize(template, span)?;
    let mut parser = Parser::new(template, tokens.list);
    let result = set_statement(&mut parser);
    let set = match result {
        Ok(set) if matches!(parser.tok(), Tok::End) => set,
        Ok(_) if matches!(parser.tok(), Tok::Newline) || parser.is_op(";") => {
            return Err(problem("forbidden", span, "only one assignment can stand in {% set %}"));
        }
        other => {
            let error = other.err().unwrap_or_else(|| parser.unexpected());
            parser.rewind(0);
            return Err(match foreign_statement(&mut parser) {
                Some(what) => problem("forbidden", span, format!("{what} cannot stand in {{% set %}}")),
                None => error,
            });
        }
    };
    check::harmless(&set.value)?;
    match &set.kind {
        SetKind::Expression => {}
        SetKind::Assign(targets) => targets.iter().try_for_each(check::harmless)?,
        SetKind::Augmented(target, _) => check::harmless(target)?,
    }
    Ok(Set { has_braces: template[span.start..span.end].contains("{{"), ..set })
}

fn set_statement(parser: &mut Parser<'_>) -> Result<Set, TemplateError> {
    let mut value = parser.list_or_yield()?;
    let mut kind = SetKind::Expression;
    if let Tok::Op(op) = parser.tok()
        && let Some(binary) = augmented(op)
    {
        if !matches!(value.kind, Kind::Name(_) | Kind::Subscript(..) | Kind::Attribute(..)) {
            return Err(syntax(value.span, "this cannot be assigned to"));
        }
        parser.next();
        kind = SetKind::Augmented(value, binary);
        value = parser.list_or_yield()?;
    } else {
        let mut targets = Vec::new();
        while parser.take_op("=") {
            if let Kind::Const(Const::None | Const::Bool(_) | Const::Ellipsis) = value.kind {
                return Err(syntax(value.span, "this word cannot be assigned to"));
            }
            check_target(&value)?;
            targets.push(value);
            value = parser.list_or_yield()?;
        }
        if !targets.is_empty() {
            kind = SetKind::Assign(targets);
        }
    }
    Ok(Set { kind, value, has_braces: false })
}

fn augmented(op: &str) -> Option<Binary> {
    Some(match op {
        "+=" => Binary::Add,
        "-=" => Binary::Sub,
        "*=" => Binary::Mul,
        "/=" => Binary::Div,
        "//=" => Binary::FloorDiv,
        "%=" => Binary::Mod,
        "**=" => Binary::Pow,
        "<<=" => Binary::LShift,
        ">>=" => Binary::RShift,
        "&=" => Binary::And,
        "|=" => Binary::Or,
        "^=" => Binary::Xor,
        "@=" => Binary::MatMul,
        _ => return None,
    })
}

fn tag_tokens(template: &str, span: Span) -> Result<Vec<Token>, TemplateError> {
    let tokens = tokenize(template, span)?;
    let list = &tokens.list;
    let colon = list.iter().position(|it| it.tok == Tok::Op(":"));
    let smuggles = colon.is_some_and(|at| list[at..].iter().any(|it| it.tok == Tok::Newline));
    if smuggles {
        return Err(problem("forbidden", span, "only one condition can stand in a tag"));
    }
    if tokens.has_comment {
        return Err(syntax(span, "a comment cannot stand in a tag; use {# #}"));
    }
    Ok(tokens.list)
}

fn smuggled(parser: &Parser<'_>, error: TemplateError) -> TemplateError {
    let is_yield =
        parser.remaining().first().is_some_and(|it| matches!(&it.tok, Tok::Name(name) if &**name == "yield"));
    if is_yield { problem("forbidden", error.span, "`yield` cannot stand in a template") } else { error }
}

fn finish(parser: &Parser<'_>) -> Result<(), TemplateError> {
    if matches!(parser.tok(), Tok::End) { Ok(()) } else { Err(parser.unexpected()) }
}

impl Parser<'_> {
    fn list_or_yield(&mut self) -> Result<Expr, TemplateError> {
        if self.is_word("yield") {
            let span = self.span();
            return Err(problem("forbidden", span, "`yield` cannot stand in a template"));
        }
        self.list()
    }

    fn list_or_walrus(&mut self) -> Result<Expr, TemplateError> {
        let start = self.span();
        let value = self.list()?;
        if value.as_name().is_some() && self.take_op(":=") {
            let right = self.expression()?;
            let span = Span::new(start.start, right.span.end);
            return Ok(Expr::new(Kind::Walrus(Box::new(value), Box::new(right)), span));
        }
        Ok(value)
    }
}
