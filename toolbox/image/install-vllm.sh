#!/usr/bin/env bash
# Compile and install vLLM from a pinned commit against the environment's own torch and ROCm.
#
#   VLLM_REPO, VLLM_COMMIT, VLLM_VERSION  git repository, 40 hex digits, and the version that these are
#   GFX, MAX_JOBS      the GPU to compile for, compilers at once
#   VENV, CONSTRAINTS  as install-torch.sh made them, with TORCH_ALSO=rocm-sdk-devel==...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=toolbox/image/checkout.sh
source "$here/checkout.sh"

: "${VLLM_REPO:?}" "${VLLM_COMMIT:?}" "${VLLM_VERSION:?}" "${GFX:?}" "${VENV:?}" "${CONSTRAINTS:?}"
export PIP_CONSTRAINT=$CONSTRAINTS PATH=$VENV/bin:$PATH

rocm=$(rocm-sdk path --root) || fail "rocm-sdk: not there; install-torch.sh wants TORCH_ALSO=rocm-sdk-devel==..."
# Its clang for everything: objects of another compiler do not go with torch's.
export ROCM_PATH=$rocm ROCM_HOME=$rocm HIP_PATH=$rocm PATH=$rocm/bin:$rocm/lib/llvm/bin:$PATH
export CC=$rocm/lib/llvm/bin/amdclang CXX=$rocm/lib/llvm/bin/amdclang++
export HIP_DEVICE_LIB_PATH=$rocm/lib/llvm/amdgcn/bitcode CMAKE_PREFIX_PATH=$rocm/lib/cmake:$rocm
export LD_LIBRARY_PATH=$rocm/lib:$rocm/lib/llvm/lib
export VLLM_TARGET_DEVICE=rocm PYTORCH_ROCM_ARCH=$GFX MAX_JOBS=${MAX_JOBS:-4}
export VLLM_VERSION_OVERRIDE=$VLLM_VERSION
export CMAKE_ARGS="-DROCM_PATH=$rocm -DHIP_PATH=$rocm -DAMDGPU_TARGETS=$GFX -DHIP_ARCHITECTURES=$GFX"

source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
checkout "$VLLM_REPO" "$VLLM_COMMIT" "$source"
cd "$source"
# vLLM takes a ROCm machine for one by this package, which lies in the SDK.
pip install --no-cache-dir "$rocm/share/amd_smi"
# What its build wants, less torch: that is here, and the build must see it.
pip install --no-cache-dir cmake ninja numpy pybind11 scikit-build-core 'setuptools>=77,<80' 'setuptools-scm>=8' \
    'setuptools-rust>=1.9' wheel packaging
pip wheel --no-cache-dir --no-build-isolation --no-deps -w dist .
pip install --no-cache-dir -r requirements/rocm.txt
pip install --no-cache-dir --no-deps dist/vllm-*.whl
python "$here/assert_packages.py" --constraints "$CONSTRAINTS"
[[ $(pip show vllm | sed -n 's/^Version: //p') == "$VLLM_VERSION"* ]] ||
    fail "vllm: found $(pip show vllm | sed -n 's/^Version: //p'), expected $VLLM_VERSION"
