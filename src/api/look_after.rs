//! What the views of jobs call, so that who looks at a queue that was forgotten by a restart sets it going again. Its SQL
//! stands before theirs, in `sql/jobs.sql`.

use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn look_after() -> bool {
    crate::worker::look_after();
    true
}
