//! A stored row, looked at by its place. Caller: `src/catalog/remembered.rs`.

use super::shim;
use pgrx::pg_sys::Oid;

/// Where a row is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    table: Oid,
    block: u32,
    offset: u16,
}

impl Place {
    /// Reads `TABLE(BLOCK,OFFSET)`, which is `tableoid::text || ctid::text`.
    pub fn parse(text: &str) -> Option<Place> {
        let (table, rest) = text.split_once('(')?;
        let (block, offset) = rest.strip_suffix(')')?.split_once(',')?;
        let table = Oid::from(table.parse::<u32>().ok()?);
        Some(Place { table, block: block.parse().ok()?, offset: offset.parse().ok()? })
    }
}

/// The most bytes of a row that is looked at.
const ROOM: usize = 4096;

/// Whether the active snapshot sees a row at that place. Then `bytes` are those of its values.
pub fn row_at(place: Place, bytes: &mut Vec<u8>) -> bool {
    bytes.resize(ROOM, 0);
    // SAFETY: on the main thread, in a statement; `bytes` has as much room as is said.
    let length = unsafe {
        if !shim::raw::ActiveSnapshotSet() {
            return false;
        }
        shim::damson_row_at(place.table, place.block, place.offset, bytes.as_mut_ptr().cast(), ROOM)
    };
    bytes.truncate(length);
    length > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_the_server_writes_them() {
        let place = Place { table: Oid::from(16_400), block: 7, offset: 12 };
        assert_eq!(Place::parse("16400(7,12)"), Some(place));
        assert_eq!(["", "1", "1(2)", "1(2,3", "x(2,3)"].map(Place::parse), [None; 5]);
    }
}
