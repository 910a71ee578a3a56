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
