//! A card that takes nothing and only counts: what is made on it tells how much memory it will take on a real one, exactly
//! and beforehand.

use super::card::{Card, Kernel, Pointers, Shape, Task};
use crate::Error;
use std::cell::Cell;
use std::rc::Rc;

/// Memory is given in whole pieces of so many bytes.
pub const PIECE: usize = 512;

/// Bytes that were taken of it.
#[derive(Default)]
pub struct Counter(Cell<u64>);

/// Bytes that `make` takes of a card.
///
/// # Errors
/// Those of `make`.
pub fn bytes<T>(make: impl FnOnce(&Rc<dyn Card>) -> Result<T, Error>) -> Result<u64, Error> {
    let counter = Rc::new(Counter::default());
    let card: Rc<dyn Card> = counter.clone();
    make(&card)?;
    Ok(counter.0.get())
}

impl Card for Counter {
    fn name(&self) -> String {
        "counter".into()
    }

    fn memory(&self) -> Result<(u64, u64), Error> {
        Ok((u64::MAX, u64::MAX))
    }

    fn take(&self, bytes: usize) -> Result<u64, Error> {
        self.0.set(self.0.get().saturating_add(bytes.next_multiple_of(PIECE) as u64));
        Ok(1)
    }

    fn give(&self, _at: u64) {}

    fn zero(&self, _at: u64, _bytes: usize) -> Result<(), Error> {
        Ok(())
    }

    fn write(&self, _at: u64, _from: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn read(&self, _at: u64, _to: &mut [u8]) -> Result<(), Error> {
        Ok(())
    }

    unsafe fn launch(
        &self,
        _kernel: Kernel,
        _shape: Shape,
        _task: &Task,
        _pointers: Pointers,
    ) -> Result<(), Error> {
        Ok(())
    }
}
