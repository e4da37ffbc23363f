//! The embedded engine in a process of its own, which is started anew when it ends.
//!
//! In: settings, and the program to run. Out: a socket that is always there: it is ours, and the process answers on it.
//! A request that comes while there is no process waits in it. What is said on the socket is not known here.

use crate::{
    engine::{EngineError, EngineErrorKind, EngineSettings},
    observe::{Level, Observation, Sink},
};
use std::{
    fs::{self, Permissions},
    io::{self, BufRead, BufReader},
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt,
            net::UnixListener,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The variable with a process's settings, as JSON.
pub(crate) const SETTINGS: &str = "BIRDHOUSE_ENGINE_PROCESS";

/// When so many have lived so short a time, the next ones are not started at once.
const SHORT_LIFE: Duration = Duration::from_secs(2);
const SHORT_LIVES: u32 = 30;
const PAUSE: Duration = Duration::from_millis(500);

/// How long a process has to end by itself.
const END_WITHIN: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(5);

/// A process that is looked after until this is closed.
#[derive(Clone)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    program: PathBuf,
    settings: EngineSettings,
    listener: UnixListener,
    sink: Sink,
    running: Mutex<Option<u32>>,
    /// What the last one said before it ended, and whether one ended so far.
    ended: Mutex<Option<String>>,
    closing: AtomicBool,
    over: AtomicBool,
}

/// Where the socket is. The path of a socket is short, whatever the directory's is, so it is in one of its own.
pub(super) struct Socket {
    directory: PathBuf,
}

impl Socket {
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("socket")
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        _ = fs::remove_file(self.path());
        _ = fs::remove_dir(&self.directory);
    }
}

impl Keeper {
    /// Makes the socket and starts the first process.
    pub(super) fn start(
        program: &Path,
        settings: &EngineSettings,
        sink: Sink,
    ) -> Result<(Keeper, Socket), EngineError> {
        let failed =
            |error: io::Error| EngineError::own(EngineErrorKind::Internal, format!("the engine's socket: {error}"));
        let (socket, listener) = socket().map_err(failed)?;
        // It runs in no folder of anybody's.
        let absolute = |path: &Path| std::path::absolute(path).map_err(failed);
        let (directory, library) = (absolute(&settings.directory)?, absolute(&settings.library)?);
        let shared = Arc::new(Shared {
            program: program.to_owned(),
            settings: EngineSettings { directory, library, ..settings.clone() },
            listener,
            sink,
            running: Mutex::default(),
            ended: Mutex::default(),
            closing: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let of_thread = shared.clone();
        let made = thread::Builder::new().name("engine-process".to_owned()).spawn(move || of_thread.keep());
        made.map_err(failed)?;
        Ok((Keeper { shared }, socket))
    }

    /// Waits for the end of a process, and says how that was.
    pub(super) fn first_end(&self) -> impl Future<Output = String> + use<> {
        let shared = self.shared.clone();
        async move {
            loop {
                let ended = shared.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(words) = ended {
                    return words;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Ends the process in peace, and waits for it.
    pub(super) fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        let start = Instant::now();
        let mut told = None;
        while !self.shared.over.load(Ordering::SeqCst) && start.elapsed() < END_WITHIN + Duration::from_secs(1) {
            let running = *self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
            let signal = match start.elapsed() > END_WITHIN {
                true => rustix::process::Signal::KILL,
                false => rustix::process::Signal::TERM,
            };
            if let Some(number) = running
                && told != Some((number, signal))
                && let Some(pid) = i32::try_from(number).ok().and_then(rustix::process::Pid::from_raw)
            {
                told = Some((number, signal));
                _ = rustix::process::kill_process(pid, signal);
            }
            thread::sleep(LOOK);
        }
    }
}

impl Shared {
    fn keep(&self) {
        let mut short = 0;
        while !self.closing.load(Ordering::SeqCst) {
            let began = Instant::now();
            let words = match self.run() {
                Ok((status, said)) => {
                    format!("{}{}", how(status), if said.is_empty() { said } else { format!(": {said}") })
                }
                Err(error) => format!("cannot be started: {error}"),
            };
            *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(words.clone());
            if self.closing.load(Ordering::SeqCst) {
                break;
            }
            let message = format!("the engine's process {words}; it is started anew");
            self.sink.observe(Observation::Engine { level: Level::Error, message });
            short = if began.elapsed() < SHORT_LIFE { short + 1 } else { 0 };
            if short > SHORT_LIVES {
                thread::sleep(PAUSE);
            }
        }
        self.over.store(true, Ordering::SeqCst);
    }

    /// One process from its start to its end; how it ended, and the last that it said.
    fn run(&self) -> io::Result<(ExitStatus, String)> {
        let listener: OwnedFd = self.listener.try_clone()?.into();
        let settings = serde_json::to_string(&self.settings).map_err(io::Error::other)?;
        let mut child = Command::new(&self.program)
            .args(["engine", "process"])
            .current_dir("/")
            .env_clear()
            .env("TZ", "UTC")
            .env(SETTINGS, settings)
            .stdin(Stdio::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A signal of the terminal is for us alone: it ends when we say so.
            .process_group(0)
            .spawn()?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(child.id());
        let mut last = String::new();
        for line in child.stderr.take().into_iter().flat_map(|it| BufReader::new(it).lines().map_while(Result::ok)) {
            self.sink.observe(Observation::Engine { level: Level::Warning, message: line.clone() });
            last = line;
        }
        Ok((self.reap(&mut child)?, last))
    }

    /// Its number is nobody's until it is waited for, so whoever kills it by its number hits no other.
    fn reap(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(status) = child.try_wait()? {
                *running = None;
                return Ok(status);
            }
            drop(running);
            thread::sleep(LOOK);
            running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("ended with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

/// A socket that its owner alone can open.
fn socket() -> io::Result<(Socket, UnixListener)> {
    let directory = std::env::temp_dir().join(format!("birdhouse-{:016x}", rand::random::<u64>()));
    fs::create_dir(&directory)?;
    let socket = Socket { directory };
    fs::set_permissions(&socket.directory, Permissions::from_mode(0o700))?;
    let listener = UnixListener::bind(socket.path())?;
    Ok((socket, listener))
}
