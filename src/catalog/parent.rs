//! The version that a training goes on from: its bytes, for whoever may have them.

use super::reference::Reference;
use super::resolve::{Right, locate, of_text};
use crate::pg::error::Result;
use engine::artifact::{TEXT_PREFIX, from_text, unpack};

/// A version to go on from.
pub struct Parent {
    /// What it is called: `name@7`, or that it was given as text.
    pub name: String,
    /// Its row; none for a model given as text.
    pub id: Option<i64>,
    /// The model's bytes.
    pub artifact: Vec<u8>,
}

/// The version that `name`, `name@alias` or `name@7` means, or the model that a text of `damson.fit` is. What goes on
/// from a model has its trees within, so a grant to score with it is not enough.
///
/// # Errors
/// 42704 for a model, alias or version that is not there; 42501 for a model of another owner; 22023 for an impossible
/// reference; XX001 when the stored artifact is damaged.
pub fn find(reference: &str) -> Result<Parent> {
    if reference.starts_with(TEXT_PREFIX) {
        let artifact = from_text(reference).map_err(of_text)?;
        unpack(&artifact).map_err(of_text)?;
        return Ok(Parent { name: "a model given as text".into(), id: None, artifact });
    }
    let parsed = Reference::parse(reference)?;
    let found = locate(parsed, Right::Own)?;
    let name = format!("{}@{}", parsed.model, found.version);
    Ok(Parent { name, id: Some(found.id), artifact: found.artifact()? })
}
