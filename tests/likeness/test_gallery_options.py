# SPDX-License-Identifier: Apache-2.0
"""Options of `ssl4eo gallery` that go with embeddings, and those that a server has no use for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_embeddings import make_embeddings

from ssl4eo.cli import main
from ssl4eo.commands import gallery


@pytest.fixture
def served(monkeypatch) -> list[object]:
    """What would have been served."""
    apps: list[object] = []

    def serve(app, bound) -> None:
        apps.append(app)
        bound.close()

    monkeypatch.setattr(gallery, "serve_app", serve)
    return apps


def test_a_broken_archive_is_served_with_embeddings_too(tmp_path: Path, served, caplog) -> None:
    """Its page says what is wrong, as it does without them."""
    (tmp_path / "bad.zarr").mkdir()
    (tmp_path / "bad.zarr/zarr.json").write_text("{", encoding="utf-8")
    path = make_embeddings(tmp_path / "e.parquet", np.eye(2, dtype=np.float32)).path

    status = main(["gallery", str(tmp_path / "bad.zarr"), "--serve", "--port", "0", "--embeddings", str(path)])

    assert (status, len(served)) == (0, 1)
    assert "the page tells the same until it is mended" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--embeddings", "a.parquet", "b.parquet", "c.parquet"], "one or two different files"),
        (["--embeddings", "a.parquet", "./a.parquet"], "one or two different files"),
        (["--workers", "3"], "--workers with --serve"),
        (["--json"], "--json with --serve"),
    ],
)
def test_options_that_would_be_ignored_are_refused(tmp_path: Path, served, capsys, options, words) -> None:
    """With status 2, and nothing is served."""
    (tmp_path / "a.zarr").mkdir()

    assert main(["gallery", str(tmp_path / "a.zarr"), "--serve", "--port", "0", *options]) == 2

    assert words in capsys.readouterr().err
    assert served == []
