# SPDX-License-Identifier: Apache-2.0
"""EuroSAT as a source: `<root>/<class>/<class>_<n>.tif` with 13 bands of L1C, or `.jpg` in red, green, blue.

The GeoTIFF files have B8A at the end and do not say so: the order here is that of their publication. They are older
than the +1000 DN. Everything else is picture_folder's; how a benchmark splits the tiles is the task's, not ours.
"""

from __future__ import annotations

from pathlib import Path

from ssl4eo.collection.picture_folder import PictureFolder, is_picture
from ssl4eo.collection.product_folders import first_entries
from ssl4eo.collection.source import Provenance
from ssl4eo.errors import DataMissing

CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)

FILE_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
"""Bands in the order of the GeoTIFF files. Source: Helber et al. 2019."""


def is_eurosat(root: Path) -> bool:
    """Say whether all folders are called like classes of EuroSAT, and pictures in them like their folder."""
    return bool(_examples(root))


def _examples(root: Path) -> list[Path]:
    """Give some pictures, none where the folder is not EuroSAT's."""
    folders = [entry for entry in first_entries(root) if entry.is_dir()]
    if any(folder.name not in CLASSES for folder in folders):
        return []
    pictures = [entry for folder in folders for entry in first_entries(folder) if is_picture(entry)]
    return pictures if all(path.name.startswith(f"{path.parent.name}_") for path in pictures) else []


def open_eurosat(root: Path | str) -> PictureFolder:
    """Open EuroSAT, the 13-band or the RGB version.

    Raises:
        DataMissing: no class folders with pictures that are called like them.
        SourceInvalid: not a single picture can be read.
        ConfigInvalid: they have another number of bands than published.
    """
    root = Path(root)
    examples = _examples(root)
    if not examples:
        raise DataMissing(
            f"{root} is not EuroSAT",
            expected=f"folders {', '.join(CLASSES[:3])} ... with files such as {CLASSES[0]}_1.tif",
            remedy="name the folder that holds the class folders",
            path=str(root),
        )
    is_rgb = examples[0].suffix.lower() not in (".tif", ".tiff")
    provenance = Provenance(
        title="EuroSAT, RGB" if is_rgb else "EuroSAT, 13 bands",
        synthetic=False,
        licence="that of the source: MIT for EuroSAT as published; contains Copernicus Sentinel data",
        details={"root": root.absolute().name, "source": "Helber et al. 2019"},
    )
    if is_rgb:
        return PictureFolder(root, modality="S2RGB", provenance=provenance)
    return PictureFolder(root, modality="S2L1C", bands=FILE_BANDS, offset=0, provenance=provenance)
