# SPDX-License-Identifier: Apache-2.0
"""The columns of the published table, and which task, split and protocol of ours each stands for. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedTask:
    """A column of the published table."""

    title: str
    """As the cards of the catalog have it."""
    task: str
    split: str
    metric: str
    """Main measure of the task."""
    download: str
    """Name of the data for `ssl4eo download`."""
    tolerance: float
    """Points by which a measured value may differ and still count as reproduced."""
    why: str
    """Reason of the tolerance."""


PUBLISHED_TASKS: tuple[PublishedTask, ...] = (
    PublishedTask(
        "BigEarthNet",
        "bigearthnet_v1_s2",
        "reference",
        "micro_map",
        "bigearthnet-v1",
        1.0,
        "published as a mean over batches of 64, in part of the best epoch on the reported part",
    ),
    PublishedTask(
        "EuroSAT",
        "eurosat_13",
        "reference",
        "accuracy",
        "eurosat",
        0.5,
        "5,400 test tiles: one standard error is 0.14 points; one seed, in part the best epoch on the reported part",
    ),
    PublishedTask(
        "So2Sat-LCZ42",
        "so2sat_s2",
        "reference",
        "accuracy",
        "so2sat-v2",
        2.0,
        "values that wrapped and 8-bit steps are not repeated; in part the best epoch on the reported part",
    ),
)


@dataclass(frozen=True)
class ExtraTask:
    """A task without a column, which the suite judges the same networks on where its data are present."""

    task: str
    split: str
    protocols: tuple[str, ...]
    download: str
    """Name of the data for `ssl4eo download`."""


EXTRA_TASKS: tuple[ExtraTask, ...] = (
    ExtraTask("bigearthnet_v2_s2", "reference", ("linear", "knn"), "bigearthnet-v2"),
    ExtraTask("oscd", "reference", ("change_as_published", "change"), "oscd"),
    ExtraTask("dfc2020", "reference", ("segmentation_linear", "segmentation"), "dfc2020"),
)
PUBLISHED_SIZE = 224
"""Side of what all published networks see [px]."""
PUBLISHED_PROTOCOL = "finetune_as_published"
"""What the published numbers are of."""
OTHER_PROTOCOLS = ("linear", "knn")
"""Judged beside it: honest on any machine."""
