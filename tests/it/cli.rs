//! The command line, as one types it: the built binary, its exit codes, its words, its signals.

use super::engine::library_path;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take that is only waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own, in which commands run with an environment of their own.
pub(crate) struct Folder {
    temp: tempfile::TempDir,
}

/// A `birdhouse serve` or `dev` that runs.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) port: u16,
    /// Both streams, line by line.
    lines: Receiver<String>,
    /// Lines that were read while something else was waited for.
    pub(crate) seen: Vec<String>,
}

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder { temp: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A project of one data source, its fixture and an endpoint.
    fn with_project() -> Folder {
        let folder = Folder::new();
        folder.file(
            "datasources/birds.datasource",
            "SCHEMA >\n    `name` String,\n    `weight` Int32\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"name\"\n",
        );
        folder.file("datasources/fixtures/birds.csv", "tit,11\nwren,9\nrobin,18\n");
        folder.file("endpoints/heaviest.pipe", HEAVIEST);
        folder
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_birdhouse"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("BIRDHOUSE_LIBCHDB", library_path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; its standard output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}\n{}", output.status, words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail by the user's fault; both streams.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", words(&output));
        words(&output)
    }

    fn serve(&self) -> Server {
        Server::start(self.command(&["serve", "--port", "0"]))
    }

    /// A server that this folder's commands talk to.
    fn serve_and_remember(&self) -> Server {
        let server = self.serve();
        self.ok(&["auth", "--host", &server.host()]);
        server
    }
}

const HEAVIEST: &str = "NODE birds_by_weight\nSQL >\n    SELECT name FROM birds ORDER BY weight DESC LIMIT 1\n";

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Server {
    pub(crate) fn start(command: Command) -> Server {
        Server::begin(command).unwrap_or_else(|said| panic!("the server does not serve:\n{said}"))
    }

    /// A server that serves, or what it said until it ended before.
    pub(crate) fn begin(mut command: Command) -> Result<Server, String> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        // The streams' own senders are left: when the process ends, nothing more is waited for.
        drop(sender);
        let mut server = Server { child, port: 0, lines, seen: vec![] };
        let line = server.find("birdhouse serves at http://localhost:").ok_or_else(|| server.seen.join("\n"))?;
        let port = line.split("localhost:").nth(1).unwrap().split(' ').next().unwrap();
        server.port = port.parse().unwrap();
        Ok(server)
    }

    pub(crate) fn host(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// What was read of its lines by now: all before it served.
    pub(crate) fn said(&self) -> String {
        self.seen.join("\n")
    }

    /// Reads lines until one holds `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        self.find(text).unwrap_or_else(|| panic!("`{text}` was not said:\n{}", self.seen.join("\n")))
    }

    fn find(&mut self, text: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return Some(line);
                    }
                }
                Err(_) => return None,
            }
        }
    }

    /// What an endpoint answers: status and text.
    pub(crate) fn get(&self, path: &str, token: &str) -> (u16, String) {
        let url = format!("{}{path}", self.host());
        let work = async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let reply = client.get(&url).bearer_auth(token).send().await.unwrap();
            (reply.status().as_u16(), reply.text().await.unwrap())
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    /// Sends rows as a file; status and text.
    fn post_csv(&self, path: &str, rows: &str, token: &str) -> (u16, String) {
        let url = format!("{}{path}", self.host());
        let form = reqwest::multipart::Form::new()
            .part("csv", reqwest::multipart::Part::text(rows.to_owned()).file_name("rows.csv"));
        let work = async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let reply = client.post(&url).bearer_auth(token).multipart(form).send().await.unwrap();
            (reply.status().as_u16(), reply.text().await.unwrap())
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    /// Stops it as a service manager does, and gives its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not stop:\n{}", self.seen.join("\n"));
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tries until `look` gives something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn help_is_a_manual() {
    let folder = Folder::new();
    let help = folder.ok(&["help"]);
    for words in ["A first tour", "birdhouse dev", "Exit codes"] {
        assert!(help.contains(words), "{help}");
    }
    let commands =
        ["serve", "dev", "push", "check", "auth", "token", "sql", "connection", "template", "engine", "completions"];
    for command in commands {
        assert!(help.contains(&format!("  {command} ")), "{command} is not in: {help}");
        let manual = folder.ok(&["help", command]);
        assert!(manual.contains(&format!("birdhouse {command}")), "{command} has no example: {manual}");
        assert_eq!(manual, folder.ok(&[command, "--help"]));
    }
    assert!(folder.ok(&["--version"]).starts_with("birdhouse "));
}

#[test]
fn a_mistyped_command_is_the_users_mistake() {
    let said = Folder::new().fails(&["psuh"]);
    assert!(said.starts_with("error: unrecognized subcommand 'psuh'") && said.contains("'push'"), "{said}");
    assert!(Folder::new().fails(&["serve", "--port", "many"]).contains("--port"));
    assert!(Folder::new().fails(&["push"]).contains("there is no project in"));
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let folder = Folder::new();
    let output = folder.command(&["serve"]).env("BIRDHOUSE_PORT", "many").output().unwrap();
    assert_eq!(words(&output), "error: BIRDHOUSE_PORT is not a port: `many`\n");
    folder.file(".env", "TB_TOKEN 'p.secret'\n");
    let said = folder.fails(&["token", "ls"]);
    assert!(said.contains("lines of `.env` that are not NAME=value: 1") && !said.contains("secret"), "{said}");
}

#[test]
fn a_missing_engine_names_the_command_that_gets_it() {
    let folder = Folder::with_project();
    for command in [&["serve", "--port", "0"][..], &["dev", "--port", "0"], &["sql", "--local", "select 1"]] {
        let output = folder.command(command).env_remove("BIRDHOUSE_LIBCHDB").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", words(&output));
        assert!(words(&output).contains("birdhouse engine install"), "{command:?}: {}", words(&output));
    }
}

#[test]
fn no_server_is_told_with_the_way_to_start_one() {
    let folder = Folder::new();
    let said = folder.fails(&["token", "ls", "--host", "localhost:1", "--token", "t"]);
    assert_eq!(said, "error: no server answers at http://localhost:1; start one with `birdhouse serve`\n");
    let said = folder.fails(&["token", "ls"]);
    assert!(said.contains("there is no token for http://localhost:7181") && said.contains("birdhouse auth"), "{said}");
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let folder = Folder::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = folder.command(&["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), words(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_query_before_there_is_any_server() {
    let folder = Folder::new();
    let answer = folder.ok(&["sql", "--local", "select 1 as one", "--format", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["data"], serde_json::json!([{"one": 1}]));
    let output = folder.run(&["sql", "select 41 + 1"]);
    assert!(words(&output).contains("42") && output.status.success(), "{}", words(&output));
    assert!(folder.fails(&["sql", "--local", "select"]).starts_with("error: "));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "a query leaves nothing behind: {left:?}");
}

#[test]
fn a_server_stops_by_itself_when_told_and_goes_on_with_its_data() {
    let folder = Folder::with_project();
    let server = folder.serve_and_remember();
    folder.ok(&["push", "--fixtures"]);
    let token = folder.ok(&["token", "create", "reader", "--scope", "PIPES:READ:heaviest"]);
    assert_eq!(server.stop(), Some(0));
    let server = folder.serve();
    let (status, text) = server.get("/v0/pipes/heaviest.json", token.trim());
    assert!(status == 200 && text.contains("robin"), "{status} {text}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn the_admin_token_is_in_a_file_and_nowhere_else() {
    let folder = Folder::new();
    let mut server = folder.serve();
    let file = folder.path().join(".birdhouse/admin_token");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(&file).unwrap().trim().to_owned();
    server.wait_for("admin token is in .birdhouse/admin_token");
    assert!(!server.seen.iter().any(|line| line.contains(&token)), "{:?}", server.seen);
    assert_eq!(server.get("/v0/tokens/", &token).0, 200);
    assert_eq!(server.get("/v0/tokens/", "p.other").0, 403);
    let said = folder.fails(&["token", "ls", "--host", &server.host(), "--token", "p.other"]);
    assert!(said.contains("the server refuses the token"), "{said}");
}

#[test]
fn the_admin_token_may_come_from_the_environment() {
    let folder = Folder::new();
    let mut command = folder.command(&["serve", "--port", "0"]);
    command.env("BIRDHOUSE_ADMIN_TOKEN", "p.a_value_of_my_own");
    let server = Server::start(command);
    assert_eq!(server.get("/v0/tokens/", "p.a_value_of_my_own").0, 200);
    assert!(!folder.path().join(".birdhouse/admin_token").exists());
}

#[test]
fn a_taken_port_says_who_has_it() {
    let folder = Folder::new();
    let first = folder.serve();
    let other = Folder::new();
    let said = other.fails(&["serve", "--port", &first.port.to_string()]);
    let owner = format!("port {} is in use by process {} (", first.port, first.child.id());
    assert!(said.contains(&owner) && said.contains("choose another with --port"), "{said}");
}

#[test]
fn a_second_server_on_one_data_directory_names_the_first() {
    let folder = Folder::new();
    let first = folder.serve();
    let said = folder.fails(&["serve", "--port", "0"]);
    assert!(said.contains(".birdhouse is in use by process"), "{said}");
    assert!(said.contains(&format!("process {}", first.child.id())), "{said}");
    assert_eq!(said.matches("in use").count(), 1, "{said}");
}

#[test]
fn logs_for_machines_are_json_in_every_line() {
    let folder = Folder::new();
    let mut command = folder.command(&["serve", "--port", "0", "--log-format", "json"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&first["message"], &first["level"]), (&"server started".into(), &"INFO".into()));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    for line in lines {
        let line = line.unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn push_from_the_plan_to_the_answer() {
    let folder = Folder::with_project();
    let server = folder.serve_and_remember();
    let plan = folder.ok(&["push", "--dry-run", "--fixtures"]);
    assert!(plan.contains("birds") && plan.contains("heaviest"), "{plan}");
    assert!(!folder.ok(&["push", "--dry-run"]).is_empty(), "a dry run changes nothing");

    let pushed = folder.ok(&["push", "--fixtures"]);
    assert!(pushed.contains("fixture of birds"), "{pushed}");
    assert_eq!(folder.ok(&["sql", "select count() as c from birds", "--format", "csv"]), "\"c\"\n3\n");
    assert_eq!(folder.ok(&["sql", "select name from heaviest format CSV"]), "\"robin\"\n");

    let again = folder.run(&["push"]);
    assert!(again.status.success() && words(&again).contains("is unchanged"), "{}", words(&again));

    drop(server);
}

#[test]
fn a_fixture_takes_the_place_of_its_own_rows_only() {
    let folder = Folder::with_project();
    let server = folder.serve_and_remember();
    let names = || {
        folder.ok(&[
            "sql",
            "select arrayStringConcat(groupArray(name), ' ') from (select name from birds \
                               order by name) format TSV",
        ])
    };
    folder.ok(&["push", "--fixtures"]);
    folder.ok(&["push", "--fixtures"]);
    folder.file("datasources/fixtures/birds.csv", "tit,11\nwren,9\n");
    folder.ok(&["push", "--fixtures"]);
    assert_eq!(names(), "tit wren\n");

    // One row goes for another: there are as many as before, but they are somebody's.
    let token = fs::read_to_string(folder.path().join(".birdhouse/admin_token")).unwrap();
    let replace =
        |rows: &str| server.post_csv("/v0/datasources?name=birds&format=csv&mode=replace", rows, token.trim());
    assert_eq!(replace("tit,11\nowl,300\n").0, 200);
    let said = folder.fails(&["push", "--fixtures"]);
    assert!(said.contains("birds holds 2 rows that no fixture") && said.contains("--force"), "{said}");
    assert_eq!(names(), "owl tit\n");
    folder.ok(&["push", "--fixtures", "--force"]);
    assert_eq!(names(), "tit wren\n");

    // Who has no memory of what was loaded spares everything.
    fs::remove_file(folder.path().join(".tinyb")).unwrap();
    let said = folder.fails(&["push", "--fixtures", "--host", &server.host(), "--token", token.trim()]);
    assert!(said.contains("birds holds 2 rows"), "{said}");
}

#[test]
fn a_file_of_twenty_megabytes_is_a_fixture_like_any_other() {
    let folder = Folder::with_project();
    let name = "n".repeat(200);
    let rows: String = (0..100_000).map(|weight| format!("{name},{weight}\n")).collect();
    assert!(rows.len() > 20_000_000);
    folder.file("datasources/fixtures/birds.csv", &rows);
    let server = folder.serve_and_remember();
    assert!(folder.ok(&["push", "--fixtures"]).contains("fixture of birds: 100000 rows"));
    folder.file("datasources/fixtures/birds.csv", "tit,11\n");
    folder.ok(&["push", "--fixtures"]);
    assert_eq!(folder.ok(&["sql", "select count() from birds format CSV"]), "1\n");
    drop(server);
}

#[test]
fn a_server_that_others_reach_says_what_that_means() {
    let folder = Folder::new();
    let mut server = Server::start(folder.command(&["serve", "--port", "0", "--listen", "0.0.0.0"]));
    server.wait_for("there is no TLS");
    assert_eq!(server.get("/health", "").0, 200);
    let said = folder.fails(&["serve", "--port", "0", "--data-dir", "other", "--listen", "192.0.2.1"]);
    assert!(said.contains("--listen wants an address of this machine"), "{said}");
}

#[test]
fn a_server_behind_tls_is_reached_and_a_bad_certificate_refused() {
    let folder = Folder::new();
    let (port, certificate) =
        tls_server("HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"tokens\":[]}");
    let host = format!("https://localhost:{port}");
    let list = ["token", "ls", "--host", &host, "--token", "t"];
    let said = folder.fails(&list);
    assert!(said.starts_with(&format!("error: no secure connection to {host}: ")), "{said}");
    assert!(said.contains("certificate verify failed") && said.contains("SSL_CERT_FILE"), "{said}");
    let file = folder.file("authority.pem", &certificate);
    let output = folder.command(&list).env("SSL_CERT_FILE", file).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    let said = folder.fails(&["token", "ls", "--host", "https://localhost:1", "--token", "t"]);
    assert_eq!(said, "error: no server answers at https://localhost:1\n");
}

/// A port where every connection gets the same answer, by TLS, and the certificate, which only itself has signed.
fn tls_server(answer: &'static str) -> (u16, String) {
    use openssl::{asn1::Asn1Time, hash::MessageDigest, pkey::PKey, rsa::Rsa, ssl, x509};
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = x509::X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut certificate = x509::X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_subject_name(&name).unwrap();
    certificate.set_issuer_name(&name).unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    let context = certificate.x509v3_context(None, None);
    let names = x509::extension::SubjectAlternativeName::new().dns("localhost").build(&context).unwrap();
    certificate.append_extension(names).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = certificate.build();
    let mut acceptor = ssl::SslAcceptor::mozilla_intermediate(ssl::SslMethod::tls()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    let acceptor = acceptor.build();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Ok(mut stream) = acceptor.accept(stream) else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown();
        }
    });
    (port, String::from_utf8(certificate.to_pem().unwrap()).unwrap())
}

#[test]
fn a_broken_push_changes_nothing_and_shows_the_place() {
    let folder = Folder::with_project();
    let _server = folder.serve_and_remember();
    folder.ok(&["push", "--fixtures"]);
    folder.file("endpoints/heaviest.pipe", &HEAVIEST.replace("weight", "wieght"));
    let said = folder.fails(&["push"]);
    assert!(said.contains("endpoints/heaviest.pipe") && said.contains("wieght"), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(folder.ok(&["sql", "select name from heaviest format CSV"]), "\"robin\"\n");
}

#[test]
fn one_file_is_pushed_and_the_rest_stays() {
    let folder = Folder::with_project();
    let _server = folder.serve_and_remember();
    folder.ok(&["push", "--fixtures"]);
    folder.file("endpoints/lightest.pipe", &HEAVIEST.replace("DESC", "ASC").replace("birds_by", "by"));
    fs::remove_file(folder.path().join("endpoints/heaviest.pipe")).unwrap();
    folder.ok(&["push", "endpoints/lightest.pipe"]);
    assert_eq!(folder.ok(&["sql", "select * from lightest format CSV"]), "\"wren\"\n");
    assert_eq!(folder.ok(&["sql", "select * from heaviest format CSV"]), "\"robin\"\n");
}

#[test]
fn tokens_are_made_listed_shown_and_removed() {
    let folder = Folder::with_project();
    let server = folder.serve_and_remember();
    folder.ok(&["push", "--fixtures"]);
    let scopes = ["--scope", "PIPES:READ:heaviest", "--scope", "DATASOURCES:READ:birds:weight < 15"];
    let made = folder.ok(&[&["token", "create", "light ones"][..], &scopes].concat());
    assert_eq!(folder.ok(&["token", "show", "light ones"]), made);
    let list = folder.ok(&["token", "ls"]);
    assert!(list.contains("DATASOURCES:READ:birds:weight < 15") && !list.contains(made.trim()), "{list}");
    let (status, text) = server.get("/v0/pipes/heaviest.json", made.trim());
    assert!(status == 200 && text.contains("tit") && !text.contains("robin"), "{status} {text}");
    let said = folder.fails(&["token", "create", "light ones", "--scope", "PIPES:READ:heaviest"]);
    assert!(said.contains("light ones"), "{said}");
    folder.ok(&["token", "rm", "light ones"]);
    assert_eq!(server.get("/v0/pipes/heaviest.json", made.trim()).0, 403);
    assert!(folder.fails(&["token", "show", "light ones"]).contains("light ones"));
}

#[test]
fn an_endpoint_is_called_as_another_token() {
    let folder = Folder::with_project();
    folder.file(
        "endpoints/above.pipe",
        "NODE n\nSQL >\n    %\n    SELECT name FROM birds WHERE weight > {{Int32(weight, 0)}} ORDER BY name\n\nTYPE endpoint\n",
    );
    let _server = folder.serve_and_remember();
    folder.ok(&["push", "--fixtures"]);
    let scopes = ["--scope", "PIPES:READ:above", "--scope", "DATASOURCES:READ:birds:weight < 15"];
    folder.ok(&[&["token", "create", "light ones"][..], &scopes].concat());
    let csv = |more: &[&str]| folder.ok(&[&["pipe", "data", "above", "--format", "csv"][..], more].concat());
    assert_eq!(csv(&[]), "\"name\"\n\"robin\"\n\"tit\"\n\"wren\"\n");
    assert_eq!(csv(&["--param", "weight=10"]), "\"name\"\n\"robin\"\n\"tit\"\n");
    assert_eq!(csv(&["--param", "weight=10", "--as", "light ones"]), "\"name\"\n\"tit\"\n");
    assert!(folder.ok(&["pipe", "data", "above"]).contains("│ robin │"));
    assert!(folder.fails(&["pipe", "data", "heaviest", "--as", "light ones"]).contains("heaviest"));
    assert!(folder.fails(&["pipe", "data", "above", "--as", "nobody"]).contains("nobody"));
    assert!(folder.fails(&["pipe", "data", "above", "--param", "weight"]).contains("name=value"));
}

#[test]
fn auth_remembers_a_server_and_keeps_what_it_does_not_know() {
    let folder = Folder::new();
    let server = folder.serve();
    let tinyb = folder.file(".tinyb", r#"{"host": "http://elsewhere:1", "token": "p.other", "version": "9"}"#);
    folder.ok(&["auth", "--host", &server.host()]);
    let read: serde_json::Value = serde_json::from_str(&fs::read_to_string(&tinyb).unwrap()).unwrap();
    assert_eq!((&read["host"], &read["version"]), (&server.host().into(), &"9".into()));
    assert_eq!(fs::metadata(&tinyb).unwrap().permissions().mode() & 0o777, 0o600);
    let said = folder.fails(&["auth", "--host", &server.host(), "--token", "p.wrong"]);
    assert!(said.contains("refuses the token"), "{said}");
    folder.ok(&["token", "ls"]);
}

#[test]
fn a_kafka_connection_is_tried_before_it_is_made() {
    let folder = Folder::new();
    let _server = folder.serve_and_remember();
    let create = |servers: &str, more: &[&str]| {
        let base = ["connection", "create", "kafka", "--connection-name", "k", "--bootstrap-servers", servers];
        folder.run(&[&base[..], more].concat())
    };
    let said = words(&create("127.0.0.1:1", &["--security-protocol", "PLAINTEXT"]));
    assert!(said.contains("no broker can be reached") && said.contains("127.0.0.1:1"), "{said}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().to_string();
    let said = words(&create(&open, &[]));
    assert!(said.contains("SASL_SSL wants --key and --secret"), "{said}");
    assert!(create(&open, &["--key", "k", "--secret", "hidden"]).status.success());
    let list = folder.ok(&["connection", "ls"]);
    assert!(list.contains(&open) && list.contains("SASL_SSL") && !list.contains("hidden"), "{list}");
}

#[test]
fn dev_follows_every_change_and_survives_mistakes() {
    let folder = Folder::with_project();
    let mut dev = Server::start(folder.command(&["dev", "--port", "0"]));
    dev.wait_for("fixture of birds");
    let tinyb: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join(".tinyb")).unwrap()).unwrap();
    assert_eq!(tinyb["host"], dev.host());
    let token = tinyb["token"].as_str().unwrap().to_owned();
    let name = |dev: &Server| {
        let (status, text) = dev.get("/v0/pipes/heaviest.json", &token);
        assert_eq!(status, 200, "{text}");
        let reply: serde_json::Value = serde_json::from_str(&text).unwrap();
        reply["data"][0]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(until("the first deploy", || Some(name(&dev))), "robin");

    let mut fastest = Duration::MAX;
    for (order, wanted) in [("ASC", "wren"), ("DESC", "robin"), ("ASC", "wren")] {
        let saved = Instant::now();
        folder.file("endpoints/heaviest.pipe", &HEAVIEST.replace("DESC", order));
        until("the edit", || (name(&dev) == wanted).then_some(()));
        fastest = fastest.min(saved.elapsed());
    }
    // The promise is 200 ms for a release build on a quiet machine; this is neither.
    assert!(fastest < Duration::from_secs(2), "an edit takes {fastest:?}");
    println!("an edit answers within {fastest:?}");

    folder.file("endpoints/heaviest.pipe", &HEAVIEST.replace("SQL >", "SQLL >"));
    dev.wait_for("the last good project keeps serving");
    assert!(dev.seen.iter().any(|line| line.contains("SQLL")), "{:?}", dev.seen);
    assert_eq!(name(&dev), "wren");
    folder.file("endpoints/heaviest.pipe", HEAVIEST);
    until("the mended project", || (name(&dev) == "robin").then_some(()));
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn dev_names_the_command_for_a_missing_connection_and_goes_on_when_it_is_there() {
    let folder = Folder::with_project();
    folder.file(
        "datasources/flights.datasource",
        "SCHEMA >\n    `bird` String `json:$.bird`\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"bird\"\n\n\
         KAFKA_CONNECTION_NAME flyway\nKAFKA_TOPIC flights\nKAFKA_GROUP_ID birdhouse\n",
    );
    let mut dev = Server::start(folder.command(&["dev", "--port", "0"]));
    dev.wait_for("birdhouse connection create kafka");
    dev.wait_for("keeps serving");
    folder.file("notes.txt", "a change that is none");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().to_string();
    let create = ["connection", "create", "kafka", "--connection-name", "flyway", "--bootstrap-servers", &open];
    folder.ok(&[&create[..], &["--security-protocol", "PLAINTEXT"]].concat());
    dev.wait_for("deployed in");
    dev.wait_for("fixture of birds: 3 rows");
    assert!(!dev.seen.iter().any(|line| line.contains("was not loaded")), "{:?}", dev.seen);
}

#[test]
fn dev_leaves_another_hosts_tinyb_alone_unless_forced() {
    let folder = Folder::with_project();
    let tinyb = folder.file(".tinyb", r#"{"host": "http://elsewhere:1", "token": "p.other"}"#);
    let host = || {
        let read: serde_json::Value = serde_json::from_str(&fs::read_to_string(&tinyb).unwrap()).unwrap();
        read["host"].as_str().unwrap().to_owned()
    };
    let dev = Server::start(folder.command(&["dev", "--port", "0"]));
    assert!(dev.seen.iter().any(|line| line.contains("is about http://elsewhere:1")), "{:?}", dev.seen);
    assert_eq!(host(), "http://elsewhere:1");
    assert_eq!(dev.stop(), Some(0));
    let dev = Server::start(folder.command(&["dev", "--port", "0", "--force"]));
    assert_eq!(host(), dev.host());
}
