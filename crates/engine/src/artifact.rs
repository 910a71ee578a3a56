//! A trained model as bytes: a checksummed, versioned container of everything that scoring needs.
//!
//! ```text
//! "DAMSON" 0 format | length, header (card, preprocessing) | length, payload (the algorithm's) | SHA-256 of all before
//! ```
//! Lengths are 8 bytes, little endian. The payload of a network holds its tensors as safetensors.

use crate::decision::Decision;
use crate::error::{Error, Result};
use crate::groups::UnknownGroup;
use crate::prepare::{InputColumn, Prepared};
use crate::schema::Task;
use crate::wire;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"DAMSON\x00\x01";
const HASH: usize = 32;

/// What a model is, for people and catalogs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The algorithm's name.
    pub algorithm: String,
    /// The algorithm's version when it was trained.
    pub algorithm_version: u16,
    /// What the model does.
    pub task: Task,
    /// The target column.
    pub target: Option<String>,
    /// The column of offsets, where the model was trained with one.
    pub offset: Option<String>,
    /// The column of groups, where the model was trained with one.
    pub group: Option<String>,
    /// How many of the first inputs choose the group whose model scores a row; 0 for one model.
    pub group_by: usize,
    /// What rows of unknown groups are answered.
    pub unknown_group: UnknownGroup,
    /// Class labels, in the order of the probabilities.
    pub classes: Vec<String>,
    /// From probabilities to decisions.
    pub decision: Decision,
    /// The columns that it reads, in the order in which scalars are bound: those of `group_by`, then the features.
    pub inputs: Vec<InputColumn>,
    /// All parameters as JSON, defaults filled in.
    pub params: String,
    /// All options of preprocessing as JSON, defaults filled in.
    pub preprocess: String,
    /// The seed.
    pub seed: u64,
    /// Rows that it was trained on.
    pub train_rows: u64,
    /// Rows held out.
    pub test_rows: u64,
    /// A fingerprint of the rows read, in hex; the same for the same rows in any order.
    pub fingerprint: String,
    /// The version of this engine.
    pub engine_version: String,
}

impl Card {
    /// The columns that choose the group.
    pub fn group_columns(&self) -> &[InputColumn] {
        self.inputs.get(..self.group_by).unwrap_or_default()
    }

    /// The columns that the model learnt from.
    pub fn features(&self) -> &[InputColumn] {
        self.inputs.get(self.group_by..).unwrap_or_default()
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    card: Card,
    prepared: Prepared,
}

/// Packs a model.
pub fn pack(card: &Card, prepared: &Prepared, payload: &[u8]) -> Result<Vec<u8>> {
    let header = wire::encode(&Header { card: card.clone(), prepared: prepared.clone() })?;
    let mut bytes = Vec::with_capacity(MAGIC.len() + 16 + header.len() + payload.len() + HASH);
    bytes.extend_from_slice(MAGIC);
    for part in [&header[..], payload] {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    Ok(bytes)
}

/// Unpacks a model into its card, its preprocessing (restored) and the algorithm's payload.
///
/// # Errors
/// `Kind::Corrupt` for anything that `pack` did not write.
pub fn unpack(bytes: &[u8]) -> Result<(Card, Prepared, &[u8])> {
    let body = bytes.len().checked_sub(HASH).ok_or_else(|| damaged("it is too short"))?;
    let (body, hash) = bytes.split_at(body);
    if body.get(..6) != Some(&MAGIC[..6]) {
        return Err(damaged("it does not begin as one"));
    }
    if Sha256::digest(body).as_slice() != hash {
        return Err(damaged("its checksum does not match"));
    }
    if body.get(..8) != Some(MAGIC) {
        return Err(damaged("its format is of another version"));
    }
    let (header, payload) = wire::two_parts(&body[8..], damaged)?;
    let Header { card, mut prepared } = wire::decode(header)?;
    prepared.restore()?;
    let labels = match card.task {
        Task::Classification => card.classes.len() > 1,
        Task::Multilabel => !card.classes.is_empty(),
        _ => card.classes.is_empty(),
    };
    if card.features() != prepared.inputs || !labels {
        return Err(damaged("its parts do not agree"));
    }
    Ok((card, prepared, payload))
}

fn damaged(why: &str) -> Error {
    Error::corrupt(format!("the stored model is damaged: {why}"))
        .hint("Restore the table damson_catalog.artifacts from a backup, or train the model again.")
}

/// What a model as text begins with.
pub const TEXT_PREFIX: &str = "damson:";

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// An artifact as text: the prefix, then base64 (RFC 4648) without padding.
pub fn to_text(artifact: &[u8]) -> String {
    let mut text = String::with_capacity(TEXT_PREFIX.len() + artifact.len().div_ceil(3) * 4);
    text.push_str(TEXT_PREFIX);
    for part in artifact.chunks(3) {
        let word = part.iter().enumerate().fold(0, |w, (i, b)| w | u32::from(*b) << (16 - 8 * i));
        for i in 0..=part.len() {
            text.push(char::from(DIGITS[(word >> (18 - 6 * i)) as usize & 63]));
        }
    }
    text
}

/// An artifact from its text.
///
/// # Errors
/// `Kind::Corrupt` for text that `to_text` did not give.
pub fn from_text(text: &str) -> Result<Vec<u8>> {
    let bad = || {
        Error::corrupt("the text is no model: it is cut off or has characters that were never in it")
            .hint("Take it as damson.fit gave it.")
    };
    let digits = text.strip_prefix(TEXT_PREFIX).ok_or_else(bad)?.as_bytes();
    let mut artifact = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for part in digits.chunks(4) {
        let mut word = 0;
        for (i, digit) in part.iter().enumerate() {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return Err(bad()),
            };
            word |= u32::from(value) << (18 - 6 * i);
        }
        let bytes = part.len() - 1;
        // One digit is no byte, and bits beyond the last byte are zero: a model has one text.
        if bytes == 0 || word & (0xff_ffff >> (8 * bytes)) != 0 {
            return Err(bad());
        }
        artifact.extend_from_slice(&word.to_be_bytes()[1..=bytes]);
    }
    Ok(artifact)
}

/// The SHA-256 of bytes, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn text_comes_back() {
        // RFC 4648, section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(to_text(bytes.as_bytes()), format!("damson:{text}"));
            assert_eq!(from_text(&format!("damson:{text}")).unwrap(), bytes.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_text(&to_text(&all)).unwrap(), all);
        for bad in [
            "Zg",
            "damson:Z",
            "damson:Zm9vY",
            "damson:Zg==",
            "damson:Zh",
            "damson:Zm 9",
            "damson:Zm9\u{e9}",
            "damson:Zm_v",
        ] {
            assert_eq!(from_text(bad).unwrap_err().kind, Kind::Corrupt, "{bad}");
        }
    }
}
