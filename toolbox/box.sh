#!/usr/bin/env bash
# Make and enter the containers of the images that toolbox/build.sh builds.
#
#   toolbox/box.sh create           make the toolbx container halo-forge; nothing where there is one
#   toolbox/box.sh enter            a shell in it
#   toolbox/box.sh run [COMMAND]    a container of the same image without toolbx, in this folder, for one command
#   toolbox/box.sh vllm MODEL [...] vLLM's server with a checkpoint on port 8000 of this machine (PORT)
#   toolbox/box.sh cpu [COMMAND]    the tiny profile's container, in this folder (make repro)
#
#   --print (first)                 print the line instead of running it
#   NAME, IMAGE, ENGINE             container (halo-forge), image (localhost/halo-forge:latest), podman or docker
set -euo pipefail
cd -P "$(dirname "$0")/.."

name=${NAME:-halo-forge}
port=${PORT:-8000}

die() {
    echo "error: box.sh: $*" >&2
    exit 1
}
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' toolbox/box.sh; }

start() {
    if [[ -n $print ]]; then
        printf '%q ' "$@" | sed 's/ $/\n/'
    else
        exec "$@"
    fi
}

need() { # $1: command, $2: how to get it
    [[ -n $print ]] || command -v "$1" >/dev/null || die "no $1 here; $2"
}

engine() {
    local found=${ENGINE:-podman}
    if [[ -z ${ENGINE:-}$print ]] && ! command -v podman >/dev/null && command -v docker >/dev/null; then
        found=docker
    fi
    [[ $found == @(podman|docker) ]] || die "ENGINE: found '$found', expected podman or docker"
    echo "$found"
}

# The GPU's devices, and the groups that may open them.
gpu() {
    words+=(--device /dev/kfd --device /dev/dri --ipc host)
    local group number
    case $engine in
    # Rootless, groups by name would be the image's; keep-groups hands on the caller's, and goes with no others.
    podman) words+=(--group-add keep-groups) ;;
    docker)
        for group in video render; do
            number=$(getent group "$group" | cut -d: -f3 || true)
            [[ -z $number ]] || words+=(--group-add "$number")
        done
        ;;
    esac
}

# This folder under its own path, with its SELinux label, as the user who calls. Both ROCm and bubblewrap call what
# the default system-call filters forbid.
here() {
    words+=(--volume "$PWD:$PWD" --workdir "$PWD" --security-opt label=disable --security-opt seccomp=unconfined)
    case $engine in
    podman) words+=(--userns keep-id) ;;
    docker) words+=(--user "$(id -u):$(id -g)" --env HOME=/tmp --env USER=halo) ;;
    esac
}

# What lets bubblewrap show a job its own /proc.
sandbox() {
    case $engine in
    podman) words+=(--security-opt unmask=ALL) ;;
    docker) words+=(--security-opt systempaths=unconfined --security-opt apparmor=unconfined) ;;
    esac
}

print=""
if [[ ${1:-} == --print ]]; then
    print=1
    shift
fi
(($#)) || { usage && exit 1; }
action=$1
shift
case $action in
create)
    (($# == 0)) || die "create: found '$*' behind it, expected nothing; NAME and IMAGE are in the environment"
    need toolbox "dnf install toolbox, or apt-get install podman-toolbox; without it, toolbox/box.sh run"
    if [[ -z $print ]] && podman container exists "$name" 2>/dev/null; then
        echo "box: there is a container $name already; toolbox/box.sh enter, or toolbox rm $name first"
        exit
    fi
    start toolbox create "$name" --image "${IMAGE:-localhost/halo-forge:latest}"
    ;;
enter)
    (($# == 0)) || die "enter: found '$*' behind it, expected nothing; toolbox run -c $name runs one command"
    need toolbox "dnf install toolbox, or apt-get install podman-toolbox; without it, toolbox/box.sh run"
    start toolbox enter "$name"
    ;;
run | vllm | cpu)
    engine=$(engine)
    need "$engine" "dnf install podman, or apt-get install podman"
    words=("$engine" run --rm)
    [[ ! -t 0 ]] || words+=(--interactive --tty)
    here
    case $action in
    run)
        gpu
        sandbox
        (($#)) || set -- /bin/bash -l
        start "${words[@]}" "${IMAGE:-localhost/halo-forge:latest}" "$@"
        ;;
    vllm)
        (($#)) || die "vllm: found no model, expected a checkpoint's folder: toolbox/box.sh vllm models/sft"
        gpu
        model=$1
        shift
        start "${words[@]}" --publish "127.0.0.1:$port:8000" "${IMAGE:-localhost/halo-forge-vllm:latest}" \
            vllm serve "$model" --served-model-name "$model" --host 0.0.0.0 --port 8000 --dtype bfloat16 \
            --generation-config vllm --logprobs-mode processed_logprobs "$@"
        ;;
    cpu)
        sandbox
        (($#)) || set -- make repro
        start "${words[@]}" "${IMAGE:-localhost/halo-forge-cpu:latest}" "$@"
        ;;
    esac
    ;;
-h | --help) usage ;;
*) die "found '$action', expected create, enter, run, vllm or cpu" ;;
esac
