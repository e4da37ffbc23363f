//! What ClickHouse's own clients write beside a plain SELECT: SHOW and DESCRIBE, INSERT heads, `{name:Type}` parameters,
//! names with their database before them, functions that tell of the server.
//!
//! In: a client's text. Out: a [`Statement`], an [`InsertHead`], or the same text as `/v0/sql` could have sent it. What
//! comes out of [`adapt`] is a caller's text like any other: it is scanned after this, never before.

use super::{
    Refused, ScanError,
    lexer::{self, Kind, Token, error, lex, unquote},
};
use crate::{diagnostic::Span, sql::Sql};
use std::borrow::Cow;

/// A statement about what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    Databases { like: Option<Like> },
    Tables { database: Option<String>, like: Option<Like>, full: bool },
    Describe(TableName),
    Create(TableName),
    Exists(TableName),
    ExistsDatabase(String),
    Use(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Like {
    pub pattern: String,
    pub not: bool,
    pub any_case: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    pub database: Option<String>,
    pub name: String,
}

/// What stands before the rows of an INSERT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsertHead {
    pub table: TableName,
    pub columns: Option<Vec<String>>,
    pub format: String,
    /// Where in the text the rows begin.
    pub data: usize,
}

/// What a text of a client can say that a text of the API cannot.
#[derive(Debug, Clone, Default)]
pub struct Dialect<'a> {
    /// Values of `{name:Type}`, as they came: tab-separated, escaped.
    pub parameters: &'a [(String, String)],
    /// Names of databases that mean the workspace itself.
    pub databases: &'a [&'a str],
    /// Functions without arguments, and what they say.
    pub constants: &'a [(&'a str, &'a str)],
}

struct Reader<'t> {
    text: &'t str,
    tokens: &'t [Token],
    at: usize,
}

impl<'t> Reader<'t> {
    fn raw(&self, index: usize) -> &'t str {
        self.tokens.get(index).map_or("", |it| &self.text[it.span.start..it.span.end])
    }

    fn kind(&self, index: usize) -> Option<Kind> {
        self.tokens.get(index).map(|it| it.kind)
    }

    fn peek(&self, word: &str) -> bool {
        self.kind(self.at) == Some(Kind::Word) && self.raw(self.at).eq_ignore_ascii_case(word)
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.peek(word);
        self.at += usize::from(found);
        found
    }

    fn one_of(&mut self, words: &[&str]) -> bool {
        words.iter().any(|it| self.word(it))
    }

    fn name(&mut self) -> Option<String> {
        let raw = self.raw(self.at);
        let name = match self.kind(self.at)? {
            Kind::Word => raw.to_owned(),
            Kind::Quoted => unquote(raw)?.into_owned(),
            _ => return None,
        };
        self.at += 1;
        Some(name)
    }

    fn string(&mut self) -> Option<String> {
        let inner = self.raw(self.at).strip_prefix('\'')?.strip_suffix('\'')?;
        self.at += 1;
        Some(unescaped(&inner.replace("''", "'")))
    }

    fn table(&mut self) -> Option<TableName> {
        let first = self.name()?;
        if self.kind(self.at) != Some(Kind::Dot) {
            return Some(TableName { database: None, name: first });
        }
        self.at += 1;
        Some(TableName { database: Some(first), name: self.name()? })
    }

    /// `[NOT] [I]LIKE 'pattern'`; an error is nothing.
    fn like(&mut self) -> Option<Option<Like>> {
        let not = self.word("NOT");
        let any_case = self.peek("ILIKE");
        if !self.one_of(&["LIKE", "ILIKE"]) {
            return (!not).then_some(None);
        }
        Some(Some(Like { pattern: self.string()?, not, any_case }))
    }

    fn is_end(&self) -> bool {
        self.tokens.get(self.at..).unwrap_or_default().iter().all(|it| it.kind == Kind::Semicolon)
    }
}

/// The statement about what there is that a text makes; nothing for every other text.
pub fn statement(text: &str) -> Option<Statement> {
    // No such statement is long, and most texts are none.
    let first = text.trim_start().get(..3)?;
    if !["sho", "des", "exi", "use"].iter().any(|it| first.eq_ignore_ascii_case(it)) {
        return None;
    }
    let tokens = lex(text).ok()?;
    let mut it = Reader { text, tokens: &tokens, at: 0 };
    let statement = if it.word("SHOW") {
        let full = it.word("FULL");
        if it.one_of(&["DATABASES", "SCHEMAS"]) && !full {
            Statement::Databases { like: it.like()? }
        } else if it.word("TABLES") {
            let database = if it.one_of(&["FROM", "IN"]) { Some(it.name()?) } else { None };
            Statement::Tables { database, like: it.like()?, full }
        } else if it.word("CREATE") && !full {
            it.one_of(&["TABLE", "VIEW"]);
            Statement::Create(it.table()?)
        } else {
            return None;
        }
    } else if it.one_of(&["DESCRIBE", "DESC"]) {
        it.word("TABLE");
        Statement::Describe(it.table()?)
    } else if it.word("EXISTS") {
        if it.word("DATABASE") {
            Statement::ExistsDatabase(it.name()?)
        } else {
            it.one_of(&["TABLE", "VIEW"]);
            Statement::Exists(it.table()?)
        }
    } else if it.word("USE") {
        it.word("DATABASE");
        Statement::Use(it.name()?)
    } else {
        return None;
    };
    it.is_end().then_some(statement)
}

/// Whether a text begins like an INSERT.
pub fn is_insert(text: &str) -> bool {
    let begins = |tokens: &[Token]| !tokens.is_empty();
    let Ok(tokens) = lexer::lex_until(text, begins) else { return false };
    Reader { text, tokens: &tokens, at: 0 }.word("INSERT")
}

/// Reads an INSERT up to its rows, whatever these are.
pub fn insert_head(text: &str) -> Result<InsertHead, ScanError> {
    let is = |token: &Token, word: &str| {
        token.kind == Kind::Word && text[token.span.start..token.span.end].eq_ignore_ascii_case(word)
    };
    let tokens = lexer::lex_until(text, |tokens| match tokens {
        [.., format, name] if is(format, "FORMAT") => matches!(name.kind, Kind::Word | Kind::Quoted),
        [.., last] => ["VALUES", "SELECT", "WITH", "WATCH"].iter().any(|it| is(last, it)),
        [] => false,
    })?;
    let mut it = Reader { text, tokens: &tokens, at: 0 };
    let unread = |it: &Reader<'_>| {
        let span = it.tokens.get(it.at).map_or(Span::at(text.len()), |token| token.span);
        error(span, "INSERT INTO table [(columns)] FORMAT name is expected, or VALUES, then the rows")
    };
    if !(it.word("INSERT") && it.word("INTO")) {
        return Err(unread(&it));
    }
    it.word("TABLE");
    if it.peek("FUNCTION") {
        return Err(unread(&it));
    }
    let table = it.table().ok_or_else(|| unread(&it))?;
    let mut columns = None;
    if it.kind(it.at) == Some(Kind::Open(b'(')) {
        it.at += 1;
        let mut names = Vec::new();
        while it.kind(it.at) != Some(Kind::Close(b')')) {
            names.push(it.name().ok_or_else(|| unread(&it))?);
            if it.kind(it.at) == Some(Kind::Comma) {
                it.at += 1;
            } else if it.kind(it.at) != Some(Kind::Close(b')')) {
                return Err(unread(&it));
            }
        }
        it.at += 1;
        columns = Some(names);
    }
    if ["SELECT", "WITH", "WATCH"].iter().any(|word| it.peek(word)) {
        let message = "INSERT takes rows that come with it, not those of a query";
        return Err(ScanError { category: Refused::NotSelect, span: Span::at(0), message: message.to_owned() });
    }
    if it.peek("SETTINGS") {
        let span = it.tokens[it.at].span;
        let message = "SETTINGS of an INSERT come as parameters of the request";
        return Err(ScanError { category: Refused::Settings, span, message: message.to_owned() });
    }
    if it.word("VALUES") {
        let data = it.tokens[it.at - 1].span.end;
        return Ok(InsertHead { table, columns, format: "Values".to_owned(), data });
    }
    if !it.word("FORMAT") {
        return Err(unread(&it));
    }
    let format = it.name().ok_or_else(|| unread(&it))?;
    let end = it.tokens[it.at - 1].span.end;
    let rest = &text.as_bytes()[end..];
    let blanks = rest.iter().take_while(|it| matches!(it, b' ' | b'\t' | b'\r')).count();
    let line = usize::from(rest.get(blanks) == Some(&b'\n'));
    Ok(InsertHead { table, columns, format, data: end + blanks + line })
}

/// The text with parameters, the workspace's own database and the server's constants written out.
pub fn adapt<'t>(text: &'t str, dialect: &Dialect<'_>) -> Result<Cow<'t, str>, ScanError> {
    let tokens = lex(text)?;
    let it = Reader { text, tokens: &tokens, at: 0 };
    let mut res = String::new();
    let mut done = 0;
    let mut index = 0;
    while index < tokens.len() {
        let Some((replacement, next)) = replaced(&it, index, dialect)? else {
            index += 1;
            continue;
        };
        res.push_str(&text[done..tokens[index].span.start]);
        res.push_str(&replacement);
        done = tokens[next - 1].span.end;
        index = next;
    }
    if done == 0 {
        return Ok(Cow::Borrowed(text));
    }
    res.push_str(&text[done..]);
    Ok(Cow::Owned(res))
}

/// What stands instead of the tokens from `index` on, and the token after them.
fn replaced(it: &Reader<'_>, index: usize, dialect: &Dialect<'_>) -> Result<Option<(String, usize)>, ScanError> {
    let kind = |at: usize| it.kind(at);
    let after_dot = index > 0 && kind(index - 1) == Some(Kind::Dot);
    match it.tokens[index].kind {
        Kind::Open(b'{') => {
            let named = matches!(kind(index + 1), Some(Kind::Word | Kind::Quoted));
            if !named || kind(index + 2) != Some(Kind::Operator) || it.raw(index + 2) != ":" {
                return Ok(None);
            }
            let end = it.tokens[index].partner;
            let type_text = it.text[it.tokens[index + 2].span.end..it.tokens[end].span.start].trim();
            let name = it.raw(index + 1);
            let value = dialect.parameters.iter().find(|(it, _)| it == name).ok_or_else(|| {
                let span = it.tokens[index + 1].span;
                let message = format!("the query parameter `{name}` is not set");
                ScanError { category: Refused::Parameter, span, message }
            })?;
            Ok(Some((written(type_text, &value.1), end + 1)))
        }
        Kind::Word | Kind::Quoted if !after_dot => {
            let raw = it.raw(index);
            let name = if it.tokens[index].kind == Kind::Quoted { unquote(raw) } else { Some(Cow::Borrowed(raw)) };
            let Some(name) = name else { return Ok(None) };
            let before_name =
                kind(index + 1) == Some(Kind::Dot) && matches!(kind(index + 2), Some(Kind::Word | Kind::Quoted));
            if before_name && dialect.databases.contains(&&*name) {
                return Ok(Some((String::new(), index + 2)));
            }
            let called = kind(index + 1) == Some(Kind::Open(b'(')) && kind(index + 2) == Some(Kind::Close(b')'));
            let constant = dialect.constants.iter().find(|(it, _)| called && it.eq_ignore_ascii_case(&name));
            Ok(constant.map(|(_, value)| (constant_text(it, index, value), index + 3)))
        }
        _ => Ok(None),
    }
}

/// A constant, called like the function it stands for where it is a column of its own.
fn constant_text(it: &Reader<'_>, index: usize, value: &str) -> String {
    let word = |at: usize, word: &str| it.kind(at) == Some(Kind::Word) && it.raw(at).eq_ignore_ascii_case(word);
    let begins = index > 0 && (word(index - 1, "SELECT") || it.kind(index - 1) == Some(Kind::Comma));
    let ends = match it.kind(index + 3) {
        None | Some(Kind::Comma | Kind::Semicolon) => true,
        _ => word(index + 3, "FROM"),
    };
    let mut sql = Sql::default();
    sql.string(value);
    if begins && ends {
        let name = &it.text[it.tokens[index].span.start..it.tokens[index + 2].span.end];
        sql.push(" AS ").ident(name);
    }
    sql.as_str().to_owned()
}

/// A parameter's value as the engine would put it in: a name, a text, or a text cast to its type.
fn written(type_text: &str, value: &str) -> String {
    let mut sql = Sql::default();
    match type_text {
        "Identifier" => _ = sql.ident(&unescaped(value)),
        "String" => _ = sql.string(&unescaped(value)),
        _ if value == "\\N" => _ = sql.push("CAST(NULL, ").string(type_text).push(")"),
        _ => _ = sql.push("CAST(").string(&unescaped(value)).push(", ").string(type_text).push(")"),
    }
    sql.as_str().to_owned()
}

/// A text without its escapes, as tab-separated values have them.
fn unescaped(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            res.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => res.push('\n'),
            Some('t') => res.push('\t'),
            Some('r') => res.push('\r'),
            Some('b') => res.push('\u{8}'),
            Some('f') => res.push('\u{c}'),
            Some('0') => res.push('\0'),
            Some(other) => res.push(other),
            None => res.push('\\'),
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(text: &str, parameters: &[(&str, &str)]) -> String {
        let parameters: Vec<_> = parameters.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let dialect = Dialect {
            parameters: &parameters,
            databases: &["default", "house"],
            constants: &[("version", "26.7"), ("currentDatabase", "house")],
        };
        adapt(text, &dialect).map_or_else(|it| it.message, Cow::into_owned)
    }

    #[test]
    fn parameters_are_values_whatever_is_in_them() {
        for (text, value, expected) in [
            ("SELECT {x:UInt8}", "7", "SELECT CAST('7', 'UInt8')"),
            ("SELECT { x : String } AS a", "it's\\n", "SELECT 'it\\'s\\n' AS a"),
            ("SELECT {x:Nullable(String)}", "\\N", "SELECT CAST(NULL, 'Nullable(String)')"),
            ("SELECT * FROM {x:Identifier}", "a` UNION", "SELECT * FROM `a\\` UNION`"),
            ("SELECT {x:Array(String)}", "['a','b']", "SELECT CAST('[\\'a\\',\\'b\\']', 'Array(String)')"),
            ("SELECT '{x:UInt8}', {'a': 1}", "7", "SELECT '{x:UInt8}', {'a': 1}"),
            ("SELECT {y:UInt8}", "7", "the query parameter `y` is not set"),
        ] {
            assert_eq!(adapted(text, &[("x", value)]), expected);
        }
    }

    #[test]
    fn the_workspaces_own_name_goes_and_others_stay() {
        for (text, expected) in [
            ("SELECT a FROM default.t", "SELECT a FROM t"),
            ("SELECT `house`.`t`.`a` FROM \"house\".t", "SELECT `t`.`a` FROM t"),
            ("SELECT x.default.y FROM other.t", "SELECT x.default.y FROM other.t"),
            ("SELECT default FROM default", "SELECT default FROM default"),
            ("SELECT version(), 1", "SELECT '26.7' AS `version()`, 1"),
            ("SELECT concat(version(), 'x') FROM t", "SELECT concat('26.7', 'x') FROM t"),
            ("SELECT CURRENTDATABASE() AS d", "SELECT 'house' AS d"),
            ("SELECT a.version()", "SELECT a.version()"),
        ] {
            assert_eq!(adapted(text, &[]), expected);
        }
    }

    #[test]
    fn statements_are_read_whole_or_not_at_all() {
        let table = |database: Option<&str>, name: &str| TableName {
            database: database.map(str::to_owned),
            name: name.to_owned(),
        };
        let like = |pattern: &str, not, any_case| Some(Like { pattern: pattern.to_owned(), not, any_case });
        for (text, expected) in [
            ("SHOW DATABASES", Some(Statement::Databases { like: None })),
            ("show schemas like 'a%';", Some(Statement::Databases { like: like("a%", false, false) })),
            (
                "SHOW TABLES FROM `x` NOT ILIKE 'b'",
                Some(Statement::Tables { database: Some("x".to_owned()), like: like("b", true, true), full: false }),
            ),
            ("DESC a.`b`", Some(Statement::Describe(table(Some("a"), "b")))),
            ("DESCRIBE TABLE b", Some(Statement::Describe(table(None, "b")))),
            ("EXISTS t", Some(Statement::Exists(table(None, "t")))),
            ("EXISTS DATABASE t", Some(Statement::ExistsDatabase("t".to_owned()))),
            ("SHOW CREATE TABLE t", Some(Statement::Create(table(None, "t")))),
            ("USE t", Some(Statement::Use("t".to_owned()))),
            ("SHOW ACCESS", None),
            ("SHOW TABLES; DROP TABLE x", None),
            ("DESCRIBE file('/etc/passwd')", None),
            ("DESCRIBE (SELECT 1)", None),
            ("SELECT 1", None),
        ] {
            assert_eq!(statement(text), expected, "{text}");
        }
    }

    #[test]
    fn an_insert_is_read_up_to_its_rows() {
        let head = |text: &str| {
            let head = insert_head(text).map_err(|it| it.message)?;
            let name = match head.table.database {
                Some(database) => format!("{database}.{}", head.table.name),
                None => head.table.name,
            };
            Ok::<_, String>((name, head.columns.map(|it| it.join(",")), head.format, text[head.data..].to_owned()))
        };
        let good = |name: &str, columns: Option<&str>, format: &str, data: &str| {
            Ok((name.to_owned(), columns.map(str::to_owned), format.to_owned(), data.to_owned()))
        };
        assert_eq!(head("INSERT INTO t FORMAT CSV\n1,\"x"), good("t", None, "CSV", "1,\"x"));
        assert_eq!(
            head("insert into `d`.t (`a`, b) format Native \n\n\u{1}"),
            good("d.t", Some("a,b"), "Native", "\n\u{1}")
        );
        assert_eq!(head("INSERT INTO t VALUES (1, 'x')"), good("t", None, "Values", " (1, 'x')"));
        assert_eq!(head("INSERT INTO t FORMAT JSONEachRow {\"a\":1}"), good("t", None, "JSONEachRow", "{\"a\":1}"));
        for bad in ["INSERT INTO t", "INSERT INTO FUNCTION file('x') VALUES (1)", "INSERT INTO t SELECT 1"] {
            assert!(head(bad).is_err(), "{bad}");
        }
        assert!(is_insert(" /* a */ InSert INTO t") && !is_insert("SELECT 1") && !is_insert(""));
    }
}
