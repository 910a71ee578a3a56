-- What networks are scored and trained by.

CREATE FUNCTION damson_catalog.devices()
RETURNS TABLE (device text, state text, name text, reason text, pid integer, memory bigint, models bigint,
               model_memory bigint, requests bigint, rows bigint, batches bigint, largest_batch bigint, batch_sizes jsonb,
               waited bigint, computed bigint, trainings bigint, training_memory bigint, epochs bigint)
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 2
AS 'MODULE_PATHNAME', 'devices_wrapper';
COMMENT ON FUNCTION damson_catalog.devices() IS
'What damson.devices shows, as the workers of devices tell it.
Times are in microseconds, since a worker started.
Example: SELECT device, state FROM damson_catalog.devices();';

CREATE VIEW damson.devices AS
SELECT d.device, d.state, d.name, d.reason, d.pid, d.memory, d.models, d.model_memory, d.requests, d.rows, d.batches,
       round(d.requests::numeric / nullif(d.batches, 0), 1)::float8 AS mean_batch, d.largest_batch, d.batch_sizes,
       round(d.waited / 1000.0 / nullif(d.requests, 0), 3)::float8 AS mean_wait_ms,
       round(d.computed / 1000.0 / nullif(d.batches, 0), 3)::float8 AS mean_compute_ms,
       d.trainings, d.training_memory, d.epochs
FROM damson_catalog.devices() d;
COMMENT ON VIEW damson.devices IS
'The devices that networks are scored and trained by: the CPU, and what damson.device asks for.
A GPU is looked for by a background worker of this database, which the view starts where damson.device asks for one. state is
ready; none, where there is no such device; unused, where it is not asked for; starting; or lost, where its worker cannot be
had. reason says why it does not serve. memory is the device''s, in bytes, model_memory what the models in it take. Since the
worker started: requests are blocks of rows that sessions sent; mean_batch and largest_batch are the requests computed at
once, batch_sizes has the batches by their requests; mean_wait_ms is how long a request waited for its batch, mean_compute_ms
how long a batch took. trainings are those that have their place in the device now, which takes training_memory; epochs were
trained there since the worker started.
Example: SELECT device, state, name, reason FROM damson.devices;';
GRANT SELECT ON damson.devices TO PUBLIC;
