# Sourced by the stories in tests/cmd: a private store, checks that say what they saw, a clean end.
set -euo pipefail
: "${SURCOAT_PROGRAM:?the program to test}"
surcoat() { "$SURCOAT_PROGRAM" "$@"; }
scratch=$(mktemp -d "${TMPDIR:-/tmp}/surcoat-story.XXXXXX")
export SURCOAT_STORE=$scratch/store
unset SOURCE_DATE_EPOCH SURCOAT_FAULT SURCOAT_FAULT_TRACE SURCOAT_KEEP_BLOBS
story_end() {
    local status=$?
    surcoat rm -fa >/dev/null 2>&1 || true
    surcoat unshare rm -rf "$scratch" 2>/dev/null || rm -rf "$scratch" || true
    [ $status = 0 ] || [ $status = 77 ] || echo "story failed with status $status at: ${BASH_COMMAND:-}" >&2
    exit $status
}
trap story_end EXIT
skip() { echo "skipped: $*"; exit 77; }
tell() { echo "--- $*"; }
fail() { echo "FAIL: $*" >&2; exit 1; }
equal() { [ "$1" = "$2" ] || fail "${3:-}: expected '$2', found '$1'"; }
contains() { case "$1" in *"$2"*) ;; *) fail "${3:-}: '$2' is not in: $1" ;; esac; }
lacks() { case "$1" in *"$2"*) fail "${3:-}: '$2' is in: $1" ;; esac; }
# refuses STATUS TEXT COMMAND…: it must exit with STATUS, say TEXT on stderr, and give a hint unless TEXT is "-".
refuses() {
    local want=$1 text=$2 status=0 output; shift 2
    output=$("$@" 2>&1 >/dev/null) || status=$?
    [ "$status" = "$want" ] || fail "'$*' exited $status, expected $want: $output"
    [ "$text" = - ] || contains "$output" "$text" "'$*'"
}
whole() { surcoat fsck --deep >"$scratch/fsck" || { cat "$scratch/fsck"; fail "fsck finds errors ${1:-}"; }; }
wait_http() {
    for _ in $(seq 150); do curl -fsS -o /dev/null "http://127.0.0.1:$1/" 2>/dev/null && return; sleep 0.1; done
    surcoat logs "$2" >&2 || true
    fail "nothing answers on port $1"
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# A base image with little in it: quick to import.
small_base() { surcoat import -q --host sh coreutils -t base >/dev/null; }
