//! The extension's own types for values of variable length, as arguments, results, columns of results and in
//! [`super::spi`]. pgrx's conversions of `&str`, `String`, `Vec`, `&[u8]`, `Array` and `JsonB` assume PostgreSQL's
//! layout of headers and are never used: here the server's own macros do it, in `shim.c`.
//!
//! ```ignore
//! #[pg_extern(stable, parallel_safe)]
//! fn describe(model: Text) -> TableIterator<'static, (name!(name, Text), name!(value, Option<Text>))>
//! ```
//!
//! All of them own their memory. Text is UTF-8 in Rust whatever the database's encoding is.

use super::shim;
use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum as FcDatum, FromDatum, IntoDatum};
use pgrx::nullable::Nullable;
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::{CStr, c_char, c_int};
use std::ops::Deref;

/// An array as it lies in memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ArrayView {
    /// The elements that are not NULL, one after another; maybe unaligned.
    pub data: *const u8,
    /// A bit an element, 0 for NULL; a NULL pointer where there is none.
    pub nulls: *const u8,
    /// The elements' type.
    pub element: Oid,
    /// Elements over all dimensions, NULLs included.
    pub count: i32,
    /// Dimensions; 0 for an empty array.
    pub dims: i32,
}

impl ArrayView {
    /// A view of nothing, to be filled.
    pub const EMPTY: ArrayView = ArrayView {
        data: std::ptr::null(),
        nulls: std::ptr::null(),
        element: pg_sys::InvalidOid,
        count: 0,
        dims: 0,
    };

    /// Whether element `i` is NULL.
    ///
    /// # Safety
    /// `i < count`, and the view is of a living array.
    #[inline]
    pub unsafe fn is_null(&self, i: usize) -> bool {
        // SAFETY: the bitmap has a bit an element.
        !self.nulls.is_null() && unsafe { *self.nulls.add(i / 8) } & (1 << (i % 8)) == 0
    }
}

/// A value that a datum of one type becomes, and that becomes one.
pub trait Value: Sized {
    /// The SQL type.
    const OID: Oid;

    /// Reads a datum that is not NULL.
    ///
    /// # Safety
    /// The datum is of type `OID`.
    unsafe fn read(datum: Datum) -> Self;

    /// A datum in the current memory context.
    fn write(&self) -> Datum;
}

/// SQL's `text`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub String);

/// SQL's `bytea`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// SQL's `text[]`, flattened to one dimension.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextArray(pub Vec<Option<String>>);

/// SQL's `jsonb`, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jsonb(pub String);

/// SQL's `double precision[]`, flattened to one dimension; NULL elements are NaN.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Float8Array(pub Vec<f64>);

/// SQL's `real[]`, flattened to one dimension; NULL elements are NaN.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Float4Array(pub Vec<f32>);

/// A string of the server in its own encoding, such as a catalog's name, in UTF-8.
///
/// # Safety
/// `s` ends in NUL.
pub unsafe fn utf8(s: *const c_char) -> String {
    let mut len = 0;
    // SAFETY: the caller's promise; the result is `len` bytes that live long enough to be copied.
    unsafe { owned(shim::damson_utf8(s, &mut len), len) }
}

/// UTF-8 as a C string in the server's encoding, in the current memory context.
pub fn cstring(text: &str) -> &CStr {
    // SAFETY: the shim copies `len` bytes, ends them in NUL, and raises an error rather than fail.
    unsafe { CStr::from_ptr(shim::damson_cstring(text.as_ptr().cast(), text.len())) }
}

/// A `text` datum in the current memory context.
pub fn text(s: &str) -> Datum {
    // SAFETY: the shim copies `len` bytes.
    unsafe { shim::damson_text_new(s.as_ptr().cast(), s.len()) }
}

/// A `bytea` datum in the current memory context.
pub fn bytes(b: &[u8]) -> Datum {
    // SAFETY: the shim copies `len` bytes.
    unsafe { shim::damson_bytes_new(b.as_ptr().cast(), b.len()) }
}

/// SAFETY: `data` is `len` readable bytes.
unsafe fn slice<'a>(data: *const c_char, len: usize) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data.cast(), len) }
}

/// SAFETY: `data` is `len` readable bytes. The server keeps its text valid; if it is not, marks show where.
unsafe fn owned(data: *const c_char, len: usize) -> String {
    // SAFETY: the caller's promise.
    String::from_utf8_lossy(unsafe { slice(data, len) }).into_owned()
}

/// The elements of an array of fixed-width numbers, NULL as `null`.
///
/// SAFETY: the datum is an array of `T`.
unsafe fn numbers<T: Copy>(datum: Datum, null: T) -> Vec<T> {
    let mut view = ArrayView::EMPTY;
    // SAFETY: the caller's promise; `view` is filled on return, and its elements lie at `data` in order.
    unsafe {
        shim::damson_array(datum, &mut view);
        let mut next = view.data.cast::<T>();
        let element = |i| {
            if view.is_null(i) {
                return null;
            }
            let value = next.read_unaligned();
            next = next.add(1);
            value
        };
        (0..view.count as usize).map(element).collect()
    }
}

fn new_numbers<T>(values: &[T], element: Oid) -> Datum {
    // SAFETY: the shim copies `len * width` bytes.
    unsafe {
        let width = size_of::<T>() as c_int;
        shim::damson_array_new(values.as_ptr().cast(), values.len() as c_int, element, width)
    }
}

impl Value for Text {
    const OID: Oid = pg_sys::TEXTOID;

    unsafe fn read(datum: Datum) -> Self {
        let mut len = 0;
        // SAFETY: the caller's promise.
        Text(unsafe { owned(shim::damson_text(datum, &mut len), len) })
    }

    fn write(&self) -> Datum {
        text(&self.0)
    }
}

impl Value for Bytes {
    const OID: Oid = pg_sys::BYTEAOID;

    unsafe fn read(datum: Datum) -> Self {
        let mut len = 0;
        // SAFETY: the caller's promise.
        Bytes(unsafe { slice(shim::damson_bytes(datum, &mut len), len) }.to_vec())
    }

    fn write(&self) -> Datum {
        bytes(&self.0)
    }
}

impl Value for Jsonb {
    const OID: Oid = pg_sys::JSONBOID;

    unsafe fn read(datum: Datum) -> Self {
        let mut len = 0;
        // SAFETY: the caller's promise.
        Jsonb(unsafe { owned(shim::damson_jsonb(datum, &mut len), len) })
    }

    fn write(&self) -> Datum {
        // SAFETY: the shim copies `len` bytes.
        unsafe { shim::damson_jsonb_new(self.0.as_ptr().cast(), self.0.len()) }
    }
}

impl Value for TextArray {
    const OID: Oid = pg_sys::TEXTARRAYOID;

    unsafe fn read(datum: Datum) -> Self {
        let (mut values, mut nulls) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the caller's promise; the shim gives as many values and marks as it counts.
        unsafe {
            let count = shim::damson_text_array(datum, &mut values, &mut nulls) as usize;
            let element = |i| (!*nulls.add(i)).then(|| Text::read(*values.add(i)).0);
            TextArray((0..count).map(element).collect())
        }
    }

    fn write(&self) -> Datum {
        let start = |s: &Option<String>| s.as_ref().map_or(std::ptr::null(), |s| s.as_ptr().cast());
        let starts: Vec<*const c_char> = self.0.iter().map(start).collect();
        let lens: Vec<usize> = self.0.iter().map(|s| s.as_ref().map_or(0, String::len)).collect();
        // SAFETY: as many texts as the count says, of these lengths; null is NULL. The shim copies them.
        unsafe { shim::damson_text_array_new(starts.as_ptr(), lens.as_ptr(), lens.len() as c_int) }
    }
}

impl Value for Float8Array {
    const OID: Oid = pg_sys::FLOAT8ARRAYOID;

    unsafe fn read(datum: Datum) -> Self {
        // SAFETY: the caller's promise.
        Float8Array(unsafe { numbers(datum, f64::NAN) })
    }

    fn write(&self) -> Datum {
        new_numbers(&self.0, pg_sys::FLOAT8OID)
    }
}

impl Value for Float4Array {
    const OID: Oid = pg_sys::FLOAT4ARRAYOID;

    unsafe fn read(datum: Datum) -> Self {
        // SAFETY: the caller's promise.
        Float4Array(unsafe { numbers(datum, f32::NAN) })
    }

    fn write(&self) -> Datum {
        new_numbers(&self.0, pg_sys::FLOAT4OID)
    }
}

/// What pgrx wants of a type of arguments and results.
macro_rules! sql_type {
    ($type:ident, $sql:literal) => {
        pgrx::impl_sql_translatable!($type, $sql);

        impl FromDatum for $type {
            unsafe fn from_polymorphic_datum(datum: Datum, is_null: bool, _: Oid) -> Option<Self> {
                // SAFETY: the caller promises a datum of this type.
                (!is_null).then(|| unsafe { <$type as Value>::read(datum) })
            }
        }

        impl IntoDatum for $type {
            fn into_datum(self) -> Option<Datum> {
                Some(self.write())
            }

            fn type_oid() -> Oid {
                <$type as Value>::OID
            }
        }

        // SAFETY: reads the datum that the server passed for an argument of this SQL type. A function that is
        // not strict takes `Option`; for it pgrx asks `unbox_nullable_arg`.
        unsafe impl<'fcx> ArgAbi<'fcx> for $type {
            unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
                let index = arg.index();
                // SAFETY: as above.
                let value: Option<Self> = unsafe { arg.unbox_arg_using_from_datum() };
                value.unwrap_or_else(|| super::error::raise(super::error::null_argument(index)))
            }

            unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
                // SAFETY: as above.
                unsafe { arg.unbox_arg_using_from_datum() }.into()
            }
        }

        // SAFETY: the datum is made in the context that pgrx chose for results.
        unsafe impl BoxRet for $type {
            unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> FcDatum<'fcx> {
                // SAFETY: a datum of the declared type.
                unsafe { fcinfo.return_raw_datum(self.write()) }
            }
        }
    };
}

sql_type!(Text, "text");
sql_type!(Bytes, "bytea");
sql_type!(Jsonb, "jsonb");
sql_type!(TextArray, "text[]");
sql_type!(Float8Array, "double precision[]");
sql_type!(Float4Array, "real[]");

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(s: &str) -> Self {
        Text(s.to_string())
    }
}

impl From<String> for Text {
    fn from(s: String) -> Self {
        Text(s)
    }
}

impl Deref for Jsonb {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&serde_json::Value> for Jsonb {
    fn from(v: &serde_json::Value) -> Self {
        Jsonb(v.to_string())
    }
}

impl TextArray {
    /// The elements, or an error where one is NULL; `what` is the argument's name.
    ///
    /// # Errors
    /// `Kind::Null`.
    pub fn without_nulls(self, what: &str) -> super::error::Result<Vec<String>> {
        let null = || super::error::Error::new(engine::Kind::Null, format!("{what} has a NULL element"));
        self.0.into_iter().map(|s| s.ok_or_else(null)).collect()
    }
}
