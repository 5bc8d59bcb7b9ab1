# SPDX-License-Identifier: Apache-2.0
"""Which pixels a run trains on, and what it is judged by in passing.

Data with labels and a named split lend only their training part: the test part is never trained on, and
the online reading uses the validation part. Data without labels are used whole.
"""

from __future__ import annotations

import functools
import logging
import os
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.id_list import match_ids, read_ids
from ssl4eo.archive.reader import open_archive
from ssl4eo.contract import InputContract, plan_remap, stored
from ssl4eo.errors import (
    ConfigInvalid,
    ContractMismatch,
    DataMissing,
    LocationMissing,
    SampleInvalid,
    SourceInvalid,
    shown,
    unknown_name,
)
from ssl4eo.evaluation.features import Precision
from ssl4eo.evaluation.online import OnlineProbe
from ssl4eo.evaluation.tasks import eurosat, synthetic
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.evaluation.tasks.task import Task
from ssl4eo.loading.folder import SPLITS, SUFFIXES, FolderPixels, ImageFolder
from ssl4eo.loading.pixels import ArchivePixels, PixelSource
from ssl4eo.pretraining.inputs import look_at_inputs, require_bands

log = logging.getLogger(__name__)

WHOLE = "none"
"""Name of the split that trains on everything."""

_TIF = (".tif", ".tiff")

NUM_NAMED = 5
"""Images that a refusal names."""

_TAKE_THEM_OUT = "list the other pictures for --ids, or take these out of the folder"
_NAME_OTHERS = "train on the other locations: `ssl4eo info {0} --ids observed > ids.txt`, then --ids ids.txt"


Judge = Callable[[Task], OnlineProbe | None]
"""Makes the online reading of a task, None where it has too few items."""

Opened = tuple[PixelSource, Callable[[], Task] | None]
"""What to train on, and what opens the task of its labels, if there is one."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Pixels to train on, and a judge where there are labels."""

    source: PixelSource
    probe: OnlineProbe | None


def open_training_data(
    path: Path,
    *,
    contract: InputContract,
    split: str = "reference",
    ids: Path | None = None,
    precision: Precision = "32",
    linear: bool = True,
    skip_damaged: bool = False,
) -> TrainingData:
    """Open an archive or a folder of pictures for training.

    Args:
        path: of the data.
        contract: what the network is fed; decides the modality that is read.
        split: whose training and validation parts are trained on where the data have labels; `none` trains on all.
        ids: file with the ids of the locations to train on, one a line (of pictures: paths below the folder, or as
            `find` prints them); of those that the split lends where there are labels. None for all.
        precision: of the online reading.
        linear: fit a linear probe at each online reading, beside k-NN.
        skip_damaged: the run will replace images that cannot be read; those met here are no reason to stop.

    Raises:
        DataMissing: nothing there.
        ArchiveInvalid, SourceInvalid: data that cannot be read, or images that are no squares.
        ContractMismatch: an archive without the modality or bands, pictures for a network of other bands, or values
            that are one and the same once they are scaled.
        UnknownName: no such split.
        SampleInvalid: images of nothing but zeros.
        LocationMissing: `ids` names others than there are.
        ShardCorrupt: an image looked at cannot be read, or none can.
    """
    source, task = _open(path, contract, split, ids)
    if isinstance(source, FolderPixels):
        source.load()
        blank = source.blank()
        _require_whole(source, skip_damaged=skip_damaged)
        _require_shown(source, blank)
    look_at_inputs(source, contract, skip_damaged=skip_damaged)
    judge = functools.partial(_judge, precision=precision, linear=linear)
    return TrainingData(source, None if task is None else _judged(task, judge, skip_damaged=skip_damaged))


def open_pixels(
    path: Path, *, contract: InputContract, split: str = "reference", ids: Path | None = None
) -> PixelSource:
    """Open what `open_training_data` opens to look at a few items: no judge, nothing loaded beforehand.

    Raises: as `open_training_data`.
    """
    source, _ = _open(path, contract, split, ids)
    if isinstance(source, FolderPixels):
        return FolderPixels(source.folder, indices=source.indices, in_memory=False, replaceable=True)
    return source


def is_archive(path: Path) -> bool:
    """Say whether this is an archive, or means to be one, and no folder of pictures."""
    return (path / "zarr.json").is_file() or path.suffix == ".zarr"


def _open(path: Path, contract: InputContract, split: str, ids: Path | None) -> Opened:
    if not path.exists():
        raise DataMissing(f"no data at {path}", expected="an archive or a folder of class folders", path=str(path))
    return (_archive if is_archive(path) else _folder)(path, contract, split, ids)


def _archive(path: Path, contract: InputContract, split: str, ids: Path | None) -> Opened:
    archive = open_archive(path)
    missing = [part.modality for part in contract.parts if part.modality not in archive.modalities]
    if missing:
        raise ContractMismatch(
            f"{path} holds {', '.join(archive.modalities)}, not {' and '.join(missing)}",
            expected=contract.modality,
            remedy="choose a recipe for what it holds, or pack what is missing too",
            path=str(path),
        )
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    _require_square(path, archive.shape)
    require_bands(ArchivePixels(path, contract.modality).contract, contract)
    chosen = None if ids is None else _chosen(read_ids(ids), archive.ids, ids=ids, path=path)
    if synthetic.COLUMN not in archive.columns or split == WHOLE:
        return _shown(ArchivePixels(path, contract.modality, indices=chosen)), None
    try:
        task = open_task(synthetic.NAME, path, contract=contract, split=split)
    except SourceInvalid as error:
        error.remedy = f"{error.remedy}, or train on all of it without readings in passing (--split none)"
        raise
    lent = _both(_learnable(task), chosen, ids)
    return _shown(ArchivePixels(path, contract.modality, indices=lent)), lambda: task


def _chosen(names: Iterable[str], held: Sequence[str], *, ids: Path, path: Path) -> NDArray[np.int64]:
    """Give the positions of the ids that a file lists, each once and in the order of the data.

    Args:
        names: the ids.
        held: those of the data, in order.
        ids: the file.
        path: of the data.

    Raises:
        LocationMissing: some are not there: whoever lists them means to train on them.
        ConfigInvalid: there are none.
    """
    positions = {name: position for position, name in enumerate(held)}
    names = match_ids(names, positions)
    if missing := [name for name in names if name not in positions]:
        only_some = len(missing) < len(names)
        raise LocationMissing(
            f"{path} lacks {len(missing)} of the {len(names)} ids in {ids}: "
            f"{', '.join(map(shown, missing[:NUM_NAMED]))}{', ...' if len(missing) > NUM_NAMED else ''}",
            expected=f"some of its {len(held)} ids, {shown(held[0])} to {shown(held[-1])}",
            remedy="leave out those that are missing"
            if only_some
            else f"write them as the data do, such as {shown(held[0])}",
            locations=missing,
        )
    if not names:
        raise ConfigInvalid(f"{ids} lists no id", expected="one a line", remedy="leave --ids out to train on all")
    return np.array(sorted(positions[name] for name in names), np.int64)


def _below(names: Iterable[str], held: Collection[str], root: Path) -> Iterator[str]:
    """Give paths of pictures, as `find` prints them, as they are below the folder; those that are held as they are."""
    roots = [f"{os.path.normpath(folder)}{os.sep}" for folder in (root.absolute(), root.resolve())]
    for name in names:
        plain = name if name in held else os.path.normpath(name)
        whole = os.path.normpath(Path(name).absolute())
        prefix = next((r for r in roots if plain not in held and whole.startswith(r)), None)
        yield plain if prefix is None else whole.removeprefix(prefix)


def _both(lent: NDArray[np.int64], chosen: NDArray[np.int64] | None, ids: Path | None) -> NDArray[np.int64]:
    """Give what a split lends and a list names; the test part stays held out whoever names it."""
    if chosen is None:
        return lent
    both = np.intersect1d(lent, chosen)
    if not len(both):
        raise ConfigInvalid(
            f"all {len(chosen)} ids in {ids} are of the test part",
            expected="some that the split lends for training",
            remedy="list others, or train on whatever is listed without readings in passing (--split none)",
        )
    if len(both) < len(chosen):
        log.warning(
            "%d of the %d ids in %s are held out for the test: left out", len(chosen) - len(both), len(chosen), ids
        )
    return both


def _judged(task: Callable[[], Task], judge: Judge, *, skip_damaged: bool) -> OnlineProbe | None:
    """Make the online reading; where damage is no reason to stop, none where it would meet a damaged picture."""
    try:
        opened = task()
        if skip_damaged and isinstance(opened.everything.source, FolderPixels):
            opened.everything.source.load()
    except SourceInvalid as error:
        if not skip_damaged or "undecoded" not in error.where:
            raise
        log.warning("no k-NN and probe while training, which read the test part's pictures, too: %s", error)
        return None
    return judge(opened)


def _require_whole(source: FolderPixels, *, skip_damaged: bool) -> None:
    """Refuse pictures that cannot be decoded, all at once, or tell of them where the run replaces them."""
    damaged = source.damaged()
    if not damaged:
        return
    found = (
        f"{len(damaged)} of {len(source)} pictures of {source.folder.root} cannot be decoded: "
        f"{', '.join(damaged[:NUM_NAMED])}{', ...' if len(damaged) > NUM_NAMED else ''}"
    )
    if skip_damaged:
        log.warning("%s; others take their place", found)
        return
    raise SourceInvalid(
        found,
        expected="whole JPEG or PNG",
        remedy="fetch them again, list the others for --ids, or let others take their place by "
        "--engine.damaged replace",
        locations=damaged,
    )


def _shown(source: ArchivePixels) -> ArchivePixels:
    _require_shown(source, source.blank())
    return source


def _require_shown(source: ArchivePixels | FolderPixels, blank: Sequence[tuple[str, int]]) -> None:
    """Refuse images of nothing but zeros here, where the loader would meet them hours later."""
    if blank:
        named = ", ".join(f"{location} at season {season}" for location, season in blank[:NUM_NAMED])
        raise SampleInvalid(
            f"{len(blank)} images show nothing but zeros: {named}{', ...' if len(blank) > NUM_NAMED else ''}",
            expected="pixels to learn from",
            remedy=_TAKE_THEM_OUT
            if isinstance(source, FolderPixels)
            else _NAME_OTHERS.format(shlex.quote(str(source.archive.path))),
            locations=sorted({location for location, _ in blank}),
        )


def _folder(path: Path, contract: InputContract, split: str, ids: Path | None) -> Opened:
    _require_no_geotiffs(path)
    _require_pictures_do(path, contract)
    folder = ImageFolder.scan(path)
    chosen = None if ids is None else _listed(folder, ids)
    train = folder.split(split)["train"]
    task = None
    if split != WHOLE and folder.classes == eurosat.CLASSES:
        task = functools.partial(_eurosat, path, contract, split, train)
    elif split != WHOLE:
        log.warning("classes of %s are not those of EuroSAT: no k-NN and probe while training", path)
    source = FolderPixels(folder, indices=_both(train, chosen, ids), replaceable=True)
    _require_square(path, source.shape)
    return source, task


def _eurosat(path: Path, contract: InputContract, split: str, train: NDArray[np.int64]) -> Task:
    task = open_task(eurosat.NAME, path, contract=contract, split=split)
    assert np.array_equal(_learnable(task), train), "the task and the folder split alike"
    return task


def _listed(folder: ImageFolder, ids: Path) -> NDArray[np.int64]:
    """Give the positions of the pictures that a file lists."""
    held = folder.names
    return _chosen(_below(read_ids(ids), frozenset(held), folder.root), held, ids=ids, path=folder.root)


def _require_no_geotiffs(path: Path) -> None:
    """Send GeoTIFFs to packing: they may be of any bands, and are read out of an archive."""
    if _holds(path, _TIF) and not _holds(path, SUFFIXES):
        raise DataMissing(
            f"{path} holds GeoTIFFs",
            expected=f"an archive, or <class>/<picture> of {', '.join(SUFFIXES)}",
            remedy=f"make an archive of them: `ssl4eo pack {shlex.quote(str(path))} OUT.zarr`, then --data OUT.zarr",
            path=str(path),
        )


def _holds(path: Path, suffixes: Sequence[str]) -> bool:
    """Say whether there are such files in a folder or in those below it."""
    return any(file.suffix.lower() in suffixes for pattern in ("*", "*/*") for file in path.glob(pattern))


def _require_pictures_do(path: Path, contract: InputContract) -> None:
    """Refuse what is no archive for networks that no picture can be fed to, before pictures are looked for."""
    try:
        plan_remap(stored("S2RGB"), contract)
    except ContractMismatch as error:
        raise ContractMismatch(
            f"{path} is no archive, and of pictures {error.found}",
            expected=f"an archive that holds {contract.modality}",
            remedy="name one, pack one with `ssl4eo pack`, or choose a recipe for S2RGB",
            path=str(path),
        ) from error


def _require_square(path: Path, shape: tuple[int, int]) -> None:
    """Refuse other images than squares: windows are shares of both sides, and every view would be distorted."""
    if shape[0] != shape[1]:
        raise SourceInvalid(
            f"{path} has images of {shape[0]} x {shape[1]} px",
            expected="square ones, so that views keep what is on the ground in shape",
            remedy="cut them into squares",
            path=str(path),
        )


def _learnable(task: Task) -> NDArray[np.int64]:
    """Give the positions that are not held out for the test."""
    return np.sort(np.concatenate([task.positions["train"], task.positions["validation"]]))


def _judge(task: Task, *, precision: Precision, linear: bool) -> OnlineProbe | None:
    from ssl4eo.evaluation.protocols.knn import NUM_NEIGHBORS

    if len(task.positions["train"]) < NUM_NEIGHBORS:
        log.warning("%d labelled items are too few for k-NN while training", len(task.positions["train"]))
        return None
    return OnlineProbe(task, precision=precision, linear=linear)
