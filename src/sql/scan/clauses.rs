//! The walk over keywords: which clause begins, which words are names after all.
//!
//! In: a word in its place. Out: the walk's next state, or a refusal. Tables are read by `tables`.

use super::{
    Refused, ScanError, Select, functions,
    lexer::{Kind, error},
    walk::{Call, Clause, Condition, FrameKind, Pending, Walker},
    words::{Keyword, keyword},
};

impl<'t> Walker<'t> {
    /// A token that is a keyword or a name.
    pub(super) fn word(&mut self, index: usize) -> Result<usize, ScanError> {
        if self.is(index.wrapping_sub(1), Kind::Dot) {
            return self.member(index);
        }
        if self.frame().clause == Clause::Table {
            return self.table(index);
        }
        if self.at_item_start() && self.cte_item(index)? {
            return Ok(self.cte_body(index));
        }
        self.frame_mut().item_start = false;
        let Some(keyword) = keyword(self.raw(index)) else { return self.name(index) };
        if self.frame().operand && self.is(index + 1, Kind::Dot) {
            // `limit.event_id`: the table has such an alias.
            return self.name(index);
        }
        let kind = self.frame().kind;
        let clause = self.frame().clause;
        let operand = self.frame().operand;
        let query = kind == FrameKind::Query;
        let among_tables = matches!(kind, FrameKind::Query | FrameKind::Group) && clause.among_tables();
        let calls = self.is(index + 1, Kind::Open(b'('));
        match keyword {
            Keyword::Select => {
                if !query || self.frame().seen_select {
                    return Err(self.misplaced(index));
                }
                if self.is_word(index + 1, "FROM") {
                    return Err(error(self.span(index + 1), "something to select is expected"));
                }
                self.end_condition(index);
                let frame = self.frame_mut();
                frame.seen_select = true;
                frame.clause = Clause::Select;
                frame.operand = true;
            }
            Keyword::With if query && clause == Clause::Start => {
                let recursive = self.is_word(index + 1, "RECURSIVE");
                let frame = self.frame_mut();
                frame.clause = Clause::With;
                frame.item_start = true;
                frame.recursive = recursive;
                return Ok(index + 1 + usize::from(recursive));
            }
            Keyword::With => (),
            Keyword::From => self.from(index)?,
            Keyword::Join if among_tables => self.frame_mut().clause = Clause::Table,
            Keyword::Array if among_tables && !operand && self.is_word(index + 1, "JOIN") => {
                let frame = self.frame_mut();
                frame.clause = Clause::ArrayJoin;
                frame.operand = true;
                return Ok(index + 2);
            }
            Keyword::On if among_tables && !operand => {
                let frame = self.frame_mut();
                frame.clause = Clause::On;
                frame.operand = true;
            }
            Keyword::On if self.is_word(index.wrapping_sub(1), "DISTINCT") => (),
            Keyword::Using if among_tables && !operand => {
                // After columns in brackets a comma begins the next table, else the next column.
                let frame = self.frame_mut();
                frame.clause = if calls { Clause::On } else { Clause::Using };
                frame.operand = true;
            }
            Keyword::Final if clause == Clause::AfterTable && !operand => {
                let span = self.span(index);
                let frame = self.frame_mut();
                frame.alias_taken = true;
                if let Some(table) = frame.table {
                    self.scan.tables[table].final_ = Some(span);
                }
            }
            Keyword::Sample if clause == Clause::AfterTable && !operand => return self.sample(index),
            Keyword::Prewhere | Keyword::Where => match kind {
                FrameKind::Query => self.condition(index, keyword)?,
                FrameKind::Group => return Err(self.misplaced(index)),
                _ => self.inner_clause(index)?,
            },
            Keyword::Condition => match kind {
                FrameKind::Query => self.clause(index, Clause::Condition)?,
                FrameKind::Group => return Err(self.misplaced(index)),
                _ => return self.name(index),
            },
            Keyword::Window if query && !operand && self.is_word(index + 2, "AS") => {
                self.clause(index, Clause::Other)?;
                self.frame_mut().operand = false;
                return Ok(index + 2);
            }
            Keyword::Group | Keyword::Order if self.is_word(index + 1, "BY") => {
                match kind {
                    FrameKind::Query => {
                        let order = keyword == Keyword::Order;
                        self.clause(index, if order { Clause::Order } else { Clause::Other })?;
                    }
                    FrameKind::Group => return Err(self.misplaced(index)),
                    _ => self.inner_clause(index)?,
                }
                return Ok(index + 2);
            }
            Keyword::By => self.frame_mut().operand = true,
            Keyword::Limit => match kind {
                FrameKind::Query => self.clause(index, Clause::Other)?,
                FrameKind::Group => return Err(self.misplaced(index)),
                _ => self.inner_clause_or_name(index)?,
            },
            Keyword::Union | Keyword::Except => return self.set_operation(index, keyword),
            Keyword::Into if self.is_word(index + 1, "OUTFILE") => {
                return Err(self.refuse(index, Refused::Outfile, "writing files is not allowed"));
            }
            Keyword::Insert if query && (!operand || matches!(clause, Clause::Start | Clause::With)) => {
                return Err(self.refuse(index, Refused::NotSelect, "only SELECT is allowed"));
            }
            Keyword::Settings => return self.settings(index),
            Keyword::Format if !operand && (kind != FrameKind::Bracket || self.frames.len() == 1) => {
                return Err(self.refuse(index, Refused::Format, "FORMAT may stand at the end of a query only"));
            }
            Keyword::As => return self.alias(index),
            Keyword::In if !operand => {
                self.frame_mut().operand = true;
                if kind != FrameKind::Call(Call::Position) {
                    self.in_table(index + 1)?;
                }
            }
            Keyword::Apply if calls || !operand => return self.apply(index),
            Keyword::Not => (),
            Keyword::Distinct => self.frame_mut().operand = true,
            Keyword::Case => self.frame_mut().operand = true,
            Keyword::Interval if !calls => {
                // `INTERVAL where DAY` and `.. interval WHERE ..` look alike.
                let clause = self.kind(index + 1) == Some(Kind::Word) && self::keyword(self.raw(index + 1)).is_some();
                if clause && self.kind(index + 2) == Some(Kind::Word) && is_unit(self.raw(index + 2)) {
                    return Err(self.misplaced(index + 1));
                }
                return self.name(index);
            }
            Keyword::Interval => self.frame_mut().operand = true,
            Keyword::Infix if !operand => self.frame_mut().operand = true,
            Keyword::Infix if self.is_between_values(index) && !calls => (),
            Keyword::Infix if ["WHEN", "THEN", "ELSE", "IS"].iter().any(|it| self.is_word(index, it)) => (),
            Keyword::Reserved if !operand => {
                if among_tables {
                    self.frame_mut().alias_taken = true;
                }
            }
            Keyword::Reserved if self.is_word(index.wrapping_sub(1), "SELECT") && !calls => (),
            _ => return self.name(index),
        }
        Ok(index + 1)
    }

    pub(super) fn from(&mut self, index: usize) -> Result<(), ScanError> {
        let before = |count: usize, word: &str| self.is_word(index.wrapping_sub(count), word);
        let distinct = before(1, "DISTINCT") && (before(2, "IS") || before(2, "NOT") && before(3, "IS"));
        let fill = before(1, "FILL") && before(2, "WITH") && self.frame().clause == Clause::Order;
        // `SELECT a, FROM t` is a query; `SELECT a * FROM FROM t` multiplies by a column.
        let after_comma = self.is(index.wrapping_sub(1), Kind::Comma);
        let frame = self.frame_mut();
        let names_column = frame.operand && frame.clause == Clause::Select && !after_comma;
        if distinct || fill {
            frame.operand = true;
            return Ok(());
        }
        if names_column {
            return Err(self.misplaced(index));
        }
        match (frame.kind, frame.clause) {
            (FrameKind::Call(Call::From), _) => {
                frame.kind = FrameKind::Call(Call::FromUsed);
                frame.operand = true;
                Ok(())
            }
            (FrameKind::Query, Clause::Start | Clause::With | Clause::Select) if !frame.seen_from => {
                frame.seen_from = true;
                frame.clause = Clause::Table;
                frame.operand = false;
                Ok(())
            }
            _ => Err(self.misplaced(index)),
        }
    }

    /// A clause of the select begins at `index`.
    pub(super) fn clause(&mut self, index: usize, clause: Clause) -> Result<(), ScanError> {
        if self.frame().operand || matches!(self.frame().clause, Clause::Start | Clause::With | Clause::Table) {
            return Err(self.misplaced(index));
        }
        self.end_condition(index);
        let frame = self.frame_mut();
        frame.clause = clause;
        frame.operand = true;
        Ok(())
    }

    pub(super) fn condition(&mut self, index: usize, keyword: Keyword) -> Result<(), ScanError> {
        let before = self.frame().condition;
        let after_prewhere = keyword == Keyword::Where && before == Some(Condition::Prewhere);
        if !(self.frame().clause.among_tables() || self.frame().clause == Clause::Select || after_prewhere) {
            return Err(self.misplaced(index));
        }
        self.clause(index, Clause::Condition)?;
        let (span, select) = (self.span(index), self.frame().select);
        let select = &mut self.scan.selects[select];
        let condition = if keyword == Keyword::Where {
            select.where_ = Some((span, span.end));
            Condition::Where
        } else {
            select.prewhere = Some((span, span.end));
            Condition::Prewhere
        };
        self.frame_mut().condition = Some(condition);
        Ok(())
    }

    pub(super) fn end_condition(&mut self, index: usize) {
        let end = self.tokens[..index].last().map_or(0, |it| it.span.end);
        let frame = self.frame_mut();
        let (condition, select) = (frame.condition.take(), frame.select);
        match (condition, self.scan.selects.get_mut(select)) {
            (Some(Condition::Where), Some(Select { where_: Some(it), .. })) => it.1 = end,
            (Some(Condition::Prewhere), Some(Select { prewhere: Some(it), .. })) => it.1 = end,
            _ => (),
        }
    }

    /// WHERE or ORDER BY in a bracket that is no query: `FILTER (WHERE ..)`, a window.
    pub(super) fn inner_clause(&mut self, index: usize) -> Result<(), ScanError> {
        if self.frames.len() == 1 {
            return Err(self.misplaced(index));
        }
        self.frame_mut().operand = true;
        Ok(())
    }

    pub(super) fn inner_clause_or_name(&mut self, index: usize) -> Result<(), ScanError> {
        if self.frames.len() == 1 && !self.frame().operand {
            return Err(self.misplaced(index));
        }
        self.name(index).map(drop)
    }

    pub(super) fn set_operation(&mut self, index: usize, keyword: Keyword) -> Result<usize, ScanError> {
        let skip = usize::from(self.is_word(index + 1, "ALL") || self.is_word(index + 1, "DISTINCT"));
        let next = index + 1 + skip;
        let query = self.opens_query(next);
        let frame = self.frame();
        if keyword == Keyword::Except && !query && !frame.clause.among_tables() && frame.clause != Clause::Table {
            // `* EXCEPT (column)`
            if self.frames.len() == 1 && frame.kind == FrameKind::Bracket {
                return Err(self.misplaced(index));
            }
            return Ok(index + 1);
        }
        if frame.kind != FrameKind::Query || !query || frame.operand {
            return Err(self.misplaced(index));
        }
        if !frame.seen_select && frame.clause != Clause::Start {
            return Err(self.misplaced(index));
        }
        self.end_condition(index);
        self.scan.selects.push(Select::default());
        let select = self.scan.selects.len() - 1;
        let frame = self.frame_mut();
        frame.select = select;
        frame.clause = Clause::Start;
        frame.operand = true;
        frame.seen_select = false;
        frame.seen_from = false;
        frame.recursive = false;
        Ok(next)
    }

    pub(super) fn settings(&mut self, index: usize) -> Result<usize, ScanError> {
        let among_clauses = matches!(self.frame().kind, FrameKind::Query | FrameKind::Group) || self.frames.len() == 1;
        if !self.frame().operand && among_clauses || self.sets_something(index) {
            return Err(self.refuse(index, Refused::Settings, "SETTINGS is not allowed"));
        }
        self.name(index)
    }

    /// `SETTINGS name = ..`, the only shape that sets something.
    pub(super) fn sets_something(&self, index: usize) -> bool {
        matches!(self.kind(index + 1), Some(Kind::Word | Kind::Quoted))
            && match self.kind(index + 2) {
                Some(Kind::Dot) => true,
                Some(Kind::Operator) => self.raw(index + 2).starts_with('='),
                _ => false,
            }
    }

    pub(super) fn alias(&mut self, index: usize) -> Result<usize, ScanError> {
        if self.frame().operand {
            // Here it would be a column.
            return Err(self.misplaced(index));
        }
        let next = index + 1;
        let Some(Kind::Word | Kind::Quoted) = self.kind(next) else {
            // `WINDOW w AS (..)`
            self.frame_mut().operand = true;
            return Ok(next);
        };
        if self.is_word(next, "SETTINGS") && self.sets_something(next) {
            return Err(self.refuse(next, Refused::Settings, "SETTINGS is not allowed"));
        }
        let span = self.span(next);
        let frame = self.frame_mut();
        frame.operand = false;
        if frame.clause == Clause::AfterTable && !frame.alias_taken {
            frame.alias_taken = true;
            if let Some(table) = frame.table {
                self.scan.tables[table].alias = Some(span);
            }
            if self.is(next + 1, Kind::Open(b'(')) {
                self.pending = Some(Pending { kind: FrameKind::Bracket, cte: None });
            }
            return Ok(next + 1);
        }
        if let Ok(name) = self.unquoted(next) {
            self.scan.aliases.push(name.into_owned());
        }
        if self.is(next + 1, Kind::Open(b'(')) {
            // `CAST(x AS Decimal(10, 2))`
            if self.kind(next) != Some(Kind::Word) || !functions::is_type(self.raw(next)) {
                return Err(self.refuse(next, Refused::Function, "this is not a type"));
            }
            self.pending = Some(Pending { kind: FrameKind::Bracket, cte: None });
        }
        Ok(next + 1)
    }

    /// `APPLY(f)`, `APPLY f`: the function is named without a call.
    pub(super) fn apply(&mut self, index: usize) -> Result<usize, ScanError> {
        let bracket = self.is(index + 1, Kind::Open(b'('));
        let at = index + 1 + usize::from(bracket);
        match self.kind(at) {
            Some(Kind::Word | Kind::Quoted) if !self.is(at + 1, Kind::Arrow) => {
                let keyword = self.kind(at) == Some(Kind::Word) && keyword(self.raw(at)).is_some();
                if bracket || !keyword {
                    self.check_function(at)?;
                } else {
                    return self.name(index);
                }
            }
            _ => (),
        }
        self.frame_mut().operand = false;
        if bracket {
            self.pending = Some(Pending { kind: FrameKind::Bracket, cte: None });
        }
        Ok(index + 1)
    }
}

fn is_unit(word: &str) -> bool {
    const UNITS: &[&str] = &[
        "NANOSECOND",
        "MICROSECOND",
        "MILLISECOND",
        "SECOND",
        "MINUTE",
        "HOUR",
        "DAY",
        "WEEK",
        "MONTH",
        "QUARTER",
        "YEAR",
    ];
    let word = word.to_ascii_uppercase();
    UNITS.contains(&word.strip_suffix('S').unwrap_or(&word))
}
