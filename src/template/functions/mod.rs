//! Everything a template can call: the template functions and the Python built-ins that are safe.
//!
//! In: a name. Out: its [`Entry`]. One table is the list; what each does stands in the file of its family.

pub(super) mod builtins;
mod dates;
mod identifiers;
mod json;
mod settings;
pub(super) mod typed;

pub(super) use settings::seconds_of_ttl;

use super::{
    error::{Class, Fault, Result},
    eval::Interp,
    value::Value,
};
use std::{collections::HashMap, fmt, sync::Arc, sync::LazyLock};

pub(super) type Function = fn(&mut Interp<'_>, Args) -> Result<Value>;

pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) call: Function,
    /// Whether `{{ }}` may call it.
    pub(super) printable: bool,
    /// Whether Python would print it as a class.
    pub(super) is_class: bool,
    /// Whether it is Python's, not the template language's.
    pub(super) is_python: bool,
    /// The exception class it names.
    pub(super) class: Option<Class>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

pub(super) struct Args {
    pub(super) positional: Vec<Value>,
    pub(super) keywords: Vec<(Arc<str>, Value)>,
    /// The name that the first argument is, for messages.
    pub(super) label: Option<Arc<str>>,
}

impl Args {
    pub(super) fn one(value: Value) -> Args {
        Args { positional: vec![value], keywords: vec![], label: None }
    }

    /// The arguments by name; the first `required` must be given.
    pub(super) fn bind<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
        required: usize,
    ) -> Result<[Option<Value>; N]> {
        let mut bound = [const { None }; N];
        if self.positional.len() > N {
            let message = format!("`{function}` takes at most {N} arguments, not {}", self.positional.len());
            return Err(Fault::type_error(message));
        }
        for (place, value) in bound.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.keywords {
            let Some(at) = names.iter().position(|it| **it == *name) else {
                return Err(Fault::type_error(format!("`{function}` has no argument `{name}`")));
            };
            if bound[at].replace(value).is_some() {
                return Err(Fault::type_error(format!("`{function}` is given `{name}` twice")));
            }
        }
        if let Some(at) = bound[..required].iter().position(Option::is_none) {
            let message = format!("`{function}` needs the argument `{}`", names[at]);
            return Err(Fault::new("missing_argument", Class::TypeError, message));
        }
        Ok(bound)
    }
}

static TABLE: LazyLock<HashMap<&'static str, Entry>> = LazyLock::new(|| {
    let mut table = HashMap::new();
    let families = [typed::FUNCTIONS, identifiers::FUNCTIONS, dates::FUNCTIONS, settings::FUNCTIONS];
    for (name, call) in families.into_iter().flatten() {
        let entry = Entry { name, call: *call, printable: true, is_class: false, is_python: false, class: None };
        table.insert(*name, entry);
    }
    let mut add = |name, call, printable, is_class, class| {
        let is_python = !matches!(name, "Symbol" | "Column" | "symbol" | "column");
        table.insert(name, Entry { name, call, printable, is_class, is_python, class });
    };
    for (name, call) in builtins::PRINTABLE {
        add(*name, *call, true, matches!(*name, "list" | "int" | "float"), None);
    }
    for (name, call) in builtins::OTHERS {
        let is_class = matches!(
            *name,
            "str" | "dict" | "set" | "tuple" | "range" | "map" | "filter" | "zip" | "enumerate" | "reversed" | "bytes"
        );
        add(*name, *call, false, is_class, None);
    }
    for (name, class) in Class::NAMED {
        add(*name, builtins::raise_needs_a_statement as Function, false, true, Some(*class));
    }
    table
});

pub(super) fn find(name: &str) -> Option<&'static Entry> {
    TABLE.get(name)
}

pub(super) fn is_printable(name: &str) -> bool {
    find(name).is_some_and(|it| it.printable)
}

pub(super) fn printable_names() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&'static str> = TABLE.values().filter(|it| it.printable).map(|it| it.name).collect();
    names.sort_unstable();
    names.into_iter()
}

/// Whether a bare name may be a parameter in documentation. Names of types and settings may, as in the original.
pub(super) fn may_be_parameter(name: &str) -> bool {
    let listed = matches!(
        name,
        "Boolean"
            | "Array"
            | "max_threads"
            | "cache_ttl"
            | "backend_hint"
            | "activate"
            | "disable"
            | "tb_secret"
            | "tb_var"
            | "Symbol"
            | "Column"
    );
    find(name).is_none() || listed || typed::is_scalar(name)
}

/// Functions whose first argument is a parameter of the type they are named after.
pub(super) fn declares_type(name: &str) -> bool {
    matches!(name, "Array" | "JSON" | "Boolean") || typed::is_extracted(name)
}

/// Functions whose first argument is a parameter that is only looked at.
pub(super) fn looks_at(name: &str) -> bool {
    matches!(
        name,
        "defined"
            | "column"
            | "columns"
            | "split_to_array"
            | "enumerate_with_last"
            | "sql_and"
            | "day_diff"
            | "date_diff_in_days"
            | "date_diff_in_hours"
            | "date_diff_in_minutes"
            | "date_diff_in_seconds"
    )
}
