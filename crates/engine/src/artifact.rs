//! A trained model as bytes: a checksummed, versioned container of everything that scoring needs.
//!
//! ```text
//! "DAMSON" 0 format | length, header (card, preprocessing) | length, payload (the algorithm's) | SHA-256 of all before
//! ```
//! Lengths are 8 bytes, little endian. The payload of a network holds its tensors as safetensors.

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
    let mut rest = &body[8..];
    let mut part = || -> Result<&[u8]> {
        let (length, after) = rest.split_first_chunk::<8>().ok_or_else(|| damaged("a length is missing"))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let part = after.get(..length).ok_or_else(|| damaged("a part is cut off"))?;
        rest = &after[length..];
        Ok(part)
    };
    let (header, payload) = (part()?, part()?);
    if !rest.is_empty() {
        return Err(damaged("bytes are left over"));
    }
    let Header { card, mut prepared } = wire::decode(header)?;
    prepared.restore()?;
    if card.features() != prepared.inputs || (card.task == Task::Classification) != (card.classes.len() > 1) {
        return Err(damaged("its parts do not agree"));
    }
    Ok((card, prepared, payload))
}

fn damaged(why: &str) -> Error {
    Error::corrupt(format!("the stored model is damaged: {why}"))
        .hint("Restore the table damson_catalog.artifacts from a backup, or train the model again.")
}

/// The SHA-256 of bytes, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
