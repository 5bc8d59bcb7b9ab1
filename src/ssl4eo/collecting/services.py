# SPDX-License-Identifier: Apache-2.0
"""The services by name: a row for each, opened when it is asked for."""

from __future__ import annotations

from pathlib import Path

from ssl4eo.collection.remote.service import Service
from ssl4eo.errors import ConfigInvalid, unknown_name

PLAIN = ("earthengine", "synthetic")


def open_service(
    name: str, *, project: str = "", key_file: Path | None = None, catalogue: Path | None = None, seed: int = 0
) -> Service:
    """Open a service; nothing is asked of it yet.

    Args:
        name: earthengine, synthetic, or a STAC catalogue.
        project: Google Cloud project, of earthengine.
        key_file: key of a service account, of earthengine.
        catalogue: file with STAC catalogues of the user's own.
        seed: of the synthetic planet.

    Raises:
        UnknownName: no such service.
        ConfigInvalid: an option of another service.
    """
    if name != "earthengine" and (project or key_file is not None):
        raise ConfigInvalid(f"a Google Cloud project or key for {name}", expected="source earthengine")
    if name in PLAIN and catalogue is not None:
        raise ConfigInvalid(f"a catalogue file for {name}", expected="the name of a catalogue in it as source")
    if name == "synthetic":
        from ssl4eo.collection.remote.synthetic import SyntheticService

        return SyntheticService(seed)
    if name == "earthengine":
        from ssl4eo.collection.remote.earthengine import EarthEngine
        from ssl4eo.collection.remote.earthengine_session import Account

        return EarthEngine(account=Account(project=project, key_file=key_file))
    raise unknown_name("source", name, PLAIN)
