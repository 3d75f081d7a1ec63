#!/usr/bin/env bash
# Builds Sluice in every configuration and runs every check and test. Ends with ctest's summary of the release build.
# Run: bash tests/run.sh        (about half an hour on 2 cores without a compiler cache)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/install.sh
source tests/install.sh
install_packages build test || exit 1

section() { printf '\n=== %s\n' "$*"; }

section "format"
git ls-files '*.hpp' '*.cpp' | xargs clang-format-14 --dry-run --Werror
section "layers"
python3 tests/layers.py .

section "release: build with -Wall -Wextra -Werror"
cmake --preset release >/dev/null
cmake --build --preset release
section "dev: AddressSanitizer and UBSan, unit tests"
cmake --preset dev >/dev/null
cmake --build --preset dev
ctest --preset dev --output-on-failure -j2 -LE slow
section "tsan: actor tests under ThreadSanitizer"
cmake --preset tsan >/dev/null
cmake --build --preset tsan --target actors_test host_test device_test
ctest --preset tsan --output-on-failure -L actors
section "release: all tests"
ctest --preset release --output-on-failure -j2
