//! A server process of one's own, on a folder that goes with it: what the replay, the demo and the benches drive.

use crate::hosts::native::{binary, send_signal};
use crate::hosts::{JWT_KEY, keeper, merged_vars};
use crate::world::{jwt, now_s};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const START_MAX: Duration = Duration::from_secs(30);

/// How to start it.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// As `--dev` with nothing configured: the server makes its own secret and prints a token. Else this process's
    /// PLUGIN_SYNC_* variables pass through.
    pub dev: bool,
    /// 0 takes a free one.
    pub port: u16,
    /// A PostgreSQL database; without it SQLite in the folder.
    pub database_url: Option<String>,
    /// Environment variables over the process's own.
    pub vars: Vec<(String, String)>,
    /// The built web demo, to be served as well.
    pub demo: Option<PathBuf>,
}

impl Start {
    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.arg("serve").env("PORT", self.port.to_string());
        if let Some(folder) = &self.demo {
            command.arg("--demo").arg(folder);
        }
        if self.dev {
            command.arg("--dev").env_remove("HASURA_GRAPHQL_JWT_SECRET");
            for name in std::env::vars_os().map(|(name, _)| name) {
                if name.to_string_lossy().starts_with("PLUGIN_SYNC_") {
                    command.env_remove(name);
                }
            }
        } else {
            let vars = merged_vars(&[]);
            command.envs(vars.into_iter().filter(|(name, _)| {
                // Ours to set; the rest only where the caller has not.
                name == "HASURA_GRAPHQL_JWT_SECRET" || std::env::var_os(name).is_none()
            }));
        }
        match &self.database_url {
            Some(url) => command.env("DATABASE_URL", url),
            None => command.env_remove("DATABASE_URL"),
        };
        command.envs(self.vars.iter().cloned());
        Ok(command)
    }
}

/// A running server. Dropped: killed, and its folder removed.
pub struct Server {
    /// `http://127.0.0.1:port`.
    pub url: String,
    child: Child,
    folder: TempDir,
    is_dev: bool,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub fn start(start: &Start) -> Result<Server> {
        let folder = tempfile::Builder::new().prefix("nself-sync-").tempdir()?;
        let address_file = folder.path().join("address");
        let mut command = start.command()?;
        command.env("PLUGIN_SYNC_DATA_DIR", folder.path().join("data"));
        let log = fs::File::create(folder.path().join("log"))?;
        command
            .arg("--address-file")
            .arg(&address_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().context("nself-sync")?;
        keeper::watch_process(child.id());
        keeper::watch_folder(folder.path());
        let mut server = Server { url: String::new(), child, folder, is_dev: start.dev };
        server.url = format!("http://{}", server.wait_for_address(&address_file)?);
        Ok(server)
    }

    /// `127.0.0.1:port`.
    pub fn addr(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A user's JWT that this server takes. A `--dev` server knows one user, its own.
    pub fn jwt(&self, user: &str) -> Result<String> {
        if self.is_dev {
            return self.printed_token();
        }
        let claims = json!({
            "sub": user,
            "exp": now_s() + 86_400,
            "https://hasura.io/jwt/claims": { "x-hasura-user-id": user },
        });
        Ok(jwt::hs256(JWT_KEY, &claims))
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        fs::read(self.folder.path().join("log"))
            .map(|log| String::from_utf8_lossy(&log).into())
            .unwrap_or_default()
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until somebody ends it.
    pub fn wait(&mut self) -> Result<()> {
        self.child.wait()?;
        Ok(())
    }

    /// Stops it in the orderly way; how many bytes its folder then holds (0 on PostgreSQL).
    pub fn stop(mut self) -> Result<u64> {
        send_signal(self.child.id(), "TERM");
        let status = self.child.wait()?;
        ensure!(status.success(), "the server ended with {status}:\n{}", self.log());
        let data: PathBuf = self.folder.path().join("data");
        folder_bytes(&data)
    }

    fn printed_token(&self) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let is_token = |word: &&str| word.starts_with("eyJ") && word.split('.').count() == 3;
        loop {
            let log = self.log();
            if let Some(token) = log.split(|c: char| c.is_whitespace() || c == '"').find(is_token) {
                return Ok(token.to_owned());
            }
            ensure!(Instant::now() < deadline, "the server printed no token:\n{log}");
            sleep(Duration::from_millis(10));
        }
    }

    fn wait_for_address(&mut self, address_file: &Path) -> Result<String> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let address = fs::read_to_string(address_file).unwrap_or_default();
            if address.trim().parse::<std::net::SocketAddr>().is_ok() {
                return Ok(address.trim().to_owned());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at start with {status}:\n{}", self.log());
            }
            ensure!(Instant::now() < deadline, "the server does not listen after 30 s:\n{}", self.log());
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        keeper::forget_process(self.child.id());
        keeper::forget_folder(self.folder.path());
    }
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    if !folder.exists() {
        return Ok(0);
    }
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
