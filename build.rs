//! Compiles `src/pg/shim.c` against the headers of the server that the extension is built for.

use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
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
