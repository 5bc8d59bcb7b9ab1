# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a loading process is told as in the run's own, and the run ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from forked import run_forked
from ssl4eo.contract import stored
from ssl4eo.errors import OutOfMemory, SampleInvalid, Ssl4eoError, WorkerLost
from ssl4eo.form import Form
from ssl4eo.loading.batches import ViewDataset
from ssl4eo.loading.loader import make_loader
from ssl4eo.loading.sampler import Order, ResumableBatches
from ssl4eo.recipes.views import published_view
from ssl4eo.views.config import PairConfig

KEPT = []
"""Errors that somebody holds, and with them the frames that hold the loader."""


OTHERS = {
    "no bands": lambda values: {},
    "strip": lambda values: {10: values[:, :16]},
    "no pixel": lambda values: {10: values[:, :0, :0]},
    "floats": lambda values: {10: values.astype(np.float64)},
    "a list": lambda values: {10: values.tolist()},
    "none": lambda values: None,
}
"""What a source may give in place of pixels."""


class Failing:
    """Pictures of which number 5 fails in one way or another."""

    title, synthetic, num_seasons, identity = "failing", True, 1, "a"
    contract, form = stored("S2RGB"), Form.native("S2RGB")

    def __init__(self, how):
        """Say how."""
        self.how = how

    def __len__(self):
        """Count them."""
        return 8

    def id_of(self, index):
        """Name one."""
        return f"failing-{index}"

    def pixels(self, index, season, *, resolutions=None):
        """Give one, or fail."""
        values = np.full((3, 32, 32), 7, np.uint8)
        if index == 5 and self.how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 5 and self.how == "raises":
            raise OSError("the disk is gone")
        if index == 5 and self.how == "raises two lines":
            raise OSError("the disk is gone:\n  no such device")
        if index == 5 and self.how == "needs too much":
            raise MemoryError("Unable to allocate 1. TiB for an array")
        if index == 5 and self.how == "exits":
            sys.exit(3)
        if index == 5 and self.how == "exits at once":
            os._exit(3)
        if index == 5 and self.how == "ours":
            raise SampleInvalid("wrong", expected="right", remedy="mend it", location="5")
        if index == 5 and self.how in OTHERS:
            return OTHERS[self.how](values)
        return {10: values[:1] if index == 5 and self.how == "too few bands" else values * (self.how != "blank")}


def load(how, *, num_workers, size=32):
    """Load an epoch of views of this size; give the error."""
    source = Failing(how)
    data = ViewDataset(source, PairConfig("fixed", published_view(size)), contract=source.contract, seed=0)
    order = ResumableBatches(Order(8, 4, 0), first_step=0, num_steps=2)
    try:
        for _ in make_loader(data, order, num_workers=num_workers, pin=False):
            pass
    except Ssl4eoError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raises", "failing-5 at season 0: OSError: the disk is gone (in pixels, "),
        (
            "too few bands",
            "failing-5 at season 0 has values (1, 32, 32) at 10 m; expected (3, y, x) of B04, B03, B02, ",
        ),
        ("strip", "failing-5 at season 0 has values (3, 16, 32) at 10 m; expected (3, y, x) of B04, B03, B02, finite"),
        ("no pixel", "failing-5 at season 0 has values (3, 0, 0) at 10 m"),
        ("floats", "failing-5 at season 0 has float64 values at 10 m; expected (3, y, x) of B04, B03, B02, finite and"),
        ("a list", "failing-5 at season 0 has a list in place of an array at 10 m"),
        ("none", "failing-5 at season 0 has a NoneType in place of arrays by resolution at 10 m"),
        ("raises two lines", "failing-5 at season 0: OSError: the disk is gone: no such device (in pixels, "),
        ("no bands", "failing-5 at season 0 has nothing at 10 m; expected (3, y, x) of B04, B03, B02"),
        ("ours", "wrong; expected right: mend it"),
        ("blank", "shows nothing but zeros in every band"),
    ],
)
def test_an_error_is_the_same_from_a_worker(how, told):
    """One line that names the location, as without workers; no traceback of another process in it."""
    here, there = (load(how, num_workers=n) for n in (0, 2))

    assert told in str(here)
    assert str(there) == str(here)
    assert "\n" not in str(there)
    assert (type(there), there.where) == (SampleInvalid, here.where)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_want_of_memory_in_a_source_is_told_with_what_takes_less(num_workers):
    """Nothing is wrong with the source."""
    error = load("needs too much", num_workers=num_workers)

    assert isinstance(error, OutOfMemory)
    assert str(error).startswith(
        "no memory for failing-5 at season 0: Unable to allocate 1. TiB for an array (in pixels"
    )
    assert str(error).endswith(": use fewer --engine.num_workers or a smaller --engine.batch_size")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_source_that_exits_is_told(num_workers):
    """It would do so in a resumed run too, and without workers end it without a word."""
    error = load("exits", num_workers=num_workers)

    assert isinstance(error, SampleInvalid)
    assert re.match(r"the source or a view called sys\.exit\(3\) at (failing-\d, )*failing-\d; expected", str(error))
    assert "failing-5" in str(error)
    assert "resume" not in str(error)


def test_a_process_that_ends_by_itself_is_told_without_torchs_advice():
    """Resuming brings the run to the same place."""
    error = load("exits at once", num_workers=2)

    assert isinstance(error, WorkerLost)
    assert re.match(r"a loading process exited unexpectedly with exit code 3 while it read failing-5; exp", str(error))
    assert "num_workers" not in str(error)
    assert "would come to the same place" in str(error)


def test_where_an_error_came_from_is_kept():
    """In this process the first error is the cause; every one of them travels."""
    error = load("raises", num_workers=0)

    assert isinstance(error.__cause__, OSError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def fail_and_end(how):
    """Be a command that fails and ends while somebody holds the error."""
    error = load(how, num_workers=2)
    KEPT.append(error)
    sys.stderr.write(f"{type(error).__name__}: {error}")
    return 1


@pytest.mark.parametrize(("how", "kind"), [("dies", WorkerLost), ("raises", SampleInvalid), ("ours", SampleInvalid)])
def test_a_process_whose_workers_failed_ends(how, kind, tmp_path):
    """Workers leave the first SIGTERM to the run: Python, which sends one at its end, would wait for them for ever."""
    done = run_forked(fail_and_end, how, folder=tmp_path)

    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(kind.__name__)


def load_in_a_small_room():
    """Load where shared memory has one megabyte, as in a container: 77 where that cannot be had."""
    own = ctypes.CDLL(None).unshare(0x00020000)  # CLONE_NEWNS: what is mounted is seen by this process and its workers
    mount = "mount --make-rprivate / && mount -t tmpfs -o size=1m tmpfs /dev/shm"
    if own != 0 or subprocess.run(mount, shell=True, check=False, capture_output=True).returncode:
        return 77
    multiprocessing.set_start_method("fork", force=True)  # a fork server has a socket in a folder that may be hidden
    error = load("well", num_workers=2, size=256)
    sys.stderr.write(f"{type(error).__name__}: {error}")
    return 1


@pytest.mark.skipif(sys.platform != "linux", reason="the folder is Linux's")
def test_too_little_shared_memory_is_told_with_the_remedy(tmp_path):
    """Containers have 64 MB of it where nobody asks for more; the run fails with a line, and needs no workers."""
    done = run_forked(load_in_a_small_room, folder=tmp_path)

    if done.returncode == 77:
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 1, done.stderr
    assert "\n" not in done.stderr
    assert done.stderr.startswith("OutOfMemory: no shared memory for a batch of 1 MB: ")
    assert "of 1 MB are free in /dev/shm; expected room for " in done.stderr
    assert "--ipc=host" in done.stderr
