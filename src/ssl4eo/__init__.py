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
    from ssl4eo.embedding.embed import embed_archive as embed_archive
    from ssl4eo.likeness.embeddings import Embeddings as Embeddings
    from ssl4eo.likeness.embeddings import open_embeddings as open_embeddings
    from ssl4eo.likeness.search import Likeness as Likeness
    from ssl4eo.loading.dataset import ArchiveDataset as ArchiveDataset
    from ssl4eo.sample import Image as Image
    from ssl4eo.sample import Location as Location
    from ssl4eo.sample import Sample as Sample
    from ssl4eo.sample import Season as Season

_PUBLIC = {
    "Archive": "ssl4eo.archive.reader",
    "ArchiveDataset": "ssl4eo.loading.dataset",
    "Contract": "ssl4eo.contract",
    "Embeddings": "ssl4eo.likeness.embeddings",
    "Image": "ssl4eo.sample",
    "Likeness": "ssl4eo.likeness.search",
    "Location": "ssl4eo.sample",
    "Sample": "ssl4eo.sample",
    "Season": "ssl4eo.sample",
    "embed_archive": "ssl4eo.embedding.embed",
    "load_backbone": "ssl4eo.checkpoints.load",
    "open_archive": "ssl4eo.archive.reader",
    "open_embeddings": "ssl4eo.likeness.embeddings",
}

__all__ = [
    "Archive",
    "ArchiveDataset",
    "Contract",
    "Embeddings",
    "Image",
    "Likeness",
    "Location",
    "Sample",
    "Season",
    "__version__",
    "embed_archive",
    "load_backbone",
    "open_archive",
    "open_embeddings",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
