//! `birdhouse parse`: what one file says, as JSON.

use super::check::DialectArg;
use crate::{
    cli::{asked, discover, fault::user, findings::object, printer::Printer, settings::Settings},
    datafile::{Context, Foreign, Kind, MissingSecret, is_test_file},
    diagnostic::Sources,
    project::verdict,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Print what a datafile or test file says, and what is wrong with it, as JSON.
///
/// The object has `ok`, `parsed` (the facts, when nothing is wrong), `error` (the first error, by the name and
/// line that Tinybird's own tools give it), and `diagnostics` (everything, with exact places). Variables of the
/// environment stand for $NAME; only secrets that --secret names have a value.
///
/// Exit codes: 0 the file is good, 1 it is not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; - reads standard input, whose name --name gives
    file: PathBuf,
    /// What standard input is called: its extension tells what it is
    #[arg(long, value_name = "FILE")]
    name: Option<String>,
    /// Whose rules to follow
    #[arg(long, value_enum, default_value_t)]
    dialect: DialectArg,
    /// A secret: NAME=value
    #[arg(long = "secret", value_name = "NAME=VALUE")]
    secrets: Vec<String>,
}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let source = if args.file == Path::new("-") {
        let (name, bytes) = asked::standard_input(args.name.as_deref())?;
        discover::decode(&bytes, &name)
    } else {
        let shown = args.file.to_string_lossy().replace('\\', "/");
        discover::read(&settings.folder.join(&args.file), &shown)
    };
    let source = match source {
        Ok(source) => source,
        Err(diagnostic) => {
            printer.line(unreadable(&diagnostic))?;
            return Err(user(diagnostic.message.clone()));
        }
    };
    if Kind::of(&source.path).is_none() && !is_test_file(&source.path) {
        return Err(user(format!("`{}` is neither a datafile nor a file of tests/", source.path)));
    }
    let mut secrets = BTreeMap::new();
    for secret in &args.secrets {
        let (name, value) = secret.split_once('=').ok_or_else(|| user("write --secret NAME=value"))?;
        secrets.insert(name.to_owned(), value.to_owned());
    }
    let context = Context {
        dialect: args.dialect.into(),
        environment: settings.variables(),
        secrets,
        missing_secret: MissingSecret::Error,
        foreign: Foreign::Refused,
    };
    let folder = settings.folder.join(Path::new(&*source.path).parent().unwrap_or(Path::new("")));
    let include = |path: &str| discover::read(&folder.join(path), path).ok();
    let Some(verdict) = verdict(&source, &context, &include) else {
        return Err(user(format!("`{}` is no datafile", source.path)));
    };
    let mut value = verdict.value;
    let sources = Sources::of([&source]);
    let diagnostics: Vec<Value> = verdict.diagnostics.iter().map(|it| object(it, &sources)).collect();
    value["diagnostics"] = diagnostics.into();
    printer.line(serde_json::to_string_pretty(&value)?)?;
    if verdict.ok { Ok(()) } else { Err(user(format!("{} has errors", source.path))) }
}

fn unreadable(diagnostic: &crate::diagnostic::Diagnostic) -> Value {
    serde_json::json!({
        "ok": false,
        "error": {"code": diagnostic.code},
        "diagnostics": [object(diagnostic, &Sources::default())],
    })
}
