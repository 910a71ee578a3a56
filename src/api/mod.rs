//! The verbs of SQL, one file each: arguments in, rows out, no logic. `#[pg_extern]` appears here alone. Each gives
//! its exact `CREATE` statement with volatility, strictness and parallel safety, and its comment, from which the
//! reference is made: the first line sums up, the last one is an example.

mod algorithms;
mod approve;
#[cfg(feature = "bench")]
mod bench;
mod calibration;
mod canary;
mod change_points;
mod coefficients;
mod concept_drift;
mod confusion;
mod correlation;
mod data_quality;
mod deploy;
mod describe;
mod drift;
mod drift_between;
mod drift_quick;
mod drop_model;
mod evaluate;
mod expire_versions;
mod export;
mod fairness;
mod fit;
mod fold;
mod grant_model;
mod groups;
mod importance;
mod lift;
mod lineage;
mod look_after;
mod partial_dependence;
mod performance_drift;
mod pipeline;
mod pr_curve;
mod promote;
mod rename_model;
mod reproduce;
mod residuals;
mod roc;
mod rollback;
mod schedule;
mod score;
mod score_into;
mod search;
mod set_policy;
mod shadow;
mod statistical_test;
mod submit;
mod summarize;
mod train;
mod used_row;
mod version;
