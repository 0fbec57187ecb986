#!/bin/sh
# Nexus from a shell, with liblo's tools: apt-get install liblo-tools
#   NEXUS_API_KEY=nx_... sh examples/osc/ask.sh "what time is it in Tokyo?"
set -eu
port=${NEXUS_OSC_PORT:-9000} reply=${REPLY_PORT:-57140} heard=$(mktemp)
request=$(date +%s) # asked twice under one name, it runs once
oscdump -L "$reply" >"$heard" &
trap 'kill $!; rm -f "$heard"' EXIT

# Says it until it is answered: UDP may lose a packet.
until_heard() {
    answer=$1; shift
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        oscsend 127.0.0.1 "$port" "$@"
        sleep 0.5
        grep -q "/nexus/1/$answer " "$heard" && return
        if grep "/nexus/1/error " "$heard"; then exit 1; fi
    done
    echo "no $answer; does nexus up run?" >&2
    exit 1
}

until_heard welcome /nexus/1/hello sis shell "$reply" "$NEXUS_API_KEY"
session=$(sed -n 's|.*/nexus/1/welcome ssi "\([^"]*\)".*|\1|p' "$heard" | head -n 1)
until_heard done /nexus/1/ask sss "$session" "$request" "$1"
grep -E '/nexus/1/(token|done) ' "$heard"
