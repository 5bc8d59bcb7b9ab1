# SPDX-License-Identifier: Apache-2.0
"""The input contract: what the numbers in an array mean.

Archives, views, backbones and tasks each carry one. Two that differ are never mixed silently: `require` raises and
names the remedy, `plan_remap` gives the conversion where one is known and refuses every other.
`single.py` has the contract of one modality, `fused.py` of several stacked, `remap.py` the conversions.
`doubts.py` and `scales.py` warn of values that do not look like what their contract says.
"""

from ssl4eo.contract.fused import (
    FUSED_INPUTS,
    FusedContract,
    InputContract,
    catalog_name,
    contract_from_json,
    fuse,
    is_contract,
    network_input,
    sensor_groups,
)
from ssl4eo.contract.remap import Remap, announce, check_bands, narrowed, plan_remap
from ssl4eo.contract.single import (
    FILL_RULES,
    REFLECTANCE_DN,
    SCALING_RULES,
    UNBOUNDED,
    Affine,
    Contract,
    default_scaling,
    from_spellings,
    offset_of_baseline,
    scaling_affine,
    standard_scaling,
    stored,
)

__all__ = [
    "FILL_RULES",
    "FUSED_INPUTS",
    "REFLECTANCE_DN",
    "SCALING_RULES",
    "UNBOUNDED",
    "Affine",
    "Contract",
    "FusedContract",
    "InputContract",
    "Remap",
    "announce",
    "catalog_name",
    "check_bands",
    "contract_from_json",
    "default_scaling",
    "from_spellings",
    "fuse",
    "is_contract",
    "narrowed",
    "network_input",
    "offset_of_baseline",
    "plan_remap",
    "scaling_affine",
    "sensor_groups",
    "standard_scaling",
    "stored",
]
