#!/usr/bin/env bash
# cmake --install gives a working program, and --version says version, backends and libraries.
source tests/support/story.bash
build=$(dirname "$SURCOAT_PROGRAM")
[ -e "$build/cmake_install.cmake" ] || skip "the program does not lie in a build folder"
cmake --install "$build" --prefix "$scratch/prefix" >/dev/null
SURCOAT_PROGRAM=$scratch/prefix/bin/surcoat
version=$(surcoat --version)
contains "$version" "surcoat 0."
for word in backends: "kernel overlay" library isa-l zstd sqlite openssl; do contains "$version" "$word" "--version"; done
surcoat import -q --host sh -t base >/dev/null
equal "$(surcoat run --rm base sh -c 'echo works')" works "the installed program"
for topic in import build run spawn df save gc; do contains "$(surcoat help $topic)" "Usage: surcoat $topic" "help $topic"; done
contains "$(surcoat help -a)" "spawn"
