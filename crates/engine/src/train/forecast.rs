//! What a training takes in memory, part by part, before it starts; and whether its images have room in it.

use super::setting::{Recipe, Setting, check_memory};
use super::{Request, check};
use crate::error::Result;
use crate::frame::{Data, Frame, Selection};
use crate::learner::{Cx, Silent};
use crate::pictures::Pictures;
use crate::schema::Schema;
use crate::survey::Survey;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The part of decoded images in memory.
const IMAGES: &str = "the images";

/// Bytes by what they are for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forecast(pub(crate) Vec<(&'static str, u64)>);

impl Forecast {
    /// Of a fit to the rows of a setting that a schema tells of.
    pub(crate) fn of(setting: &Setting, recipe: &Recipe, schema: &Schema) -> Result<Forecast> {
        let first = setting.columns.first().map(|c| &setting.frame.columns[*c].data);
        let images = match first {
            Some(Data::Images(pictures)) => pictures.held().len() as u64,
            _ => 0,
        };
        let mut parts = vec![("the rows", setting.bytes() - images), (IMAGES, images)];
        // Images that are still encoded are decoded into a copy of the learner's own.
        if let (Some(shape), Some(Data::Bytes { .. })) = (schema.image, first) {
            parts.push(("a copy of the images", (schema.rows * shape.bytes()) as u64));
        }
        parts.extend(recipe.algorithm.memory_parts(&recipe.params, schema, setting.request.threads)?);
        Ok(Forecast(parts))
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().map(|p| p.1).sum()
    }

    /// Refuses a training that would take more memory than it may.
    ///
    /// # Errors
    /// `Kind::Memory`, with the parts and the setting that would do.
    pub(crate) fn check(&self, allowed: u64) -> Result<()> {
        let part = |(what, bytes): &(&str, u64)| format!("{what} {} MiB", bytes.div_ceil(1 << 20));
        let large: Vec<_> = self.0.iter().filter(|p| p.1 > 0).map(part).collect();
        check_memory(self.bytes(), allowed).map_err(|e| e.detail(format!("Of it {}.", large.join(", "))))
    }
}

/// A frame's images that are to leave memory, so that what else a training takes has room there.
///
/// # Errors
/// `Kind::Memory` where it has none then either. All else that is wrong is said by the training.
pub fn overflow<'a>(frame: &'a mut Frame, request: &Request) -> Result<Option<&'a mut Pictures>> {
    let held = |data: &Data| matches!(data, Data::Images(pictures) if !pictures.held().is_empty());
    let Some(place) = frame.columns.iter().position(|c| held(&c.data)) else { return Ok(None) };
    let Ok(forecast) = whole(frame, request) else { return Ok(None) };
    if forecast.bytes() <= request.max_memory {
        return Ok(None);
    }
    // Groups are counted one by one when they are known.
    if request.group_by.is_empty() {
        let beside = forecast.0.into_iter().filter(|part| part.0 != IMAGES);
        Forecast(beside.collect()).check(request.max_memory)?;
    }
    match &mut frame.columns[place].data {
        Data::Images(pictures) => Ok(Arc::get_mut(pictures)),
        _ => Ok(None),
    }
}

/// What fitting to the training rows takes; of models by group, as if each thread had one of all rows.
fn whole(frame: &Frame, request: &Request) -> Result<Forecast> {
    check(request)?;
    let recipe = Recipe::parse(&request.algorithm, &request.params, &request.preprocess)?;
    let survey = Survey::default();
    let setting = Setting::read(frame, request, recipe.algorithm, &survey)?;
    let parts = setting.held_out()?;
    let rows = parts.as_ref().map_or(Selection::All(frame.rows), |parts| (&parts.train).into());
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: request.seed, stop: &stop, observer: &Silent };
    let mut forecast = Forecast::of(&setting, &recipe, &setting.schema(&recipe, rows, &cx)?)?;
    if !request.group_by.is_empty() {
        let threads = request.threads as u64;
        forecast.0.iter_mut().skip(2).for_each(|part| part.1 *= threads);
    }
    Ok(forecast)
}
