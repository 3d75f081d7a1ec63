# Installs build/ into a prefix and builds examples/embed against it, as a stranger would.
# Run: bash tests/embed.sh      (after cmake --preset release)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "tests/embed.sh: $*" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --build build --target sluice_program sluice_embed
cmake --install build --prefix "$work/prefix" >/dev/null

# What an outsider sees: our headers include one another and the standard library; the library shows sluice:: alone.
foreign=$(grep -rhE '^#include' "$work/prefix/include" | grep -vE '<[a-z_]+>|"sluice/[a-z_]+\.hpp"' || true)
[ -z "$foreign" ] || fail "a public header includes $foreign"
library=$(find "$work/prefix" -name libsluice.so)
shown=$(nm -DC --defined-only "$library" | awk '$2 == "T" || $2 == "D" || $2 == "B" || $2 == "R"' | cut -d' ' -f3-)
[ -n "$shown" ] || fail "$library shows nothing"
other=$(grep -v '^sluice::' <<<"$shown" || true)
[ -z "$other" ] || fail "$library shows more than sluice::*: $(head -3 <<<"$other")"
"$work"/prefix/bin/sluice --help >/dev/null

cmake -S examples/embed -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_FLAGS="-Wall -Wextra -Werror" >/dev/null
cmake --build "$work/build"
[ "$(wc -l <examples/embed/main.cpp)" -lt 60 ] || fail "examples/embed/main.cpp has 60 lines or more"

out=$("$work/build/embed" configs/quickstart.toml run.directory="$work/run" data.cache_directory="$work/tokens" \
  train.sequence_length=64 train.micro_batch_size=2 train.global_batch_size=2 train.validation_samples=2 train.warmup_steps=5)
echo "$out"
grep -q '^step 20 of 20: loss ' <<<"$out" || fail "no 20th step"
grep -q ' tokens from Sluice ' <<<"$out" || fail "no text"
[ -f "$work/run/checkpoints/step-00000020/config.json" ] || fail "no checkpoint"
# Failures are values with a message and a kind.
code=0
error=$("$work/build/embed" nowhere.toml 2>&1) || code=$?
[ "$code" -eq 2 ] && grep -q 'nowhere.toml' <<<"$error" || fail "a missing config: exit $code, '$error'"
echo "embed: passed"
