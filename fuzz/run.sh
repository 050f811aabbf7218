#!/usr/bin/env bash
# Fuzzes each target: fuzz/run.sh [TARGET...]; fuzz/run.sh --build only builds them.
#
# FUZZ_RUNS (400000) inputs from FUZZ_SEED (1), for FUZZ_SECONDS (30) at most, so that the same inputs are tried every time. To
# look for more: FUZZ_RUNS=-1 FUZZ_SECONDS=3600 FUZZ_SEED=$RANDOM.
#
# Needs the stable toolchain only: the flags are those of `cargo fuzz --sanitizer none`, which works here as well. Inputs that
# end a target lie in fuzz/artifacts afterwards; `fuzz/run.sh TARGET` after a fix, with the file moved to fuzz/seeds/TARGET,
# tries it again first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

triple=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_INCREMENTAL=0
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
cargo build --locked --release --target "$triple"
[ "${1:-}" != --build ] || exit 0

targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
    for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
mkdir -p artifacts

one() {
    mkdir -p "found/$1"
    # Of what is found only what is new is kept; it is no part of the repository.
    if "target/$triple/release/$1" "found/$1" "seeds/$1" -max_total_time="${FUZZ_SECONDS:-30}" -runs="${FUZZ_RUNS:-400000}" -seed="${FUZZ_SEED:-1}" -max_len=4096 -timeout=10 \
        -rss_limit_mb=2048 -artifact_prefix="artifacts/$1-" -print_final_stats=1 >"artifacts/$1.log" 2>&1; then
        echo "$1: $(sed -n 's/^stat::number_of_executed_units: *//p' "artifacts/$1.log") inputs, no crash"
    else
        echo "$1: FAILED"
        tail -n 40 "artifacts/$1.log"
        return 1
    fi
}
export -f one
export triple
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'one {}'
