#!/usr/bin/env bash
# A thousand views of one image in one call: each writable on its own, under 25 KiB of disk each.
source tests/support/story.bash
[ "$(id -u)" = 0 ] || skip "a thousand mounts at once need root"
small_base
before=$(du -B1 -s "$SURCOAT_STORE" | cut -f1)
surcoat spawn -n 1000 --name 'v-{i}' --mounted -q base >"$scratch/paths"
equal "$(wc -l <"$scratch/paths")" 1000 "mounted views"
after=$(du -B1 -s "$SURCOAT_STORE" | cut -f1)
each=$(((after - before) / 1000))
echo "$each bytes each"
[ $each -lt $((25 * 1024)) ] || fail "$each bytes for each view"
number=0
while read -r path; do number=$((number + 1)); echo "$number" >"$path/tmp/number"; done <"$scratch/paths"
number=0
while read -r path; do number=$((number + 1)); equal "$(cat "$path/tmp/number")" $number "$path"; done < <(head -50 "$scratch/paths")
equal "$(surcoat ps -aq | wc -l)" 1000 "ps"
surcoat df --verify | tail -3
surcoat rm -fa | tail -1
equal "$(surcoat ps -aq | wc -l)" 0 "after rm"
equal "$(grep -c "$SURCOAT_STORE" /proc/self/mountinfo || true)" 0 "mounts left"
whole
