#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The two commands of the reference's README, with what this package calls their parts.
# Each takes an account of Earth Engine: usage: sh collect_published.sh PROJECT [centers.csv]
# Try the way first, offline, with --source synthetic in place of earthengine (it has no Landsat).
set -eu
project=$1
centers=${2:-center_coords.csv} # of SSL4EO-S12: ssl4eo download coordinates

# 1. Sentinel-2 L1C, 2,640 m around points near the 10,000 largest cities (Gaussian, 50 km), four seasons,
#    the latest scene with less than 20 % clouds, no two patches that overlap.
ssl4eo locations draw --out cities.parquet --around cities --cities 10000 --sigma_km 50 --count 250000 --seed 0
ssl4eo collect --places cities.parquet --source earthengine --project "$project" --modalities S2L1C \
    --seasons published --order latest --max-cloud 0.2 --out s2_l1c.zarr --plan
ssl4eo collect --places cities.parquet --source earthengine --project "$project" --modalities S2L1C \
    --seasons published --order latest --max-cloud 0.2 --out s2_l1c.zarr

# 2. Landsat 8 top of atmosphere at published places, ids kept. The reference asked for radius 1980 m and crops of
#    132 px for 30 m bands, 264 px for B8 (15 m), and by mistake 264 px for B9 (30 m), of which 66 rows were left.
#    Here the size is that of a patch on the 30 m grid and every band follows from it. Our L8TOA is the 8-bit form of
#    SSL4EO-L, in which B8 is on the 30 m grid, too (docs/earthengine.md).
ssl4eo locations draw --out matched.parquet --around matched --points "$centers" --patch_m 3960
ssl4eo collect --places matched.parquet --source earthengine --project "$project" --modalities L8TOA --size 132 \
    --seasons published --order latest --max-cloud 0.2 --out landsat8.zarr
