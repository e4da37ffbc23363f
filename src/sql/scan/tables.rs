//! The walk over what can be a table: references, table functions, CTEs, what IN may mean.
//!
//! In: a place where a table can stand. Out: [`TableRef`]s. What the names mean is not known here.

use super::{
    Position, Refused, ScanError, TableRef, functions,
    lexer::{Kind, error},
    walk::{Call, Clause, FrameKind, Pending, Walker, is_system},
    words::keyword,
};
use crate::diagnostic::Span;
use std::collections::HashSet;

impl<'t> Walker<'t> {
    pub(super) fn sample(&mut self, index: usize) -> Result<usize, ScanError> {
        let ratio = |at: usize| -> Option<usize> {
            if self.kind(at)? != Kind::Number {
                return None;
            }
            let fraction = self.kind(at + 1) == Some(Kind::Operator) && self.raw(at + 1) == "/";
            match (fraction, self.kind(at + 2)) {
                (true, Some(Kind::Number)) => Some(at + 3),
                (true, _) => None,
                _ => Some(at + 1),
            }
        };
        let bad = || error(self.span(index), "SAMPLE needs a number");
        let mut end = ratio(index + 1).ok_or_else(bad)?;
        if self.is_word(end, "OFFSET") {
            end = ratio(end + 1).ok_or_else(bad)?;
        }
        let span = Span::new(self.span(index).start, self.span(end - 1).end);
        let frame = self.frame_mut();
        frame.alias_taken = true;
        if let Some(table) = frame.table {
            self.scan.tables[table].sample = Some(span);
        }
        Ok(end)
    }

    /// A name where a table must stand.
    pub(super) fn table(&mut self, index: usize) -> Result<usize, ScanError> {
        if ["FROM", "SELECT", "JOIN", "WHERE"].iter().any(|it| self.is_word(index, it)) {
            return Err(self.misplaced(index));
        }
        let next = self.chain(index)?;
        let parts = (next - index).div_ceil(2);
        let span = Span::new(self.span(index).start, self.span(next - 1).end);
        let function = self.is(next, Kind::Open(b'('));
        let name = self.unquoted(index)?;
        let mut table = None;
        match parts {
            1 if function => {
                if !functions::is_table_function(&name) {
                    let message = format!("the table function `{name}` is not allowed");
                    return Err(self.refuse(index, Refused::TableFunction, message));
                }
                if name == "zeros" || name == "zeros_mt" {
                    let end = self.span(self.tokens[next].partner).end;
                    self.scan.zeros.push((span, end));
                }
                self.pending = Some(Pending { kind: FrameKind::Call(Call::Plain), cte: None });
            }
            1 if self.ctes.contains(&name) => (),
            2 if !function && name == "system" && is_free_system_table(&self.unquoted(index + 2)?) => (),
            // What the service says of a workspace is named with a prefix, and resolved like every other name.
            1 | 2 if parts == 1 || (!function && self.is_known_prefix(&name)) => {
                table = Some(self.scan.tables.len());
                let select = self.frame().select;
                let name = match parts {
                    1 => name.into_owned(),
                    _ => format!("{name}.{}", self.unquoted(index + 2)?),
                };
                self.scan.tables.push(TableRef {
                    span,
                    name,
                    alias: None,
                    final_: None,
                    sample: None,
                    position: Position::From,
                    select,
                });
            }
            _ => return Err(self.prefixed(index, &name)),
        }
        let frame = self.frame_mut();
        frame.clause = Clause::AfterTable;
        frame.operand = false;
        frame.table = table;
        frame.alias_taken = false;
        Ok(next)
    }

    fn is_known_prefix(&self, name: &str) -> bool {
        name == SERVICE
            || self.databases.contains(&name)
            || self.shared && !is_system(name)
            || self.system && name == "system"
    }

    /// What follows IN, or the comma of `in(x, t)`, may be a table.
    pub(super) fn in_table(&mut self, at: usize) -> Result<(), ScanError> {
        let mut index = at;
        while self.is(index, Kind::Open(b'(')) && !self.opens_query(index) {
            index += 1;
        }
        if !matches!(self.kind(index), Some(Kind::Word | Kind::Quoted)) {
            return Ok(());
        }
        let mut end = index + 1;
        while self.is(end, Kind::Dot) && matches!(self.kind(end + 1), Some(Kind::Word | Kind::Quoted)) {
            end += 2;
        }
        let brackets = index - at;
        let alone = brackets == 0 || (0..brackets).all(|it| self.is(end + it, Kind::Close(b')')));
        if self.is(end, Kind::Open(b'(')) || !alone {
            return Ok(());
        }
        let Ok(name) = self.unquoted(index) else { return Ok(()) };
        if end > index + 1 {
            // `x IN t.list` may be a column; but where there is no such column the engine takes it for a table in
            // a database, and which of them it is only the engine knows.
            return Err(self.prefixed(index, &name));
        }
        if self.ctes.contains(&name) || self.is_declared(&name) {
            return Ok(());
        }
        let (span, select) = (self.span(index), self.frame().select);
        self.scan.tables.push(TableRef {
            span,
            name: name.into_owned(),
            alias: None,
            final_: None,
            sample: None,
            position: Position::In,
            select,
        });
        Ok(())
    }

    /// `name AS (SELECT ..)`, `name (columns) AS MATERIALIZED (SELECT ..)`: prepares the body's bracket.
    pub(super) fn cte_item(&mut self, index: usize) -> Result<bool, ScanError> {
        let body = self.cte_body(index);
        if !self.is(body, Kind::Open(b'(')) || !self.opens_query(body) {
            return Ok(false);
        }
        let name = self.unquoted(index)?;
        self.frame_mut().item_start = false;
        let cte = if self.frame().recursive {
            self.ctes.push(name);
            None
        } else {
            Some(name)
        };
        self.pending = Some(Pending { kind: FrameKind::Query, cte });
        Ok(true)
    }

    /// Where the body of a CTE that begins at `index` would open; the index itself where none does.
    pub(super) fn cte_body(&self, index: usize) -> usize {
        let mut at = index + 1;
        if self.is(at, Kind::Open(b'(')) {
            at = self.tokens[at].partner + 1;
        }
        if !self.is_word(at, "AS") {
            return index;
        }
        at += 1;
        if self.is_word(at, "NOT") {
            at += 1;
        }
        if self.is_word(at, "MATERIALIZED") {
            at += 1;
        }
        at
    }

    /// Collects the names that a text gives away itself: aliases and lambdas' arguments.
    pub(super) fn is_declared(&mut self, name: &str) -> bool {
        if self.declared.is_none() {
            let mut declared = HashSet::new();
            for index in 0..self.tokens.len() {
                if !matches!(self.tokens[index].kind, Kind::Word | Kind::Quoted) {
                    continue;
                }
                let before = index.checked_sub(1).and_then(|it| self.kind(it));
                let after_value = match before {
                    Some(Kind::Word) => keyword(self.raw(index - 1)).is_none(),
                    Some(Kind::Quoted | Kind::String | Kind::Number | Kind::Close(_)) => true,
                    _ => false,
                };
                let bare = after_value
                    && !matches!(self.kind(index + 1), Some(Kind::Open(_) | Kind::Dot))
                    && (self.tokens[index].kind == Kind::Quoted || keyword(self.raw(index)).is_none());
                if bare || index > 0 && self.is_word(index - 1, "AS") || self.is_lambda_argument(index) {
                    declared.extend(self.unquoted(index).ok());
                }
            }
            self.declared = Some(declared);
        }
        self.declared.as_ref().is_some_and(|it| it.contains(name))
    }

    /// `x -> ..`, `(x, y) -> ..`
    pub(super) fn is_lambda_argument(&self, index: usize) -> bool {
        match self.kind(index + 1) {
            Some(Kind::Arrow) => true,
            Some(Kind::Close(b')')) => self.is(index + 2, Kind::Arrow),
            // `(x, y)`: names and commas up to the closing bracket.
            Some(Kind::Comma) => {
                let rest = self.tokens[index + 1..].iter().take(32);
                let length = rest.take_while(|it| matches!(it.kind, Kind::Comma | Kind::Word | Kind::Quoted)).count();
                self.is(index + 1 + length, Kind::Close(b')')) && self.is(index + 2 + length, Kind::Arrow)
            }
            _ => false,
        }
    }
}

/// The prefix of the service's data sources.
const SERVICE: &str = "tinybird";

/// Tables of the engine that hold nothing but numbers.
fn is_free_system_table(name: &str) -> bool {
    ["one", "numbers", "numbers_mt"].contains(&name)
}
