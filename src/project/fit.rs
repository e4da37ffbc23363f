//! Which types of values a column takes without loss: what a view's columns are compared with its target by.

use crate::sql::ColumnType;

/// Whether every value of `from` can be stored as `to`: wider numbers, finer times, NULL where it is allowed,
/// plain values into a column that aggregates them. Narrowing does not fit.
pub fn fits(from: &ColumnType, to: &ColumnType) -> bool {
    use ColumnType as T;
    match (from, to) {
        (from, to) if from == to => true,
        (_, T::Plain("Dynamic") | T::Tuned { family: "Dynamic", .. }) => true,
        (T::Plain("Nothing"), _) => true,
        // How values are laid out changes nothing about them.
        (T::LowCardinality(from), to) => fits(from, to),
        (from, T::LowCardinality(to)) => fits(from, to),
        (
            T::SimpleAggregateFunction { argument: from, function: f },
            T::SimpleAggregateFunction { argument: to, function: g },
        ) => f == g && fits(from, to),
        (from, T::SimpleAggregateFunction { argument, .. }) => fits(from, argument),
        (T::SimpleAggregateFunction { argument, .. }, to) => fits(argument, to),
        (T::Nullable(from), T::Nullable(to)) => fits(from, to),
        (T::Nullable(_), _) => false,
        (from, T::Nullable(to)) => fits(from, to),
        (
            T::AggregateFunction { function: f, arguments: from },
            T::AggregateFunction { function: g, arguments: to },
        ) => {
            let (f, g) = (state(f), state(g));
            let same = from.len() == to.len() && from.iter().zip(to).all(|(from, to)| layout(from) == layout(to));
            let counts = |function: &str, arguments: &[T]| {
                function == "count" || function == "countIf" && !arguments.iter().any(T::is_nullable)
            };
            // A count keeps the same state whatever it counts.
            f == g && (f == "count" || same) || counts(f, from) && counts(g, to)
        }
        (T::Array(from), T::Array(to)) => fits(from, to),
        (T::Map(a, b), T::Map(c, d)) => fits(a, c) && fits(b, d),
        (T::Tuple(from), T::Tuple(to)) => {
            from.len() == to.len()
                && from
                    .iter()
                    .zip(to)
                    .all(|((a, from), (b, to))| (a == b || a.is_none() || b.is_none()) && fits(from, to))
        }
        // A text is read again as what it was; a state has none.
        (from, T::Plain("String")) => !matches!(from, T::AggregateFunction { .. }),
        (T::FixedString(from), T::FixedString(to)) => from <= to,
        (T::Enum { members: from, .. }, T::Enum { members: to, .. }) => from.iter().all(|it| to.contains(it)),
        (T::Decimal { precision: p, scale: s }, T::Decimal { precision: q, scale: t }) => {
            s <= t && p.saturating_sub(*s) <= q.saturating_sub(*t)
        }
        // The zone is how a time is shown, not which time it is.
        (T::DateTime { .. }, T::DateTime { .. } | T::DateTime64 { .. }) => true,
        (T::DateTime64 { precision: from, .. }, T::DateTime64 { precision: to, .. }) => from <= to,
        (T::Plain("Date"), T::Plain("Date32") | T::DateTime { .. } | T::DateTime64 { .. }) => true,
        // The years of both are the same, as long as parts of a second are not too small.
        (T::Plain("Date32"), T::DateTime64 { precision, .. }) => *precision <= 6,
        (T::Plain("IPv4"), T::Plain("IPv6")) => true,
        // So many digits a floating number has.
        (T::Decimal { precision, .. }, T::Plain("Float64")) => *precision <= 15,
        (T::Decimal { precision, .. }, T::Plain("Float32")) => *precision <= 6,
        (T::Plain("Bool"), T::Decimal { precision, scale }) => precision > scale,
        (T::Plain("JSON") | T::Tuned { family: "JSON", .. }, T::Plain("JSON") | T::Tuned { family: "JSON", .. }) => {
            true
        }
        (T::Plain(from), T::Plain(to)) => plain_fits(from, to),
        (T::Plain(from), T::Decimal { precision, scale }) => {
            integer(from).is_some_and(|(_, width)| digits(width) <= u32::from(precision.saturating_sub(*scale)))
        }
        (from, T::Variant(types)) => types.iter().any(|to| fits(from, to)),
        _ => false,
    }
}

fn plain_fits(from: &str, to: &str) -> bool {
    // Comparisons give UInt8 where a Bool is meant.
    if matches!((from, to), ("UInt8", "Bool") | ("Float32" | "BFloat16", "Float64") | ("BFloat16", "Float32")) {
        return true;
    }
    if from == "Bool" {
        return integer(to).is_some() || to.contains("Float");
    }
    match (integer(from), integer(to)) {
        (Some((true, a)), Some((true, b))) | (Some((false, a)), Some((false, b))) => a <= b,
        (Some((false, a)), Some((true, b))) => a < b,
        (Some((_, width)), None) => matches!((to, width), ("Float64", 8..=32) | ("Float32", 8..=16)),
        _ => false,
    }
}

/// Whether an integer type has a sign, and its width in bits.
fn integer(name: &str) -> Option<(bool, u32)> {
    let (signed, width) = match name.strip_prefix("UInt") {
        Some(width) => (false, width),
        None => (true, name.strip_prefix("Int")?),
    };
    Some((signed, width.parse().ok()?))
}

/// The decimal digits that an integer of a width can have.
fn digits(width: u32) -> u32 {
    width * 3 / 10 + 1
}

/// The name of an aggregate function whose states are the same: some write it with the State it gives, and what a
/// quantile is asked for is not in its state.
fn state(function: &str) -> &str {
    let function =
        if function.starts_with("quantile") { function.split('(').next().unwrap_or(function) } else { function };
    function.strip_suffix("State").unwrap_or(function)
}

/// A type as it lies in a state: without what only says how values are stored or shown.
fn layout(column_type: &ColumnType) -> ColumnType {
    match column_type {
        ColumnType::LowCardinality(inner) => layout(inner),
        ColumnType::Nullable(inner) => ColumnType::Nullable(Box::new(layout(inner))),
        ColumnType::Array(inner) => ColumnType::Array(Box::new(layout(inner))),
        ColumnType::DateTime { .. } => ColumnType::DateTime { zone: None },
        ColumnType::DateTime64 { precision, .. } => ColumnType::DateTime64 { precision: *precision, zone: None },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loses_nothing_fits() {
        for (from, to) in [
            ("Int8", "Int16"),
            ("UInt8", "Int16"),
            ("String", "LowCardinality(String)"),
            ("LowCardinality(String)", "String"),
            ("LowCardinality(Nullable(String))", "Nullable(String)"),
            ("DateTime", "DateTime64(3)"),
            ("DateTime('UTC')", "DateTime('Etc/UTC')"),
            ("Int64", "Nullable(Int64)"),
            ("UInt64", "SimpleAggregateFunction(sum, UInt64)"),
            ("AggregateFunction(uniq, String)", "AggregateFunction(uniq, String)"),
            ("AggregateFunction(count)", "AggregateFunction(count, UInt64)"),
            ("AggregateFunction(argMax, String, DateTime)", "AggregateFunction(argMaxState, String, DateTime)"),
            ("Array(UInt8)", "Array(UInt64)"),
            ("Decimal(9, 2)", "Decimal(18, 4)"),
            ("Enum8('a' = 1)", "String"),
            ("UInt8", "Bool"),
            ("Array(Nothing)", "Array(String)"),
            ("Nullable(Nothing)", "Nullable(String)"),
            ("SimpleAggregateFunction(max, DateTime)", "Nullable(DateTime)"),
        ] {
            let parse = |text| ColumnType::parse(text).unwrap();
            assert!(fits(&parse(from), &parse(to)), "{from} -> {to}");
        }
    }

    #[test]
    fn what_loses_something_does_not() {
        for (from, to) in [
            ("Int16", "Int8"),
            ("Int8", "UInt8"),
            ("UInt64", "Int64"),
            ("Nullable(String)", "String"),
            ("LowCardinality(Nullable(String))", "LowCardinality(String)"),
            ("DateTime64(3)", "DateTime"),
            ("DateTime64(6)", "DateTime64(3)"),
            ("String", "Int8"),
            ("AggregateFunction(uniq, String)", "String"),
            ("AggregateFunction(uniq, String)", "AggregateFunction(uniq, UInt64)"),
            ("UInt64", "AggregateFunction(sum, UInt64)"),
            ("Decimal(18, 4)", "Decimal(9, 4)"),
            ("UInt64", "Float64"),
            ("Array(UInt64)", "Array(UInt8)"),
        ] {
            let parse = |text| ColumnType::parse(text).unwrap();
            assert!(!fits(&parse(from), &parse(to)), "{from} -> {to}");
        }
    }
}
