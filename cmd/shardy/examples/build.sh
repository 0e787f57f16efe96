#!/bin/sh
# Builds C sources into job modules:  build.sh MEMORY_BYTES SOURCE.c OUTPUT.wasm [more compiler flags]
# Needs clang-19 and wasm-ld-19 (Debian: clang-19 lld-19). No libc, no imports, one memory of fixed size: the same
# number of bytes at least and at most. Add -msimd128 for vectors.
set -eu
memory=$1 source=$2 output=$3
shift 3
exec clang-19 --target=wasm32 -std=c17 -O3 -nostdlib -Wall -Wextra -Werror -mbulk-memory \
	-I "$(dirname "$0")/c" "$@" \
	-Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=65536 \
	-Wl,--initial-memory="$memory" -Wl,--max-memory="$memory" \
	-o "$output" "$source"
