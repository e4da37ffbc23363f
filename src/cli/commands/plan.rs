//! `birdhouse plan`: the statements that make a project's tables and views, on one server or on a cluster.

use crate::{
    cli::{discover, fault::user, place, printer::Printer, settings::Settings},
    datafile::{Context, Foreign, MissingSecret},
    ddl::{self, Cluster, Layout},
    diagnostic::{Diagnostic, Severity, Source, Sources, has_errors},
    name::{Namespace, ResourceName},
    plan,
    project::{Project, resolve},
};
use anyhow::Context as _;
use std::{
    collections::BTreeSet,
    num::NonZero,
    path::{Path, PathBuf},
};

/// Print the SQL that makes a project's tables and views
///
/// No server is asked and nothing is run: this is for reading. A server over a cluster (--engine
/// http://HOST:8123/?cluster=NAME) says these very statements. What a push would change on a server that runs, birdhouse
/// push --dry-run says.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The project that is there already: print what changes it into this one, and what fills new views
    /// [default: nothing is there]
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
    /// The database of the tables
    #[arg(long, value_name = "NAME", default_value = "birdhouse")]
    database: String,
    /// For a cluster, by the name that its servers have for it (in remote_servers): tables get replicas
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    cluster: Option<String>,
    /// Shards of the cluster. With more than one, a data source is a Distributed table over a local one on each shard
    #[arg(long, value_name = "NUMBER", default_value = "1", requires = "cluster")]
    shards: NonZero<u64>,
    /// The columns whose hash decides the shard of a row, like events=company_id or events=company_id,event; may be
    /// repeated [default: those of the sorting key]
    #[arg(long, value_name = "DATASOURCE=COLUMNS", requires = "cluster")]
    shard_by: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  birdhouse plan
  birdhouse plan --cluster birds
  birdhouse plan --cluster birds --shards 3 --shard-by events=company_id
  birdhouse plan --cluster birds --shards 3 --from ../deployed
  birdhouse plan --cluster birds > birds.sql && clickhouse-client --multiquery < birds.sql";

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let (wanted, sources) = read(&settings.folder, settings, printer)?;
    let current = match &args.from {
        Some(folder) => read(folder, settings, printer)?.0,
        None => Project::default(),
    };
    let plan = plan::diff_dropping(&current, &wanted, &gone(&current, &wanted));
    if let Some(step) = plan.refused().next() {
        return Err(user(format!("{step}; make a new data source for a new shape")));
    }
    let cluster = args.cluster.as_deref().map(|it| cluster(it, &args, &wanted)).transpose()?;
    let namespace = Namespace::new(&args.database);
    let lowered = match &cluster {
        Some(cluster) => ddl::lower_to_cluster(&plan, &current, &wanted, &namespace, cluster),
        None => ddl::lower(&plan, &current, &wanted, &namespace),
    };
    let refused = |it: ddl::LowerError| user(format!("{}: {}", it.place.path, it.error));
    let mut statements: Vec<_> = lowered.map_err(refused)?.into_iter().map(|it| it.sql).collect();
    let mut backfills = Vec::new();
    if let Some(cluster) = &cluster {
        statements.insert(0, Layout::from(cluster.clone()).create_database(&namespace));
        backfills = cluster.backfills(&plan, &current, &wanted, &namespace).map_err(refused)?;
        statements.extend(cluster.finish(&plan, &namespace));
        for warning in cluster.warnings(&wanted) {
            printer.diagnostic(&warning, &Sources::of(&sources));
        }
    }
    for line in plan.to_string().lines() {
        printer.line(format!("-- {line}"))?;
    }
    for statement in statements {
        printer.line(format!("\n{};", statement.as_str().trim_end()))?;
    }
    for backfill in backfills {
        let head = format!("\n-- Rows that are there already, into {}: once on each shard,", backfill.target);
        printer.line(format!("{head} on one of its replicas, while nothing is inserted."))?;
        printer.line(comment(backfill.sql.as_str()))?;
    }
    Ok(())
}

/// A statement that must not run with the others.
fn comment(statement: &str) -> String {
    let lines: Vec<_> = statement.trim_end().lines().map(|it| format!("--   {it}")).collect();
    format!("{};", lines.join("\n"))
}

/// What is not among the files any more goes with its rows: whoever runs the statements has read them.
fn gone(current: &Project, wanted: &Project) -> BTreeSet<ResourceName> {
    current.datasources.keys().filter(|it| !wanted.datasources.contains_key(*it)).cloned().collect()
}

fn cluster(name: &str, args: &Args, project: &Project) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::new(name, args.shards);
    for (datasource, columns) in place::shard_by(&args.shard_by)? {
        let chosen = cluster.shard_by(project, &datasource, &columns);
        chosen.map_err(|error| user(format!("--shard-by {datasource}={}: {error}", columns.join(","))))?;
    }
    Ok(cluster)
}

fn read(folder: &Path, settings: &Settings, printer: &Printer) -> anyhow::Result<(Project, Vec<Source>)> {
    let files = discover::project(folder).with_context(|| format!("{}", folder.display()))?;
    if files.sources.is_empty() {
        return Err(user(format!("there is no project in {}", folder.display())));
    }
    let context = Context {
        environment: files.environment.clone().into_iter().chain(settings.variables()).collect(),
        missing_secret: MissingSecret::StandIn,
        foreign: Foreign::Vendored(files.vendored.clone()),
        ..Context::default()
    };
    let (project, found) = resolve(&files.sources, &context);
    let diagnostics: Vec<_> = files.diagnostics.into_iter().chain(found).collect();
    if has_errors(&diagnostics) {
        let is_error = |it: &&Diagnostic| it.severity == Severity::Error;
        for diagnostic in diagnostics.iter().filter(is_error) {
            printer.diagnostic(diagnostic, &Sources::of(&files.sources));
        }
        return Err(user(format!("the project in {} has errors", folder.display())));
    }
    Ok((project, files.sources))
}
