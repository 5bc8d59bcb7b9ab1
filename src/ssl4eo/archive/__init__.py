# SPDX-License-Identifier: Apache-2.0
"""How it is kept: Zarr v3 with sharding, bands at native resolution, tables beside them."""
