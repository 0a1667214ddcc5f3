#!/usr/bin/env bash
# Exit statuses of run and exec are docker's; the others are those of cmd/README.md.
source tests/support/story.bash
small_base
status_of() { local status=0; "$@" >/dev/null 2>&1 </dev/null || status=$?; echo $status; }
equal "$(status_of surcoat run --rm base true)" 0
equal "$(status_of surcoat run --rm base sh -c 'exit 3')" 3
equal "$(status_of surcoat run --rm base sh -c 'kill -9 $$')" 137 "killed"
equal "$(status_of surcoat run --rm base sh -c 'kill -TERM $$')" 143 "terminated"
equal "$(status_of surcoat run --rm base no-such-program)" 127 "no such program"
equal "$(status_of surcoat run --rm base /etc/passwd)" 126 "not executable"
equal "$(status_of surcoat run --rm no-such-image true)" 125 "no such image"
equal "$(status_of surcoat run --rm --user nobody-there base true)" 125 "unknown user"
equal "$(status_of surcoat run --bogus base true)" 2 "usage"
surcoat run -d --name box base sleep 600 >/dev/null
equal "$(status_of surcoat exec box sh -c 'exit 5')" 5
equal "$(status_of surcoat exec box no-such-program)" 127
equal "$(status_of surcoat exec no-such-box true)" 125
equal "$(status_of surcoat rm box)" 5 "rm of a running container"
surcoat kill box >/dev/null
equal "$(surcoat wait box)" 137 "wait after kill"
surcoat rm box >/dev/null
equal "$(status_of surcoat rm box)" 4 "rm of what is not there"
equal "$(status_of surcoat inspect nothing)" 4
equal "$(status_of surcoat imagse)" 2
contains "$(surcoat imagse 2>&1 || true)" "did you mean 'images'?"
surcoat run -d --name talk base sh -c 'echo out; echo err >&2' >/dev/null
equal "$(surcoat wait talk)" 0
equal "$(surcoat logs talk 2>/dev/null)" out "stdout of the log"
equal "$(surcoat logs talk 2>&1 >/dev/null)" err "stderr of the log"
equal "$(echo hello | surcoat run --rm -i base cat)" hello "standard input"
equal "$(surcoat run --rm -e A=1 -w /tmp --hostname box base sh -c 'echo $A $PWD; uname -n' | tr '\n' ' ')" "1 /tmp box " "env, directory, host name"
equal "$(surcoat run --rm --user 1234:99 base id -u)" 1234 "user by number"
equal "$(surcoat run --rm --network none base sh -c 'ls /sys/class/net | tr -d "\n"')" lo "no network but loopback"
mkdir "$scratch/shown"; echo data >"$scratch/shown/file"
equal "$(surcoat run --rm -v "$scratch/shown:/mnt:ro" base cat /mnt/file)" data "a mounted directory"
refuses 2 'Read-only' surcoat run --rm -v "$scratch/shown:/mnt:ro" base sh -c 'echo x >/mnt/file'
for runtime in crun runc; do
    command -v $runtime >/dev/null || { echo "skipped: $runtime is not installed"; continue; }
    equal "$(surcoat run --rm --runtime $runtime base sh -c 'echo from $(uname -n | wc -c)')" "from 13" "$runtime"
    equal "$(status_of surcoat run --rm --runtime $runtime base sh -c 'exit 7')" 7 "$runtime's exit status"
done
whole
