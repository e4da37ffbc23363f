//! What can go wrong in a template, in our words.
//!
//! In: a category, words and a place. Out: a [`Fault`]: the [`TemplateError`] a caller sees plus the
//! Python exception it would be, which is what `{% except %}` asks for.

use super::TemplateError;
use crate::diagnostic::Span;

/// A Python exception class, as far as `{% except %}` can tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    BaseException,
    Exception,
    ArithmeticError,
    ZeroDivisionError,
    OverflowError,
    AttributeError,
    LookupError,
    IndexError,
    KeyError,
    NameError,
    UnboundLocalError,
    TypeError,
    ValueError,
    RuntimeError,
    RecursionError,
    StopIteration,
    AssertionError,
    NotImplementedError,
    /// A budget was exceeded: nothing in a template may catch it.
    Budget,
}

impl Class {
    pub(super) const NAMED: &[(&str, Class)] = &[
        ("BaseException", Class::BaseException),
        ("Exception", Class::Exception),
        ("ArithmeticError", Class::ArithmeticError),
        ("ZeroDivisionError", Class::ZeroDivisionError),
        ("OverflowError", Class::OverflowError),
        ("AttributeError", Class::AttributeError),
        ("LookupError", Class::LookupError),
        ("IndexError", Class::IndexError),
        ("KeyError", Class::KeyError),
        ("NameError", Class::NameError),
        ("UnboundLocalError", Class::UnboundLocalError),
        ("TypeError", Class::TypeError),
        ("ValueError", Class::ValueError),
        ("RuntimeError", Class::RuntimeError),
        ("RecursionError", Class::RecursionError),
        ("StopIteration", Class::StopIteration),
        ("AssertionError", Class::AssertionError),
        ("NotImplementedError", Class::NotImplementedError),
    ];

    pub(super) fn name(self) -> &'static str {
        Class::NAMED.iter().find(|(_, it)| *it == self).map_or("Exception", |(name, _)| name)
    }

    fn parent(self) -> Option<Class> {
        Some(match self {
            Class::BaseException | Class::Budget => return None,
            Class::Exception => Class::BaseException,
            Class::ZeroDivisionError | Class::OverflowError => Class::ArithmeticError,
            Class::IndexError | Class::KeyError => Class::LookupError,
            Class::UnboundLocalError => Class::NameError,
            Class::RecursionError | Class::NotImplementedError => Class::RuntimeError,
            _ => Class::Exception,
        })
    }

    pub(super) fn is_a(self, other: Class) -> bool {
        let mut here = Some(self);
        while let Some(class) = here {
            if class == other {
                return true;
            }
            here = class.parent();
        }
        false
    }
}

#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) error: TemplateError,
    pub(super) class: Class,
}

/// Faults are boxed: they are rare, and the walker returns a result from every step.
pub(super) type Result<T> = std::result::Result<T, Box<Fault>>;

impl Fault {
    pub(super) fn new(category: &'static str, class: Class, message: impl Into<String>) -> Box<Fault> {
        let error = TemplateError {
            category,
            message: message.into(),
            span: Span::default(),
            status: 400,
            body: None,
            hint: None,
        };
        Box::new(Fault { error, class })
    }

    pub(super) fn type_error(message: impl Into<String>) -> Box<Fault> {
        Fault::new("runtime", Class::TypeError, message)
    }

    pub(super) fn value_error(message: impl Into<String>) -> Box<Fault> {
        Fault::new("runtime", Class::ValueError, message)
    }

    pub(super) fn budget(name: &str, limit: usize) -> Box<Fault> {
        let message = format!("the template needs more than its budget of {limit} {name}");
        Fault::new("budget", Class::Budget, message)
    }

    pub(super) fn hint(mut self: Box<Fault>, hint: impl Into<String>) -> Box<Fault> {
        self.error.hint = Some(hint.into());
        self
    }

    /// Places the fault, unless something nearer to the cause did.
    pub(super) fn at(mut self: Box<Fault>, span: Span) -> Box<Fault> {
        if self.error.span == Span::default() {
            self.error.span = span;
        }
        self
    }
}

/// An error of parsing or checking, which has no Python exception.
pub(super) fn problem(category: &'static str, span: Span, message: impl Into<String>) -> TemplateError {
    TemplateError { category, message: message.into(), span, status: 400, body: None, hint: None }
}
