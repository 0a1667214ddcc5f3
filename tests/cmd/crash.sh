#!/usr/bin/env bash
# kill -9 at every named fault point of import, build, spawn, load and gc: the store is whole, and goes on working.
source tests/support/story.bash
mkdir "$scratch/root" "$scratch/context"
for i in $(seq 40); do head -c $((i * 700)) /dev/urandom >"$scratch/root/file$i"; done
ln "$scratch/root/file1" "$scratch/root/link1"; ln -s file2 "$scratch/root/soft"; mkdir "$scratch/root/dir"
tar -C "$scratch/root" -cf "$scratch/root.tar" .
printf '%s\n' 'FROM base' 'COPY data /data' 'RUN echo made >/made && rm /data/b' 'WORKDIR /srv/app' 'COPY data/a /srv/app/' >"$scratch/context/Dockerfile"
mkdir "$scratch/context/data"; echo a >"$scratch/context/data/a"; echo b >"$scratch/context/data/b"
small_base
surcoat save -o "$scratch/base.tar" base

jobs_of() {
    case $1 in
        import) surcoat import -q "$scratch/root.tar" root:1 ;;
        build) surcoat build -q -t built:1 "$scratch/context" ;;
        spawn) surcoat spawn -q -n 3 base ;;
        load) surcoat load -q -i "$scratch/base.tar" ;;
        run) surcoat run --rm base sh -c 'echo x >/x' ;;
        gc) surcoat gc ;;
    esac >/dev/null 2>&1
}
# What each job starts from.
prepare() {
    surcoat rm -fa >/dev/null; surcoat rmi -a >/dev/null; surcoat gc >/dev/null
    [ "$1" = load ] || surcoat load -q -i "$scratch/base.tar" >/dev/null
    if [ "$1" = gc ]; then
        surcoat import -q "$scratch/root.tar" root:1 >/dev/null
        surcoat spawn -q -n 2 root:1 true >/dev/null
        surcoat rm -fa >/dev/null; surcoat rmi root:1 >/dev/null
    fi
}
killed=0
for job in import build spawn load run gc; do
    prepare $job
    rm -f "$scratch/trace"
    SURCOAT_FAULT_TRACE=$scratch/trace jobs_of $job || fail "$job does not work undisturbed"
    points=$(sort -u "$scratch/trace" 2>/dev/null || true)
    [ -n "$points" ] || fail "$job passes no fault point"
    for point in $points; do
        prepare $job
        if SURCOAT_FAULT=$point=kill jobs_of $job; then
            # A killed child of surcoat (a monitor, say) may leave the program itself alive.
            echo "note: $job survives a kill at $point"
        fi
        surcoat fsck --deep >"$scratch/fsck" || { cat "$scratch/fsck"; fail "after a kill of $job at $point"; }
        jobs_of $job || fail "$job does not work after it was killed at $point"
        surcoat gc >/dev/null
        equal "$(surcoat fsck --deep)" "the store is whole" "after $job, killed at $point, was done again"
        killed=$((killed + 1))
    done
    echo "$job: $(echo $points)"
done
[ $killed -ge 15 ] || fail "only $killed kills: are the fault points still there?"
echo "$killed kills, every store whole"
