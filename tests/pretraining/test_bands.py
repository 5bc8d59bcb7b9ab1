# SPDX-License-Identifier: Apache-2.0
"""A run on some bands of its modality: only they are read and rendered, and the network knows them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.checkpoints.training_state import load_latest
from ssl4eo.cli import main
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.contract import FusedContract, narrowed, network_input, stored
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, ContractMismatch
from ssl4eo.loading.pixels import ArchivePixels
from ssl4eo.packing.pack import pack
from ssl4eo.pretraining.loop import pretrain
from ssl4eo.pretraining.stored_config import stored_config
from ssl4eo.recipes.table import recipe

FOUR = ("B02", "B03", "B04", "B08")


@pytest.fixture(scope="module")
def planet(tmp_path_factory):
    """Pack eight places."""
    path = tmp_path_factory.mktemp("planet") / "a.zarr"
    pack(SyntheticPlanet(8, size=24, modalities=("S2L2A", "S1GRD")), path)
    return path


def config(name="moco_v2.resnet18.s2l2a.tiny", bands=FOUR, **engine):
    """Make a run of two steps an epoch on a network that is as small as can be."""
    base = recipe(name).config()
    view = dataclasses.replace(base.views.view, size=32)
    options = {"epochs": 1, "batch_size": 4, "probe_every": 0} | engine
    return dataclasses.replace(
        base,
        backbone="test_resnet",
        bands=bands,
        method=dataclasses.replace(base.method, queue_size=8),
        views=dataclasses.replace(base.views, view=view),
        engine=dataclasses.replace(base.engine, **options),
    )


class Counting(ArchivePixels):
    """An archive that notes which resolutions were asked for."""

    def pixels(self, index, season, *, resolutions=None):
        """Give pixels."""
        ASKED.update(resolutions)
        return super().pixels(index, season, resolutions=resolutions)


ASKED = set()


def test_network_is_fed_the_bands_alone(planet, tmp_path):
    """Its contract says which, a run of all bands reads more; other resolutions are not even read."""
    ASKED.clear()
    pretrain(config(), Counting(planet, "S2L2A"), tmp_path / "run", quiet=True)

    network = load_backbone(tmp_path / "run")
    assert {10} == ASKED
    assert network.contract == network_input("S2L2A", FOUR)
    assert next(network.net.parameters()).shape[1] == 4
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert kept["bands"] == list(FOUR)
    assert stored_config(kept) == dataclasses.replace(config(), engine=stored_config(kept).engine)


def test_order_of_the_bands_is_that_of_the_network(planet, tmp_path):
    """The same weights on bands in another order are another network."""
    red_first = ("B04", "B03", "B02", "B08")
    runs = {}
    for bands in (FOUR, red_first):
        pretrain(config(bands=bands), ArchivePixels(planet, "S2L2A"), tmp_path / bands[0], quiet=True)
        runs[bands] = load_backbone(tmp_path / bands[0])
    image = np.random.default_rng(0).integers(1, 9000, (1, 4, 32, 32)).astype(np.uint16)

    first = runs[red_first].embed(image, contract=stored("S2L2A", bands=red_first))
    again = runs[red_first].embed(image[:, [2, 1, 0, 3]], contract=stored("S2L2A", bands=FOUR))

    assert runs[red_first].contract.bands == red_first
    torch.testing.assert_close(torch.as_tensor(first), torch.as_tensor(again))


def test_all_bands_by_name_are_all_bands(planet, tmp_path):
    """Bit by bit, though the views' draws have nothing to do with it."""
    all_bands = network_input("S2L2A").bands
    for name, bands in (("left out", ()), ("named", all_bands)):
        pretrain(config(bands=bands), ArchivePixels(planet, "S2L2A"), tmp_path / name, quiet=True)
    first, second = (load_backbone(tmp_path / name).state_dict() for name in ("left out", "named"))

    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_bands_of_stacked_sensors(planet, tmp_path):
    """Each sensor's own."""
    chosen = config("moco_v2.resnet18.s2l2a_s1grd.tiny", ("B4", "B3", "VV"))

    pretrain(chosen, ArchivePixels(planet, "S2L2A+S1GRD"), tmp_path / "run", quiet=True)

    assert chosen.bands == ("B04", "B03", "VV")
    assert load_backbone(tmp_path / "run").contract.bands == ("B04", "B03", "VV")


@pytest.mark.parametrize(
    ("name", "bands", "told"),
    [
        ("moco_v2.resnet18.s2l2a.tiny", ("B02", "B10"), "B10 exists only in S2L1C; leave B10 out"),
        ("moco_v2.resnet18.s2l2a.tiny", ("B02", "B77"), "B12: leave B77 out, or spell"),
        ("moco_v2.resnet18.s2l2a.tiny", ("B02", "B2"), "distinct bands"),
        ("moco_v2.resnet18.s2l2a_s1grd.tiny", ("B02", "B03"), "add some of S1GRD"),
        ("moco_v2.resnet18.s2l2a_s1grd.tiny", ("B02", "VV", "HH"), "leave HH out"),
        ("moco_v2.resnet18.s2l2a_s1grd.tiny", ("VV", "B04", "B03"), "give them as B04 B03 VV"),
    ],
)
def test_bands_that_there_are_not_are_refused(name, bands, told):
    """Before anything is read."""
    with pytest.raises(ConfigInvalid, match=f"{told}.*") as error:
        config(name, bands)
    assert "(option bands)" in str(error.value)


def test_run_goes_on_with_the_same_bands_only(planet, tmp_path):
    """In any spelling; runs that are older than the option had all of them."""
    source = ArchivePixels(planet, "S2L2A")
    pretrain(config(), source, tmp_path / "run", quiet=True)

    pretrain(config(bands=("B2", "B3", "B4", "B8")), source, tmp_path / "run", resume=True, quiet=True)
    with pytest.raises(CheckpointInvalid, match=r"bands \['B02', 'B03', 'B04', 'B08'\], now \[\]"):
        pretrain(config(bands=()), source, tmp_path / "run", resume=True, quiet=True)


def test_state_of_a_run_on_other_bands_is_refused(planet, tmp_path):
    """As many, and others: the shapes would fit."""
    source = ArchivePixels(planet, "S2L2A")
    pretrain(config(), source, tmp_path / "run", quiet=True)
    other = dataclasses.replace(config(bands=("B05", "B06", "B07", "B8A")), init_from=str(tmp_path / "run"))

    with pytest.raises(ConfigInvalid, match="a run with bands B02 B03 B04 B08; expected bands B05 B06 B07 B8A"):
        pretrain(other, source, tmp_path / "other", quiet=True)


@pytest.mark.parametrize("whole", [True, False])
def test_weights_that_do_not_tell_their_bands_are_refused(planet, tmp_path, whole):
    """As many in another order would load, and the filter of blue would see the near infrared."""
    source = ArchivePixels(planet, "S2L2A")
    pretrain(config(bands=()), source, tmp_path / "run", quiet=True)
    weights = load_latest(tmp_path / "run").method
    encoder = {key.removeprefix("backbone.net."): v for key, v in weights.items() if key.startswith("backbone.net.")}
    published = {"state_dict": {f"module.encoder_q.{key}": value for key, value in encoder.items()}}
    torch.save(published if whole else encoder, tmp_path / "foreign.pth")
    backwards = network_input("S2L2A").bands[::-1]

    run = dataclasses.replace(config(bands=backwards), init_from=str(tmp_path / "foreign.pth"))

    with pytest.raises(ConfigInvalid, match=r"does not say its bands; expected .* --bands B12 B11"):
        pretrain(run, source, tmp_path / "other", quiet=True)


def test_weights_of_other_bands_of_the_modality_are_refused(planet, tmp_path):
    """As many in another order: a warning would leave the filter of blue on the near infrared."""
    source = ArchivePixels(planet, "S2L2A")
    pretrain(config(), source, tmp_path / "run", quiet=True)
    network = str(tmp_path / "run" / "backbone.safetensors")

    run = dataclasses.replace(config(bands=("B04", "B03", "B02", "B08")), init_from=network)
    with pytest.raises(ConfigInvalid, match=r"whose filters are of B02 B03 B04 B08; .* --bands B02 B03 B04 B08"):
        pretrain(run, source, tmp_path / "other", quiet=True)
    run = dataclasses.replace(config(), init_from=network)
    assert pretrain(run, source, tmp_path / "same", quiet=True).steps == 2


def test_command_takes_bands(planet, tmp_path, capsys):
    """In any spelling, apart by commas or blanks; they stand in the config that --print_config writes."""
    command = ["pretrain", "--recipe", "moco_v2.resnet18.s2l2a.tiny", "--data", str(planet), "--bands", "B2,B8"]
    small = ["--engine.batch_size=4", "--method.queue_size=8", "--views.view.size=32", "--engine.epochs=1", "--quiet"]

    assert main([*command, "--out", str(tmp_path / "run"), "--split", "none", *small]) == 0

    assert load_backbone(tmp_path / "run").contract.bands == ("B02", "B08")
    (tmp_path / "bands.yaml").write_text("bands: B4,B8\n")
    command[command.index("--bands") :] = ["--config", str(tmp_path / "bands.yaml")]
    assert main([*command, "--out", str(tmp_path / "file"), "--split", "none", *small]) == 0
    assert load_backbone(tmp_path / "file").contract.bands == ("B04", "B08")
    assert main([*command, "--bands", "", "--out", str(tmp_path / "none"), "--split", "none", *small]) == 2
    assert "--bands without a band" in capsys.readouterr().err
    assert main(["pretrain", "--recipe", "moco_v2.resnet18.s2l2a.tiny", "--data", str(planet), "--bands", "B2", "B99",
                 "--out", str(tmp_path / "other")]) == 2  # fmt: skip
    assert "B99" in capsys.readouterr().err


def test_narrowed_contracts_have_what_is_needed() -> None:
    """In the source's order; parts that nothing is taken of go."""
    both = FusedContract((stored("S2L1C", offset=1000), stored("S1GRD")))

    assert narrowed(both, network_input("S2L1C")) == stored("S2L1C", offset=1000)
    assert narrowed(stored("S2L2A"), network_input("S2L1C")) == stored("S2L2A")  # B10 is filled
    assert narrowed(both, network_input("S2L2A+S1GRD", ["B08", "B02", "VH"])).bands == ("B02", "B08", "VH")
    with pytest.raises(ContractMismatch):
        narrowed(stored("S1GRD"), network_input("S2L1C"))
