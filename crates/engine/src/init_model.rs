//! A model that a training goes on from (LightGBM's `init_model`): its trees come first, and new ones are grown on what
//! they leave; a network begins with its weights.
//!
//! The new rows are read as the model reads rows: by its features, its preprocessing and its classes. So all of its
//! trees or weights mean on them what they meant before.

use crate::algorithms;
use crate::artifact::{self, Card};
use crate::error::{Error, Kind, Result};
use crate::frame::Column;
use crate::params::Values;
use crate::prepare::options::OPTIONS;
use crate::prepare::{InputColumn, Prepared, encode};
use crate::target::{self, Target, Truth};
use crate::train::Request;
use std::sync::Arc;

/// A model to go on from.
#[derive(Debug, Clone)]
pub struct InitModel {
    /// What messages call it, such as `churn@7`.
    pub name: String,
    pub(crate) card: Card,
    pub(crate) prepared: Prepared,
    pub(crate) payload: Vec<u8>,
}

impl InitModel {
    /// Reads a stored model.
    ///
    /// # Errors
    /// `Kind::Corrupt` for bytes that are none; `Kind::Unsupported` for one whose algorithm cannot go on.
    pub fn open(name: &str, artifact: &[u8]) -> Result<InitModel> {
        let (card, prepared, payload) = artifact::unpack(artifact)?;
        if card.group_by > 0 {
            let message =
                format!("init_model \"{name}\" is one of models by group, which cannot be gone on from");
            return Err(Error::new(Kind::Unsupported, message).hint("Train without init_model."));
        }
        let algorithm = algorithms::find(&card.algorithm)?;
        if !algorithm.resumes() {
            let message = format!(
                "init_model \"{name}\" is of algorithm \"{}\", which cannot go on from a model",
                card.algorithm
            );
            return Err(Error::new(Kind::Unsupported, message)
                .hint("Models of boosting and cnn can be gone on from."));
        }
        if algorithm.info().version != card.algorithm_version {
            let (found, expected) = (card.algorithm_version, algorithm.info().version);
            let message =
                format!("init_model \"{name}\" has version {found} of its format, expected {expected}");
            return Err(
                Error::new(Kind::Unsupported, message).hint("Train it again with this version of damson.")
            );
        }
        Ok(InitModel { name: name.into(), card, prepared, payload: payload.to_vec() })
    }

    /// Refuses a request that does not fit the model.
    ///
    /// # Errors
    /// `Kind::Parameter` or `Kind::Unsupported`, with what was found and what was expected.
    pub(crate) fn check(&self, request: &Request) -> Result<()> {
        let (card, name) = (&self.card, &self.name);
        if request.algorithm != card.algorithm {
            let (found, expected) = (&request.algorithm, &card.algorithm);
            let message =
                format!("the algorithm is \"{found}\", and that of init_model \"{name}\" is \"{expected}\"");
            return Err(refused(message).hint(format!("Train with algorithm => '{expected}'.")));
        }
        if !request.group_by.is_empty() {
            return Err(Error::new(Kind::Unsupported, "models by group cannot go on from a model")
                .hint("Leave init_model out, or train without group_by."));
        }
        if let Some(task) = request.task.filter(|task| *task != card.task) {
            let (found, expected) = (task.name(), card.task.name());
            return Err(refused(format!("task is {found}, and that of init_model \"{name}\" is {expected}"))
                .hint("Leave task out: it is that of the model."));
        }
        if request.target.is_none() && card.target.is_some() {
            return Err(refused(format!("init_model \"{name}\" has a target, and no target is named"))
                .hint("Name the column to predict: target => 'column'."));
        }
        let expected: Vec<&str> = card.features().iter().map(|i| i.name.as_str()).collect();
        if let Some(found) = request.features.as_ref().filter(|found| **found != expected) {
            let message = format!(
                "features are {}, and those of init_model \"{name}\" are {}",
                found.join(", "),
                expected.join(", ")
            );
            return Err(refused(message).hint("Leave features out: they are those of the model."));
        }
        let asked = Values::parse("preprocess", OPTIONS, &request.preprocess)?.to_json();
        let plain = Values::parse("preprocess", OPTIONS, "{}")?.to_json();
        let known = Values::parse("preprocess", OPTIONS, &card.preprocess)?.to_json();
        if asked != plain && asked != known {
            let message = format!("preprocess differs from that of init_model \"{name}\", which is {known}");
            return Err(refused(message).hint("Leave preprocess out: it is that of the model."));
        }
        Ok(())
    }

    /// Reads a target as the model knows it.
    ///
    /// # Errors
    /// Those of [`target::apply`], such as for a class that the model does not know.
    pub(crate) fn target(&self, column: &Column) -> Result<Target> {
        let Card { task, classes, .. } = &self.card;
        let Truth { y, sets } = target::apply(column, *task, classes)?;
        Ok(Target { task: *task, classes: classes.clone(), y, sets })
    }

    /// Refuses columns of other kinds than the model's.
    ///
    /// # Errors
    /// `Kind::Type`.
    pub(crate) fn check_inputs(&self, found: &[InputColumn]) -> Result<()> {
        match found.iter().zip(&self.prepared.inputs).find(|(a, b)| !a.kind.serves_as(b.kind)) {
            None => Ok(()),
            Some((found, expected)) => {
                let [is, wanted] = [found.kind, expected.kind].map(encode::kind_name);
                let message = format!("column \"{}\" is {is}, expected {wanted}", found.name);
                Err(Error::new(Kind::Type, message)
                    .hint("Cast it to the type that the model was trained on."))
            }
        }
    }
}

impl Request {
    /// Has the training go on from a model; features are the model's where the request names none.
    ///
    /// # Errors
    /// Those of a request that does not fit the model.
    pub fn go_on_from(&mut self, model: InitModel) -> Result<()> {
        model.check(self)?;
        if self.features.is_none() {
            self.features = Some(model.card.features().iter().map(|i| i.name.clone()).collect());
        }
        self.preprocess = model.card.preprocess.clone();
        self.task = Some(model.card.task);
        self.init_model = Some(Arc::new(model));
        Ok(())
    }
}

fn refused(message: String) -> Error {
    Error::new(Kind::Parameter, message)
}
