//! Private clusters: a server of our own, with its data, socket and port under the tree's state folder.
//!
//! `dev` is for the demo and for playing; the tests make and drop their own. A cluster listens on a unix
//! socket in its folder, which only its owner may enter (so the socket trusts), and on a free loopback
//! port, which wants a password. Its settings suit tests: nothing is synced to disk.

use crate::command::{output, run as run_command};
use crate::failure::{Context, Result};
use crate::install;
use crate::options::Options;
use crate::server::Server;
use crate::tree::Tree;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The cluster that demo, `psql` and `cluster start` use.
pub const DEV: &str = "dev";

/// One private cluster, running or not.
#[derive(Debug)]
pub struct Cluster<'a> {
    tree: &'a Tree,
    /// The server it runs.
    pub server: Server,
    /// Its folder: `data/`, `log`, the socket, `password`.
    pub folder: PathBuf,
}

impl<'a> Cluster<'a> {
    /// The cluster `name` of `server`; nothing is made or started yet.
    pub fn of(tree: &'a Tree, server: Server, name: &str) -> Cluster<'a> {
        let folder = tree.state.join(format!("pg{}", server.major)).join(name);
        Cluster { tree, server, folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// One of the server's programs, run as its user.
    fn program(&self, name: &str) -> Command {
        self.tree.as_server_user(self.server.bindir.join(name))
    }

    /// Whether a server runs on the data.
    pub fn runs(&self) -> bool {
        self.data().exists()
            && self
                .program("pg_ctl")
                .arg("status")
                .arg("-D")
                .arg(self.data())
                .output()
                .is_ok_and(|o| o.status.success())
    }

    /// The port, of the socket as of the loopback; known once the cluster was started.
    pub fn port(&self) -> Result<u16> {
        let file = self.folder.join("port");
        let text =
            fs::read_to_string(&file).context(|| format!("{}: start the cluster first", file.display()))?;
        text.trim().parse().context(|| file.display().to_string())
    }

    /// The password of `postgres` on the loopback port.
    pub fn password(&self) -> Result<String> {
        let file = self.folder.join("password");
        Ok(fs::read_to_string(&file).context(|| file.display().to_string())?.trim().to_string())
    }

    /// Makes the data folder when there is none, and starts the server when it does not run.
    pub fn start(&self) -> Result<()> {
        if self.runs() {
            eprintln!("PostgreSQL {} runs in {}", self.server.major, self.folder.display());
            return Ok(());
        }
        self.tree.make_server_folder(&self.folder)?;
        if !self.data().join("PG_VERSION").exists() {
            self.create()?;
        }
        let port = match self.port() {
            Ok(port) if TcpListener::bind(("127.0.0.1", port)).is_ok() => port,
            _ => free_port()?,
        };
        let port_file = self.folder.join("port");
        fs::write(&port_file, format!("{port}\n")).context(|| port_file.display().to_string())?;
        let settings = self.folder.join("settings.conf");
        fs::write(&settings, settings_text(&self.folder, port)).context(|| settings.display().to_string())?;
        self.readable(&settings)?;
        let started = run_command(
            self.program("pg_ctl")
                .args(["start", "--wait", "--silent", "-D"])
                .arg(self.data())
                .arg("-l")
                .arg(self.log()),
        );
        if let Err(failure) = started {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            return Err(format!("{failure}\n{tail}").into());
        }
        eprintln!("PostgreSQL {} runs in {}, port {port}", self.server.major, self.folder.display());
        Ok(())
    }

    fn create(&self) -> Result<()> {
        let password = self.folder.join("password");
        let secret = fs::read_to_string("/proc/sys/kernel/random/uuid").context(|| "a random password")?;
        fs::write(&password, secret).context(|| password.display().to_string())?;
        run_command(
            self.program("initdb")
                .args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256"])
                .args(["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"])
                .arg(format!("--pwfile={}", self.readable(&password)?.display()))
                .arg("-D")
                .arg(self.data())
                .stdout(std::process::Stdio::null()),
        )?;
        let file = self.data().join("postgresql.conf");
        let mut text = fs::read_to_string(&file).context(|| file.display().to_string())?;
        text.push_str("\ninclude '../settings.conf'\n");
        fs::write(&file, text).context(|| file.display().to_string())
    }

    /// Gives a file of ours to the servers' user.
    fn readable<'f>(&self, file: &'f Path) -> Result<&'f Path> {
        if let Some(user) = &self.tree.server_user {
            std::os::unix::fs::chown(file, Some(user.uid), Some(user.gid))
                .context(|| file.display().to_string())?;
        }
        Ok(file)
    }

    /// Stops the server when it runs; open sessions are ended.
    pub fn stop(&self) -> Result<()> {
        if !self.runs() {
            return Ok(());
        }
        run_command(
            self.program("pg_ctl").args(["stop", "--wait", "--silent", "--mode=fast", "-D"]).arg(self.data()),
        )
    }

    /// Stops the server and removes the cluster.
    pub fn remove(&self) -> Result<()> {
        self.stop()?;
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).context(|| self.folder.display().to_string())?;
        }
        Ok(())
    }

    /// A client program connected to `database` through the socket, run as ourselves.
    pub fn client(&self, program: &str, database: &str) -> Result<Command> {
        let mut command = Command::new(self.server.bindir.join(program));
        command.arg("-X").args(["-U", "postgres", "-d", database, "-p", &self.port()?.to_string(), "-h"]);
        command.arg(&self.folder);
        Ok(command)
    }

    /// Runs one SQL text in `database` and returns its unaligned rows.
    pub fn query(&self, database: &str, sql: &str) -> Result<String> {
        output(self.client("psql", database)?.args(["-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql]))
    }

    /// The psql command that a person types to get in.
    pub fn psql_command(&self, database: &str) -> Result<String> {
        let psql = self.server.bindir.join("psql");
        Ok(format!(
            "{} -h {} -p {} -U postgres {database}",
            psql.display(),
            self.folder.display(),
            self.port()?
        ))
    }

    /// The connection string through the socket.
    pub fn dsn(&self, database: &str) -> Result<String> {
        Ok(format!("host={} port={} user=postgres dbname={database}", self.folder.display(), self.port()?))
    }
}

/// A port of the loopback that nobody listens on.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context(|| "looking for a free loopback port")?;
    Ok(listener.local_addr().context(|| "looking for a free loopback port")?.port())
}

fn settings_text(folder: &Path, port: u16) -> String {
    // Where benchmarks run, warm tables lie in the server's own buffers, as they do on a server that is set up for them.
    let buffers = if folder.ends_with(DEV) { "1GB" } else { "128MB" };
    let folder = folder.display().to_string().replace('\'', "''");
    format!(
        "# Written at every start.
port = {port}
listen_addresses = '127.0.0.1'
unix_socket_directories = '{folder}'
unix_socket_permissions = 0700
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = '{buffers}'
max_wal_size = '4GB'
max_connections = 60
max_prepared_transactions = 4
max_worker_processes = 32
max_parallel_workers = 8
max_wal_senders = 8
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_line_prefix = '%m [%p] %d '
"
    )
}

/// `xtask cluster start|stop|restart|status`.
pub fn run(tree: &Tree, options: &Options) -> Result<()> {
    let name = options.name.as_deref().unwrap_or(DEV);
    let cluster = Cluster::of(tree, Server::private(tree, options.major())?, name);
    match options.rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["start"] => cluster.start(),
        ["stop"] => cluster.stop(),
        ["restart"] => cluster.stop().and_then(|()| cluster.start()),
        ["status"] => {
            let state =
                if cluster.runs() { cluster.psql_command("postgres")? } else { "stopped".to_string() };
            println!("{state}");
            Ok(())
        }
        _ => Err("cluster wants one of start, stop, restart, status".into()),
    }
}

/// `xtask psql`: everything that stands between a change and trying it.
pub fn psql(tree: &Tree, options: &Options) -> Result<()> {
    let cluster = Cluster::of(tree, install::into_private(tree, options.major(), &[])?, DEV);
    cluster.start()?;
    ensure_database(&cluster, "damson")?;
    // Takes over this process, so that psql has the terminal and its signals.
    let error = cluster.client("psql", "damson")?.args(&options.rest).exec();
    Err(format!("psql: {error}").into())
}

/// Makes `database` with the extension in it, unless it is there.
pub fn ensure_database(cluster: &Cluster, database: &str) -> Result<()> {
    let found =
        cluster.query("postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{database}'"))?;
    if found.is_empty() {
        cluster.query("postgres", &format!("CREATE DATABASE {database}"))?;
    }
    cluster
        .query(database, "SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS damson")
        .map(drop)
}

/// Every cluster of the state folder, of whatever version.
fn all(tree: &Tree) -> Vec<Cluster<'_>> {
    let mut clusters = Vec::new();
    for major in 13..=18 {
        let Ok(entries) = fs::read_dir(tree.state.join(format!("pg{major}"))) else { continue };
        let folders = entries.flatten().map(|entry| entry.path());
        let folders: Vec<PathBuf> =
            folders.filter(|folder| folder.join("data/PG_VERSION").exists()).collect();
        if folders.is_empty() {
            continue;
        }
        match Server::private(tree, major) {
            Ok(server) => clusters.extend(folders.into_iter().map(|folder| Cluster {
                tree,
                server: server.clone(),
                folder,
            })),
            Err(failure) => eprintln!("leaving the clusters of PostgreSQL {major}: {failure}"),
        }
    }
    clusters
}

/// `xtask stop`.
pub fn stop_all(tree: &Tree) -> Result<()> {
    for cluster in all(tree) {
        cluster.stop()?;
    }
    eprintln!("no private cluster of this checkout runs");
    Ok(())
}

/// `xtask clean`: the clusters, the build folder and cargo's target folder.
pub fn clean(tree: &Tree) -> Result<()> {
    stop_all(tree)?;
    let target = tree.root.join("target");
    for folder in [&tree.state, &tree.build, &target] {
        if folder.exists() {
            eprintln!("removing {}", folder.display());
            fs::remove_dir_all(folder).context(|| folder.display().to_string())?;
        }
    }
    Ok(())
}
