#!/usr/bin/env bash
# The ten-image experiment in small: a root filesystem rebuilt with other times costs no content twice.
source tests/support/story.bash
mkdir "$scratch/root"
cp -a /usr/include/linux "$scratch/root/include"; cp /bin/ls /bin/cat "$scratch/root/"
tar -C "$scratch/root" -cf "$scratch/first.tar" .
find "$scratch/root" -exec touch -h -d '2021-03-04 05:06:07' {} +
tar -C "$scratch/root" -cf "$scratch/second.tar" .
surcoat import "$scratch/first.tar" os:1
objects() { surcoat df --format json | python3 -c 'import json,sys; u=json.load(sys.stdin)["items"][0]; print(u["object_count"], u["objects_bytes"])'; }
first=$(objects)
surcoat import "$scratch/second.tar" os:2
equal "$(objects)" "$first" "contents after the rebuilt base"
[ "$(surcoat layers -q os:1)" != "$(surcoat layers -q os:2)" ] || fail "the two bases are different layers"
surcoat df --verify
shared=$(surcoat df --format json | python3 -c 'import json,sys; u=json.load(sys.stdin)["items"][0]; print(u["images_sharing_layers_bytes"] > 1.9 * u["objects_bytes"] * 0.5)')
equal "$shared" True "sharing layers only would store both"
tell "an imported archive is kept to the byte"
digest=$(sha256sum <"$scratch/first.tar" | cut -d' ' -f1)
equal "$(surcoat layers -q os:1)" "sha256:$digest" "the layer's DiffID is the archive's digest"
for form in gz zst xz dir stdin; do
    case $form in
        gz) gzip -k "$scratch/first.tar"; surcoat import -q "$scratch/first.tar.gz" os:$form ;;
        zst) zstd -q "$scratch/first.tar"; surcoat import -q "$scratch/first.tar.zst" os:$form ;;
        xz) xz -k -1 "$scratch/first.tar"; surcoat import -q "$scratch/first.tar.xz" os:$form ;;
        stdin) surcoat import -q - os:$form <"$scratch/first.tar" ;;
        dir) surcoat import -q "$scratch/root" os:$form ;;
    esac >/dev/null
    [ $form = dir ] || equal "$(surcoat layers -q os:$form)" "sha256:$digest" "$form"
done
equal "$(surcoat diff os:2 os:dir)" "" "the directory and its archive show the same tree"
whole
