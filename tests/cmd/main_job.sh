#!/usr/bin/env bash
# The main job, end to end: import, build, run, spawn, measure, save, load, remove.
source tests/support/story.bash
tell "a base of this machine's programs"
surcoat import --host sh coreutils python3 -t base
port=$(free_port)

tell "a build, and the same build again without a step"
surcoat build -t shop:1 examples/shop 2>&1 | tee "$scratch/first"
lacks "$(tail -1 "$scratch/first")" " 0 new" "the first build runs steps"
id=$(surcoat images -q --no-trunc shop:1)
surcoat build -t shop:1 examples/shop 2>&1 | tee "$scratch/second"
contains "$(tail -1 "$scratch/second")" " 0 new" "the second build"
equal "$(surcoat images -q --no-trunc shop:1)" "$id" "the image after a cached build"
surcoat build -q --no-cache -t shop:1 examples/shop >"$scratch/third"
equal "$(cat "$scratch/third")" "$id" "the image after a build without cache"

tell "it answers HTTP as an unprivileged user"
surcoat run -d --name shop shop:1 --port "$port" >/dev/null
wait_http "$port" shop
contains "$(curl -sS "http://127.0.0.1:$port/")" '"uid": 65534'
contains "$(curl -sS "http://127.0.0.1:$port/goods")" 'Great helm'
contains "$(curl -sS -d '{"sku": "helm-01", "count": 2}' "http://127.0.0.1:$port/order")" '"total_cents": 65800'
contains "$(surcoat exec shop cat /var/lib/shop/orders.log)" 'helm-01 2 65800'
contains "$(surcoat ps)" 'shop'
contains "$(surcoat diff shop)" 'C /var/lib/shop/orders.log'
surcoat stop -t 3 shop >/dev/null
lacks "$(surcoat ps -q)" "$(surcoat ps -aq)" "a stopped container is not among the running"
surcoat commit -q -m sold shop shop:sold >/dev/null
contains "$(surcoat cat shop:sold:/var/lib/shop/orders.log)" 'helm-01'

tell "a hundred roots, each on its own"
surcoat spawn -n 100 --name 'web-{i}' shop:1
equal "$(surcoat ps -aq | wc -l)" 101 "containers"
echo one >"$scratch/file"
surcoat cp "$scratch/file" web-1:/var/lib/shop/file
equal "$(surcoat cat web-1:/var/lib/shop/file)" one "the copied file"
refuses 4 'var/lib/shop/file' surcoat cat web-2:/var/lib/shop/file
surcoat cp web-1:/var/lib/shop/file "$scratch/back"
cmp "$scratch/file" "$scratch/back"
equal "$(surcoat diff web-1)" $'C /var\nC /var/lib\nC /var/lib/shop\nA /var/lib/shop/file' "docker's diff"

tell "measured, and equal to the disk"
surcoat images; surcoat history shop:1; surcoat layers shop:1; surcoat df -v --verify
surcoat inspect shop:1 web-1 >/dev/null
equal "$(surcoat df --format json | python3 -c 'import json,sys; print(json.load(sys.stdin)["items"][0]["total_bytes"])')" \
      "$(du -B1 -s "$SURCOAT_STORE" | cut -f1)" "df against du"

tell "out and in"
surcoat save -o "$scratch/shop.tar" shop:1
surcoat export -o "$scratch/root.tar" web-1
contains "$(tar tf "$scratch/root.tar")" 'var/lib/shop/file'
surcoat rm -fa >/dev/null
surcoat rmi -a >/dev/null
surcoat gc -n | tee "$scratch/dry"
surcoat gc | tee "$scratch/wet"
equal "$(sed -n 's/.*(\([0-9]*\) bytes).*/\1/p' "$scratch/dry")" "$(sed -n 's/.*(\([0-9]*\) bytes).*/\1/p' "$scratch/wet")" "gc frees what its dry run said"
equal "$(find "$SURCOAT_STORE/objects" -type f | wc -l)" 0 "contents left"
equal "$(surcoat fsck --deep)" "the store is whole" "fsck"
surcoat load -i "$scratch/shop.tar"
equal "$(surcoat images -q --no-trunc shop:1)" "$id" "the image loaded again"
equal "$(surcoat run --rm --entrypoint python3 shop:1 -c 'print(6 * 7)')" 42 "the loaded image runs"
whole
