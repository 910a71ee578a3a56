//! The extension's allocator (`src/pg/memory.rs`), as the allocator of this test: the library it belongs to runs in a
//! server alone.
#![allow(clippy::unwrap_used)]

#[path = "../../../src/pg/memory.rs"]
mod memory;

use memory::LARGE;

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

/// More than a line of the caches is left to others.
#[repr(align(4096))]
#[derive(Clone)]
struct Page([u8; 4096]);

#[test]
fn alignments_are_kept() {
    let lines = vec![1.0f64; LARGE];
    assert!(lines.as_ptr().addr().is_multiple_of(64));
    let pages = vec![Page([7; 4096]); 3 * LARGE / 4096];
    assert!(pages.as_ptr().addr().is_multiple_of(4096));
    assert!(pages.iter().all(|p| p.0 == [7; 4096]));
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
    let blocks: Vec<Vec<u8>> = (0..64).map(|_| vec![1u8; 16 << 20]).collect();
    let with = resident();
    drop(blocks);
    // Meanwhile other tests may have taken some.
    assert!(with > resident() + (512 << 20));
}
