//! `birdhouse check --no-engine` on 1,000 datafiles, against `tb check` 6.5.5 on the same files where it is there.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

const PAIRS: usize = 500;

/// Each is run as often as this, in turn, so that both meet the same machine.
const ROUNDS: usize = 5;

/// Milliseconds of ours and of the other tool, the median of some runs, each from the start of the process to its end.
pub(super) fn measure() -> (f64, Option<f64>) {
    let folder = tempfile::tempdir().unwrap();
    write_project(folder.path());
    let mut ours = Command::new(Path::new(env!("CARGO_BIN_EXE_birdhouse")));
    ours.args(["check", "--no-engine"]).current_dir(&folder);
    let mut theirs = tb().map(Command::new);
    if let Some(theirs) = &mut theirs {
        theirs.args(["--no-version-warning", "check"]).current_dir(&folder);
    }
    // Once before it counts, so that nothing is cold.
    run(&mut ours);
    theirs.as_mut().map(run);
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_times.push(run(&mut ours));
        their_times.extend(theirs.as_mut().map(run));
    }
    (median(our_times).unwrap(), median(their_times))
}

/// The other tool, `tinybird-cli==6.5.5`: the one that `scripts/setup clients` installs, or the one named by BENCH_TB.
fn tb() -> Option<PathBuf> {
    let named = env::var_os("BENCH_TB").map(PathBuf::from);
    let tb = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-clients/bin/tb"));
    tb.exists().then_some(tb)
}

fn run(command: &mut Command) -> f64 {
    command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    let begun = Instant::now();
    assert!(command.status().unwrap().success(), "{command:?} finds fault with good files");
    begun.elapsed().as_secs_f64() * 1000.0
}

fn median(mut times: Vec<f64>) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
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
