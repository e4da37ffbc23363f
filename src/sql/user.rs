//! Users' SQL on its way into ours: each kind has one caller and one check.

use super::scan::{self, ScanError};
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
}

/// The text and the place in its source where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    pub(super) text: String,
    pub(super) span: Span,
}

impl UserSql {
    /// A lone expression or a comma list of them: brackets balance, and nothing ends the statement around it.
    pub fn expression(text: &str, span: Span) -> Result<UserSql, ScanError> {
        scan::check_expression(text)?;
        Ok(UserSql::Expression(Fragment { text: text.to_owned(), span }))
    }

    pub fn condition(text: &str, span: Span) -> Result<UserSql, ScanError> {
        scan::check_expression(text)?;
        Ok(UserSql::Condition(Fragment { text: text.to_owned(), span }))
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
            | UserSql::Condition(it) => it,
        }
    }
}
