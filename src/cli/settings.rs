//! Settings: flags first, then the environment, then `.env`, then `.tinyb`, then what is usual.
//!
//! In: arguments, and the only look at the environment, `.env` and `.tinyb` there is. Out: typed values, each
//! checked, its error naming where the value came from. What the values are for is not known here.

use super::{
    args::{GlobalArgs, ServerArgs, TargetArgs},
    fault::user,
    tinyb::{Host, Tinyb},
};
use crate::{
    auth::Limits,
    engine::EnginePlace,
    ingest::{
        events::{self, Durability},
        kafka::Tuning,
    },
    template::Budgets,
};
use anyhow::Context;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

pub(super) const DEFAULT_PORT: u16 = 7181;
const DEFAULT_CLICKHOUSE_PORT: u16 = 7182;
/// The longest that the first row of a batch may wait for others.
const LONGEST_BATCH: Duration = Duration::from_secs(3600);
const DEFAULT_DATA_DIR: &str = ".birdhouse";

/// The environment of the process over the `.env` of its folder.
#[derive(Clone, Default)]
pub(super) struct Environment {
    variables: BTreeMap<String, String>,
    dotenv: BTreeMap<String, String>,
    skipped: usize,
}

/// What all commands share.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) log: LogSettings,
    /// The folder of the project: where the command was called.
    pub(super) folder: PathBuf,
    environment: Environment,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogSettings {
    pub(super) level: Option<LogLevel>,
    pub(super) format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

/// The server that a client command talks to.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) token: Option<String>,
    /// Somebody named the host; it is not just the usual one.
    pub(super) named: bool,
}

/// Where ClickHouse's clients are heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClickhousePort {
    None,
    /// What is usual; it is no fault if another has it.
    IfFree(u16),
    Wanted(u16),
}

/// How a server runs.
#[derive(Clone)]
pub(super) struct ServerSettings {
    pub(super) port: u16,
    pub(super) clickhouse: ClickhousePort,
    /// ClickHouse's port lets the server's administrator speak to the engine.
    pub(super) clickhouse_admin: bool,
    pub(super) engine: EnginePlace,
    /// An address besides those of loopback.
    pub(super) listen: Option<IpAddr>,
    pub(super) data_dir: PathBuf,
    /// In bytes.
    pub(super) memory: Option<u64>,
    pub(super) threads: Option<usize>,
    pub(super) query_seconds: Option<u64>,
    /// What every token is held to.
    pub(super) token_limits: Limits,
    /// What all of a workspace is held to.
    pub(super) workspace_limits: Limits,
    pub(super) require_sandbox: bool,
    /// The largest file that is taken in, in bytes.
    pub(super) max_file: Option<u64>,
    /// Imports from URLs may come from addresses of this machine and its networks.
    pub(super) private_urls: bool,
    pub(super) templates: Budgets,
    pub(super) kafka: Tuning,
    pub(super) events: events::Tuning,
    /// Where a test has the server die.
    pub(super) failpoint: Option<String>,
    /// The value that the admin's token shall have.
    pub(super) admin_token: Option<String>,
}

impl ServerSettings {
    /// Lets ClickHouse's clients in where nobody said whether to.
    pub(super) fn with_clickhouse(mut self) -> ServerSettings {
        if self.clickhouse == ClickhousePort::None {
            let port = if self.port == 0 { 0 } else { DEFAULT_CLICKHOUSE_PORT };
            self.clickhouse = ClickhousePort::IfFree(port);
        }
        self
    }
}

impl Environment {
    /// The variables of this process, and those of `.env` in its folder.
    pub(super) fn of_process() -> anyhow::Result<Environment> {
        let mut environment = Environment::of_variables();
        let lines = match dotenvy::from_path_iter(".env") {
            Ok(lines) => lines,
            Err(error) if error.not_found() => return Ok(environment),
            Err(error) => return Err(user(format!("`.env` cannot be read: {error}"))),
        };
        for line in lines {
            match line {
                Ok((name, value)) => _ = environment.dotenv.insert(name, value),
                // Other programs read this file too, and some take more than NAME=value.
                Err(dotenvy::Error::LineParse(..)) => environment.skipped += 1,
                Err(error) => return Err(user(format!("`.env` cannot be read: {error}"))),
            }
        }
        Ok(environment)
    }

    /// How many lines of `.env` were not NAME=value. What they say may be a secret and is not kept.
    pub(super) fn skipped(&self) -> usize {
        self.skipped
    }

    /// The variables of this process alone.
    pub(super) fn of_variables() -> Environment {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            // A variable that is no text is none of ours.
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Environment { variables: variables.collect(), dotenv: BTreeMap::new(), skipped: 0 }
    }

    /// A variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name).or_else(|| self.dotenv.get(name))?;
        (!value.is_empty()).then_some(value.as_str())
    }

    fn parse<T: FromStr>(&self, name: &str, what: &str) -> anyhow::Result<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| user(format!("{name} is not {what}: `{value}`")))
    }
}

impl Settings {
    pub(super) fn resolve(global: &GlobalArgs, environment: Environment) -> anyhow::Result<Settings> {
        let level = match global.log_level.as_deref() {
            Some(level) => Some(level.parse().map_err(|it| user(format!("--log-level: {it}")))?),
            None => environment.parse("BIRDHOUSE_LOG_LEVEL", "one of error, warn, info, debug, trace")?,
        };
        let format = match global.log_format {
            Some(format) => format,
            None => match environment.get("BIRDHOUSE_LOG_FORMAT") {
                None | Some("text") => LogFormat::Text,
                Some("json") => LogFormat::Json,
                Some(other) => return Err(user(format!("BIRDHOUSE_LOG_FORMAT is `{other}`, not text or json"))),
            },
        };
        let folder = std::env::current_dir().context("the current folder cannot be read")?;
        Ok(Settings { log: LogSettings { level, format }, folder, environment })
    }

    /// A variable, for the one command that knows it.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name)
    }

    /// A path as one would type it here.
    pub(super) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.folder).unwrap_or(path).display().to_string()
    }

    /// All variables: what datafiles may refer to.
    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        let Environment { variables, dotenv, .. } = &self.environment;
        dotenv.iter().chain(variables).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    pub(super) fn tinyb_path(&self) -> PathBuf {
        self.folder.join(".tinyb")
    }

    /// The `.tinyb` that counts: that of this folder, or of the nearest one above it up to the user's own. Outside of that
    /// nobody else's file is looked at.
    fn nearest_tinyb(&self) -> PathBuf {
        let own = self.tinyb_path();
        let Some(home) = self.environment.get("HOME").map(Path::new).filter(|it| self.folder.starts_with(it)) else {
            return own;
        };
        let within = self.folder.ancestors().take_while(|it| it.starts_with(home));
        within.map(|it| it.join(".tinyb")).find(|it| it.exists()).unwrap_or(own)
    }

    /// The server that a client command talks to. A token is sent to no host but the one that it was given for.
    pub(super) fn target(&self, args: &TargetArgs) -> anyhow::Result<Target> {
        let tinyb = Tinyb::read(&self.nearest_tinyb())?;
        let given = args.host.as_deref().or_else(|| self.environment.get("TB_HOST"));
        let host = match given {
            Some(host) => Some(Host::new(host).map_err(user)?),
            None => tinyb.host(),
        };
        let named = host.is_some();
        let host = host.unwrap_or_else(|| Host::local(DEFAULT_PORT));
        let token = args.token.as_deref().or_else(|| self.environment.get("TB_TOKEN")).map(str::to_owned);
        let token = token.or_else(|| tinyb.token_for(&host));
        Ok(Target { host, token, named })
    }

    pub(super) fn server(&self, args: &ServerArgs) -> anyhow::Result<ServerSettings> {
        let environment = &self.environment;
        let port = match args.port {
            Some(port) => port,
            None => environment.parse("BIRDHOUSE_PORT", "a port")?.unwrap_or(DEFAULT_PORT),
        };
        let clickhouse = match args.clickhouse_port {
            Some(port) => Some(port),
            None => environment.parse("BIRDHOUSE_CLICKHOUSE_PORT", "a port")?,
        };
        let clickhouse = clickhouse.map_or(ClickhousePort::None, ClickhousePort::Wanted);
        let listen = match args.listen {
            Some(address) => Some(address),
            None => environment.parse("BIRDHOUSE_LISTEN", "an address like 0.0.0.0")?,
        };
        let memory = self.size(args.memory.as_deref(), "--memory", "BIRDHOUSE_MEMORY")?;
        let threads = match args.threads {
            Some(threads) => Some(threads),
            None => environment.parse("BIRDHOUSE_THREADS", "a number of threads")?,
        };
        let query_seconds = match args.query_seconds {
            Some(seconds) => Some(seconds),
            None => environment.parse("BIRDHOUSE_QUERY_SECONDS", "a number of seconds")?,
        };
        if threads == Some(0) || query_seconds == Some(0) {
            return Err(user("threads and query seconds are at least 1"));
        }
        let limits = |name: &str| match environment.get(name) {
            Some(text) => parse_limits(text).map_err(|it| user(format!("{name}: {it}"))),
            None => Ok(Limits::default()),
        };
        let token_limits = limits("BIRDHOUSE_TOKEN_LIMITS")?;
        let workspace_limits = limits("BIRDHOUSE_WORKSPACE_LIMITS")?;
        if workspace_limits.rps.is_some() {
            return Err(user("BIRDHOUSE_WORKSPACE_LIMITS: `rps` is a limit of tokens".to_owned()));
        }
        Ok(ServerSettings {
            port,
            clickhouse,
            clickhouse_admin: args.clickhouse_admin
                || environment.parse("BIRDHOUSE_CLICKHOUSE_ADMIN", "true or false")?.unwrap_or(false),
            engine: self.engine(args.engine.as_deref(), &self.shard_by(args))?,
            listen,
            data_dir: self.data_dir(args.data_dir.as_deref()),
            memory,
            threads,
            query_seconds,
            token_limits,
            workspace_limits,
            require_sandbox: args.require_sandbox
                || environment.parse("BIRDHOUSE_REQUIRE_SANDBOX", "true or false")?.unwrap_or(false),
            max_file: self.size(args.max_file.as_deref(), "--max-file", "BIRDHOUSE_MAX_FILE")?,
            private_urls: args.private_urls
                || environment.parse("BIRDHOUSE_PRIVATE_URLS", "true or false")?.unwrap_or(false),
            templates: self.templates(args)?,
            kafka: self.kafka()?,
            events: self.events(args.durability)?,
            failpoint: environment.get("BIRDHOUSE_FAILPOINT").map(str::to_owned),
            admin_token: environment.get("BIRDHOUSE_ADMIN_TOKEN").map(str::to_owned),
        })
    }

    /// A size of a flag, else of a variable.
    fn size(&self, given: Option<&str>, flag: &str, variable: &str) -> anyhow::Result<Option<u64>> {
        let (text, name) = match given {
            Some(text) => (Some(text), flag),
            None => (self.environment.get(variable), variable),
        };
        text.map(|it| bytes(it).map_err(|error| user(format!("{name}: {error}")))).transpose()
    }

    /// How far the templates of one request may go.
    fn templates(&self, args: &ServerArgs) -> anyhow::Result<Budgets> {
        let mut budgets = Budgets::default();
        let number = |flag, name| match flag {
            Some(number) => Ok(Some(number)),
            None => self.environment.parse::<usize>(name, "a number"),
        };
        let size = |name| match self.environment.get(name) {
            Some(text) => bytes(text).map(|it| usize::try_from(it).ok()).map_err(|it| user(format!("{name}: {it}"))),
            None => Ok(None),
        };
        let output = match args.template_output.as_deref() {
            Some(text) => {
                let read = bytes(text).map_err(|it| user(format!("--template-output: {it}")))?;
                usize::try_from(read).ok()
            }
            None => size("BIRDHOUSE_TEMPLATE_OUTPUT")?,
        };
        let set = [
            (&mut budgets.steps, number(args.template_steps, "BIRDHOUSE_TEMPLATE_STEPS")?),
            (&mut budgets.items, number(args.template_items, "BIRDHOUSE_TEMPLATE_ITEMS")?),
            (&mut budgets.output, output),
            (&mut budgets.string, size("BIRDHOUSE_TEMPLATE_STRING")?),
            (&mut budgets.integer_bits, number(None, "BIRDHOUSE_TEMPLATE_INTEGER_BITS")?),
        ];
        for (budget, wanted) in set {
            match wanted {
                Some(0) => return Err(user("a budget of templates is at least 1")),
                Some(wanted) => *budget = wanted,
                None => (),
            }
        }
        Ok(budgets)
    }

    /// How many messages make a batch, and how long the first of them waits for the others.
    fn kafka(&self) -> anyhow::Result<Tuning> {
        let mut tuning = Tuning::default();
        if let Some(rows) = self.environment.parse("BIRDHOUSE_KAFKA_BATCH_ROWS", "a number of rows")? {
            tuning.batch_rows = rows;
        }
        if let Some(age) = self.batch_age("BIRDHOUSE_KAFKA_BATCH_SECONDS")? {
            tuning.batch_age = age;
        }
        if tuning.batch_rows == 0 {
            return Err(user("BIRDHOUSE_KAFKA_BATCH_ROWS is at least 1"));
        }
        Ok(tuning)
    }

    fn batch_age(&self, name: &str) -> anyhow::Result<Option<Duration>> {
        let Some(seconds) = self.environment.parse::<f64>(name, "a number of seconds")? else { return Ok(None) };
        let age = Duration::try_from_secs_f64(seconds).ok().filter(|it| *it <= LONGEST_BATCH);
        let longest = LONGEST_BATCH.as_secs();
        age.map(Some).ok_or_else(|| user(format!("{name} is not a number of seconds from 0 to {longest}: `{seconds}`")))
    }

    /// What an acknowledged event survives, and how long the first of a batch waits for the others.
    fn events(&self, durability: Option<Durability>) -> anyhow::Result<events::Tuning> {
        let durability = match durability {
            Some(given) => given,
            None => self.environment.parse("BIRDHOUSE_DURABILITY", "durable or relaxed")?.unwrap_or_default(),
        };
        let mut tuning = events::Tuning { durability, ..events::Tuning::default() };
        if let Some(age) = self.batch_age("BIRDHOUSE_EVENTS_BATCH_SECONDS")? {
            tuning.batch_age = age;
        }
        if let Some(held) = self.size(None, "", "BIRDHOUSE_EVENTS_HELD")? {
            tuning.held_bytes = usize::try_from(held).unwrap_or(usize::MAX);
        }
        Ok(tuning)
    }

    pub(super) fn data_dir(&self, flag: Option<&Path>) -> PathBuf {
        let data_dir = flag.or_else(|| self.environment.get("BIRDHOUSE_DATA_DIR").map(Path::new));
        self.folder.join(data_dir.unwrap_or(Path::new(DEFAULT_DATA_DIR)))
    }

    /// The engine's library that the user names instead of the installed one.
    pub(super) fn engine_library(&self) -> Option<PathBuf> {
        self.environment.get("BIRDHOUSE_LIBCHDB").map(PathBuf::from)
    }

    /// The folder for what can be fetched again: `$XDG_CACHE_HOME/birdhouse` or `~/.cache/birdhouse`.
    pub(super) fn cache_dir(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = self.environment.get("XDG_CACHE_HOME") {
            return Ok(Path::new(folder).join("birdhouse"));
        }
        let home = self.environment.get("HOME").ok_or_else(|| user("neither XDG_CACHE_HOME nor HOME is set"))?;
        Ok(Path::new(home).join(".cache/birdhouse"))
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<LogLevel, String> {
        match text.to_ascii_lowercase().as_str() {
            "error" => Ok(LogLevel::Error),
            "warn" => Ok(LogLevel::Warn),
            "info" => Ok(LogLevel::Info),
            "debug" => Ok(LogLevel::Debug),
            "trace" => Ok(LogLevel::Trace),
            _ => Err(format!("`{text}` is not one of error, warn, info, debug, trace")),
        }
    }
}

fn parse_limits(text: &str) -> Result<Limits, String> {
    let limits: Limits = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match limits.without_effect() {
        Some(name) => Err(format!("`{name}` is at least 1")),
        None => Ok(limits),
    }
}

/// A size like `800M`, `1.5G` or a plain number of bytes; a letter is a power of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let upper = upper.strip_suffix("IB").or(upper.strip_suffix('B')).unwrap_or(&upper);
    let (number, shift) = match upper.strip_suffix(['K', 'M', 'G', 'T']) {
        Some(number) => (number, ["K", "M", "G", "T"].iter().position(|it| upper.ends_with(it))),
        None => (upper, None),
    };
    let factor = shift.map_or(1.0, |shift| 1024_f64.powi(shift as i32 + 1));
    match number.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number * factor >= 1.0 => Ok((number * factor) as u64),
        _ => Err(format!("`{text}` is no size like 800M or 2G")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path, variables: &[(&str, &str)], dotenv: &[(&str, &str)]) -> Settings {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Settings {
            log: LogSettings { level: None, format: LogFormat::Text },
            folder: folder.to_owned(),
            environment: Environment { variables: map(variables), dotenv: map(dotenv), ..Environment::default() },
        }
    }

    #[test]
    fn flags_then_environment_then_dotenv_then_tinyb() {
        let folder = tempfile::tempdir().unwrap();
        let tinyb = r#"{"host": "http://tinyb:1", "token": "of tinyb"}"#;
        std::fs::write(folder.path().join(".tinyb"), tinyb).unwrap();
        let target = |args: TargetArgs, variables: &[(&str, &str)], dotenv: &[(&str, &str)]| {
            let target = settings(folder.path(), variables, dotenv).target(&args).unwrap();
            (target.host.to_string(), target.token)
        };
        let flag = TargetArgs { host: Some("http://flag:1".into()), token: Some("of flag".into()) };
        let (variables, dotenv) = ([("TB_HOST", "http://env:1"), ("TB_TOKEN", "of env")], [("TB_TOKEN", "of dotenv")]);
        assert_eq!(target(flag, &variables, &dotenv), ("http://flag:1".into(), Some("of flag".into())));
        assert_eq!(target(TargetArgs::default(), &variables, &dotenv), ("http://env:1".into(), Some("of env".into())));
        assert_eq!(target(TargetArgs::default(), &[], &dotenv), ("http://tinyb:1".into(), Some("of dotenv".into())));
        assert_eq!(target(TargetArgs::default(), &[], &[]), ("http://tinyb:1".into(), Some("of tinyb".into())));
    }

    #[test]
    fn tinyb_is_looked_for_up_to_the_users_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (home, project) = (folder.path().join("home"), folder.path().join("home/all/project"));
        std::fs::create_dir_all(&project).unwrap();
        let host = |home: &Path| {
            let home = home.to_str().unwrap();
            settings(&project, &[("HOME", home)], &[]).target(&TargetArgs::default()).unwrap().host.to_string()
        };
        std::fs::write(folder.path().join(".tinyb"), r#"{"host": "http://others:1"}"#).unwrap();
        assert_eq!(host(&home), "http://localhost:7181");
        std::fs::write(home.join("all/.tinyb"), r#"{"host": "http://above:1"}"#).unwrap();
        assert_eq!(host(&home), "http://above:1");
        assert_eq!(host(&folder.path().join("elsewhere")), "http://localhost:7181");
        std::fs::write(project.join(".tinyb"), r#"{"host": "http://own:1"}"#).unwrap();
        assert_eq!(host(&home), "http://own:1");
    }

    #[test]
    fn a_token_of_tinyb_goes_to_its_own_host_only() {
        let folder = tempfile::tempdir().unwrap();
        let tinyb = r#"{"host": "http://a:1", "token": "of a", "tokens": {"http://b:2": "of b"}}"#;
        std::fs::write(folder.path().join(".tinyb"), tinyb).unwrap();
        let token = |host: &str| {
            let args = TargetArgs { host: Some(host.into()), token: None };
            settings(folder.path(), &[], &[]).target(&args).unwrap().token
        };
        assert_eq!(token("http://a:1/").as_deref(), Some("of a"));
        assert_eq!(token("http://b:2").as_deref(), Some("of b"));
        assert_eq!(token("http://c:3"), None);
    }

    #[test]
    fn an_empty_variable_is_none() {
        let environment = settings(Path::new("/"), &[("A", "")], &[("B", "b")]).environment;
        assert_eq!((environment.get("A"), environment.get("B")), (None, Some("b")));
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("800M"), Ok(800 << 20));
        assert_eq!(bytes("1.5g"), Ok(3 << 29));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert_eq!(bytes("1024"), Ok(1024));
        assert!(["", "M", "-1G", "much", "0"].iter().all(|it| bytes(it).is_err()));
    }

    #[test]
    fn a_bad_variable_is_named() {
        let settings = settings(Path::new("/"), &[("BIRDHOUSE_PORT", "many")], &[]);
        let error = settings.server(&ServerArgs::default()).err().unwrap().to_string();
        assert_eq!(error, "BIRDHOUSE_PORT is not a port: `many`");
    }
}
