#!/bin/sh
# Builds challenge.wasm; needs clang-19 and wasm-ld-19 (Debian: clang-19 lld-19).
set -eu
cd "$(dirname "$0")"
exec ../../../cmd/shardy/examples/build.sh 1048576 c/challenge.c "${1:-challenge.wasm}" -msimd128
