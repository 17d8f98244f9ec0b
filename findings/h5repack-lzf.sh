#!/bin/sh
# Debian's h5repack drops a data set that h5py compressed with lzf, and ends with 0.
#
# h5py writes lzf with its own filter, which the HDF5 tools do not have. Asked to rewrite such a file with gzip, h5repack
# prints a warning, leaves the data set out, writes everything else and reports success. A pipeline that checks exit codes
# goes on without its images. h5py itself, or h5repack with the plugin of hdf5plugin, keeps them.
#
# Needs Debian 12 (apt-get), Python 3 with venv, and the network. Ends with 1 if the behaviour has changed.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq hdf5-tools=1.10.8+repack1-1 libhdf5-103-1=1.10.8+repack1-1 libhdf5-hl-100=1.10.8+repack1-1 libaec0 libsz2 2>/dev/null
for package in *.deb; do dpkg -x "$package" tools; done
export LD_LIBRARY_PATH="$dir/tools/usr/lib/x86_64-linux-gnu"
repack="$dir/tools/usr/bin/h5repack"
python3 -m venv venv
venv/bin/pip install -q h5py==3.16.0 numpy==2.4.6
"$repack" --version

cat > make.py <<'P'
import h5py, numpy as np
with h5py.File("lzf.h5", "w") as f:
    f.create_dataset("image", data=np.ones((20, 4, 5), "f4"), compression="lzf")
    f["signal"] = np.zeros(20)
P
venv/bin/python make.py
status=0
"$repack" -f GZIP=4 lzf.h5 out.h5 || status=$?
names=$(venv/bin/python -c "import h5py; print(*h5py.File('out.h5'))")
echo "h5repack -f GZIP=4 lzf.h5 out.h5: exit $status, out.h5 holds: $names (lzf.h5 holds: image signal)"
[ "$status" = 0 ] && [ "$names" = "signal" ]
