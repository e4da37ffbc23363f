//! A `.pipe` file becomes a [`Pipe`]: its nodes read, its kind and its output known. What the names in its SQL
//! mean comes later, in `references`.

use super::{Node, NodeSql, Pipe, PipeKind, datasource::Reporter, datasource::tokens};
use crate::{
    datafile::{Context, Datafile, Dialect, NodeLines},
    diagnostic::{Diagnostic, Mapped, Span, has_errors},
    name::ResourceName,
    template::{Params, RenderOptions, Rendered, Template, TemplateError},
};
use std::{collections::BTreeMap, sync::Arc};

/// A pipe as far as its file could be read.
pub(super) struct Read {
    pub(super) pipe: Pipe,
    /// Nothing in its file is wrong; else some of its nodes are missing, and its output is not to be trusted.
    pub(super) whole: bool,
}

/// The pipe that a file describes.
pub(super) fn pipe(name: ResourceName, reporter: &mut Reporter<'_>, context: &Context) -> Read {
    let before = reporter.diagnostics.len();
    let file = reporter.file;
    let mut nodes: Vec<Node> = Vec::new();
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    for lines in &file.nodes {
        let span = *first.entry(lines.name.as_str()).or_insert(lines.name.span);
        if span != lines.name.span {
            let place = file.place(span);
            let message = format!("two nodes of this pipe are called `{}`", lines.name);
            reporter
                .report(lines.name.span, Diagnostic::error("duplicate_node", message).related(place, "the first one"));
            continue;
        }
        if lines.name.is_empty() {
            continue;
        }
        let node_name = reporter.name(&lines.name, "the name of a node");
        let sql = node_sql(reporter, lines, context);
        if let (Some(name), Some(sql)) = (node_name, sql) {
            nodes.push(Node {
                name,
                description: lines.description.as_ref().map(|it| it.as_str().to_owned()),
                sql,
                reads: Vec::new(),
                place: file.place(lines.name.span),
            });
        }
    }
    let found = kind(reporter, context);
    let whole = found.is_some() && !has_errors(&reporter.diagnostics[before..]) && nodes.len() == file.nodes.len();
    let (kind, output) = found.unwrap_or((PipeKind::Internal, 0));
    let pipe = Pipe {
        name,
        description: file.description.as_ref().map(|it| it.as_str().to_owned()),
        nodes,
        kind,
        output,
        tokens: tokens(file),
        tags: file.tags.clone(),
        version: file.version,
        place: file.place(Span::default()),
    };
    Read { pipe, whole }
}

/// What is wrong with the templates of a file's nodes.
pub(super) fn templates(file: &Datafile, context: &Context) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let mut reporter = Reporter { file, diagnostics: &mut diagnostics };
    for sql in file.nodes.iter().filter_map(|it| it.sql.as_ref()) {
        if let Some(text) = template_text(sql)
            && let Some(template) = parse_template(&mut reporter, &text, context)
        {
            _ = rendered(&mut reporter, &text, &template, context);
        }
    }
    diagnostics
}

/// The text after the `%` that makes a template.
fn template_text(sql: &Mapped) -> Option<Mapped> {
    let whole = sql.text();
    whole.starts_with('%').then(|| sql.slice(Span::new(1, whole.len())))
}

fn node_sql(reporter: &mut Reporter<'_>, lines: &NodeLines, context: &Context) -> Option<NodeSql> {
    // A node without SQL was reported by the parser.
    let sql = lines.sql.as_ref()?;
    if let Some(text) = template_text(sql) {
        let template = parse_template(reporter, &text, context)?;
        let tried = rendered(reporter, &text, &template, context).ok()?;
        return Some(NodeSql::Template { text, template: Arc::new(template), tried });
    }
    let tag = |open: &str, close: &str| {
        let at = sql.text().find(open)?;
        sql.text()[at..].find(close).map(|length| Span::new(at, at + length + close.len()))
    };
    if let Some(tag) = tag("{{", "}}").or_else(|| tag("{%", "%}")) {
        let diagnostic =
            Diagnostic::error("template_without_percent", "this SQL has template tags, but is no template")
                .hint("begin the SQL block with a line that holds % alone");
        reporter.report(sql.span(tag), diagnostic);
        return None;
    }
    Some(NodeSql::Plain(sql.clone()))
}

fn parse_template(reporter: &mut Reporter<'_>, text: &Mapped, context: &Context) -> Option<Template> {
    let template = Template::parse(text.text()).map_err(|error| template_error(reporter, text, error)).ok()?;
    let literal = template.params().into_iter().find_map(|it| it.literal_name);
    if let Some(literal) = literal.filter(|_| context.dialect != Dialect::Classic) {
        let shown = literal.to_string();
        let at = text.text().find(&shown).map_or(Span::new(0, text.text().len()), |at| Span::new(at, at + shown.len()));
        let message = format!("`{shown}` stands where the name of a parameter should");
        let diagnostic = match context.dialect {
            Dialect::Forward => Diagnostic::error("template_bad_parameter_name", message),
            _ => Diagnostic::warning("template_bad_parameter_name", message),
        };
        reporter.report(text.span(at), diagnostic);
    }
    Some(template)
}

/// What is wrong with a template was reported.
struct Refused;

/// Renders a template without parameters, as the original's check does; nothing where the template asks for more than
/// that.
fn rendered(
    reporter: &mut Reporter<'_>,
    text: &Mapped,
    template: &Template,
    context: &Context,
) -> Result<Option<Arc<Rendered>>, Refused> {
    match template.render(&Params::default(), &render_options(context)) {
        Ok(rendered) if rendered.sql.trim().is_empty() => {
            let diagnostic = Diagnostic::error("template_renders_empty", "without parameters this template is empty")
                .hint("keep a query outside of the conditions");
            let whole = Span::new(0, text.text().len());
            reporter.report(text.span(whole), diagnostic);
            Err(Refused)
        }
        Ok(rendered) => Ok(Some(Arc::new(rendered))),
        // What a template says by itself to a call without parameters is no mistake in it.
        Err(error) if matches!(error.category, "error" | "custom_error" | "missing_required" | "missing_default") => {
            Ok(None)
        }
        Err(error) => {
            template_error(reporter, text, error);
            Err(Refused)
        }
    }
}

pub(super) fn render_options(context: &Context) -> RenderOptions {
    RenderOptions {
        test_mode: true,
        secrets: context.secrets.keys().cloned().collect(),
        // Forward wants every secret to be there; elsewhere they may come later.
        secrets_in_test_mode: context.dialect != Dialect::Forward,
        ..RenderOptions::default()
    }
}

fn template_error(reporter: &mut Reporter<'_>, text: &Mapped, error: TemplateError) {
    let code = match error.category {
        "parse" | "python_syntax" => "template_syntax",
        "unclosed_block" => "template_block_not_closed",
        "secret" => "secret_missing_no_default",
        "forbidden" => "template_forbidden",
        _ => "template_error",
    };
    let end = text.text().len();
    let span = Span::new(error.span.start.min(end), error.span.end.min(end));
    let diagnostic = Diagnostic { hint: error.hint, ..Diagnostic::error(code, error.message) };
    reporter.report(text.span(span), diagnostic);
}

/// What the pipe is, and which node is its output.
fn kind(reporter: &mut Reporter<'_>, context: &Context) -> Option<(PipeKind, usize)> {
    let file = reporter.file;
    let kind_of =
        |node: &NodeLines| node.node_type.as_ref().map(|it| it.as_str().to_ascii_lowercase()).unwrap_or_default();
    let special = file.nodes.iter().position(|it| !matches!(kind_of(it).as_str(), "" | "standard"));
    let Some(output) = special else {
        let last = file.nodes.len().checked_sub(1)?;
        // Classic publishes the last node of such a pipe whatever its file says. Here the file is all there is to
        // tell, so a pipe that says of every node that it is a standard one is not published.
        let says_so = file.nodes.iter().all(|it| !kind_of(it).is_empty());
        let kind = match context.dialect {
            Dialect::Auto if says_so => PipeKind::Internal,
            Dialect::Forward => PipeKind::Internal,
            Dialect::Classic | Dialect::Auto => PipeKind::Endpoint,
        };
        return Some((kind, last));
    };
    let node = &file.nodes[output];
    let kind = match kind_of(node).as_str() {
        "endpoint" => PipeKind::Endpoint,
        "materialized" => {
            let target = reporter.name(node.settings.get("datasource")?, "the name of a data source")?;
            PipeKind::Materialized { target }
        }
        "copy" => {
            let target = reporter.name(node.settings.get("target_datasource")?, "the name of a data source")?;
            let schedule = node.settings.get("copy_schedule").map(|it| it.as_str().to_owned());
            PipeKind::Copy {
                target,
                schedule: schedule.filter(|it| it != "@on-demand"),
                replace: node.settings.get("mode").is_some_and(|it| it.as_str().eq_ignore_ascii_case("replace")),
            }
        }
        _ => PipeKind::Sink,
    };
    Some((kind, output))
}
