//! Work on items by the threads of the current rayon pool; on this thread where there is none, since a server's
//! process must not get threads that it did not ask for.

use rayon::prelude::*;

/// Does `work` to each item, in any order; its results in the order of the items.
pub fn each<T: Send, R: Send>(items: &mut [T], work: impl Fn(usize, &mut T) -> R + Sync) -> Vec<R> {
    if rayon::current_thread_index().is_none() {
        return items.iter_mut().enumerate().map(|(i, item)| work(i, item)).collect();
    }
    items.par_iter_mut().enumerate().with_max_len(1).map(|(i, item)| work(i, item)).collect()
}
