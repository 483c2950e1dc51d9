#!/usr/bin/env bash
# Build a container image with podman, or with docker where there is no podman.
#
#   toolbox/build.sh [box|vllm|cpu] [options]
#
#   box    localhost/halo-forge: the box for Strix Halo (the default)
#   vllm   localhost/halo-forge-vllm: vLLM for gfx1151
#   cpu    localhost/halo-forge-cpu: the tiny profile on any machine
#
#   --base ubuntu|fedora|IMAGE  what the image is built on (box: Fedora 43 or Ubuntu 24.04)
#   --torch 2.11|2.12|2.13      the box's torch: 2.11 and 2.12 with ROCm 7.14, 2.13 with ROCm 10 (default: 2.12)
#   --no-flash-attn             without flash-attn
#   --arg NAME=VALUE            any ARG of the Containerfile
#   --engine podman|docker      which one builds
#   --force                     from nothing, although the image is up to date
set -euo pipefail
cd -P "$(dirname "$0")/.."

die() {
    echo "error: build.sh: $*" >&2
    exit 1
}
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' toolbox/build.sh; }

engine() { # prints the one that is there
    local name
    for name in ${1:-podman docker}; do
        if command -v "$name" >/dev/null; then
            echo "$name"
            return
        fi
    done
    die "no ${1:-podman or docker} here; dnf install podman toolbox, or apt-get install podman podman-toolbox"
}

# What an image is made of, as one digest: the words of its build and the files that it copies.
inputs() {
    local files
    mapfile -t files < <(find "$file" toolbox/image toolbox/constraints/box.txt toolbox/crates/{Cargo.toml,lib.rs} \
        toolbox/vendor-crates.sh toolbox/llama-cpp.env pyproject.toml -type f ! -name '*.pyc' | LC_ALL=C sort)
    { printf '%s\n' "${words[@]}" && sha256sum "${files[@]}"; } | sha256sum | cut -d' ' -f1
}

base() {
    case $1 in
    fedora) words+=(--build-arg BASE=registry.fedoraproject.org/fedora:43) ;;
    ubuntu) words+=(--build-arg BASE=docker.io/library/ubuntu:24.04) ;;
    *[:@]*) words+=(--build-arg "BASE=$1") ;;
    *) die "--base: found '$1', expected fedora, ubuntu or an image with its tag or digest" ;;
    esac
}

torch() {
    [[ $image == box ]] || die "--torch: found for '$image', expected for box; another image's is set by --arg"
    local next=https://stable.repo.amd.com/rocm/whl-next/
    case $1 in
    2.11 | 2.12) words+=(--build-arg "TORCH_VERSION=$1.0+rocm7.14.0") ;;
    2.13) words+=(--build-arg TORCH_VERSION=2.13.0+rocm10.0.0 --build-arg "TORCH_INDEX=$next") ;;
    *) die "--torch: found '$1', expected 2.11, 2.12 or 2.13" ;;
    esac
}

argument() {
    [[ $1 == ?*=* ]] || die "--arg: found '$1', expected NAME=VALUE"
    grep -q "^ARG ${1%%=*}=" "$file" || die "--arg: found '${1%%=*}', expected one of: $(
        sed -n 's/^ARG \([A-Z_]*\)=.*/\1/p' "$file" | paste -sd' '
    )"
    words+=(--build-arg "$1")
}

image=box
case ${1:-} in
box | vllm | cpu)
    image=$1
    shift
    ;;
-* | "") ;;
*) die "found '$1', expected box, vllm or cpu" ;;
esac
file=toolbox/Containerfile tag=localhost/halo-forge:latest
[[ $image == box ]] || file=$file.$image tag=localhost/halo-forge-$image:latest

words=() wanted="" force=""
while (($#)); do
    case $1 in
    --base | --torch | --arg | --engine) (($# > 1)) || die "$1: found nothing behind it, expected a value" ;;&
    --base) base "$2" && shift 2 ;;
    --torch) torch "$2" && shift 2 ;;
    --arg) argument "$2" && shift 2 ;;
    --engine)
        [[ $2 == @(podman|docker) ]] || die "--engine: found '$2', expected podman or docker"
        wanted=$2
        shift 2
        ;;
    --no-flash-attn) argument FLASH_ATTN=0 && shift ;;
    --force) force=1 && shift ;;
    -h | --help) usage && exit ;;
    *) die "unknown option '$1'; toolbox/build.sh --help lists them" ;;
    esac
done

engine=$(engine "$wanted")
digest=$(inputs)
built=$("$engine" image inspect --format '{{ index .Config.Labels "halo-forge.inputs" }}' "$tag" 2>/dev/null || true)
if [[ $built == "$digest" && -z $force ]]; then
    echo "build: $tag is up to date (--force builds it from nothing)"
else
    [[ -z $force ]] || words+=(--no-cache --pull)
    echo "build: $tag by $engine from $file ${words[*]}"
    "$engine" build --tag "$tag" --file "$file" --label "halo-forge.inputs=$digest" "${words[@]}" . ||
        die "$engine could not build $tag, see above; what was built before is there as it was"
fi

case $image in
box)
    echo "next: toolbox/box.sh create && toolbox/box.sh enter, and in it make doctor"
    echo "without toolbx: toolbox/box.sh run"
    ;;
vllm) echo "next: toolbox/box.sh vllm models/sft" ;;
cpu) echo "next: toolbox/box.sh cpu" ;;
esac
