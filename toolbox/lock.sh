#!/usr/bin/env bash
# Renews constraints/setup.txt for what pyproject.toml wants now; with --upgrade, from the newest releases.
# Needs the environment of `make setup` (uv). The containers' box.txt is then made from a new environment: see its head.
set -euo pipefail
cd -P "$(dirname "$0")/.."

lock=toolbox/constraints/setup.txt
scratch=$(mktemp -d "$lock.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
grep '^torch==' "$lock" >"$scratch/torch.txt"
grep -v '^#' "$lock" >"$scratch/lock.txt" # pins that are there are kept where they do
"${VENV:-.venv}/bin/uv" pip compile pyproject.toml --extra dev --universal --python-version 3.11 "$@" \
    -c "$scratch/torch.txt" --no-annotate --no-header --quiet -o "$scratch/lock.txt"
# What torch brings differs between its builds, and each build pins it.
{
    grep '^#' "$lock"
    grep -Ev '^(nvidia-|cuda-|triton==)' "$scratch/lock.txt"
} >"$scratch/new.txt"
mv "$scratch/new.txt" "$lock"
