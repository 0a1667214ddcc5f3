#!/usr/bin/env bash
# A plain user, no root, no subordinate ids: the same main job in a user namespace.
source tests/support/story.bash
if [ "$(id -u)" != 0 ]; then skip "run as root, which can become a plain user"; fi
user=65534
home=$scratch/home
mkdir "$home"; cp "$SURCOAT_PROGRAM" "$home/surcoat"; cp -r examples/shop "$home/shop"; chown -R $user:65534 "$home"; chmod 755 "$scratch"
as_user() { setpriv --reuid $user --regid 65534 --clear-groups env -i PATH="$PATH" HOME="$home" SURCOAT_STORE="$home/store" "$home/surcoat" "$@"; }
setpriv --reuid $user --regid 65534 --clear-groups unshare -Ur true 2>/dev/null || skip "this kernel gives plain users no user namespace"
as_user import --host sh coreutils python3 -t base
sed -i -e 's/^RUN mkdir.*/RUN mkdir -p "$SHOP_DATA"/' -e 's/^USER nobody//' -e 's/^RUN touch .*/RUN touch "$SHOP_DATA\/orders.log"/' "$home/shop/Dockerfile"
as_user build -t shop:1 "$home/shop"
port=$(free_port)
as_user run -d --name shop shop:1 --port "$port" >/dev/null
for _ in $(seq 150); do curl -fsS -o /dev/null "http://127.0.0.1:$port/" 2>/dev/null && break; sleep 0.1; done
contains "$(curl -sS "http://127.0.0.1:$port/")" '"shop": "surcoat"'
contains "$(as_user exec shop id -u)" 0 "root inside"
contains "$(as_user ps)" shop
as_user stop -t 2 shop >/dev/null
as_user spawn -n 20 --name 'v-{i}' shop:1
echo mine >"$scratch/mine"; chmod 644 "$scratch/mine"
as_user cp "$scratch/mine" v-3:/tmp/mine
equal "$(as_user cat v-3:/tmp/mine)" mine "a file copied in"
contains "$(as_user diff v-3)" 'A /tmp/mine'
as_user df --verify
as_user save -o "$home/shop.tar" shop:1
as_user rm -fa >/dev/null; as_user rmi -a >/dev/null; as_user gc
as_user load -i "$home/shop.tar"
equal "$(as_user run --rm --entrypoint python3 shop:1 -c 'print(1)')" 1 "the loaded image runs"
equal "$(as_user fsck --deep)" "the store is whole" "fsck"
as_user rmi -a >/dev/null; as_user gc >/dev/null
as_user unshare rm -rf "$home/store"
