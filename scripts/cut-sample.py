#!/usr/bin/env python3
"""Cut a run of rows out of an HDF5 file of images into a smaller file of the same layout.

    scripts/cut-sample.py INPUT ROWS OUTPUT [--first N] [--note TEXT]

Every data set whose first axis is the row axis is cut; types, names and attributes stay as they are.
The root attributes of the input are copied, `cut_from`, `cut_rows` and `cut_by` say what was done.
Needs h5py (`make setup` installs it into .tools/venv).
"""

import argparse
import hashlib
import os

import h5py

CHUNK_ROWS = 1000


def md5(path):
    digest = hashlib.md5()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("input")
    parser.add_argument("rows", type=int, help="how many")
    parser.add_argument("output")
    parser.add_argument("--first", type=int, default=0, help="first row (default: 0)")
    parser.add_argument("--note", help="root attribute `note` of the output")
    args = parser.parse_args()
    if args.rows < 1 or args.first < 0:
        parser.error("ROWS must be 1 or more and --first 0 or more")
    last = args.first + args.rows

    partial = args.output + ".partial"
    with h5py.File(args.input) as whole, h5py.File(partial, "w", libver="earliest") as cut:
        for name, data in sorted(whole.items()):
            if len(data) < last:
                raise SystemExit(f"'{args.input}' has {len(data)} rows in '{name}' (asked for rows up to {last}) lower ROWS")
            chunks = (min(CHUNK_ROWS, args.rows), *data.shape[1:])
            # No time stamps: the same cut gives the same bytes.
            new = cut.create_dataset(
                name, data=data[args.first : last], chunks=chunks,
                compression="gzip", compression_opts=9, shuffle=True, track_times=False,
            )
            new.attrs.update(data.attrs)
        cut.attrs.update(whole.attrs)
        cut.attrs["cut_from"] = f"{os.path.basename(args.input)}, md5 {md5(args.input)}"
        cut.attrs["cut_rows"] = f"rows {args.first} .. {last - 1} of {len(data)}, in file order"
        cut.attrs["cut_by"] = "scripts/cut-sample.py"
        if args.note:
            cut.attrs["note"] = args.note
    os.replace(partial, args.output)


if __name__ == "__main__":
    main()
