//! `{{ tb_secret("NAME", "default") }}` in `.datasource` and `.connection` files.
//!
//! Forward renders these files before it reads them. Besides `tb_secret` only literals and whole-number sums are
//! understood; anything else stays as it is.

use super::{Context, MissingSecret, values::replace};
use crate::diagnostic::{Diagnostic, Mapped, Span};
use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take_while},
    character::complete::{char, i64 as integer, multispace0, one_of},
    combinator::{all_consuming, map},
    multi::many0,
    sequence::{delimited, preceded},
};

enum Expression {
    Literal(String),
    Secret { name: String, default: Option<String> },
}

/// Renders a line; with each diagnostic comes its place in the file.
pub(super) fn render(line: &Mapped, context: &Context) -> (Mapped, Vec<(Span, Diagnostic)>) {
    let text = line.text();
    let mut out = Mapped::default();
    let mut diagnostics = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("{{").map(|it| it + at) {
        let Some(close) = text[open..].find("}}").map(|it| it + open) else { break };
        out.push_from(line, Span::new(at, open));
        let span = Span::new(open, close + 2);
        let value = match all_consuming(expression).parse(&text[open + 2..close]) {
            Ok((_, Expression::Literal(value))) => value,
            Ok((_, Expression::Secret { name, default })) => match context.secrets.get(&name).cloned().or(default) {
                Some(value) => value,
                None => {
                    if context.missing_secret == MissingSecret::Error || context.dialect == super::Dialect::Forward {
                        let message = format!("the secret `{name}` has no value, and no default stands here");
                        diagnostics.push((line.span(span), Diagnostic::error("secret_missing_no_default", message)));
                    }
                    name
                }
            },
            Err(_) => {
                let message = "only tb_secret(\"NAME\", \"default\") can stand in double braces here";
                diagnostics.push((line.span(span), Diagnostic::error("template_not_understood", message)));
                text[open..close + 2].to_owned()
            }
        };
        // Two quotes are read as an empty value where nothing at all would be read as none.
        replace(&mut out, if value.is_empty() { "\"\"" } else { &value }, line.offset(open));
        at = close + 2;
    }
    out.push_from(line, Span::new(at, text.len()));
    (out, diagnostics)
}

fn expression(input: &str) -> IResult<&str, Expression> {
    let secret = map(
        (
            alt((tag("tb_secret"), tag("tb_var"))),
            multispace0,
            char('('),
            spaced(quoted),
            many0(preceded(char(','), spaced(alt((quoted, map(integer, |it| it.to_string())))))),
            char(')'),
        ),
        |(_, _, _, name, more, _)| Expression::Secret { name, default: more.into_iter().next() },
    );
    let sum = map((integer, many0((spaced(one_of("+-*")), integer))), |(first, rest)| {
        let total = rest.into_iter().fold(first, |total, (sign, number)| match sign {
            '+' => total.wrapping_add(number),
            '-' => total.wrapping_sub(number),
            _ => total.wrapping_mul(number),
        });
        Expression::Literal(total.to_string())
    });
    spaced(alt((secret, sum, map(quoted, Expression::Literal)))).parse(input)
}

fn spaced<'a, O>(
    inner: impl Parser<&'a str, Output = O, Error = nom::error::Error<&'a str>>,
) -> impl Parser<&'a str, Output = O, Error = nom::error::Error<&'a str>> {
    delimited(multispace0, inner, multispace0)
}

fn quoted(input: &str) -> IResult<&str, String> {
    let within = |quote: char| delimited(char(quote), take_while(move |c| c != quote), char(quote));
    map(alt((within('"'), within('\''))), str::to_owned).parse(input)
}
