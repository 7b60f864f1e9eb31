//! Cleans up after a run that was itself killed: a shell that waits for the end of our pipe, then ends the processes
//! and removes the folders that were still registered. The orderly end goes through `Drop` and leaves it nothing to do.

use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=' '; dirs=' '
while read -r verb what; do
  case "$verb" in
    +pid) pids="$pids$what " ;;
    -pid) pids="${pids%% $what *} ${pids#* $what }" ;;
    +dir) dirs="$dirs$what " ;;
    -dir) dirs="${dirs%% $what *} ${dirs#* $what }" ;;
  esac
done
for pid in $pids; do kill -KILL "$pid"; done
for dir in $dirs; do rm -rf "$dir"; done
"#;

struct Keeper {
    stdin: Mutex<ChildStdin>,
    _child: Mutex<Child>,
}

fn keeper() -> &'static Keeper {
    static KEEPER: OnceLock<Keeper> = OnceLock::new();
    KEEPER.get_or_init(|| {
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let stdin = child.stdin.take().expect("the pipe was asked for");
        Keeper { stdin: Mutex::new(stdin), _child: Mutex::new(child) }
    })
}

fn tell(line: &str) {
    let mut stdin = keeper().stdin.lock().expect("no writer panics");
    // A keeper that is gone only means no clean-up after a kill of this run.
    let _ = writeln!(stdin, "{line}");
}

/// From here on the process is killed should this run die.
pub fn watch_process(pid: u32) {
    tell(&format!("+pid {pid}"));
}

/// The process ended in the orderly way.
pub fn forget_process(pid: u32) {
    tell(&format!("-pid {pid}"));
}

/// From here on the folder is removed should this run die.
pub fn watch_folder(path: &Path) {
    tell(&format!("+dir {}", path.display()));
}

/// The folder was removed in the orderly way.
pub fn forget_folder(path: &Path) {
    tell(&format!("-dir {}", path.display()));
}
