#!/bin/sh
# A whole search in a few minutes, on the built-in synthetic traffic: a teacher, a sweep for a
# distilled student, the best configurations, and the best student as files. Called by `make demo`.
set -eu
BIN=${BIN:-.venv/bin}
export HPO_DATA=demo/data HPO_STORAGE=demo/runs
rm -rf demo/runs

# Few epochs: enough for a teacher clearly better than repeating the last observation.
"$BIN"/hpo teacher synthetic --epochs 10
"$BIN"/hpo sweep ord --dataset synthetic --trials 8 --epochs 10 --name demo
"$BIN"/hpo best --dataset synthetic --top 3
# A quick demo takes the single best trial. Without this option the best three configurations are
# trained again on three fresh seeds first, which takes as long as the sweep.
"$BIN"/hpo export demo --top 1 --unconfirmed
