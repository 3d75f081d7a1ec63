#!/usr/bin/env bash
# Builds Sluice in every configuration and runs every check and test. Ends with ctest's summary of the release build.
# Run: bash tests/run.sh          everything
#      bash tests/run.sh quick    without fuzzers and sanitizers: format, layers, release build, quickstart, embedding, all tests
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/install.sh
source tests/install.sh
install_packages build test || exit 1

section() { printf '\n=== [%dm%02ds] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

section "format"
git ls-files '*.hpp' '*.cpp' | xargs clang-format-14 --dry-run --Werror
section "layers, and what the documentation names"
python3 tests/layers_test.py
python3 tests/layers.py .
python3 tests/docs.py .

section "release: build with -Wall -Wextra -Werror"
cmake --preset release >/dev/null
cmake --build --preset release
section "quickstart at reduced steps"
bash examples/quickstart.sh --set train.steps=30 --set train.warmup_steps=10 --set train.validation_samples=8
section "embedding: a project of its own against an install prefix"
bash tests/embed.sh

if [ "${1:-}" != quick ]; then
  section "fuzz: a minute each, under ASan and UBSan"
  cmake --preset fuzz >/dev/null
  cmake --build --preset fuzz --target fuzz
  ctest --test-dir build-fuzz --output-on-failure -j2
  section "tsan: actors, hosts and devices, under ThreadSanitizer"
  cmake --preset tsan >/dev/null
  cmake --build --preset tsan --target actors_tests
  ctest --preset tsan --output-on-failure -L '^actors$'
  section "dev: unit and actor tests under AddressSanitizer and UBSan"
  cmake --preset dev >/dev/null
  cmake --build --preset dev
  ctest --preset dev --output-on-failure -j2 -L '^(unit|actors)$'
fi
section "release: all tests"
ctest --preset release --output-on-failure -j2
