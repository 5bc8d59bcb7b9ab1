# SPDX-License-Identifier: Apache-2.0
"""Which lossless codec for our Zarr chunks: how small, and how many season-images a second on one core?

    python benchmarks/bench_codecs.py RAW [--tiles DIR ...] [--radar DIR ...] [--rounds 5] [--step 8]

RAW is a folder in the raw layout with `s2c` (13 GeoTIFFs an image); every size is told as a part of the size of
these files. `--tiles` are folders of GeoTIFFs with 12 or 13 bands at 10 m, `--radar` folders of two-band float32
GeoTIFFs in dB: sizes only, against the raw values. All codecs take turns in each round; medians.
Every candidate is also written as a Zarr v3 array and read with zarr-python and, where installed, tensorstore.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import rasterio
import zarr
from numcodecs import blosc, zstd

from ssl4eo.environment import environment, version

GROUPS = {
    "10m": ("B2", "B3", "B4", "B8"),
    "20m": ("B5", "B6", "B7", "B8A", "B11", "B12"),
    "60m": ("B1", "B9", "B10"),
}
SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
WHOLE = 2**20
"""Block size above that of any chunk: one block a chunk."""
FRAME = 16 + 4 + 4
"""Where the zstd frame of a buffer of one block starts: behind header, block start and length."""
ARROW = pa.Codec("zstd")


@dataclass(frozen=True)
class Codec:
    """A chain that Zarr v3 can name: transpose, bytes, blosc, and perhaps zstd behind it."""

    name: str
    cname: str
    clevel: int
    shuffle: int
    block: int = 0
    order: tuple[int, int, int] | None = None
    """Of the axes (band, y, x), None as they are."""
    zstd: int | None = None
    """Level of a second compression."""
    typesize: int | None = None

    def arrange(self, array):
        """Lay the array out as it is compressed, typed as blosc is to see it."""
        out = np.ascontiguousarray(array if self.order is None else array.transpose(self.order))
        return out if self.typesize in {None, out.itemsize} else out.reshape(-1).view(f"V{self.typesize}")

    def encode(self, array):
        """Compress."""
        packed = blosc.compress(self.arrange(array), self.cname.encode(), self.clevel, self.shuffle, self.block)
        return packed if self.zstd is None else zstd.compress(packed, self.zstd)

    def decode(self, packed, out):
        """Decompress into memory at hand; C order of the array as it was stored."""
        blosc.decompress(packed if self.zstd is None else zstd.decompress(packed), out)

    def chain(self, dtype) -> list[dict[str, Any]]:
        """Name the chain as zarr.json does."""
        blosc_codec = {
            "typesize": self.typesize or np.dtype(dtype).itemsize,
            "cname": self.cname,
            "clevel": self.clevel,
            "shuffle": SHUFFLES[self.shuffle],
            "blocksize": self.block,
        }
        chain: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
        if self.order is not None:
            chain.insert(0, {"name": "transpose", "configuration": {"order": list(self.order)}})
        chain.append({"name": "blosc", "configuration": blosc_codec})
        if self.zstd is not None:
            chain.append({"name": "zstd", "configuration": {"level": self.zstd, "checksum": False}})
        return [*chain, {"name": "crc32c"}]


BYTE, BIT = 1, 2
PIXELS = (1, 2, 0)
"""Band innermost."""
CODECS = (
    Codec("zstd 5 bit auto (before)", "zstd", 5, BIT),
    Codec("lz4 5 byte", "lz4", 5, BYTE, WHOLE),
    Codec("lz4 5 bit", "lz4", 5, BIT, WHOLE),
    Codec("lz4 9 bit", "lz4", 9, BIT, WHOLE),
    Codec("lz4hc 1 byte", "lz4hc", 1, BYTE, WHOLE),
    Codec("lz4hc 1 bit", "lz4hc", 1, BIT, WHOLE),
    Codec("lz4hc 5 byte", "lz4hc", 5, BYTE, WHOLE),
    Codec("zlib 1 byte", "zlib", 1, BYTE, WHOLE),
    Codec("zstd 1 bit 64k", "zstd", 1, BIT, 2**16),
    Codec("zstd 1 bit", "zstd", 1, BIT, WHOLE),
    Codec("zstd 2 bit", "zstd", 2, BIT, WHOLE),
    Codec("zstd 5 bit", "zstd", 5, BIT, WHOLE),
    Codec("zstd 1 byte 64k", "zstd", 1, BYTE, 2**16),
    Codec("zstd 1 byte", "zstd", 1, BYTE, WHOLE),
    Codec("zstd 2 byte", "zstd", 2, BYTE, WHOLE),
    Codec("zstd 2 byte 256k", "zstd", 2, BYTE, 2**18),
    Codec("zstd 3 byte", "zstd", 3, BYTE, WHOLE),
    Codec("zstd 5 byte", "zstd", 5, BYTE, WHOLE),
    Codec("zstd 7 byte", "zstd", 7, BYTE, WHOLE),
    Codec("zstd 8 byte", "zstd", 8, BYTE, WHOLE),
    Codec("zstd 9 byte", "zstd", 9, BYTE, WHOLE),
    Codec("zstd 9 bit", "zstd", 9, BIT, WHOLE),
    Codec("band innermost, zstd 1 byte", "zstd", 1, BYTE, WHOLE, PIXELS),
    Codec("band innermost, zstd 2 byte 256k", "zstd", 2, BYTE, 2**18, PIXELS),
    Codec("band innermost, zstd 9 byte 256k", "zstd", 9, BYTE, 2**18, PIXELS),
    Codec("band innermost, zstd 1 bit", "zstd", 1, BIT, WHOLE, PIXELS),
    Codec("band innermost, zstd 1 byte t8", "zstd", 1, BYTE, WHOLE, PIXELS, typesize=8),
    Codec("lz4 9 byte, then zstd 1", "lz4", 9, BYTE, WHOLE, zstd=1),
    Codec("lz4 9 bit, then zstd 1", "lz4", 9, BIT, WHOLE, zstd=1),
)


def read_raw(raw: Path, step: int) -> tuple[list[dict[str, np.ndarray]], int]:
    """Read every `step`-th image of a raw layout by resolution; also the bytes of the files."""
    images, size = [], 0
    for folder in sorted((raw / "s2c").glob("*/*"))[::step]:
        files = {b: folder / f"{b}.tif" for bands in GROUPS.values() for b in bands}
        size += sum(file.stat().st_size for file in files.values())
        images.append({g: np.stack([read_band(files[b]) for b in bands]) for g, bands in GROUPS.items()})
    return images, size


def read_band(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read(1)


def read_bands(folder: Path, num: Iterable[int], pick: Sequence[int], dtype: str) -> list[np.ndarray]:
    """Read whole GeoTIFFs of `num` bands, those picked, cut to 264 px at most."""
    out = []
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as source:
            if source.count in num and (dtype == "float32") == (source.dtypes[0] == "float32"):
                out.append(np.ascontiguousarray(source.read(list(pick))[:, :264, :264].astype(dtype)))
    return out


class Timed:
    """One codec's sizes and seconds on all chunks."""

    def __init__(self, codec, images):
        self.codec = codec
        self.chunks = [array for image in images for array in image.values()]
        self.num = len(images)
        self.encode_seconds: list[float] = []
        self.decode_seconds: list[float] = []
        self.packed: list[bytes] = []
        self.room = {array.nbytes: np.empty(array.size, array.dtype) for array in self.chunks}

    def encode(self):
        """Compress all once."""
        started = time.perf_counter()
        self.packed = [self.codec.encode(array) for array in self.chunks]
        self.encode_seconds.append(time.perf_counter() - started)

    def decode(self):
        """Decompress all once, into memory used again."""
        started = time.perf_counter()
        for array, packed in zip(self.chunks, self.packed, strict=True):
            self.codec.decode(packed, self.room[array.nbytes])
        self.decode_seconds.append(time.perf_counter() - started)

    def check(self):
        """Raise unless the last chunk of each size came back."""
        for array, packed in zip(self.chunks[:3], self.packed[:3], strict=True):
            out = self.room[array.nbytes]
            self.codec.decode(packed, out)
            assert out.tobytes() == self.codec.arrange(array).tobytes(), self.codec.name

    def row(self, files):
        """Give size against the files, and rates."""
        return {
            "codec": self.codec.name,
            "size": sum(map(len, self.packed)) / files,
            "encode": self.num / statistics.median(self.encode_seconds),
            "decode": self.num / statistics.median(self.decode_seconds),
        }


def race(codecs, images, files, rounds):
    """Let codecs take turns; slow ones compress only once."""
    timed = [Timed(codec, images) for codec in codecs]
    for number in range(rounds):
        for each in timed:
            if number == 0 or each.encode_seconds[0] / each.num < 1 / 100:
                each.encode()
            each.decode()
    for each in timed:
        each.check()
    return [each.row(files) for each in timed]


def readers_agree(array) -> dict[str, list[str]]:
    """Store an array with each chain and read it with foreign readers; give who reads what."""
    try:
        import tensorstore
    except ImportError:
        tensorstore = None
    done: dict[str, list[str]] = {}
    for codec in CODECS:
        with tempfile.TemporaryDirectory() as folder:
            write_array(Path(folder), array, codec)
            done[codec.name] = ["zarr"]
            assert (zarr.open_array(folder, mode="r")[:] == array).all(), codec.name
            if tensorstore is not None:
                spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": folder}}
                assert (tensorstore.open(spec).result().read().result() == array).all(), codec.name
                done[codec.name].append("tensorstore")
    return done


def write_array(folder, array, codec):
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(array.shape),
        "data_type": str(array.dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(array.shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": codec.chain(array.dtype),
        "attributes": {},
    }
    (folder / "zarr.json").write_text(json.dumps(document))
    packed = codec.encode(array)
    (folder / "c.0.0.0").write_bytes(packed + google_crc32c.value(packed).to_bytes(4, "little"))


SIZED = tuple(
    codec
    for codec in CODECS
    if codec.name
    in {
        "zstd 5 bit auto (before)",
        "lz4 9 bit",
        "lz4hc 1 byte",
        "zstd 1 bit",
        "zstd 2 bit",
        "zstd 1 byte",
        "zstd 2 byte",
        "zstd 9 byte",
        "zstd 9 bit",
        "band innermost, zstd 1 byte",
        "band innermost, zstd 9 byte 256k",
    }
)


def sizes(sets: dict[str, list[np.ndarray]]) -> dict[str, dict[str, float]]:
    """Give compressed against raw size of each set, by codec."""
    return {
        name: {c.name: sum(len(c.encode(a)) for a in arrays) / num_bytes(arrays) for c in SIZED}
        for name, arrays in sets.items()
    }


def num_bytes(arrays):
    return sum(array.nbytes for array in arrays)


def uint8_of(images):
    """Scale each band to uint8 between its mean -+ 2 standard deviations, as the published training does."""
    out = []
    for group in GROUPS:
        stack = np.stack([image[group] for image in images]).astype(np.float64)
        mean, std = (f(stack, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
        out += list(((stack - mean + 2 * std) / (4 * std) * 255).clip(0, 255).astype(np.uint8))
    return out


def radar_sets(folder) -> dict[str, list[np.ndarray]]:
    """Give float32 dB as it is, and rounded to parts of a dB as float32 and float16."""
    values = read_bands(folder, {2}, (1, 2), "float32")
    sets = {f"{folder.name} float32": values}
    for part in (256, 64, 32, 16):
        rounded = [(np.round(v * part) / part).astype(np.float32) for v in values]
        sets[f"{folder.name} float32, 1/{part} dB"] = rounded
        sets[f"{folder.name} float16, 1/{part} dB"] = [v.astype(np.float16) for v in rounded]
    return {name: arrays for name, arrays in sets.items() if arrays}


def overheads(images, rounds) -> dict[str, float]:
    """Time what surrounds the decoding of one image with `zstd 2 byte` [us, median]."""
    codec = next(c for c in CODECS if c.name == "zstd 2 byte")
    packs = [[(array, codec.encode(array)) for array in image.values()] for image in images]
    forms = overhead_forms({array.nbytes: np.empty_like(array) for array in images[0].values()})
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, form in forms.items():
            blosc.use_threads = "threads on" in name
            blosc.set_nthreads(2 if "2 threads" in name else 1)
            for pack in packs:
                started = time.perf_counter()
                for array, packed in pack:
                    form(array, packed)
                seconds[name].append(time.perf_counter() - started)
    blosc.use_threads = False
    return {name: statistics.median(times) * 1e6 for name, times in seconds.items()}


def overhead_forms(room) -> dict[str, Callable[[np.ndarray, bytes], object]]:
    """Name what is done to a chunk and its compressed bytes."""

    def into(array, packed):
        return blosc.decompress(packed, room[array.nbytes])

    return {
        "decompress into memory at hand": into,
        "decompress into np.empty": lambda a, p: blosc.decompress(p, np.empty(a.shape, a.dtype)),
        "decompress to new bytes": lambda _, p: blosc.decompress(p),
        "decompress into memory at hand, threads on, 1 thread": into,
        "decompress into memory at hand, threads on, 2 threads": into,
        "the zstd frames alone, numcodecs.zstd": lambda a, p: zstd.decompress(p[FRAME:], room[a.nbytes]),
        "the zstd frames alone, pyarrow": lambda a, p: ARROW.decompress(p[FRAME:], a.nbytes),
        "crc32c of the compressed bytes": lambda _, p: google_crc32c.value(p),
        "memory copy of the pixels": lambda a, _: np.copyto(room[a.nbytes], a),
        "transpose back from band innermost": lambda a, _: np.ascontiguousarray(
            a.reshape(*a.shape[1:], -1).transpose(2, 0, 1)
        ),
    }


def show_rates(title, rows):
    print(f"{title:<36}{'size':>9}{'encode/s':>10}{'decode/s':>10}")
    for row in rows:
        print(f"{row['codec']:<36}{row['size']:>9.4f}{row['encode']:>10.0f}{row['decode']:>10.0f}")


def show(extra, costs):
    print("compressed / raw bytes")
    for name, by_codec in extra.items():
        print(name)
        for codec, size in by_codec.items():
            print(f"    {codec:<36}{size:.4f}")
    print("an image's 3 chunks, zstd 2 byte [us]")
    for name, value in costs.items():
        print(f"    {name:<56}{value:8.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--tiles", type=Path, nargs="*", default=[])
    parser.add_argument("--radar", type=Path, nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", type=int, default=8, help="take every n-th image of RAW for rates")
    args = parser.parse_args()
    blosc.use_threads = False
    images, files = read_raw(args.raw, args.step)
    read = readers_agree(images[0]["20m"])
    rows = race(CODECS, images, files, args.rounds)
    show_rates("codec, size / files of RAW", rows)
    radar = {}
    for folder in args.radar:
        values = read_bands(folder, {2}, (1, 2), "float32")
        radar[folder.name] = race(SIZED, [{"10m": v} for v in values], num_bytes(values), args.rounds)
        show_rates(f"{folder.name}, size / raw", radar[folder.name])
    extra = sizes({"S2L1C uint8 of RAW": uint8_of(images)})
    for folder in args.tiles:
        # B02 B03 B04 B08: the bands that are native at 10 m
        extra |= sizes({f"{folder.name} 10 m": read_bands(folder, {12, 13}, (2, 3, 4, 8), "uint16")})
    for folder in args.radar:
        extra |= sizes(radar_sets(folder))
    costs = overheads(images, args.rounds)
    show(extra, costs)
    record = environment() | {"numcodecs": version("numcodecs"), "tensorstore": version("tensorstore")}
    arguments = {"rounds": args.rounds, "step": args.step, "images": len(images)}
    result = {
        "rates": rows,
        "radar_rates": radar,
        "sizes": extra,
        "costs_us": costs,
        "readers": read,
        "arguments": arguments,
    }
    print(json.dumps(result | {"environment": record}))


if __name__ == "__main__":
    main()
