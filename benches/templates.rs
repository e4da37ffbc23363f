//! What rendering costs: the audit-log endpoints here and by the original renderer, in the same run on the same
//! inputs; parsing a long template.

use birdhouse::{
    datafile::Context,
    diagnostic::Source,
    project::{NodeSql, resolve},
    template::{Params, RenderOptions, Template},
};
use serde_json::{Value, json};
use std::{
    fs,
    hint::black_box,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

/// The name of a figure, microseconds here, microseconds of the original where it is measured.
pub(crate) type Figure = (String, f64, Option<f64>);

const REQUESTS: &[(&str, &str)] = &[
    (
        "api_audit_log",
        r#"{"company_id": "1", "event_exact": "file_created", "start_date": "2024-01-01 00:00:00", "end_date": "2024-02-01 00:00:00", "page": "3"}"#,
    ),
    ("api_totals", r#"{"company_id": "1"}"#),
    ("api_count_per_type", r#"{"company_id": "1"}"#),
    ("api_ui_filters", r#"{"filter": "companies"}"#),
];

/// Times the original: each line of standard input is a list of templates and parameters. It keeps what it has parsed
/// of a text, so each answer is two figures, in microseconds: for texts that it has not seen, and for seen ones.
const ORIGINAL: &str = "\
import json, logging, sys, time
logging.disable(logging.CRITICAL)
from tinybird.sql_template import render_sql_template
for line in sys.stdin:
    templates, params = json.loads(line)
    def once(suffix=''):
        for template in templates:
            render_sql_template(template + suffix, dict(params))
    once()
    best = float('inf')
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(40):
            once()
        best = min(best, (time.perf_counter() - begin) / 40)
    cold = float('inf')
    for length in range(1, 60):
        begin = time.perf_counter()
        once(' ' * length)
        cold = min(cold, time.perf_counter() - begin)
    print(json.dumps([cold * 1e6, best * 1e6]), flush=True)
";

pub(crate) fn figures() -> Vec<Figure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["datasources", "pipes", "endpoints"] {
        let files = fs::read_dir(root.join(folder)).into_iter().flatten().flatten().map(|it| it.path());
        for path in files.filter(|it| it.extension().is_some_and(|it| it == "pipe" || it == "datasource")) {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            sources.push(Source::new(name, fs::read_to_string(&path).unwrap()));
        }
    }
    let (project, _) = resolve(&sources, &Context::default());
    let mut figures = Vec::new();
    let mut asked = String::new();
    for (name, params) in REQUESTS {
        let pipe = project.pipe(name).unwrap();
        let texts: Vec<(&str, Template)> = pipe
            .nodes
            .iter()
            .filter_map(|it| match &it.sql {
                NodeSql::Template { text, template, .. } => Some((text.text(), (**template).clone())),
                NodeSql::Plain(_) => None,
            })
            .collect();
        if texts.is_empty() {
            continue;
        }
        let given: Value = serde_json::from_str(params).unwrap();
        let params: Params = given.as_object().unwrap().clone().into_iter().collect();
        let options = RenderOptions::default();
        let ours = best(|| {
            for (_, template) in &texts {
                black_box(template.render(black_box(&params), &options).unwrap());
            }
        });
        figures.push((format!("rendering {name}"), ours, None));
        let templates: Vec<&str> = texts.iter().map(|(text, _)| *text).collect();
        asked.push_str(&format!("{}\n", json!([templates, given])));
    }
    let original = original(root, &asked);
    let mut seen = Vec::new();
    for (figure, (cold, warm)) in figures.iter_mut().zip(original) {
        seen.push((format!("{}, the original's parse kept", figure.0), figure.1, Some(warm)));
        figure.2 = Some(cold);
    }
    figures.append(&mut seen);
    figures.push((
        "parsing a template of 200 lines".to_owned(),
        best(|| _ = black_box(Template::parse(&long()).unwrap())),
        None,
    ));
    figures
}

/// The least of many, in microseconds.
fn best(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let begin = Instant::now();
        (0..100).for_each(|_| work());
        best = best.min(begin.elapsed().as_secs_f64() * 1e6 / 100.0);
    }
    best
}

fn long() -> String {
    let block = "  {% if defined(city) and city != 'all' %}\n    AND city = {{ String(city, 'Ulm', description='A city') }}\n  {% end %}\n  AND km > {{ Float64(km, 0.5) * 2 }}\n";
    format!("SELECT * FROM trips WHERE 1\n{}", block.repeat(50))
}

fn original(root: &Path, asked: &str) -> Vec<(f64, f64)> {
    let python = root.join(".venv/bin/python3");
    let Ok(mut child) = Command::new(python)
        .args(["-c", ORIGINAL])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
    else {
        return vec![];
    };
    child.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let numbers = String::from_utf8(output.stdout).unwrap();
    numbers.lines().filter_map(|it| serde_json::from_str(it).ok()).collect()
}
