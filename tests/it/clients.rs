//! The official command line as a black box: the unmodified `tb` against the built binary, in the order in
//! which a person would type it. What it is made to do is written in `tests/clients/*.flow`:
//!
//! ```text
//! project garden          the folder beside it that is worked in, or . for this repository's project
//! broker sightings        a Kafka broker at $BROKER, with a message in that topic
//! $ tb datasource ls      a command: tb, birdhouse, or a program of the system
//! * tb sql "select 1"      the same, run again until it does what is expected, for two minutes at most
//! < yes                   a line that it is given
//! > birds                 what it says
//! ! Error                 what it does not say
//! ? 1                     its exit code, if not 0
//! = JOB after /v0/jobs/   the word that comes after that becomes $JOB
//! ```

use super::{engine::library_path, kafka::Broker};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

pub(crate) const TOKEN: &str = "p.admin-of-the-client-tests";

/// A project folder, a server, and `tb` in that folder.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    server: Child,
    pub(crate) host: String,
    /// Where ClickHouse's clients are heard.
    pub(crate) clickhouse: String,
}

/// One command of a flow, and what is expected of it.
#[derive(Default)]
struct Step {
    line: usize,
    command: String,
    /// It is run until it is as expected.
    patient: bool,
    input: String,
    says: Vec<String>,
    hides: Vec<String>,
    code: i32,
    /// Names, each with the text that the word stands after.
    keeps: Vec<(String, String)>,
}

impl Desk {
    /// With a small project.
    fn new() -> Desk {
        let desk = Desk::empty();
        for (path, text) in PROJECT {
            desk.file(path, text);
        }
        desk
    }

    /// A server without a project.
    pub(crate) fn empty() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_birdhouse"));
        command
            .args(["serve", "--port", "0", "--clickhouse-port", "0", "--data-dir", "data"])
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", folder.path())
            .env("BIRDHOUSE_LIBCHDB", library_path())
            .env("BIRDHOUSE_ADMIN_TOKEN", TOKEN)
            .env("BIRDHOUSE_PRIVATE_URLS", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut port = |said: &str| {
            let line = lines.find(|it| it.contains(said)).unwrap();
            let port = line.split("localhost:").nth(1).unwrap().split([' ', ',']).next().unwrap();
            format!("http://localhost:{port}")
        };
        let host = port("birdhouse serves at http://localhost:");
        let clickhouse = port("ClickHouse's clients reach it at http://localhost:");
        thread::spawn(move || lines.for_each(drop));
        Desk { host, clickhouse, folder, server }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> (bool, String) {
        let (code, text) = self.run_with(program, arguments, "");
        (code == 0, text)
    }

    fn run_with(&self, program: &Path, arguments: &[&str], input: &str) -> (i32, String) {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("TB_VERSION_WARNING", "0")
            .env("TB_CLI_TELEMETRY_OPTOUT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn();
        let mut child =
            child.unwrap_or_else(|error| panic!("{}: {error}; `make setup` installs it", program.display()));
        // One that reads nothing may be gone already.
        _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap_or(-1), text)
    }

    /// Runs a command of `tb` that must succeed and say each of `words`.
    fn tb(&self, arguments: &[&str], words: &[&str]) -> String {
        self.tb_ends(true, arguments, words)
    }

    /// One that must not.
    fn tb_fails(&self, arguments: &[&str], words: &[&str]) -> String {
        self.tb_ends(false, arguments, words)
    }

    fn tb_ends(&self, well: bool, arguments: &[&str], words: &[&str]) -> String {
        let (succeeded, text) = self.run(&program("tb"), arguments);
        assert_eq!(succeeded, well, "tb {arguments:?}: {text}");
        for word in words {
            assert!(text.contains(word), "tb {arguments:?} does not say `{word}`: {text}");
        }
        text
    }
}

fn program(name: &str) -> PathBuf {
    match name {
        "tb" => std::env::var_os("BIRDHOUSE_TB")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-clients/bin/tb"), PathBuf::from),
        "birdhouse" => env!("CARGO_BIN_EXE_birdhouse").into(),
        name => name.into(),
    }
}

/// A flow as it is written.
struct Flow {
    /// The folder of the project; `.` is this repository's.
    project: Option<String>,
    /// The topic of the broker.
    topic: Option<String>,
    steps: Vec<Step>,
}

fn read(text: &str, name: &str) -> Flow {
    let mut flow = Flow { project: None, topic: None, steps: Vec::new() };
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let odd = format!("{name}, line {}: {line}", index + 1);
        match (kind, flow.steps.last_mut()) {
            ("project", None) => flow.project = Some(rest.to_owned()),
            ("broker", None) => flow.topic = Some(rest.to_owned()),
            ("$" | "*", _) => {
                let (line, command, patient) = (index + 1, rest.to_owned(), kind == "*");
                flow.steps.push(Step { line, command, patient, ..Step::default() });
            }
            (_, None) => panic!("{odd}"),
            ("<", Some(step)) => step.input.push_str(&format!("{rest}\n")),
            (">", Some(step)) => step.says.push(rest.to_owned()),
            ("!", Some(step)) => step.hides.push(rest.to_owned()),
            ("?", Some(step)) => step.code = rest.parse().expect(&odd),
            ("=", Some(step)) => {
                let (key, after) = rest.split_once(" after ").expect(&odd);
                step.keeps.push((key.to_owned(), after.to_owned()));
            }
            _ => panic!("{odd}"),
        }
    }
    flow
}

/// Runs a flow from its beginning; tells everything that is not as it should be.
async fn flow(name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("tests/clients");
    let text = fs::read_to_string(folder.join(format!("{name}.flow"))).unwrap();
    let Flow { project, topic, steps } = read(&text, &format!("{name}.flow"));
    let desk = Desk::empty();
    let mut known = BTreeMap::from([("HOST".to_owned(), desk.host.clone()), ("TOKEN".to_owned(), TOKEN.to_owned())]);
    match project.as_deref() {
        Some(".") => {
            for part in ["datasources", "pipes", "endpoints"] {
                copy(&root.join(part), &desk.path().join(part));
            }
        }
        Some(project) => copy(&folder.join(project), desk.path()),
        None => {}
    }
    let mut broker = None;
    if let Some(topic) = topic {
        let started = Broker::start().await;
        started.topic(&topic, 1).await;
        started.send(&topic, 1, ["{\"name\": \"owl\"}".to_owned()]);
        known.insert("BROKER".to_owned(), started.address());
        broker = Some(started);
    }
    let mut wrong = Vec::new();
    for step in steps {
        let end = Instant::now() + Duration::from_secs(120);
        let (mut said, mut complaints) = step.run(&desk, &mut known);
        while step.patient && !complaints.is_empty() && Instant::now() < end {
            thread::sleep(Duration::from_millis(200));
            (said, complaints) = step.run(&desk, &mut known);
        }
        if !complaints.is_empty() {
            wrong.push(format!("line {}: {}: {}\n{said}", step.line, step.command, complaints.join(", ")));
        }
    }
    drop(broker);
    assert!(wrong.is_empty(), "{name}.flow:\n{}", wrong.join("\n"));
}

impl Step {
    /// What the command says, and what of it is not as expected.
    fn run(&self, desk: &Desk, known: &mut BTreeMap<String, String>) -> (String, Vec<String>) {
        let words: Vec<_> = words(&self.command).iter().map(|it| filled(it, known)).collect();
        let arguments: Vec<_> = words[1..].iter().map(String::as_str).collect();
        let (code, said) = desk.run_with(&program(&words[0]), &arguments, &self.input);
        let mut complaints = Vec::new();
        if code != self.code {
            complaints.push(format!("it ended with {code}, not {}", self.code));
        }
        for it in self.says.iter().map(|it| filled(it, known)).filter(|it| !said.contains(it)) {
            complaints.push(format!("it does not say `{it}`"));
        }
        for it in self.hides.iter().map(|it| filled(it, known)).filter(|it| said.contains(it)) {
            complaints.push(format!("it says `{it}`"));
        }
        for (key, after) in &self.keeps {
            let rest = said.split_once(&filled(after, known)).map(|(_, rest)| rest).unwrap_or_default();
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let word: String = rest.chars().take_while(|c| word(*c)).collect();
            if word.is_empty() {
                complaints.push(format!("there is no word after `{after}`"));
            }
            known.insert(key.clone(), word);
        }
        (said, complaints)
    }
}

/// A text with what is known in the places of `$NAME`s, longer names first.
fn filled(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut names: Vec<_> = known.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    names.into_iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
}

/// The words of a line; quotes of either kind hold several together.
fn words(line: &str) -> Vec<String> {
    let mut res = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(it), c) if it == c => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => res.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    res.extend(word);
    res
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => _ = fs::copy(&from, &to).unwrap(),
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        _ = self.server.kill();
        _ = self.server.wait();
    }
}

const PROJECT: &[(&str, &str)] = &[
    (
        "datasources/birds.datasource",
        "DESCRIPTION >\n    Birds seen\n\nTAGS \"garden\"\n\nSCHEMA >\n    `name` String,\n    `weight` Int32\n\n\
         ENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"name\"\n",
    ),
    ("datasources/fixtures/birds.csv", "tit,11\nwren,9\nrobin,18\n"),
    (
        "endpoints/heavy.pipe",
        "NODE n\nSQL >\n    %\n    SELECT name, weight FROM birds WHERE weight > {{Int32(least, 10)}} ORDER BY weight \
         DESC\n\nTYPE endpoint\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_tb_changes_pipes() {
    flow("pipes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_tb_changes_data_sources() {
    flow("datasources").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_tb_changes_tokens_tags_jobs_and_connections() {
    flow("tokens").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_tb_pushes_this_repositorys_project() {
    flow("audit_log").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_tb_makes_connections_to_kafka() {
    flow("kafka").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_tb_shares_data_sources() {
    flow("shares").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_tb_changes_workspaces_and_branches() {
    flow("workspaces").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_tb_deploys_what_has_changed_since_a_commit() {
    flow("git").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_tb_reads_asks_and_compares_a_project() {
    flow("project").await;
}

/// What flows make it do that must succeed, as the README's row of it.
#[test]
fn the_table_of_clients_says_what_the_classic_tb_is_made_to_do() {
    const GROUPS: &[&str] = &[
        "datasource",
        "datasource scheduling",
        "pipe",
        "pipe copy",
        "token",
        "token create",
        "tag",
        "job",
        "connection",
        "connection create",
        "workspace",
        "workspace members",
        "branch",
        "release",
        "test",
    ];
    let mut passes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut flows: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    flows.sort();
    for path in flows.iter().filter(|it| it.extension().is_some_and(|it| it == "flow")) {
        for step in read(&fs::read_to_string(path).unwrap(), &path.display().to_string()).steps {
            let words = words(&step.command);
            if words[0] != "tb" || step.code != 0 {
                continue;
            }
            let (mut group, mut at) = (words[1].clone(), 2);
            while GROUPS.contains(&format!("{group} {}", words.get(at).map_or("", String::as_str)).as_str()) {
                group = format!("{group} {}", words[at]);
                at += 1;
            }
            let commands = passes.entry(group.clone()).or_default();
            let command = words.get(at).filter(|_| GROUPS.contains(&group.as_str()));
            // Flags of `push` and `sql` are commands of their own, nearly.
            let flags =
                words[at..].iter().filter(|it| it.starts_with("--") && ["push", "pull"].contains(&group.as_str()));
            commands.extend(command.cloned().into_iter().chain(flags.cloned()));
        }
    }
    let row = passes.into_iter().map(|(group, mut commands)| {
        commands.sort();
        commands.dedup();
        if commands.is_empty() { group } else { format!("{group}: {}", commands.join(", ")) }
    });
    super::sdks::tell("tinybird-cli", "6.5.5", &row.collect::<Vec<_>>().join("; "));
}

#[test]
fn every_flow_is_run() {
    let here = include_str!("clients.rs");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "flow") {
            let name = path.file_stem().unwrap().to_string_lossy();
            assert!(here.contains(&format!("flow(\"{name}\")")), "no test runs {}", path.display());
        }
    }
}

#[test]
fn a_second_pull_of_the_classic_tb_equals_the_first_and_there_is_no_difference() {
    let desk = Desk::new();
    let birdhouse = Path::new(env!("CARGO_BIN_EXE_birdhouse"));
    let (succeeded, text) = desk.run(birdhouse, &["push", "--host", &desk.host, "--token", TOKEN]);
    assert!(succeeded, "{text}");
    desk.tb(&["auth", "--host", &desk.host, "--token", TOKEN], &[]);
    let pulled = |folder: &str| {
        fs::create_dir_all(desk.path().join(folder)).unwrap();
        desk.tb(&["pull", "--folder", folder, "--force"], &["birds.datasource", "heavy.pipe"]);
        ["datasources/birds.datasource", "pipes/heavy.pipe"]
            .map(|it| fs::read(desk.path().join(folder).join(it)).unwrap())
    };
    assert_eq!(pulled("first"), pulled("second"));
    let difference = desk.tb(&["diff"], &[]);
    assert!(!difference.contains("@@"), "{difference}");
    desk.tb(&["push", "--dry-run", "--force"], &["[DRY RUN] Running 'heavy'"]);
}

#[test]
fn a_forced_push_of_the_classic_tb_is_checked_against_past_requests() {
    let desk = Desk::new();
    desk.tb(&["auth", "--host", &desk.host, "--token", TOKEN], &[]);
    let pushed = desk.tb(&["push", "--fixtures"], &["'birds' created", "'heavy' created"]);
    assert!(!pushed.contains("Error"), "{pushed}");
    desk.tb(&["tag", "ls"], &["garden"]);
    desk.tb(&["pipe", "data", "heavy", "--least", "15"], &["robin"]);
    desk.tb(&["pipe", "data", "heavy", "--least", "10"], &["tit"]);
    desk.tb(&["pipe", "stats", "heavy"], &["heavy", "request count"]);

    // The same answers: it passes, and the pipe of the check is gone.
    let endpoint = "endpoints/heavy.pipe";
    desk.tb(&["push", endpoint, "--force", "--yes"], &["heavy__checker.json", "100.0", "'heavy' created"]);
    assert!(!desk.tb(&["pipe", "ls"], &[]).contains("checker"));
    desk.tb(&["pipe", "regression-test", endpoint], &["heavy__checker.json", "100.0"]);

    // Others: it is refused, and what answers is what answered before.
    let text = PROJECT.iter().find(|(path, _)| *path == endpoint).unwrap().1;
    desk.file(endpoint, &text.replace("SELECT name, weight", "SELECT upper(name) AS name, weight"));
    let said = desk.tb_fails(&["push", endpoint, "--force", "--yes"], &["FAIL"]);
    assert!(said.contains("heavy"), "{said}");
    desk.tb(&["pipe", "data", "heavy", "--least", "15"], &["robin"]);
    let tagged = text.replace("SELECT name, weight", "SELECT upper(name) AS name, weight");
    desk.file(endpoint, &format!("TAGS \"garden, loud\"\n\n{tagged}"));
    desk.tb(&["push", endpoint, "--force", "--yes", "--no-check"], &["'heavy' created"]);
    desk.tb(&["pipe", "data", "heavy", "--least", "15"], &["ROBIN"]);
    desk.tb(&["tag", "ls"], &["garden", "loud"]);
    desk.tb(&["tag", "ls", "garden"], &["birds", "heavy"]);
    desk.tb(&["tag", "rm", "loud", "--yes"], &[]);
    assert!(!desk.tb(&["tag", "ls"], &["garden"]).contains("loud"));
}
