//! The images of a source that is trained on: decoded as rows come, and kept in a temporary file of the server where
//! `damson.max_memory` leaves them no room. Callers: [`super::columns`], [`super::query`].
//!
//! The file is the server's, so that its limit, its place and its end are: it goes with the training, with the transaction
//! where that fails, and with recovery where a server crashes. Threads of the engine read it by a descriptor of their own, as
//! they may not call the server, and the kernel is told which images come next: it reads them while others are trained on.

use super::error::{Code, Error, Result};
use super::shim;
use engine::frame::Data;
use engine::pictures::{Decoder, Pictures, Store};
use pgrx::pg_sys;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

/// A temporary file of the server. It is to be dropped on the main thread, which removes it.
pub struct TempFile {
    file: i32,
    written: u64,
}

impl TempFile {
    fn new() -> TempFile {
        // SAFETY: on the main thread, in a transaction, whose resource owner closes it at the latest.
        TempFile { file: unsafe { shim::damson_file() }, written: 0 }
    }

    /// Of images that are in memory, which are in the file afterwards.
    ///
    /// # Errors
    /// As for writing.
    pub fn of(pictures: &mut Pictures) -> Result<TempFile> {
        let mut file = TempFile::new();
        file.write(pictures.held())?;
        pictures.move_to(file.store()?);
        Ok(file)
    }

    /// Appends. Raises the server's error where the system does not take it, or where all temporary files of the session are
    /// too large.
    ///
    /// # Errors
    /// 53400 where this one alone would be larger than `temp_file_limit`.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.written + bytes.len() as u64;
        // SAFETY: reads a variable of the server.
        let limit = unsafe { pg_sys::temp_file_limit };
        if u64::try_from(limit).is_ok_and(|kib| end > kib * 1024) {
            let message = format!(
                "the decoded images have no room in damson.max_memory, and take more than the {limit} kB that temp_file_limit \
                 allows"
            );
            return Err(Error::new(Code::Limit, message)
                .hint("Raise damson.max_memory, or have temp_file_limit raised, or train on fewer rows."));
        }
        // SAFETY: a file that is open, on the main thread, and as many bytes as there are.
        unsafe {
            shim::damson_file_write(self.file, bytes.as_ptr().cast(), bytes.len(), self.written as i64)
        };
        self.written = end;
        Ok(())
    }

    /// It, to be read from threads. What is written later can be read too.
    fn store(&self) -> Result<Box<dyn Store>> {
        // SAFETY: a file that is open, on the main thread.
        let descriptor = unsafe { shim::damson_file_descriptor(self.file) };
        if descriptor < 0 {
            let why = io::Error::last_os_error();
            return Err(Error::new(
                Code::NoWorker,
                format!("the temporary file of the images cannot be read: {why}"),
            ));
        }
        // SAFETY: a descriptor that was made just now, and is nobody else's.
        Ok(Box::new(Stored(unsafe { File::from_raw_fd(descriptor) })))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // SAFETY: a file that is open: while a transaction fails, frames are left before its resource owner is.
        unsafe { shim::damson_file_close(self.file) };
    }
}

#[derive(Debug)]
struct Stored(File);

impl Store for Stored {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, at)
    }

    fn expect(&self, at: u64, bytes: u64) {
        // SAFETY: advice about a descriptor of our own. One that is not taken only costs time.
        unsafe {
            libc::posix_fadvise(
                self.0.as_raw_fd(),
                at as libc::off_t,
                bytes as libc::off_t,
                libc::POSIX_FADV_WILLNEED,
            )
        };
    }
}

/// The images of a column while its rows come.
pub(super) struct Incoming {
    decoder: Decoder,
    file: Option<TempFile>,
}

impl Incoming {
    pub fn new(decoder: Decoder) -> Incoming {
        Incoming { decoder, file: None }
    }

    /// Takes the image of the next row; an error comes with its row, from 0.
    pub fn push(&mut self, bytes: &[u8]) -> std::result::Result<(), (usize, Error)> {
        self.decoder.push(bytes).map_err(|(row, e)| (row, e.into()))
    }

    /// Notes that the next row has none.
    pub fn push_missing(&mut self) {
        self.decoder.push_missing();
    }

    /// Bytes that are in memory.
    pub fn bytes(&self) -> u64 {
        self.decoder.bytes()
    }

    /// Moves into the file what has no room in memory, where that is enough to be worth it.
    ///
    /// # Errors
    /// Those of writing.
    pub fn settle(&mut self) -> Result<()> {
        if self.decoder.pixels().len() >= PIECE && self.decoder.overflows() { self.store() } else { Ok(()) }
    }

    fn store(&mut self) -> Result<()> {
        self.file.get_or_insert_with(TempFile::new).write(self.decoder.pixels())?;
        self.decoder.moved();
        Ok(())
    }

    /// The column, when all rows are in, and the file that is to last as long.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> Result<(Data, Option<TempFile>)> {
        if self.file.is_some() {
            self.store()?;
        }
        let store = self.file.as_ref().map(TempFile::store).transpose()?;
        Ok((self.decoder.finish(store), self.file))
    }
}
