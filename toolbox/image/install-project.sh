#!/usr/bin/env bash
# Install the project's packages at their pinned versions, without touching torch, and see that they suffice.
#
#   PINS         file of pinned packages; BITSANDBYTES=0 leaves bitsandbytes out
#   PYPROJECT    the pyproject.toml whose requirements must be met
#   VENV, CONSTRAINTS  as install-torch.sh made them
set -euo pipefail
cd "$(dirname "$0")"

: "${PINS:?}" "${PYPROJECT:?}" "${VENV:?}" "${CONSTRAINTS:?}"
export PIP_CONSTRAINT=$CONSTRAINTS

pins=$(mktemp)
trap 'rm -f "$pins"' EXIT
excused=()
if [[ ${BITSANDBYTES:-1} == 0 ]]; then
    grep -v '^bitsandbytes==' "$PINS" >"$pins"
    excused=(--without bitsandbytes)
else
    cat "$PINS" >"$pins"
fi
"$VENV/bin/python" -m pip install --no-cache-dir -r "$pins"
"$VENV/bin/python" assert_packages.py --constraints "$CONSTRAINTS" --pyproject "$PYPROJECT" --extra dev "${excused[@]}"
sha256sum <"$PYPROJECT" >"$VENV/halo-forge.image" # toolbox/setup.sh leaves an environment with this file as it is
