//! Values on their way into the text: what is not known to be SQL becomes a literal.
//!
//! In: an expression. Out: its value, quoted or trusted, appended to the rendered text within the budget.

use super::{
    ast::Expr,
    error::{Class, Fault, Result},
    eval::Interp,
    text,
    value::Value,
};

impl<'a> Interp<'a> {
    pub(super) fn emit(&mut self, text: &str) -> Result<()> {
        if self.out.len() + text.len() > self.options.budgets.output {
            return Err(Fault::budget("bytes of output", self.options.budgets.output));
        }
        self.out.push_str(text);
        Ok(())
    }

    /// The wrapper around every `{{ }}`: what is not known to be SQL becomes a literal.
    pub(super) fn print(&mut self, expr: &'a Expr, source: &str) -> Result<()> {
        let value = self.eval(expr)?;
        if self.raw.is_some() {
            let printed = self.heap.print(&value)?;
            return self.emit(&printed);
        }
        match &value {
            Value::None => {
                let short: String = source.chars().take(20).collect();
                let message = format!("`{short}` has no value");
                Err(Fault::new("null_expression", Class::ValueError, message)
                    .hint("give it a default, or test it with `defined()` first"))
            }
            Value::Str(text) => {
                self.check_text(text.len())?;
                let quoted = text::quote(text);
                self.emit(&quoted)
            }
            Value::Placeholder(_) => self.emit("'__no_value__'"),
            Value::Bytes(bytes) => {
                let text: String = String::from_utf8_lossy(bytes).into_owned();
                self.emit(&text::quote(&text))
            }
            Value::Fragment(text) | Value::Symbol(text) => self.emit(&text.clone()),
            Value::Typed(..) => {
                let printed = self.heap.print(&value)?;
                self.emit(&printed)
            }
            Value::Exception(_, text) => self.emit(&text::quote(text)),
            Value::Iter(_) | Value::Lambda(_) | Value::Bound(_) | Value::Ellipsis => {
                let message = format!("`{{{{ }}}}` cannot print {}", value.type_name());
                Err(Fault::type_error(message))
            }
            other => {
                let mut printed = String::new();
                self.heap.repr(other, true, &mut printed, 0)?;
                self.emit(&printed)
            }
        }
    }
}
