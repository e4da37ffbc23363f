//! What may stand where: an allow-list in `{{ }}`, a deny-list in `{% %}`.
//!
//! In: an expression. Out: nothing, or an error of category `forbidden` that names what was refused. Checks
//! look at every branch, executed or not.

use super::{
    TemplateError,
    ast::{Binary, Collect, Const, Expr, Kind, Piece, Unary, children},
    error::problem,
    functions,
};
use crate::diagnostic::nearest;

const METHODS: &[&str] = &["split", "get", "join", "replace"];

const DENIED_CALLS: &[&str] = &[
    "eval",
    "exec",
    "compile",
    "getattr",
    "setattr",
    "delattr",
    "globals",
    "locals",
    "vars",
    "dir",
    "breakpoint",
    "help",
    "memoryview",
    "type",
    "object",
    "super",
    "classmethod",
    "staticmethod",
    "property",
    "exit",
    "quit",
    "__import__",
];

type Checked = Result<(), TemplateError>;

fn refuse(expr: &Expr, what: impl std::fmt::Display) -> TemplateError {
    problem("forbidden", expr.span, format!("{what} cannot stand in a template"))
}

fn refuse_printed(expr: &Expr, what: impl std::fmt::Display) -> TemplateError {
    problem("forbidden", expr.span, format!("{what} cannot stand in {{{{ }}}}"))
        .with_hint("compute it in a `{% set name = … %}` first, or use a template function")
}

/// The allow-list.
pub(super) fn allowed(expr: &Expr) -> Checked {
    match &expr.kind {
        Kind::Const(Const::Bytes(_)) => Err(refuse_printed(expr, "a bytes literal")),
        Kind::Const(Const::Imaginary) => Err(refuse_printed(expr, "an imaginary number")),
        Kind::Const(Const::Ellipsis) => Err(refuse_printed(expr, "`...`")),
        Kind::Const(_) => Ok(()),
        Kind::Name(name) => harmless_name(expr, &name.text),
        Kind::Tuple(items) | Kind::List(items) | Kind::Set(items) => items.iter().try_for_each(allowed),
        Kind::Dict(pairs) => pairs.iter().try_for_each(|(key, value)| match key {
            Some(key) => allowed(key).and_then(|()| allowed(value)),
            None => Err(refuse_printed(expr, "`**`")),
        }),
        Kind::FString(pieces) => allowed_pieces(pieces),
        Kind::Unary(Unary::Minus | Unary::Not, it) => allowed(it),
        Kind::Unary(..) => Err(refuse_printed(expr, "this operator")),
        Kind::Binary(Binary::Add | Binary::Sub | Binary::Mul, left, right) => {
            allowed(left).and_then(|()| allowed(right))
        }
        Kind::Binary(..) => Err(refuse_printed(expr, "an operator other than `+`, `-` and `*`")),
        Kind::Bool(..) => Err(refuse_printed(expr, "`and` or `or`")),
        Kind::Compare(..) => Err(refuse_printed(expr, "a comparison")),
        Kind::Ternary(it) => allowed(&it.test).and_then(|()| allowed(&it.body)).and_then(|()| allowed(&it.otherwise)),
        Kind::Subscript(value, index) => {
            allowed(value)?;
            match &index.kind {
                Kind::Const(_) | Kind::Subscript(..) => allowed(index),
                Kind::Slice(from, to, step) => [from, to, step].into_iter().flatten().try_for_each(|it| allowed(it)),
                _ => Err(refuse_printed(index, "an index that is not a constant")),
            }
        }
        Kind::Call(call) => {
            call.args.iter().try_for_each(allowed)?;
            call.keywords.iter().try_for_each(|it| harmless(&it.value))?;
            match &call.function.kind {
                Kind::Name(name) => {
                    harmless_name(&call.function, &name.text)?;
                    if functions::is_printable(&name.text) {
                        return Ok(());
                    }
                    let error = problem(
                        "forbidden",
                        call.function.span,
                        format!("there is no template function `{}`", name.text),
                    );
                    Err(match nearest(&name.text, functions::printable_names()) {
                        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                        None => error,
                    })
                }
                Kind::Attribute(value, method) => {
                    if !METHODS.contains(&&**method) {
                        return Err(refuse_printed(&call.function, format!("the method `{method}`")));
                    }
                    allowed(value)
                }
                Kind::Call(_) => allowed(&call.function),
                _ => Err(refuse_printed(&call.function, "a call of this form")),
            }
        }
        Kind::Attribute(..) => Err(refuse_printed(expr, "an attribute")),
        Kind::Lambda(_) => Err(refuse_printed(expr, "`lambda`")),
        Kind::Comprehension(_) => Err(refuse_printed(expr, "a comprehension")),
        Kind::Starred(_) => Err(refuse_printed(expr, "a star")),
        Kind::Walrus(..) => Err(refuse_printed(expr, "`:=`")),
        Kind::Suspend(_) => Err(refuse_printed(expr, "`yield` or `await`")),
        Kind::Slice(..) => Err(refuse_printed(expr, "a slice")),
    }
}

fn allowed_pieces(pieces: &[Piece]) -> Checked {
    pieces.iter().try_for_each(|piece| match piece {
        Piece::Text(_) => Ok(()),
        Piece::Field { value, spec, .. } => allowed(value).and_then(|()| allowed_pieces(spec)),
    })
}

/// The deny-list.
pub(super) fn harmless(expr: &Expr) -> Checked {
    match &expr.kind {
        Kind::Name(name) => harmless_name(expr, &name.text)?,
        Kind::Attribute(_, name) => {
            let frames = ["gi_", "cr_", "ag_", "tb_", "f_", "co_"];
            let denied = name.starts_with('_')
                || matches!(&**name, "format" | "format_map" | "mro")
                || frames.iter().any(|it| name.starts_with(it));
            if denied {
                return Err(refuse(expr, format!("the attribute `{name}`")));
            }
        }
        Kind::Call(call) => {
            if let Some(name) = call.function.as_name()
                && DENIED_CALLS.contains(&&**name)
            {
                return Err(refuse(expr, format!("a call of `{name}`")));
            }
        }
        Kind::Suspend(_) => return Err(refuse(expr, "`yield` or `await`")),
        Kind::Lambda(lambda) => {
            for (name, _) in &lambda.params {
                harmless_name(expr, name)?;
            }
        }
        Kind::Comprehension(it) if it.collect == Collect::Generator => {}
        _ => {}
    }
    let mut result = Ok(());
    children(&expr.kind, &mut |child| {
        if result.is_ok() {
            result = harmless(child);
        }
    });
    result
}

fn harmless_name(expr: &Expr, name: &str) -> Checked {
    let is_dunder = name.len() > 4 && name.starts_with("__") && name.ends_with("__");
    if is_dunder { Err(refuse(expr, format!("the name `{name}`"))) } else { Ok(()) }
}

/// Names a request may not use, as they mean something to the server.
pub(super) const RESERVED: &[&str] = &["format", "q"];

/// Names that a request may use although they mean something to the server.
pub(super) const DOUBTFUL: &[&str] = &[
    "token",
    "tag",
    "pipeline",
    "debug",
    "explain",
    "playground",
    "query_id",
    "template_parameters",
    "release_replacements",
    "finalize_aggregations",
    "debug_source_tables",
    "__tb__semver",
    "__tb__csv_header",
    "output_format_json_quote_64bit_integers",
    "output_format_json_quote_denormals",
    "output_format_parquet_string_as_string",
    "job_timestamp",
];
