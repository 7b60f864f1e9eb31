//! A command and everything it starts, which end together: after its time, and at Ctrl-C. A server that outlived the test
//! that started it would otherwise hold the output that is read to its end, and nothing would ever fail.

use anyhow::{Context, Result};
use std::process::{Child, ChildStdout, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The leader of the group that runs.
static LEADER: AtomicU32 = AtomicU32::new(0);

/// A running command, and what it started.
pub struct Group {
    leader: Child,
    /// Dropped when the leader has ended.
    running: Sender<()>,
    /// Whether the time was over first.
    late: JoinHandle<bool>,
}

impl Group {
    /// Starts the command, and ends it with all it started after `limit`. Gives its output too, which is to be piped.
    pub fn start(command: &mut Command, limit: Duration) -> Result<(Group, ChildStdout)> {
        lead(command);
        let mut leader = command.spawn()?;
        let output = leader.stdout.take().context("the output is piped")?;
        let id = leader.id();
        LEADER.store(id, Ordering::SeqCst);
        let (running, ended) = channel();
        let late = std::thread::spawn(move || {
            let is_late = ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if is_late {
                println!("takes longer than {} s: ended", limit.as_secs());
                end(id);
            }
            is_late
        });
        Ok((Group { leader, running, late }, output))
    }

    /// Waits for the command, and ends what it left behind. Whether it succeeded, and in time.
    pub fn wait(mut self) -> Result<bool> {
        let status = self.leader.wait()?;
        drop(self.running);
        end(self.leader.id());
        let is_late = self.late.join().unwrap_or(true);
        Ok(status.success() && !is_late)
    }
}

/// Lets Ctrl-C (and SIGTERM) end the group that runs, and this program.
pub fn end_on_ctrl_c() -> Result<()> {
    Ok(ctrlc::set_handler(|| {
        end(LEADER.load(Ordering::SeqCst));
        std::process::exit(130);
    })?)
}

/// Makes the command the leader of a group.
#[cfg(unix)]
fn lead(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

/// Ends all of a group; none of it may be left.
#[cfg(unix)]
fn end(leader: u32) {
    if leader > 0 {
        // The shell's own, since not every machine has the program.
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -s KILL -- -$0", &leader.to_string()]).stderr(std::process::Stdio::null());
        // Fails where none of it is left.
        let _ = kill.status();
    }
}

#[cfg(not(unix))]
fn lead(_: &mut Command) {}

/// There are no groups here: the command and its children are ended.
#[cfg(not(unix))]
fn end(leader: u32) {
    if leader > 0 {
        let _ = Command::new("taskkill").args(["/T", "/F", "/PID", &leader.to_string()]).status();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::Group;
    use std::io::Read;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    /// What a shell's script wrote until all that it started had ended, and whether it was good.
    fn run(script: &str, limit: Duration) -> (String, bool) {
        let mut shell = Command::new("sh");
        let (group, mut output) =
            Group::start(shell.args(["-c", script]).stdout(Stdio::piped()), limit).unwrap();
        let mut said = String::new();
        output.read_to_string(&mut said).unwrap();
        (said, group.wait().unwrap())
    }

    #[test]
    fn what_a_command_leaves_behind_is_ended_with_it() {
        let trace = std::env::temp_dir().join(format!("nself-sync-xtask-{}", std::process::id()));
        let script = format!("(sleep 1; : > '{}') >/dev/null & echo done", trace.display());
        assert_eq!(run(&script, Duration::from_hours(1)), ("done\n".to_owned(), true));
        std::thread::sleep(Duration::from_secs(2));
        assert!(!trace.exists(), "it went on");
    }

    #[test]
    fn what_holds_the_output_of_a_command_that_is_gone_is_ended_when_the_time_is_over() {
        let hour = Duration::from_hours(1);
        assert_eq!(run("sleep 3600 >/dev/null & echo done", hour), ("done\n".to_owned(), true));
        assert_eq!(run("echo done; exit 1", hour), ("done\n".to_owned(), false));
        let short = Duration::from_millis(300);
        assert_eq!(run("sleep 3600 & echo done", short), ("done\n".to_owned(), false));
        assert_eq!(run("trap '' TERM; echo begun; sleep 3600", short), ("begun\n".to_owned(), false));
    }
}
