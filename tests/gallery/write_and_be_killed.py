# SPDX-License-Identifier: Apache-2.0
"""Writes a site and kills itself with SIGKILL after some pictures: python write_and_be_killed.py ARCHIVE OUT COUNT."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ssl4eo.archive.reader import open_archive
from ssl4eo.gallery import write
from ssl4eo.gallery.site import Offer


def main(archive: Path, out: Path, count: int) -> None:
    """Write until `count` pictures are written."""
    write_file, written = write._write, []

    def write_and_count(path: Path, content: bytes) -> None:
        write_file(path, content)
        written.extend([path] * (path.suffix == ".webp"))
        if len(written) > count:
            os.kill(os.getpid(), signal.SIGKILL)

    write._write = write_and_count
    write.write_site(open_archive(archive), out, offer=Offer(("true-color",), ("fixed",)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
