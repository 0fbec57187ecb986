# shellcheck shell=bash
# Shared by the scripts: sourced, never run.

# Given paths are relative to the caller's folder, which we leave.
[ -z "${NEXUS_SERVERS:-}" ] || NEXUS_SERVERS=$(realpath -m "$NEXUS_SERVERS")
[ -z "${NEXUS_DATA:-}" ] || NEXUS_DATA=$(realpath -m "$NEXUS_DATA")
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# The embedded servers never run as root; root starts them as `nobody` (65534).
nobody_reaches() {
    setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$1" 2>/dev/null
}

# Where the pinned servers live. A repository below /root is closed to `nobody`.
servers_folder() {
    if [ -n "${NEXUS_SERVERS:-}" ]; then
        echo "$NEXUS_SERVERS"
    elif is_root && ! nobody_reaches "$repo"; then
        echo /opt/nexus/servers
    else
        echo "$repo/.servers"
    fi
}

# step TEXT COMMAND...: runs it quietly and prints TEXT with the seconds; on failure its output too.
step() {
    local text=$1 log status began=$SECONDS
    shift
    log=$(mktemp)
    printf '%s: ' "$text"
    # Not `if "$@"`: bash ignores `set -e` inside a function that is a condition.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null
    status=$?
    set -e
    if [ "$status" != 0 ]; then
        echo "failed after $((SECONDS - began)) s"
        cat "$log" >&2
        rm -f "$log"
        die "failed: $*"
    fi
    echo "$((SECONDS - began)) s"
    rm -f "$log"
}

need_cargo() {
    command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null ||
        die "cargo is not installed; see https://rustup.rs, or: curl -sSf https://sh.rustup.rs | sh -s -- -y"
}
