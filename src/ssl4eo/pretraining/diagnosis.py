# SPDX-License-Identifier: Apache-2.0
"""What the doctor's figures mean: which stage bounds a run, and what to change, in words with figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.doctor import Compute, Loader, Loading
from ssl4eo.training.alarms import STARVED

MARGIN = 1.1
"""A loader is fast enough if it is faster than the device by this: it is never evenly fast."""
SMALL_VIEW = 96
"""Views above this can be made smaller [px]."""


@dataclass(frozen=True)
class Diagnosis:
    """What bounds a run, and what to do."""

    bound: str
    """read, render or compute."""
    words: str
    """The finding, with figures."""
    advice: tuple[str, ...]
    """What to change, the most useful first; empty if nothing is worth it."""


def diagnose(
    loading: Loading,
    loaders: Sequence[Loader],
    compute: Compute | None,
    *,
    config: PretrainConfig,
    profile: str | None,
    emulated: bool,
) -> Diagnosis:
    """Judge measured stages.

    Args:
        loading: of one process.
        loaders: at least one.
        compute: None if no recipe was measured.
        config: that was measured; its views and number of workers are looked at.
        profile: how the archive is compressed, None for other data.
        emulated: bf16 is not computed in this machine's hardware.
    """
    best = max(loaders, key=lambda row: row.samples_per_second)
    slow = "read" if loading.read_per_second < loading.render_per_second else "render"
    if compute is None:
        words = (
            f"loading alone: {slow} takes most of the time; the fastest loader, {_workers(best.num_workers)}, gives "
            f"{best.samples_per_second:.4g} samples/s"
        )
        return Diagnosis(slow, words, _for_loading(slow, config, profile))
    planned = _nearest(loaders, config.engine.num_workers)
    need = compute.most_per_second
    rate = _rate(planned, need)
    verb, most = "give" if planned.num_workers != 1 else "gives", "up to " if compute.limit else ""
    words = (
        f"{_workers(planned.num_workers)} {verb} {planned.samples_per_second:.4g} samples/s, the device takes "
        f"{most}{need:.4g}" + f"; in turns that is {rate:.4g}" * (planned.num_workers == 0)
    )
    advice = _for_precision(config, emulated, on_cpu=_on_cpu(compute))
    if _is_enough(planned, need, on_cpu=_on_cpu(compute)):
        return Diagnosis("compute", f"the device bounds the run: {words}", (*advice, *_for_compute(config)))
    enough = [row for row in loaders if _is_enough(row, need, on_cpu=_on_cpu(compute))]
    chosen = min(enough or loaders, key=lambda row: row.num_workers if enough else -_rate(row, need))
    if enough or _rate(chosen, need) > MARGIN * rate:
        advice = (
            f"--engine.num_workers {chosen.num_workers}: {chosen.samples_per_second:.4g} samples/s were measured "
            "with it" + (", while the device was idle: on a CPU, workers and steps share the cores" * _on_cpu(compute)),
            *advice,
        )
    if not enough:
        advice = (*advice, *_for_loading(slow, config, profile))
    return Diagnosis(slow, f"the device waits for data ({slow} is the slower part of loading): {words}", advice)


def _on_cpu(compute: Compute) -> bool:
    return compute.device == "cpu"


def _rate(loader: Loader, need: float) -> float:
    """Samples a second of a run: without workers, loading and steps take turns."""
    loaded = loader.samples_per_second
    return 1 / (1 / loaded + 1 / need) if loader.num_workers == 0 else min(loaded, need)


def _is_enough(loader: Loader, need: float, *, on_cpu: bool) -> bool:
    """Say whether the device hardly waits: workers must be faster than it, for they are never evenly fast.

    On a CPU, which workers would share with the steps, taking turns is well up to what the alarm of a run allows.
    """
    if loader.num_workers == 0:
        allowed = STARVED if on_cpu else 1 - 1 / MARGIN
        return 1 - _rate(loader, need) / need <= allowed
    return loader.samples_per_second >= MARGIN * need


def _nearest(loaders: Sequence[Loader], num_workers: int) -> Loader:
    """Give the loader of the planned number of workers, or the nearest that was measured."""
    return min(loaders, key=lambda row: abs(row.num_workers - num_workers))


def _workers(count: int) -> str:
    return "no workers (loading between the steps)" if count == 0 else f"{count} worker{'s' if count > 1 else ''}"


def _for_loading(slow: str, config: PretrainConfig, profile: str | None) -> tuple[str, ...]:
    if slow == "read":
        packed = f"pack the archive with --profile fast (it is {profile})" if profile not in (None, "fast") else ""
        return (*filter(None, [packed]), "keep the archive on a local disk that is fast at reading")
    size = max(view.size for view in config.views.views)
    rows = [f"smaller views than {size} px, where the recipe allows it"] if size > SMALL_VIEW else []
    if len(config.views.views) > 2:
        rows.append(f"fewer views than {len(config.views.views)} a sample")
    return tuple(rows)


def _for_precision(config: PretrainConfig, emulated: bool, *, on_cpu: bool) -> tuple[str, ...]:
    precision = config.engine.precision
    if precision == "16-mixed" and on_cpu:
        return ("--engine.precision auto: a run in 16-mixed needs a GPU; another precision was measured",)
    if precision == "bf16-mixed" and emulated:
        return ("--engine.precision 32-true: bf16 is emulated on this machine, many times slower than float32",)
    if precision == "32-true" and not emulated:
        return ("--engine.precision bf16-mixed: this machine computes in bf16",)
    return ()


def _for_compute(config: PretrainConfig) -> tuple[str, ...]:
    rows = [] if config.engine.channels_last else ["--engine.channels_last true: convolutions are faster that way"]
    size = config.image_size
    if size > SMALL_VIEW:
        rows.append(f"smaller views than {size} px, where the recipe allows it")
    return tuple(rows)
