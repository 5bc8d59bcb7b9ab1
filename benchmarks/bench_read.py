# SPDX-License-Identifier: Apache-2.0
"""How fast is one season-image out of an archive against what people read today, on one core?

    python benchmarks/bench_read.py RAW WORK [--rounds 7] [--images 12]

RAW is a folder in the raw layout with `s2c`: two dates a location are enough. WORK takes what is made of it (about
1.5 GB, used again by the next run): an archive, an LMDB of pickled uint8, a Zarr v2 zip of 64 locations.
Everything is read warm, pinned to one core, all readers in turn on the same images in each round; a ratio is the
median over rounds. Reading is told in processor time, system calls included: what other programs take of a shared
machine does not count, and a warm read waits for nothing. Packing is told in wall time, for it waits for the disk.
The readers to compare with were written from descriptions of the formats. Opening is measured
on an archive of 251,079 locations whose shards but the first do not exist.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pickle
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import cv2
import lmdb
import numpy as np
import rasterio
import torch
import xarray as xr
import zarr
from numcodecs import Blosc, blosc

from ssl4eo.archive import codecs
from ssl4eo.archive.arrays import SHARD_LOCATIONS
from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.environment import environment, version
from ssl4eo.packing.layouts import open_source
from ssl4eo.packing.pack import pack

SIDE = 264
BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
SEASONS = 4
"""Of the LMDB and the zip, as published; the dates of RAW are repeated."""
PLANET = 251_079
MODALITY = "S2L1C"


@dataclass
class Reader:
    """One way to get at a season-image; `read` takes the location's number and a season."""

    name: str
    read: Callable[[int, int], object]
    yields: int = 1
    """Season-images that a call delivers."""
    calls: int | None = None
    """Calls a round, None for all images."""
    rates: list[float] = dataclasses.field(default_factory=list)
    faults: list[float] = dataclasses.field(default_factory=list)
    """That a call took, a round; tells an allocator that gives memory back."""

    def round(self, places):
        """Read once; note season-images a second of processor time and page faults a call."""
        places = places[: self.calls]
        faults = page_faults()
        started = time.process_time()
        for place in places:
            self.read(*place)
        self.rates.append(self.yields * len(places) / (time.process_time() - started))
        self.faults.append((page_faults() - faults) / len(places))


def page_faults():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


# What is made of RAW


def make_archive(raw, target, **options):
    """Pack RAW into an archive; the one place that knows how archives are made."""
    return pack(open_source(raw), target, **options)


def make_lmdb(folders, target):
    """Write uint8 (season, band, y, x) of each location as a pickled tuple of bytes and shape."""
    stacks = [upsampled(places) for places in folders]
    mean, std = (f(np.stack(stacks[::4]), axis=(0, 1, 3, 4), keepdims=True)[0] for f in (np.mean, np.std))
    with lmdb.open(str(target), map_size=2**33) as env, env.begin(write=True) as txn:
        for number, stack in enumerate(stacks):
            values = ((stack - mean + 2 * std) / (4 * std) * 255).clip(0, 255).astype(np.uint8)
            txn.put(str(number).encode(), pickle.dumps((values.tobytes(), values.shape)))


def make_zip(folders, target):
    """Write int16 (64, season, band, y, x) in a Zarr v2 zip, a chunk for each time stamp."""
    with zarr.storage.ZipStore(target, mode="w") as store:
        group = zarr.open_group(store, mode="w", zarr_format=2)
        array = group.create_array(
            "bands",
            shape=(SHARD_LOCATIONS, SEASONS, len(BANDS), SIDE, SIDE),
            chunks=(SHARD_LOCATIONS, 1, len(BANDS), SIDE, SIDE),
            dtype="int16",
            compressors=Blosc("lz4", 5, Blosc.SHUFFLE),
        )
        array.attrs["_ARRAY_DIMENSIONS"] = ["sample", "time", "band", "y", "x"]
        stacks = np.stack([upsampled(folders[i % len(folders)]) for i in range(SHARD_LOCATIONS)]).astype(np.int16)
        for season in range(SEASONS):
            array[:, season] = stacks[:, season]


def upsampled(places):
    """Read all seasons of a location on the 10 m grid: uint16 (season, band, y, x), dates repeated."""
    dates = [np.stack(read_geotiffs(place)) for place in places]
    return np.stack([dates[season % len(dates)] for season in range(SEASONS)])


def make_planet(raw, target):
    """Make an archive of 251,079 locations: one real shard, and the journal's line of it over and over."""
    source = open_source(raw)
    samples = [source.read(i) for i in source.ids()]
    with ArchiveWriter(
        target, forms=source.forms, num_seasons=SEASONS, shape=source.shape, provenance=source.provenance
    ) as writer:
        for number in range(SHARD_LOCATIONS):
            writer.append(renamed(samples[number % len(samples)], number))
        journal = writer._journal
        (row,) = journal.rows()
        with journal._lines.open("ab") as stream:
            for start in range(SHARD_LOCATIONS, PLANET, SHARD_LOCATIONS):
                count = min(SHARD_LOCATIONS, PLANET - start)
                row["shard"] = start // SHARD_LOCATIONS
                row["locations"] = [r | {"id": f"{start + i:07d}"} for i, r in enumerate(row["locations"][:count])]
                row["images"] = {name: images[:count] for name, images in row["images"].items()}
                stream.write(json.dumps(row).encode() + b"\n")
                writer._note(row)
        writer.finish(statistics=False)


def renamed(sample, number):
    """Give a sample another id, and its dates again in the years after until there are four."""
    location = dataclasses.replace(sample.location, id=f"{number:07d}")
    images = {}
    for name, dates in sample.images.items():
        later = (
            dataclasses.replace(dates[i % len(dates)], time=dates[i % len(dates)].time + timedelta(3650) * (i // 2))
            for i in range(SEASONS)
        )
        images[name] = tuple(later)
    return dataclasses.replace(sample, location=location, images=images)


def made(work, name, make):
    """Make a thing once."""
    path = work / name
    if not path.exists():
        make(path)
    return path


# The readers


def read_geotiffs(folder):
    """Read 13 files, each opened for itself, and bring them to 264 px."""
    return [resized(read_band(folder / f"{band}.tif")) for band in BANDS]


def read_band(path):
    with rasterio.open(path) as file:
        return file.read(1)


def resized(band):
    if band.shape == (SIDE, SIDE):
        return band
    return cv2.resize(band, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR_EXACT)


def geotiff_reader(raw, ids):
    """Read as the published loader does, but only the season asked for: list, open, resize, stack."""

    def read(index, season):
        place = raw / "s2c" / ids[index]
        return np.stack(read_geotiffs(sorted(place.iterdir())[season]))

    return Reader("13 GeoTIFFs, to 264 px", read)


def plain_geotiff_reader(folders):
    """Read the files and nothing else."""
    return Reader("13 GeoTIFFs, as they are", lambda i, t: [read_band(folders[i][t] / f"{band}.tif") for band in BANDS])


def torchgeo_reader(raw):
    """Read with TorchGeo's dataset, which draws the season itself and gives float32."""
    from torchgeo.datasets import SSL4EOS12

    dataset = SSL4EOS12(str(raw), split="s2c", seasons=1)
    return Reader(f"TorchGeo {version('torchgeo')}", lambda index, _: dataset[index])


def lmdb_readers(path):
    """Read as the published loader does: all seasons come, one is used; then with the bands innermost in memory."""
    env = lmdb.open(str(path), readonly=True, lock=False, readahead=False, meminit=False)

    def read(index, _):
        with env.begin(write=False) as txn:
            data = txn.get(str(index).encode())
        values, shape = pickle.loads(data)
        return np.frombuffer(values, np.uint8).reshape(shape)[random.randrange(SEASONS)]

    def interleaved(index, season):
        return np.ascontiguousarray(read(index, season).transpose(1, 2, 0))

    return [
        Reader("LMDB of uint8, 264 px", read),
        Reader("LMDB of uint8, as its transforms want it", interleaved),
    ]


def zip_readers(path):
    """Open and read the whole file for an item, one time stamp of it, or one sample of one time stamp."""

    def whole(*_):
        with opened(path) as data:
            return data["bands"].to_numpy()

    def stamp(_, season):
        with opened(path) as data:
            return data["bands"].isel(time=season).to_numpy()

    def single(index, season):
        with opened(path) as data:
            return data["bands"].isel(sample=index, time=season).to_numpy()

    return [
        Reader("zip of 64: a whole file, all of it used", whole, SHARD_LOCATIONS * SEASONS, 1),
        Reader("zip of 64: a time stamp, all of it used", stamp, SHARD_LOCATIONS, 1),
        Reader("zip of 64: one season-image", single, 1, 2),
    ]


def opened(path):
    store = zarr.storage.ZipStore(path, mode="r")
    return xr.open_zarr(store, consolidated=False, zarr_format=2, chunks=None)


def archive_arrays(path):
    group = zarr.open_group(path, mode="r")
    return [group[f"{MODALITY}/{resolution}m/bands"] for resolution in (10, 20, 60)]


def zarr_reader(path):
    """Read the archive with zarr-python, arrays opened once."""
    arrays = archive_arrays(path)
    return Reader("archive by zarr-python", lambda index, season: [array[index, season] for array in arrays])


def direct_reader(path):
    """Read the same chunks with pread and Blosc and nothing else: no checks, places known beforehand."""
    fds, places = [], []
    for array in archive_arrays(path):
        locations, seasons, *shape = array.shape
        fd = os.open(next((path / array.path).glob("c.0.*")), os.O_RDONLY)
        index = codecs.read_index(fd, SHARD_LOCATIONS * seasons).tolist()
        fds.append(fd)
        places.append((index[: locations * seasons], seasons, tuple(shape), array.dtype))

    def read(index, season):
        out = []
        for fd, (entries, seasons, shape, dtype) in zip(fds, places, strict=True):
            offset, length = entries[index * seasons + season]
            pixels = np.empty(shape, dtype)
            blosc.decompress(os.pread(fd, length - codecs.CRC_BYTES, offset), pixels)
            out.append(pixels)
        return out

    return Reader("pread and Blosc alone", read)


def our_readers(path, fast):
    """Read through the library, profiles default and fast."""
    archive, quick = open_archive(path), open_archive(fast)
    return [
        Reader("ours", lambda i, t: archive.read_pixels(MODALITY, index=i, season=t)),
        Reader("ours, 10 m bands", lambda i, t: archive.read_pixels(MODALITY, index=i, season=t, resolutions=(10,))),
        Reader("ours, profile fast", lambda i, t: quick.read_pixels(MODALITY, index=i, season=t)),
    ]


# Measuring


def check_pixels(readers, folders):
    """Raise unless the readers of native pixels agree with the files."""
    native = {r.name: r for r in readers}
    files = native["13 GeoTIFFs, as they are"].read(1, 1)
    wanted = [np.stack([files[BANDS.index(b)] for b in group]) for group in groups()]
    for name in ("archive by zarr-python", "pread and Blosc alone"):
        assert all((a == b).all() for a, b in zip(native[name].read(1, 1), wanted, strict=True)), name
    assert all((a == b).all() for a, b in zip(native["ours"].read(1, 1).values(), wanted, strict=True)), "ours"
    assert len(folders) < SHARD_LOCATIONS, "RAW is to fit in one shard"


def groups():
    """Give the files' names by resolution."""
    return ("B2", "B3", "B4", "B8"), ("B5", "B6", "B7", "B8A", "B11", "B12"), ("B1", "B9", "B10")


def race(readers, num_locations, args):
    """Let all readers take turns on the same images."""
    draw = random.Random(0)
    for number in range(args.rounds + 1):
        places = [(draw.randrange(num_locations), draw.randrange(2)) for _ in range(args.images)]
        if number == 0:  # touch everything once: a page is mapped, a shard opened, at the first access only
            places = [(index, season) for index in range(num_locations) for season in range(2)]
        for reader in readers:
            reader.round(places)
        if number == 0:
            for reader in readers:  # the first round warms up
                reader.rates.clear()
                reader.faults.clear()


def ratio(readers, first, second):
    """Give the median over rounds of one reader's rate by another's."""
    rates = {reader.name: reader.rates for reader in readers}
    return statistics.median(a / b for a, b in zip(rates[first], rates[second], strict=True))


def size_ratio(archive, folders):
    """Give the bytes of the archive's shards by those of the files."""
    shards = sum(path.stat().st_size for path in archive.glob(f"{MODALITY}/*m/bands/c.*"))
    files = sum((place / f"{band}.tif").stat().st_size for places in folders for place in places for band in BANDS)
    return shards / files


def pack_ratio(raw, work, folders, rounds):
    """Give the rate of packing by that of reading the files, in wall and in processor time (median)."""
    plain = plain_geotiff_reader(folders)
    target = work / "pack.zarr"
    ratios = []
    for _ in range(rounds):
        shutil.rmtree(target, ignore_errors=True)
        marks = [clocks()]
        make_archive(raw, target)
        marks.append(clocks())
        for index, places in enumerate(folders):
            for season in range(len(places)):
                plain.read(index, season)
        marks.append(clocks())
        packing, reading = np.diff(marks, axis=0)
        ratios.append(reading / packing)
    shutil.rmtree(target)
    wall, processor = np.median(ratios, axis=0).tolist()
    return wall, processor


def clocks():
    return time.perf_counter(), time.process_time()


OPEN = """
import json, sys, time
import psutil
from ssl4eo.archive.reader import open_archive
def resident():
    return psutil.Process().memory_info().rss / 1e6
before, started = resident(), time.perf_counter()
archive = open_archive(sys.argv[1])
seconds, grown = time.perf_counter() - started, resident() - before
archive.read_pixels(archive.modalities[0], index=0, season=0)
first = time.perf_counter() - started
archive.index_of(archive.ids[-1])
looked = time.perf_counter() - started
archive.read(archive.modalities[0], location=1, season=1)
print(json.dumps({
    "locations": len(archive), "open [s]": seconds, "open [MB]": grown, "open, first pixels [s]": first,
    "and look up an id [s]": looked, "and read metadata [s]": time.perf_counter() - started,
    "all that [MB]": resident() - before,
}))
"""


def measure_opening(path):
    """Open in a fresh process, three times; give the last."""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", OPEN, str(path)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def verdicts(readers, sizes, packing, opening):
    """Hold the measures against their floors: name, value, floor, whether more is better."""
    rows = (
        ("ours / 13 GeoTIFFs", ratio(readers, "ours", "13 GeoTIFFs, to 264 px"), 15, True),
        ("ours, fast / LMDB of uint8", ratio(readers, "ours, profile fast", "LMDB of uint8, 264 px"), 1.1, True),
        ("ours / pread and Blosc alone", ratio(readers, "ours", "pread and Blosc alone"), 0.8, True),
        ("10 m bands / all bands", ratio(readers, "ours, 10 m bands", "ours"), 1.25, True),
        ("size / LZW GeoTIFFs", sizes, 0.78, False),
        ("packing / reading the GeoTIFFs", packing, 0.5, True),
        ("opening 251,079 locations [s]", opening["open [s]"], 1, False),
        ("memory that opening takes [MB]", opening["open [MB]"], 200, False),
    )
    return [
        {"measure": name, "value": value, "floor": floor, "pass": value >= floor if more else value <= floor}
        for name, value, floor, more in rows
    ]


def show(readers, results, others):
    for reader in readers:
        rate, faults = statistics.median(reader.rates), statistics.median(reader.faults)
        print(f"{reader.name:<44}{rate:10.1f} season-images/s{faults:10.0f} page faults a call")
    for name, value in others.items():
        print(f"{name:<44}{value:10.3f}")
    for row in results:
        verdict = "PASS" if row["pass"] else "FAIL"
        print(f"{row['measure']:<44}{row['value']:10.3f}   floor {row['floor']:<6}{verdict}")


def versions():
    names = ("numcodecs", "rasterio", "lmdb", "torchgeo", "xarray", "opencv-python-headless")
    return {name: version(name) for name in names}


def warm(*folders):
    """Read every file once, and free a block so large that the allocator keeps smaller ones from then on.

    Without the second a process whose largest freed block was small gives buffers of megabytes back to the system
    each time: the LMDB reader then takes 1,700 page faults a call and is 10 times as slow. A training process has
    freed large blocks, so the kinder state is the one to compare with; it must not depend on what was just made.
    """
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                path.read_bytes()
    block = bytearray(31 * 2**20)  # glibc never raises its threshold above 32 MiB
    del block


def one_core():
    """Stay on one core, with one thread."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    blosc.use_threads = False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=12, help="a round")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    one_core()
    args.work.mkdir(parents=True, exist_ok=True)
    ids = list(open_source(args.raw).ids())
    folders = [sorted((args.raw / "s2c" / i).iterdir()) for i in ids]
    archive = made(args.work, "raw.zarr", lambda path: make_archive(args.raw, path))
    fast = made(args.work, "fast.zarr", lambda path: make_archive(args.raw, path, profile="fast"))
    planet = made(args.work, "planet.zarr", lambda path: make_planet(args.raw, path))
    readers = [
        geotiff_reader(args.raw, ids),
        plain_geotiff_reader(folders),
        torchgeo_reader(args.raw),
        *lmdb_readers(made(args.work, "uint8.lmdb", lambda path: make_lmdb(folders, path))),
        *zip_readers(made(args.work, "v2.zarr.zip", lambda path: make_zip(folders, path))),
        zarr_reader(archive),
        direct_reader(archive),
        *our_readers(archive, fast),
    ]
    check_pixels(readers, folders)
    warm(args.raw, args.work)
    race(readers, len(ids), args)
    packing, packing_processor = pack_ratio(args.raw, args.work, folders, 3)
    opening = measure_opening(planet)
    results = verdicts(readers, size_ratio(archive, folders), packing, opening)
    others = {
        "ours / LMDB of uint8": ratio(readers, "ours", "LMDB of uint8, 264 px"),
        "ours / LMDB as its transforms want it": ratio(readers, "ours", "LMDB of uint8, as its transforms want it"),
        "size of profile fast / LZW GeoTIFFs": size_ratio(fast, folders),
        "packing / reading, processor time": packing_processor,
        **opening,
    }
    show(readers, results, others)
    rates = {reader.name: statistics.median(reader.rates) for reader in readers}
    faults = {reader.name: statistics.median(reader.faults) for reader in readers}
    arguments = {"rounds": args.rounds, "images": args.images}
    record = {"rates": rates, "page_faults": faults, "verdicts": results, "others": others, "arguments": arguments}
    print(json.dumps(record | {"environment": environment() | versions()}))


if __name__ == "__main__":
    main()
