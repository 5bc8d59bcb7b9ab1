# SPDX-License-Identifier: Apache-2.0
"""A small archive, to be read and to be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from archive_samples import make_sample, write_archive


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 3 locations with a mask, not to be changed."""
    samples = [make_sample(i, masks=["cover"]) for i in range(3)]
    return write_archive(tmp_path_factory.mktemp("pristine") / "a.zarr", samples, masks=["cover"])


@pytest.fixture
def archive_copy(pristine: Path, tmp_path: Path) -> Path:
    """The same archive, to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "copy.zarr"))
