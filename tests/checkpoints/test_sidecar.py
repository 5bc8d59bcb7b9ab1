# SPDX-License-Identifier: Apache-2.0
"""What is told of a file of others: the record beside it, the card of its name, and whether the file fits."""

from __future__ import annotations

import json
import logging
import re

import pytest
import torch
from export_networks import features, kept, looks_trained, scaled, small
from published_files import beit, data2vec, encoder, mae, moco_v2
from safetensors.torch import save_file

from ssl4eo.backbones.adapt import with_contract
from ssl4eo.checkpoints.backbone_file import save_backbone
from ssl4eo.checkpoints.catalog import CARDS
from ssl4eo.checkpoints.export import export
from ssl4eo.checkpoints.inspection import inspect
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.contract import network_input, stored
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, ContractMismatch, SourceInvalid

RGB_RECORD = {"contract": network_input("S2L1C", ("B04", "B03", "B02")).to_json()}


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        *(("timm", kind) for kind in ("resnet", "cls", "mean", "relative")),
        ("torchgeo", "resnet"),
        ("torchvision", "resnet"),
    ],
)
def test_flat_exports_come_back_as_they_left(form, kind, tmp_path, caplog):
    """Contract, size, options and features, though the file has none but tensors."""
    network = small(kind, "S2RGB")
    export(kept(network, tmp_path / "run"), form, tmp_path / "a.pt")

    with caplog.at_level(logging.WARNING):
        again = load_backbone(tmp_path / "a.pt")

    assert (again.contract, again.image_size, again.options) == (network.contract, network.image_size, network.options)
    torch.testing.assert_close(features(again, scaled(network)), features(network, scaled(network)), rtol=0, atol=0)
    assert not caplog.text


def test_record_of_another_file_is_refused(tmp_path):
    """Copied over by a later export."""
    export(kept(small("resnet"), tmp_path / "run"), "timm", tmp_path / "a.pt")
    other = looks_trained("resnet18", network_input("S2L1C"), image_size=32)
    torch.save(other.net.state_dict(), tmp_path / "a.pt")

    with pytest.raises(CheckpointInvalid, match=r"a\.pt\.json is of another file than a\.pt: its sha256 differs"):
        load_backbone(tmp_path / "a.pt")


def test_record_by_hand_needs_a_contract_only(tmp_path):
    """Three bands may be any."""
    torch.save(encoder("resnet18", 3).state_dict(), tmp_path / "a.pth")
    with pytest.raises(ContractMismatch, match=r"a\.pth\.json"):
        load_backbone(tmp_path / "a.pth")

    (tmp_path / "a.pth.json").write_text(json.dumps(RGB_RECORD))

    assert load_backbone(tmp_path / "a.pth").contract.bands == ("B04", "B03", "B02")


def test_contract_of_the_caller_stands_above_the_record(tmp_path, caplog):
    """And the difference is said."""
    torch.save(encoder("resnet18", 3).state_dict(), tmp_path / "a.pth")
    (tmp_path / "a.pth.json").write_text(json.dumps(RGB_RECORD))

    with caplog.at_level(logging.INFO):
        network = load_backbone(tmp_path / "a.pth", contract=network_input("S2RGB"))

    assert network.contract.modality == "S2RGB"
    assert "the record a.pth.json says S2L1C (L1C) B04 B03 B02" in caplog.text


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "cannot be read"),
        ('{"contract": {"modality": "S2L1C"}}', "cannot be read"),
        ('{"contract": {}, "sha256": "00"}', "of another file"),
        (json.dumps(RGB_RECORD | {"image_size": "wide"}), "has image_size 'wide'"),
        (json.dumps(RGB_RECORD | {"image_size": 224.7, "arch": "nope"}), "has image_size 224.7, arch 'nope'"),
        (json.dumps(RGB_RECORD | {"training": ["ab"], "options": []}), "has options"),
        ('{"contract": null}', "has contract None"),
        (json.dumps({"contract": RGB_RECORD["contract"] | {"scalling": "none"}}), "a contract with scalling"),
    ],
)
def test_unreadable_records_are_refused(text, match, tmp_path):
    """Never passed over: who wrote one meant it."""
    torch.save(encoder("resnet18", 3).state_dict(), tmp_path / "a.pth")
    (tmp_path / "a.pth.json").write_text(text)

    with pytest.raises(CheckpointInvalid, match=match):
        load_backbone(tmp_path / "a.pth")


def test_other_json_beside_a_file_is_passed_over_and_said(tmp_path, caplog):
    """Of some other program, or a record with a slip of the pen."""
    torch.save(encoder("resnet18", 13).state_dict(), tmp_path / "a.pth")
    (tmp_path / "a.pth.json").write_text('["notes"]')

    assert load_backbone(tmp_path / "a.pth").contract == network_input("S2L1C")
    assert "a.pth.json has no contract: it is no record" in caplog.text


def test_record_that_contradicts_a_file_of_ours_is_refused(tmp_path):
    """Beside the file, and as the contract.json of a folder that was edited."""
    export(kept(small("resnet"), tmp_path / "run"), "huggingface", tmp_path / "hf")
    edited = json.loads((tmp_path / "hf" / "contract.json").read_text())
    assert load_backbone(tmp_path / "hf").contract.offset == 0
    edited["contract"]["offset"] = 1000
    (tmp_path / "hf" / "contract.json").write_text(json.dumps(edited))

    with pytest.raises(CheckpointInvalid, match=r"contract\.json says S2L1C .*offset 1000"):
        load_backbone(tmp_path / "hf")

    other = tmp_path / "run" / "backbone.safetensors.json"
    other.write_text(json.dumps({"contract": edited["contract"]}))
    with pytest.raises(CheckpointInvalid, match="one of them was changed"):
        load_backbone(tmp_path / "run")


def test_folder_of_plain_weights_has_its_contract(tmp_path):
    """Whose safetensors say nothing: contract.json does."""
    export(kept(small("cls"), tmp_path / "run"), "huggingface", tmp_path / "hf")
    expected = load_backbone(tmp_path / "hf")
    save_file(dict(expected.net.state_dict()), tmp_path / "hf" / "model.safetensors")

    again = load_backbone(tmp_path / "hf")

    assert (again.contract, again.image_size, again.options) == (expected.contract, 32, expected.options)


def test_inspection_reads_the_record(tmp_path):
    """As loading does."""
    export(kept(small("resnet"), tmp_path / "run"), "timm", tmp_path / "a.pt")

    facts = inspect(tmp_path / "a.pt")

    assert facts.image_size == 64
    assert facts.contract.endswith("as a.pt.json says")


def test_record_of_a_network_that_is_to_be_fed_unscaled_values_is_doubted(tmp_path, caplog):
    """stored(...) is of an array; a network wants what it was trained with. A record may say so, and the caller too."""
    torch.save(encoder("resnet18", 13).state_dict(), tmp_path / "a.pth")
    raw = stored("S2L1C")
    (tmp_path / "a.pth.json").write_text(json.dumps({"contract": raw.to_json()}))

    assert load_backbone(tmp_path / "a.pth").contract == raw
    assert "is to be fed unscaled values" in caplog.text
    assert "network_input('S2L1C')" in caplog.text
    assert load_backbone(tmp_path / "a.pth", contract=raw).contract == raw


@pytest.mark.parametrize("bands", [None, ("B04", "B03", "B02")])
@pytest.mark.parametrize("has_record", [False, True])
def test_contract_of_values_as_stored_is_refused_for_a_network(bands, has_record, tmp_path):
    """It would be fed thousands, and its features be wrong. The call and the record that are named both work."""
    count = 13 if bands is None else 3
    torch.save(encoder("resnet18", count).state_dict(), tmp_path / "a.pth")
    if has_record:
        (tmp_path / "a.pth.json").write_text(json.dumps({"contract": network_input("S2L1C", bands).to_json()}))
    raw = stored("S2L1C", bands=bands)

    with pytest.raises(
        ContractMismatch, match=r"of values as stored.*trained on values as stored, say so in a"
    ) as told:
        load_backbone(tmp_path / "a.pth", contract=raw)

    call, record = re.search(
        r"contract=(network_input\(.*?\)) scales .* in a\.pth\.json \((.*)\)", str(told.value)
    ).groups()
    loaded = load_backbone(tmp_path / "a.pth", contract=eval(call))  # what the message says, literally
    assert loaded.contract == network_input("S2L1C", bands)
    (tmp_path / "a.pth.json").write_text(record)
    assert load_backbone(tmp_path / "a.pth").contract == raw


def test_contract_of_8_bits_is_one_of_a_network(tmp_path):
    """The published networks were trained on such values: a form is a scaling."""
    torch.save(encoder("resnet18", 13).state_dict(), tmp_path / "a.pth")
    form = stored("S2L1C", scaling="uint8_10k_wrapped")

    assert load_backbone(tmp_path / "a.pth", contract=form).contract == form


def test_weights_of_zeros_are_told(tmp_path, caplog):
    """A file that was written before anything was trained."""
    torch.save({k: torch.zeros_like(v) for k, v in encoder("resnet18", 13).state_dict().items()}, tmp_path / "a.pth")

    load_backbone(tmp_path / "a.pth")

    assert "all weights are zero" in caplog.text


def test_card_tells_what_training_began_with(tmp_path):
    """The terms of use of those weights go on."""
    run = tmp_path / "run"
    run.mkdir()
    training = {"recipe": "moco_v2.resnet18.s2l1c.tiny", "seed": 0, "init_from": "moco_v2.resnet18.s2rgb"}
    save_backbone(small("resnet"), run / "backbone.safetensors", training=training)

    export(run, "huggingface", tmp_path / "hf")

    text = (tmp_path / "hf" / "README.md").read_text()
    assert "It began with the weights of `moco_v2.resnet18.s2rgb`" in text
    card = CARDS["moco_v2.resnet18.s2rgb"]
    assert ("license: cc-by-4.0" in text) == card.license.startswith("CC-BY-4.0")


@pytest.mark.parametrize("name", [None, 3, ""])
def test_names_that_are_none_are_refused(name):
    """No bare TypeError."""
    with pytest.raises(ConfigInvalid, match="a checkpoint called"):
        load_backbone(name)


def test_contracts_that_are_none_are_refused(tmp_path):
    """By name, where a contract is wanted."""
    torch.save(encoder("resnet18", 13).state_dict(), tmp_path / "a.pth")
    with pytest.raises(ConfigInvalid, match="the contract 'S2L1C'"):
        load_backbone(tmp_path / "a.pth", contract="S2L1C")
    with pytest.raises(ContractMismatch, match="'S2L1C' for a contract"):
        with_contract(load_backbone(tmp_path / "a.pth"), "S2L1C")


def test_images_of_other_channels_are_refused():
    """By the network itself, too."""
    with pytest.raises(ContractMismatch, match=r"images \(1, 3, 64, 64\); expected \(batch, 13, height, width\)"):
        small("resnet")(torch.rand(1, 3, 64, 64))


def test_file_of_another_method_under_a_card_is_refused(tmp_path):
    """The same transformer, the same shapes."""
    name = next(f.name for f in CARDS["data2vec.vit_small_16.s2l1c"].files if f.holds == "full")
    torch.save(mae(encoder("vit_small_16", 13), 384, 13, 16, 196), tmp_path / name)

    with pytest.raises(CheckpointInvalid, match="is a file of MAE; expected one of data2vec, as its name says"):
        load_backbone(tmp_path / name)


def test_file_of_another_size_than_published_is_refused(tmp_path):
    """Its name is one of a card that has the size."""
    file = next(f for c in CARDS.values() for f in c.files if f.size is not None and f.holds == "backbone")
    torch.save(encoder("resnet18", 3).state_dict(), tmp_path / file.name)

    with pytest.raises(SourceInvalid, match=f"expected {file.size}"):
        load_backbone(tmp_path / file.name)


def test_file_that_its_name_is_believed_of_is_said(tmp_path, caplog):
    """No hash is published for it."""
    name = next(f.name for f in CARDS["moco_v2.resnet18.s2rgb"].files if f.holds == "full")
    torch.save(moco_v2(encoder("resnet18", 3), 512), tmp_path / name)

    with caplog.at_level(logging.INFO):
        load_backbone(tmp_path / name)

    assert "taken for moco_v2.resnet18.s2rgb by its name" in caplog.text
    assert "how sure its input is: medium: script not released" in caplog.text


def test_export_of_a_guess_says_so(tmp_path):
    """The folder for HuggingFace must not state as a fact what was assumed."""
    torch.save(data2vec(beit(13)), tmp_path / "a.pth")

    exported = export(tmp_path / "a.pth", "huggingface", tmp_path / "hf")

    text = (tmp_path / "hf" / "README.md").read_text()
    assert "How sure this is: assumed by the number of bands" in text
    assert "a file of data2vec" in text
    assert "the recipe" not in text
    assert any("assumed by the number of bands" in note for note in exported.written.notes)
    training = json.loads((tmp_path / "hf" / "contract.json").read_text())["training"]
    assert training["family"] == "data2vec"


def test_export_of_published_weights_says_what_their_card_says(tmp_path):
    """Licence, making, doubts, use, and the numbers of the scaling."""
    card = CARDS["mae.vit_small_16.s1grd"]
    torch.save(mae(encoder("vit_small_16", 2), 384, 2, 16, 196), tmp_path / card.files[0].name)

    export(tmp_path / card.files[0].name, "huggingface", tmp_path / "hf")

    text = (tmp_path / "hf" / "README.md").read_text()
    assert "license: cc-by-4.0" in text
    assert f"Its weights are the published `{card.name}`" in text
    assert f"How sure this is: {card.certainty}." in text
    assert all(f"- `{other}`" in text for other in card.alternatives)
    assert f"- Recommended: {card.recommended}." in text
    assert "| VV | -12.59 | 5.26 |" in text
    assert "| VH | -20.26 | 5.91 |" in text
    export(tmp_path / "hf", "huggingface", tmp_path / "again")
    assert "license: cc-by-4.0" in (tmp_path / "again" / "README.md").read_text()


def test_export_of_an_export_keeps_the_doubt(tmp_path):
    """Through a record and a folder."""
    torch.save(encoder("resnet18", 13).state_dict(), tmp_path / "a.pth")
    export(tmp_path / "a.pth", "timm", tmp_path / "b.pt")
    export(tmp_path / "b.pt", "huggingface", tmp_path / "hf")
    export(tmp_path / "hf", "torchvision", tmp_path / "c.pt")

    training = json.loads((tmp_path / "c.pt.json").read_text())["training"]
    assert training["certainty"].startswith("assumed by the number of bands")
    assert training["file"] == "a.pth"
