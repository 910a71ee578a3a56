//! Checkpoints: what is kept of a training after a round, so that it can go on where it was broken off, to the very
//! model that the unbroken training gives.
//!
//! ```text
//! "DAMSONCP" | length, header (subject, rows, rounds) | length, state of the algorithm | SHA-256 of all before
//! ```
//! Lengths are 8 bytes, little endian. Callers: [`crate::train`], which hands checkpoints to its observer
//! ([`Observer::keep`](crate::learner::Observer::keep)) and asks it for one to go on from
//! ([`Observer::broken_off`](crate::learner::Observer::broken_off)); servers, which keep them.

use crate::algorithms;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Digest;
use crate::params::Values;
use crate::prepare::options::OPTIONS;
use crate::train::{Request, RoundMetric};
use crate::wire;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};

const MAGIC: &[u8; 8] = b"DAMSONCP";
const HASH: usize = 32;
/// Bytes written at once, between two looks at whether to stop.
const PIECE: usize = 1 << 20;
/// No header is longer.
const MAX_HEADER: u64 = 1 << 26;

/// What a training is of: all that its result depends on, but for the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The model's name.
    pub model: String,
    /// The algorithm's name.
    pub algorithm: String,
    /// Where the rows come from.
    pub source: String,
    /// All parameters as JSON, defaults filled in.
    pub params: String,
    /// The rest of the request, as JSON.
    pub request: String,
    /// The SHA-256 of the model that it goes on from.
    pub init_model: Option<String>,
    /// The versions of this engine and of the algorithm.
    pub code: String,
}

/// How far a training had come.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Its rows.
    pub rows: Digest,
    /// The metrics of its rounds.
    pub rounds: Vec<RoundMetric>,
    /// What [`Algorithm::fit_again`](crate::learner::Algorithm::fit_again) goes on from.
    pub state: Vec<u8>,
}

impl Checkpoint {
    /// The last round that has metrics, from 1; 0 for none. Of a network it is the epoch.
    pub fn round(&self) -> usize {
        self.rounds.iter().map(|m| m.round).max().unwrap_or(0)
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    subject: Subject,
    rows: (u128, u64),
    rounds: Vec<RoundMetric>,
}

/// What [`peek`] tells of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Of what training.
    pub subject: Subject,
    /// As [`Checkpoint::round`].
    pub round: usize,
}

/// Refuses a request of whose training no checkpoints are kept.
///
/// # Errors
/// `Kind::Unsupported`.
pub fn check(request: &Request) -> Result<()> {
    let searched = request.algorithm == crate::search::auto::NAME;
    if searched || algorithms::find(&request.algorithm)?.adjustable().is_none() {
        let message = format!("algorithm \"{}\" keeps no checkpoints to go on from", request.algorithm);
        return Err(Error::new(Kind::Unsupported, message).hint("Leave resume out, or use algorithm cnn."));
    }
    if !request.group_by.is_empty() {
        let message = "models by group keep no checkpoints to go on from";
        return Err(
            Error::new(Kind::Unsupported, message).hint("Leave resume out, or train without group_by.")
        );
    }
    Ok(())
}

impl Subject {
    /// Of the training of a model by this request, on rows from `source`.
    ///
    /// # Errors
    /// Those of [`check`], and of parameters that are none.
    pub fn of(model: &str, source: &str, request: &Request) -> Result<Subject> {
        check(request)?;
        let info = algorithms::find(&request.algorithm)?.info();
        let params = Values::parse(info.name, info.params, &request.params)?.to_json().to_string();
        let mut rest = request.clone();
        rest.params = String::new();
        rest.preprocess = Values::parse("preprocess", OPTIONS, &request.preprocess)?.to_json().to_string();
        let rest = serde_json::to_string(&rest)
            .map_err(|e| Error::internal(format!("a request could not be written: {e}")))?;
        let model_of = |m: &crate::init_model::InitModel| crate::artifact::sha256(&m.payload);
        Ok(Subject {
            model: model.into(),
            algorithm: info.name.into(),
            source: source.into(),
            params,
            request: rest,
            init_model: request.init_model.as_deref().map(model_of),
            code: format!("{} {}", env!("CARGO_PKG_VERSION"), info.version),
        })
    }

    /// 32 hex digits that tell this training from others; the same whatever the parameters are that may be adjusted
    /// when it goes on.
    ///
    /// # Errors
    /// `Kind::UnknownAlgorithm`.
    pub fn key(&self) -> Result<String> {
        let mut plain = self.clone();
        plain.params = self.fixed()?.to_string();
        let mut hash = crate::artifact::sha256(&wire::encode(&plain)?);
        hash.truncate(32);
        Ok(hash)
    }

    /// The parameters that may not be adjusted.
    fn fixed(&self) -> Result<Value> {
        let adjustable = algorithms::find(&self.algorithm)?.adjustable().unwrap_or_default();
        let mut params = parsed(&self.params);
        if let Value::Object(params) = &mut params {
            params.retain(|name, _| !adjustable.contains(&name.as_str()));
        }
        Ok(params)
    }

    /// The parameters that another training, of the same key, had otherwise: name and value of each.
    pub fn adjusted(&self, other: &Subject) -> Vec<(String, Value)> {
        let (ours, theirs) = (parsed(&self.params), parsed(&other.params));
        let theirs = theirs.as_object().cloned().unwrap_or_default();
        theirs.into_iter().filter(|(name, value)| ours.get(name) != Some(value)).collect()
    }

    /// The first thing in which another training differs, in words.
    pub fn difference(&self, other: &Subject) -> &'static str {
        match () {
            () if self.code != other.code => "of another version of Damson",
            () if self.source != other.source => "of another source",
            () if parsed(&self.params) != parsed(&other.params) => "with other params",
            () if self.init_model != other.init_model => "from another init_model",
            () => "with other arguments",
        }
    }
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or(Value::Null)
}

/// Writes, and hashes what it writes.
struct Hashing<'a> {
    to: &'a mut dyn Write,
    hash: Sha256,
}

impl Hashing<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE) {
            self.hash.update(piece);
            self.to.write_all(piece)?;
        }
        Ok(())
    }

    fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(&(bytes.len() as u64).to_le_bytes())?;
        self.put(bytes)
    }
}

/// Writes a checkpoint in pieces of a mebibyte.
///
/// # Errors
/// Those of `to`.
pub fn write(to: &mut dyn Write, subject: &Subject, checkpoint: &Checkpoint) -> io::Result<()> {
    let Digest { rows, order } = checkpoint.rows;
    let header = Header { subject: subject.clone(), rows: (rows, order), rounds: checkpoint.rounds.clone() };
    let header = wire::encode(&header).map_err(|e| io::Error::other(e.message))?;
    let mut to = Hashing { to, hash: Sha256::new() };
    to.put(MAGIC)?;
    to.part(&header)?;
    to.part(&checkpoint.state)?;
    let Hashing { to, hash } = to;
    to.write_all(&hash.finalize())
}

/// Reads a checkpoint, and of what training it is.
///
/// # Errors
/// `Kind::Corrupt` for anything that [`write()`] did not write.
pub fn read(bytes: &[u8]) -> Result<(Subject, Checkpoint)> {
    let body = bytes.len().checked_sub(HASH).ok_or_else(|| damaged("it is too short"))?;
    let (body, hash) = bytes.split_at(body);
    if Sha256::digest(body).as_slice() != hash {
        return Err(damaged("its checksum does not match"));
    }
    let parts = body.strip_prefix(MAGIC).ok_or_else(|| damaged("it does not begin as one"))?;
    let (header, state) = wire::two_parts(parts, damaged)?;
    let Header { subject, rows: (rows, order), rounds } = wire::decode(header)?;
    Ok((subject, Checkpoint { rows: Digest { rows, order }, rounds, state: state.to_vec() }))
}

/// Reads the beginning of a checkpoint: of what training it is, and how far that had come. Whether the rest is whole is
/// not looked at.
///
/// # Errors
/// `Kind::Corrupt` for what does not begin as one.
pub fn peek(from: &mut dyn Read) -> Result<Seen> {
    let mut begin = [0; 16];
    let short = |_| damaged("it is too short");
    from.read_exact(&mut begin).map_err(short)?;
    let [length, ..] = begin.as_chunks::<8>().0[1..] else { return Err(damaged("it is too short")) };
    let length = u64::from_le_bytes(length);
    if !begin.starts_with(MAGIC) || length > MAX_HEADER {
        return Err(damaged("it does not begin as one"));
    }
    let mut header = vec![0; length as usize];
    from.read_exact(&mut header).map_err(short)?;
    let Header { subject, rounds, .. } = wire::decode(&header)?;
    let round = rounds.iter().map(|m| m.round).max().unwrap_or(0);
    Ok(Seen { subject, round })
}

fn damaged(why: &str) -> Error {
    Error::corrupt(format!("the checkpoint is damaged: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(params: &str, source: &str) -> Subject {
        let request = Request { algorithm: "cnn".into(), params: params.into(), ..Request::default() };
        Subject::of("m", source, &request).unwrap()
    }

    #[test]
    fn comes_back_as_it_was_and_refuses_every_flipped_byte() {
        let rounds = vec![RoundMetric { round: 3, name: "train_loss".into(), value: 0.5 }];
        let rows = Digest { rows: 1 << 100, order: 7 };
        let checkpoint = Checkpoint { rows, rounds, state: (0..200).collect() };
        let (mut bytes, subject) = (vec![], subject("{}", "t"));
        write(&mut bytes, &subject, &checkpoint).unwrap();
        assert_eq!(read(&bytes).unwrap(), (subject.clone(), checkpoint));
        assert_eq!(peek(&mut &bytes[..]).unwrap(), Seen { subject, round: 3 });
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 1;
            assert_eq!(read(&damaged).unwrap_err().kind, Kind::Corrupt, "{i}");
            assert_eq!(read(&bytes[..i]).unwrap_err().kind, Kind::Corrupt, "{i}");
            // What cannot be known without the checksum: no panic, and no memory for what a length claims.
            drop((peek(&mut &damaged[..]), peek(&mut &bytes[..i])));
        }
    }

    #[test]
    fn a_key_is_of_all_but_what_may_be_adjusted() {
        let (plain, spelt) = (subject("{}", "t"), subject(r#"{"epochs": 10}"#, "t"));
        assert_eq!(plain.key().unwrap(), spelt.key().unwrap());
        let slower = subject(r#"{"learning_rate": 0.001}"#, "t");
        assert_eq!(plain.key().unwrap(), slower.key().unwrap());
        assert_eq!(plain.adjusted(&slower), [("learning_rate".to_string(), 0.001.into())]);
        assert_eq!(plain.adjusted(&spelt), []);
        for (other, difference) in [
            (subject(r#"{"epochs": 11}"#, "t"), "with other params"),
            (subject("{}", "u"), "of another source"),
        ] {
            assert_ne!(plain.key().unwrap(), other.key().unwrap());
            assert_eq!(plain.difference(&other), difference);
        }
    }

    #[test]
    fn refuses_what_keeps_none() {
        assert_eq!(check(&Request::default()).unwrap_err().kind, Kind::Unsupported);
        let groups = Request { algorithm: "cnn".into(), group_by: vec!["g".into()], ..Request::default() };
        assert_eq!(check(&groups).unwrap_err().kind, Kind::Unsupported);
    }
}
