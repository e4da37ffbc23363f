//! `tb ch` of Tinybird Forward, unmodified. Whatever its server is called, for one on this machine it asks
//! http://localhost:7182, which tests cannot all have: what it is told of proxies leads it to the port that there is.

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

#[test]
fn tb_ch_works() {
    let desk = Desk::empty();
    let project = tempfile::tempdir().unwrap();
    let port = |url: &str| url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let proxy = format!("http://127.0.0.1:{}", proxy(port(&desk.clickhouse)));
    let tb = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-forward/bin/tb");
    let run = |token: &str, arguments: &[&str], input: Option<&str>| -> Output {
        let mut command = Command::new(&tb);
        command.args(["--cloud", "--host", &desk.host, "--token", token, "ch"]).args(arguments);
        command.current_dir(project.path()).env_clear().env("HOME", project.path()).env("PATH", "/usr/bin:/bin");
        command.env("LC_ALL", "C.UTF-8").env("http_proxy", &proxy).env("TB_VERSION_WARNING", "0");
        command.env("TB_CLI_TELEMETRY_OPTOUT", "1").stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{}: {error}; `make setup` installs it", tb.display()));
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
    let pushed = Command::new(env!("CARGO_BIN_EXE_birdhouse"))
        .args(["push", "--host", &desk.host, "--token", TOKEN])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));

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
