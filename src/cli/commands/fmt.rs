//! `birdhouse fmt`: datafiles in their usual form.

use crate::{
    cli::{
        asked::{self, Asked, Shown},
        discover,
        fault::user,
        printer::{Colour, Printer},
        settings::Settings,
    },
    datafile::{Context, Dialect, Kind, Layout, no_includes, parse_as},
    diagnostic::{Source, Sources, has_errors},
    project::facts,
};
use anyhow::Context as _;
use similar::{ChangeTag, TextDiff};
use std::path::{Path, PathBuf};

/// Bring datafiles into their usual form
///
/// Commands in capitals, blocks indented by four blanks, one column a line, blank lines where a part begins. Comments
/// stay, and what a file says does not change. SQL is indented and otherwise left alone: no formatter keeps ClickHouse and
/// template tags intact. Files with errors are left as they are.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folders of projects, or datafiles [default: this folder]
    paths: Vec<PathBuf>,
    /// Change nothing; exit code 1 if a file would change
    #[arg(long)]
    check: bool,
    /// Change nothing and show what would change
    #[arg(long)]
    diff: bool,
    /// The name of what comes on standard input
    #[arg(long, value_name = "FILE")]
    name: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  birdhouse fmt --check        in a pipeline: exit code 1 if a file would change
  birdhouse fmt - < a.pipe     from standard input to standard output";

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    if args.paths.iter().any(|it| it == Path::new("-")) {
        let (name, bytes) = asked::standard_input(args.name.as_deref())?;
        let source = discover::decode(&bytes, &name).map_err(|it| user(it.message))?;
        let printed = formatted(&source).map_err(user)?;
        printer.bytes(printed.as_bytes())?;
        return Ok(());
    }
    let (mut changed, mut left, mut all) = (0, 0, 0);
    for (path, source) in sources(&args.paths, settings, printer)? {
        all += 1;
        match formatted(&source) {
            Err(why) => {
                left += 1;
                printer.warning(why);
            }
            Ok(printed) if *printed == *source.text => (),
            Ok(printed) => {
                changed += 1;
                if args.diff {
                    diff(&source, &printed, printer)?;
                } else if args.check {
                    printer.line(&source.path)?;
                } else {
                    std::fs::write(&path, printed).with_context(|| format!("{} cannot be written", path.display()))?;
                    printer.line(&source.path)?;
                }
            }
        }
    }
    let count = |number: usize| if number == 1 { "1 file".to_owned() } else { format!("{number} files") };
    let unchanged = all - changed - left;
    let left = match left {
        0 => String::new(),
        1 => ", 1 left as it is".to_owned(),
        left => format!(", {left} left as they are"),
    };
    match (changed, args.check || args.diff) {
        (0, _) if unchanged == 1 => printer.note(format!("1 file in its usual form{left}")),
        (0, _) => printer.note(format!("{} in their usual form{left}", count(unchanged))),
        (changed, true) if args.check => return Err(user(format!("{} would change{left}", count(changed)))),
        (changed, true) => printer.note(format!("{} would change{left}", count(changed))),
        (changed, false) => printer.note(format!("{} changed{left}", count(changed))),
    }
    Ok(())
}

/// The datafiles that are asked about, each with where it is on disk.
fn sources(paths: &[PathBuf], settings: &Settings, printer: &Printer) -> anyhow::Result<Vec<(PathBuf, Source)>> {
    let mut sources = Vec::new();
    for Asked { root, files } in asked::projects(paths, &settings.folder)? {
        let shown = Shown::new(&root, &settings.folder);
        let found = if files.is_empty() {
            let found = discover::project(&root).with_context(|| format!("{}", root.display()))?;
            let known = Sources::of(&found.sources);
            found.diagnostics.iter().for_each(|it| printer.diagnostic(it, &known));
            found.sources
        } else {
            let files = files.iter().filter(|it| Kind::of(&it.to_string_lossy()).is_some());
            let read = files.map(|it| discover::read(it, &discover::relative(it, &root)));
            read.collect::<Result<_, _>>().map_err(|it| user(it.message))?
        };
        let file = |it: Source| (root.join(&*it.path), Source::new(shown.path(&it.path), it.text));
        sources.extend(found.into_iter().map(file));
    }
    Ok(sources)
}

/// The file as it should look. `Err` says why it is better left as it is.
fn formatted(source: &Source) -> Result<String, String> {
    let kind = Kind::of(&source.path).ok_or_else(|| format!("`{}` is no datafile", source.path))?;
    let printed = Layout::read(&source.text, kind, Dialect::Auto).print();
    let context = Context::default();
    let said = |text: &str| {
        let source = Source::new(source.path.clone(), text);
        let (file, diagnostics) = parse_as(kind, &source, &context, &no_includes);
        let codes: Vec<&'static str> = diagnostics.iter().map(|it| it.code).collect();
        // What a template says does not hang on the blanks in it.
        let facts = facts(&file, &context)
            .to_string()
            .replace("\\t", "\\n")
            .split("\\n")
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" ");
        let own = diagnostics
            .iter()
            .any(|it| it.severity == crate::diagnostic::Severity::Error && !OUTSIDE.contains(&it.code));
        (facts, codes, own && has_errors(&diagnostics))
    };
    let before = said(&source.text);
    if before.2 {
        return Err(format!("{} has errors and is left as it is: see birdhouse check", source.path));
    }
    let after = said(&printed);
    // What is warned of must stay to be seen.
    if (&before.0, &before.1) != (&after.0, &after.1) {
        return Err(format!("{} is left as it is: another form would say something else", source.path));
    }
    Ok(printed)
}

/// Errors about what is outside of the file.
const OUTSIDE: &[&str] = &["include_not_found", "secret_missing_no_default"];

fn diff(source: &Source, printed: &str, printer: &Printer) -> anyhow::Result<()> {
    printer.line(format!("--- {}", source.path))?;
    printer.line(format!("+++ {}", source.path))?;
    let diff = TextDiff::from_lines(&*source.text, printed);
    for hunk in diff.unified_diff().context_radius(2).iter_hunks() {
        printer.line(hunk.header())?;
        for change in hunk.iter_changes() {
            let line = change.value().trim_end_matches(['\n', '\r']);
            match change.tag() {
                ChangeTag::Equal => printer.line(format!(" {line}"))?,
                ChangeTag::Delete => printer.line(printer.paint(Colour::Red, &format!("-{line}")))?,
                ChangeTag::Insert => printer.line(printer.paint(Colour::Green, &format!("+{line}")))?,
            }
        }
    }
    Ok(())
}
