# SPDX-License-Identifier: Apache-2.0
"""A small deterministic planet: synthetic Sentinel-1 and -2 imagery with true labels, offline.

The way of a location: chance -> place (where, when) -> scenes on a canvas (what is where) -> ground (what lasts)
-> optical, radar (what each date saw) -> planet (samples). Nothing here was seen by a satellite.
"""

from ssl4eo.collection.synthetic.materials import LANDCOVER
from ssl4eo.collection.synthetic.planet import VERSION, SyntheticPlanet
from ssl4eo.collection.synthetic.scenes import SCENES

__all__ = ["LANDCOVER", "SCENES", "VERSION", "SyntheticPlanet"]
