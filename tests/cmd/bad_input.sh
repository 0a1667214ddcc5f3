#!/usr/bin/env bash
# Bad input: one clear message (what, where, why, what to do), a status other than 0, nothing left half-done.
source tests/support/story.bash
small_base
before=$(surcoat layers -q | sort)
refuses 4 "no-such.tar" surcoat import "$scratch/no-such.tar" x
mkdir "$scratch/root"; head -c 3000000 /dev/urandom >"$scratch/root/big"; echo a >"$scratch/root/a"
tar -C "$scratch/root" -cf "$scratch/good.tar" .
head -c 1500000 "$scratch/good.tar" >"$scratch/cut.tar"
refuses 1 "ends" surcoat import "$scratch/cut.tar" x
gzip -k "$scratch/good.tar"; head -c 1500000 "$scratch/good.tar.gz" >"$scratch/cut.tar.gz"
refuses 1 "gzip" surcoat import "$scratch/cut.tar.gz" x
head -c 5000 /dev/urandom >"$scratch/noise"
refuses 1 - surcoat import "$scratch/noise" x
equal "$(surcoat images -q x)" "" "no image of a bad import"
equal "$(surcoat layers -q | sort)" "$before" "no layer of a bad import"

context=$scratch/context; mkdir "$context"; echo hi >"$context/hello.txt"
recipe() { printf '%s\n' "$@" >"$context/Dockerfile"; }
recipe 'FROM base' 'COPPY a b'
refuses 2 "Dockerfile:2:1: unknown instruction" surcoat build -t x "$context"
contains "$(surcoat build -t x "$context" 2>&1 || true)" "COPY"
recipe 'FROM bsae'
refuses 4 "Dockerfile:1:6" surcoat build -t x "$context"
contains "$(surcoat build -t x "$context" 2>&1 || true)" "did you mean 'base" "the nearest image"
recipe 'FROM base' 'COPY hello.text /'
refuses 4 "did you mean '/hello.txt'" surcoat build -t x "$context"
recipe 'FROM base' 'RUN exit 9'
refuses 1 "exit status 9" surcoat build --on-error discard -t x "$context"
recipe 'FROM base' 'ADD hello.txt /'
refuses 1 "Dockerfile:2:1" surcoat build -t x "$context"
recipe 'FROM base' 'RUN --mount=type=cache,target=/c true'
refuses 1 "Dockerfile:2:" surcoat build -t x "$context"
rm "$context/Dockerfile"
refuses 4 "no recipe" surcoat build -t x "$context"
recipe 'FROM base'
refuses 2 "upper" surcoat build -t UPPER "$context"
equal "$(surcoat images -q x)" "" "no image of a failed build"

tell "a wrong digest in a layout"
surcoat save --format oci-dir -o "$scratch/layout" base
blob=$(find "$scratch/layout/blobs/sha256" -size +64k | head -1)
printf 'X' | dd of="$blob" bs=1 seek=5000 conv=notrunc status=none
surcoat rmi base >/dev/null; surcoat gc >/dev/null
refuses 1 "sha256" surcoat load -i "$scratch/layout"
equal "$(surcoat images -q)" "" "nothing is loaded from a damaged layout"

tell "a full disk"
if [ "$(id -u)" = 0 ]; then
    truncate -s 24M "$scratch/disk.img"; mkfs.ext4 -q -F "$scratch/disk.img"; mkdir "$scratch/disk"
    mount -o loop "$scratch/disk.img" "$scratch/disk"
    head -c 40000000 /dev/urandom >"$scratch/root/big"; tar -C "$scratch/root" -cf "$scratch/large.tar" .
    status=0; surcoat --store "$scratch/disk/store" import "$scratch/large.tar" big 2>"$scratch/error" || status=$?
    umount_later() { umount "$scratch/disk"; }
    [ $status = 6 ] || { cat "$scratch/error"; umount_later; fail "a full disk exits 6, not $status"; }
    contains "$(cat "$scratch/error")" "No space left" || umount_later
    surcoat --store "$scratch/disk/store" gc >/dev/null
    surcoat --store "$scratch/disk/store" fsck --deep || { umount_later; fail "the store on the full disk"; }
    surcoat --store "$scratch/disk/store" import -q --host sh -t small >/dev/null || { umount_later; fail "the store goes on after a full disk"; }
    umount_later
else
    echo "skipped: a full disk needs root to mount a small one"
fi
whole
