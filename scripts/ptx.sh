#!/bin/bash
# Compiles the kernels of crates/nn/src/cuda to PTX, which lies beside them and is committed: building Damson needs no CUDA.
# The compiler comes from PyPI, into build/ptx-venv. DAMSON_NVCC names another one: PTX of an older one serves older drivers.
set -euo pipefail
cd "$(dirname "$0")/.."

version=13.0
folder=crates/nn/src/cuda
if [ -z "${DAMSON_NVCC:-}" ]; then
    venv=build/ptx-venv
    if [ ! -x "$venv/nvcc" ]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check \
            "nvidia-cuda-nvcc==$version.*" "nvidia-cuda-crt==$version.*" "nvidia-nvvm==$version.*" \
            "nvidia-cuda-cccl==$version.*" "nvidia-cuda-runtime==$version.*"
        ln -sf "$(readlink -f "$(find "$venv" -path '*/bin/nvcc' | head -1)")" "$venv/nvcc"
    fi
    DAMSON_NVCC=$(readlink -f "$venv/nvcc")
fi
made=$(mktemp)
trap 'rm -f "$made"' EXIT
# 7.5 is the oldest that the compiler still knows; drivers compile it for what is there. No fused multiply-add is forbidden,
# no division made inexact: what the kernels compute is what the CPU computes, up to rounding.
"$DAMSON_NVCC" -ptx -arch=compute_75 -O3 -o "$made" "$folder/kernels.cu"
{
    echo "// kernels.cu $(cat "$folder"/{kernels,training}.cu | sha256sum | cut -d ' ' -f 1)"
    cat "$made"
} >"$folder/kernels.ptx"
echo "ptx: $folder/kernels.ptx, $(wc -c <"$folder/kernels.ptx") bytes, by $("$DAMSON_NVCC" --version | grep release | sed 's/.*release/release/')" >&2
