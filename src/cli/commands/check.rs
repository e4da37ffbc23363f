//! `birdhouse check`: says everything that is wrong with a project, without a server.

use crate::{
    app,
    cli::{
        asked::{self, Asked, Shown},
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
        for Asked { root, files: asked } in asked::projects(&paths, &settings.folder)? {
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

/// The text on standard input, in the place of the project's file of that name.
fn of_stdin(args: &Args, settings: &Settings) -> anyhow::Result<Checked> {
    let (name, bytes) = asked::standard_input(args.name.as_deref())?;
    let mut files = discover::project(&settings.folder).with_context(|| format!("{}", settings.folder.display()))?;
    files.sources.retain(|it| *it.path != *name);
    files.tests.retain(|it| *it.path != *name);
    match discover::decode(&bytes, &name) {
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
    diagnostics.extend(project::check_tests(&files.sources, &files.tests, dialect));
    diagnostics.extend(project::check_fixtures(&files.sources, &files.fixture_files));
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
                Ok(found) => it.diagnostics.extend(project::Silence::of(&it.files.sources).rest(found)),
                Err(error) => outcome = Err(error),
            }
        }
        engine.close().await;
        outcome
    })?;
    Ok(true)
}

/// A file that is no text, for showing where it is none: up to there it is read as it is.
fn half_read(diagnostic: &Diagnostic, root: &Path) -> Option<Source> {
    let place = diagnostic.place.as_ref().filter(|_| diagnostic.code == "not_utf8")?;
    let bytes = std::fs::read(root.join(&*place.path)).ok()?;
    Some(Source::new(place.path.clone(), String::from_utf8_lossy(&bytes)))
}

/// All projects' findings in one, paths as a reader in the current folder finds them.
fn findings(checked: Vec<Checked>, settings: &Settings, engine: bool) -> Findings {
    let mut findings = Findings { diagnostics: Vec::new(), sources: Vec::new(), files: 0, engine };
    for Checked { files, asked, project, mut diagnostics } in checked {
        // The process ends soon: giving this back piece by piece would take as long as a tenth of the check.
        std::mem::forget(project);
        if !asked.is_empty() {
            diagnostics.retain(|it| it.place.as_ref().is_none_or(|place| asked.contains(&*place.path)));
        }
        let mut all: Vec<Source> = files.sources.into_iter().chain(files.tests).collect();
        all.extend(diagnostics.iter().filter_map(|it| half_read(it, &files.root)));
        project::sort(&mut diagnostics, &all);
        let is_whole = |it: &&Source| Kind::of(&it.path) != Some(Kind::Include);
        findings.files += if asked.is_empty() { all.iter().filter(is_whole).count() } else { asked.len() };
        let shown = Shown::new(&files.root, &settings.folder);
        if shown.is_plain() {
            findings.diagnostics.extend(diagnostics);
            findings.sources.extend(all);
            continue;
        }
        let path = |path: &str| shown.path(path).into();
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
