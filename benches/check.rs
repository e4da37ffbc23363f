//! `birdhouse check --no-engine` on 1,000 datafiles, against `tb check` 6.5.5 on the same files where it is there.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

const PAIRS: usize = 500;

/// Milliseconds of ours and of the other tool, each the best of some runs, start of the process included.
pub(super) fn measure() -> (f64, Option<f64>) {
    let folder = tempfile::tempdir().unwrap();
    write_project(folder.path());
    let birdhouse = Path::new(env!("CARGO_BIN_EXE_birdhouse"));
    let ours = best(5, Command::new(birdhouse).args(["check", "--no-engine"]).current_dir(&folder));
    let theirs = tb().map(|tb| best(1, Command::new(tb).args(["--no-version-warning", "check"]).current_dir(&folder)));
    (ours, theirs)
}

/// The other tool: `pip install tinybird-cli==6.5.5` into `.venv`, or named by BENCH_TB.
fn tb() -> Option<PathBuf> {
    let named = env::var_os("BENCH_TB").map(PathBuf::from);
    let tb = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/tb"));
    tb.exists().then_some(tb)
}

fn best(rounds: usize, command: &mut Command) -> f64 {
    command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let begun = Instant::now();
        assert!(command.status().unwrap().success(), "{command:?} finds fault with good files");
        best = best.min(begun.elapsed().as_secs_f64() * 1000.0);
    }
    best
}

/// As many data sources as pipes, with nodes, templates, jsonpaths and keys.
fn write_project(root: &Path) {
    fs::create_dir_all(root.join("datasources")).unwrap();
    fs::create_dir_all(root.join("pipes")).unwrap();
    for n in 0..PAIRS {
        let datasource = format!(
            "DESCRIPTION >\n    Source number {n}\n\nSCHEMA >\n    `id` Int32 `json:$.id`,\n    `at` DateTime64(3) \
             `json:$.at`,\n    `name` LowCardinality(String) `json:$.name`,\n    `tags` Array(String) \
             `json:$.tags[:]`,\n    `amount` Nullable(Float64) `json:$.amount`\n\nENGINE \"MergeTree\"\n\
             ENGINE_PARTITION_KEY \"toYYYYMM(at)\"\nENGINE_SORTING_KEY \"id, at\"\nENGINE_TTL \"toDateTime(at) + \
             toIntervalDay(90)\"\n"
        );
        let pipe = format!(
            "TOKEN \"front\" READ\n\nDESCRIPTION >\n    Pipe number {n}\n\nNODE recent_{n}\nSQL >\n    %\n    SELECT id, \
             at, name, amount\n    FROM ds_{n}\n    WHERE at >= {{{{DateTime(start, '2024-01-01 00:00:00')}}}}\n    {{% \
             if defined(name) %}} AND name = {{{{String(name)}}}} {{% end %}}\n\nNODE totals_{n}\nSQL >\n    SELECT \
             name, count() AS n, sum(amount) AS total\n    FROM recent_{n}\n    GROUP BY name\n    ORDER BY n DESC\n\
             TYPE endpoint\n"
        );
        fs::write(root.join(format!("datasources/ds_{n}.datasource")), datasource).unwrap();
        fs::write(root.join(format!("pipes/p_{n}.pipe")), pipe).unwrap();
    }
}
