# SPDX-License-Identifier: Apache-2.0
"""Features of all locations of an archive, written to one GeoParquet file."""
