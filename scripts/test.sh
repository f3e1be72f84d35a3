#!/usr/bin/env bash
# Runs every test, the integration suite last, and closes with one line: N passed, N failed, N skipped.
# Its exit code is 0 only if every test passed or is marked as skipped.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0

step() {
  printf '\n== %s\n' "$*"
  "$@" 2>&1 | tee -a "$log" || status=1
}

# The integration tests of all crates; the suite is the one named `it`.
metadata=$(cargo metadata --no-deps --format-version 1) || exit 1
names=$(python3 -c '
import json, sys
tests = {t["name"] for p in json.load(sys.stdin)["packages"] for t in p["targets"] if "test" in t["kind"]}
print(*sorted(tests), sep="\n")
' <<<"$metadata") || exit 1
others=(--lib --bins)
suite=
while read -r name; do
  if [ "$name" = it ]; then suite=it; elif [ -n "$name" ]; then others+=(--test "$name"); fi
done <<<"$names"

# The suite starts the real binary. Steps choose targets, not packages, so that they share one build.
step cargo build -p gw
step cargo test --workspace --no-fail-fast "${others[@]}"
step cargo test --workspace --no-fail-fast --doc
if [ -n "$suite" ]; then # Its tests wait more than they work.
  step cargo test --workspace --no-fail-fast --test "$suite" -- --test-threads=4
fi

read -r passed failed skipped < <(awk '
/^test result: / {
  for (i = 2; i <= NF; i++) {
    if ($i == "passed;") passed += $(i - 1)
    if ($i == "failed;") failed += $(i - 1)
    if ($i == "ignored;") skipped += $(i - 1)
  }
}
END { print passed + 0, failed + 0, skipped + 0 }' "$log")

# A build that fails, or a test program that dies, reports no result of its own.
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
