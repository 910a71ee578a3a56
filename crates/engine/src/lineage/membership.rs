//! Which rows trained, by their keys, in a bit set that never forgets one: a Bloom filter (Bloom 1970) of blocks, all of
//! a key's bits in one (Putze, Sanders and Singler 2007), one in each word of it, so that a key costs one look at memory
//! (the split block filter of Apache Parquet). It holds no key, and about two bytes for each; past [`MOST_BYTES`] it stops
//! growing, and errs more often instead. How often is known from the bits that are set.

use crate::error::{Error, Kind, Result};
use crate::frame::{Column, Data, Value};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

/// Bits a key, where that is not too many: one question in 2,000 is then answered wrongly.
const BITS: usize = 18;
/// The most bytes that it takes.
const MOST_BYTES: usize = 32 << 20;
/// Words of a block.
const WORDS: usize = 8;
/// Bytes of a block.
const BLOCK: usize = WORDS * 4;
/// An odd number for each word of a block, which picks its bit; those of Parquet.
const SALTS: [u32; WORDS] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];
/// Whole numbers up to here are exact as doubles.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The keys of training rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    /// Whether keys are whole numbers, else texts.
    numbers: bool,
    /// Words of a block that a key has a bit in.
    hashes: usize,
    blocks: Vec<[u32; WORDS]>,
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
        let blocks = (rows.len() * BITS).div_ceil(8 * BLOCK).clamp(1, MOST_BYTES / BLOCK);
        let share = (blocks * BLOCK * 8) as f64 / rows.len().max(1) as f64;
        let hashes = ((share * std::f64::consts::LN_2).round() as usize).clamp(1, WORDS);
        let empty = Membership { numbers, hashes, blocks: vec![[0; WORDS]; blocks] };
        // A filter a thread, which add up to the same however many there are.
        let share = rows.len().div_ceil(rayon::current_num_threads()).max(1 << 14);
        let parts: Vec<Result<Membership>> = rows
            .par_chunks(share)
            .map(|rows| {
                let mut part = empty.clone();
                part.add_rows(column, rows).map(|()| part)
            })
            .collect();
        let mut parts = parts.into_iter();
        let mut found = parts.next().unwrap_or(Ok(empty))?;
        for part in parts {
            for (word, more) in found.blocks.as_flattened_mut().iter_mut().zip(part?.blocks.as_flattened()) {
                *word |= more;
            }
        }
        Ok(found)
    }

    fn add_rows(&mut self, column: &Column, rows: &[u32]) -> Result<()> {
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
            self.add(&key);
        }
        Ok(())
    }

    /// Whether a key was among them: no is certain, yes is wrong in [`Membership::error_rate`] of the cases.
    ///
    /// # Errors
    /// `Kind::Parameter` for text where keys are numbers.
    pub fn has(&self, key: &str) -> Result<bool> {
        let key = if self.numbers { Key::Number(whole(key)?) } else { Key::Text(key) };
        let (block, bits) = self.place(&key);
        Ok(self.blocks[block].iter().zip(&bits).all(|(word, bit)| word & bit == *bit))
    }

    /// The share of keys that were not among them and yet are said to be.
    pub fn error_rate(&self) -> f64 {
        let mut sum = 0.0;
        // All words count where a key has a bit in each; else as many as it has, from one that its hash says on.
        let starts = if self.hashes == WORDS { 1 } else { WORDS };
        for block in &self.blocks {
            let set = block.map(|word| f64::from(word.count_ones()) / 32.0);
            for start in 0..starts {
                sum += (start..start + self.hashes).map(|word| set[word % WORDS]).product::<f64>();
            }
        }
        sum / (self.blocks.len() * starts) as f64
    }

    /// As bytes: of what kind the keys are, the words a key, and the blocks, little endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.numbers), self.hashes as u8];
        bytes.extend(self.blocks.as_flattened().iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// `Kind::Corrupt` for bytes that [`Membership::to_bytes`] did not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Membership> {
        let ([numbers @ 0..=1, hashes @ 1..=8, bits @ ..], true) = (bytes, bytes.len() % BLOCK == 2) else {
            return Err(Error::corrupt("the recorded keys are damaged"));
        };
        let word = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
        let words: Vec<u32> = bits.as_chunks::<4>().0.iter().map(word).collect();
        let blocks = words.as_chunks::<WORDS>().0.to_vec();
        if blocks.is_empty() {
            return Err(Error::corrupt("the recorded keys are damaged"));
        }
        Ok(Membership { numbers: *numbers == 1, hashes: usize::from(*hashes), blocks })
    }

    fn add(&mut self, key: &Key) {
        let (block, bits) = self.place(key);
        self.blocks[block].iter_mut().zip(bits).for_each(|(word, bit)| *word |= bit);
    }

    /// The block of a key, and its bits of each word there.
    fn place(&self, key: &Key) -> (usize, [u32; WORDS]) {
        let hash = match key {
            Key::Number(n) => xxh3_64(&n.to_le_bytes()),
            Key::Text(t) => xxh3_64(t.as_bytes()),
        };
        let (high, low) = (hash >> 32, hash as u32);
        let mut bits = SALTS.map(|salt| 1 << (low.wrapping_mul(salt) >> 27));
        // From the word that the hash says on, as many as are left are none of the key's.
        (self.hashes..WORDS).for_each(|word| bits[(high as usize + word) % WORDS] = 0);
        (((high * self.blocks.len() as u64) >> 32) as usize, bits)
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
        assert!(used.to_bytes().len() < 2 * 80_000 * 6 / 5);
        let again = Membership::from_bytes(&used.to_bytes()).unwrap();
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
        let used = Membership { numbers: true, hashes: 8, blocks: vec![[u32::MAX; WORDS], [0; WORDS]] };
        assert_eq!(used.error_rate(), 0.5);
        let bytes = used.to_bytes();
        let damaged = [&[], &bytes[..2], &bytes[..bytes.len() - 1], &[&[2], &bytes[1..]].concat()];
        assert!(damaged.iter().all(|bytes| Membership::from_bytes(bytes).is_err()));
        // As keys are set in fewer words of fewer blocks.
        let mut few = Membership { numbers: true, hashes: 3, blocks: vec![[0; WORDS]; 1 << 10] };
        (0..50_000).for_each(|n| few.add(&Key::Number(n)));
        assert!((0..50_000).all(|n| few.has(&n.to_string()).unwrap()));
        let wrong = (50_000..150_000).filter(|n| few.has(&n.to_string()).unwrap()).count();
        let rate = wrong as f64 / 1e5;
        assert!((rate / few.error_rate() - 1.0).abs() < 0.05, "{rate} of {}", few.error_rate());
    }
}
