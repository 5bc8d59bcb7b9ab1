# SPDX-License-Identifier: Apache-2.0
"""A small archive whose texts are hostile, the gallery's server in a thread, plain web hosts: helpers of the tests."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import http.server
import shutil
import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn

from ssl4eo.archive import checksums
from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.form import Form
from ssl4eo.gallery.server import LOOPBACK, Opening, listen, make_app, url_of
from ssl4eo.sample import Image, Location, Provenance, Sample

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
PROVENANCE = Provenance(f"tiny {HOSTILE}", synthetic=True, licence="CC0-1.0", details={"seed": 7, HOSTILE: HOSTILE})
FORMS = (Form.native("S1GRD"), Form.native("S2L2A"))
SIZE = 24
SEASONS = 2
COUNT = 12
NOWHERE = "0000007"
"""A location without coordinates."""
INVALID = "0000003"
"""A location whose second S2L2A image is not valid."""


def make_image(form: Form, number: int, season: int) -> Image:
    rng = np.random.default_rng([number, season])
    pixels = {}
    for resolution, bands in form.groups:
        shape = (len(bands), SIZE * form.base // resolution, SIZE * form.base // resolution)
        values = rng.normal(-14, 3, shape) if form.dtype == "float32" else rng.gamma(4, 300, shape) + 1000
        pixels[resolution] = values.astype(form.dtype)
    return Image(
        form.modality,
        pixels,
        time=dt.datetime(2020, 1 + season * 6, 1 + number, 10, 30, tzinfo=dt.UTC),
        product=f"{form.modality}_{number}_{season}_{HOSTILE}",
        crs="EPSG:32633",
        transform=(10.0, 0.0, 500000.0 + number, 0.0, -10.0, 5000000.0 - number),
        baseline=400 if form.modality == "S2L2A" else None,
        offset=1000 if form.modality == "S2L2A" else 0,
        valid=not (number == int(INVALID) and season == 1 and form.modality == "S2L2A"),
    )


def make_sample(number: int) -> Sample:
    """Make a location; they lie on a line from South America to Asia, number 7 nowhere."""
    name = f"{number:07d}"
    place = Location(name) if name == NOWHERE else Location(name, -60.0 + 15 * number, -20.0 + 5 * number)
    images = {form.modality: tuple(make_image(form, number, s) for s in range(SEASONS)) for form in FORMS}
    labels = {
        "split": "train" if number % 3 else "test",
        "max_cloud_S2L2A": number / 20,
        "name": HOSTILE if number == 1 else f"place {number}",
    }
    return Sample(place, images, labels=labels)


def write_archive(path: Path, count: int = COUNT) -> Path:
    with ArchiveWriter(path, forms=FORMS, num_seasons=SEASONS, shape=(SIZE, SIZE), provenance=PROVENANCE) as writer:
        for number in range(count):
            writer.append(make_sample(number))
        writer.finish()
    return path


def damage_chunk(archive: Path, copy: Path) -> Path:
    """Copy an archive and damage the first chunk of S2L2A at 10 m: location 0000000, season 0."""
    shutil.copytree(archive, copy)
    shard = next((copy / "S2L2A/10m/bands").glob("c.*"))
    data = bytearray(shard.read_bytes())
    data[40] ^= 0xFF
    shard.write_bytes(data)
    return copy


@contextlib.contextmanager
def serving(opening: Opening, hosts: tuple[str, ...] | None = LOOPBACK) -> Generator[str]:
    """Run the gallery's server in a thread; give its address."""
    bound = listen("127.0.0.1", 0)
    app = make_app(opening, hosts=hosts)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield url_of(bound)
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def get(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask for a path exactly as it is spelled: no client cleans it."""
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=30)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def extend_table(archive: Path, **columns: pa.Array) -> None:
    """Give the location table columns as another writer might, and seal it."""
    path = archive / "locations.parquet"
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.append_column(name, values)
    pq.write_table(table, path)
    checksums.write(archive, checksums.load(archive))
