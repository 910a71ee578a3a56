//! Which keys a canary serves: a share of them, chosen by a hash of the key alone, so that a customer always meets the
//! same version, in every session and after every restart. Caller: the server's `route`.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Whether a key is among a `share` (0 to 1) of all keys. `seed` is the model's own, so that the canaries of two models
/// do not always fall on the same keys. A key that is chosen stays chosen while the share grows.
///
/// The hash is XXH3 (64 bits) of the key's bytes, of which 53 bits make a number from 0 to 1.
pub fn chosen(seed: u64, key: &str, share: f64) -> bool {
    let place = (xxh3_64_with_seed(key.as_bytes(), seed) >> 11) as f64 / (1u64 << 53) as f64;
    place < share
}

#[cfg(test)]
mod tests {
    use super::chosen;

    fn keys(seed: u64, share: f64) -> Vec<bool> {
        (0..100_000).map(|i| chosen(seed, &i.to_string(), share)).collect()
    }

    #[test]
    fn a_share_of_the_keys_is_chosen() {
        for share in [0.01, 0.1, 0.5] {
            let found = keys(7, share).iter().filter(|c| **c).count() as f64 / 1e5;
            // Five standard deviations of a binomial.
            assert!((found - share).abs() < 5.0 * (share * (1.0 - share) / 1e5).sqrt(), "{share}: {found}");
        }
        assert!(keys(7, 0.0).iter().all(|c| !c));
        assert!(keys(7, 1.0).iter().all(|c| *c));
    }

    #[test]
    fn keys_stay_chosen_while_the_share_grows() {
        let (few, many) = (keys(7, 0.1), keys(7, 0.3));
        assert!(few.iter().zip(&many).all(|(few, many)| !few || *many));
    }

    #[test]
    fn models_choose_independently() {
        let both = keys(1, 0.1).iter().zip(&keys(2, 0.1)).filter(|(a, b)| **a && **b).count() as f64 / 1e5;
        assert!((both - 0.01).abs() < 5.0 * (0.01f64 * 0.99 / 1e5).sqrt(), "{both}");
    }

    #[test]
    fn the_choice_is_the_same_for_ever() {
        let chosen: Vec<usize> =
            keys(7, 0.1).iter().enumerate().filter(|c| *c.1).map(|c| c.0).take(5).collect();
        assert_eq!(chosen, RECORDED);
    }

    /// As Python's xxhash gives them: `[i for i in range(100) if xxhash.xxh3_64_intdigest(str(i).encode(), 7) / 2**64 < 0.1]`.
    const RECORDED: [usize; 5] = [1, 8, 29, 37, 41];
}
