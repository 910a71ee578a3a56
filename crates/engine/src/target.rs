//! The target column: what the task is, which classes there are, and each row's number.

use crate::error::{Error, Kind, Result};
use crate::frame::{Column, ColumnKind, Data, Dictionary, Value};
use crate::labels::{self, LabelSets};
use crate::schema::Task;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// An integer target with at most this many distinct values is a class, when nothing else says what it is.
const FEW: usize = 20;
/// More classes than this are a mistake, such as an identifier.
const MAX_CLASSES: usize = 1000;

/// A target, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Regression, classification or another task that has a target.
    pub task: Task,
    /// Labels by class number: false before true, numbers ascending, texts by their bytes. Empty for regression.
    pub classes: Vec<String>,
    /// Each row's value or class number, or the number of its set of labels.
    pub y: Vec<f64>,
    /// The sets of labels of a multi-label task.
    pub sets: Option<Arc<LabelSets>>,
}

impl Target {
    /// Of a task without one.
    pub(crate) fn none(task: Task) -> Target {
        Target { task, classes: vec![], y: vec![], sets: None }
    }
}

/// The true answers of rows, as a model knows them.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// As `Target::y`.
    pub y: Vec<f64>,
    /// As `Target::sets`.
    pub sets: Option<Arc<LabelSets>>,
}

/// Sorts labels as their type wants and still knows them by text.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Bool(bool),
    /// The order-preserving integer image of a finite f64.
    Number(i64),
    Text(Cow<'a, str>),
}

fn key(value: Value<'_>) -> Option<Key<'_>> {
    match value {
        Value::Bool(b) => Some(Key::Bool(b)),
        Value::Number(x) => {
            let bits = (x + 0.0).to_bits() as i64; // -0.0 is 0.0
            Some(Key::Number(bits ^ (((bits >> 63) as u64) >> 1) as i64))
        }
        Value::Text(t) => Some(Key::Text(Cow::Borrowed(t))),
        _ => None,
    }
}

/// A value's label, as the server would print it.
fn label(value: Value) -> String {
    match value {
        Value::Bool(b) => b.to_string(),
        Value::Number(x) => format!("{x}"),
        Value::Text(t) => t.to_string(),
        _ => String::new(),
    }
}

/// The label of a value, or none for a missing one and for types that are no labels.
pub fn text(value: Value) -> Option<String> {
    key(value).map(|_| label(value))
}

/// Refuses a target with missing values, and counts them.
fn refuse_missing(column: &Column) -> Result<()> {
    let missing = match &column.data {
        Data::F32(v) => v.iter().filter(|x| x.is_nan()).count(),
        Data::F64(v) => v.iter().filter(|x| x.is_nan()).count(),
        Data::I32(_) | Data::I64(_) => column.missing.iter().filter(|m| **m).count(),
        _ => (0..column.len()).filter(|i| column.value(*i) == Value::Missing).count(),
    };
    if missing > 0 {
        let name = &column.name;
        let message =
            format!("target column \"{name}\" is NULL or NaN in {missing} of {} rows", column.len());
        return Err(Error::new(Kind::Null, message)
            .hint(format!("Leave these rows out: source => 'SELECT ... WHERE {name} IS NOT NULL'.")));
    }
    Ok(())
}

fn wrong_type(column: &Column, expected: &str) -> Error {
    let found = crate::prepare::encode::kind_name(column.kind());
    Error::new(Kind::Type, format!("target column \"{}\" is {found}, expected {expected}", column.name))
}

/// Reads the target of a training. `asked` is the user's task; `allowed` are the algorithm's.
///
/// # Errors
/// Missing or infinite values, one class only, too many classes, a type or task that does not serve.
pub fn learn(column: &Column, asked: Option<Task>, allowed: &[Task], algorithm: &str) -> Result<Target> {
    refuse_missing(column)?;
    let name = &column.name;
    let numeric =
        matches!(column.data, Data::F32(_) | Data::F64(_) | Data::I32(_) | Data::I64(_) | Data::Bool(_));
    let supervised: Vec<Task> = allowed.iter().copied().filter(|t| t.supervised()).collect();
    let task = match (asked, &supervised[..]) {
        (None, [_, ..]) if column.kind() == ColumnKind::Labels => Task::Multilabel,
        (_, []) => {
            let message = format!("algorithm \"{algorithm}\" takes no target, found \"{name}\"");
            return Err(Error::new(Kind::Unsupported, message).hint("Leave the target out: target => NULL."));
        }
        (Some(t), _) => t,
        (None, [only]) => *only,
        (None, _) => match &column.data {
            Data::F32(_) | Data::F64(_) => Task::Regression,
            Data::I32(_) | Data::I64(_) if distinct(column, FEW + 1) > FEW => Task::Regression,
            _ => Task::Classification,
        },
    };
    if !allowed.contains(&task) {
        let can: Vec<&str> = allowed.iter().map(|t| t.name()).collect();
        let message =
            format!("algorithm \"{algorithm}\" does not do {}, only {}", task.name(), can.join(", "));
        return Err(Error::new(Kind::Unsupported, message)
            .hint("SELECT name, tasks FROM damson.algorithms() shows which do."));
    }
    match task {
        Task::Regression | Task::Ranking if !numeric => {
            let error = wrong_type(column, &format!("a number for {}", task.name()));
            let classes = column.kind() == ColumnKind::Text;
            Err(match (classes, allowed.contains(&Task::Classification)) {
                (true, true) => error.hint("Use task => 'classification'."),
                (true, false) => error.hint("SELECT name FROM damson.algorithms() WHERE tasks LIKE '%classification%' shows which take text."),
                _ => error,
            })
        }
        Task::Regression | Task::Ranking => {
            Ok(Target { task, classes: vec![], y: numbers(column)?, sets: None })
        }
        Task::Multilabel => {
            let dictionary = sets_of(column)?;
            let found = parsed(dictionary)?;
            let labels: BTreeSet<&String> = found.iter().flatten().collect();
            let (message, hint) = match labels.len() {
                0 => (
                    format!("target column \"{name}\" has no label in any row, expected one or more"),
                    "An empty array is a row without labels; some rows must have some.",
                ),
                n if n > MAX_CLASSES => (
                    format!("target column \"{name}\" has {n} labels, expected at most {MAX_CLASSES}"),
                    "Keep the frequent ones in the source.",
                ),
                _ => {
                    let classes: Vec<String> = labels.into_iter().cloned().collect();
                    let Truth { y, sets } = truth_of(column, dictionary, &found, &classes)?;
                    return Ok(Target { task, classes, y, sets });
                }
            };
            Err(Error::new(Kind::Data, message).hint(hint))
        }
        Task::Classification => {
            if column.kind() == ColumnKind::Labels {
                return Err(wrong_type(column, "text, boolean or a number")
                    .hint("An array of text is a set of labels: task => 'multilabel'."));
            }
            let mut found: BTreeMap<Key, (String, f64)> = BTreeMap::new();
            if let Data::I32(values) = &column.data
                && let Some((classes, y)) = whole_classes(values)
            {
                return Ok(Target { task, classes, y, sets: None });
            }
            for i in 0..column.len() {
                let value = column.value(i);
                let key = key(value).ok_or_else(|| wrong_type(column, "text, boolean or a number"))?;
                found.entry(key).or_insert_with(|| (label(value), 0.0));
                if found.len() > MAX_CLASSES {
                    let message = format!("target column \"{name}\" has more than {MAX_CLASSES} classes");
                    return Err(Error::new(Kind::Data, message)
                        .hint("For a numeric target use task => 'regression'."));
                }
            }
            if found.len() < 2 {
                let only = found.values().next().map(|(l, _)| format!(" (\"{l}\")")).unwrap_or_default();
                let message = format!(
                    "target column \"{name}\" has {} class{}{only}, expected two or more",
                    found.len(),
                    if found.is_empty() { "es" } else { "" }
                );
                return Err(
                    Error::new(Kind::Data, message).hint("Check the source's WHERE clause and the target.")
                );
            }
            for (number, entry) in found.values_mut().enumerate() {
                entry.1 = number as f64;
            }
            let number = |i| key(column.value(i)).and_then(|k| found.get(&k)).map_or(0.0, |e| e.1);
            let y = (0..column.len()).map(number).collect();
            Ok(Target { task, classes: found.into_values().map(|e| e.0).collect(), y, sets: None })
        }
        Task::Clustering | Task::Anomaly | Task::Embedding => {
            let task = task.name();
            Err(Error::new(Kind::Parameter, format!("{task} takes no target, found \"{name}\""))
                .hint("Leave the target out: target => NULL."))
        }
    }
}

/// Class numbers and values of single targets, for a model that knows its classes.
pub struct Labels {
    task: Task,
    classes: Vec<String>,
    known: HashMap<String, f64>,
}

impl Labels {
    /// For a task and its classes.
    pub fn new(task: Task, classes: &[String]) -> Self {
        let known = classes.iter().enumerate().map(|(i, c)| (c.clone(), i as f64)).collect();
        Labels { task, classes: classes.to_vec(), known }
    }

    /// The number of one target.
    ///
    /// # Errors
    /// A missing or infinite value, a class that the model does not know, a type that does not serve.
    pub fn number(&self, column: &str, value: Value) -> Result<f64> {
        match (self.task, value) {
            (_, Value::Missing) => {
                Err(Error::new(Kind::Null, format!("target column \"{column}\" is NULL or NaN")).hint(
                    format!("Leave these rows out: source => 'SELECT ... WHERE {column} IS NOT NULL'."),
                ))
            }
            (Task::Regression | Task::Ranking, Value::Number(x)) if x.is_finite() => Ok(x),
            (Task::Regression | Task::Ranking, Value::Bool(b)) => Ok(f64::from(b)),
            (Task::Regression | Task::Ranking, Value::Number(_)) => {
                Err(Error::new(Kind::Data, format!("target column \"{column}\" is infinite")))
            }
            (Task::Regression | Task::Ranking, _) => Err(Error::new(
                Kind::Type,
                format!("target column \"{column}\" is not a number, expected one for regression"),
            )),
            _ => {
                let label = label(value);
                self.known.get(label.as_str()).copied().ok_or_else(|| {
                    let message =
                        format!("target column \"{column}\" is \"{label}\", which is no class of the model");
                    Error::new(Kind::Data, message)
                        .hint(format!("Its classes are: {}.", self.classes.join(", ")))
                })
            }
        }
    }
}

/// Reads the target of an evaluation, for a model that knows its classes.
///
/// # Errors
/// As [`Labels::number`].
pub fn apply(column: &Column, task: Task, classes: &[String]) -> Result<Truth> {
    refuse_missing(column)?;
    if task == Task::Multilabel {
        let dictionary = sets_of(column)?;
        return truth_of(column, dictionary, &parsed(dictionary)?, classes);
    }
    if column.kind() == ColumnKind::Labels {
        return Err(wrong_type(column, "one value a row"));
    }
    let labels = Labels::new(task, classes);
    let y = (0..column.len()).map(|i| labels.number(&column.name, column.value(i))).collect::<Result<_>>()?;
    Ok(Truth { y, sets: None })
}

/// The sets of a column of labels.
fn sets_of(column: &Column) -> Result<&Dictionary> {
    match &column.data {
        Data::Labels(dictionary) => Ok(dictionary),
        _ => Err(wrong_type(column, "an array of text, the set of a row's labels").hint(format!(
            "For example source => 'SELECT ..., string_to_array({0}, '','') AS {0} FROM ...'.",
            column.name
        ))),
    }
}

/// The labels of each set, in the order of their codes.
fn parsed(dictionary: &Dictionary) -> Result<Vec<Vec<String>>> {
    dictionary.values.iter().map(|name| labels::parse(name)).collect()
}

/// The number of each row's set.
///
/// # Errors
/// `Kind::Data` for a label that is none of the classes.
fn truth_of(column: &Column, sets: &Dictionary, found: &[Vec<String>], classes: &[String]) -> Result<Truth> {
    let known: HashMap<&String, usize> = classes.iter().enumerate().map(|(i, c)| (c, i)).collect();
    let mut numbered = LabelSets::new(classes.len());
    for set in found {
        let number = |label: &String| {
            known.get(label).copied().ok_or_else(|| {
                let message = format!(
                    "target column \"{}\" has \"{label}\", which is no label of the model",
                    column.name
                );
                let shown: Vec<&str> = classes.iter().map(String::as_str).take(40).collect();
                Error::new(Kind::Data, message).hint(format!("Its labels are: {}.", shown.join(", ")))
            })
        };
        numbered.push(set.iter().map(number).collect::<Result<Vec<_>>>()?);
    }
    let y = sets.codes.iter().map(|code| f64::from(*code)).collect();
    Ok(Truth { y, sets: Some(Arc::new(numbered)) })
}

fn numbers(column: &Column) -> Result<Vec<f64>> {
    if let (Data::I32(values), true) = (&column.data, column.missing.is_empty()) {
        return Ok(values.iter().map(|v| f64::from(*v)).collect());
    }
    let labels = Labels::new(Task::Regression, &[]);
    (0..column.len()).map(|i| labels.number(&column.name, column.value(i))).collect()
}

/// Distinct values of a whole-numbered column without missing ones, counted up to `most`.
fn distinct(column: &Column, most: usize) -> usize {
    fn count<T: Copy + PartialEq>(values: &[T], most: usize) -> usize {
        let mut seen = vec![];
        for v in values {
            if !seen.contains(v) {
                seen.push(*v);
            }
            if seen.len() >= most {
                break;
            }
        }
        seen.len()
    }
    match &column.data {
        Data::I32(v) => count(v, most),
        Data::I64(v) => count(v, most),
        _ => 0,
    }
}

/// The labels, ascending, and each row's class, of whole numbers that lie close together; none where they do not,
/// or are one class only, or too many.
fn whole_classes(values: &[i32]) -> Option<(Vec<String>, Vec<f64>)> {
    let (least, greatest) = (*values.iter().min()?, *values.iter().max()?);
    let span = usize::try_from(i64::from(greatest) - i64::from(least)).ok()?;
    if span >= 1 << 16 {
        return None;
    }
    let place = |v: &i32| (i64::from(*v) - i64::from(least)) as usize;
    let mut class = vec![f64::NAN; span + 1];
    values.iter().for_each(|v| class[place(v)] = 0.0);
    let mut labels = vec![];
    for (i, class) in class.iter_mut().enumerate().filter(|(_, c)| !c.is_nan()) {
        *class = labels.len() as f64;
        labels.push((i64::from(least) + i as i64).to_string());
    }
    let y = || values.iter().map(|v| class[place(v)]).collect();
    (2..=MAX_CLASSES).contains(&labels.len()).then(|| (labels, y()))
}

#[cfg(test)]
mod tests {
    use super::*;
    const BOTH: &[Task] = &[Task::Regression, Task::Classification];

    fn column(data: Data) -> Column {
        Column { name: "y".into(), data, missing: vec![] }
    }

    #[test]
    fn infers_the_task_from_the_type() {
        let task = |data| learn(&column(data), None, BOTH, "a").unwrap().task;
        assert_eq!(task(Data::F64(vec![0.0, 1.0])), Task::Regression);
        assert_eq!(task(Data::I32((0..100).collect())), Task::Regression);
        assert_eq!(task(Data::I32(vec![3, 1, 3])), Task::Classification);
        assert_eq!(task(Data::Bool(vec![0, 1])), Task::Classification);
    }

    #[test]
    fn orders_classes_by_value() {
        let t = learn(&column(Data::I32(vec![10, -2, 9, 10])), None, BOTH, "a").unwrap();
        assert_eq!((t.classes, t.y), (vec!["-2".into(), "9".into(), "10".into()], vec![2.0, 0.0, 1.0, 2.0]));
        let t = learn(&column(Data::F64(vec![0.5, -0.5])), Some(Task::Classification), BOTH, "a").unwrap();
        assert_eq!(t.classes, ["-0.5", "0.5"]);
        let t = learn(&column(Data::Bool(vec![1, 0])), None, BOTH, "a").unwrap();
        assert_eq!(
            (&t.classes[..], apply(&column(Data::Bool(vec![1, 0])), t.task, &t.classes).unwrap()),
            (&["false".to_string(), "true".into()][..], Truth { y: vec![1.0, 0.0], sets: None })
        );
    }

    fn sets(rows: &[&[&str]]) -> Data {
        let mut found = Dictionary::default();
        for row in rows {
            let code = found.intern(&labels::name(row.iter().copied()));
            found.codes.push(code);
        }
        Data::Labels(found)
    }

    #[test]
    fn reads_sets_of_labels() {
        const SETS: &[Task] = &[Task::Classification, Task::Multilabel];
        let t = learn(&column(sets(&[&["b", "a"], &[], &["a", "b"], &["c"]])), None, SETS, "a").unwrap();
        assert_eq!((t.task, t.y), (Task::Multilabel, vec![0.0, 1.0, 0.0, 2.0]));
        assert_eq!(t.classes, ["a", "b", "c"]);
        let numbered = t.sets.unwrap();
        assert_eq!([0.0, 1.0, 2.0].map(|s| numbered.get(s).to_vec()), [vec![0, 1], vec![], vec![2]]);
        // Rows of another source have other sets; their labels count.
        let truth = apply(&column(sets(&[&["c", "b"], &["c"]])), Task::Multilabel, &t.classes).unwrap();
        let numbered = truth.sets.unwrap();
        assert_eq!((truth.y, numbered.get(0.0), numbered.get(1.0)), (vec![0.0, 1.0], &[1, 2][..], &[2][..]));

        let error = |data, task| learn(&column(data), task, SETS, "a").unwrap_err();
        assert_eq!(
            error(sets(&[&[], &[]]), None).message,
            "target column \"y\" has no label in any row, expected one or more"
        );
        let many: Vec<String> = (0..1001).map(|i| format!("l{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(
            error(sets(&[&many]), None).message,
            "target column \"y\" has 1001 labels, expected at most 1000"
        );
        assert_eq!(error(sets(&[&["a"]]), Some(Task::Classification)).kind, Kind::Type);
        assert_eq!(error(Data::Bool(vec![0, 1]), Some(Task::Multilabel)).kind, Kind::Type);
        assert_eq!(learn(&column(sets(&[&["a"]])), None, BOTH, "a").unwrap_err().kind, Kind::Unsupported);
        let unknown = apply(&column(sets(&[&["d"]])), Task::Multilabel, &t.classes).unwrap_err();
        assert_eq!(unknown.message, "target column \"y\" has \"d\", which is no label of the model");
    }

    #[test]
    fn refuses_missing_single_class_and_wrong_type() {
        let kind = |data, asked| learn(&column(data), asked, BOTH, "a").unwrap_err().kind;
        assert_eq!(kind(Data::F64(vec![1.0, f64::NAN]), None), Kind::Null);
        assert_eq!(kind(Data::Bool(vec![1, 1]), None), Kind::Data);
        assert_eq!(kind(Data::F64(vec![f64::INFINITY]), None), Kind::Data);
        assert_eq!(kind(Data::Time(vec![1, 2]), None), Kind::Type);
        assert_eq!(kind(Data::I64((0..2000).collect()), Some(Task::Classification)), Kind::Data);
        assert_eq!(kind(Data::I64(vec![1, 2]), Some(Task::Clustering)), Kind::Unsupported);
    }
}
