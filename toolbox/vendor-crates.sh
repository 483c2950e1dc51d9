#!/usr/bin/env bash
# Make toolbox/crates/vendor, against which the verifier builds Rust offline.
#
#   toolbox/vendor-crates.sh            cargo vendor, by toolbox/crates/Cargo.toml; needs crates.io or a mirror once
#   toolbox/vendor-crates.sh --debian   Debian's packages of the same crates instead; needs apt once, as root or by sudo
#   toolbox/vendor-crates.sh --image    those of the container that this runs in
set -euo pipefail
cd "$(dirname "$0")/crates"

packages=(librust-tokio-dev librust-futures-dev)
registry=/usr/share/cargo/registry
image=/opt/halo-forge/toolbox/crates/vendor

fail() {
    echo "error: $1" >&2
    exit 1
}

vendor() {
    local cargo
    cargo=$(PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin command -v cargo) ||
        fail "cargo not found; apt-get install cargo, or dnf install cargo, or https://rustup.rs"
    trap 'rm -rf vendor.tmp' EXIT
    rm -rf vendor.tmp
    "$cargo" vendor --quiet --versioned-dirs vendor.tmp >/dev/null ||
        fail "cargo cannot fetch the crates, see above; on Debian, --debian takes them from packages"
    rm -rf vendor
    mv vendor.tmp vendor
}

debian() {
    command -v apt-get >/dev/null || fail "--debian needs apt-get"
    local root=()
    [[ $(id -u) == 0 ]] || root=(sudo)
    dpkg -s "${packages[@]}" >/dev/null 2>&1 ||
        "${root[@]}" apt-get install -yq --no-install-recommends "${packages[@]}" ||
        fail "apt cannot install ${packages[*]}, see above"
    rm -rf vendor
    ln -s "$registry" vendor
}

image() {
    [[ -d $image ]] || fail "--image: $image is not there; only the container of toolbox/Containerfile has it"
    rm -rf vendor
    ln -s "$image" vendor
}

case ${1:-} in
"") vendor ;;
--debian) debian ;;
--image) image ;;
*) fail "unknown option '$1'; expected --debian, --image or nothing" ;;
esac
echo "toolbox/crates/vendor: $(find -L vendor -mindepth 1 -maxdepth 1 | wc -l) crates"
