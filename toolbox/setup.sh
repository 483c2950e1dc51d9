#!/usr/bin/env bash
# Makes this clone ready to run: system packages that are missing, a virtual environment, the Python packages.
# Does nothing where nothing is missing, so every Make target may call it.
#
#   PYTHON       the interpreter for the environment (default: the newest of Python 3.11 and later that is found)
#   VENV         where the environment goes (default: .venv)
#   TORCH_INDEX  an extra package index to take torch from, e.g. one that has CPU-only builds
set -euo pipefail
cd -P "$(dirname "$0")/.."

venv=$(realpath -ms "${VENV:-.venv}")
stamp=$venv/halo-forge.stamp
constraints=toolbox/constraints/setup.txt
log=${TMPDIR:-/tmp}/halo-forge-setup.$$.log
# Of all that the installers print, only pip's large downloads (10 MB and more) and its last step are shown.
progress='s|^ *Downloading (.*/)?([^ /]+ \([0-9]{2,}\.[0-9]+ MB\)).*|setup: downloading \2|p
          s|^Installing collected packages.*|setup: unpacking|p'

say() { echo "setup: $*"; }
die() {
    echo "error: $*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null; }
column() { cut -d' ' -f"$1" | paste -sd' '; }

logged() {
    "$@" 2>&1 | tee -a "$log" | sed -unE "$progress" || {
        tail -n 20 "$log" >&2
        die "'$*' failed; its whole output is in $log"
    }
}

# An interpreter is tried out, not just looked up: version managers put names on the PATH that do not run.
find_python() {
    local name
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
}

# Prints a line "THING DEBIAN-PACKAGE FEDORA-PACKAGE" for each system thing that is not there.
not_found() {
    local python
    python=$(find_python)
    if [[ -n $python ]]; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            "$python" -c 'import sys; print("venv python%d.%d-venv python3" % sys.version_info[:2])'
    elif ! have python3; then
        echo "python3 python3-venv python3"
    fi
    have bwrap || echo "bwrap bubblewrap bubblewrap"
    have g++ || echo "g++ g++ gcc-c++"
    have git || echo "git git git"
    have make || echo "make make make"
}

install_system_packages() { # $1: the lines of not_found
    local things packages root=()
    things=$(column 1 <<<"$1")
    if have apt-get; then
        packages=$(column 2 <<<"$1")
    elif have dnf; then
        packages=$(column 3 <<<"$1")
    else
        die "not found: $things; neither is apt-get nor dnf, so install them by hand"
    fi
    if [[ $(id -u) != 0 ]]; then
        have sudo || die "not found: $things; neither root nor sudo, so have these packages installed: $packages"
        root=(sudo)
    fi
    say "not found: $things; installing the packages: $packages"
    # shellcheck disable=SC2086 # one word per package
    if have apt-get; then
        shown "${root[@]}" apt-get update
        shown "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages
    else
        shown "${root[@]}" dnf install -y $packages
    fi
}
shown() {
    say "$*"
    logged "$@"
}

# A container's environment comes with its image: it has another torch, and is not this user's to change.
if [[ -e $venv/halo-forge.image ]]; then
    [[ $(cat "$venv/halo-forge.image") != "$(sha256sum <pyproject.toml)" ]] || exit 0
    "$venv/bin/python" toolbox/image/assert_packages.py --pyproject pyproject.toml --extra dev ||
        die "$venv: made for another pyproject.toml; build the image again: toolbox/build.sh"
    exit 0
fi

# With the environment activated, `python3` would be its own, which cannot make the environment anew.
PATH=:$PATH:
PATH=${PATH//":$venv/bin:"/:}
PATH=${PATH#:} PATH=${PATH%:}

missing=$(not_found)
if [[ -n $missing ]]; then
    install_system_packages "$missing"
    missing=$(not_found)
    [[ -z $missing ]] || die "still not found after installing: $(column 1 <<<"$missing")"
fi
python=$(find_python)
[[ -n $python ]] || die "no Python 3.11 or later (tried ${PYTHON:-python3.13 to python3}): install one or set PYTHON"

# The scripts of an environment name its place and its interpreter: when one of these changes, it is made anew.
place="$("$python" -V) in $venv"
wanted="$place for pyproject.toml $(cat pyproject.toml "$constraints" | sha256sum)"
installed=$(cat "$stamp" 2>/dev/null || true)
[[ $installed != "$wanted" ]] || exit 0

say "environment $venv ($("$python" -V))"
again=()
[[ -z $installed || $installed == "$place "* ]] || again=(--clear)
rm -f "$stamp"
logged "$python" -m venv "${again[@]}" "$venv"
say "Python packages of pyproject.toml (minutes, the first time)"
logged "$venv/bin/python" -m pip install --progress-bar off ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    -c "$constraints" -e '.[dev]'
echo "$wanted" >"$stamp" # last, so that an install which was cut short is taken up again
rm -f "$log"
say "done"
