//! `birdhouse check`: says everything that is wrong with a project, without a server.

use crate::{
    cli::{
        discover::{self, ProjectFiles},
        fault::user,
        printer::Printer,
        settings::Settings,
    },
    datafile::{Context, Dialect, Kind, MissingSecret},
    diagnostic::{Diagnostic, Place, Severity, Source},
    project::resolve,
};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Read the project's files and say what is wrong with them.
///
/// Every problem is told at once, with its place and what to do about it. Needs no server and no engine.
///
/// Exit codes: 0 nothing is wrong (there may be warnings), 1 there are errors, 2 the check itself failed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folders of projects, or datafiles, which are checked within their projects [default: this folder]
    paths: Vec<PathBuf>,
    /// Print one JSON object with all that was found
    #[arg(long)]
    json: bool,
    /// Whose rules to follow: auto takes what either generation of Tinybird takes
    #[arg(long, value_enum, default_value_t)]
    dialect: DialectArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum DialectArg {
    Classic,
    Forward,
    #[default]
    Auto,
}

/// What was found in one project, or in the asked files of one.
struct Checked {
    sources: Vec<Source>,
    diagnostics: Vec<Diagnostic>,
    /// How many files were asked about.
    files: usize,
    /// The path of the project as messages begin with it; empty for the current folder.
    prefix: String,
}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let context = |files: &ProjectFiles| Context {
        dialect: match args.dialect {
            DialectArg::Classic => Dialect::Classic,
            DialectArg::Forward => Dialect::Forward,
            DialectArg::Auto => Dialect::Auto,
        },
        // The variables of the process win over those of the project's files.
        environment: files.environment.clone().into_iter().chain(settings.variables()).collect(),
        secrets: files.environment.clone(),
        missing_secret: MissingSecret::StandIn,
    };
    let mut checked = Vec::new();
    for (root, asked) in projects(&args.paths, &settings.folder)? {
        let files = discover::project(&root).with_context(|| format!("{}", root.display()))?;
        let context = context(&files);
        checked.push(check(files, &asked, &context, &settings.folder)?);
    }
    let count = |severity| {
        let all = checked.iter().flat_map(|it| &it.diagnostics);
        all.filter(|it| it.severity == severity).count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let files: usize = checked.iter().map(|it| it.files).sum();
    if args.json {
        let diagnostics: Vec<Value> =
            checked.iter().flat_map(|project| project.diagnostics.iter().map(|it| project.json(it))).collect();
        printer.line(json!({
            "ok": errors == 0,
            "files": files,
            "errors": errors,
            "warnings": warnings,
            "diagnostics": diagnostics,
        }))?;
    } else {
        for project in &checked {
            let (diagnostics, sources) = project.shown();
            for diagnostic in &diagnostics {
                printer.finding(diagnostic, &sources)?;
            }
        }
    }
    let summary = summary(errors, warnings, files);
    if errors > 0 {
        return Err(user(summary));
    }
    if !args.json {
        printer.line(summary)?;
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
        let (root, asked) = if full.is_dir() {
            (full, None)
        } else if Kind::of(&path.to_string_lossy()).is_some() {
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

fn check(
    mut files: ProjectFiles,
    asked: &BTreeSet<PathBuf>,
    context: &Context,
    folder: &Path,
) -> anyhow::Result<Checked> {
    let asked: BTreeSet<String> = asked.iter().map(|it| discover::relative(it, &files.root)).collect();
    for path in &asked {
        // A file outside of the project's folders is checked all the same.
        if !files.sources.iter().any(|it| *it.path == **path)
            && let Ok(source) = discover::read(&files.root.join(path), path)
        {
            files.sources.push(source);
        }
    }
    let (_, found) = resolve(&files.sources, context);
    let mut diagnostics = files.diagnostics;
    diagnostics.extend(found);
    if !asked.is_empty() {
        let is_asked = |it: &Diagnostic| it.place.as_ref().is_none_or(|place| asked.contains(&*place.path));
        diagnostics.retain(is_asked);
    }
    let fragments = files.sources.iter().filter(|it| Kind::of(&it.path) == Some(Kind::Include)).count();
    let number = if asked.is_empty() { files.sources.len() - fragments } else { asked.len() };
    if number == 0 && diagnostics.is_empty() {
        return Err(user(format!("there are no datafiles in `{}`", files.root.display())));
    }
    let root = std::fs::canonicalize(&files.root).unwrap_or(files.root);
    let here = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let prefix = match root.strip_prefix(&here) {
        Ok(inside) => discover::relative(inside, Path::new("")),
        Err(_) => root.display().to_string(),
    };
    Ok(Checked { sources: files.sources, diagnostics, files: number, prefix })
}

impl Checked {
    /// A path as a reader in the current folder finds it.
    fn path(&self, path: &str) -> String {
        if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) }
    }

    /// Diagnostics and sources with such paths.
    fn shown(&self) -> (Vec<Diagnostic>, Vec<Source>) {
        let place = |it: Place| Place { path: self.path(&it.path).into(), span: it.span };
        let diagnostics = self.diagnostics.iter().cloned().map(|it| Diagnostic {
            place: it.place.map(place),
            related: it.related.into_iter().map(|(it, words)| (place(it), words)).collect(),
            ..it
        });
        let sources = self.sources.iter().map(|it| Source { path: self.path(&it.path).into(), text: it.text.clone() });
        (diagnostics.collect(), sources.collect())
    }

    fn json(&self, diagnostic: &Diagnostic) -> Value {
        let place = |place: &Place| {
            let mut value = json!({"file": self.path(&place.path)});
            if let Some(source) = self.sources.iter().find(|it| it.path == place.path) {
                let (start, end) = (source.line_column(place.span.start), source.line_column(place.span.end));
                value["line"] = start.line.into();
                value["column"] = start.column.into();
                value["end_line"] = end.line.into();
                value["end_column"] = end.column.into();
            }
            value
        };
        let mut value = diagnostic.place.as_ref().map_or_else(|| json!({}), place);
        value["severity"] = match diagnostic.severity {
            Severity::Error => "error".into(),
            Severity::Warning => "warning".into(),
        };
        value["code"] = diagnostic.code.into();
        value["message"] = diagnostic.message.as_str().into();
        value["hint"] = diagnostic.hint.as_deref().into();
        let related = diagnostic.related.iter().map(|(it, words)| {
            let mut value = place(it);
            value["message"] = words.as_str().into();
            value
        });
        value["related"] = related.collect();
        value
    }
}

/// `3 errors and 1 warning in 11 files`.
fn summary(errors: usize, warnings: usize, files: usize) -> String {
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    let files = count(files, "file");
    match (errors, warnings) {
        (0, 0) => format!("nothing is wrong in {files}"),
        (errors, 0) => format!("{} in {files}", count(errors, "error")),
        (0, warnings) => format!("{} in {files}", count(warnings, "warning")),
        (errors, warnings) => format!("{} and {} in {files}", count(errors, "error"), count(warnings, "warning")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        assert_eq!(summary(0, 0, 11), "nothing is wrong in 11 files");
        assert_eq!(summary(1, 0, 1), "1 error in 1 file");
        assert_eq!(summary(3, 1, 11), "3 errors and 1 warning in 11 files");
        assert_eq!(summary(0, 2, 1), "2 warnings in 1 file");
    }
}
