#!/bin/sh
# Keras' binary cross entropy takes targets above 1, and its loss then falls without an end but for a clip.
#
# The jet VAE (arXiv:2009.04842, Keras) divides pixels by 100 GeV and compares images by binary_crossentropy; the jets it is trained on have
# pixels of more than 250 GeV. Keras 3.13.2 on jax says nothing about such targets. For a pixel of 2.5 units the loss of a right answer at its
# upper clip, 1 - 1e-7, is -23.9, where every pixel within the unit has a loss of at least 0: the brightest pixels pay best, a
# mean over images can be negative, and a loss near 0 means nothing.
#
# Needs Python 3 with venv, and the network. Ends with 1 if the behaviour has changed.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q keras==3.13.2 jax==0.10.2 numpy==2.4.6
cat > loss.py <<'P'
import os
os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy as np

loss = lambda pixel, answer: float(keras.losses.binary_crossentropy(np.array([[pixel]], "f4"), np.array([[answer]], "f4"))[0])
print("keras", keras.__version__, "on", keras.backend.backend())
for pixel, answer in [(0.9, 0.9), (1.0, 1.0), (2.5, 0.9), (2.5, 1.0)]:
    print(f"pixel of {pixel} units, answer {answer}: loss {loss(pixel, answer):.3f}")
assert loss(0.9, 0.9) > 0.3 and loss(2.5, 0.9) < -3.0 and -24.5 < loss(2.5, 1.0) < -23.0
P
venv/bin/python loss.py
