//! `birdhouse init`: the files of a new project.

use crate::cli::{fault::user, printer::Printer, settings::Settings};
use anyhow::Context as _;
use std::{fs, path::PathBuf};

/// Make the files of a new project
///
/// No file that is there already is touched.
///   birdhouse init
///   birdhouse init --template web-analytics && birdhouse dev
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// What to begin with
    #[arg(long, value_enum, default_value_t)]
    template: Template,
    /// Where [default: this folder]
    folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Template {
    /// Events from Kafka joined with companies, views and five endpoints
    AuditLog,
    /// Visits of web pages over HTTP, counted by day, one endpoint
    WebAnalytics,
    /// The folders and nothing in them
    #[default]
    Empty,
}

/// Paths within the project, and what stands in the files.
type Files = &'static [(&'static str, &'static str)];

const EMPTY: Files = &[
    ("datasources/.gitkeep", ""),
    ("endpoints/.gitkeep", ""),
    ("materializations/.gitkeep", ""),
    (".gitignore", ".birdhouse/\n.tinyb\n.env\n.env.local\n"),
];

const WEB_ANALYTICS: Files = &[
    ("datasources/visits.datasource", include_str!("../templates/web-analytics/visits.datasource")),
    ("datasources/visits_per_day.datasource", include_str!("../templates/web-analytics/visits_per_day.datasource")),
    ("fixtures/visits.ndjson", include_str!("../templates/web-analytics/visits.ndjson")),
    ("materializations/count_visits.pipe", include_str!("../templates/web-analytics/count_visits.pipe")),
    ("endpoints/top_pages.pipe", include_str!("../templates/web-analytics/top_pages.pipe")),
    ("tests/top_pages.yaml", include_str!("../templates/web-analytics/top_pages.yaml")),
    (".gitignore", ".birdhouse/\n.tinyb\n.env\n.env.local\n"),
];

const AUDIT_LOG: Files = &[
    ("datasources/companies.datasource", include_str!("../../../datasources/companies.datasource")),
    ("datasources/enriched_events_mv.datasource", include_str!("../../../datasources/enriched_events_mv.datasource")),
    ("datasources/events_per_min_mv.datasource", include_str!("../../../datasources/events_per_min_mv.datasource")),
    ("datasources/kafka_audit_log.datasource", include_str!("../../../datasources/kafka_audit_log.datasource")),
    ("datasources/fixtures/companies.csv", include_str!("../../../datasources/fixtures/companies.csv")),
    ("pipes/mat_enriched_events.pipe", include_str!("../../../pipes/mat_enriched_events.pipe")),
    ("pipes/mat_events_per_min.pipe", include_str!("../../../pipes/mat_events_per_min.pipe")),
    ("endpoints/api_audit_log.pipe", include_str!("../../../endpoints/api_audit_log.pipe")),
    ("endpoints/api_count_per_type.pipe", include_str!("../../../endpoints/api_count_per_type.pipe")),
    ("endpoints/api_totals.pipe", include_str!("../../../endpoints/api_totals.pipe")),
    ("endpoints/api_ui_filters.pipe", include_str!("../../../endpoints/api_ui_filters.pipe")),
    ("endpoints/events_per_company.pipe", include_str!("../../../endpoints/events_per_company.pipe")),
    (".gitignore", ".birdhouse/\n.tinyb\n.env\n.env.local\n"),
];

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let folder = settings.folder.join(args.folder.unwrap_or_default());
    let files = match args.template {
        Template::AuditLog => AUDIT_LOG,
        Template::WebAnalytics => WEB_ANALYTICS,
        Template::Empty => EMPTY,
    };
    let mut made = 0;
    for (path, text) in files {
        let full = folder.join(path);
        if let Some(above) = full.parent() {
            fs::create_dir_all(above).map_err(|error| user(format!("{} cannot be made: {error}", above.display())))?;
        }
        if full.exists() {
            printer.note(format!("{path} is there already"));
            continue;
        }
        fs::write(&full, text).with_context(|| format!("{} cannot be written", full.display()))?;
        printer.line(path)?;
        made += 1;
    }
    if made > 0 {
        printer.note("birdhouse check says whether all is well; birdhouse dev serves it");
    }
    Ok(())
}
