#!/usr/bin/env bash
# Runs every fault plan in tests/simulation/ under many seeds on all cores; ends "N seeds, D divergences, TIME".
# Run: bash tests/soak.sh [seeds=10000] [first=0]      (a seed that fails prints the line that runs it again)
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-10000}
first=${2:-0}
build=${SLUICE_BUILD:-build}
[ -f "$build/CMakeCache.txt" ] || cmake --preset release >/dev/null
cmake --build "$build" --target simulate_faults >/dev/null
mapfile -t plans < <(grep -l '^\[workload\]' tests/simulation/*.toml)
exec "$build/tests/simulation/simulate_faults" "${plans[@]}" --first "$first" --seeds "$seeds"
