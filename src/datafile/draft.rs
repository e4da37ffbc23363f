//! A datafile's text, made from its parts: what an API gives field by field becomes a file like any other.
//!
//! In: drafts, filled by a caller or from a parsed [`Datafile`]. Out: text in one form, which parses to the same
//! parts. What the parts mean is not known here.

use super::{ColumnLine, Datafile, Dialect, EngineLines, Kind, NodeLines, TokenLine, commands, schema};
use crate::diagnostic::Mapped;
use std::fmt::{self, Write};

/// The parts of a `.datasource` file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DatasourceDraft {
    pub description: String,
    /// As TOKEN has them: a name and a permission.
    pub tokens: Vec<(String, String)>,
    pub tags: Vec<String>,
    pub shared_with: Vec<String>,
    /// A column each: `` `a` Int8 `json:$.a` DEFAULT 1 ``.
    pub columns: Vec<String>,
    pub engine: EngineDraft,
    /// A line of INDEXES each.
    pub indexes: Vec<String>,
    pub forward_query: Option<String>,
    /// Other commands in lower case, with their values.
    pub settings: Vec<(String, String)>,
}

/// ENGINE and its options.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EngineDraft {
    pub family: Option<String>,
    /// By the part after `engine_`.
    pub options: Vec<(String, String)>,
}

/// The parts of a `.pipe` file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PipeDraft {
    pub description: String,
    pub tokens: Vec<(String, String)>,
    pub tags: Vec<String>,
    pub nodes: Vec<NodeDraft>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeDraft {
    pub name: String,
    pub description: String,
    pub sql: String,
    /// `endpoint`, `materialized`, .., in lower case.
    pub kind: Option<String>,
    pub engine: EngineDraft,
    pub tags: Vec<String>,
    pub settings: Vec<(String, String)>,
}

/// The columns of a schema that stands in one line, a text each.
pub fn split_columns(schema: &str) -> Vec<String> {
    let text = Mapped::whole(schema, 0);
    let columns = schema::parse(text, Dialect::Auto).columns;
    if columns.is_empty() {
        // What cannot be read is reported when the file is parsed.
        return vec![schema.trim().to_owned()];
    }
    columns.iter().map(column).collect()
}

/// Whether `name`, in lower case, is a command that a file of this kind can have.
pub fn has_command(kind: Kind, name: &str) -> bool {
    commands::is_command(name, kind, Dialect::Auto)
}

impl DatasourceDraft {
    pub fn of(file: &Datafile) -> DatasourceDraft {
        DatasourceDraft {
            description: file.description.as_ref().map(|it| plain(it.as_str())).unwrap_or_default(),
            tokens: tokens(&file.tokens),
            tags: tags(file),
            shared_with: file.shared_with.iter().map(|it| it.as_str().to_owned()).collect(),
            columns: file.schema.iter().flatten().map(column).collect(),
            engine: EngineDraft::of(&file.engine),
            indexes: file.indexes.iter().map(index).collect(),
            forward_query: file.forward_query.as_ref().map(|it| it.text().to_owned()),
            settings: file.settings.iter().map(|(name, it)| (name.to_owned(), it.as_str().to_owned())).collect(),
        }
    }

    /// Sets a command, or takes it away.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        self.settings.retain(|(it, _)| it != name);
        self.settings.extend(value.map(|it| (name.to_owned(), it)));
    }
}

impl EngineDraft {
    fn of(lines: &EngineLines) -> EngineDraft {
        let options = lines.options.iter().filter(|(_, it)| !it.is_empty());
        EngineDraft {
            family: lines.family.as_ref().map(|it| it.as_str().to_owned()),
            options: options.map(|(name, it)| (name.clone(), it.as_str().to_owned())).collect(),
        }
    }

    pub fn set(&mut self, name: &str, value: Option<String>) {
        self.options.retain(|(it, _)| it != name);
        self.options.extend(value.map(|it| (name.to_owned(), it)));
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(family) = &self.family {
            writeln!(f, "ENGINE {}", quoted(family))?;
        }
        for (name, value) in &self.options {
            writeln!(f, "ENGINE_{} {}", name.to_uppercase(), quoted(value))?;
        }
        Ok(())
    }
}

impl PipeDraft {
    pub fn of(file: &Datafile) -> PipeDraft {
        PipeDraft {
            description: file.description.as_ref().map(|it| plain(it.as_str())).unwrap_or_default(),
            tokens: tokens(&file.tokens),
            tags: tags(file),
            nodes: file.nodes.iter().map(NodeDraft::of).collect(),
        }
    }
}

impl NodeDraft {
    fn of(lines: &NodeLines) -> NodeDraft {
        NodeDraft {
            name: lines.name.as_str().to_owned(),
            description: lines.description.as_ref().map(|it| plain(it.as_str())).unwrap_or_default(),
            sql: lines.sql.as_ref().map(|it| it.text().to_owned()).unwrap_or_default(),
            kind: lines.node_type.as_ref().map(|it| it.as_str().to_ascii_lowercase()).filter(|it| !it.is_empty()),
            engine: EngineDraft::of(&lines.engine),
            tags: lines.operational_tags.clone(),
            settings: lines.settings.iter().map(|(name, it)| (name.to_owned(), it.as_str().to_owned())).collect(),
        }
    }
}

impl fmt::Display for DatasourceDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        head(f, &self.tokens, &self.tags, &self.description)?;
        f.write_str("SCHEMA >\n")?;
        for (at, column) in self.columns.iter().enumerate() {
            let comma = if at + 1 < self.columns.len() { "," } else { "" };
            writeln!(f, "    {}{comma}", one_line(column))?;
        }
        if self.engine != EngineDraft::default() {
            f.write_str("\n")?;
            self.engine.print(f)?;
        }
        if !self.indexes.is_empty() {
            f.write_str("\nINDEXES >\n")?;
            self.indexes.iter().try_for_each(|it| writeln!(f, "    {}", one_line(it)))?;
        }
        if let Some(query) = &self.forward_query {
            f.write_str("\nFORWARD_QUERY >\n")?;
            block(f, query)?;
        }
        if !self.settings.is_empty() {
            f.write_str("\n")?;
            settings(f, &self.settings)?;
        }
        if !self.shared_with.is_empty() {
            f.write_str("\nSHARED_WITH >\n")?;
            self.shared_with.iter().try_for_each(|it| writeln!(f, "    {it}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for PipeDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        head(f, &self.tokens, &self.tags, &self.description)?;
        for (at, node) in self.nodes.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            writeln!(f, "NODE {}", node.name)?;
            if !node.tags.is_empty() {
                writeln!(f, "TAGS {}", quoted(&node.tags.join(", ")))?;
            }
            description(f, &node.description)?;
            f.write_str("SQL >\n")?;
            block(f, &node.sql)?;
            if let Some(kind) = &node.kind {
                writeln!(f, "\nTYPE {kind}")?;
            }
            settings(f, &node.settings)?;
            node.engine.print(f)?;
        }
        Ok(())
    }
}

fn head(f: &mut fmt::Formatter<'_>, tokens: &[(String, String)], tags: &[String], words: &str) -> fmt::Result {
    for (name, permission) in tokens {
        writeln!(f, "TOKEN {} {permission}", quoted(name))?;
    }
    if !tags.is_empty() {
        writeln!(f, "TAGS {}", quoted(&tags.join(", ")))?;
    }
    if !tokens.is_empty() || !tags.is_empty() {
        f.write_str("\n")?;
    }
    description(f, words)?;
    if !words.trim().is_empty() {
        f.write_str("\n")?;
    }
    Ok(())
}

fn description(f: &mut fmt::Formatter<'_>, words: &str) -> fmt::Result {
    if words.trim().is_empty() {
        return Ok(());
    }
    f.write_str("DESCRIPTION >\n")?;
    words.trim().lines().try_for_each(|line| writeln!(f, "    {}", line.trim()))
}

fn settings(f: &mut fmt::Formatter<'_>, settings: &[(String, String)]) -> fmt::Result {
    settings.iter().try_for_each(|(name, value)| writeln!(f, "{} {}", name.to_uppercase(), one_line(value)))
}

/// SQL as clients send it: without the blanks around the whole, so that its first line lost the indentation that
/// the others may still have.
pub fn dedented(sql: &str) -> String {
    let sql = sql.trim();
    let margin = rest_margin(sql).min(INDENT);
    if sql.starts_with('%') || margin == 0 {
        return sql.to_owned();
    }
    let mut lines = sql.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + "\n" + line.get(margin..).unwrap_or_default())
}

const INDENT: usize = 4;

/// The indentation that all lines but the first share.
fn rest_margin(sql: &str) -> usize {
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    sql.lines().skip(1).filter(|it| !it.trim().is_empty()).map(indent).min().unwrap_or(0)
}

/// A block of SQL. Every line is indented, or else one could be taken for a command. A template keeps its
/// indentation when it is parsed, so the lines of one that has some are left as they are.
fn block(f: &mut fmt::Formatter<'_>, sql: &str) -> fmt::Result {
    let sql = sql.trim_end();
    let keeps = sql.starts_with('%') && rest_margin(sql) > 0;
    for (at, line) in sql.lines().enumerate() {
        let margin = if keeps && at > 0 { 0 } else { INDENT };
        match line.trim().is_empty() {
            true => f.write_char('\n')?,
            false => writeln!(f, "{:margin$}{line}", "")?,
        }
    }
    Ok(())
}

/// Words without the indentation of their block.
fn plain(words: &str) -> String {
    words.trim().lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

fn tokens(lines: &[TokenLine]) -> Vec<(String, String)> {
    lines.iter().map(|it| (it.name.as_str().to_owned(), it.scope.as_str().to_owned())).collect()
}

fn tags(file: &Datafile) -> Vec<String> {
    file.tags.iter().chain(&file.operational_tags).cloned().collect()
}

fn column(line: &ColumnLine) -> String {
    let mut res = format!("`{}`", line.name);
    if !line.type_text.is_empty() {
        _ = write!(res, " {}", line.type_text.as_str().trim());
    }
    if let Some(path) = &line.jsonpath {
        _ = write!(res, " `json:{path}`");
    }
    for (word, value) in [(" DEFAULT ", &line.default), (" MATERIALIZED ", &line.materialized), (" ", &line.codec)] {
        if let Some(value) = value {
            res.push_str(word);
            res.push_str(value.as_str().trim());
        }
    }
    res
}

fn index(line: &super::IndexLine) -> String {
    let mut res = format!("INDEX {} {} TYPE {}", line.name, line.expression, line.kind);
    if let Some(granularity) = &line.granularity {
        _ = write!(res, " GRANULARITY {granularity}");
    }
    res
}

/// A value in one line: only a block may have more, and few commands can be one.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" ")
}

fn quoted(text: &str) -> String {
    let text = one_line(text);
    match (text.contains('"'), text.contains('\'')) {
        (false, _) => format!("\"{text}\""),
        (true, false) => format!("'{text}'"),
        (true, true) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        datafile::{Context, no_includes, parse},
        diagnostic::{Source, has_errors},
    };

    fn read(path: &str, text: &str) -> Datafile {
        let (file, diagnostics) = parse(&Source::new(path, text), &Context::default(), &no_includes).unwrap();
        assert!(!has_errors(&diagnostics), "{diagnostics:?}");
        file
    }

    /// Prints what a text says; the print says the same, and printing it again changes nothing.
    fn datasource(text: &str) -> String {
        let draft = DatasourceDraft::of(&read("a.datasource", text));
        let printed = draft.to_string();
        let again = DatasourceDraft::of(&read("a.datasource", &printed));
        assert_eq!(draft, again, "{printed}");
        printed
    }

    fn pipe(text: &str) -> String {
        let draft = PipeDraft::of(&read("a.pipe", text));
        let printed = draft.to_string();
        let again = PipeDraft::of(&read("a.pipe", &printed));
        assert_eq!(draft, again, "{printed}");
        assert_eq!(again.to_string(), printed);
        printed
    }

    #[test]
    fn a_data_source_keeps_every_part() {
        let printed = datasource(
            "TOKEN \"x y\" APPEND\nTAGS a, b\nDESCRIPTION What\n\nSCHEMA >\n `a` Int8 `json:$.a` DEFAULT 1,\n b DateTime \
             CODEC(ZSTD(1))\nENGINE MergeTree\nENGINE_TTL b + interval 1 day\nENGINE_SORTING_KEY \"a, b\"\nINDEXES >\n  i a \
             TYPE minmax GRANULARITY 4\nKAFKA_CONNECTION_NAME c\nKAFKA_TOPIC t\nKAFKA_GROUP_ID g\n",
        );
        insta::assert_snapshot!(printed, @r#"
        TOKEN "x y" APPEND
        TAGS "a, b"

        DESCRIPTION >
            What

        SCHEMA >
            `a` Int8 `json:$.a` DEFAULT 1,
            `b` DateTime CODEC(ZSTD(1))

        ENGINE "MergeTree"
        ENGINE_TTL "b + interval 1 day"
        ENGINE_SORTING_KEY "a, b"

        INDEXES >
            INDEX i a TYPE minmax GRANULARITY 4

        KAFKA_CONNECTION_NAME c
        KAFKA_TOPIC t
        KAFKA_GROUP_ID g
        "#);
    }

    #[test]
    fn sql_keeps_its_lines_whatever_they_begin_with() {
        let printed =
            pipe("NODE a\nDESCRIPTION >\n  Two\n  lines\nSQL >\n    %\n    SELECT 'NODE\n      x'\nTYPE endpoint\n");
        assert!(printed.contains("SQL >\n    %\n    SELECT 'NODE\n      x'\n\nTYPE endpoint\n"), "{printed}");
        pipe(
            "NODE a\nSQL >\n    SELECT 1,\n\n        2\nNODE b\nSQL >\n  SELECT * FROM a\nTYPE materialized\nDATASOURCE d\n",
        );
        // As clients send it: without the blanks around the whole.
        let node = |sql: &str| NodeDraft { name: "n".to_owned(), sql: dedented(sql), ..NodeDraft::default() };
        let draft = PipeDraft {
            nodes: vec![node("select 1\n    FROM a\n      JOIN b"), node("%\nSELECT 1\nNODE")],
            ..PipeDraft::default()
        };
        let text = draft.to_string().replacen("NODE n", "NODE m", 1);
        let sqls: Vec<_> = PipeDraft::of(&read("a.pipe", &text)).nodes.into_iter().map(|it| it.sql).collect();
        assert_eq!(sqls, ["select 1\nFROM a\n  JOIN b", "%\n    SELECT 1\n    NODE"]);
    }

    #[test]
    fn a_schema_in_one_line_falls_into_columns() {
        assert_eq!(
            split_columns("`a` Int8 `json:$.a`,`b` Tuple(x Int8, y String) DEFAULT (1, 'a,b'), c Array(String)"),
            ["`a` Int8 `json:$.a`", "`b` Tuple(x Int8, y String) DEFAULT (1, 'a,b')", "`c` Array(String)"]
        );
    }
}
