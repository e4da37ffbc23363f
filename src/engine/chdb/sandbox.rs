//! Confines the engine's threads by the kernel: they reach the engine's own files and nothing else.
//!
//! In: [`EngineSettings`]. Out: a [`Sandbox`] that a thread enters before it calls the engine. A thread that the
//! engine starts inherits it, so the library is opened inside too: the ones that its initialisers start would
//! be free otherwise. The rest of the server keeps its files: the key, the store and TLS material are outside
//! of what a query can open, whatever functions it calls.

use crate::engine::{EngineSettings, Sandboxing};
use std::path::PathBuf;

/// What the engine's threads may reach.
#[derive(Debug, Clone)]
pub(super) struct Sandbox {
    /// Its tables.
    writable: Vec<PathBuf>,
    readable: Vec<PathBuf>,
}

/// Files of the system that the library needs: what it is linked with, the machine's shape, time zones. None of
/// them is about this machine's users; `/proc` is not among them, which has the environment.
const READABLE: &[&str] = &[
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
];

impl Sandbox {
    pub(super) fn new(settings: &EngineSettings) -> Sandbox {
        let own = [settings.library.clone(), settings.directory.join("config")];
        Sandbox {
            writable: vec![super::config::data_path(settings), PathBuf::from("/dev/null")],
            readable: own.into_iter().chain(READABLE.iter().map(PathBuf::from)).collect(),
        }
    }

    /// Confines the calling thread and those it will start. There is no way back out.
    #[cfg(target_os = "linux")]
    pub(super) fn enter(&self) -> Result<Sandboxing, String> {
        use landlock::{
            ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
            RulesetStatus, path_beneath_rules,
        };
        let abi = ABI::V5;
        let confine = || {
            Ruleset::default()
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(abi))?
                // No port is allowed anywhere: the engine has no business on the network.
                .handle_access(AccessNet::from_all(abi))?
                .create()?
                .add_rules(path_beneath_rules(&self.readable, AccessFs::ReadFile | AccessFs::ReadDir))?
                .add_rules(path_beneath_rules(&self.writable, AccessFs::from_all(abi) & !AccessFs::Execute))?
                .restrict_self()
        };
        let status = confine().map_err(|error: landlock::RulesetError| error.to_string())?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => Sandboxing::Full,
            RulesetStatus::PartiallyEnforced => Sandboxing::Partial,
            RulesetStatus::NotEnforced => Sandboxing::None,
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn enter(&self) -> Result<Sandboxing, String> {
        Ok(Sandboxing::None)
    }
}
