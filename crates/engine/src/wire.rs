//! Values to bytes and back: the only file that names the encoding (bincode 2, little endian, fixed by its
//! `standard` configuration). Bytes from outside are never trusted: lengths are bounded before memory is taken.

use crate::error::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};

/// No single decoded value may claim more than this many bytes.
const LIMIT: usize = 1 << 32;

/// Encodes a value.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|e| Error::internal(format!("could not encode: {e}")))
}

/// Decodes a value that fills `bytes` exactly.
///
/// # Errors
/// `Kind::Corrupt` when the bytes are too few, too many or not of this type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => {
            Err(Error::corrupt(format!("{} bytes left over after decoding", bytes.len() - used)))
        }
        Err(e) => Err(Error::corrupt(format!("could not decode: {e}"))),
    }
}

/// The two parts of a file, each after its length in 8 bytes, which fill `bytes` exactly. `damaged` makes the error of
/// bytes that are none.
pub fn two_parts(mut bytes: &[u8], damaged: impl Fn(&str) -> Error) -> Result<(&[u8], &[u8])> {
    let mut part = || -> Result<&[u8]> {
        let (length, after) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged("a length is missing"))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let part = after.get(..length).ok_or_else(|| damaged("a part is cut off"))?;
        bytes = &after[length..];
        Ok(part)
    };
    let parts = (part()?, part()?);
    if bytes.is_empty() { Ok(parts) } else { Err(damaged("bytes are left over")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn refuses_short_long_and_huge() {
        let bytes = encode(&vec![1.0f64, 2.0]).unwrap();
        assert_eq!(decode::<Vec<f64>>(&bytes).unwrap(), [1.0, 2.0]);
        assert_eq!(decode::<Vec<f64>>(&bytes[..9]).unwrap_err().kind, Kind::Corrupt);
        assert_eq!(decode::<Vec<f64>>(&[&bytes[..], &[0]].concat()).unwrap_err().kind, Kind::Corrupt);
        assert_eq!(
            decode::<Vec<f64>>(&[253, 255, 255, 255, 255, 255, 255, 255, 127]).unwrap_err().kind,
            Kind::Corrupt
        );
    }
}
