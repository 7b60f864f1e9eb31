//! A PostgreSQL cluster of the run's own: a temp folder, a free port, another user when we are root, removed at the end.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::keeper;

/// The password of the cluster's user, with every character that a connection URL must percent-encode.
const PASSWORD: &str = "p@ss/w:rd#1?%";
const PASSWORD_ENCODED: &str = "p%40ss%2Fw%3Ard%231%3F%25";
const USER: &str = "np_sync_test";

/// A cluster of this run. Dropped: stopped and removed, also when a case panicked.
pub struct Cluster {
    bin: PathBuf,
    run_as: Option<RunAs>,
    dir: Option<TempDir>,
    port: u16,
    process: Mutex<Option<Child>>,
    databases: AtomicU32,
}

struct RunAs {
    user: String,
    uid: u32,
    gid: u32,
}

/// How a cluster is stopped.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Connections are ended, then a clean shutdown.
    Fast,
    /// As after a crash: recovery at the next start.
    Immediate,
}

impl Cluster {
    /// Makes a cluster and starts it. Fails, never skips, where PostgreSQL is not installed.
    pub fn start() -> Result<Self> {
        let bin = find_bin()?;
        let dir = tempfile::Builder::new().prefix("nself-sync-pg-").tempdir()?;
        keeper::watch_folder(dir.path());
        let run_as = other_user_when_root()?;
        if let Some(run_as) = &run_as {
            std::os::unix::fs::chown(dir.path(), Some(run_as.uid), Some(run_as.gid))?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let cluster = Self {
            bin,
            run_as,
            dir: Some(dir),
            port,
            process: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        cluster.initdb()?;
        cluster.resume()?;
        Ok(cluster)
    }

    fn initdb(&self) -> Result<()> {
        let password_file = self.path().join("password");
        fs::write(&password_file, PASSWORD)?;
        if let Some(run_as) = &self.run_as {
            std::os::unix::fs::chown(&password_file, Some(run_as.uid), Some(run_as.gid))?;
        }
        let output = self
            .command("initdb")
            .arg("-D")
            .arg(self.path().join("data"))
            .args(["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", "--pwfile"])
            .arg(&password_file)
            .output()
            .context("initdb")?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Starts the cluster again on the same port and data.
    pub fn resume(&self) -> Result<()> {
        let log = fs::File::options().create(true).append(true).open(self.log_path())?;
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.path().join("data"))
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(self.path())
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("postgres")?;
        keeper::watch_process(child.id());
        *self.process.lock().expect("no holder panics") = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match self.psql("postgres", "SELECT 1") {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    let log = fs::read_to_string(self.log_path()).unwrap_or_default();
                    bail!("PostgreSQL did not come up: {error:#}\n{log}");
                }
                Err(_) => sleep(Duration::from_millis(50)),
            }
        }
    }

    /// The process that has started all others of it, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.lock().expect("no holder panics").as_ref().map(Child::id)
    }

    /// Stops the cluster; its data stay.
    pub fn stop(&self, how: Stop) {
        let Some(mut child) = self.process.lock().expect("no holder panics").take() else { return };
        let signal = match how {
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        };
        super::native::send_signal(child.id(), signal);
        let _ = child.wait();
        keeper::forget_process(child.id());
    }

    /// A fresh, empty database; its URL.
    pub fn create_database(&self) -> Result<String> {
        let name = format!("sync_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(format!("postgres://{USER}:{PASSWORD_ENCODED}@127.0.0.1:{}/{name}", self.port))
    }

    /// Runs SQL in the database of that name; its output, unaligned and without headers.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let output = self
            .command("psql")
            .env("PGPASSWORD", PASSWORD)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"])
            .args(["-p", &self.port.to_string(), "-U", USER, "-d", database, "-c", sql])
            .stdin(Stdio::null())
            .output()
            .context("psql")?;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The same as another role, by a URL.
    pub fn psql_as(&self, url: &str, sql: &str) -> Result<String> {
        let output = self
            .command("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
            .stdin(Stdio::null())
            .output()
            .context("psql")?;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs a script with psql's own commands in it.
    pub fn psql_script(&self, database: &str, script: &str) -> Result<()> {
        let mut child = self
            .command("psql")
            .env("PGPASSWORD", PASSWORD)
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"])
            .args(["-p", &self.port.to_string(), "-U", USER, "-d", database, "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("psql")?;
        child.stdin.take().context("psql's input")?.write_all(script.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Transactions a second of pgbench's clients that do the least a push must: lock one of 200 heads, insert a
    /// delta of 200 bytes, move the head.
    pub fn pgbench(&self, database: &str, clients: usize, time: Duration) -> Result<f64> {
        self.psql(
            database,
            "CREATE TABLE bench_heads (u INT PRIMARY KEY, seq BIGINT NOT NULL) WITH (fillfactor = 50);
             CREATE TABLE bench_deltas (u INT, seq BIGINT, diff TEXT, PRIMARY KEY (u, seq));
             INSERT INTO bench_heads SELECT n, 0 FROM generate_series(1, 200) AS n;",
        )?;
        let script = self.path().join("push.sql");
        fs::write(
            &script,
            "\\set u random(1, 200)\nBEGIN;\nSELECT seq + 1 AS seq FROM bench_heads WHERE u = :u FOR UPDATE \\gset\n\
             INSERT INTO bench_deltas VALUES (:u, :seq, repeat('x', 200));\n\
             UPDATE bench_heads SET seq = :seq WHERE u = :u;\nEND;\n",
        )?;
        let output = self
            .command("pgbench")
            .env("PGPASSWORD", PASSWORD)
            .args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string()])
            .args(["-T", &time.as_secs().to_string(), "-f"])
            .arg(&script)
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, database])
            .stdin(Stdio::null())
            .output()
            .context("pgbench")?;
        let printed = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        let tps =
            printed.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        tps.with_context(|| format!("pgbench printed no tps: {printed}"))
    }

    fn path(&self) -> &Path {
        self.dir.as_ref().expect("present until drop").path()
    }

    fn log_path(&self) -> PathBuf {
        self.path().join("postgres.log")
    }

    /// `setpriv` execs, so that the child's id is the process's own.
    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = match &self.run_as {
            None => Command::new(program),
            Some(run_as) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={}", run_as.uid))
                    .arg(format!("--regid={}", run_as.gid))
                    .args(["--clear-groups", "--"])
                    .arg(program)
                    .env("HOME", self.path())
                    .env("USER", &run_as.user);
                command
            }
        };
        command.current_dir(self.path());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop(Stop::Immediate);
        if let Some(dir) = self.dir.take() {
            let path = dir.path().to_owned();
            if dir.close().is_ok() {
                keeper::forget_folder(&path);
            }
        }
    }
}

/// The name of the database in a URL made by [`Cluster::create_database`].
pub fn database_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn find_bin() -> Result<PathBuf> {
    let has_all = |dir: &Path| ["initdb", "postgres", "psql"].iter().all(|name| dir.join(name).is_file());
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|dirs| dirs.flatten().map(|dir| dir.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    versions.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).chain(versions).find(|dir| has_all(dir)) {
        // A link in PATH would keep `postgres` from finding its share folder.
        Some(dir) => {
            let real = dir.join("postgres").canonicalize()?;
            Ok(real.parent().map_or(dir, Path::to_owned))
        }
        None => bail!(
            "PostgreSQL's initdb, postgres and psql were not found in PATH or /usr/lib/postgresql/*/bin; \
             `cargo xtask setup` installs them, or install the package postgresql"
        ),
    }
}

fn other_user_when_root() -> Result<Option<RunAs>> {
    let id = |args: &[&str]| -> Result<u32> {
        let output = Command::new("id").args(args).stderr(Stdio::null()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
    };
    if id(&["-u"])? != 0 {
        return Ok(None);
    }
    for user in ["postgres", "nobody"] {
        if let (Ok(uid), Ok(gid)) = (id(&["-u", user]), id(&["-g", user])) {
            return Ok(Some(RunAs { user: user.to_owned(), uid, gid }));
        }
    }
    bail!("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}
