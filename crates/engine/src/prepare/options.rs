//! What the user may say about preprocessing, and what each column then gets.

use crate::error::{Error, Kind, Result};
use crate::learner::Input;
use crate::params::{Param, Values};
use serde_json::Value as Json;

/// Parts of a date or timestamp that can become features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The year.
    Year,
    /// The month, 1 to 12.
    Month,
    /// The day of the month, 1 to 31.
    Day,
    /// The day of the week, 1 (Monday) to 7.
    Weekday,
    /// The hour, 0 to 23.
    Hour,
    /// The minute, 0 to 59.
    Minute,
    /// Days since 2000-01-01, with the time of day as a fraction: the trend.
    Days,
}

impl Part {
    /// Its name in options and feature names.
    pub fn name(self) -> &'static str {
        match self {
            Part::Year => "year",
            Part::Month => "month",
            Part::Day => "day",
            Part::Weekday => "weekday",
            Part::Hour => "hour",
            Part::Minute => "minute",
            Part::Days => "days",
        }
    }

    /// The part of a time in microseconds since 2000-01-01.
    pub fn of(self, micros: i64) -> f64 {
        const DAY: i64 = 86_400_000_000;
        let (days, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
        match self {
            Part::Days => days as f64 + rest as f64 / DAY as f64,
            Part::Hour => (rest / 3_600_000_000) as f64,
            Part::Minute => (rest / 60_000_000 % 60) as f64,
            // 2000-01-01 was a Saturday.
            Part::Weekday => ((days + 5).rem_euclid(7) + 1) as f64,
            Part::Year | Part::Month | Part::Day => {
                let (y, m, d) = civil(days);
                match self {
                    Part::Year => y as f64,
                    Part::Month => m as f64,
                    _ => d as f64,
                }
            }
        }
    }
}

/// Year, month and day of a day counted from 2000-01-01, proleptic Gregorian (Hinnant, "chrono-compatible
/// low-level date algorithms").
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 730_425; // days from 0000-03-01
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

const MISSING: &[&str] = &["auto", "mean", "zero", "native", "error"];
const SCALE: &[&str] = &["auto", "standard", "none"];
const CATEGORIES: &[&str] = &["auto", "onehot", "dummy", "ordinal", "target", "native"];
const UNSEEN: &[&str] = &["other", "error"];

/// The options of preprocessing, as `damson.parameters('preprocess')` shows them.
pub const OPTIONS: &[Param] = &[
    Param::choice(
        "missing",
        "auto",
        MISSING,
        "What a missing number becomes: the training mean, zero, itself (for algorithms that know missing values), or an error.",
    ),
    Param::bool("missing_indicator", false, "Whether each column with missing values gets a 0/1 feature that says so."),
    Param::choice("scale", "auto", SCALE, "Whether numbers are centred and divided by their standard deviation."),
    Param::choice(
        "categories",
        "auto",
        CATEGORIES,
        "How text becomes numbers: one 0/1 feature a value, the same without the most frequent value, its rank by frequency, the target's smoothed mean for it, or left to the algorithm.",
    ),
    Param::int(
        "max_categories",
        64,
        1,
        65_534,
        "The most frequent values of a column that are kept; the rest are rare. 64, or 254 where the algorithm takes categories itself.",
    )
    .optional(),
    Param::int("min_frequency", 1, 1, i64::MAX, "Values seen in fewer training rows are rare: they share one category."),
    Param::choice(
        "unseen",
        "other",
        UNSEEN,
        "What a value becomes that training never saw: the rare category (or none, where nothing was rare), or an error.",
    ),
    Param::json(
        "dates",
        r#"["year", "month", "day", "weekday", "hour"]"#,
        "The parts of a date or timestamp that become features: year, month, day, weekday, hour, minute, days.",
    ),
    Param::json("image", "null", "The shape of raw images, [height, width, channels]; PNG and JPEG tell theirs."),
    Param::choice("image_layout", "hwc", &["hwc", "chw"], "The order of a raw image's bytes: channels last or first."),
    Param::json("columns", "{}", "Options for single columns: {\"zip\": {\"categories\": \"target\"}}."),
];

/// The options that `columns` may give for a single column.
const PER_COLUMN: &[&str] = &[
    "missing",
    "missing_indicator",
    "scale",
    "categories",
    "max_categories",
    "min_frequency",
    "unseen",
    "dates",
];

/// What a missing number becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingPolicy {
    /// The mean of training.
    Mean,
    /// Zero.
    Zero,
    /// It stays missing.
    Native,
    /// An error.
    Error,
}

/// What text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CategoryPolicy {
    /// One 0/1 feature a value.
    OneHot,
    /// One 0/1 feature a value but the most frequent, which is the base: for unpenalised linear models.
    Dummy,
    /// Its rank by frequency.
    Ordinal,
    /// The target's smoothed mean for it.
    Target,
    /// A category code.
    Native,
}

/// How one column is to be encoded, with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What a missing number becomes.
    pub missing: MissingPolicy,
    /// Whether missing values get a feature of their own.
    pub indicator: bool,
    /// Whether numbers are standardised.
    pub scale: bool,
    /// What text becomes.
    pub categories: CategoryPolicy,
    /// Values of text that are kept.
    pub max_categories: usize,
    /// Rows below which a value is rare.
    pub min_frequency: u64,
    /// Whether unseen text is an error.
    pub unseen_is_error: bool,
    /// Parts of a date.
    pub dates: Vec<Part>,
}

impl Plan {
    /// Whether numbers must be summed up before they can be encoded.
    pub(crate) fn needs_numbers(&self) -> bool {
        self.scale || self.indicator || self.missing == MissingPolicy::Mean
    }
}

/// Checked options: the JSON with defaults filled in, and per-column plans on demand.
#[derive(Debug, Clone)]
pub struct Options {
    /// The checked values.
    pub values: Values,
    input: Input,
}

impl Options {
    /// Checks the JSON of `preprocess` for an algorithm that takes `input`.
    ///
    /// # Errors
    /// `Kind::Parameter` for what `Values::parse` refuses, and for options that the input cannot take.
    pub fn parse(json: &str, input: Input) -> Result<Options> {
        let options = Options { values: Values::parse("preprocess", OPTIONS, json)?, input };
        options.plan("")?;
        options.shape()?;
        let Json::Object(columns) = options.values.json("columns")? else {
            return Err(bad(
                "option \"columns\" of preprocess must be an object of column names and their options",
            ));
        };
        for column in columns.keys() {
            options.plan(column)?;
        }
        Ok(options)
    }

    /// Names in `columns`, to check against the source.
    pub fn named_columns(&self) -> Vec<String> {
        match self.values.json("columns") {
            Ok(Json::Object(columns)) => columns.keys().cloned().collect(),
            _ => vec![],
        }
    }

    /// The declared shape of raw images.
    pub fn shape(&self) -> Result<Option<crate::schema::ImageShape>> {
        let found = self.values.json("image")?;
        if found.is_null() {
            return Ok(None);
        }
        let sizes: Option<Vec<usize>> = found.as_array().map(|a| {
            a.iter()
                .filter_map(|v| v.as_u64())
                .filter(|v| (1..=16_384).contains(v))
                .map(|v| v as usize)
                .collect()
        });
        match sizes.as_deref() {
            Some(&[height, width, channels @ 1..=16]) if found.as_array().is_some_and(|a| a.len() == 3) => {
                Ok(Some(crate::schema::ImageShape { height, width, channels }))
            }
            _ => Err(bad(format!(
                "option \"image\" of preprocess is {found}, expected [height, width, channels]"
            ))
            .hint("For example preprocess => '{\"image\": [28, 28, 1]}'.")),
        }
    }

    /// Whether raw images have their channels first.
    pub fn channels_first(&self) -> Result<bool> {
        Ok(self.values.text("image_layout")? == "chw")
    }

    /// The plan for a column.
    pub fn plan(&self, column: &str) -> Result<Plan> {
        let own = self.values.json("columns")?.get(column);
        let values = match own {
            None => self.values.clone(),
            Some(Json::Object(own)) => {
                if let Some(key) = own.keys().find(|k| !PER_COLUMN.contains(&k.as_str())) {
                    return Err(bad(format!("preprocess of column \"{column}\" has no option \"{key}\""))
                        .hint(format!("It has: {}.", PER_COLUMN.join(", "))));
                }
                let Json::Object(mut all) = self.values.to_json() else {
                    return Err(Error::internal("options are not an object"));
                };
                all.extend(own.clone());
                Values::parse(
                    &format!("preprocess of column \"{column}\""),
                    OPTIONS,
                    &Json::Object(all).to_string(),
                )?
            }
            Some(other) => {
                return Err(bad(format!("preprocess of column \"{column}\" is {other}, expected an object")));
            }
        };
        let native = self.input == Input::Native;
        // Networks embed codes.
        let codes = native || self.input == Input::Image;
        let auto_scale = match self.input {
            Input::Matrix { scale } => scale,
            Input::Native => false,
            Input::Image => true,
        };
        let missing = match values.text("missing")? {
            "mean" => MissingPolicy::Mean,
            "zero" => MissingPolicy::Zero,
            "error" => MissingPolicy::Error,
            "native" if !native => {
                return Err(bad("option \"missing\" is \"native\", which this algorithm does not know")
                    .hint("Use mean, zero or error."));
            }
            "native" => MissingPolicy::Native,
            _ if native => MissingPolicy::Native,
            _ => MissingPolicy::Mean,
        };
        let categories = match values.text("categories")? {
            "onehot" => CategoryPolicy::OneHot,
            "dummy" => CategoryPolicy::Dummy,
            "ordinal" => CategoryPolicy::Ordinal,
            "target" => CategoryPolicy::Target,
            "native" if !codes => {
                return Err(bad("option \"categories\" is \"native\", which this algorithm does not know")
                    .hint("Use onehot, dummy, ordinal or target."));
            }
            "native" => CategoryPolicy::Native,
            _ if native => CategoryPolicy::Native,
            _ if self.input == (Input::Matrix { scale: false }) => CategoryPolicy::Dummy,
            _ => CategoryPolicy::OneHot,
        };
        let default_max = if categories == CategoryPolicy::Native { 254 } else { 64 };
        let dates: Vec<Part> = serde_json::from_value(values.json("dates")?.clone()).map_err(|_| {
            bad(format!(
                "option \"dates\" of preprocess is {}, expected a list of parts",
                values.json("dates").map(|v| v.to_string()).unwrap_or_default()
            ))
            .hint("Parts are year, month, day, weekday, hour, minute, days.")
        })?;
        Ok(Plan {
            missing,
            indicator: values.bool("missing_indicator")?,
            scale: match values.text("scale")? {
                "standard" => true,
                "none" => false,
                _ => auto_scale,
            },
            categories,
            max_categories: values.opt_count("max_categories")?.unwrap_or(default_max),
            min_frequency: values.int("min_frequency")? as u64,
            unseen_is_error: values.text("unseen")? == "error",
            dates,
        })
    }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Kind::Parameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_known_days() {
        let at = |days: i64, micros: i64| days * 86_400_000_000 + micros;
        let parts =
            |t: i64| [Part::Year, Part::Month, Part::Day, Part::Weekday, Part::Hour].map(|p| p.of(t) as i64);
        assert_eq!(parts(at(0, 0)), [2000, 1, 1, 6, 0]);
        assert_eq!(parts(at(59, 3_600_000_000 * 13)), [2000, 2, 29, 2, 13]);
        assert_eq!(parts(at(-1, 86_399_999_999)), [1999, 12, 31, 5, 23]);
        assert_eq!(parts(at(9820, 0)), [2026, 11, 20, 5, 0]);
        assert_eq!(Part::Days.of(at(2, 43_200_000_000)), 2.5);
    }

    #[test]
    fn refuses_bad_options() {
        let bad = |json: &str, input| Options::parse(json, input).unwrap_err().message;
        assert!(bad(r#"{"missing": "native"}"#, Input::Matrix { scale: true }).contains("native"));
        assert!(bad(r#"{"image": [28, 28]}"#, Input::Image).contains("[height, width, channels]"));
        assert!(bad(r#"{"columns": {"a": {"zap": 1}}}"#, Input::Native).contains("\"zap\""));
        assert!(bad(r#"{"columns": {"a": {"scale": "big"}}}"#, Input::Native).contains("\"a\""));
        assert!(bad(r#"{"dates": ["century"]}"#, Input::Native).contains("dates"));
    }
}
