# SPDX-License-Identifier: Apache-2.0
"""Scenes out of STAC catalogs: what the catalogs are as data, searching them, reading windows of their rasters."""
