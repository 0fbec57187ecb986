# Runs a server for as long as its owner lives: the owner holds the other end of
# standard input, which the kernel closes when it dies, by whatever signal.
# $1 folder, $2 signal that stops the server, $3 the server's input; then its command line.
folder=$1 signal=$2 input=$3
shift 3
exec 3<&0
(cd "$folder" && exec "$@") <"$input" >&2 3<&- &
server=$!
(
    read -r line <&3
    kill -s "$signal" "$server"
    tries=0
    while [ "$tries" -lt 100 ] && kill -0 "$server"; do
        sleep 0.1
        tries=$((tries + 1))
    done
    kill -s KILL "$server"
) >/dev/null 2>&1 &
watch=$!
# Only now: should the owner be gone already, this line kills the shell but not the subshell.
echo "$server"
wait "$server" 2>/dev/null
status=$?
kill "$watch" 2>/dev/null
exit "$status"
