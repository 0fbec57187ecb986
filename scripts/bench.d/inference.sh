# One plain completion and paced streams through Nexus' whole bus path, beside the model itself and
# beside gateways: the same mock, the same load, in turns. Sourced by scripts/bench inference.
# INFERENCE_STREAMS changes how many streams there are at once (256); INFERENCE_SCALE divides all
# numbers of requests, to see that it works.
# shellcheck shell=bash disable=SC2154

inference_peers=(litellm vllm-router)
litellm_package='litellm[proxy]==1.106.2'
vllm_router_package=vllm-router==0.1.17
inference_plain=mock-plain
# A token every 20 ms, each with the time at which it was sent; the first one says DONE.
inference_paced=mock-plain-stamp-tok65-itl20
inference_stamps=64

# venv_install NAME PACKAGE: into a folder of its own below the peers' cache, once.
venv_install() {
    local folder=$peers/$1
    [ "$(cat "$folder/installed" 2>/dev/null)" != "$2" ] || return 0
    mkdir -p "$folder"
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q "$2"
    echo "$2" >"$folder/installed"
}

inference_install() {
    venv_install litellm "$litellm_package"
    venv_install vllm-router "$vllm_router_package"
}

litellm_start() {
    local began
    litellm=http://127.0.0.1:$(free_port)
    # Without its spend logs, its telemetry and its own list of prices from the network.
    cat >"$work/litellm.yaml" <<CONF
model_list:
$(printf -- "  - model_name: %s\n    litellm_params: {model: openai/%s, api_base: \"$mock/v1\", api_key: x}\n" \
        "$inference_plain" "$inference_plain" "$inference_paced" "$inference_paced")
litellm_settings: {telemetry: false, set_verbose: false}
general_settings: {disable_spend_logs: true, master_key: sk-bench-1234}
CONF
    began=$(now_ms)
    LITELLM_LOG=ERROR LITELLM_LOCAL_MODEL_COST_MAP=True \
        start litellm "$peers/litellm/venv/bin/litellm" --config "$work/litellm.yaml" \
        --host 127.0.0.1 --port "${litellm##*:}" --num_workers 1
    litellm_pid=$pid
    wait_for litellm "$litellm/health/liveliness"
    fact litellm ready_ms $(($(now_ms) - began))
    peer_url=$litellm peer_pid=$litellm_pid peer_key=sk-bench-1234
}

vllm_router_start() {
    local began
    vllm_router=http://127.0.0.1:$(free_port)
    began=$(now_ms)
    # Its metrics would otherwise listen on every address.
    start vllm-router "$peers/vllm-router/venv/bin/vllm-router" --worker-urls "$mock" \
        --host 127.0.0.1 --port "${vllm_router##*:}" --prometheus-host 127.0.0.1 \
        --prometheus-port "$(free_port)" --policy round_robin --log-level error
    vllm_router_pid=$pid
    wait_for vllm-router "$vllm_router/health"
    fact vllm-router ready_ms $(($(now_ms) - began))
    peer_url=$vllm_router peer_pid=$vllm_router_pid peer_key=x
}

# inference_target NAME: sets url, key, pids and model names of one that is measured.
inference_target() {
    target_url=$mock target_key=x target_pid=$mock_pid target_model=$inference_plain target_paced=$inference_paced
    case $1 in
    nexus)
        target_url=$nexus target_key=$(cat "$work/data/local.key") target_pid=$nexus_pid
        target_model=assistant target_paced=paced
        ;;
    litellm) target_url=$litellm target_key=sk-bench-1234 target_pid=$litellm_pid ;;
    vllm-router) target_url=$vllm_router target_pid=$vllm_router_pid ;;
    esac
}

# inference_body MODEL STREAM
inference_body() {
    printf '{"model":"%s","stream":%s,"messages":[{"role":"user","content":"hello m{{i}}m"}]}' "$1" "$2"
}

# fewer N: of a number of requests, with INFERENCE_SCALE.
fewer() { echo $((($1 + ${INFERENCE_SCALE:-1} - 1) / ${INFERENCE_SCALE:-1})); }

# inference_whole NAME CLIENTS: answers in one piece.
inference_whole() {
    local n
    inference_target "$1"
    case $1 in
    mock) n=$(requests "$2" 4000 20000) ;;
    litellm) n=$(requests "$2" 300 1500) ;;
    *) n=$(requests "$2" 1000 6000) ;;
    esac
    load "$1" "$2" "$(fewer "$n")" --url "$target_url/v1/chat/completions" --pid "$target_pid" \
        --body "$(inference_body "$target_model" false)" -H "Authorization: Bearer $target_key" \
        -H 'X-Conversation-Id: {{run}}-{{i}}'
}

# inference_streams NAME MODEL ARGUMENTS...
inference_streams() {
    local name=$1 model=$2
    shift 2
    "$bin/streamload" --label "$name" --url "$target_url/v1/chat/completions" \
        --body "$(inference_body "$model" true)" -H "Authorization: Bearer $target_key" \
        -H 'X-Conversation-Id: {{run}}-{{i}}' --pid "$target_pid" --helper "$mock_pid" "$@" | record
}

# inference_first NAME: time to the first word, one stream after the other.
inference_first() {
    inference_target "$1"
    inference_streams "$1" "$target_model" -n "$(fewer 300)" --warmup "$(fewer 30)"
}

# inference_many NAME: paced streams at once.
inference_many() {
    local c=${INFERENCE_STREAMS:-256}
    inference_target "$1"
    inference_streams "$1" "$target_paced" -c "$c" -n "$c" --ramp 2000 --stamps "$inference_stamps"
    fact "$1" "rss_after_streams_mib" "$(tree_resident_mib "$target_pid")"
    # Without NATS and PostgreSQL, which others do not bring.
    [ "$1" != nexus ] || fact nexus process_rss_after_streams_mib "$(resident_mib "$nexus_pid")"
}

# tree_resident_mib PID: of a process and all below it.
tree_resident_mib() {
    local all=("$1") i=0
    while [ $i -lt ${#all[@]} ]; do
        mapfile -t -O ${#all[@]} all < <(pgrep -P "${all[$i]}")
        i=$((i + 1))
    done
    for i in "${all[@]}"; do grep -h ^VmRSS: "/proc/$i/status" 2>/dev/null; done |
        awk '{ sum += $2 } END { printf "%.1f", sum / 1024 }'
}

# Agents without tools and without memory: one call of the model, as the gateways make it.
inference_agents() {
    local streams=${INFERENCE_STREAMS:-256}
    nexus_start "$inference_plain" NEXUS_INFERENCE__MAX_IN_FLIGHT=$((streams + 64))
    sed -i 's/^models = .*/models = ["mock-tool", "mock-plain", "'"$inference_paced"'"]/' "$work/bus-config/providers/mock.toml"
    sed -i 's/^tools = .*/tools = []/; s/^recall_turns = .*/recall_turns = 0/' "$work/bus-config/agents/assistant.toml"
    sed 's/^name = .*/name = "paced"/; s|^model = .*|model = "mock/'"$inference_paced"'"|' \
        "$work/bus-config/agents/assistant.toml" >"$work/bus-config/agents/paced.toml"
    NEXUS_DATA=$work/data NEXUS_BUS_CONFIG=$work/bus-config "$bin/nexus" bus apply >/dev/null
}

inference_part() {
    local run each c measured=(nexus mock)
    inference_agents
    fact nexus ready_ms "$ready_ms"
    for each in "${inference_peers[@]}"; do
        "${each//-/_}_start"
        # A peer that does not answer is left out, and said.
        if curl -sf -m 20 -o /dev/null -H "Authorization: Bearer $peer_key" -H 'content-type: application/json' \
            -d "$(inference_body "$inference_plain" false)" "$peer_url/v1/chat/completions"; then
            measured+=("$each")
        else
            echo "$each gives no answer: left out" >&2
        fi
    done
    sleep 5
    for each in "${measured[@]}"; do
        inference_target "$each"
        fact "$each" idle_rss_mib "$(tree_resident_mib "$target_pid")"
        [ "$each" != nexus ] || fact nexus idle_process_rss_mib "$(resident_mib "$nexus_pid")"
    done
    for ((run = 1; run <= runs; run++)); do
        for c in "${clients[@]}"; do
            for each in "${measured[@]}"; do inference_whole "$each" "$c"; done
        done
        for each in "${measured[@]}"; do inference_first "$each"; done
        for each in "${measured[@]}"; do inference_many "$each"; done
    done
    mock_check "$inference_plain"
    nexus_stop
}
