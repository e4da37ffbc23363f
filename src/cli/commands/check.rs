//! `birdhouse check`: says everything that is wrong with a project, without a server.

use crate::{
    app,
    cli::{
        discover::{self, ProjectFiles},
        fault::user,
        findings::{Findings, FindingsFormat},
        printer::Printer,
        serving,
        settings::Settings,
    },
    datafile::{Context, Dialect, Foreign, Kind, MissingSecret, is_test_file},
    diagnostic::{Diagnostic, Place, Severity, Source},
    engine::{self, Engine, EngineSettings},
    observe::Sink,
    project::{self, Project},
};
use anyhow::Context as _;
use std::{
    collections::BTreeSet,
    io::Read,
    path::{Path, PathBuf},
};

/// Read the project's files and say what is wrong with them
///
/// Every problem is told at once, with its place and what to do about it. The SQL of every node is tried out on empty
/// tables in an engine of its own, which is thrown away; nothing else is needed, no server and no data. A file that is
/// named is checked within its project.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folders of projects, or datafiles; - reads one from standard input
    /// [default: this folder]
    paths: Vec<PathBuf>,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    format: FindingsFormat,
    /// Print JSON: short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Whose rules to follow: auto takes what either generation takes
    #[arg(long, value_enum, default_value_t)]
    dialect: DialectArg,
    /// Do not try out node SQL on an engine
    #[arg(long)]
    no_engine: bool,
    /// Warnings are errors: exit code 1
    #[arg(long)]
    deny_warnings: bool,
    /// The path of what comes on standard input, within the project
    #[arg(long, value_name = "FILE")]
    name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum DialectArg {
    Classic,
    Forward,
    #[default]
    Auto,
}

impl From<DialectArg> for Dialect {
    fn from(dialect: DialectArg) -> Dialect {
        match dialect {
            DialectArg::Classic => Dialect::Classic,
            DialectArg::Forward => Dialect::Forward,
            DialectArg::Auto => Dialect::Auto,
        }
    }
}

/// A project, or the asked files of one.
struct Checked {
    files: ProjectFiles,
    asked: BTreeSet<String>,
    project: Project,
    diagnostics: Vec<Diagnostic>,
}

const EXAMPLES: &str = "\
Examples:
  birdhouse check
  birdhouse check pipes/my_endpoint.pipe
  birdhouse check --json --no-engine

A comment line silences a code: in the lines before the first command for the
whole file, above a command or line for what follows it:
  # birdhouse: allow join_not_limited, the table has five rows

Exit codes: 0 nothing is wrong (there may be warnings), 1 there are errors, 2 the
check itself failed.";

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let mut checked = Vec::new();
    let (stdin, paths): (Vec<PathBuf>, Vec<PathBuf>) = args.paths.iter().cloned().partition(|it| it == Path::new("-"));
    if !stdin.is_empty() {
        checked.push(of_stdin(&args, settings)?);
    }
    if !paths.is_empty() || stdin.is_empty() {
        for (root, asked) in projects(&paths, &settings.folder)? {
            let files = discover::project(&root).with_context(|| format!("{}", root.display()))?;
            let asked = asked.iter().map(|it| discover::relative(it, &files.root)).collect();
            checked.push(check(files, asked, args.dialect.into(), settings)?);
        }
    }
    let engine = !args.no_engine && with_engine(&mut checked, settings)?;
    let findings = findings(checked, settings, engine);
    let format = if args.json { FindingsFormat::Json } else { args.format };
    findings.print(format, printer)?;
    let warnings = if args.deny_warnings { findings.count(Severity::Warning) } else { 0 };
    if findings.count(Severity::Error) + warnings > 0 {
        return Err(user(findings.summary()));
    }
    if format == FindingsFormat::Human {
        printer.line(findings.summary())?;
    }
    Ok(())
}

/// The projects that paths belong to, each with the files that were asked about: none means all.
fn projects(paths: &[PathBuf], folder: &Path) -> anyhow::Result<Vec<(PathBuf, BTreeSet<PathBuf>)>> {
    if paths.is_empty() {
        return Ok(vec![(folder.to_owned(), BTreeSet::new())]);
    }
    let mut projects: Vec<(PathBuf, BTreeSet<PathBuf>)> = Vec::new();
    for path in paths {
        let full = std::fs::canonicalize(folder.join(path))
            .map_err(|error| user(format!("`{}` cannot be read: {error}", path.display())))?;
        let shown = full.to_string_lossy();
        let (root, asked) = if full.is_dir() {
            (full, None)
        } else if Kind::of(&shown).is_some() || is_test_file(&shown) {
            (discover::root_of(&full), Some(full))
        } else {
            let message =
                format!("`{}` is no datafile: those end with .datasource, .pipe, .connection", path.display());
            return Err(user(message));
        };
        match projects.iter_mut().find(|(it, files)| *it == root && asked.is_some() != files.is_empty()) {
            Some((_, files)) => files.extend(asked),
            None => projects.push((root, asked.into_iter().collect())),
        }
    }
    Ok(projects)
}

/// The text on standard input, in the place of the project's file of that name.
fn of_stdin(args: &Args, settings: &Settings) -> anyhow::Result<Checked> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("standard input cannot be read")?;
    let name = args.name.clone().unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&bytes);
        let is_pipe = text.lines().any(|it| it.get(..5).is_some_and(|it| it.eq_ignore_ascii_case("node ")));
        if is_pipe { "stdin.pipe".to_owned() } else { "stdin.datasource".to_owned() }
    });
    if Kind::of(&name).is_none() && !is_test_file(&name) {
        return Err(user(format!("`{name}` is no name of a datafile")));
    }
    let mut files = discover::project(&settings.folder).with_context(|| format!("{}", settings.folder.display()))?;
    files.sources.retain(|it| *it.path != *name);
    files.tests.retain(|it| *it.path != *name);
    match discover::decode(bytes, &name) {
        Ok(source) if is_test_file(&name) => files.tests.push(source),
        Ok(source) => files.sources.push(source),
        Err(diagnostic) => files.diagnostics.push(*diagnostic),
    }
    check(files, [name].into(), args.dialect.into(), settings)
}

fn check(
    mut files: ProjectFiles,
    asked: BTreeSet<String>,
    dialect: Dialect,
    settings: &Settings,
) -> anyhow::Result<Checked> {
    let context = Context {
        dialect,
        // The variables of the process win over those of the project's files.
        environment: files.environment.clone().into_iter().chain(settings.variables()).collect(),
        secrets: files.environment.clone(),
        missing_secret: MissingSecret::StandIn,
        foreign: Foreign::Vendored(files.vendored.clone()),
    };
    for path in &asked {
        // A file outside of the project's folders is checked all the same.
        let known = files.sources.iter().chain(&files.tests).any(|it| *it.path == **path);
        if !known && let Ok(source) = discover::read(&files.root.join(path), path) {
            files.sources.push(source);
        }
    }
    let (project, found) = project::resolve(&files.sources, &context);
    let mut diagnostics = files.diagnostics.clone();
    diagnostics.extend(found);
    diagnostics.extend(project::lint(&project));
    diagnostics.extend(project::check_tests(&project, &files.sources, &files.tests, dialect));
    if files.sources.is_empty() && files.tests.is_empty() && diagnostics.is_empty() {
        let message = format!("there is no project in {}: no .datasource or .pipe file", files.root.display());
        return Err(user(message));
    }
    Ok(Checked { files, asked, project, diagnostics })
}

/// Tries the projects out on an engine in a folder that is thrown away. Whether that could be done.
fn with_engine(checked: &mut [Checked], settings: &Settings) -> anyhow::Result<bool> {
    let library = serving::library_path(settings)?;
    if !library.exists() {
        let message = "the engine is not installed, so the SQL of nodes was not tried out";
        let hint = "run `birdhouse engine install`, or say --no-engine";
        if let Some(first) = checked.first_mut() {
            first.diagnostics.push(Diagnostic::warning("engine_missing", message).hint(hint));
        }
        return Ok(false);
    }
    if checked.iter().all(|it| it.project.datasources.is_empty() && it.project.pipes.is_empty()) {
        return Ok(true);
    }
    engine::prepare_process();
    let folder = tempfile::tempdir().context("there is no place for a throw-away engine")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the runtime does not start")?;
    runtime.block_on(async {
        let engine_settings = EngineSettings::new(folder.path().join("engine"), library);
        let engine = Engine::open(engine_settings, Sink::logging()).await?;
        let mut outcome = Ok(());
        for it in checked {
            match app::check(&engine, &it.project).await {
                Ok(found) => it.diagnostics.extend(project::not_silenced(found, &it.files.sources)),
                Err(error) => outcome = Err(error),
            }
        }
        engine.close().await;
        outcome
    })?;
    Ok(true)
}

/// All projects' findings in one, paths as a reader in the current folder finds them.
fn findings(checked: Vec<Checked>, settings: &Settings, engine: bool) -> Findings {
    let mut findings = Findings { diagnostics: Vec::new(), sources: Vec::new(), files: 0, engine };
    let here = std::fs::canonicalize(&settings.folder).unwrap_or_else(|_| settings.folder.clone());
    for Checked { files, asked, project: _, mut diagnostics } in checked {
        if !asked.is_empty() {
            diagnostics.retain(|it| it.place.as_ref().is_none_or(|place| asked.contains(&*place.path)));
        }
        let all: Vec<Source> = files.sources.into_iter().chain(files.tests).collect();
        project::sort(&mut diagnostics, &all);
        let is_whole = |it: &&Source| Kind::of(&it.path) != Some(Kind::Include);
        findings.files += if asked.is_empty() { all.iter().filter(is_whole).count() } else { asked.len() };
        let root = std::fs::canonicalize(&files.root).unwrap_or(files.root);
        let prefix = match root.strip_prefix(&here) {
            Ok(inside) => discover::relative(inside, Path::new("")),
            Err(_) => root.display().to_string(),
        };
        if prefix.is_empty() {
            findings.diagnostics.extend(diagnostics);
            findings.sources.extend(all);
            continue;
        }
        let path = |path: &str| format!("{prefix}/{path}").into();
        let place = |it: Place| Place { path: path(&it.path), span: it.span };
        findings.diagnostics.extend(diagnostics.into_iter().map(|it| Diagnostic {
            place: it.place.map(place),
            related: it.related.into_iter().map(|(it, words)| (place(it), words)).collect(),
            ..it
        }));
        findings.sources.extend(all.into_iter().map(|it| Source { path: path(&it.path), text: it.text }));
    }
    findings
}
