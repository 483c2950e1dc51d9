#!/usr/bin/env bash
# Sourced by the scripts that build from a git repository.

fail() {
    echo "error: $*" >&2
    exit 1
}

# Fetch one commit of a repository into an empty folder: checkout REPOSITORY COMMIT FOLDER
checkout() {
    [[ $2 =~ ^[0-9a-f]{40}$ ]] || fail "$1: found the commit '$2', expected 40 hex digits (a branch or tag moves)"
    git init -q "$3"
    git -C "$3" remote add origin "$1"
    git -C "$3" fetch -q --depth 1 origin "$2" || fail "$1: cannot fetch commit $2"
    git -C "$3" -c advice.detachedHead=false checkout -q FETCH_HEAD
    [[ $(git -C "$3" rev-parse HEAD) == "$2" ]] || fail "$1: commit $2 is not what was fetched"
}
