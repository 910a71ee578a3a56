//! Scorers: functions with a model's real columns, for tools that know no `"any"`, and views of scored rows. They are
//! objects of whoever makes them, made and changed by the server under the current user's rights and no others.
//!
//! A function gives its arguments to the model by name, as a row of a type that is made with it: whatever becomes of the
//! model, a value is never taken for that of another column. A line of an object's comment says what it was made for; it
//! goes with the object wherever that is renamed, moved, given or dumped to.
//!
//! When an alias comes to mean a version with other columns, [`follow`] makes its functions anew, with their owner and
//! grants: those of the model's owner and of the current user, where the current user may act as their owner. Others go
//! on as they are, and are errors where a column is missing, until their owners call `damson.create_scorer` again.

use super::made::{Column, Made, comment, made_for, row_type, run};
use super::reference::{Reference, model_name, suffix};
use super::resolve::{Resolved, resolve};
use super::write;
use crate::pg::error::{Code, Error, Result, warn};
use crate::pg::query;
use crate::pg::spi;
use crate::pg::verb::{identifier, quoted};
use engine::Kind;
use engine::artifact::Card;
use engine::frame::unknown_column;
use engine::schema::Task;
use serde_json::{Value, json};

/// Bytes of the longest name of a function, so that its type's fits the server's names too.
const LONGEST: usize = 59;
/// Arguments that the server's functions may have.
const MOST: usize = 100;

/// A function to be made.
pub struct Wanted<'a> {
    /// `name` or `name@alias`, or `name@7`.
    pub model: &'a str,
    /// Its name, with a schema or without; the model's where there is none.
    pub name: Option<&'a str>,
    /// The scoring function that it calls; what the model's task suggests where there is none.
    pub verb: Option<&'a str>,
    /// The class, of `probability`.
    pub class: Option<&'a str>,
}

/// A function as it is to be.
struct Shape<'a> {
    schema: &'a str,
    name: &'a str,
    columns: &'a [Column],
}

impl Shape<'_> {
    fn function(&self) -> String {
        format!("{}.{}", identifier(self.schema), identifier(self.name))
    }

    fn row(&self) -> String {
        format!("{}.{}", identifier(self.schema), identifier(&row_type(self.name)))
    }

    fn types(&self) -> String {
        let types: Vec<String> =
            self.columns.iter().map(|c| format!("pg_catalog.{}", identifier(&c.1))).collect();
        types.join(", ")
    }

    fn arguments(&self) -> String {
        let column = |c: &Column| format!("{} pg_catalog.{}", identifier(&c.0), identifier(&c.1));
        self.columns.iter().map(column).collect::<Vec<_>>().join(", ")
    }
}

/// What a verb gives, in SQL.
const VERBS: [(&str, &str); 10] = [
    ("predict", "pg_catalog.float8"),
    ("classify", "pg_catalog.text"),
    ("probability", "pg_catalog.float8"),
    ("probabilities", "pg_catalog.jsonb"),
    ("labels", "pg_catalog.text[]"),
    ("prediction_set", "pg_catalog.text[]"),
    ("predict_lower", "pg_catalog.float8"),
    ("predict_upper", "pg_catalog.float8"),
    ("explain", "pg_catalog.jsonb"),
    ("embed", "pg_catalog.float4[]"),
];

fn verb_of(card: &Card, wanted: &Wanted) -> Result<&'static str> {
    let default = match card.task {
        Task::Classification => "classify",
        Task::Multilabel => "labels",
        Task::Embedding => "embed",
        _ => "predict",
    };
    let name = wanted.verb.unwrap_or(if wanted.class.is_some() { "probability" } else { default });
    let known = VERBS.iter().find(|v| v.0 == name).map(|v| v.0);
    let verb = known.ok_or_else(|| {
        let names: Vec<&str> = VERBS.iter().map(|v| v.0).collect();
        Error::new(Kind::Parameter, format!("verb is \"{name}\", expected one of {}", names.join(", ")))
    })?;
    let of_classes = ["classify", "probability", "probabilities", "prediction_set", "labels"].contains(&verb);
    let serves = match card.task {
        Task::Classification => of_classes && verb != "labels" || verb == "explain",
        Task::Multilabel => ["labels", "probability", "probabilities"].contains(&verb),
        Task::Embedding => verb == "embed",
        _ => !of_classes && verb != "embed",
    };
    if !serves {
        let message = format!("verb is \"{verb}\", which does not serve {}", card.task.name());
        return Err(Error::new(Kind::Parameter, message).hint(format!("damson.{default} does.")));
    }
    match wanted.class {
        Some(class) if verb != "probability" => Err(Error::new(
            Kind::Parameter,
            format!("class is \"{class}\", and verb is {verb}, expected probability"),
        )),
        None if verb == "probability" => {
            Err(Error::new(Kind::Parameter, "verb is probability, and no class is given")
                .hint(format!("The classes are: {}.", card.classes.join(", "))))
        }
        Some(class) if !card.classes.iter().any(|c| c == class) => {
            let message = format!("class is \"{class}\", expected one of {}", card.classes.join(", "));
            Err(Error::new(Kind::Parameter, message))
        }
        _ => Ok(verb),
    }
}

/// Makes a function, or makes the scorer of that name anew. Gives its signature.
///
/// # Errors
/// 42704, 42501 and 22023 for the model; those of the server, which makes the function.
pub fn create(wanted: &Wanted) -> Result<String> {
    crate::pg::change::check_possible();
    let resolved = named(wanted.model)?;
    let parsed = Reference::parse(wanted.model)?;
    let card = resolved.scorer.card();
    let verb = verb_of(card, wanted)?;
    let (schema, name) = place(wanted.name, parsed.model)?;
    if name.len() > LONGEST {
        let message = format!("the function's name has {} bytes, expected at most {LONGEST}", name.len());
        return Err(Error::new(Kind::Parameter, message).hint("Give a shorter one: name => 'score'."));
    }
    let columns = columns_of(resolved.id)?;
    let shape = Shape { schema: &schema, name: &name, columns: &columns };
    let record = json!({ "alias": suffix(wanted.model), "verb": verb, "class": wanted.class });
    let model = model_of(resolved.id)?;
    match made_for(model.0)?.into_iter().find(|m| m.function && m.schema == schema && m.name == name) {
        Some(before) => again(&before, &shape, &model, &record)?,
        None => make(&shape, &model, &record, false)?,
    }
    let function = format!("{}({})", shape.function(), shape.types());
    let sql = "SELECT pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE p.oid = pg_catalog.to_regprocedure($1)::oid";
    let row = write(sql, &[(&function).into()])?.one()?;
    row.ok_or_else(|| Error::internal("a function that was made is not there"))?.get(0)
}

/// The model of a reference that is a name.
fn named(reference: &str) -> Result<std::rc::Rc<Resolved>> {
    let resolved = resolve(reference)?;
    if resolved.version == 0 {
        return Err(Error::new(Kind::Parameter, "the model is given as text, expected a name"));
    }
    Ok(resolved)
}

/// The schema and the name of what is to be made.
fn place(name: Option<&str>, model: &str) -> Result<(String, String)> {
    let mut parts = match name {
        None => vec![model.to_string()],
        Some(name) => query::names(name.trim()).filter(|parts| parts.len() <= 2).ok_or_else(|| {
            Error::new(Kind::Parameter, format!("name is \"{name}\", expected a name or schema.name"))
        })?,
    };
    let last = parts.pop().unwrap_or_default();
    match parts.pop() {
        Some(schema) => Ok((schema, last)),
        None => {
            let row = spi::select("SELECT pg_catalog.current_schema()::pg_catalog.text", &[])?.one()?;
            let schema: Option<String> = row.map(|row| row.get(0)).transpose()?.flatten();
            let schema = schema.ok_or_else(|| {
                Error::new(Kind::Parameter, "no schema has been selected to create in")
                    .hint("Name one: name => 'public.score'.")
            })?;
            Ok((schema, last))
        }
    }
}

/// The model of a version: its row and its name.
fn model_of(version: i64) -> Result<(i64, String)> {
    let sql =
        "SELECT m.id, m.name FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model
        WHERE v.id = $1";
    let row = write(sql, &[version.into()])?.one()?;
    let row = row.ok_or_else(|| Error::internal("a version has no model"))?;
    Ok((row.get(0)?, row.get(1)?))
}

/// The columns that a version reads, in the order in which it takes values, with the types that they had in training.
fn columns_of(version: i64) -> Result<Vec<Column>> {
    let sql = "SELECT f.name, coalesce(c.type, CASE c.kind WHEN 'number' THEN 'float8' WHEN 'boolean' THEN 'bool'
            WHEN 'time' THEN 'timestamptz' WHEN 'vector' THEN '_float4' WHEN 'bytes' THEN 'bytea' ELSE 'text' END)
        FROM damson_catalog.versions v
        CROSS JOIN LATERAL pg_catalog.unnest(ARRAY(
            SELECT c.name FROM damson_lineage.column_facts c
            WHERE c.version = v.id AND c.role = 'group_by' ORDER BY c.place) || v.features) WITH ORDINALITY AS f(name, place)
        LEFT JOIN damson_lineage.column_facts c ON c.version = v.id AND c.name = f.name
        WHERE v.id = $1 ORDER BY f.place";
    let columns = write(sql, &[version.into()])?;
    let columns: Vec<Column> =
        columns.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect::<Result<_>>()?;
    if columns.len() > MOST {
        let message =
            format!("the model reads {} columns, and a function has at most {MOST} arguments", columns.len());
        return Err(Error::new(Kind::Unsupported, message).hint("damson.create_scored_view has no limit."));
    }
    Ok(columns)
}

/// Makes a function with its type, or with `replace` only the function, in the place of one with the same arguments.
fn make(shape: &Shape, model: &(i64, String), record: &Value, replace: bool) -> Result<()> {
    let text = |key: &str| record[key].as_str().unwrap_or_default();
    let (verb, reference) = (text("verb"), format!("{}@{}", model.1, text("alias")));
    let result = VERBS.iter().find(|v| v.0 == verb).map(|v| v.1);
    let result = result.ok_or_else(|| Error::internal("a scorer calls no function that scores"))?;
    let (function, row) = (shape.function(), shape.row());
    if !replace {
        drop_orphan(shape)?;
        run(&format!("CREATE TYPE {row} AS ({})", shape.arguments()))?;
        let about = format!("The columns of {function}, {TYPE}");
        run(&format!("COMMENT ON TYPE {row} IS {}", quoted(&about)))?;
    }
    let values: Vec<String> = (1..=shape.columns.len()).map(|i| format!("${i}")).collect();
    let class = match record["class"].as_str() {
        Some(class) => format!("{}::pg_catalog.text, ", quoted(class)),
        None => String::new(),
    };
    let body = format!(
        "SELECT damson.{verb}({}::pg_catalog.text, {class}ROW({})::{row})",
        quoted(&reference),
        values.join(", ")
    );
    run(&format!(
        "CREATE {}FUNCTION {function}({}) RETURNS {result} LANGUAGE sql STABLE PARALLEL SAFE AS {}",
        if replace { "OR REPLACE " } else { "" },
        shape.arguments(),
        quoted(&body)
    ))?;
    comment("FUNCTION", &format!("{function}({})", shape.types()), &reference, "scorer", model.0, record)
}

/// The end of a type's comment.
const TYPE: &str = "by which its model finds them.";

/// Drops the type of a function that was dropped without it.
fn drop_orphan(shape: &Shape) -> Result<()> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
        WHERE n.nspname = $1::name AND t.typname = $2::name AND t.typtype = 'c'
            AND pg_catalog.obj_description(t.oid, 'pg_type') LIKE '%, ' || $3)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = $1::name AND p.proname = $4::name)";
    let row = row_type(shape.name);
    let found = write(sql, &[shape.schema.into(), (&row).into(), TYPE.into(), shape.name.into()])?.one()?;
    if found.map_or(Ok(false), |found| found.get(0))? {
        run(&format!("DROP TYPE {}", shape.row()))
    } else {
        Ok(())
    }
}

/// Makes a function in the place of one, with its owner and its grants.
fn again(before: &Made, shape: &Shape, model: &(i64, String), record: &Value) -> Result<()> {
    if before.columns == shape.columns && before.record["verb"] == record["verb"] {
        return make(shape, model, record, true);
    }
    if !before.dependents.is_empty() {
        let message = format!(
            "{} must be made anew, as the columns of model \"{}\" change, and other objects depend on it",
            before.shown(),
            model.1
        );
        return Err(Error::new(Code::Needed, message)
            .detail(format!("These do: {}.", before.dependents.join(", ")))
            .hint("Drop them, and create them anew afterwards."));
    }
    before.drop()?;
    make(shape, model, record, false)?;
    let function = format!("{}({})", shape.function(), shape.types());
    if let Some(grants) = &before.grants {
        run(&format!("REVOKE ALL ON FUNCTION {function} FROM PUBLIC"))?;
        for (grantee, grantable) in grants {
            let grantee = grantee.as_deref().map_or("PUBLIC".into(), identifier);
            let option = if *grantable { " WITH GRANT OPTION" } else { "" };
            run(&format!("GRANT EXECUTE ON FUNCTION {function} TO {grantee}{option}"))?;
        }
    }
    let owner = identifier(&before.owner);
    run(&format!("ALTER FUNCTION {function} OWNER TO {owner}"))?;
    run(&format!("ALTER TYPE {} OWNER TO {owner}", shape.row()))
}

/// Keeps the functions of an alias in step with the version that it means now.
///
/// # Errors
/// 2BP01 where other objects depend on a function whose columns change; those of the server.
pub(super) fn follow(model: i64, alias: &str) -> Result<()> {
    let made: Vec<Made> = made_for(model)?
        .into_iter()
        .filter(|m| m.function && m.record["alias"].as_str() == Some(alias))
        .collect();
    if made.is_empty() {
        return Ok(());
    }
    let sql = "SELECT a.version FROM damson_catalog.aliases a WHERE a.model = $1 AND a.alias = $2";
    let Some(row) = write(sql, &[model.into(), alias.into()])?.one()? else { return Ok(()) };
    let version = row.get(0)?;
    let (columns, model) = (columns_of(version)?, model_of(version)?);
    for before in made.iter().filter(|m| m.columns != columns) {
        if before.follows {
            let shape = Shape { schema: &before.schema, name: &before.name, columns: &columns };
            again(before, &shape, &model, &before.record)?;
        } else {
            warn(&format!("{} of role {} keeps the columns of before", before.shown(), before.owner));
        }
    }
    Ok(())
}

/// Drops what was made for a model that is about to be dropped.
///
/// # Errors
/// The server's, where other objects depend on one.
pub(super) fn drop_all(model: i64) -> Result<()> {
    // Views may read functions, which come first in the list.
    for made in made_for(model)?.iter().rev().filter(|m| m.follows) {
        made.drop()?;
    }
    Ok(())
}

/// Gives functions the new name of their model. The caller has renamed it.
///
/// # Errors
/// 55000 for a view, whose text names the model.
pub(super) fn rename(model: i64, old: &str, new: &str) -> Result<()> {
    for made in made_for(model)?.iter().filter(|m| m.follows) {
        if !made.function {
            let message = format!("{} names model \"{old}\"", made.shown());
            return Err(Error::new(Code::NotReady, message)
                .hint("Drop it, rename the model, and call damson.create_scored_view again."));
        }
        let shape = Shape { schema: &made.schema, name: &made.name, columns: &made.columns };
        again(made, &shape, &(model, new.to_string()), &made.record)?;
    }
    Ok(())
}

/// A view to be made.
pub struct WantedView<'a> {
    /// Its name, with a schema or without.
    pub name: &'a str,
    /// `name` or `name@alias`, or `name@7`.
    pub model: &'a str,
    /// A relation or a SELECT.
    pub source: &'a str,
    /// The columns of the source that it shows; all where there are none.
    pub columns: Option<Vec<String>>,
}

/// Makes a view of a source's rows with their scores. Gives its name.
///
/// # Errors
/// 42703 for columns that the source lacks; 42701 for one that has a score's name; those of the server.
pub fn create_view(wanted: &WantedView) -> Result<String> {
    crate::pg::change::check_possible();
    let resolved = named(wanted.model)?;
    let parsed = Reference::parse(wanted.model)?;
    let card = resolved.scorer.card();
    let (schema, name) = place(Some(wanted.name), model_name(parsed.model)?)?;
    let there: Vec<String> = query::describe(wanted.source)?.into_iter().map(|c| c.0).collect();
    let shown = wanted.columns.as_ref().unwrap_or(&there);
    for column in shown.iter().chain(card.inputs.iter().map(|i| &i.name)) {
        if !there.contains(column) {
            return Err(unknown_column(column, there.iter().map(String::as_str)).into());
        }
    }
    let reference = format!("{}@{}", parsed.model, suffix(wanted.model));
    let model = format!("{}::pg_catalog.text", quoted(&reference));
    let scores = crate::pg::filling::scores(card);
    if let Some((score, ..)) = scores.iter().find(|s| shown.iter().any(|c| c == s.0)) {
        let message = format!("the source's column \"{score}\" has the name of a score");
        return Err(
            Error::new(Code::DuplicateColumn, message).hint("Name the columns to show: columns => '{id}'.")
        );
    }
    let columns = shown.iter().map(|c| format!("\"damson row\".{}", identifier(c)));
    let scores = scores.iter().map(|(name, _, sql)| format!("{} AS {name}", sql.replace("$1", &model)));
    let columns: Vec<String> = columns.chain(scores).collect();
    let from = query::from_item(wanted.source)?;
    let view = format!("{}.{}", identifier(&schema), identifier(&name));
    run(&format!("CREATE VIEW {view} AS SELECT {} FROM {from}", columns.join(", ")))?;
    let (id, _) = model_of(resolved.id)?;
    let record = json!({ "alias": suffix(wanted.model) });
    comment("VIEW", &view, &reference, "scored_view", id, &record)?;
    let sql = "SELECT pg_catalog.format('%I.%I', $1, $2)";
    let row = write(sql, &[(&schema).into(), (&name).into()])?.one()?;
    row.ok_or_else(|| Error::internal("a format has no row"))?.get(0)
}
