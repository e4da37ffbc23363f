//! What an engine is opened with: where its data is, and what it may use.

use std::{fmt, num::NonZero, path::PathBuf, time::Duration};

/// Where the engine runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum EnginePlace {
    /// In this process.
    #[default]
    Embedded,
    /// Embedded in a process of its own, which this program is started for.
    Process(PathBuf),
    /// A ClickHouse server.
    Server(EngineServer),
}

/// A ClickHouse server, and who asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineServer {
    pub address: EngineAddress,
    /// Who may do everything that a workspace needs: databases, tables, inserts.
    pub login: EngineLogin,
    /// Who reads for users, where somebody made such a user; else one is made for each workspace.
    pub reader: Option<EngineLogin>,
    /// The cluster that this server is one of, and that tables are to lie on.
    pub cluster: Option<EngineCluster>,
    /// Certificates to trust besides the system's, in PEM.
    pub authorities: Option<Vec<u8>>,
    pub wire: EngineWire,
}

/// How large bodies and answers go over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineWire {
    #[default]
    Plain,
    /// As zstd.
    Packed,
}

/// A cluster, as whoever runs the server names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineCluster {
    /// As in `remote_servers`.
    pub name: String,
    /// Data sources, each with the columns whose hash decides the shard of its rows.
    pub shard_by: Vec<(String, Vec<String>)>,
}

/// A cluster as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCluster {
    pub name: String,
    pub shards: NonZero<u64>,
    pub shard_by: Vec<(String, Vec<String>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAddress {
    /// `http://host:8123`, without user and password.
    Url(String),
    /// A socket on this machine.
    Socket(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineLogin {
    pub user: String,
    pub password: EnginePassword,
}

/// Nothing prints it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EnginePassword(String);

impl EnginePassword {
    pub fn new(text: impl Into<String>) -> EnginePassword {
        EnginePassword(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EnginePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where the data is and the limits. [`EngineSettings::new`] fits the machine.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EngineSettings {
    #[serde(skip)]
    pub place: EnginePlace,
    /// The engine's own directory inside the data directory: its tables and its generated configuration.
    pub directory: PathBuf,
    /// The `libchdb.so` to open.
    pub library: PathBuf,
    /// Reads that run at a time; further ones wait in a queue.
    pub readers: usize,
    /// Inserts that run at a time.
    pub writers: usize,
    /// Threads of one read.
    pub max_threads: usize,
    /// Time that one read may work; waiting for a slow client does not count.
    pub max_execution_time: Duration,
    /// Time that one answer may take, waiting for a slow client included.
    pub max_answer_time: Duration,
    /// Memory of one read, in bytes.
    pub max_memory_usage: u64,
    /// Rows and bytes that one read may read; 0 is no limit.
    pub max_rows_to_read: u64,
    pub max_bytes_to_read: u64,
    /// Size of one answer that the engine holds whole (Parquet, tables for people, short JSON), in bytes. Others
    /// are passed on as they come and may be of any size.
    pub max_result_bytes: u64,
    /// Length of one statement, in bytes.
    pub max_query_size: u64,
    /// Memory of the engine as a whole, in bytes.
    pub max_server_memory_usage: u64,
    /// Refuse to open where the kernel cannot confine the engine to its own files.
    pub require_sandbox: bool,
}

/// What one read may cost. Connections are made for one such set each, because a reader cannot change its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    pub execution_time: Duration,
    pub memory_usage: u64,
    /// 0 is no limit, as in the next two.
    pub rows_to_read: u64,
    pub bytes_to_read: u64,
    /// Of an answer that is passed on as it comes.
    pub result_bytes: u64,
    pub threads: usize,
    /// Whose databases may be read: the number of the reader's role.
    pub slot: usize,
}

impl ReadLimits {
    /// The narrower of each and of what is asked for.
    pub fn narrowed(self, asked: ReadLimits) -> ReadLimits {
        let least = |a: u64, b: u64| if a == 0 || b == 0 { a.max(b) } else { a.min(b) };
        ReadLimits {
            execution_time: self.execution_time.min(asked.execution_time),
            memory_usage: self.memory_usage.min(asked.memory_usage),
            rows_to_read: least(self.rows_to_read, asked.rows_to_read),
            bytes_to_read: least(self.bytes_to_read, asked.bytes_to_read),
            result_bytes: least(self.result_bytes, asked.result_bytes),
            threads: self.threads.min(asked.threads).max(1),
            slot: asked.slot,
        }
    }
}

const MIB: u64 = 1 << 20;

impl EngineSettings {
    /// What a read may cost whose caller has no limits of its own.
    pub fn read_limits(&self) -> ReadLimits {
        ReadLimits {
            execution_time: self.max_execution_time,
            memory_usage: self.max_memory_usage,
            rows_to_read: self.max_rows_to_read,
            bytes_to_read: self.max_bytes_to_read,
            result_bytes: 0,
            threads: self.max_threads,
            slot: 0,
        }
    }

    /// The defaults for this machine.
    pub fn new(directory: impl Into<PathBuf>, library: impl Into<PathBuf>) -> EngineSettings {
        let cores = std::thread::available_parallelism().map_or(2, NonZero::get);
        let memory = machine_memory();
        EngineSettings {
            place: EnginePlace::Embedded,
            directory: directory.into(),
            library: library.into(),
            readers: 2 * cores,
            writers: cores.min(4),
            max_threads: cores.min(8),
            max_execution_time: Duration::from_secs(10),
            max_answer_time: Duration::from_secs(600),
            max_memory_usage: (memory / 4).clamp(256 * MIB, 1024 * MIB),
            max_rows_to_read: 0,
            max_bytes_to_read: 0,
            max_result_bytes: 100_000_000,
            max_query_size: crate::query::MAX_LENGTH as u64,
            max_server_memory_usage: memory / 2,
            require_sandbox: false,
        }
    }
}

/// The memory that this process may count on, in bytes: the machine's, or less in a container.
fn machine_memory() -> u64 {
    #[cfg(target_os = "linux")]
    let machine = {
        let info = rustix::system::sysinfo();
        #[expect(clippy::useless_conversion, reason = "the fields are as wide as the machine's words")]
        (u64::from(info.totalram) * u64::from(info.mem_unit))
    };
    #[cfg(not(target_os = "linux"))]
    let machine = 8 << 30;
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    limit.and_then(|it| it.trim().parse::<u64>().ok()).map_or(machine, |limit| limit.min(machine))
}
