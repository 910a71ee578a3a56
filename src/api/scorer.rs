//! `damson.create_scorer` and `damson.create_scored_view`: models for tools that know plain functions and views.

use crate::catalog::scorers::{self, Wanted, WantedView};
use crate::pg::datum::{Text, TextArray};
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.create_scorer(
    model text, name text DEFAULT NULL, verb text DEFAULT NULL, class text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.create_scorer IS
'Makes a SQL function that scores with a model and has its columns as arguments; gives its signature.
Arguments have the names and types of the columns that the model was trained on. model is name or name@alias: the function
scores with what that means when it is called. name is the function''s, with a schema or without; by default the model''s.
verb is the scoring function that it calls: predict, classify, probability (of class), probabilities, labels, prediction_set,
predict_lower, predict_upper, explain or embed; by default what the model''s task suggests. The function is yours, and a
type beside it, name_row, which binds its arguments by name. Who calls it needs the right to use the model.
When damson.deploy or damson.rollback change the columns, the function is made anew in the same transaction, with its
owner and grants: those of the model''s owner and of who deploys. Where other objects depend on it that is an error.
Functions of others stay, and are errors where a column is missing, until their owners call this again. With the model
they are dropped. damson.scorers shows them.
Example: SELECT damson.create_scorer(''churn'', name => ''churn_risk'', class => ''yes'');';
"#)]
fn create_scorer(model: Text, name: Option<Text>, verb: Option<Text>, class: Option<Text>) -> Text {
    let wanted =
        Wanted { model: &model, name: name.as_deref(), verb: verb.as_deref(), class: class.as_deref() };
    answer(|| scorers::create(&wanted).map(Text))
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.create_scored_view(view text, model text, source text, columns text[] DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.create_scored_view IS
'Makes a view of a source''s rows with their scores; gives its name.
source is a relation''s name or a SELECT, columns those of it that the view shows (by default all), followed by
prediction and, of a classification, probability: that of the class decided for. model is name or name@alias: rows are
scored with what that means when the view is read. The view is yours, and reads the source with your rights as every view;
who reads it needs the right to use the model. It is dropped with the model.
Example: SELECT damson.create_scored_view(''churn_today'', ''churn'', ''customers'', columns => ''{id, region}'');';
"#)]
fn create_scored_view(view: Text, model: Text, source: Text, columns: Option<TextArray>) -> Text {
    answer(|| {
        let columns = columns.map(|c| c.without_nulls("columns")).transpose()?;
        scorers::create_view(&WantedView { name: &view, model: &model, source: &source, columns }).map(Text)
    })
}
