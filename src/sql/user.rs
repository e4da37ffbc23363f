//! Users' SQL on its way into ours: each kind has one caller and one check.

use super::{
    Sql,
    scan::{self, Scan, ScanError},
};
use crate::diagnostic::Span;

/// A user's text that was checked for its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserSql {
    /// The rendered SQL of a node, its table references spliced.
    Node(Fragment),
    /// What came to `/v0/sql`, its table references spliced.
    Query(Fragment),
    /// A row filter of a token, its names resolved.
    Filter(Fragment),
    /// An expression of a datafile: a default, a key, a TTL, a codec, engine settings.
    Expression(Fragment),
    /// A condition for a delete, a replace or a populate.
    Condition(Fragment),
    /// A whole statement of whoever runs the engine, as it came.
    Statement(Fragment),
}

/// The text and the place in its source where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    pub(super) text: String,
    pub(super) span: Span,
}

/// A range of a user's text and what stands there instead.
#[derive(Debug, Clone)]
pub struct Splice {
    pub span: Span,
    pub sql: Sql,
}

impl UserSql {
    /// A node's text up to its end, with `splices` in it. `scan` is the scan of `text`.
    pub fn node(text: &str, scan: &Scan, splices: Vec<Splice>) -> UserSql {
        UserSql::Node(spliced(text, scan, splices))
    }

    /// A text of `/v0/sql`, likewise.
    pub fn query(text: &str, scan: &Scan, splices: Vec<Splice>) -> UserSql {
        UserSql::Query(spliced(text, scan, splices))
    }

    /// A row filter, likewise.
    pub fn filter(text: &str, scan: &Scan, splices: Vec<Splice>) -> UserSql {
        UserSql::Filter(spliced(text, scan, splices))
    }

    /// The `SAMPLE ..` of a table reference, which moves with its table.
    pub fn sample(text: &str, scan: &Scan, table: usize) -> Option<UserSql> {
        let span = scan.tables.get(table)?.sample?;
        Some(UserSql::Node(Fragment { text: text.get(span.start..span.end)?.to_owned(), span }))
    }

    /// A lone expression or a comma list of them: brackets balance, and nothing ends the statement around it.
    pub fn expression(text: &str, span: Span) -> Result<UserSql, ScanError> {
        scan::check_expression(text)?;
        Ok(UserSql::Expression(Fragment { text: text.to_owned(), span }))
    }

    pub fn condition(text: &str, span: Span) -> Result<UserSql, ScanError> {
        scan::check_expression(text)?;
        Ok(UserSql::Condition(Fragment { text: text.to_owned(), span }))
    }

    /// A text that is run as it is, for whoever may say anything to the engine.
    pub fn statement(text: &str) -> UserSql {
        UserSql::Statement(Fragment { text: text.to_owned(), span: Span::new(0, text.len()) })
    }

    pub fn text(&self) -> &str {
        &self.fragment().text
    }

    pub fn span(&self) -> Span {
        self.fragment().span
    }

    fn fragment(&self) -> &Fragment {
        match self {
            UserSql::Node(it)
            | UserSql::Query(it)
            | UserSql::Filter(it)
            | UserSql::Expression(it)
            | UserSql::Condition(it)
            | UserSql::Statement(it) => it,
        }
    }
}

/// Replaces ranges of the text and nothing else; what ends the statement (`;`, comments) is left out.
fn spliced(text: &str, scan: &Scan, mut splices: Vec<Splice>) -> Fragment {
    splices.sort_by_key(|it| (it.span.start, it.span.end));
    let added = splices.iter().map(|it| it.sql.as_str().len()).sum::<usize>();
    let mut res = String::with_capacity(scan.end + added);
    let mut at = 0;
    for splice in splices {
        res.push_str(&text[at..splice.span.start]);
        res.push_str(splice.sql.as_str());
        at = splice.span.end;
    }
    res.push_str(&text[at..scan.end]);
    Fragment { text: res, span: Span::new(0, scan.end) }
}
