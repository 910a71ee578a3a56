//! Which rows trained, by their keys, in a bit set that never forgets one: a Bloom filter (Bloom 1970), with the two
//! hashes of Kirsch and Mitzenmacher 2006. It holds no key, and about two bytes for each; past [`MOST_BYTES`] it stops
//! growing, and errs more often instead. How often is known from the bits that are set.

use crate::error::{Error, Kind, Result};
use crate::frame::{Column, Data, Value};
use crate::wire;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bits a key, where that is not too many: one question in 2,000 is then answered wrongly.
const BITS: usize = 16;
/// The most bytes that it takes.
const MOST_BYTES: usize = 32 << 20;
/// The most hashes a key.
const MOST_HASHES: u32 = 16;
/// Whole numbers up to here are exact as doubles.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The keys of training rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// Whether keys are whole numbers, else texts.
    numbers: bool,
    hashes: u32,
    bits: Vec<u64>,
}

/// A key as it is hashed.
enum Key<'a> {
    Number(i64),
    Text(&'a str),
}

impl Membership {
    /// Of the keys of some rows.
    ///
    /// # Errors
    /// `Kind::Null` for a missing key; `Kind::Type` for a column that is neither whole numbers nor text.
    pub fn of(column: &Column, rows: &[u32]) -> Result<Membership> {
        let numbers = match &column.data {
            Data::I32(_) | Data::I64(_) | Data::F32(_) | Data::F64(_) => true,
            Data::Text(_) => false,
            _ => {
                let message =
                    format!("the keys in column \"{}\" are neither whole numbers nor text", column.name);
                return Err(Error::new(Kind::Type, message).hint("Cast the column to text in the source."));
            }
        };
        let words = (rows.len() * BITS).div_ceil(64).clamp(1, MOST_BYTES / 8);
        let share = (words * 64) as f64 / rows.len().max(1) as f64;
        let hashes = ((share * std::f64::consts::LN_2).round() as u32).clamp(1, MOST_HASHES);
        let mut found = Membership { numbers, hashes, bits: vec![0; words] };
        for row in rows {
            let row = *row as usize;
            let key = match (&column.data, column.value(row)) {
                (_, Value::Missing) => {
                    let message = format!("the key in column \"{}\" is NULL in row {}", column.name, row + 1);
                    return Err(Error::new(Kind::Null, message)
                        .hint("Leave such rows out in the source, or train without key_column."));
                }
                (Data::I64(v), _) => Key::Number(v[row]),
                (_, Value::Number(x)) if x.fract() == 0.0 && x.abs() <= EXACT => Key::Number(x as i64),
                (_, Value::Text(t)) => Key::Text(t),
                (_, Value::Number(x)) => {
                    let message = format!(
                        "the key in column \"{}\" is {x} in row {}, expected a whole number",
                        column.name,
                        row + 1
                    );
                    return Err(
                        Error::new(Kind::Type, message).hint("Cast the column to text in the source.")
                    );
                }
                _ => return Err(Error::internal("a key changed its type")),
            };
            found.add(&key);
        }
        Ok(found)
    }

    /// Whether a key was among them: no is certain, yes is wrong in [`Membership::error_rate`] of the cases.
    ///
    /// # Errors
    /// `Kind::Parameter` for text where keys are numbers.
    pub fn has(&self, key: &str) -> Result<bool> {
        let key = if self.numbers { Key::Number(whole(key)?) } else { Key::Text(key) };
        Ok(self.places(&key).all(|(word, bit)| self.bits[word] & bit != 0))
    }

    /// The share of keys that were not among them and yet are said to be.
    pub fn error_rate(&self) -> f64 {
        let set: u64 = self.bits.iter().map(|w| u64::from(w.count_ones())).sum();
        (set as f64 / (self.bits.len() * 64) as f64).powi(self.hashes as i32)
    }

    /// As bytes.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        wire::encode(self)
    }

    /// From bytes.
    ///
    /// # Errors
    /// `Kind::Corrupt` for bytes that [`Membership::to_bytes`] did not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Membership> {
        let found: Membership = wire::decode(bytes)?;
        if found.bits.is_empty() || !(1..=MOST_HASHES).contains(&found.hashes) {
            return Err(Error::corrupt("the recorded keys are damaged"));
        }
        Ok(found)
    }

    fn add(&mut self, key: &Key) {
        for i in 0..self.hashes {
            let (word, bit) = self.place(hashes(key), i);
            self.bits[word] |= bit;
        }
    }

    fn places(&self, key: &Key) -> impl Iterator<Item = (usize, u64)> {
        let both = hashes(key);
        (0..self.hashes).map(move |i| self.place(both, i))
    }

    /// The `i`-th place of a key: a word and a bit of it.
    fn place(&self, (first, second): (u64, u64), i: u32) -> (usize, u64) {
        let hash = first.wrapping_add(second.wrapping_mul(u64::from(i)));
        let at = (u128::from(hash) * (self.bits.len() as u128 * 64)) >> 64;
        ((at / 64) as usize, 1 << (at % 64))
    }
}

fn hashes(key: &Key) -> (u64, u64) {
    let both = |bytes: &[u8]| (xxh3_64(bytes), xxh3_64_with_seed(bytes, 0x6b65_7973) | 1);
    match key {
        Key::Number(n) => both(&n.to_le_bytes()),
        Key::Text(t) => both(t.as_bytes()),
    }
}

/// A whole number from text, which may be written as `12.0`.
fn whole(text: &str) -> Result<i64> {
    let text = text.trim();
    let loose =
        || text.parse::<f64>().ok().filter(|x| x.fract() == 0.0 && x.abs() <= EXACT).map(|x| x as i64);
    text.parse::<i64>().ok().or_else(loose).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let message = format!("the key is \"{shown}\", expected a whole number as in the training");
        Error::new(Kind::Parameter, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Dictionary;

    fn numbers(values: Vec<i64>) -> Column {
        Column { name: "id".into(), data: Data::I64(values), missing: vec![] }
    }

    #[test]
    fn knows_every_key_and_errs_as_often_as_it_says() {
        let column = numbers((0..100_000).map(|i| i * 7 + (1 << 60)).collect());
        let trained: Vec<u32> = (0..100_000).filter(|i| i % 5 != 0).collect();
        let used = Membership::of(&column, &trained).unwrap();
        let key = |i: u32| (i64::from(i) * 7 + (1 << 60)).to_string();
        assert!(trained.iter().all(|i| used.has(&key(*i)).unwrap()));
        let wrong = (0..2_000_000u32).filter(|i| used.has(&(i64::from(*i) + 5).to_string()).unwrap()).count();
        let rate = wrong as f64 / 2e6;
        assert!(used.error_rate() < 1e-3, "{}", used.error_rate());
        assert!((rate / used.error_rate() - 1.0).abs() < 0.2, "{rate} of {}", used.error_rate());
        assert!(used.to_bytes().unwrap().len() < 2 * 80_000 * 6 / 5);
        let again = Membership::from_bytes(&used.to_bytes().unwrap()).unwrap();
        assert_eq!(again, used);
    }

    #[test]
    fn texts_and_numbers_are_told_apart() {
        let mut d = Dictionary::default();
        for text in ["a", "b", "12"] {
            let code = d.intern(text);
            d.codes.push(code);
        }
        let column = Column { name: "id".into(), data: Data::Text(d), missing: vec![] };
        let used = Membership::of(&column, &[0, 2]).unwrap();
        assert!(used.has("a").unwrap() && used.has("12").unwrap());
        assert!(!used.has("b").unwrap() && !used.has("12.0").unwrap());
        let used = Membership::of(&numbers(vec![12, 13]), &[0]).unwrap();
        assert!(used.has(" 12 ").unwrap() && used.has("12.0").unwrap() && !used.has("13").unwrap());
        assert_eq!(used.has("twelve").unwrap_err().kind, Kind::Parameter);
    }

    #[test]
    fn a_missing_key_and_other_types_are_refused() {
        let column = Column { missing: vec![false, true], ..numbers(vec![1, 0]) };
        assert_eq!(Membership::of(&column, &[0, 1]).unwrap_err().kind, Kind::Null);
        let column = Column { name: "id".into(), data: Data::F64(vec![1.5]), missing: vec![] };
        assert_eq!(Membership::of(&column, &[0]).unwrap_err().kind, Kind::Type);
        let column = Column { name: "id".into(), data: Data::Bool(vec![1]), missing: vec![] };
        assert_eq!(Membership::of(&column, &[0]).unwrap_err().kind, Kind::Type);
    }

    #[test]
    fn stops_growing_and_says_so() {
        let used = Membership { numbers: true, hashes: 2, bits: vec![u64::MAX, 0] };
        assert_eq!(used.error_rate(), 0.25);
        let damaged = Membership { bits: vec![], ..used };
        assert!(Membership::from_bytes(&damaged.to_bytes().unwrap()).is_err());
    }
}
