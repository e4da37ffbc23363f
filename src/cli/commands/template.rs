//! `birdhouse template`.

use crate::{
    cli::{fault::user, printer::Printer, settings::Settings},
    datafile,
    diagnostic::{Diagnostic, Mapped, Source, Sources, Span},
    template::{ParamDecl, Params, RenderOptions, Rendered, Template, TemplateError, render_secrets, template_of},
};
use anyhow::Context;
use serde_json::{Map, Value, json};
use std::{
    cell::RefCell,
    fs,
    io::{self, BufRead},
    path::{Path, PathBuf},
};

/// Render the template of a node
///
/// Shows the SQL that a request would run, without a server and without an engine.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the SQL that a request would run
    ///
    /// With a file: renders its node, or each node when none is named. With --jsonl: reads cases from standard
    /// input, one a line with the fields id, template, params, entry and options, and prints one result a line
    Render(RenderArgs),
}

#[derive(Debug, clap::Args)]
struct RenderArgs {
    /// The pipe
    #[arg(required_unless_present = "jsonl")]
    file: Option<PathBuf>,
    /// The node; all of them without it
    node: Option<String>,
    /// A parameter of the request: key=value. The value is text, as in a query string
    #[arg(long = "param", value_name = "KEY=VALUE", value_parser = pair)]
    params: Vec<(String, String)>,
    /// The name of a secret that exists
    #[arg(long = "secret", value_name = "NAME")]
    secrets: Vec<String>,
    /// Missing parameters become placeholders, as in a check
    #[arg(long)]
    test_mode: bool,
    /// Read cases from standard input, one a line
    #[arg(long, conflicts_with_all = ["file", "node", "params", "secrets", "test_mode"])]
    jsonl: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

const EXAMPLES: &str = "\
Examples:
  birdhouse template render endpoints/api.pipe
  birdhouse template render endpoints/api.pipe endpoint --param company_id=2";

pub(super) fn run(args: Args, _: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let Command::Render(args) = args.command;
    match &args.file {
        Some(file) if !args.jsonl => render_file(file.clone(), &args, printer),
        _ => render_cases(printer),
    }
}

fn render_file(file: PathBuf, args: &RenderArgs, printer: &Printer) -> anyhow::Result<()> {
    let text = fs::read_to_string(&file).map_err(|error| user(format!("{}: {error}", file.display())))?;
    let source = Source::new(file.display().to_string(), text);
    let read = RefCell::new(Vec::new());
    let context = datafile::Context { missing_secret: datafile::MissingSecret::StandIn, ..Default::default() };
    let (parsed, diagnostics) = datafile::parse_as(datafile::Kind::Pipe, &source, &context, &|path| {
        let found = file.parent().unwrap_or(Path::new("")).join(path);
        let text = fs::read_to_string(&found).ok()?;
        let fragment = Source::new(found.display().to_string(), text);
        read.borrow_mut().push(fragment.clone());
        Some(fragment)
    });
    let mut sources = vec![source.clone()];
    sources.extend(read.take());
    diagnostics.iter().for_each(|it| printer.diagnostic(it, &Sources::of(&sources)));
    let names = || parsed.nodes.iter().map(|it| it.name.value.text());
    let nodes = parsed.nodes.iter().filter(|it| args.node.as_deref().is_none_or(|name| it.name.value.text() == name));
    let nodes: Vec<_> = nodes.collect();
    if nodes.is_empty() {
        let known = names().collect::<Vec<_>>().join(", ");
        return Err(user(format!("{} has no such node; it has: {known}", file.display())));
    }
    let mut params = Params::new();
    for (key, value) in &args.params {
        params.insert(key.clone(), json!(value));
    }
    let options =
        RenderOptions { test_mode: args.test_mode, secrets: args.secrets.clone(), ..RenderOptions::default() };
    let mut failed = false;
    for node in &nodes {
        let Some(sql) = &node.sql else { continue };
        if nodes.len() > 1 {
            printer.line(format!("-- node {}", node.name.value.text()))?;
        }
        let Some((text, begin)) = template_of(sql.text()) else {
            printer.line(sql.text().trim())?;
            continue;
        };
        match Template::parse(text).and_then(|it| it.render(&params, &options)) {
            Ok(rendered) => {
                printer.line(rendered.sql.trim_matches('\n'))?;
                for (name, value) in &rendered.settings {
                    printer.note(format!("setting {name} = {value}"));
                }
            }
            Err(error) => {
                failed = true;
                printer.diagnostic(&diagnostic(&source, sql, begin, &error), &Sources::of(&sources));
            }
        }
    }
    if failed { Err(user("the template does not render")) } else { Ok(()) }
}

fn diagnostic(source: &Source, sql: &Mapped, begin: usize, error: &TemplateError) -> Diagnostic {
    let end = sql.text().len();
    let span = Span::new((error.span.start + begin).min(end), (error.span.end + begin).min(end));
    let diagnostic = Diagnostic::error(error.category, error.message.clone()).at(source.place(sql.span(span)));
    match &error.hint {
        Some(hint) => diagnostic.hint(hint.clone()),
        None => diagnostic,
    }
}

fn render_cases(printer: &Printer) -> anyhow::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line.context("standard input cannot be read")?;
        if line.trim().is_empty() {
            continue;
        }
        let case: Value = serde_json::from_str(&line).map_err(|error| user(format!("this is no case: {error}")))?;
        printer.line(answer(&case))?;
    }
    Ok(())
}

/// The result of one case, in the fields of the vectors.
fn answer(case: &Value) -> Value {
    let mut out = Map::new();
    if let Some(id) = case.get("id") {
        out.insert("id".to_owned(), id.clone());
    }
    let text = case["template"].as_str().unwrap_or_default();
    let options = &case["options"];
    let entry = case["entry"].as_str().unwrap_or("render");
    if entry == "datafile_secrets" {
        let secrets = options["secret_values"].as_object().into_iter().flatten();
        let secrets =
            secrets.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
        match render_secrets(text, &secrets, options["empty_secret_raises"] == true) {
            Ok(sql) => {
                out.insert("ok".to_owned(), json!(true));
                out.insert("sql".to_owned(), json!(sql));
            }
            Err(error) => failure(&mut out, &error),
        }
        return Value::Object(out);
    }
    let mut template = text;
    if entry == "node" {
        let found = template_of(text);
        out.insert("is_template".to_owned(), json!(found.is_some()));
        match found {
            Some((inside, _)) => template = inside,
            None => {
                out.insert("ok".to_owned(), json!(true));
                out.insert("sql".to_owned(), json!(text.trim()));
                return Value::Object(out);
            }
        }
    }
    let read = Template::read(template);
    if entry != "metadata" {
        let params = case["params"].as_object().cloned().unwrap_or_default().into_iter().collect();
        let secrets = options["secrets"].as_array().into_iter().flatten();
        let options = RenderOptions {
            test_mode: options["test_mode"] == true,
            secrets: secrets.filter_map(|it| it.as_str().map(str::to_owned)).collect(),
            secrets_in_test_mode: options["secrets_in_test_mode"] != false,
            ..RenderOptions::default()
        };
        match read.as_ref().map_err(Clone::clone).and_then(|it: &Template| it.render(&params, &options)) {
            Ok(rendered) => success(&mut out, rendered, read.as_ref().ok()),
            Err(error) => failure(&mut out, &error),
        }
    }
    match &read {
        Ok(template) => {
            out.insert("metadata".to_owned(), metadata(template));
            out.insert("used_tables".to_owned(), json!({"ok": true, "tables": template.tables()}));
            if template.unusable_name().is_some() {
                out.insert("name_error".to_owned(), json!(true));
            }
        }
        Err(error) => {
            let refused = json!({"ok": false, "error_category": error.category});
            out.insert("metadata".to_owned(), refused.clone());
            out.insert("used_tables".to_owned(), refused);
        }
    }
    Value::Object(out)
}

fn success(out: &mut Map<String, Value>, rendered: Rendered, template: Option<&Template>) {
    out.insert("ok".to_owned(), json!(true));
    out.insert("sql".to_owned(), json!(rendered.sql));
    if !rendered.settings.is_empty() {
        out.insert("settings".to_owned(), Value::Object(rendered.settings.into_iter().collect()));
    }
    if !rendered.secrets.is_empty() {
        out.insert("secrets_used".to_owned(), json!(rendered.secrets));
    }
    let warnings: Vec<&str> = template.into_iter().flat_map(|it| it.variable_warnings()).map(|(it, _)| it).collect();
    if !warnings.is_empty() {
        out.insert("variable_warnings".to_owned(), json!(warnings));
    }
}

fn failure(out: &mut Map<String, Value>, error: &TemplateError) {
    out.insert("ok".to_owned(), json!(false));
    out.insert("error_category".to_owned(), json!(error.category));
    out.insert("http_status".to_owned(), json!(error.status));
    let message = match &error.body {
        Some(body) => body.as_str().map_or(Value::Null, |it| json!(it)),
        None => json!(error.message),
    };
    out.insert("message".to_owned(), message);
    if let Some(body) = &error.body {
        out.insert("body".to_owned(), body.clone());
    }
}

fn metadata(template: &Template) -> Value {
    if template.has_listed_name() {
        return json!({"ok": false, "error_category": "reserved_name"});
    }
    json!({"ok": true, "params": template.params().iter().map(wire).collect::<Vec<_>>()})
}

fn wire(decl: &ParamDecl) -> Value {
    let mut object: Map<String, Value> = decl.keywords.clone().into_iter().collect();
    object.insert("name".to_owned(), decl.literal_name.clone().unwrap_or_else(|| json!(decl.name)));
    object.insert("type".to_owned(), json!(decl.type_name));
    object.insert("default".to_owned(), decl.default.clone().unwrap_or_default());
    if let Some(used_in) = &decl.used_in {
        object.insert("used_in".to_owned(), json!(used_in));
    }
    Value::Object(object)
}
