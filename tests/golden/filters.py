"""Files whose chunks are packed by the filters of hdf5plugin and PyTables, for tests/files/filters.rs.

Needs h5py, hdf5plugin and tables: pip install h5py==3.16.0 hdf5plugin==7.1.0 tables==3.11.1
Run it in tests/golden; it writes filters/*.h5. The numbers are those of `pixels` in tests/support/h5.rs.
"""

import h5py
import hdf5plugin as p
import numpy as np
import tables


def pixels(n, h, w):
    i = np.arange(n)[:, None]
    q = np.arange(h * w)[None, :]
    s = (i * 7919 + q * 104729 + i * q) % 1000
    v = np.where((i != 3) & (s % 5 == 0), s / 8 + 0.125, 0)
    return v.reshape(n, h, w)


CASES = {
    "lz4": p.LZ4(),
    "zstd": p.Zstd(clevel=9),
    "bitshuffle": p.Bitshuffle(cname="none"),
    "bitshuffle-lz4": p.Bitshuffle(nelems=128, cname="lz4"),
    "bitshuffle-zstd": p.Bitshuffle(cname="zstd"),
}
for codec in ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"):
    for name, shuffle in (("none", 0), ("bytes", 1), ("bits", 2)):
        CASES[f"blosc-{codec}-{name}"] = p.Blosc(cname=codec, clevel=9, shuffle=shuffle)
REFUSED = {"blosc2": p.Blosc2(), "zfp": p.Zfp(reversible=True), "bzip2": p.BZip2(), "sz3": p.SZ3(absolute=0.1)}

images = pixels(60, 6, 5)
for kind, chunks in (("f4", (37, 6, 5)), ("f8", (40, 4, 5))):
    with h5py.File(f"filters/{kind}.h5", "w", libver="latest") as f:
        for name, options in CASES.items():
            f.create_dataset(name, data=images.astype(kind), chunks=chunks, **options)
        # What does not shrink is stored as it is.
        noise = np.random.default_rng(0).integers(0, 2**31, (10, 6, 5)).astype("f4")
        for name, options in CASES.items():
            f.create_dataset("noise-" + name, data=noise, chunks=(5, 6, 5), **options)
        f["noise"] = noise
with h5py.File("filters/refused.h5", "w", libver="latest") as f:
    for name, options in REFUSED.items():
        f.create_dataset(name, data=images.astype("f4"), chunks=(60, 6, 5), **options)
    f.create_dataset("szip", data=images.astype("f4"), chunks=(60, 6, 5), compression="szip")
    f.create_dataset("scaleoffset", data=images.astype("f4"), chunks=(60, 6, 5), scaleoffset=2)
with tables.open_file("filters/pytables.h5", "w") as f:
    for name, library, shuffle, bits in (
        ("zlib", "zlib", True, False),
        ("blosc", "blosc", True, False),
        ("blosc-bits", "blosc:lz4", False, True),
    ):
        filters = tables.Filters(complevel=5, complib=library, shuffle=shuffle, bitshuffle=bits, fletcher32=name == "zlib")
        f.create_carray("/", name.replace("-", "_"), obj=images.astype("f4"), filters=filters)
