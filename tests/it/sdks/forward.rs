//! The `tb` of Tinybird Forward, unmodified, in its cloud mode: what reads and writes on a server that is there.
//!
//! Whatever its server is called, for one on this machine `tb ch` asks http://localhost:7182, which tests cannot all
//! have: what it is told of proxies leads it to the port that there is.

use super::tell;
use crate::clients::{Desk, TOKEN};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

/// Passes requests on, those to port 7182 to another; one on each connection.
fn proxy(clickhouse: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || pass(client, clickhouse));
        }
    });
    port
}

fn pass(mut client: TcpStream, clickhouse: u16) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let rest = first.split_once("http://localhost:")?.1;
    let digits = rest.find(|it: char| !it.is_ascii_digit())?;
    let (port, path) = rest.split_at(digits);
    let port = if port == "7182" { clickhouse } else { port.parse().ok()? };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let method = first.split(' ').next()?;
    let mut head = format!("{method} {path}");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.to_ascii_lowercase().starts_with("connection:") {
            true => head.push_str("Connection: close\r\n"),
            false => head.push_str(&line),
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut server = TcpStream::connect(("localhost", port)).ok()?;
    server.write_all(head.as_bytes()).ok()?;
    let mut up = server.try_clone().ok()?;
    thread::spawn(move || _ = std::io::copy(&mut reader, &mut up));
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    client.write_all(&answer).ok()?;
    client.shutdown(Shutdown::Both).ok()
}

/// `tb` in a folder, against a server.
fn tb(folder: &Path, desk: &Desk, token: &str) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-forward/bin/tb"));
    command.args(["--cloud", "--host", &desk.host, "--token", token]);
    command.current_dir(folder).env_clear().env("HOME", folder).env("PATH", "/usr/bin:/bin").env("CI", "1");
    command.env("LC_ALL", "C.UTF-8").env("TB_VERSION_WARNING", "0").env("TB_CLI_TELEMETRY_OPTOUT", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn push(desk: &Desk, folder: &Path, arguments: &[&str]) {
    let mut push = Command::new(env!("CARGO_BIN_EXE_birdhouse"));
    push.args(["push", "--host", &desk.host, "--token", TOKEN]).args(arguments).current_dir(folder);
    let pushed = push.output().unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
}

/// Commands, and what they say; those that fail end with 1 and a sentence of the server's.
const ASKED: &[(&str, Result<&str, &str>)] = &[
    ("datasource ls", Ok("name: birds")),
    ("datasource data birds", Ok("robin")),
    ("endpoint ls", Ok("/v0/pipes/heavy.json?least=10")),
    ("endpoint data heavy --least 15", Ok("robin")),
    ("endpoint url heavy", Ok("/v0/pipes/heavy.json?least=10")),
    ("endpoint token heavy", Ok("p.ey")),
    ("endpoint stats heavy", Ok("request count")),
    ("pipe ls", Ok("heavy")),
    ("materialization ls", Ok("count_daily")),
    ("copy ls", Ok("keep")),
    ("sink ls", Ok("nodes")),
    ("token ls", Ok("workspace admin token")),
    ("workspace current", Ok("name: birdhouse")),
    ("workspace ls", Ok("name: birdhouse")),
    ("info --skip-local", Ok("workspace_name: birdhouse")),
    ("branch ls", Ok("Branches")),
    ("job ls", Ok("Jobs")),
    ("connection ls", Ok("Connections")),
    ("secret ls", Ok("Secrets")),
    ("sql SELECT_count()_AS_c_FROM_birds", Ok("3")),
    ("sql --stats SELECT_1", Ok("Rows read: 1")),
    ("sql explain_select_name_from_birds", Ok("explain")),
    ("--output json sql SELECT_name_FROM_birds_ORDER_BY_name", Ok("\"name\": \"robin\"")),
    ("sql SELECT_nothing_FROM_birds", Err("Unknown expression identifier `nothing`")),
    ("endpoint data nothing", Err("there is no endpoint `nothing`")),
    ("datasource data nothing", Err("there is no data source or pipe `nothing`")),
    ("datasource sample birds", Err("there is no such route")),
    ("job details nothing", Err("there is no job `nothing`")),
    ("deployment ls", Err("there are no deployments")),
];

#[test]
fn tb_reads_what_is_there() {
    let desk = Desk::empty();
    let garden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/garden");
    push(&desk, &garden, &["--fixtures"]);
    let run = |token: &str, arguments: &[&str]| {
        // It keeps a file in its folder.
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("birds.ndjson"),
            "{\"name\":\"owl\",\"weight\":400,\"seen\":\"2026-03-01\"}\n",
        )
        .unwrap();
        let output = tb(folder.path(), &desk, token).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap()).concat();
        assert!(!text.contains("Traceback"), "{arguments:?}: {text}");
        (output.status.code(), text)
    };
    let wrong = |(asked, wanted): &(&str, Result<&str, &str>)| {
        let words: Vec<String> = asked.split(' ').map(|it| it.replace('_', " ")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (code, text) = run(TOKEN, &words);
        let (end, says) = wanted.map_or_else(|says| (1, says), |says| (0, says));
        (code != Some(end) || !text.contains(says)).then(|| format!("{asked}: {code:?} {text}"))
    };
    // Each starts a Python of its own.
    let wrong: Vec<String> = thread::scope(|scope| {
        let parts = ASKED.chunks(ASKED.len().div_ceil(4));
        let parts: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().filter_map(wrong).collect::<Vec<_>>())).collect();
        parts.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (code, text) = run("p.nobody", &["datasource", "ls"]);
    assert!(code == Some(1) && text.contains("Forbidden: the token is missing"), "{text}");
    for (arguments, says) in [
        ("datasource append birds birds.ndjson", "Rows appended"),
        ("datasource replace birds birds.ndjson --sql-condition weight=400", "Data replaced"),
        ("secret set word x", "Secret 'word' set"),
        ("secret rm word", "deleted"),
        ("token create static visitor --scope PIPES:READ --resource heavy", "generated successfully"),
        ("token rm visitor --yes", "removed successfully"),
        ("copy run keep --wait", "Data copied to 'kept'"),
        ("datasource truncate kept --yes", "truncated"),
    ] {
        let (code, text) = run(TOKEN, &arguments.split(' ').collect::<Vec<_>>());
        assert!(code == Some(0) && text.contains(says), "{arguments}: {text}");
    }
    let mut logs = vec!["logs"];
    for source in LOGS {
        logs.extend(["--source", source]);
    }
    let (code, text) = run(TOKEN, &logs);
    assert!(code == Some(0) && text.contains("tinybird.pipe_stats_rt") && text.contains("birds"), "{text}");
    let passes = "with --cloud: branch: ls; connection: ls; copy: ls, run; datasource: append, data, ls, replace, truncate; \
                  endpoint: data, ls, stats, token, url; info; job: ls; logs of every source; materialization: ls; pipe: \
                  ls; secret: ls, rm, set; sink: ls; sql; token: create static, ls, rm; workspace: current, ls. Not \
                  deployment, build and its local mode";
    tell("tb --cloud", "5.0.2", passes);
}

const LOGS: [&str; 8] = [
    "tinybird.pipe_stats_rt",
    "tinybird.block_log",
    "tinybird.datasources_ops_log",
    "tinybird.endpoint_errors",
    "tinybird.kafka_ops_log",
    "tinybird.sinks_ops_log",
    "tinybird.jobs_log",
    "tinybird.llm_usage",
];

#[test]
fn tb_ch_works() {
    let desk = Desk::empty();
    let project = tempfile::tempdir().unwrap();
    let port = |url: &str| url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let proxy = format!("http://127.0.0.1:{}", proxy(port(&desk.clickhouse)));
    let run = |token: &str, arguments: &[&str], input: Option<&str>| -> Output {
        let mut command = tb(project.path(), &desk, token);
        command.arg("ch").args(arguments).env("http_proxy", &proxy);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{error}; `make setup` installs it"));
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes()).unwrap();
        }
        child.wait_with_output().unwrap()
    };
    let says = |arguments: &[&str], input: Option<&str>, wanted: &str| {
        let output = run(TOKEN, arguments, input);
        let [said, words] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        assert!(output.status.success() && said.contains(wanted), "{arguments:?}: {said}{words}");
    };
    let fails = |token: &str, arguments: &[&str], wanted: &str| {
        let output = run(token, arguments, None);
        let [said, words] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        assert!(!output.status.success() && format!("{said}{words}").contains(wanted), "{said}{words}");
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("datasources/birds.datasource");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, "SCHEMA >\n    `name` String `json:$.name`\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"name\"\n")
        .unwrap();
    push(&desk, folder.path(), &[]);

    says(&["SELECT 40 + 2 AS n FORMAT JSONEachRow"], None, "{\"n\":42}\n");
    says(&["--query", "SELECT 'a', 7"], None, "a\t7\n");
    says(&[], Some("SELECT count() FROM birds"), "0\n");
    says(&["--param_low=40", "SELECT {low:UInt8} + 2"], None, "42\n");
    says(&["-m", "SELECT 'one'; SELECT 'two';"], None, "one\n\ntwo\n");
    says(&["SHOW TABLES"], None, "birds\n");
    says(&["DESCRIBE TABLE birds"], None, "name\tString");
    says(&["--user", "me", "--password", TOKEN, "SELECT 1"], None, "1\n");
    fails(TOKEN, &["SELECT nothing FROM birds"], "Code: 47. DB::Exception");
    fails(TOKEN, &["INSERT INTO birds VALUES ('wren')"], "Code: 164");
    fails(TOKEN, &["--password", "p.nobody", "SELECT 1"], "Code: 516");
    let passes = "queries, as an argument, by --query, from stdin, several with -m, with --param_; SHOW, DESCRIBE; errors \
                  with their codes; with --cloud and a host on this machine, where ClickHouse's port has to be 7182 (as in \
                  `dev`). Not its local mode, which takes tokens from a server that asks nobody for any; no inserts, as it \
                  only sends GET";
    tell("tb ch", "5.0.2", passes);
}
