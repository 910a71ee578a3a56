//! Puts the extension into a server: the library, the control file, the install script and the upgrade
//! scripts.
//!
//! Every file is written aside and renamed. A running backend keeps the library that it has mapped, which
//! overwriting in place would crash.

use crate::failure::{Context, Result};
use crate::options::Options;
use crate::server::Server;
use crate::tree::{Tree, VERSION};
use crate::{build, sql};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The library's name in a server's folder.
pub const LIBRARY: &str = "damson.so";

/// `xtask install`.
pub fn run(tree: &Tree, options: &Options) -> Result<()> {
    match &options.pg_config {
        Some(pg_config) => {
            let server = Server::of_pg_config(pg_config)?;
            into(tree, &server, options.destdir.as_deref(), &[])
        }
        None => into_private(tree, options.major(), &[]).map(drop),
    }
}

/// Builds for the private server of this version, with some features, installs there, and returns it.
pub fn into_private(tree: &Tree, major: u16, features: &[&str]) -> Result<Server> {
    let server = Server::private(tree, major)?;
    into(tree, &server, None, features)?;
    Ok(server)
}

/// Builds for `server` and installs there, every path put under `destdir` when there is one.
pub fn into(tree: &Tree, server: &Server, destdir: Option<&Path>, features: &[&str]) -> Result<()> {
    let under = |folder: &Path| match destdir {
        Some(destdir) => destdir.join(folder.strip_prefix("/").unwrap_or(folder)),
        None => folder.to_path_buf(),
    };
    let (lib, extension) = (under(&server.pkglibdir), under(&server.sharedir.join("extension")));
    let Parts { library, scripts } = parts(tree, server, features)?;
    place(&lib.join(LIBRARY), &library, 0o755)?;
    for (name, bytes) in &scripts {
        place(&extension.join(name), bytes, 0o644)?;
    }
    eprintln!("installed damson {VERSION} for PostgreSQL {}:", server.major);
    eprintln!("  {}\n  {}", lib.join(LIBRARY).display(), extension.join("damson.control").display());
    Ok(())
}

/// What an installation consists of.
pub struct Parts {
    /// The bytes of `damson.so`.
    pub library: Vec<u8>,
    /// The files of `extension/` by name. The control file comes last: it is what makes the rest visible.
    pub scripts: Vec<(String, Vec<u8>)>,
}

/// Builds for `server`, and gathers what its installation consists of.
pub fn parts(tree: &Tree, server: &Server, features: &[&str]) -> Result<Parts> {
    let built = build::library(tree, server, features)?;
    let read = |file: &Path| fs::read(file).context(|| file.display().to_string());
    let mut scripts = vec![(format!("damson--{VERSION}.sql"), sql::of_library(tree, &built)?.into_bytes())];
    for upgrade in upgrade_scripts(tree) {
        let name = upgrade.file_name().unwrap_or_default().to_string_lossy().into_owned();
        scripts.push((name, read(&upgrade)?));
    }
    scripts.push(("damson.control".to_string(), sql::control(tree)?.into_bytes()));
    Ok(Parts { library: read(&built)?, scripts })
}

/// `sql/damson--A--B.sql`, in name order.
fn upgrade_scripts(tree: &Tree) -> Vec<PathBuf> {
    let folder = tree.root.join("sql");
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let mut scripts: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("damson--") && name.ends_with(".sql")
        })
        .collect();
    scripts.sort();
    scripts
}

/// Writes `bytes` beside `file` and renames them into place.
fn place(file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let told = || format!("writing {}", file.display());
    let folder = file.parent().ok_or_else(|| format!("{} has no folder", file.display()))?;
    if let Err(error) = fs::create_dir_all(folder).and_then(|()| writable(folder)) {
        let hint = "the server's own folders want root; or give --destdir";
        return Err(format!("{}: {error} ({hint})", told()).into());
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let aside = folder.join(format!(".{name}.{}", std::process::id()));
    fs::write(&aside, bytes).context(told)?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(mode)).context(told)?;
    fs::rename(&aside, file).context(told)
}

/// Whether we may put a file into `folder`.
fn writable(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".damson.{}", std::process::id()));
    fs::write(&probe, b"")?;
    fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn replaces_a_file_by_another_and_leaves_nothing_aside() {
        let folder = std::env::temp_dir().join(format!("damson-place-{}", std::process::id()));
        let file = folder.join("a.so");
        place(&file, b"one", 0o755).unwrap();
        let before = fs::metadata(&file).unwrap().ino();
        place(&file, b"two", 0o755).unwrap();
        let after = fs::metadata(&file).unwrap();
        assert_ne!(before, after.ino(), "overwritten in place");
        assert_eq!((fs::read(&file).unwrap(), after.mode() & 0o777), (b"two".to_vec(), 0o755));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
