# SPDX-License-Identifier: Apache-2.0
"""Self-supervised learning for Earth observation, from places on Earth to downstream scores.

Importing this package loads no torch; names below are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from ssl4eo.archive.reader import Archive as Archive
    from ssl4eo.archive.reader import open_archive as open_archive
    from ssl4eo.checkpoints.load import load_backbone as load_backbone
    from ssl4eo.contract import Contract as Contract
    from ssl4eo.loading.dataset import ArchiveDataset as ArchiveDataset
    from ssl4eo.sample import Image as Image
    from ssl4eo.sample import Location as Location
    from ssl4eo.sample import Sample as Sample
    from ssl4eo.sample import Season as Season

_PUBLIC = {
    "Archive": "ssl4eo.archive.reader",
    "ArchiveDataset": "ssl4eo.loading.dataset",
    "Contract": "ssl4eo.contract",
    "Image": "ssl4eo.sample",
    "Location": "ssl4eo.sample",
    "Sample": "ssl4eo.sample",
    "Season": "ssl4eo.sample",
    "load_backbone": "ssl4eo.checkpoints.load",
    "open_archive": "ssl4eo.archive.reader",
}

__all__ = [
    "Archive",
    "ArchiveDataset",
    "Contract",
    "Image",
    "Location",
    "Sample",
    "Season",
    "__version__",
    "load_backbone",
    "open_archive",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
