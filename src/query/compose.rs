//! The composition of a read: templates rendered, names resolved through grants, replacements spliced in.
//!
//! In: texts of nodes and requests. Out: [`Sql`] with physical names, filters in their places. Which text is
//! asked for, and what becomes of the result, is not known here.

use super::{Catalog, OwnerMode, QueryError};
use crate::{
    auth::{Access, ReadGrant},
    diagnostic::{Place, Span},
    name::{Namespace, Physical, ResourceName},
    project::{ColumnDefault, Datasource, EngineFamily, Node, NodeSql, Pipe, Project, Shared},
    sql::{
        Splice, Sql, UserSql,
        scan::{self, Position, Refused, Scan, ScanError, TableRef},
    },
    template::{Params, RenderOptions, Rendered, Template},
};
use indexmap::IndexMap;
use std::{borrow::Cow, collections::HashMap};

/// Nodes read nodes this deep at most.
const MAX_DEPTH: usize = 64;

/// The longest text that the engine takes, a caller's own or one with its nodes written out: a node that reads
/// another twice doubles it.
pub const MAX_LENGTH: usize = 256 << 10;

pub(super) struct Composer<'a> {
    pub(super) options: RenderOptions,
    /// Set when the project itself asks.
    pub(super) owner: Option<OwnerMode>,
    /// What the caller's own text may ask of `system`, where it may ask at all.
    pub(super) catalog: Option<&'a Catalog>,
    /// Whether some data source is read through a filter, or some pipe with parameters that the token fixes.
    pub(super) filtered: bool,
    /// Whether a JSON or Dynamic column is read of whose rows some are hidden: its list of paths is that of all.
    pub(super) formed: bool,
    /// Whether a data source of the service is read.
    pub(super) service: bool,
    /// The secrets that are used.
    pub(super) secrets: Vec<String>,
    pub(super) settings: IndexMap<String, serde_json::Value>,
    project: &'a Project,
    /// The workspaces whose tables may be named.
    sharing: Vec<&'a str>,
    namespace: &'a Namespace,
    /// What templates see: the request's parameters under those that the token fixes.
    params: Cow<'a, Params>,
    /// The nodes that are being composed, outermost first.
    stack: Vec<(&'a ResourceName, &'a ResourceName)>,
    composed: HashMap<(&'a ResourceName, &'a ResourceName), Sql>,
}

/// Where a text stands, which decides what names mean in it.
#[derive(Clone, Copy)]
struct Context<'a, 'o> {
    pipe: Option<(&'a Pipe, &'a Node)>,
    /// The result that `q=` is over, and its name.
    over: Option<(&'o ResourceName, &'o Sql)>,
}

/// What a name in a text stands for.
enum Meaning {
    Table(Physical),
    Subquery(Sql),
    Filtered {
        grant: ReadGrant,
        table: Physical,
    },
    /// Of another workspace, which shares it: shown by a view, which knows neither FINAL nor PREWHERE.
    Shared(Sql),
    /// A column, as far as is known: the engine decides.
    Column,
}

impl<'a> Composer<'a> {
    pub(super) fn new(project: &'a Project, namespace: &'a Namespace, params: &'a Params) -> Composer<'a> {
        Composer {
            options: RenderOptions::default(),
            owner: None,
            catalog: None,
            filtered: false,
            formed: false,
            service: false,
            secrets: Vec::new(),
            settings: IndexMap::new(),
            project,
            sharing: project.sharing(),
            namespace,
            params: Cow::Borrowed(params),
            stack: Vec::new(),
            composed: HashMap::new(),
        }
    }

    /// A pipe's rows. What the token fixes for the pipe holds in all that it reads, and nowhere else.
    pub(super) fn pipe(&mut self, pipe: &'a Pipe, inside: &Access) -> Result<Sql, QueryError> {
        let Some(fixed) = inside.fixed_params(&pipe.name) else {
            return self.node(pipe, pipe.output_node(), inside);
        };
        // What it was given for a parameter hides rows as a filter does.
        self.filtered = true;
        let mut params = self.params.clone().into_owned();
        params.extend(fixed.iter().map(|(name, value)| (name.clone(), value.clone())));
        let outer_params = std::mem::replace(&mut self.params, Cow::Owned(params));
        // What was composed outside was composed with other parameters.
        let outer_composed = std::mem::take(&mut self.composed);
        let sql = self.node(pipe, pipe.output_node(), inside);
        self.params = outer_params;
        self.composed = outer_composed;
        sql
    }

    /// A node of a pipe; `access` is the one inside the pipe.
    pub(super) fn node(&mut self, pipe: &'a Pipe, node: &'a Node, access: &Access) -> Result<Sql, QueryError> {
        let key = (&pipe.name, &node.name);
        if let Some(sql) = self.composed.get(&key) {
            return Ok(sql.clone());
        }
        if self.stack.contains(&key) || self.stack.len() == MAX_DEPTH {
            let message = format!("the node `{}` reads itself, through others", node.name);
            let error = ScanError { category: Refused::Cycle, span: Span::default(), message };
            return Err(QueryError::Refused { error, place: Some(node.place.clone()) });
        }
        self.stack.push(key);
        let context = Context { pipe: Some((pipe, node)), over: None };
        let sql = match &node.sql {
            NodeSql::Plain(mapped) => {
                let place = |span| Place { path: node.place.path.clone(), span: mapped.span(span) };
                self.text(mapped.text(), context, access, &[]).map_err(|error| placed(error, place))?
            }
            NodeSql::Template { text, template, .. } => {
                let rendered =
                    self.render(template, |span| Some(Place { path: node.place.path.clone(), span: text.span(span) }))?;
                // The way back into the file is known in checks only.
                let place = |span| match rendered.origins.span(span) {
                    Some(span) => Place { path: node.place.path.clone(), span: text.span(span) },
                    None => node.place.clone(),
                };
                let secrets = &rendered.secrets;
                self.text(&rendered.sql, context, access, secrets).map_err(|error| placed(error, place))?
            }
        };
        self.stack.pop();
        self.composed.insert(key, sql.clone());
        Ok(sql)
    }

    /// A text that came with the request, which may begin with `%`.
    pub(super) fn query(
        &mut self,
        text: &str,
        access: &Access,
        over: Option<(&ResourceName, &Sql)>,
    ) -> Result<Sql, QueryError> {
        if text.len() > MAX_LENGTH {
            let message = format!("the query is longer than {MAX_LENGTH} bytes");
            let error = ScanError { category: Refused::Syntax, span: Span::default(), message };
            return Err(QueryError::Refused { error, place: None });
        }
        let context = Context { pipe: None, over };
        match text.trim_start().strip_prefix('%') {
            Some(text) => {
                let template =
                    Template::parse(text).map_err(|error| QueryError::Template { error: error.into(), place: None })?;
                let rendered = self.render(&template, |_| None)?;
                self.text(&rendered.sql, context, access, &rendered.secrets)
            }
            None => self.text(text, context, access, &[]),
        }
    }

    fn render(&mut self, template: &Template, place: impl Fn(Span) -> Option<Place>) -> Result<Rendered, QueryError> {
        let rendered = template.render(&self.params, &self.options).map_err(|error| {
            let place = place(error.span);
            QueryError::Template { error: error.into(), place }
        })?;
        for secret in &rendered.secrets {
            if !self.secrets.contains(secret) {
                self.secrets.push(secret.clone());
            }
        }
        // What the outer node sets counts: it is rendered first.
        for (name, value) in &rendered.settings {
            self.settings.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Ok(rendered)
    }

    fn text(
        &mut self,
        text: &str,
        context: Context<'a, '_>,
        access: &Access,
        secrets: &[String],
    ) -> Result<Sql, QueryError> {
        let refused = |error| QueryError::Refused { error, place: None };
        let scan = match self.catalog {
            Some(_) if context.pipe.is_none() => scan::scan_client(text, secrets, &self.sharing),
            _ => scan::scan_with(text, secrets, &self.sharing),
        };
        let scan = scan.map_err(refused)?;
        let mut splices = Vec::with_capacity(scan.tables.len());
        let mut replaced = vec![false; scan.selects.len()];
        for (index, table) in scan.tables.iter().enumerate() {
            let meaning = self.meaning(table, text, context, access)?;
            let is_query = !matches!(meaning, Meaning::Table(_) | Meaning::Column);
            if is_query && table.position == Position::From {
                replaced[table.select] = true;
            }
            let sql = match meaning {
                Meaning::Column => continue,
                Meaning::Table(physical) => whole_table(&physical, table.position),
                Meaning::Subquery(inner) => {
                    let mut sql = Sql::new("(");
                    sql.sql(&inner).push(")");
                    sql
                }
                Meaning::Shared(sql) => {
                    splices.extend(table.final_.map(|span| Splice { span, sql: Sql::default() }));
                    sql
                }
                Meaning::Filtered { grant, table: physical } => {
                    self.filtered = true;
                    for span in [table.final_, table.sample].into_iter().flatten() {
                        splices.push(Splice { span, sql: Sql::default() });
                    }
                    self.filtered_table(&grant, &physical, text, &scan, index)?
                }
            };
            if is_query {
                call_by_alias(table, text, &scan, &mut splices);
            }
            splices.push(Splice { span: table.span, sql: named(sql, table, text, &scan) });
        }
        for (name, end) in &scan.zeros {
            splices.push(Splice { span: *name, sql: Sql::new("(SELECT toUInt8(0) AS zero FROM numbers") });
            splices.push(Splice { span: Span::at(*end), sql: Sql::new(")") });
        }
        if self.formed
            && context.pipe.is_none()
            && let Some(name) = SHOW_FORM.iter().find(|it| scan::mentions(text, it))
        {
            return Err(refused(form_is_hidden(&format!("the function `{name}`"))));
        }
        move_prewhere(&scan, &replaced, &mut splices);
        self.placeholders(&scan, &mut splices).map_err(refused)?;
        let user = match context.pipe {
            Some(_) => UserSql::node(text, &scan, splices),
            None => UserSql::query(text, &scan, splices),
        };
        let mut sql = Sql::default();
        sql.user(&user);
        if sql.as_str().len() > MAX_LENGTH {
            let message = format!("the query is longer than {MAX_LENGTH} bytes with its nodes and filters written out");
            return Err(refused(ScanError { category: Refused::Syntax, span: Span::default(), message }));
        }
        Ok(sql)
    }

    /// What a name means: nodes of the pipe are nearest, then data sources, then pipes.
    fn meaning(
        &mut self,
        table: &TableRef,
        text: &str,
        context: Context<'a, '_>,
        access: &Access,
    ) -> Result<Meaning, QueryError> {
        let name = table.name.as_str();
        if let Some((pipe, sql)) = context.over
            && (name == "_" || name == pipe.as_str())
        {
            return Ok(Meaning::Subquery(closed(sql.clone(), access)));
        }
        if let Some((pipe, this)) = context.pipe
            && let Some(node) = pipe.node(name)
        {
            // A node that is called like the data source it reads.
            let itself = node.name == this.name && self.project.datasource(name).is_some();
            if !itself {
                return self.node(pipe, node, access).map(Meaning::Subquery);
            }
        }
        let denied = || match table.position {
            Position::From => Err(QueryError::Denied(name.to_owned())),
            Position::In => Ok(Meaning::Column),
        };
        if let (Some(catalog), Some(table), None) = (self.catalog, name.strip_prefix("system."), context.pipe) {
            return catalog.system(table).map(Meaning::Subquery).map_or_else(denied, Ok);
        }
        if let Some(datasource) = self.project.readable(name) {
            let shared = self.project.shared.get(name);
            let service = shared.is_none() && self.project.datasource(name).is_none();
            self.service |= service;
            let grant = access.read(&datasource.name);
            let in_part = context.pipe.is_some() || grant.as_ref().is_ok_and(|it| !it.filters().is_empty());
            if in_part && !access.is_admin() {
                self.formed |= datasource.columns.iter().any(|it| it.column_type.is_dynamic());
            }
            return match grant {
                Ok(grant) if let Some(shared) = shared => {
                    self.filtered |= !grant.filters().is_empty();
                    self.shared_table(&grant, shared, table, text).map(Meaning::Shared)
                }
                // Of what is merged in the background each row is read as it is after that.
                Ok(grant)
                    if service && grant.filters().is_empty() && datasource.engine.family != EngineFamily::MergeTree =>
                {
                    let mut sql = Sql::new("SELECT * FROM ");
                    sql.table(&self.namespace.table(&datasource.name)).push(" FINAL");
                    Ok(Meaning::Subquery(sql))
                }
                Ok(grant) => Ok(self.granted(grant, self.namespace.table(&datasource.name))),
                Err(_) => denied(),
            };
        }
        let quarantined = name.strip_suffix("_quarantine").and_then(|it| self.project.datasource(it));
        if let Some(datasource) = quarantined {
            return match access.read_quarantine(&datasource.name) {
                Ok(grant) => Ok(self.granted(grant, self.namespace.table(&datasource.name.quarantine()))),
                Err(_) => denied(),
            };
        }
        if let Some(pipe) = self.project.pipe(name) {
            return match access.enter(&pipe.name) {
                Ok(inside) => {
                    let sql = self.pipe(pipe, &inside)?;
                    let of_caller = context.pipe.is_none();
                    Ok(Meaning::Subquery(if of_caller { closed(sql, access) } else { sql }))
                }
                Err(_) => denied(),
            };
        }
        denied()
    }

    fn granted(&self, grant: ReadGrant, table: Physical) -> Meaning {
        if grant.filters().is_empty() { Meaning::Table(table) } else { Meaning::Filtered { grant, table } }
    }

    /// `(SELECT * FROM physical AS name FINAL SAMPLE .. PREWHERE (filter) SETTINGS ..)`. With WHERE the engine may try the
    /// caller's conditions on hidden rows first and quote them in an error.
    fn filtered_table(
        &self,
        grant: &ReadGrant,
        physical: &Physical,
        text: &str,
        scan: &Scan,
        index: usize,
    ) -> Result<Sql, QueryError> {
        let table = &scan.tables[index];
        let name = grant.table().as_str();
        let datasource = self.project.readable(name).ok_or_else(|| QueryError::Denied(name.to_owned()))?;
        let mut sql = Sql::new("(SELECT *");
        for column in materialized(datasource).filter(|it| scan::mentions(text, it)) {
            sql.push(", ").ident(column);
        }
        sql.push(" FROM ").table(physical).push(" AS ").ident(name);
        if table.final_.is_some() {
            sql.push(" FINAL");
        }
        if let Some(sample) = UserSql::sample(text, scan, index) {
            sql.push(" ").user(&sample);
        }
        let has_prewhere = datasource.engine.family != EngineFamily::Null;
        sql.push(if has_prewhere { " PREWHERE " } else { " WHERE " });
        for (index, filter) in grant.filters().iter().enumerate() {
            sql.push(if index > 0 { " AND (" } else { "(" }).sql(&self.filter(filter, name)?).push(")");
        }
        // Parts are chosen before any row is filtered: the engine would try the caller's conditions on the
        // partitions' values and on what indexes keep of hidden rows, and fail on those.
        sql.push(match has_prewhere {
            true => " SETTINGS use_partition_pruning = 0, use_skip_indexes = 0)",
            false => " LIMIT 18446744073709551615)",
        });
        Ok(sql)
    }

    /// `(SELECT columns FROM view AS name WHERE (filter) LIMIT ..)`: below a LIMIT the engine does not try the caller's
    /// conditions. The view reads with the rights of the server, the caller's role sees the view alone.
    fn shared_table(
        &self,
        grant: &ReadGrant,
        shared: &Shared,
        table: &TableRef,
        text: &str,
    ) -> Result<Sql, QueryError> {
        let (whole, name) = (grant.filters().is_empty(), &shared.datasource.name);
        let refused = |span: Span, why: &str| {
            let error = ScanError { category: Refused::Syntax, span, message: format!("{why} `{name}` here") };
            Err(QueryError::Refused { error, place: None })
        };
        let physical = match table.final_ {
            Some(span) if !shared.merges() => return refused(span, "FINAL means nothing for the rows of"),
            // A hidden row that is newer would hide one that is not.
            Some(span) if !whole => return refused(span, "the token sees a part of the rows, so there is no FINAL of"),
            Some(_) => self.namespace.merged(name),
            None => self.namespace.table(name),
        };
        if let Some(span) = table.sample {
            return refused(span, "another workspace shares it, so there is no SAMPLE of");
        }
        let columns = materialized(&shared.datasource).filter(|it| scan::mentions(text, it));
        let columns: Vec<_> = shared.plain_columns().chain(columns).collect();
        let mut sql = Sql::new("(SELECT ");
        for (index, column) in columns.iter().enumerate() {
            sql.push(if index > 0 { ", " } else { "" }).ident(column);
        }
        sql.push(" FROM ").table(&physical).push(" AS ").ident(shared.name.as_str());
        for (index, filter) in grant.filters().iter().enumerate() {
            sql.push(if index > 0 { " AND (" } else { " WHERE (" }).sql(&self.filter(filter, name.as_str())?).push(")");
        }
        sql.push(if whole { ")" } else { " LIMIT 18446744073709551615)" });
        Ok(sql)
    }

    /// A filter with the data sources in it named physically, so that nothing around it can take their names.
    pub(super) fn filter(&self, filter: &str, datasource: &str) -> Result<Sql, QueryError> {
        let denied = || QueryError::Denied(datasource.to_owned());
        let scan = scan::scan_filter(filter).map_err(|_| denied())?;
        let mut splices = Vec::new();
        for table in &scan.tables {
            match (self.project.datasource(&table.name), table.position) {
                (Some(read), _) => {
                    let sql = whole_table(&self.namespace.table(&read.name), table.position);
                    splices.push(Splice { span: table.span, sql: named(sql, table, filter, &scan) });
                }
                (None, Position::In) => (),
                (None, Position::From) => return Err(denied()),
            }
        }
        let mut sql = Sql::default();
        sql.user(&UserSql::filter(filter, &scan, splices));
        Ok(sql)
    }

    /// Secrets have no value when the project checks itself, and none at all in a view.
    fn placeholders(&self, scan: &Scan, splices: &mut Vec<Splice>) -> Result<(), ScanError> {
        for (span, name) in &scan.placeholders {
            match self.owner {
                None => (),
                Some(OwnerMode::Check) => splices.push(Splice { span: *span, sql: Sql::new("''") }),
                Some(OwnerMode::NoParameters) => {
                    let message = format!("the secret `{name}` cannot be used in a view");
                    return Err(ScanError { category: Refused::Syntax, span: *span, message });
                }
            }
        }
        Ok(())
    }
}

/// A table that is read whole. After IN it is a query too: the engine would call the column by the table's
/// physical name.
fn whole_table(physical: &Physical, position: Position) -> Sql {
    let mut sql = Sql::default();
    match position {
        Position::From => sql.table(physical),
        Position::In => sql.push("(SELECT * FROM ").table(physical).push(")"),
    };
    sql
}

/// A pipe's rows under a caller's own text. The engine may try the caller's conditions before those of the pipe, on
/// rows that the pipe does not show, and fail on them; it does not try them below a LIMIT.
fn closed(pipe: Sql, access: &Access) -> Sql {
    if access.is_admin() {
        return pipe;
    }
    let mut sql = Sql::new("SELECT * FROM (");
    sql.sql(&pipe).push(") LIMIT 18446744073709551615");
    sql
}

/// Gives a replacement the name that the text calls the table by, unless the text does so itself.
fn named(mut sql: Sql, table: &TableRef, text: &str, scan: &Scan) -> Sql {
    if table.position == Position::In || table.alias.is_some() {
        return sql;
    }
    // The engine takes no table's alias that a value has too, unless the value is the table's own column. If
    // nothing in the text is called by the table's name, any other name does.
    let mut name = table.name.rsplit('.').next().unwrap_or_default().to_owned();
    if scan.aliases.contains(&name) && !scan::qualifies(text, &name) {
        while scan.aliases.contains(&name) {
            name.push('_');
        }
    }
    sql.push(" AS ").ident(&name);
    sql
}

/// `FROM node AS n WHERE node.x`: a table keeps its name beside its alias, a subquery has none but that.
fn call_by_alias(table: &TableRef, text: &str, scan: &Scan, splices: &mut Vec<Splice>) {
    let Some(alias) = table.alias.and_then(|it| scan::name_at(text, it)) else { return };
    // Where the name means something else too, the engine decides.
    let others = scan.tables.iter().filter(|it| it.name == table.name).count() > 1;
    if alias == table.name || others || scan.aliases.contains(&table.name) {
        return;
    }
    for span in scan::qualifiers(text, &table.name) {
        let mut sql = Sql::default();
        sql.ident(&alias);
        splices.push(Splice { span, sql });
    }
}

/// PREWHERE works on tables only: where one of its select became a subquery it turns into WHERE, together with
/// the one that is there.
fn move_prewhere(scan: &Scan, replaced: &[bool], splices: &mut Vec<Splice>) {
    for (select, _) in scan.selects.iter().zip(replaced).filter(|(_, replaced)| **replaced) {
        let Some((prewhere, _)) = select.prewhere else { continue };
        let mut splice = |span, text| splices.push(Splice { span, sql: Sql::new(text) });
        match select.where_ {
            None => splice(prewhere, "WHERE"),
            Some((keyword, end)) => {
                splice(prewhere, "WHERE (");
                splice(keyword, "\n) AND (");
                splice(Span::at(end), "\n)");
            }
        }
    }
}

/// The columns that `*` leaves out.
fn materialized(datasource: &Datasource) -> impl Iterator<Item = &str> {
    let is_materialized = |default: &Option<ColumnDefault>| matches!(default, Some(ColumnDefault::Materialized(_)));
    datasource.columns.iter().filter(move |it| is_materialized(&it.default)).map(|it| it.name.as_str())
}

/// Functions whose answer depends on the paths that a column has in its other rows.
const SHOW_FORM: &[&str] = &[
    "byteSize",
    "formatRow",
    "formatRowNoNewline",
    "JSONDynamicPaths",
    "JSONDynamicPathsWithTypes",
    "JSONSharedDataPaths",
    "JSONSharedDataPathsWithTypes",
    "isDynamicElementInSharedData",
];

pub(super) fn form_is_hidden(what: &str) -> ScanError {
    let message = format!(
        "{what} shows the paths of all rows in a JSON column, of which the token sees some: it cannot be used here"
    );
    ScanError { category: Refused::Function, span: Span::default(), message }
}

/// Gives a refusal its place in the file, if it has none from further inside.
fn placed(error: QueryError, place: impl Fn(Span) -> Place) -> QueryError {
    match error {
        QueryError::Refused { error, place: None } => {
            let place = place(error.span);
            QueryError::Refused { error, place: Some(place) }
        }
        other => other,
    }
}
