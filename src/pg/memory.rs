//! The allocator of this library: large blocks come in large pages.
//!
//! A training fills hundreds of megabytes once. In pages of 4 KiB the faults alone take longer than hashing or
//! scaling what is stored (40 ms for 112 MB, against 14 ms in pages of 2 MiB), and the C library keeps what it once
//! gave back in its heap, where a session holds it for ever. So blocks of [`LARGE`] bytes or more are mapped one by
//! one, each at the start of a large page but for a little: where many columns are walked side by side, equal
//! addresses would share few sets of the caches. They grow by moving their pages, never their bytes, and are
//! given back at once. All others are the C library's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{copy_nonoverlapping, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a large page.
const PAGE: usize = 2 << 20;
/// Bytes from which a block is mapped.
pub(super) const LARGE: usize = PAGE;
/// Mappings end at multiples of it, so that what shrinks by little stays whole.
const GRAIN: usize = PAGE / 8;
/// How far apart the blocks' places in their mappings are, and how many there are: a small page and a line of the caches.
const SHIFT: usize = 4096 + 64;
const SHIFTS: usize = 32;

#[global_allocator]
static MEMORY: Memory = Memory { mapped: AtomicUsize::new(0) };

struct Memory {
    /// Blocks mapped so far: it says where in its mapping the next begins.
    mapped: AtomicUsize,
}

impl Memory {
    fn map(&self, size: usize) -> *mut u8 {
        let shift = self.mapped.fetch_add(1, Ordering::Relaxed) % SHIFTS * SHIFT;
        let length = length(shift, size);
        let start = reserve(length, libc::PROT_READ | libc::PROT_WRITE);
        if start.is_null() {
            return start;
        }
        prefer_large_pages(start, length);
        // SAFETY: within the mapping, which is longer.
        unsafe { start.add(shift) }
    }
}

/// Whether a block is mapped. What asks for more than a line of the caches stays with those who know how.
fn is_mapped(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= 64
}

/// Where the mapping of a block begins, and how far behind it the block does.
fn start(block: *mut u8) -> (*mut u8, usize) {
    let shift = block.addr() % PAGE;
    (block.map_addr(|a| a - shift), shift)
}

/// Bytes of the mapping of a block of `size` bytes.
fn length(shift: usize, size: usize) -> usize {
    (shift + size).next_multiple_of(GRAIN)
}

/// Addresses that begin at a large page; null where there are none.
fn reserve(length: usize, access: i32) -> *mut u8 {
    let asked = length + PAGE;
    // SAFETY: a new mapping, where the kernel likes it; what is cut off at its ends is of it alone.
    unsafe {
        let found = libc::mmap(null_mut(), asked, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        if found == libc::MAP_FAILED {
            return null_mut();
        }
        let before = found.addr().next_multiple_of(PAGE) - found.addr();
        let start = found.byte_add(before);
        if before > 0 {
            libc::munmap(found, before);
        }
        libc::munmap(start.byte_add(length), PAGE - before);
        start.cast()
    }
}

/// A kernel that has none, or is told to give none, says no: small pages serve.
fn prefer_large_pages(start: *mut u8, length: usize) {
    // SAFETY: advice about a mapping of our own; its contents stay.
    unsafe { libc::madvise(start.cast(), length, libc::MADV_HUGEPAGE) };
}

// SAFETY: a block lies in a mapping of its own or is the C library's, and its layout alone says which. A mapping is as
// long as its block's size and address say, whenever they are asked.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return self.map(layout.size());
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            // The kernel gives zeros.
            return self.map(layout.size());
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_mapped(layout) {
            // SAFETY: the caller's promise, of a block of the C library.
            return unsafe { System.dealloc(block, layout) };
        }
        let (start, shift) = start(block);
        // SAFETY: the block's own mapping, all of it.
        unsafe { libc::munmap(start.cast(), length(shift, layout.size())) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that makes a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_mapped(layout), is_mapped(wanted)) {
            // SAFETY: the caller's promise, of a block of the C library.
            (false, false) => unsafe { System.realloc(block, layout, size) },
            (true, true) => {
                let (start, shift) = start(block);
                let (from, to) = (length(shift, layout.size()), length(shift, size));
                if to < from {
                    // SAFETY: the end of the block's own mapping, which it no longer needs.
                    unsafe { libc::munmap(start.byte_add(to).cast(), from - to) };
                }
                if to <= from {
                    return block;
                }
                let moved = reserve(to, libc::PROT_NONE);
                if moved.is_null() {
                    return moved;
                }
                let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                // SAFETY: the block's own mapping moves onto addresses that were just reserved for it. Where that
                // fails the old one stays; the reservation may be gone and the addresses another's, so nothing is unmapped.
                unsafe {
                    if libc::mremap(start.cast(), from, to, how, moved) == libc::MAP_FAILED {
                        return null_mut();
                    }
                    prefer_large_pages(moved, to);
                    moved.add(shift)
                }
            }
            // SAFETY: another block of the size that is wanted, the bytes that both hold, and the old one given back.
            _ => unsafe {
                let new = self.alloc(wanted);
                if !new.is_null() {
                    copy_nonoverlapping(block, new, layout.size().min(size));
                    self.dealloc(block, layout);
                }
                new
            },
        }
    }
}
