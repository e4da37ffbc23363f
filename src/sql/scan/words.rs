//! Keywords, by what they do to the reading of a text.
//!
//! In: a bare word. Out: a [`Keyword`], or nothing where the word is only ever a name.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Select,
    With,
    From,
    Join,
    Array,
    On,
    Using,
    Final,
    Sample,
    Prewhere,
    Where,
    /// HAVING, QUALIFY: a condition.
    Condition,
    Window,
    Group,
    Order,
    By,
    Limit,
    Union,
    Except,
    Into,
    Insert,
    Settings,
    Format,
    As,
    In,
    Apply,
    Not,
    Distinct,
    Case,
    Interval,
    /// Stands between two values: AND, LIKE, THEN.
    Infix,
    /// Cannot be a table's alias, and does nothing else that matters here: LEFT, ANY.
    Reserved,
}

/// The keyword that a bare word is, in any case.
pub(super) fn keyword(word: &str) -> Option<Keyword> {
    if word.len() > 11 {
        return None;
    }
    let mut upper = [0; 11];
    for (to, from) in upper.iter_mut().zip(word.bytes()) {
        *to = from.to_ascii_uppercase();
    }
    Some(match &upper[..word.len()] {
        b"SELECT" => Keyword::Select,
        b"WITH" => Keyword::With,
        b"FROM" => Keyword::From,
        b"JOIN" => Keyword::Join,
        b"ARRAY" => Keyword::Array,
        b"ON" => Keyword::On,
        b"USING" => Keyword::Using,
        b"FINAL" => Keyword::Final,
        b"SAMPLE" => Keyword::Sample,
        b"PREWHERE" => Keyword::Prewhere,
        b"WHERE" => Keyword::Where,
        b"HAVING" | b"QUALIFY" => Keyword::Condition,
        b"WINDOW" => Keyword::Window,
        b"GROUP" => Keyword::Group,
        b"ORDER" => Keyword::Order,
        b"BY" => Keyword::By,
        b"LIMIT" | b"OFFSET" => Keyword::Limit,
        b"UNION" | b"INTERSECT" => Keyword::Union,
        b"EXCEPT" => Keyword::Except,
        b"INTO" => Keyword::Into,
        b"INSERT" => Keyword::Insert,
        b"SETTINGS" => Keyword::Settings,
        b"FORMAT" => Keyword::Format,
        b"AS" => Keyword::As,
        b"IN" => Keyword::In,
        b"APPLY" => Keyword::Apply,
        b"NOT" => Keyword::Not,
        b"DISTINCT" => Keyword::Distinct,
        b"CASE" => Keyword::Case,
        b"INTERVAL" => Keyword::Interval,
        b"AND" | b"OR" | b"LIKE" | b"ILIKE" | b"BETWEEN" | b"IS" | b"THEN" | b"WHEN" | b"ELSE" | b"DIV" | b"MOD"
        | b"REGEXP" => Keyword::Infix,
        b"ALL" | b"ANTI" | b"ANY" | b"ASOF" | b"CROSS" | b"FULL" | b"GLOBAL" | b"INNER" | b"LEFT" | b"NATURAL"
        | b"ONLY" | b"OVERRIDABLE" | b"PASTE" | b"RIGHT" | b"SEMI" | b"UUID" | b"STREAM" => Keyword::Reserved,
        _ => return None,
    })
}

/// Words that may stand before a bracket without being a function.
pub(super) fn stands_before_bracket(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "ALL",
        "ANY",
        "SOME",
        "OVER",
        "FILTER",
        "REPLACE",
        "COLUMNS",
        "EXISTS",
        "ROLLUP",
        "CUBE",
        "SETS",
        "INTERPOLATE",
        "MATERIALIZED",
        "STEP",
        "TO",
        "FILL",
        "TOP",
        "GLOBAL",
        "VALUES",
        "UNPIVOT",
        "STALENESS",
    ];
    WORDS.iter().any(|it| it.eq_ignore_ascii_case(word))
}

/// Whether a value or a clause is complete after a word, so that another clause may begin.
pub(super) fn ends_value(word: &str) -> bool {
    match keyword(word) {
        None => true,
        Some(it) => matches!(it, Keyword::Final | Keyword::Reserved | Keyword::Interval),
    }
}
