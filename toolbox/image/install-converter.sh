#!/usr/bin/env bash
# Put llama.cpp's converter of checkpoints to GGUF into a folder, at the revision that toolbox/llama-cpp.env pins.
#
#   LLAMA_CPP       the folder (default: /opt/llama.cpp)
#   LLAMA_CPP_REPO  git repository
#   VENV            the environment that the converter is tried in; empty: it is not tried
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=toolbox/image/checkout.sh
source "$here/checkout.sh"
# shellcheck source=toolbox/llama-cpp.env
source "${LLAMA_CPP_ENV:-$here/../llama-cpp.env}"

folder=${LLAMA_CPP:-/opt/llama.cpp}
repo=${LLAMA_CPP_REPO:-https://github.com/ggml-org/llama.cpp.git}

# An annotated tag has a line of its own for the commit that it stands for, which comes last.
tagged=$(git ls-remote "$repo" "refs/tags/$LLAMA_CPP_TAG" "refs/tags/$LLAMA_CPP_TAG^{}" | tail -n 1 | cut -f 1)
[[ $tagged == "$LLAMA_CPP_COMMIT" ]] || fail "llama-cpp.env: LLAMA_CPP_COMMIT is $LLAMA_CPP_COMMIT," \
    "but tag $LLAMA_CPP_TAG of $repo is ${tagged:-not there}"

trap 'rm -rf "$folder.tmp"' EXIT
rm -rf "$folder.tmp"
checkout "$repo" "$LLAMA_CPP_COMMIT" "$folder.tmp"
# The converter and what it imports; the rest, a hundred times as large, would only weigh the image down.
git -C "$folder.tmp" ls-files -z | grep -zvE '^(convert_hf_to_gguf\.py|LICENSE|conversion/|gguf-py/gguf/)' |
    (cd "$folder.tmp" && xargs -0r rm -f)
rm -rf "$folder.tmp/.git"
find "$folder.tmp" -type d -empty -delete
printf '%s %s\n' "$LLAMA_CPP_TAG" "$LLAMA_CPP_COMMIT" >"$folder.tmp/REVISION"
rm -rf "$folder"
mv "$folder.tmp" "$folder"
[[ -z ${VENV:-} ]] || "$VENV/bin/python" "$folder/convert_hf_to_gguf.py" --help >/dev/null
