//! Compiles the extension's C against the headers of the server that it is built for, stamps the library with the SQL
//! that it relies on, and notes what the code is: a hash of its sources, and the libraries it computes with.

use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "crates/xtask/src/stamp.rs"]
mod stamp;

/// What numbers depend on.
const LIBRARIES: [&str; 10] =
    ["faer", "gemm", "image", "pulp", "rand", "rand_chacha", "rayon", "safetensors", "statrs", "xxhash-rust"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for source in ["sql", "src/api", "crates/xtask/src/stamp.rs"] {
        println!("cargo:rerun-if-changed={source}");
    }
    println!("cargo:rustc-env=DAMSON_SQL_STAMP={}", stamp::of(Path::new("."))?);
    println!("cargo:rerun-if-changed=src/worker/wake.c");
    println!("cargo:rerun-if-changed=src/worker/device.c");
    println!("cargo:rerun-if-env-changed=PGRX_PG_CONFIG_PATH");
    // The same variable tells pgrx which server to bind to.
    let pg_config = std::env::var("PGRX_PG_CONFIG_PATH").unwrap_or_else(|_| "pg_config".into());
    let output = Command::new(&pg_config).arg("--includedir-server").output();
    let output = output.map_err(|e| format!("could not run {pg_config}: {e}; set PGRX_PG_CONFIG_PATH"))?;
    let include = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    cc::Build::new()
        .files([
            "src/pg/shim.c",
            "src/pg/reads.c",
            "src/pg/batch_calls.c",
            "src/pg/batch_hooks.c",
            "src/pg/batch_layers.c",
            "src/pg/batch_node.c",
            "src/pg/batch_plan.c",
            "src/worker/wake.c",
            "src/worker/device.c",
        ])
        .include(include)
        .opt_level(2)
        .warnings(false)
        .flag_if_supported("-fno-strict-aliasing")
        .flag_if_supported("-fwrapv")
        .flag_if_supported("-Werror=implicit-function-declaration")
        .compile("damson_shim");
    note_code()
}

/// Sets `DAMSON_BUILD` and `DAMSON_LIBRARIES` for the code.
fn note_code() -> Result<(), Box<dyn std::error::Error>> {
    let mut files = vec![];
    for folder in ["src", "crates/engine/src", "crates/nn/src"] {
        println!("cargo:rerun-if-changed={folder}");
        sources(Path::new(folder), &mut files)?;
    }
    files.sort();
    // FNV-1a: no library is needed to tell one text from another.
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for file in &files {
        for byte in std::fs::read(file)? {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    println!("cargo:rustc-env=DAMSON_BUILD={hash:016x}");
    println!("cargo:rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock")?;
    let mut found = vec![];
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")));
            line.map(|value| value.trim_end_matches('"').to_string()).unwrap_or_default()
        };
        if LIBRARIES.contains(&field("name").as_str()) {
            found.push(format!("\"{}\": \"{}\"", field("name"), field("version")));
        }
    }
    println!("cargo:rustc-env=DAMSON_LIBRARIES={{{}}}", found.join(", "));
    println!("cargo:rustc-env=DAMSON_TARGET={}", std::env::var("TARGET")?);
    Ok(())
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
