//! Where things lie: the checkout, its build folder, and the folder of the private servers.

use crate::failure::{Context, Result};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of the extension: the workspace's, so this tool's own.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A socket's path ends with `/pgNN/NAME/.s.PGSQL.65535`, and the kernel takes 107 bytes.
const LONGEST_STATE: usize = 70;

/// The checkout that this tool works on.
#[derive(Debug)]
pub struct Tree {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// `build/`: the Python environment, the packages, and (where it can be) the private servers.
    pub build: PathBuf,
    /// Where the private servers and their clusters lie, one folder per major version. It is `build/`,
    /// unless the servers' user cannot get there (a checkout under `/root`) or the path is too long for a
    /// socket; then it is a folder of `/var/tmp` named after the checkout.
    pub state: PathBuf,
    /// Whom the servers run as when we are root, which a PostgreSQL server refuses to be.
    pub server_user: Option<User>,
}

/// An account of this machine.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

impl Tree {
    /// The tree that this tool was built from.
    pub fn open() -> Result<Tree> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        // A shared target folder may hold a tool built from another checkout: the current folder decides.
        let root = match std::env::current_dir() {
            Ok(here) if here.join("damson.control").exists() => here,
            _ => root,
        };
        let root = root.canonicalize().context(|| format!("the checkout {}", root.display()))?;
        let build = root.join("build");
        let server_user = if euid()? == 0 { Some(unprivileged_user()?) } else { None };
        let state = state_folder(&root, &build, server_user.as_ref())?;
        Ok(Tree { root, build, state, server_user })
    }

    /// The Python of the clients' environment, which `scripts/setup.sh` makes.
    pub fn python(&self) -> PathBuf {
        self.build.join("venv/bin/python")
    }

    /// A command that runs as the servers' user, in a folder it can read. RUST_BACKTRACE is unset: a
    /// backtrace taken inside a server on every error costs more than the error.
    pub fn as_server_user(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.state).env_remove("RUST_BACKTRACE");
        if let Some(user) = &self.server_user {
            command.uid(user.uid).gid(user.gid).env("HOME", &self.state).env("USER", &user.name);
        }
        command
    }

    /// Makes `folder`, owned by the servers' user and closed to others.
    pub fn make_server_folder(&self, folder: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        fs::create_dir_all(folder).context(|| folder.display().to_string())?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .context(|| folder.display().to_string())?;
        if let Some(user) = &self.server_user {
            std::os::unix::fs::chown(folder, Some(user.uid), Some(user.gid))
                .context(|| format!("giving {} to {}", folder.display(), user.name))?;
        }
        Ok(())
    }
}

/// Who we are, for the kernel: the owner of our own process entry.
fn euid() -> Result<u32> {
    Ok(fs::metadata("/proc/self").context(|| "/proc/self")?.uid())
}

/// `postgres`, which Debian's packages create.
fn unprivileged_user() -> Result<User> {
    let accounts = fs::read_to_string("/etc/passwd").context(|| "/etc/passwd")?;
    accounts.lines().find_map(|line| user_of_line(line, "postgres")).ok_or_else(|| {
        "a server does not run as root, and this machine has no user 'postgres'; run scripts/setup.sh first".into()
    })
}

fn user_of_line(line: &str, name: &str) -> Option<User> {
    let mut fields = line.split(':');
    let found = fields.next()?;
    let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    (found == name).then(|| User { name: found.to_string(), uid, gid })
}

fn state_folder(root: &Path, build: &Path, user: Option<&User>) -> Result<PathBuf> {
    fs::create_dir_all(build).context(|| build.display().to_string())?;
    let reachable = match user {
        None => true,
        Some(user) => {
            let mut probe = Command::new("test");
            probe.args(["-x".as_ref(), build.as_os_str()]).current_dir("/").uid(user.uid).gid(user.gid);
            probe.status().context(|| "test -x")?.success()
        }
    };
    if reachable && build.as_os_str().len() <= LONGEST_STATE {
        return Ok(build.to_path_buf());
    }
    let state = PathBuf::from(format!("/var/tmp/damson-{:016x}", fingerprint(root)));
    fs::create_dir_all(&state).context(|| state.display().to_string())?;
    // Anybody may make a folder in /var/tmp: take it only when it is ours.
    let owner = fs::symlink_metadata(&state).context(|| state.display().to_string())?;
    if !owner.is_dir() || owner.uid() != euid()? {
        return Err(format!("{} belongs to somebody else; remove it", state.display()).into());
    }
    Ok(state)
}

/// FNV-1a of the path: a name that stays the same from run to run.
fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_an_account_by_its_whole_name() {
        let line = "postgres:x:101:104:PostgreSQL administrator:/var/lib/postgresql:/bin/bash";
        let user = user_of_line(line, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(user_of_line(line, "post").is_none());
    }

    #[test]
    fn moves_the_servers_when_the_path_is_too_long_for_a_socket() {
        let deep = std::env::temp_dir().join("d".repeat(80));
        let state = state_folder(&deep, &deep, None).unwrap();
        assert!(state.starts_with("/var/tmp"), "{}", state.display());
        fs::remove_dir(&deep).unwrap();
        fs::remove_dir(&state).unwrap();
    }
}
