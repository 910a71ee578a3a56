//! `damson.export_weights` and `damson.import_weights`.

use crate::catalog::weights;
use crate::pg::datum::{Bytes, Text};
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.export_weights(model text)
RETURNS bytea
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.export_weights(text) IS
'The weights of a network as safetensors, under the names that PyTorch''s state_dict has for the same modules.
A layer''s name, or its place, is that of its module: 0.weight, 3.bias, 4.running_mean; (out, in, down, across) of a
convolution, (out, in) of a dense layer, in float32. In PyTorch: model.load_state_dict(safetensors.torch.load(weights),
strict=False), as num_batches_tracked of batch norms is not kept. Inputs are normalised first, by input_mean and input_std
of damson.describe. Only the model''s owner may have them.
Example: SELECT damson.export_weights(''shapes@3'');';
"#)]
fn export_weights(model: Text) -> Bytes {
    answer(|| weights::export(&model).map(Bytes))
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.import_weights(model text, weights bytea, description text DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.import_weights(text, bytea, text) IS
'Makes a new version of a network, with weights from elsewhere; gives its number.
model is the version whose layers, preprocessing, normalisation and classes the weights are for: name (its production),
name@alias or name@7. weights are safetensors with exactly the tensors that damson.export_weights gives, as
safetensors.torch.save writes those of a state_dict. What is measured of the new version is for you to say: see
damson.evaluate. Nothing serves it before it is deployed. Only the model''s owner may import.
Example: SELECT damson.import_weights(''shapes@3'', damson.export_weights(''shapes@2''));';
"#)]
fn import_weights(model: Text, weights: Bytes, description: Option<Text>) -> i64 {
    answer(|| crate::catalog::weights::import(&model, &weights.0, description.as_deref()))
}
