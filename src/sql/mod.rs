//! ClickHouse SQL as a type, its types, and the scanner that reads users' SQL.
//!
//! In: literals of ours, names, values, and users' texts that were checked. Out: [`Sql`]. What the SQL is
//! for is not known here.

pub mod access;
mod column_type;
pub mod scan;
pub mod statement;
mod user;

pub use column_type::{ColumnType, TypeError};
pub use user::{Fragment, Splice, UserSql};

use crate::name::{ColumnName, Physical};

/// SQL that is ours. Only literals of the program, quoted names and values, and checked user texts get in,
/// so `format!` cannot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Sql(String);

impl Sql {
    pub fn new(text: &'static str) -> Sql {
        Sql(text.to_owned())
    }

    pub fn push(&mut self, text: &'static str) -> &mut Sql {
        self.0.push_str(text);
        self
    }

    /// An identifier in backquotes.
    pub fn ident(&mut self, name: &str) -> &mut Sql {
        self.0.push('`');
        for c in name.chars() {
            if matches!(c, '`' | '\\') {
                self.0.push('\\');
            }
            self.0.push(c);
        }
        self.0.push('`');
        self
    }

    pub fn column(&mut self, name: &ColumnName) -> &mut Sql {
        self.ident(name.as_str())
    }

    pub fn table(&mut self, table: &Physical) -> &mut Sql {
        self.ident(table.database()).push(".").ident(table.table())
    }

    /// A string literal.
    pub fn string(&mut self, text: &str) -> &mut Sql {
        self.0.push('\'');
        for c in text.chars() {
            match c {
                '\'' => self.0.push_str("\\'"),
                '\\' => self.0.push_str("\\\\"),
                '\0' => self.0.push_str("\\0"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c => self.0.push(c),
            }
        }
        self.0.push('\'');
        self
    }

    pub fn number(&mut self, number: u64) -> &mut Sql {
        self.0.push_str(&number.to_string());
        self
    }

    pub fn sql(&mut self, sql: &Sql) -> &mut Sql {
        self.0.push_str(&sql.0);
        self
    }

    /// A user's text, which was checked when the [`UserSql`] was made. A line break follows it, so that a
    /// comment at its end ends too.
    pub fn user(&mut self, text: &UserSql) -> &mut Sql {
        self.0.push_str(text.text());
        self.0.push('\n');
        self
    }

    pub fn column_type(&mut self, column_type: &ColumnType) -> &mut Sql {
        self.0.push_str(&column_type.to_string());
        self
    }

    /// `items` with `separator` between them.
    pub fn join<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        separator: &'static str,
        mut each: impl FnMut(&mut Sql, T),
    ) -> &mut Sql {
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.push(separator);
            }
            each(self, item);
        }
        self
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_cannot_be_left() {
        let mut sql = Sql::new("");
        sql.ident("a`b\\").push(" ").string("it's\\\n");
        assert_eq!(sql.as_str(), "`a\\`b\\\\` 'it\\'s\\\\\\n'");
    }
}
