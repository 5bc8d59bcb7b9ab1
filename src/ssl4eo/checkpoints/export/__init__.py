# SPDX-License-Identifier: Apache-2.0
"""The way out: networks in the forms that other libraries read, one module a form.

What a form cannot hold is refused or told, never made up. Nothing is overwritten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl4eo.checkpoints.export.source import Source, Written
from ssl4eo.checkpoints.export.table import FORMS
from ssl4eo.errors import ConfigInvalid, unknown_name
from ssl4eo.files import file_sha256, require_absent

__all__ = ["FORMS", "Exported", "export"]


@dataclass(frozen=True)
class Exported:
    """What an export tells."""

    source: str
    form: str
    written: Written

    def to_json(self) -> dict[str, Any]:
        """Give plain values, with size and SHA-256 of each file."""
        return {
            "source": self.source,
            "form": self.form,
            "files": [
                {"path": str(path), "bytes": path.stat().st_size, "sha256": file_sha256(path)}
                for path in self.written.files
            ],
            "load": self.written.load,
            "notes": list(self.written.notes),
            "dropped": list(self.written.dropped),
            "made": list(self.written.made),
            "absent": list(self.written.absent),
        }


def export(source: str | Path, form: str, out: Path, *, licence: str | None = None) -> Exported:
    """Write a checkpoint in the form of another library.

    Args:
        source: anything that `load_backbone` takes; for `published` the folder of a run.
        form: a name of FORMS.
        out: the file, or for `huggingface` the folder, to make. Torch files get a record beside them, `OUT.json`.
        licence: of the weights, for the card, such as cc-by-4.0; None if nobody has said.

    Raises:
        UnknownName: no such form or network.
        TargetExists: something stands under `out` or its record.
        ConfigInvalid: the form cannot hold this network, a package is missing, or the licence is no identifier.
        DataMissing, CheckpointInvalid: see `load_backbone`.
        WriteFailed: the disk is full or refuses.
    """
    if form not in FORMS:
        raise unknown_name("form", form, FORMS)
    if licence is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise ConfigInvalid(
            f"licence {licence!r}",
            expected="an identifier such as cc-by-4.0, apache-2.0 or other",
            remedy="spell it so",
        )
    require_absent(out, "export")  # before the work, and once more when it is written
    return Exported(str(source), form, FORMS[form].write(Source(source, licence), out))
