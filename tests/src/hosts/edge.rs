//! The edge in the real workerd, as a process of its own, on local disk.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::native::{agent, call, shift_sqlite};
use super::secrets::Secrets;
use super::{Host, Launch, Request, Response, keeper, merged_vars};
use crate::world::encode;

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(30);

/// The operator's token, for pruning and transfers.
pub const ADMIN_TOKEN: &str = "contract-suite-operator-0123456789abcdef";

/// A time of alarms that is over: nanoseconds since 1970.
const LONG_AGO_NS: i64 = 1_000_000_000_000;

/// Starts the edge.
pub struct Edge;

impl Launch for Edge {
    fn name(&self) -> &str {
        "edge"
    }

    fn start(&self, vars: &[(&str, &str)]) -> Result<Arc<dyn Host>> {
        Ok(Arc::new(EdgeHost::start(vars)?))
    }
}

/// A running workerd.
pub struct EdgeHost {
    vars: Mutex<Vec<(String, String)>>,
    dir: TempDir,
    running: Mutex<Option<Running>>,
    secrets: Secrets,
}

struct Running {
    child: Child,
    addr: SocketAddr,
    agent: ureq::Agent,
}

impl EdgeHost {
    fn start(vars: &[(&str, &str)]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("nself-sync-edge-").tempdir()?;
        keeper::watch_folder(dir.path());
        let mut vars = merged_vars(vars);
        if !vars.iter().any(|(name, _)| name == "PLUGIN_SYNC_ADMIN_TOKEN") {
            vars.push(("PLUGIN_SYNC_ADMIN_TOKEN".to_owned(), ADMIN_TOKEN.to_owned()));
        }
        fs::create_dir(dir.path().join("storage"))?;
        let (running, secrets) = (Mutex::new(None), Secrets::default());
        let host = Self { vars: Mutex::new(vars), dir, running, secrets };
        host.resume()?;
        // A configuration that is not valid is told with every request: there is no start that could end.
        let health = host.try_call(Request::new("GET", "/health"))?;
        ensure!(health.status == 200, "{}: {}", health.show(), host.log_with("\n"));
        Ok(host)
    }

    /// `kill -9`, in the middle of whatever it does. The data stay.
    pub fn kill(&self) {
        if let Some(mut running) = self.running.lock().expect("no holder panics").take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
            keeper::forget_process(running.child.id());
        }
    }

    /// Starts again on the same data.
    pub fn resume(&self) -> Result<()> {
        let edge = Path::new(env!("CARGO_MANIFEST_DIR")).join("../edge").canonicalize()?;
        ensure!(
            edge.join("build/index_bg.wasm").is_file(),
            "edge/build does not exist: run `cargo xtask edge build`"
        );
        let mut log = fs::File::options().create(true).append(true).open(self.dir.path().join("log"))?;
        let mut child = Command::new(workerd(&edge)?)
            .args([
                "serve",
                "workerd.capnp",
                "--experimental",
                "--control-fd=1",
                "--socket-addr=http=127.0.0.1:0",
            ])
            .arg(format!("--directory-path=storage={}", self.storage().display()))
            .current_dir(edge)
            .env_clear()
            .envs(self.vars.lock().expect("no holder panics").iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .context("workerd")?;
        keeper::watch_process(child.id());
        let said = child.stdout.take().context("the pipe was asked for")?;
        let (tell, told) = mpsc::channel();
        // Reads to the end, or workerd would wait for a reader; the lines that the worker logs come here as well.
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                let port = serde_json::from_str::<Value>(&line).ok().and_then(|line| line["port"].as_u64());
                match port {
                    Some(port) => drop(tell.send(port)),
                    None => drop(writeln!(log, "{line}")),
                }
            }
        });
        let Ok(port) = told.recv_timeout(START_MAX) else {
            let _ = child.kill();
            let _ = child.wait();
            keeper::forget_process(child.id());
            bail!("workerd did not say its port: {}", self.log());
        };
        let addr = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port)?));
        *self.running.lock().expect("no holder panics") = Some(Running { child, addr, agent: agent() });
        Ok(())
    }

    /// Ends it and starts it with these variables changed, valid or not.
    pub fn restart_with(&self, vars: &[(&str, &str)]) -> Result<()> {
        self.kill();
        {
            let mut have = self.vars.lock().expect("no holder panics");
            for (name, value) in vars {
                have.retain(|(old, _)| old != name);
                have.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        self.resume()
    }

    /// Runs SQL in the data base of this user's object, and restarts workerd around it.
    pub fn change(&self, user: &str, sql: &str) -> Result<()> {
        self.kill();
        self.open(user)?.execute_batch(sql)?;
        self.resume()
    }

    /// All rows of this user's object, each as a line. Restarts workerd around it.
    pub fn rows(&self, user: &str) -> Result<Vec<String>> {
        self.kill();
        let rows = self.read_rows(user);
        self.resume()?;
        rows
    }

    fn read_rows(&self, user: &str) -> Result<Vec<String>> {
        let data = self.open(user)?;
        let mut lines = Vec::new();
        let columns = "SELECT m.name, group_concat('quote(' || c.name || ')', '||'',''||')
            FROM sqlite_schema m, pragma_table_info(m.name) c
            WHERE m.type = 'table' AND m.name LIKE 'np_sync_%' GROUP BY m.name ORDER BY m.name";
        let mut tables = data.prepare(columns)?;
        let tables = tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for table in tables {
            let (name, columns): (String, String) = table?;
            let mut rows = data.prepare(&format!("SELECT '{name}: ' || {columns} FROM {name} ORDER BY 1"))?;
            for row in rows.query_map([], |row| row.get(0))? {
                lines.push(row?);
            }
        }
        Ok(lines)
    }

    /// Every alarm that is set rings at once. Restarts workerd around it.
    pub fn ring_alarms(&self) -> Result<()> {
        self.kill();
        let alarms = rusqlite::Connection::open(self.storage().join("nself-sync/metadata.sqlite"))?;
        let set = alarms.execute("UPDATE _cf_ALARM SET scheduled_time = ?1", [LONG_AGO_NS])?;
        ensure!(set > 0, "no alarm is set");
        // The object holds its alarm as well, and does not hear one that rings at another time.
        for (path, ..) in self.users()? {
            let set = "UPDATE _cf_METADATA SET value = ?1 WHERE key = 1 AND value IS NOT NULL";
            rusqlite::Connection::open(path)?.execute(set, [LONG_AGO_NS])?;
        }
        self.resume()
    }

    fn open(&self, user: &str) -> Result<rusqlite::Connection> {
        let path = self.users()?.into_iter().find(|(_, _, id)| id == user).map(|(path, ..)| path);
        Ok(rusqlite::Connection::open(path.with_context(|| format!("no object holds {user}"))?)?)
    }

    /// All it has logged so far.
    pub fn log(&self) -> String {
        let log = fs::read(self.dir.path().join("log"));
        log.map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// The log once this is in it: it is written beside the reply that it explains, not before it.
    ///
    /// # Panics
    /// It is not within [`START_MAX`].
    pub fn log_with(&self, words: &str) -> String {
        let deadline = Instant::now() + START_MAX;
        loop {
            let log = self.log();
            if log.contains(words) {
                return log;
            }
            assert!(Instant::now() < deadline, "{words:?} is not in the log: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As if it had ended after a commit, before it set the alarm. Restarts workerd around it.
    pub fn forget_alarms(&self) -> Result<()> {
        self.kill();
        let alarms = rusqlite::Connection::open(self.storage().join("nself-sync/metadata.sqlite"))?;
        alarms.execute("DELETE FROM _cf_ALARM", [])?;
        for (path, ..) in self.users()? {
            rusqlite::Connection::open(path)?.execute("DELETE FROM _cf_METADATA WHERE key = 1", [])?;
        }
        self.resume()
    }

    /// The rows of a table in all objects, while they go on.
    pub fn count(&self, table: &str) -> Result<i64> {
        let mut count = 0;
        for (path, ..) in self.users()? {
            let data = rusqlite::Connection::open(path)?;
            data.busy_timeout(START_MAX)?;
            count +=
                data.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))?;
        }
        Ok(count)
    }

    /// How many alarms are set.
    pub fn alarms(&self) -> Result<i64> {
        let alarms = rusqlite::Connection::open(self.storage().join("nself-sync/metadata.sqlite"))?;
        Ok(alarms.query_row("SELECT count(*) FROM _cf_ALARM", [], |row| row.get(0))?)
    }

    fn storage(&self) -> PathBuf {
        self.dir.path().join("storage")
    }

    /// The data bases of the objects that hold a user, and of whom.
    fn users(&self) -> Result<Vec<(PathBuf, String, String)>> {
        let mut users = Vec::new();
        for entry in fs::read_dir(self.storage().join("nself-sync"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|end| end != "sqlite") {
                continue;
            }
            let data = rusqlite::Connection::open(&path)?;
            let select = "SELECT source_account_id, user_id FROM np_sync_heads";
            // Of an object that has no user there is no such table.
            let Ok(mut select) = data.prepare(select) else { continue };
            for user in select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
                let (account, id) = user?;
                users.push((path.clone(), account, id));
            }
        }
        Ok(users)
    }

    fn try_prune(&self) -> Result<()> {
        for (_, account, id) in self.users()? {
            let path = format!("/admin/prune?account={}&user={}", encode(&account), encode(&id));
            let answer = self.try_call(Request::new("POST", &path).bearer(ADMIN_TOKEN))?;
            ensure!(answer.status == 204, "{path}: {}", answer.show());
        }
        Ok(())
    }
}

impl Host for EdgeHost {
    fn name(&self) -> &str {
        "edge"
    }

    fn try_call(&self, request: Request) -> Result<Response> {
        let (agent, addr) = {
            let running = self.running.lock().expect("no holder panics");
            let running = running.as_ref().ok_or_else(|| anyhow!("the host is stopped"))?;
            (running.agent.clone(), running.addr)
        };
        let response = call(&agent, addr, request.clone());
        self.secrets.met(&request, response.as_ref().ok());
        response
    }

    fn addr(&self) -> Option<SocketAddr> {
        self.running.lock().expect("no holder panics").as_ref().map(|running| running.addr)
    }

    /// Everything stored moves into the past, by SQL on a stopped workerd: there is no back door in the product.
    fn advance(&self, ms: u64) {
        self.kill();
        for (path, ..) in self.users().expect("the objects' data bases") {
            shift_sqlite(&path, ms).expect("the stored times move");
        }
        self.resume().expect("it starts again");
    }

    fn prune(&self) {
        self.try_prune().expect("pruning");
    }

    fn edge(&self) -> Option<&EdgeHost> {
        Some(self)
    }

    fn stop(&self) -> Result<()> {
        self.kill();
        self.secrets.check(&self.log())
    }
}

impl Drop for EdgeHost {
    fn drop(&mut self) {
        self.kill();
        keeper::forget_folder(self.dir.path());
    }
}

/// The runtime of the npm package.
fn workerd(edge: &Path) -> Result<PathBuf> {
    let folder = edge.join("node_modules/@cloudflare");
    let found =
        fs::read_dir(&folder).with_context(|| format!("{}: run `cargo xtask setup`", folder.display()))?;
    let found = found.flatten().map(|entry| entry.path().join("bin/workerd")).find(|path| path.is_file());
    found.with_context(|| format!("no workerd in {}", folder.display()))
}
