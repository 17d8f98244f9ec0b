#!/bin/sh
# safetensors' save_file for numpy writes a transposed array with its numbers in the wrong places, without an error.
#
# Models of this program are safetensors files, and whoever carries weights over from another framework transposes them on the way: a dense layer
# of PyTorch's is [to, from], one of Keras' [from, to]. safetensors 0.8.0 with numpy 2.4.6 writes the memory of a view as it lies, under
# the view's shape: x.T of [[0, 1, 2], [3, 4, 5]] comes back as [[0, 1], [2, 3], [4, 5]], and an array in Fortran's order likewise. Its
# documentation asks for contiguous arrays, and nothing looks. numpy.ascontiguousarray first.
#
# Needs Python 3 with venv, and the network. Ends with 1 if the behaviour has changed.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q safetensors==0.8.0 numpy==2.4.6
cat > transposed.py <<'P'
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

print("safetensors", safetensors.__version__, "numpy", np.__version__)
weights = np.arange(6, dtype=np.float32).reshape(2, 3)
there_and_back = {}
for name, array in [("as it is", weights), ("transposed", weights.T), ("Fortran's order", np.asfortranarray(weights)), ("transposed, copied", np.ascontiguousarray(weights.T))]:
    save_file({"weights": array}, "file.safetensors")
    found = load_file("file.safetensors")["weights"]
    there_and_back[name] = found.shape == array.shape and np.array_equal(found, array)
    print(f"{name}: {array.tolist()} comes back as {found.tolist()}")
assert there_and_back == {"as it is": True, "transposed": False, "Fortran's order": False, "transposed, copied": True}
P
venv/bin/python transposed.py
