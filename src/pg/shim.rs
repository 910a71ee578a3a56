//! The functions of `shim.c`, guarded: an error that they raise becomes a panic, which unwinds.

use super::datum::ArrayView;
use pgrx::pg_sys::{Datum, Oid, ffi::pg_guard_ffi_boundary};
use std::ffi::{c_char, c_int};

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
    fn damson_text_array_new(values: *mut Datum, nulls: *mut bool, count: c_int) -> Datum;
    fn damson_jsonb(d: Datum, len: *mut usize) -> *const c_char;
    fn damson_jsonb_new(utf8: *const c_char, len: usize) -> Datum;
    fn damson_schema_owner(name: *const c_char) -> Oid;
}
