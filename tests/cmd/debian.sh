#!/usr/bin/env bash
# A real Debian root filesystem, apt inside a RUN, and Flask answering from a container; the same image goes
# through skopeo, umoci and podman.
source tests/support/story.bash
[ "$(id -u)" = 0 ] || skip "mmdebstrap and podman as root"
command -v mmdebstrap >/dev/null || skip "mmdebstrap is not installed"
mmdebstrap --variant=minbase bookworm "$scratch/debian.tar" >"$scratch/mmdebstrap.log" 2>&1 || { tail -3 "$scratch/mmdebstrap.log"; skip "no Debian mirror is reachable"; }
digest=$(sha256sum <"$scratch/debian.tar" | cut -d' ' -f1)
surcoat import "$scratch/debian.tar" debian:bookworm
equal "$(surcoat layers -q debian:bookworm)" "sha256:$digest" "the layer is the archive"
surcoat build -t shop:debian -f examples/shop/Dockerfile.debian examples/shop 2>&1 | tail -4
contains "$(surcoat build -t shop:debian -f examples/shop/Dockerfile.debian examples/shop 2>&1 | tail -1)" " 0 new" "built again"
port=$(free_port)
surcoat run -d --name shop shop:debian --port "$port" >/dev/null
wait_http "$port" shop
equal "$(curl -sS "http://127.0.0.1:$port/" | python3 -c 'import json,sys; print(json.load(sys.stdin)["engine"])')" flask "what serves"
surcoat rm -f shop >/dev/null
surcoat df --verify

tell "what was saved is read by others, and comes back the same"
surcoat save --format oci-dir -o "$scratch/layout" shop:debian
manifest=$(surcoat inspect shop:debian | python3 -c 'import json,sys; print(json.load(sys.stdin)["items"][0]["manifest"])')
equal "$(skopeo inspect --format '{{.Digest}}' "oci:$scratch/layout:shop:debian")" "$manifest" "skopeo sees the same manifest"
skopeo copy -q --dest-compress "oci:$scratch/layout:shop:debian" "oci:$scratch/again:shop:debian"
surcoat load -i "$scratch/again" >/dev/null
umoci unpack --image "$scratch/layout:shop:debian" "$scratch/bundle" >/dev/null 2>&1
surcoat create --name root shop:debian >/dev/null
where=$(surcoat mount root)
# The merged root that we show and the one that umoci unpacks: every name, mode, owner, size and target.
list() { (cd "$1" && find . -mindepth 1 -printf '%P %y %m %U:%G %l ' -a \( -type f -printf '%s' -o -true \) -printf '\n' | LC_ALL=C sort); }
list "$where" >"$scratch/ours"; list "$scratch/bundle/rootfs" >"$scratch/theirs"
diff "$scratch/ours" "$scratch/theirs" | head -5
cmp "$scratch/ours" "$scratch/theirs" || fail "the mounted root differs from umoci's"
surcoat umount root >/dev/null
whole
