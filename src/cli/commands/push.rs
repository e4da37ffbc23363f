//! `birdhouse push`: the project of this folder becomes the one that a server runs.

use super::wait;
use crate::{
    cli::{
        args::TargetArgs,
        client::Client,
        discover::{self, ProjectFiles},
        fault::user,
        printer::Printer,
        pushing::{self, Overwrite, Wish},
        settings::Settings,
    },
    diagnostic::Source,
};
use anyhow::Context;
use std::path::{Path, PathBuf};

/// Deploy this folder's project, or some of its files
///
/// Sends the files to the server, which compares them with what it runs and makes the difference: tables, views,
/// endpoints, tokens, who else may read (SHARED_WITH). All of it, or, if anything is wrong, nothing. What would lose or
/// rewrite stored rows is refused.
///
/// Without FILES the whole project is sent: what the server has and the folder has not is dropped, if no rows are lost
/// with it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files or folders of the project; all of it if there are none
    files: Vec<PathBuf>,
    /// Load fixtures too: each takes the place of the rows in its data source
    #[arg(long)]
    fixtures: bool,
    /// Let fixtures take the place of rows that are not their own
    #[arg(long)]
    force: bool,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: TargetArgs,
}

const EXAMPLES: &str = "\
Examples:
  birdhouse push --dry-run            what would happen
  birdhouse push --fixtures           with rows from datasources/fixtures
  birdhouse push endpoints/api.pipe   only this file; the rest stays as it is";

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let mut files = discover::project(&settings.folder).context("the project cannot be read")?;
    pushing::readable(&files, printer)?;
    if files.sources.is_empty() {
        return Err(user(format!(
            "there is no project in {}: no .datasource or .pipe file",
            settings.folder.display()
        )));
    }
    let partial = !args.files.is_empty();
    if partial {
        keep_only(&mut files, &args.files, &settings.folder)?;
    }
    if !args.fixtures {
        files.fixtures.clear();
    }
    let client = Client::new(&settings.target(&args.target)?)?;
    let overwrite = if args.force { Overwrite::AllRows } else { Overwrite::OwnRows };
    let hold_consumers = !args.dry_run && !files.fixtures.is_empty();
    let wish = Wish { check: args.dry_run, partial, share: true, hold_consumers };
    wait(push(&client, &files, wish, overwrite, &settings.tinyb_path(), printer))
}

async fn push(
    client: &Client,
    files: &ProjectFiles,
    wish: Wish,
    overwrite: Overwrite,
    tinyb: &Path,
    printer: &Printer,
) -> anyhow::Result<()> {
    pushing::spare_rows(client, &files.fixtures, overwrite, tinyb).await?;
    let reply = pushing::deploy(client, &files.sources, wish).await?;
    reply.print_diagnostics(&files.sources, printer);
    reply.print_plan(printer)?;
    if reply.is_failed() {
        return Err(user(format!("{}; nothing was changed on {}", reply.errors(), client.host())));
    }
    if wish.check {
        for fixture in &files.fixtures {
            printer.line(format!("+ fixture of {}", fixture.datasource))?;
        }
        let unchanged = reply.is_unchanged() && files.fixtures.is_empty();
        printer.note(if unchanged { "nothing to do" } else { "that would happen; nothing was changed" });
        return Ok(());
    }
    pushing::load(client, &files.fixtures, &files.root, tinyb, printer).await?;
    if wish.hold_consumers {
        pushing::release_consumers(client).await?;
    }
    let number = reply.plan.len();
    match reply.is_unchanged() {
        true => printer.note(format!("the project on {} is unchanged", client.host())),
        false => {
            printer.note(format!("{number} change{} made on {}", if number == 1 { "" } else { "s" }, client.host()))
        }
    }
    Ok(())
}

/// Keeps the named files, the data sources' fixtures among them, and what others include.
fn keep_only(files: &mut ProjectFiles, named: &[PathBuf], folder: &Path) -> anyhow::Result<()> {
    let relative = |path: &Path| {
        let path = path.strip_prefix(folder).unwrap_or(path);
        let path = path.strip_prefix(".").unwrap_or(path);
        path.to_owned()
    };
    let wanted: Vec<PathBuf> = named.iter().map(|it| relative(it)).collect();
    let is_under =
        |source: &Source, path: &Path| path.as_os_str().is_empty() || Path::new(&*source.path).starts_with(path);
    for (path, shown) in wanted.iter().zip(named) {
        if !files.sources.iter().any(|source| is_under(source, path)) {
            return Err(user(format!("{} is no file of this folder's project", shown.display())));
        }
    }
    files.sources.retain(|source| source.path.ends_with(".incl") || wanted.iter().any(|path| is_under(source, path)));
    let names: Vec<String> =
        files.sources.iter().filter_map(|it| Path::new(&*it.path).file_stem()?.to_str().map(str::to_owned)).collect();
    files.fixtures.retain(|it| names.contains(&it.datasource));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> ProjectFiles {
        let paths = ["datasources/a.datasource", "pipes/b.pipe", "pipes/c.pipe", "includes/d.incl"];
        ProjectFiles { sources: paths.iter().map(|it| Source::new(*it, "")).collect(), ..ProjectFiles::default() }
    }

    #[test]
    fn named_files_and_folders() {
        let kept = |named: &[&str]| {
            let mut files = files();
            let named: Vec<PathBuf> = named.iter().map(PathBuf::from).collect();
            keep_only(&mut files, &named, Path::new("/p"))?;
            anyhow::Ok(files.sources.iter().map(|it| it.path.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(kept(&["./pipes/b.pipe"]).unwrap(), ["pipes/b.pipe", "includes/d.incl"]);
        assert_eq!(kept(&["/p/pipes"]).unwrap().len(), 3);
        assert_eq!(kept(&["."]).unwrap().len(), 4);
        let error = kept(&["pipes/x.pipe"]).unwrap_err().to_string();
        assert_eq!(error, "pipes/x.pipe is no file of this folder's project");
    }
}
