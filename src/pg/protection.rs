//! The event trigger that looks after the sources of deployed models. Before a command that may drop or change
//! relations it notes which sources are broken already; after it, what has broken by then was broken by the command.
//! So it need not understand commands: a cascade, a rename and a change of a type are all the same to it.

use super::error::{self, Code, Error, Result, raise};
use super::folding::aggregate_function;
use super::guard;
use super::settings::{self, Protection};
use crate::catalog::sources::{self, Break};
use engine::Kind;
use pgrx::pg_sys::{self, Datum, FunctionCallInfo};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::CStr;

/// Breaks that are named one by one.
const NAMED: usize = 10;

thread_local! {
    /// What was broken before the command that runs.
    static BEFORE: RefCell<BTreeSet<Break>> = const { RefCell::new(BTreeSet::new()) };
}

/// SAFETY: the server's call.
unsafe fn protect(fcinfo: FunctionCallInfo) -> Result<Option<Datum>> {
    // SAFETY: the context of a call by an event trigger is its data, whose strings end in NUL.
    let event = unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
            return Err(Error::new(Kind::Unsupported, "protect_sources is for event triggers alone"));
        }
        CStr::from_ptr((*context.cast::<pg_sys::EventTriggerData>()).event)
    };
    let protection = settings::protect_sources();
    if protection == Protection::Off {
        return Ok(None);
    }
    match guard::sql_fits() {
        guard::Fit::Yes => {}
        // Our own script runs.
        guard::Fit::Open => return Ok(None),
        guard::Fit::No => {
            if event == c"ddl_command_end" {
                let until =
                    "the sources of deployed models are not looked after until ALTER EXTENSION damson UPDATE";
                error::warn(&format!("{}: {until}", guard::STALE));
            }
            return Ok(None);
        }
    }
    if event == c"ddl_command_start" {
        let broken = sources::broken()?;
        BEFORE.set(broken);
        return Ok(None);
    }
    let before = BEFORE.take();
    let new: Vec<Break> = sources::broken()?.into_iter().filter(|b| !before.contains(b)).collect();
    if new.is_empty() {
        return Ok(None);
    }
    let mut lines: Vec<String> = new.iter().take(NAMED).map(Break::shown).collect();
    lines.dedup();
    if new.len() > NAMED {
        lines.push(format!("and {} more", new.len() - NAMED));
    }
    if protection == Protection::Warn {
        lines.iter().for_each(|line| error::warn(line));
        return Ok(None);
    }
    Err(Error::new(Code::Needed, "a deployed model needs what the command drops or alters")
        .detail(lines.join("\n"))
        .hint(
            "Deploy a version that does without it, drop the model, or SET damson.protect_sources = 'warn'.",
        ))
}

aggregate_function! {
    damson_protect_sources, pg_finfo_damson_protect_sources, protect, "The event trigger's function.";
}
