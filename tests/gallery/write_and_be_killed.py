# SPDX-License-Identifier: Apache-2.0
"""Writes a site and kills itself with SIGKILL after some locations: python write_and_be_killed.py ARCHIVE OUT COUNT."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ssl4eo.archive.reader import open_archive
from ssl4eo.gallery import write
from ssl4eo.gallery.site import Offer

archive, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
written = 0
write_file = write._write


def write_and_count(path: Path, content: bytes) -> None:
    global written  # noqa: PLW0603
    write_file(path, content)
    written += path.suffix == ".webp"
    if written > count:
        os.kill(os.getpid(), signal.SIGKILL)


write._write = write_and_count
write.write_site(open_archive(archive), out, offer=Offer(("true-color",), ("fixed",)))
