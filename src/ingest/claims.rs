//! Who brings rows into a data source, and who changes the rows that are there.
//!
//! A batch that is half in is brought level by its repetition, whose token the table remembers. A table that takes
//! another's place remembers nothing, and what was inserted while it was made is not in it. So those who bring rows
//! claim every data source that they reach, by views too, until no part of their batch can come again; those who
//! change rows wait until nobody has such a claim.

use crate::name::ResourceName;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// By data source. Cheap to clone; every clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<HashMap<ResourceName, Arc<RwLock<()>>>>>);

/// Rows are being brought.
pub type Bringing = Vec<OwnedRwLockReadGuard<()>>;

/// Rows are being changed.
pub type Changing = OwnedRwLockWriteGuard<()>;

/// Those who come wait so long at a time for one who wants to change rows and cannot yet.
const TURN: Duration = Duration::from_secs(1);

impl Claims {
    fn of(&self, name: &ResourceName) -> Arc<RwLock<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default().clone()
    }

    pub async fn bring(&self, into: &BTreeSet<ResourceName>) -> Bringing {
        let mut res = Vec::new();
        for name in into {
            res.push(self.of(name).read_owned().await);
        }
        res
    }

    /// The same where nobody changes rows yet.
    pub fn bring_at_once(&self, into: &BTreeSet<ResourceName>) -> Bringing {
        into.iter().filter_map(|name| self.of(name).try_read_owned().ok()).collect()
    }

    /// Nothing when rows are on their way that take longer: those who come after must not wait for them too.
    pub async fn change(&self, name: &ResourceName) -> Option<Changing> {
        tokio::time::timeout(TURN, self.of(name).write_owned()).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_change_when_nobody_brings_any() {
        let claims = Claims::default();
        let [one, other] = ["one", "other"].map(|it| ResourceName::new(it).unwrap());
        let bringing = claims.bring(&BTreeSet::from([one.clone(), other.clone()])).await;
        assert!(claims.change(&other).await.is_none());
        let more = claims.bring(&BTreeSet::from([other.clone()])).await;
        drop(bringing);
        assert!(claims.change(&one).await.is_some());
        assert!(claims.change(&other).await.is_none());
        drop(more);
        let changing = claims.change(&other).await;
        assert!(changing.is_some() && claims.bring_at_once(&BTreeSet::from([other])).is_empty());
    }
}
