# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo download`: what is published, into a folder or straight into an archive."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from ssl4eo.download import (
    DATASETS,
    Client,
    Dataset,
    Fetched,
    FileEntry,
    Plan,
    archives_of,
    download,
    extract,
    find_dataset,
    plan,
    resolve,
)
from ssl4eo.errors import ConfigInvalid
from ssl4eo.progress import byte_bar, progress_bar


def run(  # noqa: PLR0913 - each is an option of the command line
    name: str | None = None,
    *,
    out: Path | None = None,
    into: Path | None = None,
    only: tuple[str, ...] = (),
    list: bool = False,  # noqa: A002 - the option is called --list
    dry_run: bool = False,
    extract: bool = False,
    jobs: int = 4,
    workers: int = 1,
    errors: Literal["skip", "raise"] = "skip",
    nodata: Literal["skip", "flag"] = "skip",
    profile: Literal["fast", "default", "compact"] = "default",
    json: bool = False,
) -> int:
    """Download a published data set or benchmark; run again after an interruption and it goes on.

    Args:
        name: what to download, a name of --list
        out: folder to download into; a file appears there when it is whole and its checksum holds
        into: archive to make instead, of one modality of raw; its tar is packed as it comes and never lies on disk
        only: parts to take: a modality or split (see --list), or a pattern of file names
        list: say what there is, with size and license; with a name, its files that the table knows
        dry_run: say what would be fetched and how many bytes are to come
        extract: unpack tar and zip files beside them afterwards; they stay
        jobs: files at a time, with --out
        workers: with --into, processes to pack in
        errors: with --into, what a broken location does; skip leaves it out and notes why in the archive, raise stops
        nodata: with --into, what a location with unobserved pixels does; skip leaves it out, flag keeps it and marks
            its image as not valid
        profile: with --into, how hard to compress; all are lossless
        json: print the result as JSON

    Returns:
        Exit status 0.
    """
    if list:
        _show_list(None if name is None else find_dataset(name), json=json)
        return 0
    if name is None:
        raise ConfigInvalid("no name is given", expected="one of `ssl4eo download --list`")
    dataset = find_dataset(name)
    client = Client(connections=max(16, jobs))
    if into is not None:
        entries = _one_tar(dataset, client, only, is_alone=out is None and not extract)
        if dry_run:
            _show_plan(plan(entries, None, client), json=json, is_kept=False)
            return 0
        from ssl4eo.commands.download_into import run_into

        run_into(
            entries, into, client=client, workers=workers, errors=errors, nodata=nodata, profile=profile, json=json
        )
        return 0
    if (workers, errors, nodata, profile) != (1, "skip", "skip", "default"):
        raise ConfigInvalid("options of packing are given", expected="--into ARCHIVE with them")
    if out is None and not dry_run:
        raise ConfigInvalid("no folder is given", expected="--out DIR, or --into ARCHIVE")
    entries = resolve(dataset, client, only=only)
    if dry_run or out is None:
        _show_plan(plan(entries, out, client), json=json)
        return 0
    if extract:
        _require_whole_archives(entries, dataset)
    with byte_bar(f"downloading {name}") as progress:
        fetched = download(entries, out, client=client, jobs=jobs, progress=progress)
    unpacked = _extract_all(entries, out) if extract else ()
    _show_fetched(fetched, unpacked, json=json)
    return 0


def _one_tar(dataset: Dataset, client: Client, only: Sequence[str], *, is_alone: bool) -> tuple[FileEntry, ...]:
    """Give the parts of the one tar that goes into an archive.

    Raises:
        ConfigInvalid: --out or --extract is given too, nothing of this data set can be packed as it comes, or other
            than one whole tar is chosen.
        DownloadFailed, UnknownName: as `resolve`.
    """
    if not is_alone:
        raise ConfigInvalid("--into together with --out or --extract", expected="one or the other")
    if not dataset.layout and not dataset.manual:
        able = ", ".join(d.name for d in DATASETS.values() if d.layout)
        raise ConfigInvalid(
            f"{dataset.name} cannot be packed as it comes",
            expected=f"{able} with --into",
            remedy=f"ssl4eo download {dataset.name} --out DIR --extract, then ssl4eo pack DIR ARCHIVE",
        )
    entries = resolve(dataset, client, only=only)
    tars = archives_of(entries)
    if len(tars) != 1:
        raise ConfigInvalid(
            f"{len(tars)} modalities are chosen ({', '.join(dict.fromkeys(entry.subset for entry in entries))})",
            expected="one for an archive",
            remedy=f"choose one, as in --only {entries[0].subset}; archives of several are joined afterwards: "
            "ssl4eo pack s1.zarr s2c.zarr OUT",
        )
    _require_whole_archives(entries, dataset)
    return entries


def _require_whole_archives(entries: Sequence[FileEntry], dataset: Dataset) -> None:
    """Raise if only some parts of an archive are chosen.

    Raises:
        ConfigInvalid: they are.
    """
    for archive, parts in archives_of(dataset.files).items():
        chosen = sum(entry.archive == archive for entry in entries)
        if 0 < chosen < len(parts):
            raise ConfigInvalid(
                f"{chosen} of the {len(parts)} parts of {archive} are chosen",
                expected="all of them with --extract or --into",
                remedy=f"choose it by its subset: --only {parts[0].subset}",
            )


def _extract_all(entries: Sequence[FileEntry], out: Path) -> tuple[Path, ...]:
    unpacked: tuple[Path, ...] = ()
    for archive, parts in archives_of(entries).items():
        with progress_bar(f"unpacking {archive}") as progress:
            unpacked += (extract(archive, [out / part.name for part in parts], out, progress=progress),)
    return unpacked


def _show_list(dataset: Dataset | None, *, json: bool) -> None:
    """Print the table, or one line of it with its files."""
    if json:
        rows = [_describe(d, files=dataset is not None) for d in ([dataset] if dataset else DATASETS.values())]
        sys.stdout.write(dumps(rows, indent=2) + "\n")
        return
    console = Console(soft_wrap=True)
    for shown in [dataset] if dataset else DATASETS.values():
        console.print(escape(f"{shown.name}: {shown.title}"), highlight=False)
        facts = [shown.about_size or "size not told", f"license {shown.license}", shown.page]
        console.print(escape("    " + " | ".join(facts)), highlight=False)
        if shown.subsets:
            console.print(escape(f"    parts: {', '.join(shown.subsets)}"), highlight=False)
        if shown.manual:
            console.print(escape(f"    by hand: {shown.manual}"), highlight=False)
        if shown.unverified:
            console.print(escape(f"    not verified: {shown.unverified}"), highlight=False)
    for entry in dataset.files if dataset else ():
        size = "size not told" if entry.size is None else f"{entry.size} bytes"
        note = f" | not verified: {entry.unverified}" if entry.unverified else ""
        console.print(escape(f"{entry.name} | {size} | {entry.checksum or 'no checksum'}{note}"), highlight=False)


def _describe(dataset: Dataset, *, files: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": dataset.name,
        "title": dataset.title,
        "license": dataset.license,
        "page": dataset.page,
        "about_size": dataset.about_size,
        "subsets": dataset.subsets,
        "manual": dataset.manual or None,
        "unverified": dataset.unverified or None,
        "num_files": len(dataset.files) if dataset.files else None,
    }
    return row | {"files": [_describe_file(entry) for entry in dataset.files]} if files else row


def _describe_file(entry: FileEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "url": entry.url,
        "size": entry.size,
        "checksum": None if entry.checksum is None else str(entry.checksum),
        "subset": entry.subset or None,
        "unverified": entry.unverified or None,
    }


def _show_plan(planned: Plan, *, json: bool, is_kept: bool = True) -> None:
    """Print what would be fetched, and whether it stays on disk."""
    if json:
        files = [
            _describe_file(file.entry) | {"complete": file.complete, "have": file.have, "to_come": file.to_come}
            for file in planned.files
        ]
        totals = {"bytes_to_come": planned.bytes_to_come, "files_of_unknown_size": planned.num_unknown}
        totals |= {} if is_kept else {"bytes_kept_on_disk": 0}
        sys.stdout.write(dumps(totals | {"files": files}, indent=2) + "\n")
        return
    console = Console(soft_wrap=True)
    for file in planned.files:
        state = "complete" if file.complete else f"{'?' if file.to_come is None else file.to_come} bytes to come"
        console.print(escape(f"{file.entry.name}: {state}"), highlight=False)
    more = f", and {planned.num_unknown} files of unknown size" if planned.num_unknown else ""
    kept = "" if is_kept else "; none of them stays on disk, only the archive that is made of them"
    console.print(f"{len(planned.files)} files, {planned.bytes_to_come} bytes to come{more}{kept}", highlight=False)


def _show_fetched(fetched: Sequence[Fetched], unpacked: Sequence[Path], *, json: bool) -> None:
    """Print what has come."""
    if json:
        files = [
            {"path": str(f.path), "size": f.size, "verified": f.verified, "fetched": f.num_fetched} for f in fetched
        ]
        sys.stdout.write(dumps({"files": files, "unpacked": [str(path) for path in unpacked]}, indent=2) + "\n")
        return
    console = Console(soft_wrap=True)
    size, came = sum(f.size for f in fetched), sum(f.num_fetched for f in fetched)
    console.print(f"{len(fetched)} files, {size} bytes, {came} of them fetched now", highlight=False)
    if unchecked := sum(not f.verified for f in fetched):
        console.print(f"{unchecked} have no published checksum: their length was checked only", highlight=False)
    for path in unpacked:
        console.print(f"unpacked {escape(str(path))}", highlight=False)
