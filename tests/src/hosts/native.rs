//! The real binary, as a process of its own, on SQLite in a temp folder or on a database of the run's PostgreSQL.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tempfile::TempDir;

use super::postgres::{Cluster, database_name};
use super::secrets::Secrets;
use super::{Host, Launch, Request, Response, keeper, merged_vars};

/// How long a start or an orderly stop may take.
const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(10);

/// Starts `nself-sync` on one kind of store.
pub struct Native {
    cluster: Option<Arc<Cluster>>,
}

impl Native {
    /// On embedded SQLite.
    pub fn sqlite() -> Self {
        Self { cluster: None }
    }

    /// On a fresh database of the cluster for each host.
    pub fn postgres(cluster: Arc<Cluster>) -> Self {
        Self { cluster: Some(cluster) }
    }
}

impl Launch for Native {
    fn name(&self) -> &str {
        if self.cluster.is_some() { "postgres" } else { "sqlite" }
    }

    fn start(&self, vars: &[(&str, &str)]) -> Result<Arc<dyn Host>> {
        let database = match &self.cluster {
            Some(cluster) => Some(Database { url: cluster.create_database()?, cluster: Arc::clone(cluster) }),
            None => None,
        };
        Ok(Arc::new(NativeHost::start(database, vars)?))
    }
}

#[derive(Clone)]
struct Database {
    cluster: Arc<Cluster>,
    url: String,
}

/// A running `nself-sync`.
pub struct NativeHost {
    database: Option<Database>,
    vars: Mutex<Vec<(String, String)>>,
    dir: TempDir,
    running: Mutex<Option<Running>>,
    /// Stored times were moved by SQL, which tags are made of.
    advanced: AtomicBool,
    /// A case has written what no server would.
    damaged: AtomicBool,
    secrets: Secrets,
}

struct Running {
    child: Child,
    addr: SocketAddr,
    agent: ureq::Agent,
}

impl NativeHost {
    fn start(database: Option<Database>, vars: &[(&str, &str)]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("nself-sync-host-").tempdir()?;
        keeper::watch_folder(dir.path());
        let (vars, running) = (Mutex::new(merged_vars(vars)), Mutex::new(None));
        let (advanced, damaged) = (AtomicBool::new(false), AtomicBool::new(false));
        let secrets = Secrets::default();
        let host = Self { database, vars, dir, running, advanced, damaged, secrets };
        host.resume()?;
        Ok(host)
    }

    /// A second server process on the same database. PostgreSQL only.
    pub fn sibling(&self) -> Result<Self> {
        let database = self.database.clone().context("only a server on PostgreSQL has siblings")?;
        let vars = self.vars.lock().expect("no holder panics").clone();
        let vars: Vec<(&str, &str)> =
            vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self::start(Some(database), &vars)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.lock().expect("no holder panics").as_ref().expect("the host runs").addr
    }

    /// The cluster it stores in, if any.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.database.as_ref().map(|database| &*database.cluster)
    }

    /// The URL of its PostgreSQL database.
    pub fn database_url(&self) -> Result<&str> {
        self.database.as_ref().map(|database| database.url.as_str()).context("not on PostgreSQL")
    }

    /// Runs SQL in its PostgreSQL database.
    pub fn psql(&self, sql: &str) -> Result<String> {
        let database = self.database.as_ref().context("not on PostgreSQL")?;
        database.cluster.psql(database_name(&database.url), sql)
    }

    /// The one number that a SELECT over its tables gives, whatever the store.
    pub fn number(&self, select: &str) -> Result<i64> {
        if self.database.is_some() {
            return Ok(self.psql(&format!("SET search_path TO np_sync; {select}"))?.parse()?);
        }
        let connection = rusqlite::Connection::open(self.data_dir().join("nself-sync.sqlite"))?;
        connection.busy_timeout(Duration::from_secs(10))?;
        Ok(connection.query_row(select, [], |row| row.get(0))?)
    }

    /// All it has logged so far.
    pub fn log(&self) -> String {
        fs::read(self.log_path()).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// `kill -9`, in the middle of whatever it does. The data stay.
    pub fn kill(&self) {
        if let Some(mut running) = self.running.lock().expect("no holder panics").take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
            keeper::forget_process(running.child.id());
        }
    }

    /// Sends SIGTERM and returns at once.
    pub fn terminate(&self) {
        if let Some(running) = self.running.lock().expect("no holder panics").as_ref() {
            send_signal(running.child.id(), "TERM");
        }
    }

    /// Sends SIGTERM and waits; an error where it did not exit 0 within 10 s.
    pub fn shut_down(&self) -> Result<()> {
        self.terminate();
        self.wait_for_exit()
    }

    /// Waits for the end of a server that was sent SIGTERM.
    pub fn wait_for_exit(&self) -> Result<()> {
        let Some(mut running) = self.running.lock().expect("no holder panics").take() else { return Ok(()) };
        let ended = wait_until(&mut running.child, STOP_MAX);
        if ended.is_none() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
        keeper::forget_process(running.child.id());
        let status =
            ended.with_context(|| format!("did not end within 10 s of SIGTERM\n{}", self.log_end()))?;
        ensure!(status.code() == Some(0), "ended with {status} after SIGTERM\n{}", self.log_end());
        Ok(())
    }

    /// Starts again on the same data.
    pub fn resume(&self) -> Result<()> {
        let address_file = self.dir.path().join("address");
        let _ = fs::remove_file(&address_file);
        let log = fs::File::options().create(true).append(true).open(self.log_path())?;
        let mut child = self
            .command()?
            .args(["serve", "--address-file"])
            .arg(&address_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("nself-sync")?;
        keeper::watch_process(child.id());
        let deadline = Instant::now() + START_MAX;
        let addr = loop {
            if let Some(addr) =
                fs::read_to_string(&address_file).ok().and_then(|text| text.trim().parse().ok())
            {
                break addr;
            }
            if let Some(status) = child.try_wait()? {
                keeper::forget_process(child.id());
                bail!("nself-sync ended at start with {status}: {}", self.log());
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                keeper::forget_process(child.id());
                bail!("nself-sync did not write its address within 30 s: {}", self.log());
            }
            sleep(Duration::from_millis(10));
        };
        let agent = agent();
        *self.running.lock().expect("no holder panics") = Some(Running { child, addr, agent });
        Ok(())
    }

    /// Ends it in the orderly way and starts it with these variables changed.
    pub fn restart_with(&self, vars: &[(&str, &str)]) -> Result<()> {
        self.shut_down()?;
        {
            let mut have = self.vars.lock().expect("no holder panics");
            for (name, value) in vars {
                have.retain(|(old, _)| old != name);
                have.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        self.resume()
    }

    /// Runs a subcommand with the same environment; what it printed (stdout, then stderr).
    pub fn run(&self, args: &[&str]) -> Result<(ExitStatus, String)> {
        self.run_with(args, &[])
    }

    /// The same with more variables.
    pub fn run_with(&self, args: &[&str], vars: &[(&str, &str)]) -> Result<(ExitStatus, String)> {
        let output = self.command()?.args(args).envs(vars.iter().copied()).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Ok((output.status, text.into_owned()))
    }

    /// The same with something on its standard input; status, stdout and stderr.
    pub fn run_piped(&self, args: &[&str], input: &[u8]) -> Result<(ExitStatus, Vec<u8>, String)> {
        let mut child = self
            .command()?
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("its standard input")?;
        let output = std::thread::scope(|scope| {
            // Whoever does not read its input closes it.
            scope.spawn(move || stdin.write_all(input).ok());
            child.wait_with_output()
        })?;
        Ok((output.status, output.stdout, String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// Runs a subcommand and kills it after a while, in the middle of whatever it does; whether it had ended well before.
    pub fn run_killed(&self, args: &[&str], after: Duration) -> Result<bool> {
        let mut child = self
            .command()?
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let ended = wait_until(&mut child, after);
        if ended.is_none() {
            child.kill()?;
            child.wait()?;
        }
        Ok(ended.is_some_and(|status| status.success()))
    }

    /// A path in the folder where its subcommands run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Keeps a copy of all that is stored, of a server that is stopped.
    pub fn back_up(&self) -> Result<()> {
        match &self.database {
            Some(database) => {
                let name = database_name(&database.url);
                database
                    .cluster
                    .psql("postgres", &format!("CREATE DATABASE {name}_backup TEMPLATE {name}"))?;
            }
            None => drop(fs::copy(self.sqlite_path(), self.path("backup.sqlite"))?),
        }
        Ok(())
    }

    /// Puts that copy in place of what is stored, of a server that is stopped.
    pub fn restore(&self) -> Result<()> {
        match &self.database {
            Some(database) => {
                let name = database_name(&database.url);
                database.cluster.psql("postgres", &format!("DROP DATABASE {name}"))?;
                database
                    .cluster
                    .psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {name}_backup"))?;
            }
            None => {
                fs::remove_dir_all(self.data_dir())?;
                fs::create_dir(self.data_dir())?;
                fs::copy(self.path("backup.sqlite"), self.sqlite_path())?;
            }
        }
        Ok(())
    }

    /// Runs SQL, of either dialect, that damages what is stored.
    pub fn damage(&self, sql: &str) -> Result<()> {
        self.damaged.store(true, Ordering::Relaxed);
        self.sql(sql).map(drop)
    }

    /// Runs SQL, of either dialect, in its store; the first column of the rows.
    pub fn sql(&self, sql: &str) -> Result<Vec<String>> {
        if self.database.is_some() {
            let rows = self.psql(&format!("SET search_path TO np_sync; {sql}"))?;
            return Ok(rows.lines().filter(|line| *line != "SET").map(str::to_owned).collect());
        }
        let connection = rusqlite::Connection::open(self.sqlite_path())?;
        connection.busy_timeout(START_MAX)?;
        let mut statement = connection.prepare(sql)?;
        let text = |row: &rusqlite::Row<'_>| Ok(row.get_ref(0)?.as_str().map(str::to_owned)?);
        Ok(statement.query_map([], text)?.collect::<rusqlite::Result<_>>()?)
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.env_clear().current_dir(self.dir.path());
        for name in ["PATH", "HOME", "LLVM_PROFILE_FILE", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("PORT", "0");
        match &self.database {
            Some(database) => command.env("DATABASE_URL", &database.url),
            None => command.env("PLUGIN_SYNC_DATA_DIR", self.data_dir()),
        };
        command.envs(self.vars.lock().expect("no holder panics").iter().cloned());
        Ok(command)
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn sqlite_path(&self) -> PathBuf {
        self.data_dir().join("nself-sync.sqlite")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn shift_times(&self, ms: u64) -> Result<()> {
        match &self.database {
            Some(_) => self.psql(&shift_postgres(ms)).map(|_| ()),
            None => shift_folder(&self.data_dir(), ms),
        }
    }
}

impl Host for NativeHost {
    fn name(&self) -> &str {
        if self.database.is_some() { "postgres" } else { "sqlite" }
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

    /// Everything stored moves into the past, by SQL on a stopped server: there is no back door in the product.
    fn advance(&self, ms: u64) {
        self.advanced.store(true, Ordering::Relaxed);
        self.shut_down().expect("an orderly stop");
        self.shift_times(ms).expect("the stored times move");
        self.resume().expect("it starts again");
    }

    fn prune(&self) {
        let (status, text) = self.run(&["prune"]).expect("nself-sync prune runs");
        assert!(status.success(), "nself-sync prune ended with {status}: {text}");
    }

    fn addr(&self) -> Option<SocketAddr> {
        Some(self.address())
    }

    fn native(&self) -> Option<&NativeHost> {
        Some(self)
    }

    /// Nothing of what it was told stands in its log, and what it leaves is looked at as an operator would, unless a case has
    /// damaged it.
    fn stop(&self) -> Result<()> {
        self.shut_down()?;
        self.secrets.check(&self.log())?;
        if self.damaged.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (status, text) = self.run(&["verify"])?;
        let is_shifted = |line: &&str| line.ends_with("its tag does not follow from the one before");
        let shifted = match self.advanced.load(Ordering::Relaxed) {
            true => text.lines().filter(is_shifted).count(),
            false => 0,
        };
        let findings = if shifted == 1 { "1 finding".to_owned() } else { format!("{shifted} findings") };
        let is_sound = status.success() || text.trim_end().ends_with(&format!(": {findings}"));
        ensure!(is_sound, "nself-sync verify ended with {status}:\n{text}");
        Ok(())
    }
}

impl Drop for NativeHost {
    fn drop(&mut self) {
        self.kill();
        // The temp folder goes with its own drop, right after this.
        keeper::forget_folder(self.dir.path());
    }
}

/// What the suite calls hosts with: it adds nothing to a request, and follows nothing.
pub fn agent() -> ureq::Agent {
    ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .accept("")
            .accept_encoding("")
            .user_agent("contract")
            // workerd closes what idles for 5 s, perhaps just when it would be used again.
            .max_idle_age(Duration::from_secs(2))
            .timeout_global(Some(Duration::from_secs(120)))
            .build(),
    )
}

/// One HTTP exchange.
pub fn call(agent: &ureq::Agent, addr: SocketAddr, request: Request) -> Result<Response> {
    let mut builder = ureq::http::Request::builder()
        .method(request.method.as_str())
        .uri(format!("http://{addr}{}", request.path));
    for (name, value) in &request.headers {
        // Bytes, not text: a case may send what a header must not have.
        builder = builder.header(name, ureq::http::HeaderValue::from_bytes(value.as_bytes())?);
    }
    let bodiless = request.body.is_empty() && request.method != "POST" && request.method != "PUT";
    let mut response =
        if bodiless { agent.run(builder.body(())?)? } else { agent.run(builder.body(request.body)?)? };
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(256 << 20).read_to_vec()?;
    Ok(Response { status, headers, body })
}

/// Sends a signal by name (`TERM`, `INT`, `QUIT`).
pub fn send_signal(pid: u32, signal: &str) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).stderr(Stdio::null()).status();
}

/// The binary under test: `NSELF_SYNC_BIN`, else the one that cargo built beside this test.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NSELF_SYNC_BIN") {
        return Ok(path.into());
    }
    let exe = std::env::current_exe()?;
    let profile = exe.parent().filter(|dir| dir.ends_with("deps")).and_then(Path::parent).or(exe.parent());
    let path = profile.context("the test has a folder")?.join("nself-sync");
    ensure!(
        path.is_file(),
        "{} does not exist: run `cargo build -p nself-sync` (same profile and target folder), or set NSELF_SYNC_BIN",
        path.display()
    );
    Ok(path)
}

fn wait_until(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => sleep(Duration::from_millis(5)),
            _ => return None,
        }
    }
}

/// Columns that hold a time, whatever the schema: by type, or an integer of milliseconds by name.
fn shift_postgres(ms: u64) -> String {
    format!(
        "DO $$ DECLARE c record; BEGIN
           FOR c IN SELECT table_schema s, table_name t, column_name n, data_type d
             FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
             WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'
               AND table_name <> 'schema_migrations'
               AND (data_type LIKE 'timestamp%' OR (data_type = 'bigint' AND column_name ~ '(_at|_at_ms|_ms|last_seen)$'))
           LOOP
             IF c.d = 'bigint' THEN EXECUTE format('UPDATE %I.%I SET %I = %I - {ms}', c.s, c.t, c.n, c.n);
             ELSE EXECUTE format('UPDATE %I.%I SET %I = %I - interval ''{ms} milliseconds''', c.s, c.t, c.n, c.n);
             END IF;
           END LOOP;
         END $$"
    )
}

/// Times in one SQLite data base.
pub fn shift_sqlite(path: &Path, ms: u64) -> Result<()> {
    let connection = rusqlite::Connection::open(path)?;
    let columns: Vec<(String, String)> = connection
        .prepare(
            "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table'
             AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE '%schema_migrations'
             AND (c.name LIKE '%\\_at' ESCAPE '\\' OR c.name LIKE '%\\_ms' ESCAPE '\\' OR c.name = 'last_seen')",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    ensure!(!columns.is_empty(), "{}: no column that looks like a time", path.display());
    for (table, column) in columns {
        let set = format!(
            r#"UPDATE "{table}" SET "{column}" = "{column}" - {ms} WHERE typeof("{column}") = 'integer'"#
        );
        connection.execute(&set, [])?;
    }
    Ok(())
}

fn shift_folder(data_dir: &Path, ms: u64) -> Result<()> {
    let mut databases = 0;
    for entry in fs::read_dir(data_dir)? {
        let path = entry?.path();
        let is_database = fs::File::open(&path).is_ok_and(|mut file| {
            let mut magic = [0; 15];
            std::io::Read::read_exact(&mut file, &mut magic).is_ok() && &magic == b"SQLite format 3"
        });
        if is_database {
            databases += 1;
            shift_sqlite(&path, ms)?;
        }
    }
    ensure!(databases > 0, "no SQLite database in {}", data_dir.display());
    Ok(())
}
