#!/usr/bin/env bash
# Install an image's system packages by dnf or apt-get, as packages.txt lists them: install-system.sh box|vllm|cpu
#
#   PYTHON  the interpreter's package and command (default: python3.12; python3 takes the base image's own)
set -euo pipefail
cd "$(dirname "$0")"

image=${1:-}
python=${PYTHON:-python3.12}

fail() {
    echo "error: $*" >&2
    exit 1
}
packages() { # $1: 1 for apt's names, 2 for dnf's; without awk, which Fedora's base image may lack
    local images names
    while read -r images names; do
        read -ra names <<<"$names"
        [[ $images == @(all|"$image") && ${names[$1 - 1]} != - ]] && echo "${names[$1 - 1]}"
    done < <(grep -v '^#' packages.txt)
}

[[ $image == @(box|vllm|cpu) ]] || fail "install-system.sh: found '$image', expected box, vllm or cpu"
if command -v dnf >/dev/null; then
    [[ $image != vllm ]] || fail "install-system.sh: the vllm image is built on Ubuntu; found dnf"
    mapfile -t names < <(packages 2)
    dnf -y --nodocs --setopt=install_weak_deps=False install "$python" "$python-devel" "${names[@]}"
    dnf clean all
elif command -v apt-get >/dev/null; then
    mapfile -t names < <(packages 1)
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -yq --no-install-recommends "$python" "$python-venv" "$python-dev" "${names[@]}"
    apt-get clean
    rm -rf "${ROOT:-}"/var/lib/apt/lists/*
else
    fail "install-system.sh: neither dnf nor apt-get; expected a Fedora, Ubuntu or Debian base image"
fi
