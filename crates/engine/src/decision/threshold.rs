//! Which class a row is given: the likeliest, the one on its side of a threshold, or the one of least expected cost.
//!
//! A threshold is tuned on the probabilities of rows that the model did not learn from, over all values that they
//! take, as scikit-learn's `TunedThresholdClassifierCV` does over a grid; of equal ones the lowest is taken.

use super::class_weight::class_number;
use crate::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a threshold is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Goal {
    /// The share of rows that are right.
    Accuracy,
    /// The mean of both classes' recall.
    BalancedAccuracy,
    /// The harmonic mean of precision and recall.
    F1,
    /// Matthews' correlation coefficient.
    Mcc,
    /// Recall less the false positive rate (Youden's J).
    Youden,
    /// The most precision with at least this recall.
    PrecisionAtRecall(f64),
    /// The most recall with at least this precision.
    RecallAtPrecision(f64),
}

/// What the user asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// This threshold.
    Fixed {
        /// The class it is for; the second one where none is named.
        positive: Option<String>,
        /// The least probability of that class.
        at: f64,
    },
    /// The best threshold.
    Tuned {
        /// The class it is for; the second one where none is named.
        positive: Option<String>,
        /// What it is tuned for.
        goal: Goal,
    },
    /// The least expected cost, with costs of the four outcomes for two classes.
    Outcomes {
        /// The class that counts as positive; the second one where none is named.
        positive: Option<String>,
        /// Of a true negative, a false positive, a false negative, a true positive.
        costs: [f64; 4],
    },
    /// The least expected cost, by actual label, predicted label and cost.
    Matrix(Vec<(String, String, f64)>),
}

/// How a row's probabilities decide.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Rule {
    /// The likeliest class; the first of equals.
    #[default]
    Likeliest,
    /// The positive class where its probability is at least `at`, of two.
    Threshold {
        /// The positive class.
        positive: u8,
        /// The threshold.
        at: f64,
        /// What it was tuned for and reached; none for one that was given.
        tuned: Option<(Goal, f64)>,
    },
    /// The class of the least expected cost; the first of equals.
    Cost {
        /// The cost by actual class, then by decided one.
        costs: Vec<f64>,
    },
    /// Not one class, but every label whose probability is at least `at`.
    Labels {
        /// The threshold.
        at: f64,
    },
}

const FORMS: &str = "A metric (accuracy, balanced_accuracy, f1, mcc, youden), a number, or JSON: {\"metric\": \"f1\", \
     \"positive\": \"yes\"}, {\"precision_at_recall\": 0.8}, {\"recall_at_precision\": 0.9}, {\"cost\": {\"fp\": 1, \
     \"fn\": 10}} or {\"cost\": {\"actual\": {\"decided\": 10}}}.";

fn refused(message: String) -> Error {
    Error::new(Kind::Parameter, message).hint(FORMS)
}

impl Goal {
    fn parse(name: &str) -> Result<Goal> {
        match name {
            "accuracy" => Ok(Goal::Accuracy),
            "balanced_accuracy" => Ok(Goal::BalancedAccuracy),
            "f1" => Ok(Goal::F1),
            "mcc" => Ok(Goal::Mcc),
            "youden" => Ok(Goal::Youden),
            _ => Err(refused(format!("threshold is \"{name}\", which is no metric to tune for"))),
        }
    }

    /// Its name, with what it asks for.
    pub fn name(self) -> String {
        match self {
            Goal::Accuracy => "accuracy".into(),
            Goal::BalancedAccuracy => "balanced_accuracy".into(),
            Goal::F1 => "f1".into(),
            Goal::Mcc => "mcc".into(),
            Goal::Youden => "youden".into(),
            Goal::PrecisionAtRecall(r) => format!("precision at recall {r}"),
            Goal::RecallAtPrecision(p) => format!("recall at precision {p}"),
        }
    }

    /// Its value for the weights of hits and false alarms among those of positives and negatives; none where it
    /// asks for more than there is.
    fn value(self, hits: f64, alarms: f64, positives: f64, negatives: f64) -> Option<f64> {
        let (recall, specificity) = (hits / positives, 1.0 - alarms / negatives);
        let precision = hits / (hits + alarms);
        match self {
            Goal::Accuracy => Some((hits + negatives - alarms) / (positives + negatives)),
            Goal::BalancedAccuracy => Some((recall + specificity) / 2.0),
            Goal::F1 => Some(2.0 * hits / (hits + alarms + positives)),
            Goal::Youden => Some(recall + specificity - 1.0),
            Goal::Mcc => {
                let (all, called) = (positives + negatives, hits + alarms);
                let spread = (positives * negatives * called * (all - called)).sqrt();
                let covariance = hits * (negatives - alarms) - alarms * (positives - hits);
                Some(if spread > 0.0 { covariance / spread } else { 0.0 })
            }
            Goal::PrecisionAtRecall(least) => (recall >= least).then_some(precision),
            Goal::RecallAtPrecision(least) => (precision >= least).then_some(recall),
        }
    }
}

/// The best threshold for the probabilities of positive and negative rows, and the goal's value there. It lies
/// midway between the lowest probability that it takes in and the highest that it leaves out.
///
/// # Errors
/// `Kind::Data` when one of the two kinds has no rows, or no threshold gives what the goal asks for.
pub fn tune(goal: Goal, probability: &[f64], positive: &[bool], weight: &[f64]) -> Result<(f64, f64)> {
    let weight = |i: usize| if weight.is_empty() { 1.0 } else { weight[i] };
    let total =
        |kind: bool| -> f64 { (0..positive.len()).filter(|i| positive[*i] == kind).map(weight).sum() };
    let (positives, negatives) = (total(true), total(false));
    if positives <= 0.0 || negatives <= 0.0 {
        return Err(Error::new(
            Kind::Data,
            "the rows to tune the threshold on are of one class, expected both",
        )
        .hint("Tune on more rows: calibration_size."));
    }
    let mut order: Vec<usize> = (0..probability.len()).collect();
    order.sort_by(|a, b| probability[*b].total_cmp(&probability[*a]));
    let (mut hits, mut alarms) = (0.0, 0.0);
    let mut best: Option<(f64, f64)> = None;
    let mut groups = order.chunk_by(|a, b| probability[*a] == probability[*b]).peekable();
    while let Some(tied) = groups.next() {
        for i in tied {
            *if positive[*i] { &mut hits } else { &mut alarms } += weight(*i);
        }
        if let Some(value) = goal.value(hits, alarms, positives, negatives)
            && best.is_none_or(|(_, b)| value >= b)
        {
            let least = probability[tied[0]];
            let below = groups.peek().map_or(least, |next| probability[next[0]]);
            let middle = below + (least - below) / 2.0;
            best = Some((if middle > below { middle } else { least }, value));
        }
    }
    best.ok_or_else(|| {
        Error::new(Kind::Data, format!("no threshold gives {} on the rows to tune on", goal.name()))
            .hint("Ask for less.")
    })
}

impl Wish {
    /// Reads a metric, a number, or a JSON object.
    ///
    /// # Errors
    /// `Kind::Parameter` for anything else.
    pub fn parse(text: &str) -> Result<Wish> {
        let text = text.trim();
        match serde_json::from_str::<Value>(text) {
            Err(_) if text.starts_with(['{', '[', '"']) => {
                Err(refused(format!("threshold is not valid JSON: {text}")))
            }
            Err(_) => Ok(Wish::Tuned { positive: None, goal: Goal::parse(text)? }),
            Ok(Value::Number(n)) => {
                Ok(Wish::Fixed { positive: None, at: share("threshold", &Value::Number(n))? })
            }
            Ok(Value::Object(mut given)) => {
                let positive = match given.remove("positive") {
                    None => None,
                    Some(Value::String(label)) => Some(label),
                    Some(other) => {
                        return Err(refused(format!(
                            "positive is {other}, expected a class's label as text"
                        )));
                    }
                };
                Wish::of(given, positive)
            }
            Ok(other) => {
                Err(refused(format!("threshold is {other}, expected a metric, a number or an object")))
            }
        }
    }

    fn of(given: Map<String, Value>, positive: Option<String>) -> Result<Wish> {
        let mut entries = given.into_iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else {
            return Err(refused("threshold is an object with none or several goals, expected one".into()));
        };
        let goal = match (key.as_str(), &value) {
            ("at", at) => return Ok(Wish::Fixed { positive, at: share("at", at)? }),
            ("metric", Value::String(name)) => Goal::parse(name)?,
            ("precision_at_recall", v) => Goal::PrecisionAtRecall(share(&key, v)?),
            ("recall_at_precision", v) => Goal::RecallAtPrecision(share(&key, v)?),
            ("cost", Value::Object(costs)) => return cost_wish(costs, positive),
            _ => return Err(refused(format!("threshold has \"{key}\": {value}, which it does not know"))),
        };
        Ok(Wish::Tuned { positive, goal })
    }

    /// Whether it needs rows to tune on.
    pub fn tunes(&self) -> bool {
        matches!(self, Wish::Tuned { .. })
    }

    /// The least probability of a label that a row is given, for a multi-label task.
    ///
    /// # Errors
    /// `Kind::Parameter` for anything but a number.
    pub fn least(&self) -> Result<f64> {
        match self {
            Wish::Fixed { positive: None, at } => Ok(*at),
            _ => Err(Error::new(
                Kind::Parameter,
                "the threshold of sets of labels is a number, the same for all labels",
            )
            .hint("For example threshold => '0.3': a row is given the labels of that probability or more.")),
        }
    }

    /// The number of the positive class.
    ///
    /// # Errors
    /// `Kind::Parameter` for more than two classes, or a label that is no class.
    pub fn positive(&self, classes: &[String]) -> Result<usize> {
        let (Wish::Fixed { positive, .. } | Wish::Tuned { positive, .. } | Wish::Outcomes { positive, .. }) =
            self
        else {
            return Ok(1);
        };
        if classes.len() != 2 {
            let message = format!("a threshold needs two classes, found {}", classes.len());
            return Err(Error::new(Kind::Parameter, message)
                .hint("For more classes give costs by label: {\"cost\": {\"actual\": {\"decided\": 10}}}."));
        }
        positive.as_ref().map_or(Ok(1), |label| class_number("threshold", classes, label))
    }

    /// The rule, where no rows are needed to find it.
    ///
    /// # Errors
    /// As [`Wish::positive`]; labels of costs that are no classes.
    pub fn rule(&self, classes: &[String]) -> Result<Option<Rule>> {
        let positive = self.positive(classes)?;
        match self {
            Wish::Tuned { .. } => Ok(None),
            Wish::Fixed { at, .. } => {
                Ok(Some(Rule::Threshold { positive: positive as u8, at: *at, tuned: None }))
            }
            Wish::Outcomes { costs: [tn, fp, fn_, tp], .. } => {
                let costs = if positive == 1 { vec![*tn, *fp, *fn_, *tp] } else { vec![*tp, *fn_, *fp, *tn] };
                Ok(Some(Rule::Cost { costs }))
            }
            Wish::Matrix(given) => {
                let k = classes.len();
                let mut costs: Vec<f64> = (0..k * k).map(|i| f64::from(u8::from(i / k != i % k))).collect();
                for (actual, decided, cost) in given {
                    let actual = class_number("threshold", classes, actual)?;
                    costs[actual * k + class_number("threshold", classes, decided)?] = *cost;
                }
                Ok(Some(Rule::Cost { costs }))
            }
        }
    }
}

fn share(name: &str, value: &Value) -> Result<f64> {
    value
        .as_f64()
        .filter(|x| (0.0..=1.0).contains(x))
        .ok_or_else(|| refused(format!("{name} is {value}, expected a number from 0 to 1")))
}

fn cost_wish(costs: &Map<String, Value>, positive: Option<String>) -> Result<Wish> {
    let cost = |name: &str, value: &Value| {
        value.as_f64().ok_or_else(|| refused(format!("the cost of {name} is {value}, expected a number")))
    };
    if costs.is_empty() {
        return Err(refused("cost is an empty object".into()));
    }
    if costs.values().all(Value::is_object) {
        if positive.is_some() {
            return Err(refused("costs by label have no positive class".into()));
        }
        let mut given = vec![];
        for (actual, row) in costs {
            for (decided, value) in row.as_object().into_iter().flatten() {
                let name = format!("deciding \"{decided}\" where it is \"{actual}\"");
                given.push((actual.clone(), decided.clone(), cost(&name, value)?));
            }
        }
        return Ok(Wish::Matrix(given));
    }
    let mut outcomes = [0.0, 1.0, 1.0, 0.0];
    for (name, value) in costs {
        let Some(place) = ["tn", "fp", "fn", "tp"].iter().position(|n| n == name) else {
            return Err(refused(format!(
                "cost has \"{name}\", expected tn, fp, fn, tp, or an object a class"
            )));
        };
        outcomes[place] = cost(name, value)?;
    }
    Ok(Wish::Outcomes { positive, costs: outcomes })
}

impl Rule {
    /// The class that a row's probabilities decide for.
    #[inline]
    pub fn decide(&self, probabilities: &[f64]) -> usize {
        match self {
            Rule::Likeliest | Rule::Labels { .. } => first_best(probabilities.iter().copied()),
            Rule::Threshold { positive, at, .. } => {
                let positive = usize::from(*positive);
                if probabilities[positive] >= *at { positive } else { 1 - positive }
            }
            Rule::Cost { costs } => {
                let k = probabilities.len();
                let expected = |decided: usize| -> f64 {
                    probabilities.iter().enumerate().map(|(actual, p)| p * costs[actual * k + decided]).sum()
                };
                first_best((0..k).map(|decided| -expected(decided)))
            }
        }
    }

    /// What it is, as names and values.
    pub(super) fn describe(&self, classes: &[String]) -> Vec<(String, String)> {
        let name = |i: usize| classes.get(i).map_or("", String::as_str);
        match self {
            Rule::Likeliest => vec![],
            Rule::Labels { at } => vec![("threshold of each label".into(), format!("{at:.6}"))],
            Rule::Threshold { positive, at, tuned } => {
                let mut rows =
                    vec![(format!("threshold of {}", name(usize::from(*positive))), format!("{at:.6}"))];
                if let Some((goal, value)) = tuned {
                    rows.push(("threshold tuned for".into(), format!("{}: {value:.4}", goal.name())));
                }
                rows
            }
            Rule::Cost { costs } => {
                let k = classes.len().max(1);
                let mut rows: Vec<(String, String)> = vec![];
                if let [tn, fp, fn_, tp] = costs[..] {
                    // p * fn + (1 - p) * tn = p * tp + (1 - p) * fp where both decisions cost the same.
                    let at = (fp - tn) / ((fp - tn) + (fn_ - tp));
                    if at.is_finite() {
                        rows.push((format!("threshold of {}", name(1)), format!("{at:.6}")));
                    }
                }
                let shown = |(i, c): (usize, &f64)| {
                    (format!("cost of {} for {}", name(i % k), name(i / k)), format!("{c}"))
                };
                rows.extend(
                    costs
                        .iter()
                        .enumerate()
                        .filter(|(i, c)| i / k != i % k || **c != 0.0)
                        .take(20)
                        .map(shown),
                );
                rows
            }
        }
    }

    /// Refuses a rule that `decide` could trip over.
    pub(super) fn valid(&self, classes: usize) -> bool {
        match self {
            Rule::Likeliest => true,
            Rule::Labels { at } => (0.0..=1.0).contains(at),
            Rule::Threshold { positive, at, .. } => classes == 2 && *positive < 2 && at.is_finite(),
            Rule::Cost { costs } => {
                Some(costs.len()) == classes.checked_mul(classes) && costs.iter().all(|c| c.is_finite())
            }
        }
    }
}

fn first_best(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, v) in values.enumerate() {
        if v > best.1 {
            best = (i, v);
        }
    }
    best.0
}
