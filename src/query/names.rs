//! Engine texts made fit to leave the server: physical names mapped back, what cannot be mapped dropped.
//!
//! In: a message of the engine. Out: words that name nothing the caller did not.

use crate::name::Namespace;
use std::sync::Arc;

/// What a compiled query knows about the names in its text.
#[derive(Debug, Clone)]
pub struct Names {
    database: Arc<str>,
    filtered: bool,
}

impl Names {
    pub fn new(namespace: &Namespace, filtered: bool) -> Names {
        Names { database: namespace.database().into(), filtered }
    }

    pub fn is_filtered(&self) -> bool {
        self.filtered
    }

    /// The message as the caller may see it.
    pub fn public(&self, engine_text: &str) -> String {
        engine_text.replace(&*self.database, "")
    }
}
