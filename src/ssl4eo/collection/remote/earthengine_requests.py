# SPDX-License-Identifier: Apache-2.0
"""The requests that are sent to Earth Engine: prepared once a session by its client library, sent with other bodies.

Address, headers, credentials, the reading of answers and errors are the library's. It would build the description of
all its methods anew for each call and serialize each expression anew: that took two thirds of the time of a request.
Price: three functions of the library that are none of its public ones.
"""
# ruff: noqa: SLF001 - see above

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ssl4eo.collection.remote.earthengine_failures import Broken
from ssl4eo.collection.remote.metering import count_request


class Requests:
    """Safe to use from threads: what is prepared is copied."""

    def __init__(self) -> None:
        """Let the library prepare them; it must be initialized."""
        from ee import data  # pyright: ignore[reportMissingTypeStubs]

        library: Any = data
        project = library._get_projects_path()
        self._value = library._get_cloud_projects().value().compute(body={}, project=project, prettyPrint=False)
        self._pixels = library._get_cloud_projects_raw().image().computePixels(body={}, project=project)
        self._execute = library._execute_cloud_call

    def value(self, expression: str) -> Any:
        """Ask for the value of a serialized expression.

        Raises:
            Broken: an answer that is none.
            EEException, OSError: see `earthengine_failures.failure_of`.
        """
        try:
            return self._sent(self._value, f'{{"expression":{expression}}}')["result"]
        except (KeyError, TypeError, ValueError) as error:
            raise Broken(f"an answer that is none ({type(error).__name__}: {error})") from error

    def pixels(self, expression: str, grid: Mapping[str, Any], names: Sequence[str]) -> bytes:
        """Ask for bands of a serialized image as an array file (NPY); raises as `value` does."""
        rest = json.dumps({"fileFormat": "NPY", "grid": grid, "bandIds": list(names)})
        return self._sent(self._pixels, f'{{"expression":{expression},{rest[1:]}')

    def _sent(self, prepared: Any, body: str) -> Any:
        request = copy.copy(prepared)
        request.headers = {k: v for k, v in prepared.headers.items() if k.lower() != "content-length"}
        request.body, request.body_size = body, len(body)  # JSON of the library is ASCII
        count_request()
        return self._execute(request, num_retries=0)
