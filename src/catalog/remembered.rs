//! What references meant lately, so that a session that scores one row a statement need not ask again by SQL, which
//! costs ten times what scoring the row does. Called by `resolve` alone.
//!
//! An answer is used again only when asking would give it again. The rows of the catalog that it was read from are
//! looked at under the calling statement's own snapshot: each must be visible at its place with the very same bytes.
//! So snapshots that are older or newer than the answer, changes of the transaction's own, rollbacks, savepoints and
//! standbys need no thought here: another version of a row is another row. That the user still has the role that
//! gave the right is asked anew, as the server keeps memberships itself. Tables that are gone, or not what they
//! were, show in [`generation`](super::generation). What a day is depends on the time zone, so an answer is of one.

use super::cache;
use super::resolve::Resolved;
use crate::pg::change;
use crate::pg::role::{current_user, has_role};
use crate::pg::row::{Place, row_at};
use pgrx::pg_sys::Oid;
use std::cell::RefCell;
use std::rc::Rc;

/// Answers that are kept; the oldest leaves first.
const KEPT: usize = 64;

/// From what an answer was read.
pub struct Evidence {
    /// The rows of the model, of what the reference points at, and of the grant, where one was needed.
    pub rows: Vec<Place>,
    /// The role that the user must have; none where everybody may.
    pub role: Option<Oid>,
}

struct Answer {
    reference: String,
    user: Oid,
    generation: u64,
    zone: usize,
    rows: Vec<(Place, Vec<u8>)>,
    role: Option<Oid>,
    model: String,
    version: i64,
    id: i64,
    sha256: String,
}

thread_local! {
    static ANSWERS: RefCell<Vec<Answer>> = const { RefCell::new(vec![]) };
}

/// The answer for the current user, where it is still true and its model still loaded.
pub fn find(reference: &str) -> Option<Rc<Resolved>> {
    ANSWERS.with_borrow_mut(|answers| {
        let user = current_user();
        let at = answers.iter().position(|a| a.user == user && a.reference == reference)?;
        let answer = &answers[at];
        let mut seen = vec![];
        let holds = answer.generation == change::generation()
            && answer.zone == change::zone()
            && answer.role.is_none_or(|role| has_role(user, role))
            && answer.rows.iter().all(|(place, bytes)| row_at(*place, &mut seen) && seen == *bytes);
        let scorer = if holds { cache::get(&answer.sha256) } else { None };
        let Some(scorer) = scorer else {
            answers.remove(at);
            return None;
        };
        Some(Rc::new(Resolved {
            model: answer.model.clone(),
            version: answer.version,
            id: answer.id,
            scorer,
        }))
    })
}

/// Keeps an answer that was read at `generation`, under the snapshot that is still active.
pub fn keep(reference: &str, generation: u64, resolved: &Resolved, sha256: String, evidence: Evidence) {
    let mut rows = vec![];
    for place in evidence.rows {
        let mut bytes = vec![];
        if !row_at(place, &mut bytes) {
            return;
        }
        rows.push((place, bytes));
    }
    let answer = Answer {
        reference: reference.to_string(),
        user: current_user(),
        generation,
        zone: change::zone(),
        rows,
        role: evidence.role,
        model: resolved.model.clone(),
        version: resolved.version,
        id: resolved.id,
        sha256,
    };
    ANSWERS.with_borrow_mut(|answers| {
        answers.retain(|a| a.user != answer.user || a.reference != answer.reference);
        if answers.len() == KEPT {
            answers.remove(0);
        }
        answers.push(answer);
    });
}
