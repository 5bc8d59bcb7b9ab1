# SPDX-License-Identifier: Apache-2.0
"""Published weights on this disk: one folder, found by name, fetched when they are not there.

A file lies in the folder under the name of its card (`ssl4eo checkpoints show NAME`), whoever put it there; one that
was placed by hand is as good as one that was downloaded, and is held against the same hash. Files from other
addresses lie in `urls/`. What is in the files is not looked at here; how they come is in `fetching.py`, which is
loaded when something is fetched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ssl4eo.checkpoints.card import Card, Holds, WeightFile
from ssl4eo.errors import ConfigInvalid, unknown_name

if TYPE_CHECKING:
    from ssl4eo.checkpoints.fetching import Bases
    from ssl4eo.download import Client

CACHE_VARIABLE = "SSL4EO_CACHE"
OFFLINE_VARIABLE = "SSL4EO_OFFLINE"

Progress = Callable[[int, int], None]
"""Called with the bytes on disk and the bytes in all, as far as known."""


def cache_folder() -> Path:
    """Give the folder of fetched weights: $SSL4EO_CACHE/checkpoints, by default ~/.cache/ssl4eo/checkpoints.

    In place of ~/.cache stands XDG_CACHE_HOME where that is set. Whether it can be used shows when it is used.

    Raises:
        ConfigInvalid: it is said to be in the home of somebody who has none.
    """
    ours = os.environ.get(CACHE_VARIABLE)
    try:
        if ours:
            return Path(ours).expanduser() / "checkpoints"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssl4eo" / "checkpoints"
    except RuntimeError as error:  # pathlib's, where there is no such home
        raise ConfigInvalid(
            f"no home is known for the cache ({CACHE_VARIABLE} is {ours!r})" if ours else "no home is known",
            expected="a folder for fetched weights",
            remedy=f"set {CACHE_VARIABLE} to one",
        ) from error


def cached_path(file: WeightFile, folder: Path | None = None) -> Path:
    """Give the place of a file in the cache, whether it is there or not."""
    return (cache_folder() if folder is None else folder) / file.name


def cached(file: WeightFile, folder: Path | None = None) -> Path | None:
    """Give the place of a file that is in the cache; None if it is not, or nobody may look there."""
    path = cached_path(file, folder)
    try:
        return path if path.is_file() else None
    except OSError:
        return None


def is_offline(offline: bool | None = None) -> bool:
    """Say whether nothing may be fetched: as an argument says, else SSL4EO_OFFLINE (1, or anything but 0)."""
    return os.environ.get(OFFLINE_VARIABLE, "0") not in ("", "0") if offline is None else offline


def fetch_weights(
    card: Card,
    *,
    holds: Holds = "backbone",
    offline: bool | None = None,
    client: Client | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    bases: Bases | None = None,
) -> Path:
    """Give a published file of a checkpoint, from the cache or else from the first host that has it.

    Args:
        card: of which checkpoint.
        holds: backbone: whatever file of the cache has it, a full checkpoint too; where no backbone alone is
            published, the full checkpoint is fetched. full, log: just that.
        offline: fetch nothing; None: as SSL4EO_OFFLINE says.
        client: connections and patience; None: the default.
        folder: cache; None: `cache_folder()`.
        progress: told about bytes.
        bases: addresses of the hosts; None: the real ones, or those of the environment.

    Raises:
        UnknownName: nothing of the kind is published.
        ConfigInvalid: HF_ENDPOINT or SSL4EO_CACHE has a value without a meaning.
        DataMissing: it is not there, and nothing may be fetched; says where a file placed by hand is found.
        DownloadFailed: no host gives it; what came so far is kept.
        ChecksumMismatch: its SHA-256 is not the published one.
        SourceInvalid: it is a web page, or has another size than is published.
        Busy: another process fetches it.
        WriteFailed: the disk is full or refuses, or the cache cannot be used.
    """
    files = card.holding(holds)
    if not files:
        raise unknown_name(f"file of {card.name}", holds, dict.fromkeys(file.holds for file in card.files))
    from ssl4eo.checkpoints import fetching

    folder = cache_folder() if folder is None else folder
    for file in files:
        if (path := cached(file, folder)) is not None:
            fetching.require_genuine(path, file)
            return path
    fetching.require_folder(folder)
    alike = [file for file in files if file.holds == files[0].holds]
    if is_offline(offline):
        raise fetching.not_there(f"{card.name} ({holds})", cached_path(alike[0], folder), alike[0].url)
    return fetching.fetch_first(
        alike, folder, client=client, progress=progress, bases=bases or fetching.Bases.from_environment()
    )


def fetch_url(
    url: str,
    *,
    sha256_start: str = "",
    offline: bool | None = None,
    client: Client | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Give a file by its address, from the cache or from its server; what is in the cache is not asked for again.

    Args:
        url: https://...; http only of this very machine.
        sha256_start: first hexadecimal digits that its SHA-256 must have, up to 64; empty: not checked.
        offline: fetch nothing; None: as SSL4EO_OFFLINE says.
        client: connections and patience; None: the default.
        folder: cache; None: `cache_folder()`.
        progress: told about bytes.

    Raises:
        ConfigInvalid: another kind of address, or digits that are none.
        DataMissing, DownloadFailed, ChecksumMismatch, SourceInvalid, Busy, WriteFailed: as `fetch_weights`.
    """
    from ssl4eo.checkpoints import fetching

    folder = cache_folder() if folder is None else folder
    file = fetching.file_at(url, sha256_start)
    if (path := cached(file, folder)) is not None:
        fetching.require_genuine(path, file)
        return path
    fetching.require_folder(folder)
    if is_offline(offline):
        raise fetching.not_there(url, cached_path(file, folder), url)
    return fetching.fetch_first([file], folder, client=client, progress=progress, bases=fetching.Bases())
