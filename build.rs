//! Compiles `src/pg/shim.c` against the headers of the server that the extension is built for, and stamps the library
//! with the SQL that it relies on.

use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "crates/xtask/src/stamp.rs"]
mod stamp;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for source in ["src/api", "sql/catalog.sql", "crates/xtask/src/stamp.rs"] {
        println!("cargo:rerun-if-changed={source}");
    }
    println!("cargo:rustc-env=DAMSON_SQL_STAMP={}", stamp::of(Path::new("."))?);
    println!("cargo:rerun-if-changed=src/pg/shim.c");
    println!("cargo:rerun-if-env-changed=PGRX_PG_CONFIG_PATH");
    // The same variable tells pgrx which server to bind to.
    let pg_config = std::env::var("PGRX_PG_CONFIG_PATH").unwrap_or_else(|_| "pg_config".into());
    let output = Command::new(&pg_config).arg("--includedir-server").output();
    let output = output.map_err(|e| format!("could not run {pg_config}: {e}; set PGRX_PG_CONFIG_PATH"))?;
    let include = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    cc::Build::new()
        .file("src/pg/shim.c")
        .include(include)
        .opt_level(2)
        .warnings(false)
        .flag_if_supported("-fno-strict-aliasing")
        .flag_if_supported("-fwrapv")
        .compile("damson_shim");
    Ok(())
}
