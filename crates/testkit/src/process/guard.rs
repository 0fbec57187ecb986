use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Reads process ids until its input ends, then ends those that still run the binary.
///
/// The servers below them end by themselves; the folder goes once nothing writes to it. A binary
/// that forbids dumps shows others of its user no link to itself, but its command line.
const SCRIPT: &str = r#"
pids=
while read -r pid; do pids="$pids $pid"; done
for pid in $pids; do
    exe=$(readlink "/proc/$pid/exe" || tr '\0' '\n' <"/proc/$pid/cmdline" | head -n 1)
    case "$exe" in
        "$1" | "$1 (deleted)") kill -KILL "$pid" ;;
    esac
done
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    sleep 1
    rm -rf "$0" 2>/dev/null && [ ! -e "$0" ] && break
done
"#;

/// Ends processes and removes their folder when this process ends, also by SIGKILL.
pub(super) struct Guard {
    pids: Mutex<Option<ChildStdin>>,
    _shell: Child,
}

impl Guard {
    pub(super) fn start(folder: &Path, binary: &Path) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT]).arg(folder).arg(binary.canonicalize()?).current_dir("/");
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A test that is stopped with Ctrl-C must not take its guard along.
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let mut shell = shell.spawn()?;
        Ok(Self { pids: Mutex::new(shell.stdin.take()), _shell: shell })
    }

    pub(super) fn watch(&self, pid: u32) -> io::Result<()> {
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        pids.as_mut().map_or(Ok(()), |pids| writeln!(pids, "{pid}"))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}
