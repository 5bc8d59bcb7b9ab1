# SPDX-License-Identifier: Apache-2.0
"""What GDAL does not call an error: parts of a file that could not be read, or were never written.

Readers of GeoTIFFs watch its log while a file is open and look at blank blocks, so that zeros never stand in for
pixels that are not there.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Losses(logging.Filter):
    """Collects those messages of GDAL that tell of something in a file that could not be read."""

    _TOLD_BY = ("io error", "premature end", "corrupt", "bogus")

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the message; it goes on to the error instead of the log."""
        is_loss = any(words in record.getMessage().lower() for words in self._TOLD_BY)
        if is_loss:
            self.messages.append(record.getMessage())
        return not is_loss


@contextlib.contextmanager
def watch_losses() -> Generator[list[str]]:
    """Watch GDAL's log: lost tags and JPEG data that end early inside a TIFF are warnings to it, not errors."""
    watch = _Losses()
    loggers = [logging.getLogger(name) for name in ("rasterio._env", "rasterio._err")]
    # Setting a level empties the caches of all loggers, so it is done only where the user has silenced warnings.
    silenced = [(logger, logger.level) for logger in loggers if not logger.isEnabledFor(logging.WARNING)]
    for logger in loggers:
        logger.addFilter(watch)
    for logger, _ in silenced:
        logger.setLevel(logging.WARNING)
    try:
        yield watch.messages
    finally:
        for logger, level in silenced:
            logger.setLevel(level)
        for logger in loggers:
            logger.removeFilter(watch)


def require_all_blocks(file: Any, pixels: NDArray[np.generic]) -> None:
    """Raise where a block was never written, as a killed writer leaves it: GDAL gives it as zeros.

    Args:
        file: an open GeoTIFF.
        pixels: all that it holds (band, y, x).

    Raises:
        OSError: a block is not there.
    """
    if (pixels != 0).all():  # compared first: reduced as they are, NaN of damaged files would warn
        return  # a block that is not there would be zeros
    for (row, column), window in file.block_windows(1):
        blank = (pixels[:, *window.toslices()] == 0).all(axis=(1, 2))
        for index in np.flatnonzero(blank):
            if file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=int(index) + 1) is None:
                raise OSError(f"block {row}, {column} of band {index + 1} was never written")
