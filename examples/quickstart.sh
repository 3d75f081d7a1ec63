#!/usr/bin/env bash
# Builds Sluice, trains a small DeepSeek-V3-style model on this checkout's own text, and lets it write some.
# Run: bash examples/quickstart.sh [--set key=value]...     (--set: as for sluice train, e.g. --set train.steps=100)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/install.sh
source tests/install.sh
install_packages build || exit 1

run=runs/quickstart
if [ ! -f build/build.ninja ]; then
  # Files together: half the time of the first build. Later ones compile more for each change.
  cmake --preset release -DSLUICE_TESTS=OFF -DCMAKE_UNITY_BUILD=ON >build.log 2>&1 || { cat build.log >&2; exit 1; }
  rm -f build.log
fi
cmake --build build --target sluice_program

# A start is a new run; what an earlier one left would only be mistaken for this one's.
rm -rf "$run"
build/sluice train configs/quickstart.toml "$@" --set run.directory="$run"

echo
echo "--- what it writes now ---"
build/sluice generate "$run" --prompt "namespace sluice::" --max-tokens 400 --temperature 0.7 --top-p 0.9 --seed 1
cat <<END

The curve again:    build/sluice metrics $run
Other prompts:      build/sluice generate $run --prompt "TEXT" --temperature 0.7
Your own text:      build/sluice train configs/quickstart.toml --set 'data.paths=["PATH/*.txt"]' --set run.directory=runs/mine
END
