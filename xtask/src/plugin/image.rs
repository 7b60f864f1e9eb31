//! The Dockerfile's steps, read from it and done outside of a container: its folders are folders, its RUN lines run
//! without network, and what comes out is started as the image would be.

use crate::steps;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the server may take until it is healthy, and until it ends.
const HEALTHY_MAX: Duration = Duration::from_secs(30);
const END_MAX: Duration = Duration::from_secs(15);

/// Makes the release profile as cheap as it gets: the same line is run, and a third of the time spent.
const QUICK: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "64"),
    ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
];

/// A stage of the build: its files, and what the image would know.
#[derive(Default)]
struct Stage {
    root: PathBuf,
    folder: PathBuf,
    env: BTreeMap<String, String>,
    user: Option<(String, String)>,
    healthcheck: Vec<String>,
    entrypoint: Vec<String>,
    command: Vec<String>,
}

/// Does what the Dockerfile in `context` says in folders under `place`, then starts what came of it.
pub fn build_and_try(context: &Path, place: &Path, full: bool) -> Result<()> {
    let dockerfile = fs::read_to_string(context.join("Dockerfile"))?;
    let mut stages: Vec<(String, Stage)> = Vec::new();
    for line in instructions(&dockerfile) {
        let (word, rest) = line.split_once(' ').with_context(|| format!("Dockerfile: {line}"))?;
        if word == "FROM" {
            let name = rest.split_once(" AS ").map_or("image", |(_, name)| name).to_owned();
            let root = place.join(&name);
            fs::create_dir_all(&root)?;
            stages.push((name, Stage { folder: root.clone(), root, ..Stage::default() }));
            continue;
        }
        let (last, earlier) = stages.split_last_mut().context("Dockerfile: FROM comes first")?;
        let from = |name: &str| earlier.iter().find(|(stage, _)| stage == name).map(|(_, stage)| &stage.root);
        match word {
            "COPY" => last.1.copy(rest, context, from)?,
            "RUN" => last.1.run(rest, place, full)?,
            _ => last.1.note(word, rest)?,
        }
    }
    let (_, image) = stages.pop().context("Dockerfile: no stage")?;
    image.try_it()
}

/// The Dockerfile's lines, continued ones joined, without comments.
fn instructions(dockerfile: &str) -> Vec<String> {
    let lines: Vec<&str> = dockerfile.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The words of the exec form: `["a", "b"]`.
fn words(exec: &str) -> Result<Vec<String>> {
    let inner = exec.trim().strip_prefix('[').and_then(|exec| exec.strip_suffix(']'));
    let inner = inner.with_context(|| format!("Dockerfile: not the exec form: {exec}"))?;
    Ok(inner.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect())
}

impl Stage {
    fn at(&self, path: &str) -> PathBuf {
        match path.strip_prefix('/') {
            Some(absolute) => self.root.join(absolute),
            None => self.folder.join(path),
        }
    }

    fn copy<'a>(
        &self,
        rest: &str,
        context: &Path,
        stage: impl Fn(&str) -> Option<&'a PathBuf>,
    ) -> Result<()> {
        let (flags, paths): (Vec<&str>, Vec<&str>) =
            rest.split_whitespace().partition(|word| word.starts_with("--"));
        let [from, to] = paths.as_slice() else { bail!("Dockerfile: COPY {rest}") };
        let root = match flags.iter().find_map(|flag| flag.strip_prefix("--from=")) {
            Some(name) => stage(name).with_context(|| format!("Dockerfile: no stage {name}"))?,
            None => context,
        };
        let (from, to) = (root.join(from.trim_start_matches('/')), self.at(to));
        fs::create_dir_all(to.parent().context("a folder")?)?;
        let mut copy = Command::new("cp");
        copy.args(["-a", "--no-preserve=ownership", "-T"]).arg(&from).arg(&to);
        steps::run(&mut copy)?;
        match flags.iter().find_map(|flag| flag.strip_prefix("--chown=")) {
            Some(owner) if is_root() => steps::run(Command::new("chown").arg("-R").arg(owner).arg(&to)),
            _ => Ok(()),
        }
    }

    /// In a shell with no network where the machine lets us take it away, and with a cargo that has fetched nothing.
    fn run(&self, line: &str, place: &Path, full: bool) -> Result<()> {
        let cargo = PathBuf::from(std::env::var_os("CARGO").context("CARGO")?);
        let programs = cargo.parent().context("the folder of cargo")?.display().to_string();
        let home = place.join("home");
        fs::create_dir_all(&home)?;
        let no_network = no_network();
        let said = if no_network.is_empty() { " (this machine does not let us cut the network)" } else { "" };
        println!("RUN {line}{said}");
        let mut words = no_network.into_iter().chain(["sh", "-c", line]);
        let mut run = Command::new(words.next().unwrap_or("sh"));
        run.args(words).current_dir(&self.folder).env_clear();
        run.env("PATH", format!("{programs}:/usr/bin:/bin")).env("HOME", &home).env("CARGO_HOME", &home);
        if !full {
            run.envs(QUICK);
        }
        steps::run(run.envs(&self.env))
    }

    fn note(&mut self, word: &str, rest: &str) -> Result<()> {
        match word {
            "WORKDIR" => {
                self.folder = self.at(rest);
                fs::create_dir_all(&self.folder)?;
            }
            "ENV" => self.env.extend(
                rest.split_whitespace()
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
            ),
            "USER" => {
                let (user, group) = rest.split_once(':').context("Dockerfile: USER has user and group")?;
                self.user = Some((user.to_owned(), group.to_owned()));
            }
            "HEALTHCHECK" => {
                let (_, exec) = rest.split_once("CMD ").context("Dockerfile: HEALTHCHECK has CMD")?;
                self.healthcheck = words(exec)?;
            }
            "ENTRYPOINT" => self.entrypoint = words(rest)?,
            "CMD" => self.command = words(rest)?,
            "VOLUME" | "EXPOSE" => {}
            other => bail!("Dockerfile: {other} is not known here"),
        }
        Ok(())
    }

    /// A program of the image with its environment, as its user where we may become that.
    fn program(&self, words: &[String], port: u16) -> Result<Command> {
        let (name, args) = words.split_first().context("Dockerfile: no command")?;
        let program = self.at(&format!("/usr/local/bin/{name}"));
        let mut command = match &self.user {
            Some((user, group)) if is_root() => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}")).arg(format!("--regid={group}"));
                command.args(["--clear-groups", "--no-new-privs", "--inh-caps=-all", "--"]).arg(program);
                command
            }
            _ => Command::new(program),
        };
        command.args(args).env_clear().envs(&self.env).env("PORT", port.to_string()).current_dir("/");
        if let Some(data) = self.env.get("PLUGIN_SYNC_DATA_DIR") {
            command.env("PLUGIN_SYNC_DATA_DIR", self.at(data));
        }
        command.env("HASURA_GRAPHQL_JWT_SECRET", "0123456789abcdef0123456789abcdef");
        Ok(command)
    }

    /// It starts, is healthy by the image's own check, says its version, and ends in order.
    fn try_it(&self) -> Result<()> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let words = [self.entrypoint.as_slice(), self.command.as_slice()].concat();
        let mut server = Server(self.program(&words, port)?.stdout(Stdio::null()).spawn()?);
        let deadline = Instant::now() + HEALTHY_MAX;
        while !self.program(&self.healthcheck, port)?.stderr(Stdio::null()).status()?.success() {
            if let Some(status) = server.0.try_wait()? {
                bail!("the image's command ended with {status}");
            }
            if Instant::now() > deadline {
                bail!("the image's health check does not succeed");
            }
            sleep(Duration::from_millis(200));
        }
        let expected = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
        let health = get(port, "/health")?;
        if !health.contains(&expected) {
            bail!("/health does not say {expected}: {health}");
        }
        steps::run(Command::new("kill").arg(server.0.id().to_string()))?;
        let deadline = Instant::now() + END_MAX;
        loop {
            match server.0.try_wait()? {
                Some(status) if status.success() => break,
                Some(status) => bail!("the image's command ended with {status} after SIGTERM"),
                None if Instant::now() > deadline => bail!("the image's command does not end"),
                None => sleep(Duration::from_millis(50)),
            }
        }
        println!(
            "built from the tarball alone; healthy, of version {}, and ended in order",
            env!("CARGO_PKG_VERSION")
        );
        Ok(())
    }
}

/// Killed where something failed before its end.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The words that run a program without network: none where the machine allows no namespace.
fn no_network() -> Vec<&'static str> {
    let ways = [["unshare", "-n"].as_slice(), ["unshare", "-r", "-n"].as_slice()];
    let works = |way: &&&[&str]| {
        let (first, rest) = (way.first().copied().unwrap_or_default(), way.get(1..).unwrap_or_default());
        Command::new(first).args(rest).arg("true").stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    ways.iter().find(works).map(|way| way.to_vec()).unwrap_or_default()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::{Stage, instructions, words};

    #[test]
    fn lines_are_joined_and_comments_left_out() {
        let dockerfile = "# syntax\nFROM a AS b\n\nRUN one \\\n    && two\n# a comment\nUSER 1:2\n";
        assert_eq!(instructions(dockerfile), ["FROM a AS b", "RUN one      && two", "USER 1:2"]);
    }

    #[test]
    fn only_the_exec_form_is_words() {
        assert_eq!(words("[\"nself-sync\", \"healthcheck\"]").unwrap(), ["nself-sync", "healthcheck"]);
        assert!(words("nself-sync healthcheck").is_err());
    }

    #[test]
    fn an_instruction_that_is_not_known_is_no_step_that_is_left_out() {
        let mut stage = Stage::default();
        assert!(stage.note("ADD", "https://example.org/a /a").is_err());
        assert!(stage.note("ENV", "PORT=1 B=2").is_ok());
        assert_eq!(stage.env.len(), 2);
    }
}
