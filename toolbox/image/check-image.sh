#!/usr/bin/env bash
# What can be told of an image without a GPU, at the end of its build: check-image.sh box|vllm|cpu
# Prints a line per check; the first that fails ends the build. What needs the GPU is toolbox/check.py's, on the box.
#
#   VENV, CONSTRAINTS, TORCH_VERSION, LLAMA_CPP, CRATES, FLASH_ATTN, BITSANDBYTES  as in the Containerfile
#   MANIFEST  file that is written with everything that is installed
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

image=${1:-}
: "${VENV:?}" "${CONSTRAINTS:?}" "${TORCH_VERSION:?}" "${MANIFEST:?}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
    echo "error: check-image.sh: $*" >&2
    exit 1
}
ok() { echo "ok  $*"; }

commands() {
    local name
    for name in "$@"; do
        command -v "$name" >/dev/null || fail "no command '$name'"
    done
    ok "commands: $*"
}

# $1: the kind of program, $2 its source, then the compiler; it must run, unless it is Windows'.
compiles() {
    local kind=$1 source=$2
    shift 2
    "$@" -o "$scratch/$kind.exe" "$scratch/$source" || fail "$1 does not compile $source"
    [[ $kind == windows ]] || "$scratch/$kind.exe" || fail "what $1 made of $source does not run"
    ok "$* $source"
}

compilers() {
    printf '#include <vector>\nint main() { return std::vector<int>(1)[0]; }\n' >"$scratch/program.cpp"
    printf 'fn main() {}\n' >"$scratch/program.rs"
    compiles gcc program.cpp g++ -fsanitize=address,undefined
    compiles clang program.cpp clang++ -fsanitize=address,undefined
    compiles windows program.cpp x86_64-w64-mingw32-g++ -static
    compiles rust program.rs rustc
}

environment() {
    local told profile=${PROFILE:-/etc/profile.d/halo-forge.sh}
    told=$(
        export HSA_OVERRIDE_GFX_VERSION=11.0.0
        # shellcheck disable=SC2016 # for the inner shell
        sh -c '. "$0"; echo "${HSA_OVERRIDE_GFX_VERSION-unset} $VENV $PIP_CONSTRAINT"' "$profile"
    )
    [[ $told == "unset $VENV $CONSTRAINTS" ]] || fail "$profile: found '$told', expected 'unset $VENV $CONSTRAINTS'"
    ok "profile.d: HSA_OVERRIDE_GFX_VERSION unset, environment $VENV, constraints $CONSTRAINTS"
}

# bitsandbytes takes the library of its torch's HIP version, else of the same major one, and says only on the GPU that
# it has none.
bitsandbytes() {
    local found
    found=$("$VENV/bin/python" -c '
import importlib.util, pathlib, torch
folder = pathlib.Path(importlib.util.find_spec("bitsandbytes").origin).parent
print(*sorted(p.name for p in folder.glob(f"libbitsandbytes_rocm{torch.version.hip.split(chr(46))[0]}*.so")))')
    [[ -n $found ]] || fail "bitsandbytes: no library for this torch's ROCm; build with --arg BITSANDBYTES=0"
    ok "bitsandbytes: $found"
}

packages() {
    "$VENV/bin/python" "$here/assert_packages.py" --constraints "$CONSTRAINTS" --torch "$TORCH_VERSION" || exit 1
    ok "torch $TORCH_VERSION and what it came with, as in $CONSTRAINTS"
}

conflicts() {
    "$VENV/bin/python" -m pip check >"$scratch/conflicts" || fail "pip check: $(head -n 1 "$scratch/conflicts")"
    ok "pip check: no conflicts"
}

imports() {
    "$VENV/bin/python" -c "$(printf 'import %s\n' "$@")" || fail "cannot import one of: $*"
    ok "imports: $*"
}

case $image in
box)
    commands git make g++ clang++ x86_64-w64-mingw32-g++ rustc cargo bwrap ssh sudo
    compilers
    packages
    conflicts
    imports torch transformers trl peft accelerate datasets dvc
    [[ ${BITSANDBYTES:-1} == 0 ]] || bitsandbytes
    if [[ ${FLASH_ATTN:-1} != 0 ]]; then
        "$VENV/bin/python" -m pip show -q flash-attn || fail "flash-attn is not installed"
        ok "flash-attn is installed; it is imported on a GPU only"
    fi
    "$VENV/bin/python" "$LLAMA_CPP/convert_hf_to_gguf.py" --help >/dev/null || fail "$LLAMA_CPP: the converter fails"
    ok "llama.cpp's converter, $(cat "$LLAMA_CPP/REVISION")"
    compgen -G "$CRATES/vendor/tokio-*" >/dev/null || fail "$CRATES/vendor: no tokio"
    ok "crates: $(find -L "$CRATES/vendor" -mindepth 1 -maxdepth 1 | wc -l) in $CRATES/vendor"
    environment
    ;;
vllm)
    commands gcc g++ vllm
    packages
    imports torch transformers
    ;;
cpu)
    commands git make g++ bwrap
    packages
    conflicts
    imports torch transformers trl peft accelerate datasets dvc
    ;;
*) fail "found '$image', expected box, vllm or cpu" ;;
esac

{
    "$VENV/bin/python" -VV
    "$VENV/bin/python" -m pip freeze --all
    if command -v rpm >/dev/null; then rpm -qa | sort; else dpkg-query -W; fi
} >"$MANIFEST"
ok "$MANIFEST: $(wc -l <"$MANIFEST") lines"
