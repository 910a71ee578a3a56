//! A card that is the CPU: `emulate.cpp` compiled by the system's compiler, which everybody has who builds the
//! extension. For the tests alone.

use super::card::{Card, Kernel, Pointers, Shape, Task};
use super::forecast::PIECE;
use crate::Error;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The compiled kernels.
fn library() -> &'static libloading::Library {
    static LIBRARY: OnceLock<libloading::Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda");
        let out: PathBuf = std::env::temp_dir().join(format!(
            "damson-kernels-{}{}",
            std::process::id(),
            std::env::consts::DLL_SUFFIX
        ));
        let mut command = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".into()));
        command.args(["-std=c++17", "-O2", "-shared", "-fPIC", "-w", "-ffp-contract=off"]);
        // Jumps between stacks are what the fortified one refuses.
        command.args(["-U_FORTIFY_SOURCE", "-o"]);
        let done = command.arg(&out).arg(folder.join("emulate.cpp")).status().unwrap();
        assert!(done.success(), "emulate.cpp does not compile");
        // SAFETY: a library of functions, without initialisers of its own.
        let library = unsafe { libloading::Library::new(&out).unwrap() };
        std::fs::remove_file(&out).unwrap();
        library
    })
}

/// The CPU as a card; its memory is capped.
pub struct Emulated {
    taken: RefCell<HashMap<u64, Vec<u64>>>,
    most: Cell<usize>,
    limit: usize,
    /// Whether threads and blocks come the other way round.
    pub backwards: Cell<bool>,
}

impl Emulated {
    pub fn new(limit: usize) -> Emulated {
        Emulated { taken: RefCell::default(), most: Cell::default(), limit, backwards: Cell::default() }
    }

    /// The most that was taken at once.
    pub fn most(&self) -> usize {
        self.most.get()
    }

    pub fn used(&self) -> usize {
        self.taken.borrow().values().map(|m| (8 * m.len()).next_multiple_of(PIECE)).sum()
    }

    /// Panics unless all of it is memory that was taken.
    fn check(&self, at: u64, bytes: usize) {
        let taken = self.taken.borrow();
        let within = |(from, memory): (&u64, &Vec<u64>)| {
            *from <= at && at + bytes as u64 <= from + 8 * memory.len() as u64
        };
        assert!(taken.iter().any(within), "{bytes} bytes at {at} are no memory of the card");
    }
}

type Entry = unsafe extern "C" fn(*const u32, *const u32, *const Task, *mut *mut c_void);

/// One block at a time in this process: what blocks share is static.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

impl Card for Emulated {
    fn name(&self) -> String {
        "emulated".into()
    }

    fn memory(&self) -> Result<(u64, u64), Error> {
        Ok(((self.limit - self.used()) as u64, self.limit as u64))
    }

    fn take(&self, bytes: usize) -> Result<u64, Error> {
        if self.used() + bytes.next_multiple_of(PIECE) > self.limit {
            return Err(Error::Memory(format!("no room for {bytes} bytes")));
        }
        // What a real card gives holds anything.
        let memory = vec![0x7fc0_1234_7fc0_1234u64; bytes.div_ceil(8)];
        let at = memory.as_ptr() as u64;
        self.taken.borrow_mut().insert(at, memory);
        self.most.set(self.most.get().max(self.used()));
        Ok(at)
    }

    fn give(&self, at: u64) {
        assert!(self.taken.borrow_mut().remove(&at).is_some(), "given back twice");
    }

    fn zero(&self, at: u64, bytes: usize) -> Result<(), Error> {
        self.check(at, bytes);
        // SAFETY: checked.
        unsafe { std::ptr::write_bytes(at as *mut u8, 0, bytes) };
        Ok(())
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<(), Error> {
        self.check(at, from.len());
        // SAFETY: checked.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), at as *mut u8, from.len()) };
        Ok(())
    }

    fn read(&self, at: u64, to: &mut [u8]) -> Result<(), Error> {
        self.check(at, to.len());
        // SAFETY: checked.
        unsafe { std::ptr::copy_nonoverlapping(at as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    unsafe fn launch(
        &self,
        kernel: Kernel,
        shape: Shape,
        task: &Task,
        pointers: Pointers,
    ) -> Result<(), Error> {
        pointers.iter().filter(|p| **p != 0).for_each(|p| self.check(*p, 1));
        let mut pointers = pointers.map(|p| p as *mut c_void);
        let name = format!("emulated_{}", kernel.name());
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: a function of the library with these arguments; the caller vouches for the pointers.
        unsafe {
            let order: libloading::Symbol<unsafe extern "C" fn(i32)> =
                library().get(b"emulated_order").unwrap();
            order(i32::from(self.backwards.get()));
            let entry: libloading::Symbol<Entry> = library().get(name.as_bytes()).unwrap();
            entry(shape.grid.as_ptr(), shape.block.as_ptr(), task, pointers.as_mut_ptr());
        }
        drop(turn);
        Ok(())
    }
}
