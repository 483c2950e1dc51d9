#!/usr/bin/env bash
# Install flash-attn's Triton backend for ROCm from a pinned commit; nothing is compiled, and torch stays as it is.
#
#   FLASH_ATTN=0       do nothing
#   FLASH_ATTN_REPO    git repository
#   FLASH_ATTN_COMMIT  40 hex digits
#   FLASH_ATTN_AITER   the commit that its submodule third_party/aiter must have; empty where it has no such submodule
#   VENV, CONSTRAINTS  as install-torch.sh made them
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=toolbox/image/checkout.sh
source "$here/checkout.sh"

[[ ${FLASH_ATTN:-1} != 0 ]] || exit 0
: "${FLASH_ATTN_REPO:?}" "${FLASH_ATTN_COMMIT:?}" "${VENV:?}" "${CONSTRAINTS:?}"
export PIP_CONSTRAINT=$CONSTRAINTS
# aiter would otherwise ask rocminfo for a GPU, build kernels for other cards and bring a Triton of its own.
export GPU_ARCHS=${GFX:-gfx1151} PREBUILD_KERNELS=0 ENABLE_CK=0 AITER_USE_SYSTEM_TRITON=1
# An image is built where there is no GPU, so the target is said; FORCE_BUILD: no look for somebody's ready wheel.
export BUILD_TARGET=rocm FLASH_ATTENTION_TRITON_AMD_ENABLE=TRUE FLASH_ATTENTION_FORCE_BUILD=TRUE

source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
checkout "$FLASH_ATTN_REPO" "$FLASH_ATTN_COMMIT" "$source"
cd "$source"
found=$(git rev-parse -q --verify HEAD:third_party/aiter || true)
[[ $found == "${FLASH_ATTN_AITER:-}" ]] || fail "FLASH_ATTN_AITER: found '${FLASH_ATTN_AITER:-}'," \
    "expected '$found', which commit $FLASH_ATTN_COMMIT of $FLASH_ATTN_REPO has at third_party/aiter"
if [[ -n $found ]]; then
    git submodule --quiet update --init --depth 1 third_party/aiter
fi
"$VENV/bin/python" -m pip install --no-cache-dir "einops==${EINOPS_VERSION:-0.8.2}"
"$VENV/bin/python" -m pip install --no-cache-dir --no-build-isolation --no-deps .
"$VENV/bin/python" "$here/assert_packages.py" --constraints "$CONSTRAINTS"
