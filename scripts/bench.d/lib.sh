# What the parts of scripts/bench share; sourced, with `repo`, `bin`, `out` and `servers_folder`.
# shellcheck shell=bash disable=SC2154

work=$(mktemp -d)
# The servers that nexus starts for root run as `nobody`, and must reach their data.
chmod 711 "$work"
declare -A started=()

# Ends what this script started, and nothing else.
finish() {
    local status=$? pid
    for pid in "${!started[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${!started[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ "$status" != 0 ] && compgen -G "$work/*.log" >/dev/null; then tail -n 20 "$work"/*.log >&2; fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start NAME COMMAND...: in the background, its output in a log; sets `pid`.
start() {
    local name=$1
    shift
    "$@" >"$work/$name.log" 2>&1 &
    pid=$!
    started[$pid]=$name
}

# wait_for NAME URL: until it answers 200, for at most 60 s.
wait_for() {
    local deadline=$((SECONDS + 60))
    until curl -sf -o /dev/null "$2"; do
        kill -0 "$pid" 2>/dev/null || die "$1 ended before it answered $2"
        [ $SECONDS -lt $deadline ] || die "$1 did not answer $2 within 60 s"
        sleep 0.02
    done
}

now_ms() { date +%s%3N; }

record() { tee -a "$out"; }

# fact LABEL NAME VALUE: a figure that is no run.
fact() { printf '{"label":"%s","fact":"%s","value":%s}\n' "$1" "$2" "$3" | record; }

resident_mib() { awk '/^VmRSS:/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }

pss_mib() { awk '/^Pss:/ { pss += $2 } END { printf "%.1f", pss / 1024 }' "${@/#//proc/}"; }

# load LABEL CLIENTS REQUESTS ARGUMENTS...: turnload, with each answer checked for its number.
load() {
    local label=$1 c=$2 n=$3
    shift 3
    "$bin/turnload" --label "$label" -c "$c" -n "$n" --warmup 200 --max-seconds 30 \
        --expect 'm{{i}}m' --helper "$mock_pid" "$@" | record
}

# requests CLIENTS SLOW FAST: a single client gets fewer, as it is slower.
requests() { if [ "$1" = 1 ]; then echo "$2"; else echo "$3"; fi; }

mock_start() {
    mock=http://127.0.0.1:$(free_port)
    start mock "$bin/mockllm" --port "${mock##*:}"
    mock_pid=$pid
    wait_for mock "$mock/health"
}

# mock_check MODEL: a run has no meaning when the mock refused a request, or when a turn went
# without its tool.
mock_check() {
    curl -sf "$mock/stats" | MODEL=$1 python3 -c '
import json, os, sys
stats = json.load(sys.stdin)
if stats["bad_requests"]:
    sys.exit("the mock refused {bad_requests} requests: {last_bad_request}".format(**stats))
if os.environ["MODEL"] == "mock-tool" and stats["tool_calls"] < stats["finals"]:
    sys.exit("{finals} turns, but only {tool_calls} tool calls".format(**stats))'
}

chain_start() {
    local port server
    server=$(servers_folder)/bin/nats-server
    [ -x "$server" ] || server=$(command -v nats-server) || die "no nats-server: run scripts/install-servers"
    port=$(free_port)
    chain_server=127.0.0.1:$port
    cat >"$work/nats.conf" <<CONF
listen: $chain_server
jetstream { store_dir: "$work/chain", sync_interval: 100ms, max_mem: 1GB, max_file: 20GB }
CONF
    start nats "$server" -c "$work/nats.conf"
    chain_pid=$pid
    until (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        kill -0 "$pid" 2>/dev/null || die "nats-server ended at its start"
        sleep 0.05
    done
}

# nexus_start MODEL [NAME=VALUE]...: starts nexus on $work/data with a model of the mock; sets
# nexus, nexus_osc, nexus_pid and ready_ms.
nexus_start() {
    local model=$1 began
    shift
    rm -rf "$work/bus-config"
    cp -r "$repo/bus-config" "$work/bus-config"
    mkdir -p "$work/bus-config/providers"
    sed -i 's/^tools = .*/tools = ["echo"]/' "$work/bus-config/agents/assistant.toml"
    mkdir -p "$work/bus-config/providers"
    cat >"$work/bus-config/providers/mock.toml" <<CONF
kind = "openai-chat"
base_url = "$mock/v1"
models = [$(printf '"%s"\n' mock-tool mock-plain "$model" | sort -u | paste -sd,)]
CONF
    nexus=http://127.0.0.1:$(free_port)
    nexus_osc=127.0.0.1:$(free_port)
    began=$(now_ms)
    NEXUS_DATA=$work/data NEXUS_HTTP=${nexus#http://} NEXUS_OSC=$nexus_osc \
        NEXUS_BUS_CONFIG=$work/bus-config NEXUS_INFERENCE__DEFAULT_MODEL=mock/$model \
        start nexus env "$@" "$bin/nexus" up
    nexus_pid=$pid
    wait_for nexus "$nexus/readyz"
    ready_ms=$(($(now_ms) - began))
}

nexus_stop() {
    kill "$nexus_pid"
    wait "$nexus_pid" || true
    unset "started[$nexus_pid]"
}
