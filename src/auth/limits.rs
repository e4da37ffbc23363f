//! What a token limits by itself: how often, how much at once, and what each of its reads may cost.
//!
//! In: the `limits` of a JWT or of a static token. Out: [`Limits`]. They only narrow what the server gives.

use serde::{Deserialize, Serialize};

/// Everything that is not named is as the server has it. A name that is not known is an error: a limit that is
/// passed over would open more than its author meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rps: Option<u32>,
    /// Reads at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Seconds that one read may work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_execution_time: Option<u32>,
    /// Bytes of memory of one read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_usage: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows_to_read: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes_to_read: Option<u64>,
    /// Bytes of one answer, as the engine counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_result_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_threads: Option<u32>,
}

impl Limits {
    /// The narrower of each.
    pub fn narrowed(&self, other: &Limits) -> Limits {
        fn least<N: Ord>(a: Option<N>, b: Option<N>) -> Option<N> {
            [a, b].into_iter().flatten().min()
        }
        Limits {
            rps: least(self.rps, other.rps),
            concurrency: least(self.concurrency, other.concurrency),
            max_execution_time: least(self.max_execution_time, other.max_execution_time),
            max_memory_usage: least(self.max_memory_usage, other.max_memory_usage),
            max_rows_to_read: least(self.max_rows_to_read, other.max_rows_to_read),
            max_bytes_to_read: least(self.max_bytes_to_read, other.max_bytes_to_read),
            max_result_bytes: least(self.max_result_bytes, other.max_result_bytes),
            max_threads: least(self.max_threads, other.max_threads),
        }
    }

    /// The name of a limit that would let nothing through.
    pub fn without_effect(&self) -> Option<&'static str> {
        let narrow = |it: Option<u32>| it.map(u64::from);
        let all = [
            ("rps", narrow(self.rps)),
            ("concurrency", narrow(self.concurrency)),
            ("max_execution_time", narrow(self.max_execution_time)),
            ("max_memory_usage", self.max_memory_usage),
            ("max_rows_to_read", self.max_rows_to_read),
            ("max_bytes_to_read", self.max_bytes_to_read),
            ("max_result_bytes", self.max_result_bytes),
            ("max_threads", narrow(self.max_threads)),
        ];
        all.into_iter().find(|(_, value)| *value == Some(0)).map(|(name, _)| name)
    }
}
