# SPDX-License-Identifier: Apache-2.0
"""The cards of published weights against the architectures they name, and the rules of their addresses."""

from __future__ import annotations

import re

import pytest

from ssl4eo.backbones.architectures import ARCHITECTURES, on_meta
from ssl4eo.checkpoints.card import Card
from ssl4eo.checkpoints.catalog import CARDS, card
from ssl4eo.errors import UnknownName
from ssl4eo.recipes.table import recipe

# Tensors and parameters of the published encoders without heads, counted in the reference's own modules; copied by
# hand. Buffers of batch norm count as tensors.
PUBLISHED = {
    ("resnet50", 13): (318, 23_539_392),
    ("resnet50", 3): (318, 23_508_032),
    ("resnet50", 2): (318, 23_504_896),
    ("resnet18", 13): (120, 11_207_872),
    ("resnet18", 3): (120, 11_176_512),
    ("vit_small_16", 13): (150, 22_648_704),
    ("vit_small_16", 2): (150, 21_567_360),
    ("vit_base_16", 13): (150, 87_764_736),
    ("vit_base_16", 2): (150, 85_602_048),
    ("vit_large_16", 13): (294, 305_923_072),
    ("vit_large_16", 2): (294, 303_039_488),
    ("vit_huge_14", 13): (390, 633_273_600),
    ("vit_huge_14", 2): (390, 630_513_920),
}
DATA2VEC = 22_582_056
"""Parameters with the one layer norm that stands behind the blocks."""

every_card = pytest.mark.parametrize("found", CARDS.values(), ids=CARDS)


def network_of(found: Card):
    """Build the network of a card as the recipe of its name does, without memory."""
    options = recipe(".".join(found.name.split(".")[:3])).config().method.backbone_options(found.backbone)
    return on_meta(found.backbone, num_bands=found.contract.num_bands, image_size=found.image_size, options=options)


@every_card
def test_a_card_has_the_size_that_its_architecture_implies(found: Card) -> None:
    """Tensors and parameters are those of the published encoder."""
    net = network_of(found)

    count = sum(p.numel() for p in net.parameters())
    if found.method == "data2vec":
        assert count == DATA2VEC
    else:
        assert (len(net.state_dict()), count) == PUBLISHED[found.backbone, found.contract.num_bands]


@every_card
def test_the_contract_has_the_bands_of_the_first_layer(found: Card) -> None:
    """As many channels, in the published order."""
    state = network_of(found).state_dict()
    first = state["conv1.weight"] if "conv1.weight" in state else state["patch_embed.proj.weight"]

    assert first.shape[1] == found.contract.num_bands == {"s2l1c": 13, "s2rgb": 3, "s1grd": 2}[found.input]


@pytest.mark.parametrize(
    ("kind", "spelled", "others"),
    [
        (
            "s2l1c",
            "S2L1C (L1C) B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B10 B11 B12 [DN, offset 0, reflectance]",
            [],
        ),
        ("s2rgb", "S2L1C (L1C) B04 B03 B02 [DN, offset 0, reflectance]", []),
        (
            "s1grd",
            "S1GRD (GRD) VV VH [dB, offset 0, zscore:published_rounded]",
            ["S1GRD (GRD) VV VH [dB, offset 0, sigma2:published_50k]"],
        ),
    ],
)
def test_inputs_are_the_documented_ones(kind: str, spelled: str, others: list[str]) -> None:
    """Reflectance for Sentinel-2; TorchGeo's z-score for radar, with the 8-bit map of the code beside it."""
    cards = [c for c in CARDS.values() if c.input == kind]

    assert {str(c.contract) for c in cards} == {spelled}
    assert all([str(other) for other in c.alternatives] == others for c in cards)


def test_torchgeo_standardizes_radar_by_the_rounded_statistics() -> None:
    """The numbers of its transform are those of our default contract, and its files are those of our mirrors."""
    models = pytest.importorskip("torchgeo.models")
    from torchgeo.models import resnet

    from ssl4eo.contract import scaling_affine

    affine = scaling_affine(card("moco_v2.resnet50.s1grd").contract)
    ours = {f.url for c in CARDS.values() for f in c.files}
    theirs = {
        weights.url.replace("https://hf.co/", "https://huggingface.co/")
        for name in ("ResNet18", "ResNet50", "ViTSmall16", "ViTBase16", "ViTLarge16", "ViTHuge14")
        for weights in getattr(models, f"{name}_Weights")
        if weights.meta["dataset"] == "SSL4EO-S12" and weights.meta["ssl_method"] in ("moco", "dino", "mae")
    }

    assert affine.gain == tuple(1 / std for std in resnet._std_s1)
    assert affine.bias == pytest.approx([-m / s for m, s in zip(resnet._mean_s1, resnet._std_s1, strict=True)])
    assert len(theirs) == 16
    assert theirs <= ours


def test_there_is_a_card_for_each_published_row() -> None:
    """Six rows with scores, five more of MoCo, seven more of MAE."""
    scored = [c for c in CARDS.values() if c.scores]

    assert len(scored) == 6
    assert len(CARDS) == 18
    assert {c.backbone for c in CARDS.values()} <= set(ARCHITECTURES)
    for c in scored:
        assert [s.task for s in c.scores] == ["BigEarthNet", "EuroSAT", "So2Sat-LCZ42"]
        kinds = {f.holds for f in c.files}
        assert kinds == ({"full", "backbone"} if c.method == "data2vec" else {"full", "backbone", "log"})


@every_card
def test_a_card_is_called_by_its_contents(found: Card) -> None:
    """Method, network, input, and the epochs where they tell two apart; no text is left out."""
    expected = f"{found.method}.{found.backbone}.{found.input}"

    assert found.name in (expected, f"{expected}.ep{found.epochs}")
    assert found.epochs in (100, 200)
    assert all((found.certainty, found.data, found.license, found.recommended, found.not_recommended))
    assert found.certainty.split(":")[0] in ("high", "medium", "low")


def test_every_address_is_pinned_and_every_name_is_its_own() -> None:
    """A commit at HuggingFace, an id at Google Drive, 8 or all digits of a hash; no two files share a name."""
    files = [f for c in CARDS.values() for f in c.files]

    for f in files:
        assert "/main/" not in f.url
        if f.host == "drive":
            assert re.fullmatch(r"[\w-]{33}", f.drive_id)
            assert f.url == f"https://drive.google.com/file/d/{f.drive_id}/view"
        else:
            assert re.fullmatch(
                rf"https://huggingface\.co/[\w-]+/[\w-]+/resolve/[0-9a-f]{{40}}/{re.escape(f.name)}", f.url
            )
        assert re.fullmatch(r"([0-9a-f]{64})?", f.sha256_start)
        assert (f.size is None) == (not f.sha256_start)
        assert f.sha256_start or f.unverified
        promised = re.search(r"-([0-9a-f]{8})\.pth$", f.name)
        assert not promised or f.sha256_start.startswith(promised[1])
    assert len({f.name.lower() for f in files}) == len({f.url for f in files}) == len(files)


@every_card
def test_sizes_fit_the_number_of_parameters(found: Card) -> None:
    """A backbone alone is its float32 weights and at most a head; a full file is larger than that."""
    weights = 4 * sum(t.numel() for t in network_of(found).state_dict().values())

    for f in found.files:
        if f.size is not None and f.holds == "backbone":
            assert weights < f.size < 1.25 * weights
        elif f.size is not None:
            assert f.size > 2 * weights


def test_a_full_checkpoint_stands_in_where_no_backbone_is_published() -> None:
    """What holds a backbone is a file of one, or else the whole."""
    assert [f.name for f in card("moco_v2.resnet18.s2rgb").holding("backbone")] == ["B3_rn18_moco_0099_ckpt.pth"]
    assert [f.holds for f in card("mae.vit_base_16.s1grd").holding("backbone")] == ["backbone", "full"]
    assert [f.holds for f in card("mae.vit_base_16.s1grd").holding("full")] == ["full"]


def test_an_unknown_checkpoint_is_refused_with_the_nearest() -> None:
    """A typing error costs one look."""
    with pytest.raises(UnknownName, match=r"did you mean dino\.vit_small_16\.s2l1c\?"):
        card("dino.vit_smal_16.s2l1c")
