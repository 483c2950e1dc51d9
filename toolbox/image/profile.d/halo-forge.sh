# shellcheck shell=sh
# The container's environment for login shells, which toolbx starts; the Containerfile's ENV says the same for all others.

# Scaled dot product attention by AOTriton's kernels; torch reads it when it is imported.
export TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL=1
export PYTORCH_HIP_ALLOC_CONF=expandable_segments:True
export FLASH_ATTENTION_TRITON_AMD_ENABLE=TRUE
# The wheels have kernels of gfx1151; under another name they would run those of a card that this is not.
unset HSA_OVERRIDE_GFX_VERSION

# toolbx shares the home folder: packages of ~/.local would come before the image's.
export PYTHONNOUSERSITE=1
# No install takes torch, triton or ROCm away.
export PIP_CONSTRAINT=/opt/halo-forge/constraints.txt
export UV_CONSTRAINT=/opt/halo-forge/constraints.txt

export VIRTUAL_ENV=/opt/venv
export VENV=/opt/venv # make and toolbox/setup.sh
export LLAMA_CPP=/opt/llama.cpp
case :$PATH: in
*:/opt/venv/bin:*) ;;
*) export PATH="/opt/venv/bin:$PATH" ;;
esac
