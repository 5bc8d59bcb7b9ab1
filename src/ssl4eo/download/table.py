# SPDX-License-Identifier: Apache-2.0
"""What is published where: every download that the README of SSL4EO-S12 names, its siblings, and the benchmarks.

Sources: [R] the README of zhu-xlab/SSL4EO-S12; [TG] TorchGeo 0.8 (MIT), which pins revisions and MD5s; [1.1] the README
of DLR-MF-DAS/SSL4EO-S12-v1.1. A size or checksum that none of them gives is None; what could not be checked says so in
`unverified`. Checkpoints are not here: they have a table of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ssl4eo.download.entry import Dataset, DriveFile, FileEntry, HubListing, md5
from ssl4eo.errors import unknown_name

_CC_BY = "CC-BY-4.0"
_SSL4EO_PAGE = "https://github.com/zhu-xlab/SSL4EO-S12"
_ALPHABET = "abcdefghijkl"


def _parts(url: str, archive: str, subset: str, digests: str) -> tuple[FileEntry, ...]:
    """Make the entries of an archive that was cut into parts aa, ab, ...; `url` ends before these letters."""
    stem = url.rsplit("/", 1)[1]
    return tuple(
        FileEntry(name=f"{stem}a{c}", url=f"{url}a{c}", subset=subset, archive=archive, checksum=md5(digest))
        for c, digest in zip(_ALPHABET, digests.split(), strict=False)
    )


_RAW = "https://hf.co/datasets/wangyi111/SSL4EO-S12/resolve/3f5ddad68ba2ea29d019b0cef6cf292ff8af0d62"
_RAW_MD5 = {  # [TG], parts in order
    "s1_grd": """
        6df278053fc3e4c3fd7de2f77856e606 837755b4ba8d82faf254df9e5fec13a7 6400423305d6084e2006eede75cf288e
        22a50d7362d9cbc9714e0740fe2122c7 d6ac97ead00b4296a95376949c946b12 d8047814061431dc627b9ae345c80891
        089ce0548cb7902ce873181cc61f5d70 745b48c2896ca764ef54f91e4e7c555e c36595cf9617b3b7ea722f63dcccbedc
        cf16f1d81e8bff2d663e4eba79ec6fa3""",
    "s2_l1c": """
        a3ef419cc65c4d8ac19b9acc55726166 580451e8fdf93067ad79202b95dd1a5c a6f7318868f5ba1d94fb9363b50307e4
        86f324215b04cdf4242d07aaf3cdfe57 5895a545460f34b1712c17732e0f5533 078078bc58d8ecc214ddfd838f796700
        3557dd4c24a5942020391a5baaf51abb d59f89271e414648663d3acb66121761 1a213539c989d16da4e5b4e09feaa98a
        0b229af5633c7f63486b6d7771b737db babe8bed884d31b891151f5717a83b5c 8d1f5ad28ee868ab0595c889446b8e5f""",
    "s2_l2a": """
        ef847d906ab44cc9a94d086a89473833 4a6a8ed9e2a08887707d83bcb6eb57af 00b706a771df4c4df4cc70a20d790339
        579024e84bd9ab0b86e1182792c8dcf9 e259f3536355b665aea490c22c897e59 2a15be319ad15f749bfd4ed85d14c172
        d8224cff1e727543473b0111e307110c 0015d8aa5ea9201e13b401fd61c36c6f dfce87c0a9550177fd4b82887902b6e3
        688392701760b737ad74cb0e8c7fb731 d8f3e4b110f22f0477973ed2c35586b6 1cc3641cd52afedaa1c50d14d84a6664""",
}
_LANDSAT = "https://hf.co/datasets/torchgeo/ssl4eo_l/resolve/e2467887e6a6bcd7547d9d5999f8d9bc3323dc31"
_LANDSAT_MD5 = {  # [TG], parts in order
    "tm_toa": """
        553795b8d73aa253445b1e67c5b81f11 e9e0739b5171b37d16086cb89ab370e8 6cb27189f6abe500c67343bfcab2432c
        15a885d4f544d0c1849523f689e27402 35523336bf9f8132f38ff86413dcd6dc fa1108436034e6222d153586861f663b
        d5c91301c115c00acaf01ceb3b78c0fe""",
    "etm_toa": """
        587c3efc7d0a0c493dfb36139d91ccdf ec34f33face893d2d8fd152496e1df05 947acc2c6bc3c1d1415ac92bab695380
        e31273dec921e187f5c0dc73af5b6102 43390a47d138593095e9a6775ae7dc75 082881464ca6dcbaa585f72de1ac14fd
        de2511aaebd640bd5e5404c40d7494cb 124c5fbcda6871f27524ae59480dabc5 12b5f94824b7f102df30a63b1139fc57""",
    "etm_sr": """
        baa36a9b8e42e234bb44ab4046f8f2ac 9fb0f948c76154caabe086d2d0008fdf 99a55367178373805d357a096d68e418
        59d53a643b9e28911246d4609744ef25 7abfcfc57528cb9c619c66ee307a2cc9 bb23cf26cc9fe156e7a68589ec69f43e
        97347e5a81d24c93cf33d99bb46a5b91""",
    "oli_tirs_toa": """
        4711369b861c856ebfadbc861e928d3a 660a96cda1caf54df837c4b3c6c703f6 c9b6a1117916ba318ac3e310447c60dc
        b8502e9e92d4a7765a287d21d7c9146c 5c11c14cfe45f78de4f6d6faf03f3146 5b0ed3901be1000137ddd3a6d58d5109
        a3b6734f8fe6763dcf311c9464a05d5b 5e55f92e3238a8ab3e471be041f8111b e20617f73d0232a0c0472ce336d4c92f""",
    "oli_sr": """
        ca338511c9da4dcbfddda28b38ca9e0a 7f4100aa9791156958dccf1bb2a88ae0 6b0f18be2b63ba9da194cc7886dbbc01
        57efbcc894d8da8c4975c29437d8b775 2594a0a856897f3f5a902c830186872d a03839311a2b3dc17dfb9fb9bc4f9751
        6a329d8fd9fdd591e400ab20f9d11dea""",
}
_LANDSAT_BENCHMARK = (
    "https://hf.co/datasets/torchgeo/ssl4eo-l-benchmark/resolve/da96ae2b04cb509710b72fce9131c2a3d5c211c2"
)
_LANDSAT_BENCHMARK_MD5 = {  # [TG]
    "tm_toa": {"ssl4eo_l_tm_toa_benchmark": "8e3c5bcd56d3780a442f1332013b8d15"},
    "etm_toa": {"ssl4eo_l_etm_toa_benchmark": "1b051c7fe4d61c581b341370c9e76f1f"},
    "etm_sr": {"ssl4eo_l_etm_sr_benchmark": "34a24fa89a801654f8d01e054662c8cd"},
    "oli_tirs_toa": {"ssl4eo_l_oli_tirs_toa_benchmark": "6e9d7cf0392e1de2cbdb39962ba591aa"},
    "oli_sr": {"ssl4eo_l_oli_sr_benchmark": "0700cd15cc2366fe68c2f8c02fa09a15"},
    "masks": {
        "ssl4eo_l_tm_cdl": "3d676770ffb56c7e222a7192a652a846",
        "ssl4eo_l_tm_nlcd": "261149d7614fcfdcb3be368eefa825c7",
        "ssl4eo_l_etm_cdl": "008098c968544049eaf7b307e14241de",
        "ssl4eo_l_etm_nlcd": "9c031049d665202ba42ac1d89b687999",
        "ssl4eo_l_oli_cdl": "1cb057de6eafeca975deb35cb9fb036f",
        "ssl4eo_l_oli_nlcd": "9de0d6d4d0b94313b80450f650813922",
    },
}
_MODALITIES_11 = ("S1GRD", "S2L1C", "S2L2A", "S2RGB")
_DATAHUB = "https://datapub.fz-juelich.de/ssl4eo-s12"
_COUNTS_11 = {"train": 3812, "val": 34}


def _datahub_files() -> tuple[FileEntry, ...]:
    """Make the entries of v1.1 on the DataHub: the names count up, and are the same for each modality [1.1]."""
    lists = tuple(
        FileEntry(name=f"splits/ssl4eos12_{split}.txt", url=f"{_DATAHUB}/splits/ssl4eos12_{split}.txt", subset="splits")
        for split in _COUNTS_11
    )
    return lists + tuple(
        FileEntry(name=name, url=f"{_DATAHUB}/{name}", subset=modality)
        for split, count in _COUNTS_11.items()
        for modality in _MODALITIES_11
        for number in range(1, count + 1)
        for name in [f"{split}/{modality}/ssl4eos12_{split}_seasonal_data_{number:06d}.zarr.zip"]
    )


_SSL4EO = (
    Dataset(
        name="raw",
        title="SSL4EO-S12 v1, GeoTIFFs of 251,079 locations (what `ssl4eo pack` reads)",
        license=_CC_BY,
        page=_SSL4EO_PAGE,
        about_size="1.5 TB, about 500 GB a modality; 3.7 TB unpacked [R, TG]",
        layout="raw-tar",
        files=tuple(
            entry
            for subset, digests in _RAW_MD5.items()
            for entry in _parts(f"{_RAW}/{subset}/{subset}.tar.gz.part", f"{subset}.tar.gz", subset, digests)
        ),
    ),
    Dataset(
        name="raw-mediatum",
        title="SSL4EO-S12 v1, the archived original with a DOI",
        license=_CC_BY,
        page="https://mediatum.ub.tum.de/1660427",
        about_size="1.5 TB [R]",
        manual="`ssl4eo download raw` has the same data by HTTP; the original comes by rsync, as its page says: "
        "RSYNC_PASSWORD=m1660427.001 rsync -av rsync://m1660427.001@dataserv.ub.tum.de/m1660427.001/ DIR",
        unverified="the rsync command is that of TorchGeo 0.5",
    ),
    Dataset(
        name="example",
        title="SSL4EO-S12 v1, 100 locations",
        license=_CC_BY,
        page=_SSL4EO_PAGE,
        about_size="600 MB [R]",
        drive=DriveFile(drive_id="1sRWcYbaWs-efXza6kw03GlJQdZHq5iRN", fallback="ssl4eo-s12_example", archive=True),
        unverified="name and kind of the file: Google Drive tells them with the bytes",
    ),
    Dataset(
        name="coordinates",
        title="SSL4EO-S12 v1, center coordinates of all locations (id, lon, lat)",
        license=_CC_BY,
        page=_SSL4EO_PAGE,
        drive=DriveFile(drive_id="1RyJnGznSbMparS88BhHkXxETf0K-qYqI", fallback="ssl4eo-s12_coordinates.csv"),
        unverified="name of the file: Google Drive tells it with the bytes",
    ),
    Dataset(
        name="compressed",
        title="SSL4EO-S12 v1 as 8-bit JPEG GeoTIFFs, and RGB",
        license=_CC_BY,
        page="https://mediatum.ub.tum.de/1702379",
        about_size="20 to 50 GB a modality [R]",
        manual="open https://mediatum.ub.tum.de/1702379 and fetch it by the rsync or FTP address that it shows; "
        "JPEG costs accuracy, prefer `raw`",
    ),
    Dataset(
        name="rgb-50k",
        title="SSL4EO-S12 v1, RGB of 50,000 locations",
        license=_CC_BY,
        page=_SSL4EO_PAGE,
        about_size="18 GB [R]",
        manual="its publisher declares the link broken; make it from `raw` with the ids of data/50k_ids_random.csv "
        "in the repository (49,996 of them are distinct)",
    ),
    Dataset(
        name="v1.1",
        title="SSL4EO-S12 v1.1, 246,144 locations as Zarr v2 zip files, from HuggingFace",
        license=_CC_BY,
        page="https://huggingface.co/datasets/embed2scale/SSL4EO-S12-v1.1",
        about_size="about 1 TB a modality as raw tif; as Zarr not told [1.1]",
        listing=HubListing(
            repository="embed2scale/SSL4EO-S12-v1.1",
            revision="main",
            keep=("*.zarr.zip", "*.tar", "*.txt", "*.parquet"),
            subsets=_MODALITIES_11,
        ),
        unverified="the layout of the repository: it is listed when it is asked for",
    ),
    Dataset(
        name="v1.1-datahub",
        title="SSL4EO-S12 v1.1, the same from the Julich DataHub",
        license=_CC_BY,
        page=f"{_DATAHUB}/",
        about_size=None,
        files=_datahub_files(),
        unverified="neither sizes nor checksums are published there: prefer v1.1",
    ),
    Dataset(
        name="v1.1-raw",
        title="SSL4EO-S12 v1.1 as GeoTIFFs in tar files",
        license=_CC_BY,
        page=f"{_DATAHUB}/raw/",
        about_size="about 1 TB a modality [1.1]",
        manual="the names of the files are not published elsewhere: wget --continue --recursive --no-parent "
        f"--reject 'index.html*' -nH -P DIR {_DATAHUB}/raw/",
    ),
    Dataset(
        name="ssl4eo-l",
        title="SSL4EO-L, Landsat: five splits, 250,000 locations each",
        license="CC0-1.0",
        page="https://huggingface.co/datasets/torchgeo/ssl4eo_l",
        about_size="300 to 400 GB a split [TG]",
        files=tuple(
            entry
            for split, digests in _LANDSAT_MD5.items()
            for entry in _parts(
                f"{_LANDSAT}/{split}/ssl4eo_l_{split}.tar.gz", f"ssl4eo_l_{split}.tar.gz", split, digests
            )
        ),
    ),
    Dataset(
        name="ssl4eo-l-benchmark",
        title="SSL4EO-L benchmark: 25,000 images with CDL and NLCD masks",
        license="CC0-1.0",
        page="https://huggingface.co/datasets/torchgeo/ssl4eo-l-benchmark",
        files=tuple(
            FileEntry(
                name=f"{stem}.tar.gz",
                url=f"{_LANDSAT_BENCHMARK}/{stem}.tar.gz",
                archive=f"{stem}.tar.gz",
                subset=subset,
                checksum=md5(digest),
            )
            for subset, files in _LANDSAT_BENCHMARK_MD5.items()
            for stem, digest in files.items()
        ),
    ),
)

_BEN1 = "https://zenodo.org/records/12687186/files"
_BEN1_SPLITS = "https://git.tu-berlin.de/rsim/BigEarthNet-MM_19-classes_models/-/raw/9a5be07346ab0884b2d9517475c27ef9db9b5104/splits"
_BEN2 = "https://hf.co/datasets/torchgeo/bigearthnet/resolve/3cf3a5910a5302d449fdb8e570e5b78de24fe07f/V2"
_EUROSAT = "https://hf.co/datasets/torchgeo/eurosat/resolve/1ce6f1bfb56db63fd91b6ecc466ea67f2509774c"
_SECO = "https://storage.googleapis.com/remote_sensing_representations"


def _file(folder: str, name: str, digest: str, subset: str = "", *, path: str = "") -> FileEntry:
    """Make the entry of `folder/path`; an archive is told by its name."""
    archive = name if name.endswith((".zip", ".tar.gz")) else ""
    return FileEntry(name=name, url=f"{folder}/{path or name}", checksum=md5(digest), subset=subset, archive=archive)


_BENCHMARKS = (
    Dataset(
        name="bigearthnet-v1",
        title="BigEarthNet v1.0: 590,326 patches of Sentinel-2 L2A and Sentinel-1",
        license="CDLA-Permissive-1.0",
        page="https://zenodo.org/records/12687186",
        files=(
            _file(_BEN1, "BigEarthNet-S2-v1.0.tar.gz", "5a64e9ce38deb036a435a7b59494924c", "s2"),
            _file(_BEN1, "BigEarthNet-S1-v1.0.tar.gz", "94ced73440dea8c7b9645ee738c5a172", "s1"),
            *(
                _file(_BEN1_SPLITS, f"bigearthnet-{split}.csv", digest, "splits", path=f"{split}.csv?inline=false")
                for split, digest in (
                    ("train", "623e501b38ab7b12fe44f0083c00986d"),
                    ("val", "22efe8ed9cbd71fa10742ff7df2b7978"),
                    ("test", "697fb90677e30571b9ac7699b7e5b432"),
                )
            ),
            *(
                FileEntry(
                    name=f"seco-{split}.txt",
                    url=f"{_SECO}/bigearthnet-{split}.txt",
                    subset="seco-splits",
                    unverified="no checksum is published, and peers report dead list links",
                )
                for split in ("train", "val", "test")
            ),
        ),
    ),
    Dataset(
        name="bigearthnet-v2",
        title="BigEarthNet v2.0 (reBEN): 549,488 pairs, reprocessed, with reference maps",
        license="CDLA-Permissive-1.0",
        page="https://bigearth.net",
        files=(
            *(
                entry
                for archive, subset, digests in (
                    (
                        "BigEarthNet-S2.tar.gz",
                        "s2",
                        "94e8ed32065234d3ab46353d814778d1 24c223d9e36166136c13b24a27debe34",
                    ),
                    (
                        "BigEarthNet-S1.tar.gz",
                        "s1",
                        "039b9ce305fc6582b2c3d60d1573f5b7 e94f0ea165d04992ca91d8e58e82ec6d",
                    ),
                    ("Reference_Maps.tar.gz", "maps", "b0cd1f0a31b49fcbfd61d80f963e759d"),
                )
                for entry in _parts(f"{_BEN2}/{archive}", archive, subset, digests)
            ),
            _file(_BEN2, "metadata.parquet", "55687065e77b6d0b0f1ff604a6e7b49c", "metadata"),
        ),
    ),
    Dataset(
        name="eurosat",
        title="EuroSAT, 27,000 tiles of 13 bands L1C, with the split lists",
        license="MIT",
        page="https://github.com/phelber/EuroSAT",
        files=(
            _file(_EUROSAT, "EuroSATallBands.zip", "5ac12b3b2557aa56e1826e981e8e200e", "images"),
            *(
                _file(_EUROSAT, f"{name}.txt", digest, "splits")
                for name, digest in (
                    ("eurosat-train", "908f142e73d6acdf3f482c5e80d851b1"),
                    ("eurosat-val", "95de90f2aa998f70a3b2416bfe0687b4"),
                    ("eurosat-test", "7ae5ab94471417b6e315763121e67c5f"),
                    ("eurosat-spatial-train", "7be3254be39f23ce4d4d144290c93292"),
                    ("eurosat-spatial-val", "acf392290050bb3df790dc8fc0ebf193"),
                    ("eurosat-spatial-test", "5ec1733f9c16116bf0aa2d921fc613ef"),
                )
            ),
        ),
    ),
    Dataset(
        name="eurosat-rgb",
        title="EuroSAT RGB, 27,000 JPEG tiles",
        license="MIT",
        page="https://zenodo.org/records/7711810",
        about_size="95 MB",
        files=(
            FileEntry(
                name="EuroSAT_RGB.zip",
                url="https://zenodo.org/records/7711810/files/EuroSAT_RGB.zip",
                archive="EuroSAT_RGB.zip",
                checksum=md5("f46e308c4d50d4bf32fedad2d3d62f3b"),
                unverified="address and MD5 are those of the Zenodo record as several projects quote it",
            ),
        ),
    ),
    Dataset(
        name="so2sat-v2",
        title="So2Sat-LCZ42 version 2: train 42 cities, validation and test 10 others",
        license=_CC_BY,
        page="https://dataserv.ub.tum.de/index.php/s/m1483140",
        about_size="59 GB: 352,366, 24,119 and 24,188 patches of 147,592 bytes",
        manual="it comes by FTP: for s in training validation testing; do "
        "wget ftp://m1483140:m1483140@dataserv.ub.tum.de/$s.h5; done; the MD5s are "
        "702bc6a9368ebff4542d791e53469244, 71cfa6795de3e22207229d06d6f8775d, e81426102b488623a723beab52b31a8a",
    ),
    Dataset(
        name="so2sat-v3",
        title="So2Sat-LCZ42 version 3: random, block and culture-10 splits",
        license=_CC_BY,
        page="https://mediatum.ub.tum.de/1613658",
        about_size="59 GB a split: each has all 400,673 patches",
        manual="it comes by FTP: for v in random block culture_10; do for s in training testing; do "
        "wget -P $v/ ftp://m1613658:m1613658@dataserv.ub.tum.de/$v/$s.h5; done; done; the MD5s are, in that order, "
        "94e2e2e667b406c2adf61e113b42204e, 1e15c425585ce816342d1cd779d453d8, a91d6150e8b059dac86105853f377a11, "
        "6414af1ec33ace417e879f9c88066d47, 702bc6a9368ebff4542d791e53469244, 58335ce34ca3a18424e19da84f2832fc",
    ),
    Dataset(
        name="so2sat-v4",
        title="So2Sat-LCZ42 version 4: the patches of version 2, compressed, and where each lies",
        license=_CC_BY,
        page="https://mediatum.ub.tum.de/1836598",
        listing=HubListing(
            repository="zhu-xlab/So2Sat-LCZ42", revision="main", keep=("*.h5", "*.h5.gz"), subsets=("v4",)
        ),
        unverified="the layout of the repository: it is listed when it is asked for; unpack with gunzip",
    ),
    Dataset(
        name="oscd",
        title="Onera Satellite Change Detection: 24 pairs of Sentinel-2 L1C with change masks",
        license="CC-BY-4.0 [TG]; elsewhere its masks are CC-BY-NC-SA: see its page",
        page="https://rcdaudt.github.io/oscd/",
        files=tuple(
            _file(share, f"Onera Satellite Change Detection dataset - {what}.zip", digest, subset, path="download")
            for what, subset, share, digest in (
                (
                    "Images",
                    "images",
                    "https://partage.imt.fr/index.php/s/gKRaWgRnLMfwMGo",
                    "c50d4a2941da64e03a47ac4dec63d915",
                ),
                (
                    "Train Labels",
                    "train-labels",
                    "https://partage.mines-telecom.fr/index.php/s/2D6n03k58ygBSpu",
                    "4d2965af8170c705ebad3d6ee71b6990",
                ),
                (
                    "Test Labels",
                    "test-labels",
                    "https://partage.imt.fr/index.php/s/gpStKn4Mpgfnr63",
                    "8177d437793c522653c442aa4e66c617",
                ),
            )
        ),
    ),
    Dataset(
        name="oscd-dataport",
        title="OSCD from its home at IEEE DataPort",
        license="see its page",
        page="https://ieee-dataport.org/open-access/oscd-onera-satellite-change-detection",
        manual="IEEE DataPort wants a (free) login: fetch it in a browser, or take `oscd`, which needs none",
        unverified="the address of the page",
    ),
    Dataset(
        name="dfc2020",
        title="DFC2020 as Copernicus-Bench cuts it: Sentinel-1 and -2 with land cover, for segmentation",
        license="not told by our sources: see its page",
        page="https://huggingface.co/datasets/wangyi111/Copernicus-Bench",
        files=(
            _file(
                "https://hf.co/datasets/wangyi111/Copernicus-Bench/resolve/9d252acd3aa0e3da3128e05c6f028647f0e48e5f",
                "dfc2020.zip",
                "f10ba017dab6f38b7a6857b169ea924b",
                path="l2_dfc2020_s1s2/dfc2020.zip",
            ),
        ),
        unverified="the folders inside differ from those of the contest",
    ),
    Dataset(
        name="dfc2020-dataport",
        title="DFC2020 as the contest published it, with the folders of SEN12MS",
        license="see its page",
        page="https://ieee-dataport.org/competitions/2020-ieee-grss-data-fusion-contest",
        manual="IEEE DataPort wants a (free) login: fetch it in a browser, or take `dfc2020`, which needs none",
    ),
)

DATASETS: Mapping[str, Dataset] = MappingProxyType({dataset.name: dataset for dataset in (*_SSL4EO, *_BENCHMARKS)})
"""By name. The order is that of `ssl4eo download --list`."""


def find_dataset(name: str) -> Dataset:
    """Give what is published under a name.

    Raises:
        UnknownName: nothing is.
    """
    if name not in DATASETS:
        raise unknown_name("download", name, DATASETS)
    return DATASETS[name]
