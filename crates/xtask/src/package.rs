//! `xtask package`: a tarball that installs without Rust, by the `install.sh` inside it.

use crate::command::run as run_command;
use crate::failure::{Context, Result};
use crate::install::{LIBRARY, Parts, parts};
use crate::options::Options;
use crate::server::Server;
use crate::tree::{Tree, VERSION};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Builds for the server of `--pg-config` (or of `--pg`) and packs what an installation consists of.
pub fn run(tree: &Tree, options: &Options) -> Result<()> {
    let server = match &options.pg_config {
        Some(pg_config) => Server::of_pg_config(pg_config)?,
        None => Server::installed(tree, options.major())?,
    };
    let name = format!("damson-{VERSION}-pg{}-linux-{}", server.major, std::env::consts::ARCH);
    let folder = tree.build.join(&name);
    let Parts { library, scripts } = parts(tree, &server, &[])?;
    let installer = include_str!("install.sh").replace("@MAJOR@", &server.major.to_string());
    if folder.exists() {
        fs::remove_dir_all(&folder).context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(&folder).context(|| folder.display().to_string())?;
    let write = |name: &str, bytes: &[u8], mode: u32| {
        let file = folder.join(name);
        fs::write(&file, bytes)
            .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(mode)))
            .context(|| file.display().to_string())
    };
    write(LIBRARY, &library, 0o755)?;
    for (name, bytes) in &scripts {
        write(name, bytes, 0o644)?;
    }
    write("install.sh", installer.as_bytes(), 0o755)?;
    let tarball = tree.build.join(format!("{name}.tar.gz"));
    run_command(
        Command::new("tar")
            .args(["--owner=0", "--group=0", "--sort=name", "-czf"])
            .arg(&tarball)
            .arg("-C")
            .arg(&tree.build)
            .arg(&name),
    )?;
    fs::remove_dir_all(&folder).context(|| folder.display().to_string())?;
    println!("{}", tarball.display());
    println!("on the server's machine: tar -xzf {name}.tar.gz && {name}/install.sh [/path/to/pg_config]");
    Ok(())
}
