//! One walk over the tokens of a text: brackets, clauses, scopes of CTEs; what it finds and what it refuses.
//!
//! In: tokens. Out: a [`Scan`]. The walk follows the engine's grammar only as far as it decides where a
//! table can stand. Where a word could be read in two ways, the text is refused: nothing is guessed.

use super::{
    Refused, Scan, ScanError, Select,
    functions::{self, Judged},
    lexer::{Kind, Token, error, unquote},
    words::{Keyword, keyword, stands_before_bracket},
};
use crate::diagnostic::Span;
use std::{borrow::Cow, collections::HashSet};

/// What the text as a whole must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Query,
    /// A lone expression.
    Filter,
}

pub(super) struct Walker<'t> {
    pub(super) text: &'t str,
    pub(super) tokens: &'t [Token],
    pub(super) secrets: &'t [String],
    /// Tables of other workspaces may be named, as `workspace.table`.
    pub(super) shared: bool,
    /// The workspaces of which tables may be named so.
    pub(super) databases: &'t [&'t str],
    /// Tables of `system` are names like others.
    pub(super) system: bool,
    pub(super) frames: Vec<Frame<'t>>,
    /// The CTEs that can be seen.
    pub(super) ctes: Vec<Cow<'t, str>>,
    /// What the next bracket is, where the word before it decided that.
    pub(super) pending: Option<Pending<'t>>,
    /// How many calls of higher-order functions are open.
    pub(super) higher_order: usize,
    /// Names of aliases and of lambdas' arguments, collected when first asked for.
    pub(super) declared: Option<HashSet<Cow<'t, str>>>,
    pub(super) scan: Scan,
}

pub(super) struct Frame<'t> {
    pub(super) kind: FrameKind,
    pub(super) clause: Clause,
    /// A value is expected: a word here is a name, whatever else it could mean.
    pub(super) operand: bool,
    pub(super) select: usize,
    /// How many CTEs could be seen when the bracket opened.
    pub(super) ctes: usize,
    /// The CTE that this bracket is the body of.
    pub(super) cte: Option<Cow<'t, str>>,
    pub(super) seen_select: bool,
    pub(super) seen_from: bool,
    pub(super) recursive: bool,
    /// In WITH: an item begins here.
    pub(super) item_start: bool,
    /// The condition that is open, to be ended by the next clause.
    pub(super) condition: Option<Condition>,
    pub(super) table: Option<usize>,
    pub(super) alias_taken: bool,
    pub(super) commas: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    Query,
    /// Tables in brackets: `FROM (a JOIN b ON ..)`.
    Group,
    Call(Call),
    Bracket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Plain,
    /// `extract(DAY FROM x)`; the FROM may stand once.
    From,
    FromUsed,
    /// `in(x, t)`
    In,
    /// `position(a IN b)`
    Position,
    HigherOrder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clause {
    /// A select may begin.
    Start,
    With,
    Select,
    /// A table must follow.
    Table,
    AfterTable,
    On,
    Using,
    ArrayJoin,
    /// PREWHERE, WHERE, HAVING, QUALIFY: one expression, no commas.
    Condition,
    Order,
    /// GROUP BY, LIMIT, WINDOW, and whatever stands in other brackets.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Prewhere,
    Where,
}

pub(super) struct Pending<'t> {
    pub(super) kind: FrameKind,
    pub(super) cte: Option<Cow<'t, str>>,
}

impl Clause {
    pub(super) fn among_tables(self) -> bool {
        matches!(self, Clause::AfterTable | Clause::On | Clause::Using | Clause::ArrayJoin)
    }
}

impl<'t> Walker<'t> {
    pub(super) fn new(text: &'t str, tokens: &'t [Token], secrets: &'t [String]) -> Walker<'t> {
        Walker {
            text,
            tokens,
            secrets,
            shared: false,
            databases: &[],
            system: false,
            frames: Vec::with_capacity(8),
            ctes: Vec::new(),
            pending: None,
            higher_order: 0,
            declared: None,
            scan: Scan::default(),
        }
    }

    pub(super) fn walk(mut self, whole: Whole) -> Result<Scan, ScanError> {
        let Some(last) = self.tokens.last() else {
            return Err(error(Span::at(0), super::EMPTY));
        };
        self.scan.end = last.span.end;
        match whole {
            Whole::Query => {
                self.check_beginning()?;
                self.push(FrameKind::Query, None);
            }
            Whole::Filter => self.push(FrameKind::Bracket, None),
        }
        let mut index = 0;
        while index < self.tokens.len() {
            index = self.step(index)?;
        }
        self.end_condition(self.tokens.len());
        self.check_end(self.tokens.len())?;
        Ok(self.scan)
    }

    pub(super) fn check_beginning(&self) -> Result<(), ScanError> {
        let first = self.tokens[0];
        match first.kind {
            Kind::Semicolon => Err(self.refuse(0, Refused::MultiStatement, "one statement is expected")),
            _ if self.opens_query(0) => Ok(()),
            Kind::Word => Err(self.refuse(0, Refused::NotSelect, "only SELECT is allowed")),
            _ => Err(error(first.span, "a SELECT is expected")),
        }
    }

    /// A query or a bracket ends before token `index`.
    pub(super) fn check_end(&self, index: usize) -> Result<(), ScanError> {
        let frame = self.frame();
        let at = self.tokens.get(index).map_or(Span::at(self.scan.end), |it| it.span);
        let unfinished = match frame.kind {
            FrameKind::Query => {
                frame.operand || frame.clause == Clause::Table || !frame.seen_select && frame.clause != Clause::Start
            }
            FrameKind::Group => frame.operand || frame.clause == Clause::Table,
            FrameKind::Bracket => self.frames.len() == 1 && frame.operand,
            FrameKind::Call(_) => false,
        };
        if unfinished { Err(error(at, "the query ends where more is expected")) } else { Ok(()) }
    }

    pub(super) fn step(&mut self, index: usize) -> Result<usize, ScanError> {
        let token = self.tokens[index];
        if self.frame().clause == Clause::Table && !matches!(token.kind, Kind::Word | Kind::Quoted | Kind::Open(b'(')) {
            return Err(match token.kind {
                Kind::String => self.refuse(index, Refused::UnknownTable, "a string is not a table"),
                _ => error(token.span, "a table is expected"),
            });
        }
        let stray = !matches!(token.kind, Kind::Word | Kind::Quoted | Kind::Comma | Kind::Close(_));
        if self.frame().clause == Clause::AfterTable && stray && self.pending.is_none() && token.kind != Kind::Semicolon
        {
            return Err(error(token.span, "this cannot stand after a table"));
        }
        match token.kind {
            Kind::Semicolon => return Err(self.refuse(index, Refused::MultiStatement, "one statement is expected")),
            Kind::Word => return self.word(index),
            Kind::Quoted => {
                if self.frame().clause == Clause::Table {
                    return self.table(index);
                }
                if self.at_item_start() && self.cte_item(index)? {
                    return Ok(self.cte_body(index));
                }
                return if self.is(index.wrapping_sub(1), Kind::Dot) { self.member(index) } else { self.name(index) };
            }
            Kind::Open(b'{') => return self.placeholder(index),
            Kind::Open(_) => self.open(index)?,
            Kind::Close(_) => self.close(index)?,
            Kind::Comma => self.comma(index)?,
            Kind::String | Kind::Number => self.frame_mut().operand = false,
            // A wildcard where a value is expected, else a multiplication.
            Kind::Star => self.frame_mut().operand = !self.frame().operand,
            Kind::Cast => {
                let typed = self.is(index + 2, Kind::Open(b'(')) && matches!(self.kind(index + 1), Some(Kind::Word));
                if typed {
                    if !functions::is_type(self.raw(index + 1)) {
                        return Err(self.refuse(index + 1, Refused::Function, "this is not a type"));
                    }
                    self.pending = Some(Pending { kind: FrameKind::Bracket, cte: None });
                    return Ok(index + 2);
                }
                self.frame_mut().operand = true;
            }
            Kind::Dot | Kind::Arrow | Kind::Operator => self.frame_mut().operand = true,
        }
        if !matches!(token.kind, Kind::Open(_)) {
            self.frame_mut().item_start &= token.kind == Kind::Comma;
        }
        Ok(index + 1)
    }

    pub(super) fn open(&mut self, index: usize) -> Result<(), ScanError> {
        let round = self.tokens[index].kind == Kind::Open(b'(');
        let query = round && self.opens_query(index + 1);
        let tables = self.frame().clause == Clause::Table;
        let (kind, cte) = match self.pending.take() {
            // `any(SELECT ..)`: the bracket holds a query, whatever stands before it.
            Some(it) if query => (FrameKind::Query, it.cte),
            Some(it) => (it.kind, it.cte),
            None if query => (FrameKind::Query, None),
            None if tables && !self.is_word(index + 1, "VALUES") => (FrameKind::Group, None),
            None => (FrameKind::Bracket, None),
        };
        if kind != FrameKind::Query {
            self.refuse_statement(index + 1)?;
        }
        let frame = self.frame_mut();
        if tables {
            frame.clause = Clause::AfterTable;
            frame.table = None;
            frame.alias_taken = false;
        }
        frame.operand = false;
        frame.item_start = false;
        self.push(kind, cte);
        if kind == FrameKind::Call(Call::HigherOrder) {
            self.higher_order += 1;
        }
        Ok(())
    }

    pub(super) fn close(&mut self, index: usize) -> Result<(), ScanError> {
        self.end_condition(index);
        self.check_end(index)?;
        if let Some(frame) = self.frames.pop() {
            self.ctes.truncate(frame.ctes);
            self.ctes.extend(frame.cte);
            if frame.kind == FrameKind::Call(Call::HigherOrder) {
                self.higher_order -= 1;
            }
        }
        Ok(())
    }

    pub(super) fn comma(&mut self, index: usize) -> Result<(), ScanError> {
        let filter = self.frames.len() == 1;
        let frame = self.frame_mut();
        frame.commas += 1;
        match (frame.kind, frame.clause) {
            (FrameKind::Query | FrameKind::Group, Clause::AfterTable | Clause::On) => {
                if frame.operand {
                    return Err(error(self.tokens[index].span, "a value is expected before this comma"));
                }
                frame.clause = Clause::Table;
                return Ok(());
            }
            (FrameKind::Query | FrameKind::Group, Clause::Condition) => {
                return Err(error(self.tokens[index].span, "a condition is one expression"));
            }
            (FrameKind::Query, Clause::With) => frame.item_start = true,
            (FrameKind::Query, Clause::Other | Clause::Order) if frame.operand => {
                return Err(error(self.tokens[index].span, "a value is expected before this comma"));
            }
            (FrameKind::Bracket, _) if filter => {
                return Err(error(self.tokens[index].span, "one expression is expected"));
            }
            (FrameKind::Call(Call::In), _) if frame.commas == 1 => {
                frame.operand = true;
                return self.in_table(index + 1);
            }
            _ => (),
        }
        self.frame_mut().operand = true;
        Ok(())
    }

    /// A name that is no table: a column, a function before its bracket, an alias.
    pub(super) fn name(&mut self, index: usize) -> Result<usize, ScanError> {
        if self.is(index + 1, Kind::Open(b'(')) {
            let plain = self.kind(index) == Some(Kind::Word) && stands_before_bracket(self.raw(index));
            let kind = if plain { FrameKind::Bracket } else { FrameKind::Call(self.check_function(index)?) };
            self.pending = Some(Pending { kind, cte: None });
            self.frame_mut().operand = true;
            return Ok(index + 1);
        }
        self.check_column(index)?;
        // `arrayMap(file, ..)` calls it.
        let names_function = self.higher_order > 0 && !matches!(self.kind(index + 1), Some(Kind::Dot | Kind::Arrow));
        if names_function && functions::function(&self.unquoted(index)?) == Judged::Denied {
            return Err(self.refused_function(index));
        }
        let span = self.span(index);
        let frame = self.frame_mut();
        if frame.clause == Clause::AfterTable && !frame.alias_taken {
            frame.alias_taken = true;
            if let Some(table) = frame.table {
                self.scan.tables[table].alias = Some(span);
            }
        }
        self.frame_mut().operand = false;
        Ok(index + 1)
    }

    /// A name after a dot.
    pub(super) fn member(&mut self, index: usize) -> Result<usize, ScanError> {
        if self.is(index + 1, Kind::Open(b'(')) && !self.is_word(index, "COLUMNS") {
            return Err(self.refused_function(index));
        }
        self.check_column(index)?;
        self.frame_mut().operand = false;
        Ok(index + 1)
    }

    /// The column that every table has and that tells the database's name, which nobody is to know.
    fn check_column(&self, index: usize) -> Result<(), ScanError> {
        if self.unquoted(index).is_ok_and(|it| it == "_database") {
            return Err(self.refuse(index, Refused::DatabasePrefix, "the column `_database` is not for reading"));
        }
        Ok(())
    }

    pub(super) fn check_function(&mut self, index: usize) -> Result<Call, ScanError> {
        let name = self.unquoted(index)?;
        match functions::function(&name) {
            Judged::Allowed => (),
            Judged::Denied => return Err(self.refused_function(index)),
            // Unknown to the engine: a type, or a lambda's alias.
            Judged::Unknown if functions::is_type(&name) || self.is_declared(&name) => (),
            Judged::Unknown => return Err(self.refused_function(index)),
        }
        let lower = name.to_ascii_lowercase();
        Ok(match lower.trim_end_matches("ignoreset") {
            "extract" | "trim" | "ltrim" | "rtrim" | "substring" | "substr" | "mid" | "overlay" => Call::From,
            "in" | "notin" | "globalin" | "globalnotin" | "nullin" | "notnullin" | "globalnullin"
            | "globalnotnullin" => Call::In,
            "position" => Call::Position,
            _ if functions::is_higher_order(&name) => Call::HigherOrder,
            _ => Call::Plain,
        })
    }

    /// `{name: String}` of a secret.
    pub(super) fn placeholder(&mut self, index: usize) -> Result<usize, ScanError> {
        let inner = (self.kind(index + 1), self.is_word(index + 3, "String"), self.kind(index + 4));
        let colon = self.kind(index + 2) == Some(Kind::Operator) && self.raw(index + 2) == ":";
        if !matches!(inner, (Some(Kind::Word), true, Some(Kind::Close(b'}')))) || !colon {
            return Err(error(self.span(index), "braces are not allowed"));
        }
        let name = self.raw(index + 1);
        if !self.secrets.iter().any(|it| it == name) {
            return Err(error(self.span(index), "parameters in braces are not allowed"));
        }
        let span = Span::new(self.span(index).start, self.span(index + 4).end);
        self.scan.placeholders.push((span, name.to_owned()));
        self.frame_mut().operand = false;
        Ok(index + 5)
    }

    /// Words that begin statements which the engine reads as tables when they stand in brackets.
    pub(super) fn refuse_statement(&self, index: usize) -> Result<(), ScanError> {
        let statement = ["EXPLAIN", "DESCRIBE", "DESC", "SHOW"].iter().any(|it| self.is_word(index, it));
        let goes_on = match self.kind(index + 1) {
            Some(Kind::Open(b'(') | Kind::Quoted) => true,
            Some(Kind::Word) => {
                !matches!(keyword(self.raw(index + 1)), Some(Keyword::Infix | Keyword::In | Keyword::As | Keyword::Not))
            }
            _ => false,
        };
        if statement && goes_on {
            return Err(self.refuse(index, Refused::NotSelect, "only SELECT is allowed"));
        }
        Ok(())
    }

    pub(super) fn push(&mut self, kind: FrameKind, cte: Option<Cow<'t, str>>) {
        let select = match kind {
            FrameKind::Query => {
                self.scan.selects.push(Select::default());
                self.scan.selects.len() - 1
            }
            _ => self.frames.last().map_or(0, |it| it.select),
        };
        self.frames.push(Frame {
            kind,
            clause: match kind {
                FrameKind::Query => Clause::Start,
                FrameKind::Group => Clause::Table,
                FrameKind::Call(_) | FrameKind::Bracket => Clause::Other,
            },
            operand: kind != FrameKind::Group,
            select,
            ctes: self.ctes.len(),
            cte,
            seen_select: false,
            seen_from: false,
            recursive: false,
            item_start: false,
            condition: None,
            table: None,
            alias_taken: false,
            commas: 0,
        });
    }

    pub(super) fn frame(&self) -> &Frame<'t> {
        self.frames.last().expect("the outermost frame stays: brackets are paired")
    }

    pub(super) fn frame_mut(&mut self) -> &mut Frame<'t> {
        self.frames.last_mut().expect("the outermost frame stays: brackets are paired")
    }

    pub(super) fn at_item_start(&self) -> bool {
        self.frame().clause == Clause::With && self.frame().item_start
    }

    /// Whether a query begins at `index`, behind any number of brackets.
    pub(super) fn opens_query(&self, mut index: usize) -> bool {
        while self.is(index, Kind::Open(b'(')) {
            index += 1;
        }
        ["SELECT", "WITH", "FROM"].iter().any(|it| self.is_word(index, it))
    }

    /// The end of `a.b.c`.
    pub(super) fn chain(&self, index: usize) -> Result<usize, ScanError> {
        let mut next = index + 1;
        while self.is(next, Kind::Dot) {
            match self.kind(next + 1) {
                Some(Kind::Word | Kind::Quoted) => next += 2,
                _ => return Err(error(self.span(next), "a name is expected after this dot")),
            }
        }
        Ok(next)
    }

    pub(super) fn is_between_values(&self, index: usize) -> bool {
        ["AND", "OR", "THEN", "WHEN", "ELSE", "IS", "BETWEEN"].iter().any(|it| self.is_word(index, it))
    }

    pub(super) fn kind(&self, index: usize) -> Option<Kind> {
        self.tokens.get(index).map(|it| it.kind)
    }

    pub(super) fn is(&self, index: usize, kind: Kind) -> bool {
        self.kind(index) == Some(kind)
    }

    pub(super) fn is_word(&self, index: usize, word: &str) -> bool {
        self.is(index, Kind::Word) && self.raw(index).eq_ignore_ascii_case(word)
    }

    pub(super) fn span(&self, index: usize) -> Span {
        self.tokens.get(index).map_or(Span::at(self.text.len()), |it| it.span)
    }

    pub(super) fn raw(&self, index: usize) -> &'t str {
        let span = self.span(index);
        &self.text[span.start..span.end]
    }

    pub(super) fn unquoted(&self, index: usize) -> Result<Cow<'t, str>, ScanError> {
        match self.kind(index) {
            Some(Kind::Quoted) => {
                unquote(self.raw(index)).ok_or_else(|| error(self.span(index), "this name cannot be read"))
            }
            _ => Ok(Cow::Borrowed(self.raw(index))),
        }
    }

    pub(super) fn refuse(&self, index: usize, category: Refused, message: impl Into<String>) -> ScanError {
        ScanError { category, span: self.span(index), message: message.into() }
    }

    pub(super) fn misplaced(&self, index: usize) -> ScanError {
        let word = self.raw(index);
        error(self.span(index), format!("`{word}` cannot stand here; a name like this needs backquotes"))
    }

    pub(super) fn refused_function(&self, index: usize) -> ScanError {
        let name = self.raw(index);
        self.refuse(index, Refused::Function, format!("the function `{name}` is not allowed"))
    }

    pub(super) fn prefixed(&self, index: usize, database: &str) -> ScanError {
        let category = if is_system(database) { Refused::SystemTable } else { Refused::DatabasePrefix };
        let words = "a table is named without its database";
        let words = match category {
            Refused::DatabasePrefix => format!("{words}, and `{database}` shares nothing with this workspace"),
            _ => words.to_owned(),
        };
        self.refuse(index, category, words)
    }
}

/// The engine's own databases.
pub(super) fn is_system(database: &str) -> bool {
    ["system", "information_schema"].iter().any(|it| database.eq_ignore_ascii_case(it))
}
