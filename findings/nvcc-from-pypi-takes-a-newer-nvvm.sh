#!/bin/sh
# nvcc of PyPI, one release pinned, comes with the newest nvvm, whose PTX its own ptxas does not read: it compiles nothing.
#
# Whoever builds CUDA without a card takes nvcc from PyPI's packages, as scripts/cuda-toolkit does. nvidia-cuda-nvcc 13.0.88 asks for nvidia-nvvm,
# nvidia-cuda-crt and nvidia-cuda-runtime of no release at all, so that pip installs the newest ones beside it, 13.5.37 in December 2026, and
# finds nothing to complain of. The front end then writes PTX 9.5, and ptxas of 13.0 says "Unsupported .version 9.5; current version is '9.0'". With
# nvvm and crt of the same release it compiles. So all of them are pinned in scripts/cuda-requirements.txt.
#
# Needs Python 3 with venv, a C++ compiler, and the network; no card. Ends with 1 if the behaviour has changed.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv newest
python3 -m venv pinned
# What pip chose for nvidia-cuda-nvcc==13.0.88 alone.
newest/bin/pip install -q nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.5.37 nvidia-cuda-crt==13.5.37 nvidia-cuda-runtime==13.5.37
newest/bin/pip check
pinned/bin/pip install -q nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
printf '__global__ void one(float* x) { *x = 1.0f; }\n' >one.cu
compile() {
    echo "$1: $(ls -d "$1"/lib/python3*/site-packages/nvidia_nvvm-*.dist-info | sed 's/.*nvidia_nvvm-\(.*\).dist-info/nvvm \1/')"
    "$1"/lib/python3*/site-packages/nvidia/cu13/bin/nvcc -cubin -arch=sm_90 one.cu -o "$1.cubin" 2>&1
}
if compile newest >newest.txt; then
    cat newest.txt
    echo "it compiles: the behaviour has changed"
    exit 1
fi
cat newest.txt
grep -q "Unsupported .version 9.5; current version is '9.0'" newest.txt
compile pinned
test -s pinned.cubin
echo "pinned: compiled"
