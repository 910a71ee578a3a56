//! Loaded models of this backend, the least recently used dropped first. Called by `resolve` alone.
//!
//! The key is the artifact's SHA-256: what is stored under it can never become another model, whatever happens to
//! the catalog in the meantime (rollbacks, a dropped and re-created extension). So nothing here needs invalidation.

use engine::scorer::Scorer;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

struct Entry {
    scorer: Rc<Scorer>,
    bytes: u64,
    used: u64,
}

#[derive(Default)]
struct Cache {
    entries: HashMap<String, Entry>,
    bytes: u64,
    clock: u64,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// The model of that artifact, if it is still here.
pub fn get(sha256: &str) -> Option<Rc<Scorer>> {
    CACHE.with_borrow_mut(|cache| {
        cache.clock += 1;
        let entry = cache.entries.get_mut(sha256)?;
        entry.used = cache.clock;
        Some(entry.scorer.clone())
    })
}

/// Keeps a model, if it fits into `limit` bytes, and drops others until all do.
pub fn put(sha256: &str, scorer: &Rc<Scorer>, limit: u64) {
    CACHE.with_borrow_mut(|cache| {
        let bytes = scorer.bytes() as u64;
        cache.remove(sha256);
        if bytes > limit {
            return;
        }
        while cache.bytes.saturating_add(bytes) > limit {
            let oldest = cache.entries.iter().min_by_key(|(_, e)| e.used).map(|(key, _)| key.clone());
            let Some(key) = oldest else { return };
            cache.remove(&key);
        }
        cache.clock += 1;
        cache.bytes += bytes;
        let entry = Entry { scorer: scorer.clone(), bytes, used: cache.clock };
        cache.entries.insert(sha256.to_string(), entry);
    });
}

impl Cache {
    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes;
        }
    }
}
