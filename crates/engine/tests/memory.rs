//! The extension's allocator (`src/pg/memory.rs`), as the allocator of this test: the library it belongs to runs in a
//! server alone.
#![allow(clippy::unwrap_used)]

#[path = "../../../src/pg/memory.rs"]
mod memory;

use memory::LARGE;
use std::alloc::{Layout, alloc_zeroed, dealloc};

/// Bytes of this process that lie in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn counts(values: &[u64]) -> bool {
    values.iter().enumerate().all(|(i, v)| *v == i as u64)
}

#[test]
fn keeps_what_grows_and_shrinks() {
    let mut values: Vec<u64> = vec![];
    for rows in [100, LARGE / 8 - 1, LARGE / 8, LARGE / 8 + 1, 500_000, 3_000_000, 7_777_777] {
        values.extend(values.len() as u64..rows as u64);
        assert!(counts(&values), "{rows} rows");
        values.reserve_exact(rows / 3);
        assert!(counts(&values), "{rows} rows and room");
    }
    for rows in [7_000_000, 6_999_999, 1_000_000, LARGE / 8 + 1, LARGE / 8, LARGE / 8 - 1, 3] {
        values.truncate(rows);
        values.shrink_to_fit();
        assert!(values.len() == rows && counts(&values), "{rows} rows are left");
    }
}

#[test]
fn zeros_are_zero() {
    for bytes in [LARGE - 1, LARGE, LARGE + 1, 9 * LARGE + 12345] {
        drop(vec![255u8; bytes]);
        let mut zeros = vec![0u8; bytes];
        assert!(zeros.iter().all(|b| *b == 0), "{bytes} bytes");
        zeros.resize(2 * bytes, 0);
        assert!(zeros.iter().all(|b| *b == 0), "{bytes} bytes twice");
    }
}

#[test]
fn alignments_are_kept() {
    for align in [1, 64, 128, 4096, LARGE] {
        let layout = Layout::from_size_align(3 * LARGE, align).unwrap();
        // SAFETY: a layout of some bytes, and the block that it gave.
        unsafe {
            let block = alloc_zeroed(layout);
            assert!(!block.is_null() && block.addr() % align == 0, "aligned to {align}");
            block.add(3 * LARGE - 1).write(1);
            dealloc(block, layout);
        }
    }
}

#[test]
fn blocks_go_from_thread_to_thread() {
    let made: Vec<_> = (0..8)
        .map(|t| {
            std::thread::spawn(move || (0..20).map(|i| vec![t as u8; LARGE + 4096 * i]).collect::<Vec<_>>())
        })
        .collect();
    for (t, thread) in made.into_iter().enumerate() {
        for block in thread.join().unwrap() {
            assert!(block.iter().all(|b| *b == t as u8));
        }
    }
}

#[test]
fn what_cannot_be_had_is_an_error() {
    let mut values = vec![7u8; LARGE];
    assert!(values.try_reserve_exact(1 << 62).is_err());
    assert!(values.iter().all(|b| *b == 7));
}

/// A session that trained once does not hold what it needed then.
#[test]
fn gives_back_what_is_free() {
    let before = resident();
    let blocks: Vec<Vec<u8>> = (0..64).map(|_| vec![1u8; 16 << 20]).collect();
    assert!(resident() > before + (900 << 20));
    drop(blocks);
    // Others of these tests hold some.
    assert!(resident() < before + (400 << 20));
}
