#!/usr/bin/env bash
# Make the image's environment with one torch, and the constraints that hold every later install to it.
#
#   TORCH_VERSION  exact, e.g. 2.12.0+rocm7.14.0
#   TORCH_INDEX    the only index that torch and what it needs are taken from; empty: pip's own
#   GFX            the GPU whose kernels come along, e.g. gfx1151; empty: none
#   TORCH_ALSO     more packages of the same index, apart by spaces
#   TOOLS          pip and setuptools, at exact versions
#   PYTHON, VENV, CONSTRAINTS  interpreter, environment and the constraints file that is written
set -euo pipefail
cd "$(dirname "$0")"

: "${TORCH_VERSION:?}" "${VENV:?}" "${CONSTRAINTS:?}"
read -ra tools <<<"${TOOLS:-pip==26.3 setuptools==84.2.1}"

unset PIP_CONSTRAINT UV_CONSTRAINT # of the file that is written here
"${PYTHON:-python3.12}" -m venv "$VENV"
"$VENV/bin/python" -m pip install --no-cache-dir -q "${tools[@]}"
read -ra also <<<"${TORCH_ALSO:-}"
"$VENV/bin/python" -m pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "${also[@]}" \
    "torch${GFX:+[device-$GFX]}==$TORCH_VERSION"

mkdir -p "$(dirname "$CONSTRAINTS")"
trap 'rm -f "$CONSTRAINTS.tmp"' EXIT
{
    echo "# Written by install-torch.sh: pip and uv install nothing that wants another of these."
    "$VENV/bin/python" -m pip freeze --all |
        grep -E '^(torch|torchvision|torchaudio|triton|[^=]*triton[-_]rocm|amd[-_]torch[^=]*|rocm[^=]*)=='
} >"$CONSTRAINTS.tmp"
mv "$CONSTRAINTS.tmp" "$CONSTRAINTS"
"$VENV/bin/python" assert_packages.py --constraints "$CONSTRAINTS" --torch "$TORCH_VERSION"
