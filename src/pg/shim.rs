//! The functions of `shim.c` and `reads.c`, guarded: an error that they raise becomes a panic, which unwinds. [`raw`] has those
//! that loops over rows call without a guard, which costs more than they do.

use super::datum::ArrayView;
use super::reads::{Read, ReadName};
use pgrx::pg_sys::{Datum, Oid, Query, TupleDesc, TupleTableSlot, ffi::pg_guard_ffi_boundary};
use std::ffi::{c_char, c_int, c_void};

/// A row value.
#[repr(C)]
pub struct Record {
    /// Its bytes.
    pub tuple: *mut c_void,
    /// Changes whenever the columns may have.
    pub version: u64,
    /// Its type.
    pub oid: Oid,
    /// The type's modifier.
    pub typmod: i32,
}

/// An attribute of a row's description.
#[repr(C)]
pub struct Attribute {
    /// Its name, in the server's encoding.
    pub name: *const c_char,
    /// Its type.
    pub oid: Oid,
    /// The type's modifier.
    pub typmod: i32,
    /// Bytes, or -1 for a variable length and -2 for a C string.
    pub len: i16,
    /// Bytes that it is aligned to.
    pub align: i16,
    /// Whether a datum holds it itself.
    pub byval: bool,
    /// Whether it is only a gap.
    pub dropped: bool,
}

macro_rules! guarded {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => { $(
        /// See `shim.c`.
        ///
        /// # Safety
        /// Datums are of the type that the function reads, pointers are valid, and this is the main thread.
        pub unsafe fn $name($($arg: $type),*) -> $result {
            unsafe extern "C-unwind" {
                fn $name($($arg: $type),*) -> $result;
            }
            // SAFETY: the caller's promise. The frame that an error jumps over holds nothing to drop.
            unsafe { pg_guard_ffi_boundary(|| $name($($arg),*)) }
        }
    )* };
}

guarded! {
    fn damson_bytes(d: Datum, len: *mut usize) -> *const c_char;
    fn damson_text(d: Datum, len: *mut usize) -> *const c_char;
    fn damson_utf8(s: *const c_char, len: *mut usize) -> *const c_char;
    fn damson_cstring(utf8: *const c_char, len: usize) -> *mut c_char;
    fn damson_bytes_new(bytes: *const c_char, len: usize) -> Datum;
    fn damson_text_new(utf8: *const c_char, len: usize) -> Datum;
    fn damson_array(d: Datum, view: *mut ArrayView) -> ();
    fn damson_array_new(values: *const c_char, count: c_int, element: Oid, width: c_int) -> Datum;
    fn damson_text_array(d: Datum, values: *mut *mut Datum, nulls: *mut *mut bool) -> c_int;
    fn damson_text_array_new(utf8: *const *const c_char, lens: *const usize, count: c_int) -> Datum;
    fn damson_jsonb(d: Datum, len: *mut usize) -> *const c_char;
    fn damson_jsonb_new(utf8: *const c_char, len: usize) -> Datum;
    fn damson_attribute(desc: TupleDesc, i: c_int, out: *mut Attribute) -> ();
    fn damson_record_desc(oid: Oid, typmod: i32) -> TupleDesc;
    fn damson_timestamp(utf8: *const c_char, len: usize) -> i64;
    fn damson_schema_owner(name: *const c_char) -> Oid;
    fn damson_has_role(user: Oid, role: Oid) -> bool;
    fn damson_sql_fits(stamp: *const c_char) -> c_int;
    fn damson_is_ours(function: Oid) -> bool;
    fn damson_reads(query: *mut Query, reads: *mut *mut Read) -> c_int;
    fn damson_read_name(read: *const Read, name: *mut ReadName) -> bool;
    fn damson_type_name(oid: Oid) -> *const c_char;
    fn damson_file() -> c_int;
    fn damson_file_write(file: c_int, bytes: *const c_char, len: usize, at: i64) -> ();
    fn damson_file_descriptor(file: c_int) -> c_int;
    fn damson_file_close(file: c_int) -> ();
    fn damson_repeatable(query: *mut Query) -> bool;
    fn damson_row_at(table: Oid, block: u32, offset: u16, out: *mut c_char, room: usize) -> usize;
}

/// Without a guard: an error jumps over the frames of the caller up to the nearest guard, so those must hold
/// nothing to drop.
pub mod raw {
    use super::*;
    use pgrx::pg_sys::MemoryContext;

    unsafe extern "C-unwind" {
        /// See `shim.c`.
        pub fn damson_bytes(d: Datum, len: *mut usize) -> *const c_char;
        /// See `shim.c`.
        pub fn damson_text(d: Datum, len: *mut usize) -> *const c_char;
        /// See `shim.c`.
        pub fn damson_utf8(s: *const c_char, len: *mut usize) -> *const c_char;
        /// See `shim.c`.
        pub fn damson_enum(d: Datum, len: *mut usize) -> *const c_char;
        /// See `shim.c`.
        pub fn damson_array(d: Datum, view: *mut ArrayView);
        /// See `shim.c`.
        pub fn damson_numeric(d: Datum) -> f64;
        /// See `shim.c`.
        pub fn damson_row(slot: *mut TupleTableSlot, natts: c_int) -> *const u8;
        /// See `shim.c`.
        pub fn damson_deform(slot: *mut TupleTableSlot, natts: c_int);
        /// See `shim.c`.
        pub fn damson_record(d: Datum, out: *mut Record);
        /// See `shim.c`.
        pub fn damson_record_deform(
            tuple: *mut c_void,
            desc: TupleDesc,
            values: *mut Datum,
            nulls: *mut bool,
        );
        /// The server's own.
        pub fn ActiveSnapshotSet() -> bool;
        /// The server's own.
        pub fn GetActiveSnapshot() -> pgrx::pg_sys::Snapshot;
        /// The server's own.
        pub fn GetUserId() -> Oid;
        /// The server's own.
        pub fn MemoryContextReset(context: MemoryContext);
    }
}
