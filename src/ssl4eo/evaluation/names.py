# SPDX-License-Identifier: Apache-2.0
"""Names of protocols as the command line takes them. Loads no torch; `protocols/table.py` says what they are."""

from __future__ import annotations

from typing import Literal

ProtocolName = Literal[
    "knn",
    "linear",
    "finetune",
    "linear_as_published",
    "finetune_as_published",
    "segmentation_linear",
    "segmentation",
    "change",
    "change_as_published",
]
