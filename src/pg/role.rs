//! Whose rights code runs with. Queries of users run with the caller's; statements on the catalog with the
//! owner's, so that nobody else needs rights on its tables.

use super::error::{Error, Result};
use super::shim;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// The current user.
pub fn current_user() -> Oid {
    // SAFETY: reads a variable of the server.
    unsafe { pg_sys::GetUserId() }
}

/// Who logged in: the role that no SET ROLE and no SECURITY DEFINER function changes.
pub fn session_user() -> Oid {
    // SAFETY: reads a variable of the server.
    unsafe { pg_sys::GetSessionUserId() }
}

/// Whether the server runs code of a table's owner on somebody's behalf, as in an index or a materialized view.
pub fn in_restricted_operation() -> bool {
    // SAFETY: reads a variable of the server.
    unsafe { pg_sys::InSecurityRestrictedOperation() }
}

/// Whether a user has the rights of a role, now.
pub fn has_role(user: Oid, role: Oid) -> bool {
    // SAFETY: looks the membership up.
    unsafe { shim::damson_has_role(user, role) }
}

/// Runs `body` with the rights of a schema's owner, and with a search path that nobody can plant operators in.
/// `body` must run no code of users.
///
/// # Errors
/// `Kind::Internal` where the schema is not there; those of `body`.
pub fn as_owner_of<T>(schema: &CStr, body: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: a constant string.
    let owner = unsafe { shim::damson_schema_owner(schema.as_ptr()) };
    if owner == pg_sys::InvalidOid {
        return Err(Error::internal(format!("there is no schema {}", schema.to_string_lossy())));
    }
    let _path = Settings::set(&[(c"search_path", c"pg_catalog, pg_temp")]);
    let _user = User::switch(owner);
    body()
}

struct User {
    id: Oid,
    context: i32,
}

impl User {
    fn switch(to: Oid) -> User {
        let mut user = User { id: pg_sys::InvalidOid, context: 0 };
        // SAFETY: reads and sets variables of the server; `drop` restores them, and so does an abort.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user.id, &mut user.context);
            let context = user.context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
            pg_sys::SetUserIdAndSecContext(to, context);
        }
        user
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // SAFETY: what `switch` found.
        unsafe { pg_sys::SetUserIdAndSecContext(self.id, self.context) }
    }
}

/// Settings of the server that hold until this is dropped, whatever they were.
pub struct Settings {
    level: i32,
}

impl Settings {
    /// Sets them for now.
    pub fn set(values: &[(&CStr, &CStr)]) -> Settings {
        // SAFETY: a nest level of our own, closed by `drop`; on an error the abort closes it before us or after.
        let level = unsafe { pg_sys::NewGUCNestLevel() };
        let settings = Settings { level };
        for (name, value) in values {
            // SAFETY: constant strings; an action that is undone with its nest level.
            unsafe {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
        }
        settings
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        // SAFETY: closes the level that `set` opened, and any left open above it.
        unsafe { pg_sys::AtEOXact_GUC(false, self.level) }
    }
}

/// Refuses writes until it is dropped, as a read-only transaction does. The variable itself is set: PostgreSQL 16
/// and later refuse to set `transaction_read_only` for part of a transaction.
pub struct ReadOnly {
    before: bool,
}

impl ReadOnly {
    /// Begins to refuse writes.
    pub fn begin() -> ReadOnly {
        // SAFETY: a variable of the server that only this thread uses; an abort restores it as well.
        unsafe {
            let before = pg_sys::XactReadOnly;
            pg_sys::XactReadOnly = true;
            ReadOnly { before }
        }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // SAFETY: what `begin` found.
        unsafe { pg_sys::XactReadOnly = self.before }
    }
}
