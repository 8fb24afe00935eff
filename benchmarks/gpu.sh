#!/bin/bash
# Measures a GPU in ten minutes:
#   1. golden: the recorded steps of the algorithms (tests/golden), with products in full float32
#   2. train: a whole run of 8 seeds. Evaluations play while it trains (--overlap), with environments in processes
#   3. table: minutes for a million updates of every algorithm, 1, 8 and 64 seeds, the most important ones first
# OUT has a log of each part, summary.txt, and the table gpu-DEVICE.md with versions, hardware and the results of 1 and 2.
# If the time is over, the table names the algorithms that are missing.
#
#   benchmarks/gpu.sh                   on a machine with a GPU, in the repository
#   benchmarks/gpu.sh --quick           the same with few and small parts, on a CPU: to see whether everything runs
#
# Variables: PYTHON (interpreter), OUT (folder), LIMIT (seconds in all), JOBS (processes at the same time), PLATFORM.
set -u
cd "$(dirname "$0")/.." || exit 1
case "${1:-}" in
    --quick) quick=1 ;;
    "") quick= ;;
    *) echo "usage: benchmarks/gpu.sh [--quick]" >&2; exit 2 ;;
esac
PYTHON=${PYTHON:-.venv/bin/python}
OUT=$(realpath -m "${OUT:-gpu-results}")
LIMIT=${LIMIT:-590}
PLATFORM=${PLATFORM:-$([ -n "$quick" ] && echo cpu || echo cuda)}
JOBS=${JOBS:-$([ -n "$quick" ] && echo 1 || echo 8)}
export JAX_PLATFORMS=$PLATFORM XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH}
failed=0
mkdir -p "$OUT"
rm -rf "$OUT/train"
: > "$OUT/summary.txt"

left() { echo $((LIMIT - SECONDS)); }

part() {  # part NAME SECONDS COMMAND...: run a part, for at most so many seconds of what is left
    local name=$1 most=$2 status began=$SECONDS
    shift 2
    if [ "$(left)" -lt 15 ]; then
        echo "$name: skipped, no time is left" | tee -a "$OUT/summary.txt"
        failed=1
        return
    fi
    timeout "$((most < $(left) ? most : $(left)))" "$@" > "$OUT/$name.log" 2>&1
    status=$?
    echo "$name: status $status after $((SECONDS - began)) s" | tee -a "$OUT/summary.txt"
    [ "$status" -eq 0 ] || failed=1
}

if [ "$PLATFORM" = cuda ]; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee -a "$OUT/summary.txt"
fi
if ! "$PYTHON" -c "import jax; print(jax.__version__, jax.devices())" >> "$OUT/summary.txt" 2>&1; then
    echo "JAX finds no $PLATFORM device: see $OUT/summary.txt" >&2
    exit 1
fi
if [ -n "$quick" ]; then
    golden=(tests/algorithms/test_td3_bc.py -k recorded)
    train=(--steps 20 --block 10 --seeds 2 --workers 0 --eval-episodes 1 --hidden 16 --batch-size 16)
    table=(--only td3_bc --seeds 1 2 --seconds 0.05)
else
    golden=(tests/algorithms -n "$JOBS" -k "recorded or test_awr or test_bcq or test_bear or test_brac or test_combo \
        or test_cql or test_crr or test_mcq or test_plas or test_spot or test_uwac")
    train=(--steps 100000 --seeds 8 --workers 4 --eval-episodes 5)
    table=(--seeds 1 8 64)
fi
JAX_DEFAULT_MATMUL_PRECISION=highest part golden 150 "$PYTHON" -m pytest -q -p no:cacheprovider "${golden[@]}"
part train 90 "$PYTHON" -m holdfast train td3_bc --data bundled/pendulum-mixed --out "$OUT/train" "${train[@]}"
part table 600 "$PYTHON" benchmarks/gpu.py "${table[@]}" --jobs "$JOBS" --limit "$(($(left) - 20))" --out "$OUT" \
    --run "$OUT/train" --golden "$(tail -n 1 "$OUT/golden.log")"
exit "$failed"
