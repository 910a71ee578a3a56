//! `damson.algorithms` and `damson.parameters`: what the engine says of itself.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use engine::algorithms::{ALGORITHMS, find};
use engine::prepare::options::OPTIONS;
use engine::search::auto;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.algorithms()
RETURNS TABLE (name text, tasks text, version bigint, summary text)
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 20
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.algorithms() IS
'The algorithms that damson.train knows.
version rises when models of an older version can no longer be read.
Example: SELECT name, tasks, summary FROM damson.algorithms();';
"#)]
fn algorithms()
-> TableIterator<'static, (name!(name, Text), name!(tasks, Text), name!(version, i64), name!(summary, Text))>
{
    TableIterator::new(ALGORITHMS.iter().map(|algorithm| {
        let info = algorithm.info();
        let tasks: Vec<&str> = info.tasks.iter().map(|t| t.name()).collect();
        (info.name.into(), tasks.join(", ").into(), i64::from(info.version), info.summary.into())
    }))
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.parameters(algorithm text)
RETURNS TABLE (name text, type text, "default" text, range text, meaning text, aliases text)
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 20
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.parameters(text) IS
'The parameters of an algorithm: keys of the JSON object that damson.train takes as params.
For ''preprocess'' the options of preprocessing, which damson.train takes under that name; for ''auto'' what bounds its
search over algorithms.
A default of NULL means that the algorithm decides, as the meaning says. aliases are other names that are taken for
it: those of scikit-learn, LightGBM and XGBoost where they differ.
Example: SELECT name, "default", range FROM damson.parameters(''boosting'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn parameters(
    algorithm: Text,
) -> TableIterator<
    'static,
    (
        name!(name, Text),
        name!(type, Text),
        name!(default, Option<Text>),
        name!(range, Text),
        name!(meaning, Text),
        name!(aliases, Option<Text>),
    ),
> {
    let params = answer(|| match &*algorithm {
        "preprocess" => Ok(OPTIONS),
        auto::NAME => Ok(auto::PARAMS),
        name => Ok(find(name)?.info().params),
    });
    TableIterator::new(params.iter().map(|p| {
        let default = match p.default_json() {
            serde_json::Value::Null => None,
            serde_json::Value::String(word) => Some(word.into()),
            other => Some(other.to_string().into()),
        };
        let aliases = (!p.aliases.is_empty()).then(|| p.aliases.join(", ").into());
        (p.name.into(), p.type_name().into(), default, p.range().into(), p.meaning.into(), aliases)
    }))
}
