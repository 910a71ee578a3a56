//! The columns of row values, kept from row to row. Callers: [`super::scoring`] and [`super::folding`].

use super::bind::Offer;
use super::datum;
use super::query::attribute;
use super::shim::{Record, damson_record_desc};
use pgrx::PgMemoryContexts;
use pgrx::pg_sys::{Datum, MemoryContext, TupleDesc};

/// A row type, with room for one row taken apart.
pub(super) struct Shape {
    /// The type's version; 0 for none.
    pub version: u64,
    pub desc: TupleDesc,
    pub offers: Vec<Offer>,
    pub values: Vec<Datum>,
    pub nulls: Vec<bool>,
}

impl Shape {
    /// Before the first row.
    pub const NONE: Shape =
        Shape { version: 0, desc: std::ptr::null_mut(), offers: vec![], values: vec![], nulls: vec![] };

    /// The columns of a row's type; the description is copied into `context`.
    ///
    /// # Safety
    /// The record is of a living row, and the context outlives the shape.
    #[cold]
    pub unsafe fn of(context: MemoryContext, record: &Record) -> Shape {
        // SAFETY: the caller's promise.
        unsafe {
            let mut context = PgMemoryContexts::For(context);
            let desc = context.switch_to(|_| damson_record_desc(record.oid, record.typmod));
            let count = (*desc).natts as usize;
            let offer = |position| {
                let a = attribute(desc, position);
                Offer { name: (!a.dropped).then(|| datum::utf8(a.name)), oid: a.oid }
            };
            let offers = (0..count).map(offer).collect();
            let (values, nulls) = (vec![Datum::null(); count], vec![true; count]);
            Shape { version: record.version, desc, offers, values, nulls }
        }
    }
}
