#!/bin/sh
# Rows that were never written are zeros, says the data set's fill value. In a contiguous data set that h5py creates in the
# place of a deleted one they are what the deleted one held: h5py leaves the fill time at "if set", and HDF5 then writes no
# fill value. So images "of" a killed job can be those of another data set, and no count of empty rows shows it.
#
# Runs h5py alone, in a temporary folder. Fails if this changes.
#
# Seen on 2026-11-29, Linux x86_64:
#   h5py 3.16.0, HDF5 2.0.0, fill value 0.0, fill time 2 (if set)
#   written 10 of 100, the others: 11.0 12.0 13.0 .. 100.0 (values of the deleted data set)
#   the same in chunks: the others are 0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet h5py==3.16.0 numpy==2.3.5
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import h5py, numpy as np

def written_after_deleting(**how):
    with h5py.File("a.h5", "w") as f:
        f["before"] = np.arange(1, 101.0)
        del f["before"]
        data = f.create_dataset("after", (100,), "f8", **how)
        data[:10] = -1
    with h5py.File("a.h5") as f:
        data = f["after"]
        time = data.id.get_create_plist().get_fill_time()
        return data[:], data.fillvalue, time

values, fill, time = written_after_deleting()
print(f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}, fill value {fill}, fill time {time} (if set)")
print("written 10 of 100, the others:", *values[10:13], "..", values[-1], "(values of the deleted data set)")
assert time == h5py.h5d.FILL_TIME_IFSET and fill == 0
assert (values[10:] == np.arange(11, 101)).all(), "unwritten elements are no longer those of the deleted data set"
values, _, _ = written_after_deleting(chunks=(10,))
print("the same in chunks: the others are", *np.unique(values[10:]))
assert (values[10:] == 0).all()
PYTHON
