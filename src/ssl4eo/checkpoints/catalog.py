# SPDX-License-Identifier: Apache-2.0
"""The weights that SSL4EO-S12 published, a card each: six scored rows, five more of MoCo, seven more of MAE.

Sources: [R] the README of zhu-xlab/SSL4EO-S12 (rows, Google Drive ids, scores); [C] its code; [TG] TorchGeo 0.8 (MIT),
which pins revisions and says how it feeds them; [HF] pages of HuggingFace (license; size and SHA-256 as Git LFS has
them). Nothing was downloaded to write this: what none of them gives is absent, what could not be checked says so in
`unverified`. Reading the files is the matter of other modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ssl4eo.checkpoints.card import Card, Holds, Score, WeightFile
from ssl4eo.contract import InputContract, network_input
from ssl4eo.errors import unknown_name
from ssl4eo.sensors import RGB

AUTHORS = "SSL4EO-S12"
TORCHGEO = "TorchGeo mirror"

_HUB = "https://huggingface.co"
_SSL4EO = f"{_HUB}/wangyi111/SSL4EO-S12/resolve/75c72195d35201dc1fb210818993518c25da566b"
"""[TG] pins this revision for the encoders; [R] links the same repository without one."""


def _drive(holds: Holds, drive_id: str, name: str, name_note: str = "its name is that of copies") -> WeightFile:
    """Make a file of the tables of [R]."""
    return WeightFile(
        holds=holds,
        host="drive",
        name=name,
        url=f"https://drive.google.com/file/d/{drive_id}/view",
        drive_id=drive_id,
        publisher=AUTHORS,
        unverified=f"content: neither size nor hash is published; {name_note}",
    )


def _log(drive_id: str, name: str) -> WeightFile:
    return _drive("log", drive_id, name, "its name is ours")


def _torchgeo(stem: str, revision: str, sha256: str, size: int, unverified: str = "") -> WeightFile:
    """Make a mirrored backbone; its name promises the first eight digits of its hash, [HF] has all of them."""
    name = f"{stem}-{sha256[:8]}.pth"
    return WeightFile(
        holds="backbone",
        host="huggingface",
        name=name,
        url=f"{_HUB}/torchgeo/{stem}/resolve/{revision}/{name}",
        publisher=TORCHGEO,
        sha256_start=sha256,
        size=size,
        unverified=unverified,
    )


def _hub(holds: Holds, name: str, sha256: str = "", size: int | None = None, *, seen: str = "") -> WeightFile:
    """Make a file of the authors' repository.

    Args:
        holds: what.
        name: in the repository.
        sha256: of the file at revision `seen`; empty: not found.
        size: the same [bytes].
        seen: revision whose page has the file.
    """
    unverified = f"that it is at the pinned revision: HuggingFace shows it at {seen}" if seen else ""
    if not sha256:
        unverified = "; ".join(filter(None, (unverified, "content: neither size nor hash was found")))
    return WeightFile(
        holds=holds,
        host="huggingface",
        name=name,
        url=f"{_SSL4EO}/{name}",
        publisher=AUTHORS,
        sha256_start=sha256,
        size=size,
        unverified=unverified,
    )


_MAE_UPLOAD = "c97e084589af5659353af0d344936c23f755bb78"
_MOCO_UPLOAD = "271c012392271be9857bdfab15d80bcd3927df9a"

_BANDS_13 = network_input("S2L1C")
_BANDS_RGB = network_input("S2L1C", RGB)
_RADAR = network_input("S1GRD")
_RADAR_TORCHGEO = replace(_RADAR, scaling="zscore:published_rounded")

_WRAPPED = (
    "the code feeds trunc(DN / 10000 * 255) / 255 without clipping, so B10 was close to 0 and pixels above 10000 DN "
    "came wrapped around; clip(DN / 10000, 0, 1) is the same without these two defects"
)
_CERTAIN_13 = f"high: the script is released, and its authors and TorchGeo say x / 10000; {_WRAPPED}"
_CERTAIN_13_MAE = f"medium: script not released, taken to be fed as MAE ViT-S/16 is, as TorchGeo does; {_WRAPPED}"
_CERTAIN_RGB = "medium: script not released; order B4 B3 B2 and x / 10000 are those of TorchGeo, clipping is ours"
_CERTAIN_RADAR = (
    "low: script not released; decibels (x - mean) / std with the rounded statistics is what TorchGeo documents, and "
    "the authors say that extreme values were suppressed and channels normalized; the 8-bit form of their code is "
    "another map, clip((x - mean) / (4 std) + 1/2, 0, 1) with the statistics of 50,000 locations: let an evaluation "
    "decide"
)

_LOCATIONS = "SSL4EO-S12 v1, 251,079 locations, four seasons; "
_DRAWN = "its code builds its data base by a draw with replacement, so about 63 % of the locations were in it"
_DRAWN_TWICE = "its code draws with replacement twice for MAE, so about 47 % of the locations were seen"
_OPTICAL = f"{_LOCATIONS}Sentinel-2 L1C, all 13 bands"
_RGB_DATA = f"{_LOCATIONS}Sentinel-2 L1C, red, green, blue"
_RADAR_DATA = f"{_LOCATIONS}Sentinel-1 GRD, VV and VH"

_LICENSE = "CC-BY-4.0 (HuggingFace); not told for the files at Google Drive"
_LICENSE_DRIVE = "not told for these files; other weights of these tables are CC-BY-4.0 at HuggingFace"

_FROZEN = "features of 13-band Sentinel-2 L1C for k-NN and linear probes, or a start for fine-tuning"
_TUNED = "a start for fine-tuning on 13-band Sentinel-2 L1C"
_OFFSET = "values that still contain the +1000 DN of processing baselines from 04.00 on; other sensors"
_FEWER = "products with fewer bands, unless what stands for the missing ones is decided (L2A: B10 as zeros)"
_NOT_13 = f"{_OFFSET}; {_FEWER}"
_NOT_13_TUNED = f"features without fine-tuning, for which MAE is reported to be the weakest; {_NOT_13}"
_NOT_RGB = f"8-bit pictures that were stretched for display, in place of reflectance; {_OFFSET}"
_NOT_RADAR = "linear intensities, RTC products, and comparisons between scalings that were not measured; Sentinel-2"


def _scores(bigearthnet: float, eurosat: float, so2sat: float, note: str = "") -> tuple[Score, ...]:
    """Make a row of the first table of [R]: of validation parts, in part with the best epoch picked on them."""
    rows = (
        ("BigEarthNet", "micro mAP [%]", bigearthnet),
        ("EuroSAT", "accuracy [%]", eurosat),
        ("So2Sat-LCZ42", "accuracy [%]", so2sat),
    )
    return tuple(
        Score(
            task=task,
            protocol="fine-tuning, all labels, on the validation part",
            value=value,
            unit=unit,
            source="README of SSL4EO-S12" + (f"; {note}" if note and task == "So2Sat-LCZ42" else ""),
        )
        for task, unit, value in rows
    )


_SCORED = (
    Card(
        name="moco_v2.resnet50.s2l1c",
        method="moco_v2",
        backbone="resnet50",
        contract=_BANDS_13,
        certainty=_CERTAIN_13,
        epochs=100,
        data=f"{_OPTICAL}; {_DRAWN}",
        license=_LICENSE,
        scores=_scores(91.8, 99.1, 60.9, "its link leads to the script of the ViT"),
        recommended=_FROZEN,
        not_recommended=_NOT_13,
        files=(
            _torchgeo(
                "resnet50_sentinel2_all_moco",
                "da4f3c9dbe09272eb902f3b37f46635fa4726879",
                "df8b932e2a23a0773febedf3f650aa7d342b805f7876ca5ed6b139d7245d7c09",
                94_487_109,
            ),
            _drive("backbone", "1MAe3dCW4hPasSaBMZAVkJVX80LONkrLY", "B13_rn50_moco_0099.pth"),
            _drive("full", "1OrtPfG2wkO05bimstQ_T9Dza8z3zp8i-", "B13_rn50_moco_0099_ckpt.pth"),
            _log("1G66pdvJmeD6Rc-OZdOKA1h2Vnvq_0nnt", "B13_rn50_moco_0099_log"),
        ),
    ),
    Card(
        name="moco_v3.vit_small_16.s2l1c",
        method="moco_v3",
        backbone="vit_small_16",
        contract=_BANDS_13,
        certainty=_CERTAIN_13,
        epochs=100,
        data=f"{_OPTICAL}; {_DRAWN}",
        license=_LICENSE,
        scores=_scores(89.9, 98.6, 61.6),
        recommended=_FROZEN,
        not_recommended=_NOT_13,
        files=(
            _torchgeo(
                "vit_small_patch16_224_sentinel2_all_moco",
                "1cb683f6c14739634cdfaaceb076529adf898c74",
                "67c9032df0449ae37f93c51696bcae0c6dc3485103deb44b4669e9897b90409c",
                90_668_909,
            ),
            _drive("backbone", "1LREGuI6w7Gq6Xm0jFQdxxtp8QkmLvJWk", "B13_vits16_moco_0099.pth"),
            _drive("full", "1Tx07L6OilkfcgE2HWiSXHRmRepCPdn6V", "B13_vits16_moco_0099_ckpt.pth"),
            _log("1f05B85T4Y2-RntfAw42uICKm9mwilHXF", "B13_vits16_moco_0099_log"),
        ),
    ),
    Card(
        name="dino.resnet50.s2l1c",
        method="dino",
        backbone="resnet50",
        contract=_BANDS_13,
        certainty=_CERTAIN_13,
        epochs=100,
        data=f"{_OPTICAL}; {_DRAWN}",
        license=_LICENSE,
        scores=_scores(90.7, 99.1, 63.6),
        recommended=_FROZEN,
        not_recommended=_NOT_13,
        files=(
            _torchgeo(
                "resnet50_sentinel2_all_dino",
                "d7f14bf5530d70ac69d763e58e77e44dbecfec7c",
                "d6c330e99fb65d7a8ed9cdf06f6ec752b9db74718fa2edf42314bf3fdf132dd4",
                94_470_597,
            ),
            _drive("backbone", "1B4o_NvY7O6fJrvsOUR-7QzLYNpRL1ieA", "B13_rn50_dino_0099.pth"),
            _drive("full", "1iSHHp_cudPjZlshqWXVZj5TK74P32a2q", "B13_rn50_dino_0099_ckpt.pth"),
            _log("1VxjT-3n1ckbvnlsF81jZwmm9Wvb3YX0H", "B13_rn50_dino_0099_log"),
        ),
    ),
    Card(
        name="dino.vit_small_16.s2l1c",
        method="dino",
        backbone="vit_small_16",
        contract=_BANDS_13,
        certainty=_CERTAIN_13,
        epochs=100,
        data=f"{_OPTICAL}; {_DRAWN}",
        license=_LICENSE,
        scores=_scores(90.5, 99.0, 62.2),
        recommended=_FROZEN,
        not_recommended=_NOT_13,
        files=(
            _torchgeo(
                "vit_small_patch16_224_sentinel2_all_dino",
                "5b41dd418a79de47ac9f5be3e035405a83818a62",
                "36bcc1273227252faf98e1d9f32c35166d3612d30dc0c15812c29bed6da9a7d5",
                90_644_269,
            ),
            _drive("backbone", "1kjQWfPRI5z43EmRkw5fzgHU01hB7E_4H", "B13_vits16_dino_0099.pth"),
            _drive("full", "1CseO5vvMReGlAulm5o4ZgbjUgj8VlAH7", "B13_vits16_dino_0099_ckpt.pth"),
            _log("1eeKrKFMa6akGyXugBRF6-rJ7oTIeZAno", "B13_vits16_dino_0099_log"),
        ),
    ),
    Card(
        name="mae.vit_small_16.s2l1c",
        method="mae",
        backbone="vit_small_16",
        contract=_BANDS_13,
        certainty=_CERTAIN_13,
        epochs=100,
        data=f"{_OPTICAL}; {_DRAWN_TWICE}",
        license=_LICENSE,
        scores=_scores(88.9, 98.7, 63.9),
        recommended=_TUNED,
        not_recommended=_NOT_13_TUNED,
        files=(
            _hub("backbone", "B13_vits16_mae_ep99_enc.pth"),
            _drive("backbone", "1hdie-7orFnj5Q1E1C2BudqwQCvMk3Fza", "B13_vits16_mae_0099.pth"),
            _drive("full", "1QTBKl1asxgQCNd6bO2azXZNPfoQ3Sazv", "B13_vits16_mae_0099_ckpt.pth"),
            _log("1uJojq9q_fKMdD6cO1YXCPguZYEmfj35s", "B13_vits16_mae_0099_log"),
        ),
    ),
    Card(
        name="data2vec.vit_small_16.s2l1c",
        method="data2vec",
        backbone="vit_small_16",
        contract=_BANDS_13,
        certainty=_CERTAIN_13,
        epochs=100,
        data=f"{_OPTICAL}; {_DRAWN}",
        license=_LICENSE_DRIVE,
        scores=_scores(90.3, 99.1, 64.8, "its link leads to the script of the linear probe with 10 % of the labels"),
        recommended=_FROZEN,
        not_recommended=_NOT_13,
        files=(
            _drive("backbone", "1YecuYPAxl1NIzLmsmdbUROjCb5g0t80l", "B13_vits16_data2vec_0099.pth"),
            _drive("full", "1VbIGBwzZYndv4v1vx9FiD6IP-YwsHEns", "B13_vits16_data2vec_0099_ckpt.pth"),
        ),
    ),
)


def _moco(backbone: str, contract: InputContract, files: Sequence[WeightFile], *, epochs: int = 100) -> Card:
    """Make a card of the MoCo rows of the second table of [R], which have no scores."""
    kind = "s1grd" if contract.modality == "S1GRD" else "s2rgb" if contract.bands == RGB else "s2l1c"
    data, certainty, use, avoid = {
        "s2l1c": (_OPTICAL, _CERTAIN_13, _FROZEN, _NOT_13),
        "s2rgb": (_RGB_DATA, _CERTAIN_RGB, "features of red, green, blue Sentinel-2 L1C, or a start", _NOT_RGB),
        "s1grd": (_RADAR_DATA, _CERTAIN_RADAR, "features of Sentinel-1 GRD in decibels, or a start", _NOT_RADAR),
    }[kind]
    return Card(
        name=f"moco_v2.{backbone}.{kind}" + ("" if epochs == 100 else f".ep{epochs}"),
        method="moco_v2",
        backbone=backbone,
        contract=contract,
        alternatives=(_RADAR,) if kind == "s1grd" else (),
        certainty=certainty,
        epochs=epochs,
        data=f"{data}; {_DRAWN}",
        license=_LICENSE if any(file.host == "huggingface" for file in files) else _LICENSE_DRIVE,
        recommended=use,
        not_recommended=avoid,
        files=tuple(files),
    )


_MOCO = (
    _moco(
        "resnet18",
        _BANDS_13,
        (
            _torchgeo(
                "resnet18_sentinel2_all_moco",
                "5b8cddc9a14f3844350b7f40b85bcd32aed75918",
                "59bfdff99c7af41adfa2557e684ec59aec79f4cf6bb1a2e9714b802f08e2222e",
                44_915_225,
            ),
            _drive("full", "1iWLm7ljQ6tKZiVp47pJUPDe3Un0BUd9o", "B13_rn18_moco_0099_ckpt.pth"),
        ),
    ),
    _moco(
        "resnet18",
        _BANDS_RGB,
        (_drive("full", "1HfgXS5VpQA39k8mFrWMbHvYwuT_j6Mbi", "B3_rn18_moco_0099_ckpt.pth"),),
    ),
    _moco(
        "resnet18",
        _BANDS_RGB,
        (
            _torchgeo(
                "resnet18_sentinel2_rgb_moco",
                "e1c032e7785fd0625224cdb6699aa138bb304eec",
                "e3a335e38d1d189ad3b0eba4be4004a9c52c5e846317b6737ac9f0fac57e1ac8",
                44_789_785,
                "that it is the run of 200 epochs: an early version of TorchGeo converted that file under this name",
            ),
            _drive("full", "1U_m39Owahk15Vg1uL1MYbPAmAyUWBKfI", "B3_rn18_moco_0199_ckpt.pth"),
        ),
        epochs=200,
    ),
    _moco(
        "resnet50",
        _BANDS_RGB,
        (
            _torchgeo(
                "resnet50_sentinel2_rgb_moco",
                "efd9723b59a88e9dc1420dc1e96afb25b0630a3c",
                "2b57ba8b9964dbe1c409aac1bb79b4d97c19c874ffe7934799b7c8ad94ff85f0",
                94_361_669,
            ),
            _hub(
                "full",
                "B3_rn50_moco_0099_full_ckpt.pth",
                "e672093c96fbb401e9ff42e0205e6f2230b988ce827cefe289aa77aad96d6b6a",
                369_856_303,
                seen=_MOCO_UPLOAD,
            ),
            _drive("full", "1UEpA9sOcA47W0cmwQhkSeXfQxrL-EcJB", "B3_rn50_moco_0099_ckpt.pth"),
        ),
    ),
    _moco(
        "resnet50",
        _RADAR_TORCHGEO,
        (
            _torchgeo(
                "resnet50_sentinel1_all_moco",
                "e79862c667853c10a709bdd77ea8ffbad0e0f1cf",
                "906e4356da0ff06ce0388cba50dd4f310ba6abbee706c5303c129d8aead98082",
                94_349_125,
            ),
            _hub(
                "backbone",
                "B2_rn50_moco_0099_backbone.pth",
                "1301a824966c9e31664e91b5b9c41669fa7501ff8cbf6c0d72cb23bfc68988af",
                112_183_485,
                seen=_MOCO_UPLOAD,
            ),
            _drive("backbone", "1E5MvVI1SnQneQXe37QAWx_B6aoTiSN24", "B2_rn50_moco_0099.pth"),
            _hub(
                "full",
                "B2_moco_rn50_0099_full_ckpt.pth",
                "8583c63f2e5742c2244b0bd61a66c172d859b83a11226ad7e97be048ba9185d9",
                369_818_671,
                seen=_MOCO_UPLOAD,
            ),
            _drive("full", "1gjTTWikf1qORJyFifWD1ksk9HzezqQ0b", "B2_rn50_moco_0099_ckpt.pth"),
        ),
    ),
)


def _mae(backbone: str, contract: InputContract, full: WeightFile, *, epochs: int = 100) -> Card:
    """Make a card of the MAE rows of the second table of [R]: encoder and full file at HuggingFace, no scores."""
    is_radar = contract.modality == "S1GRD"
    return Card(
        name=f"mae.{backbone}.{'s1grd' if is_radar else 's2l1c'}",
        method="mae",
        backbone=backbone,
        contract=contract,
        alternatives=(_RADAR,) if is_radar else (),
        certainty=_CERTAIN_RADAR if is_radar else _CERTAIN_13_MAE,
        epochs=epochs,
        data=f"{_RADAR_DATA if is_radar else _OPTICAL}; {_DRAWN_TWICE}, if the unreleased script did the same",
        license="CC-BY-4.0 (HuggingFace)",
        recommended="a start for fine-tuning on Sentinel-1 GRD in decibels" if is_radar else _TUNED,
        not_recommended=_NOT_RADAR if is_radar else _NOT_13_TUNED,
        files=(_hub("backbone", full.name.replace(".pth", "_enc.pth")), full),
    )


_MAE = (
    _mae(
        "vit_base_16",
        _BANDS_13,
        _hub(
            "full",
            "B13_vitb16_mae_ep99.pth",
            "49be5af0cd97e50166712e7210d3e0f0b270c290b66c4a72349f823acbd5a9b0",
            1_367_671_062,
            seen=_MAE_UPLOAD,
        ),
    ),
    _mae(
        "vit_large_16",
        _BANDS_13,
        _hub(
            "full",
            "B13_vitl16_mae_ep99.pth",
            "31c5550dd9b29c478869f61180d2d89f72a28a4165e76c75a3c45c591e56a5bc",
            3_986_920_278,
            seen=_MAE_UPLOAD,
        ),
    ),
    _mae(
        "vit_huge_14",
        _BANDS_13,
        _hub(
            "full",
            "B13_vith14_mae_ep199.pth",
            "c813380fbec9ce1c09b3b89a49029f60c80f99b34a0cf83db5fb67ed0e08a190",
            7_914_831_621,
            seen=_MAE_UPLOAD,
        ),
        epochs=200,
    ),
    _mae("vit_small_16", _RADAR_TORCHGEO, _hub("full", "B2_vits16_mae_ep99.pth", seen=_MAE_UPLOAD)),
    _mae(
        "vit_base_16",
        _RADAR_TORCHGEO,
        _hub(
            "full",
            "B2_vitb16_mae_ep99.pth",
            "400fc36b545123420964607a428fc6283cffc4e02d82675fdd649a1452e629c9",
            1_337_256_607,
            seen=_MAE_UPLOAD,
        ),
    ),
    _mae("vit_large_16", _RADAR_TORCHGEO, _hub("full", "B2_vitl16_mae_ep99.pth", seen=_MAE_UPLOAD)),
    _mae(
        "vit_huge_14",
        _RADAR_TORCHGEO,
        _hub(
            "full",
            "B2_vith14_mae_ep199.pth",
            "122a0978352c430ed03d24b7ff067019b1579df6f4ccdf8a7f29aaf527519a66",
            7_877_622_559,
            seen=_MAE_UPLOAD,
        ),
        epochs=200,
    ),
)

CARDS: Mapping[str, Card] = MappingProxyType({card.name: card for card in (*_SCORED, *_MOCO, *_MAE)})
"""By name. The order is that of `ssl4eo checkpoints list`."""


def card(name: str) -> Card:
    """Give the card of a published checkpoint.

    >>> card("dino.vit_small_16.s2l1c").epochs
    100

    Raises:
        UnknownName: none is called that.
    """
    if name not in CARDS:
        raise unknown_name("published checkpoint", name, CARDS, lister="ssl4eo checkpoints list")
    return CARDS[name]


def card_of_file(name: str) -> Card | None:
    """Find the card that lists a file of this name, None if no card does or several do."""
    found = [c for c in CARDS.values() if any(file.name == name for file in c.files)]
    return found[0] if len(found) == 1 else None
