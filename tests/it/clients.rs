//! The official command line as a black box: the unmodified `tb` against the built binary, in the order in
//! which a person would type it.

use super::engine::library_path;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

pub(crate) const TOKEN: &str = "p.admin-of-the-client-tests";

/// A project folder, a server, and `tb` in that folder.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    server: Child,
    pub(crate) host: String,
}

impl Desk {
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
            .args(["serve", "--port", "0", "--data-dir", "data"])
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", folder.path())
            .env("BIRDHOUSE_LIBCHDB", library_path())
            .env("BIRDHOUSE_ADMIN_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.find(|it| it.contains("birdhouse serves at http://localhost:")).unwrap();
        thread::spawn(move || lines.for_each(drop));
        let port = line.split("localhost:").nth(1).unwrap().split(' ').next().unwrap();
        Desk { host: format!("http://localhost:{port}"), folder, server }
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
            .stdin(Stdio::null());
        let output =
            command.output().unwrap_or_else(|error| panic!("{}: {error}; `make setup` installs it", program.display()));
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
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
        let tb = std::env::var_os("BIRDHOUSE_TB").map(PathBuf::from);
        let tb = tb.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-clients/bin/tb"));
        let (succeeded, text) = self.run(&tb, arguments);
        assert_eq!(succeeded, well, "tb {arguments:?}: {text}");
        for word in words {
            assert!(text.contains(word), "tb {arguments:?} does not say `{word}`: {text}");
        }
        text
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

#[test]
fn the_classic_tb_reads_a_project_and_its_rows() {
    let desk = Desk::new();
    let birdhouse = Path::new(env!("CARGO_BIN_EXE_birdhouse"));
    let push = ["push", "--fixtures", "--host", &desk.host, "--token", TOKEN];
    let (succeeded, text) = desk.run(birdhouse, &push);
    assert!(succeeded, "{text}");

    desk.tb(&["auth", "--host", &desk.host, "--token", TOKEN], &["Auth successful"]);
    desk.tb(&["auth", "info"], &[&desk.host, "workspace_name: birdhouse"]);
    desk.tb(&["workspace", "ls"], &["name: birdhouse", "current: True"]);
    desk.tb(&["workspace", "current"], &["name: birdhouse"]);
    desk.tb(&["branch", "ls"], &["name: main"]);
    desk.tb(&["release", "ls"], &["Releases"]);
    desk.tb(&["check"], &["birds.datasource processed correctly", "heavy.pipe processed correctly"]);

    let listed = desk.tb(&["datasource", "ls"], &["name: birds", "row_count: 3"]);
    assert!(!listed.contains("1970"), "{listed}");
    desk.tb(&["pipe", "ls"], &["heavy"]);
    desk.tb(&["tag", "ls"], &["garden"]);
    desk.tb(&["dependencies"], &["birds", "heavy"]);
    desk.tb(&["job", "ls"], &["Jobs"]);
    desk.tb(&["connection", "ls"], &["Connections"]);

    desk.tb(&["sql", "select * from birds order by name"], &["robin", "18", "wren"]);
    desk.tb(&["sql", "--stats", "select count() as c from birds"], &["Rows read", "3"]);
    desk.tb(&["sql", "--format", "csv", "select name from birds"], &["tit"]);
    desk.tb(&["sql", "--format", "json", "select name from birds"], &["\"name\": \"tit\""]);
    desk.tb(&["pipe", "data", "heavy", "--least", "15"], &["robin"]);
    desk.tb(&["pipe", "data", "heavy", "--format", "csv"], &["tit"]);

    desk.tb(&["datasource", "append", "birds", "datasources/fixtures/birds.csv"], &["Appended 3 new rows"]);
    desk.tb(&["datasource", "replace", "birds", "datasources/fixtures/birds.csv"], &["Total rows in birds: 3"]);

    desk.tb(&["token", "create", "static", "mine", "--scope", "PIPES:READ", "--resource", "heavy"], &[]);
    desk.tb(&["token", "ls"], &["mine"]);
    desk.tb(&["token", "scopes", "mine"], &["PIPES:READ", "heavy"]);
    desk.tb(&["token", "refresh", "mine", "--yes"], &[]);
    desk.tb(&["token", "rm", "mine", "--yes"], &["removed"]);
    assert!(!desk.tb(&["token", "ls"], &[]).contains("mine"));
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
