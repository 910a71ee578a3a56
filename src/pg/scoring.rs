//! The scoring functions as the server calls them: once a row, `(model text, [class text,] VARIADIC "any")`.
//! `src/api/score.rs` declares them in SQL. [`super::batching`] calls them for many rows at once.
//!
//! pgrx's own wrappers would unpack every argument for each row. These read the server's call structure in
//! place and keep all that does not change from row to row in the call site's `fn_extra`: the model, what it is bound
//! to, and room for one row. A model is resolved again when its reference, the current user or the catalog changes.
//!
//! NULL as the model (or the class, the row, the array, the document) gives NULL; a NULL feature is a missing value.

use super::bind::{self, Form, Scratch, Source};
use super::datum::{self, Float4Array, Jsonb, Text, TextArray, Value as _};
use super::error::{self, Error, Result};
use super::record::Shape;
use super::settings;
use super::shim::{Record, raw};
use crate::catalog::{self, Resolved};
use engine::Kind;
use engine::artifact::Card;
use engine::explain::Explanation;
use engine::schema::Task;
use engine::scorer::{Row, Scorer};
use pgrx::PgMemoryContexts;
use pgrx::pg_sys::{self, Datum, FunctionCallInfo, Oid};
use serde_json::json;
use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;

/// Models that one call site keeps at hand, for queries that name the model by a column.
const AT_HAND: usize = 64;

/// What a function makes of the scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verb {
    Predict,
    Classify,
    Probability,
    Probabilities,
    Explain,
    Embed,
    Layer,
    Lower,
    Upper,
    Set,
    Labels,
}

impl Verb {
    /// Arguments before the features.
    fn first(self) -> usize {
        if matches!(self, Verb::Probability | Verb::Layer) { 2 } else { 1 }
    }

    fn name(self) -> &'static str {
        match self {
            Verb::Predict => "predict",
            Verb::Classify => "classify",
            Verb::Probability => "probability",
            Verb::Probabilities => "probabilities",
            Verb::Explain => "explain",
            Verb::Embed => "embed",
            Verb::Layer => "embed_layer",
            Verb::Lower => "predict_lower",
            Verb::Upper => "predict_upper",
            Verb::Set => "prediction_set",
            Verb::Labels => "labels",
        }
    }

    /// Refuses a model that answers another question.
    fn check(self, model: &str, card: &Card) -> Result<()> {
        let (serves, instead) = match card.task {
            _ if self == Verb::Explain => (true, ""),
            Task::Classification if matches!(self, Verb::Lower | Verb::Upper) => (false, "prediction_set"),
            Task::Classification => (
                !matches!(self, Verb::Predict | Verb::Embed | Verb::Labels),
                "classify or damson.probability",
            ),
            Task::Multilabel => (
                matches!(self, Verb::Labels | Verb::Probability | Verb::Probabilities | Verb::Layer),
                "labels or damson.probability",
            ),
            Task::Regression if self == Verb::Set => (false, "predict_lower and damson.predict_upper"),
            Task::Regression if matches!(self, Verb::Lower | Verb::Upper) => (true, ""),
            Task::Embedding => (matches!(self, Verb::Embed | Verb::Layer), "embed"),
            _ => (self == Verb::Predict, "predict"),
        };
        if serves {
            return Ok(());
        }
        let (verb, task) = (self.name(), card.task.name());
        let message = format!("damson.{verb} does not serve model \"{model}\", which does {task}");
        Err(Error::new(Kind::Unsupported, message).hint(format!("Use damson.{instead}.")))
    }
}

/// What a call site keeps.
struct Site {
    user: Oid,
    moment: u64,
    types: Vec<Oid>,
    form: Form,
    models: Vec<Bound>,
    /// Where each is, by its reference.
    places: HashMap<Vec<u8>, usize>,
    /// Bytes of those that are no version of any model.
    held: u64,
    /// The model of the last row, in `models`.
    current: usize,
    shape: Shape,
    scratch: Scratch,
    /// Whether rows are collected to be scored in batches.
    batched: bool,
}

/// A model with what its inputs are bound to.
struct Bound {
    reference: Vec<u8>,
    /// The layer that answers, where one was asked for.
    layer: Vec<u8>,
    resolved: Rc<Resolved>,
    row: Row,
    sources: Vec<Source>,
    numbers: bool,
    /// The shape that it is bound to; 0 before the first row.
    version: u64,
    /// The class asked for last, and its number.
    class: (Vec<u8>, usize),
}

/// SAFETY: the structure of a call that has more than `i` arguments.
#[inline(always)]
unsafe fn argument(fcinfo: FunctionCallInfo, i: usize) -> (Datum, bool) {
    // SAFETY: the caller's promise.
    let argument = unsafe { &*(*fcinfo).args.as_ptr().add(i) };
    (argument.value, argument.isnull)
}

/// The bytes of a text argument, in UTF-8, as long as the current memory context.
///
/// SAFETY: the datum is a text. Not guarded.
#[inline(always)]
unsafe fn text<'a>(datum: Datum) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: the caller's promise.
    unsafe {
        let data = raw::damson_text(datum, &mut len);
        std::slice::from_raw_parts(data.cast(), len)
    }
}

/// Sets the call's row: the model, its row and the class asked for, or none for NULL. Frames from here down hold
/// nothing to drop while they call the server without a guard.
///
/// SAFETY: the structure of a call of a scoring function.
#[inline(always)]
pub(super) unsafe fn set<'a>(
    fcinfo: FunctionCallInfo,
    verb: Verb,
) -> Result<Option<(&'a Scorer, &'a mut Row, usize)>> {
    // SAFETY: `fn_extra` is ours, and the function's own call is the only one that uses it.
    unsafe {
        let first = verb.first();
        for i in 0..first {
            if argument(fcinfo, i).1 {
                return Ok(None);
            }
        }
        let mut site = (*(*fcinfo).flinfo).fn_extra.cast::<Site>();
        if site.is_null() {
            site = new_site(fcinfo, first, false);
        }
        let site = &mut *site;
        if site.form != Form::Scalars && argument(fcinfo, first).1 {
            return Ok(None);
        }
        let reference = text(argument(fcinfo, 0).0);
        let layer = if verb == Verb::Layer { text(argument(fcinfo, 1).0) } else { &[] };
        let fresh = site.user == raw::GetUserId() && site.moment == catalog::moment();
        let other = |m: &Bound| m.reference != reference || m.layer != layer;
        if !fresh || site.models.get(site.current).is_none_or(other) {
            site.resolve(verb, reference, layer)?;
        }
        let model = &mut site.models[site.current];
        let scorer: &Scorer = &model.resolved.scorer;
        let (row, scratch) = (&mut model.row, &mut site.scratch);
        match site.form {
            Form::Scalars if model.numbers => {
                bind::set_numbers(scorer, row, &model.sources, scratch, |at| argument(fcinfo, first + at))?
            }
            Form::Scalars => {
                bind::set_values(scorer, row, &model.sources, scratch, |at| argument(fcinfo, first + at))?
            }
            Form::Array(element) => {
                bind::set_array(scorer, row, element, argument(fcinfo, first).0, scratch)?
            }
            Form::Record => {
                let mut record = std::mem::zeroed::<Record>();
                raw::damson_record(argument(fcinfo, first).0, &mut record);
                if site.shape.version != record.version {
                    site.shape = Shape::of((*(*fcinfo).flinfo).fn_mcxt, &record);
                }
                let shape = &mut site.shape;
                if model.version != record.version {
                    model.sources = bind::by_name(scorer.card(), &shape.offers)?;
                    model.numbers = bind::all_numbers(&model.sources);
                    model.version = record.version;
                }
                let (values, nulls) = (shape.values.as_mut_ptr(), shape.nulls.as_mut_ptr());
                raw::damson_record_deform(record.tuple, shape.desc, values, nulls);
                let get = |at| (shape.values[at], shape.nulls[at]);
                if model.numbers {
                    bind::set_numbers(scorer, row, &model.sources, scratch, get)?;
                } else {
                    bind::set_values(scorer, row, &model.sources, scratch, get)?;
                }
            }
            Form::Document { text } => {
                let datum = argument(fcinfo, first).0;
                let document = if text { Text::read(datum).0 } else { Jsonb::read(datum).0 };
                bind::set_json(scorer, row, &document, scratch)?;
            }
        }
        let class = if verb == Verb::Probability {
            let label = text(argument(fcinfo, 1).0);
            if model.class.0 != label {
                model.class = (label.to_vec(), class_number(&model.resolved, label)?);
            }
            model.class.1
        } else {
            0
        };
        // The policy for groups that the model does not know may be NULL.
        if !scorer.answers(row)? {
            return Ok(None);
        }
        Ok(Some((scorer, row, class)))
    }
}

/// SAFETY: as for `set`.
#[cold]
unsafe fn new_site(fcinfo: FunctionCallInfo, first: usize, batched: bool) -> *mut Site {
    // SAFETY: the site lives in the context that `fn_extra` lives in, and is dropped with it.
    unsafe {
        let function = (*fcinfo).flinfo;
        let features = first..(*fcinfo).nargs as usize;
        let types: Vec<Oid> = features.map(|i| pg_sys::get_fn_expr_argtype(function, i as i32)).collect();
        let site = Site {
            user: pg_sys::InvalidOid,
            moment: 0,
            form: Form::of(&types),
            types,
            models: vec![],
            places: HashMap::new(),
            held: 0,
            current: 0,
            shape: Shape::NONE,
            scratch: Scratch::new(),
            batched,
        };
        let site = PgMemoryContexts::For((*function).fn_mcxt).leak_and_drop_on_delete(site);
        (*function).fn_extra = site.cast();
        site
    }
}

impl Site {
    fn forget(&mut self) {
        self.models.clear();
        self.places.clear();
        self.held = 0;
    }

    /// Makes the model of that reference the current one.
    #[cold]
    fn resolve(&mut self, verb: Verb, reference: &[u8], layer: &[u8]) -> Result<()> {
        // Taken before the catalog is read: what changes meanwhile must be seen as a change afterwards.
        let (user, moment) = (super::role::current_user(), catalog::moment());
        if self.user != user || self.moment != moment {
            self.forget();
            self.user = user;
            self.moment = moment;
        }
        // No byte of UTF-8 is 255.
        let key = [reference, &[255], layer].concat();
        if let Some(i) = self.places.get(&key) {
            self.current = *i;
            return Ok(());
        }
        let name = std::str::from_utf8(reference)
            .map_err(|_| Error::new(Kind::Parameter, "the model's name is not valid UTF-8"))?;
        let mut resolved = catalog::resolve(name)?;
        let by_layer = verb == Verb::Layer || verb == Verb::Embed && resolved.scorer.has_layers();
        if by_layer {
            let layer = (verb == Verb::Layer).then(|| String::from_utf8_lossy(layer));
            resolved = resolved.with(resolved.scorer.layer(layer.as_deref())?);
        }
        let card = resolved.scorer.card();
        verb.check(&resolved.model, card)?;
        let sources = if self.form == Form::Scalars {
            bind::by_position(&resolved.model, card, &self.types)?
        } else {
            vec![]
        };
        let numbers = bind::all_numbers(&sources);
        let row = if self.batched { resolved.scorer.row_to_keep() } else { resolved.scorer.row() };
        let class = (vec![], usize::MAX);
        // Named models are kept by the session's cache too, those given as text only here.
        let bytes = if resolved.version == 0 || by_layer { resolved.scorer.bytes() as u64 } else { 0 };
        let full = if bytes == 0 {
            self.models.len() >= AT_HAND
        } else {
            self.held + bytes > settings::cache_memory()
        };
        if full {
            self.forget();
        }
        self.held += bytes;
        self.current = self.models.len();
        self.places.insert(key, self.current);
        self.models.push(Bound {
            reference: reference.to_vec(),
            layer: layer.to_vec(),
            resolved,
            row,
            sources,
            numbers,
            version: 0,
            class,
        });
        Ok(())
    }
}

#[cold]
fn class_number(resolved: &Resolved, label: &[u8]) -> Result<usize> {
    let classes = &resolved.scorer.card().classes;
    classes.iter().position(|c| c.as_bytes() == label).ok_or_else(|| {
        let label = String::from_utf8_lossy(label);
        let shown: Vec<String> = classes.iter().take(40).map(|c| format!("'{c}'")).collect();
        let message = format!("model \"{}\" has no class \"{label}\"", resolved.model);
        Error::new(Kind::Parameter, message).hint(format!("It has: {}.", shown.join(", ")))
    })
}

/// `{"class": probability, ...}`.
fn probabilities(card: &Card, scores: &[f64]) -> Jsonb {
    let pairs = card.classes.iter().cloned().zip(scores.iter().map(|p| serde_json::Value::from(*p)));
    Jsonb(serde_json::Value::Object(pairs.collect()).to_string())
}

/// `{"class": ..., "base": ..., "score": ..., "contributions": {"column": part, ...}}`.
fn explanation(card: &Card, found: &Explanation) -> Jsonb {
    let parts =
        card.features().iter().map(|i| i.name.clone()).zip(found.contributions.iter().map(|p| json!(p)));
    let mut document = json!({
        "base": found.base, "score": found.score,
        "contributions": serde_json::Value::Object(parts.collect()),
    });
    if let Some(class) = found.class.and_then(|c| card.classes.get(c)) {
        document["class"] = json!(class);
    }
    Jsonb(document.to_string())
}

fn interval(scorer: &Scorer, scores: &[f64]) -> Result<(f64, f64)> {
    scorer.interval(scores[0]).ok_or_else(not_conformal)
}

/// `{label, ...}`.
fn prediction_set(scorer: &Scorer, scores: &[f64]) -> Result<Datum> {
    let within = scorer.set_of(scores).ok_or_else(not_conformal)?;
    Ok(TextArray(within.map(|class| Some(scorer.card().classes[class].clone())).collect()).write())
}

#[cold]
fn not_conformal() -> Error {
    Error::new(Kind::Unsupported, "the model was trained without conformal prediction")
        .hint("Train it with the coverage that you want: damson.train(..., conformal => 0.9).")
}

/// `{label, ...}`.
fn labels(scorer: &Scorer, scores: &[f64]) -> Datum {
    TextArray(scorer.labels(scores).map(|label| Some(scorer.card().classes[label].clone())).collect()).write()
}

/// SAFETY: the structure of a call of a scoring function.
#[inline(always)]
unsafe fn answer(
    fcinfo: FunctionCallInfo,
    verb: Verb,
    make: impl FnOnce(&Scorer, &mut Row, usize) -> Result<Datum>,
) -> Datum {
    // SAFETY: the caller's promise.
    let made = match unsafe { set(fcinfo, verb) } {
        Ok(Some((scorer, row, class))) => make(scorer, row, class),
        Ok(None) => {
            // SAFETY: the caller's promise.
            unsafe { (*fcinfo).isnull = true };
            return Datum::null();
        }
        Err(e) => Err(e),
    };
    match made {
        Ok(datum) => datum,
        Err(e) => error::raise(e),
    }
}

/// What a function answers of a row's scores; `class` is the number of the class asked for.
#[inline(always)]
pub(super) fn make(verb: Verb, scorer: &Scorer, scores: &[f64], class: usize) -> Result<Datum> {
    Ok(match verb {
        Verb::Predict => float8(scores[0]),
        Verb::Classify => datum::text(&scorer.card().classes[scorer.decide(scores)]),
        Verb::Probability => float8(scores[class]),
        Verb::Probabilities => probabilities(scorer.card(), scores).write(),
        Verb::Lower => float8(interval(scorer, scores)?.0),
        Verb::Upper => float8(interval(scorer, scores)?.1),
        Verb::Set => prediction_set(scorer, scores)?,
        Verb::Labels => labels(scorer, scores),
        Verb::Embed | Verb::Layer => Float4Array(scores.iter().map(|v| *v as f32).collect()).write(),
        Verb::Explain => return Err(Error::internal("an explanation is not made of scores")),
    })
}

/// What a C function does, where that is made of scores.
pub(super) fn verb_of(address: *const c_void) -> Option<Verb> {
    let found = SERVED.iter().find(|(function, _)| *function as *const c_void == address);
    found.map(|(_, verb)| *verb).filter(|verb| *verb != Verb::Explain)
}

/// Makes a call ready to collect rows, by [`set`]; gives what it does with their scores.
///
/// # Safety
/// The structure of a call of a function that `verb_of` knows, before its first row.
#[cold]
pub(super) unsafe fn begin(fcinfo: FunctionCallInfo) -> Verb {
    // SAFETY: the caller's promise.
    unsafe {
        let address = (*(*fcinfo).flinfo).fn_addr.map_or(std::ptr::null(), |f| f as *const c_void);
        let verb = verb_of(address).unwrap_or(Verb::Predict);
        new_site(fcinfo, verb.first(), true);
        verb
    }
}

/// The model of the row that was set last.
///
/// # Safety
/// The structure of a call whose row was set.
#[cold]
pub(super) unsafe fn current(fcinfo: FunctionCallInfo) -> Rc<Resolved> {
    // SAFETY: `set` has made the site.
    unsafe {
        let site = &*(*(*fcinfo).flinfo).fn_extra.cast::<Site>();
        site.models[site.current].resolved.clone()
    }
}

fn float8(x: f64) -> Datum {
    Datum::from(x.to_bits())
}

/// A function that the server calls.
type Called = unsafe extern "C-unwind" fn(FunctionCallInfo) -> Datum;

macro_rules! scoring_function {
    ($(#[$doc:meta] $name:ident, $info:ident, $verb:expr, $make:expr;)*) => {
        /// The functions.
        const SERVED: [(Called, Verb); [$($verb),*].len()] = [$(($name, $verb)),*];
        $(
        /// Tells the server how the function is called.
        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pg_sys::Pg_finfo_record {
            static V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }

        #[$doc]
        ///
        /// # Safety
        /// The server calls it, as `src/api/score.rs` declares it.
        #[pgrx::pg_guard]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(fcinfo: FunctionCallInfo) -> Datum {
            // SAFETY: the server's call.
            unsafe { answer(fcinfo, $verb, $make) }
        }
        )*
    };
}

/// What a row's scores are made of and by.
macro_rules! scored {
    ($verb:expr) => {
        |scorer, row, class| make($verb, scorer, scorer.score(row)?, class)
    };
}

scoring_function! {
    /// `damson.predict`.
    damson_predict, pg_finfo_damson_predict, Verb::Predict, scored!(Verb::Predict);
    /// `damson.classify`.
    damson_classify, pg_finfo_damson_classify, Verb::Classify, scored!(Verb::Classify);
    /// `damson.probability`.
    damson_probability, pg_finfo_damson_probability, Verb::Probability, scored!(Verb::Probability);
    /// `damson.probabilities`.
    damson_probabilities, pg_finfo_damson_probabilities, Verb::Probabilities, scored!(Verb::Probabilities);
    /// `damson.predict_lower`.
    damson_predict_lower, pg_finfo_damson_predict_lower, Verb::Lower, scored!(Verb::Lower);
    /// `damson.predict_upper`.
    damson_predict_upper, pg_finfo_damson_predict_upper, Verb::Upper, scored!(Verb::Upper);
    /// `damson.prediction_set`.
    damson_prediction_set, pg_finfo_damson_prediction_set, Verb::Set, scored!(Verb::Set);
    /// `damson.labels`.
    damson_labels, pg_finfo_damson_labels, Verb::Labels, scored!(Verb::Labels);
    /// `damson.explain`.
    damson_explain, pg_finfo_damson_explain, Verb::Explain,
        |scorer, row, _| Ok(explanation(scorer.card(), &scorer.explain(row)?).write());
    /// `damson.embed`.
    damson_embed, pg_finfo_damson_embed, Verb::Embed, scored!(Verb::Embed);
    /// `damson.embed_layer`.
    damson_embed_layer, pg_finfo_damson_embed_layer, Verb::Layer, scored!(Verb::Layer);
}
