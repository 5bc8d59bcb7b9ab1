# SPDX-License-Identifier: Apache-2.0
"""`--init-from`: full checkpoints give every weight, networks alone their encoder; what does not fit is refused."""

from __future__ import annotations

import dataclasses
import functools
import logging

import pytest
import torch
from process_driver import METHODS, Pictures, build
from test_loop import assert_equal, weights

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import save_backbone
from ssl4eo.checkpoints.published_keys import method_of, to_published
from ssl4eo.contract import network_input
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, DataMissing
from ssl4eo.files import file_sha256, read_jsonl
from ssl4eo.pretraining.initial import find_initial, initialize
from ssl4eo.pretraining.loop import pretrain
from ssl4eo.pretraining.step import build_method

NAMES = [
    "moco_v2.resnet18",
    "moco_v3.vit_w48d2h3_8",
    "dino.vit_w48d2h3_8",
    "mae.vit_w48d2h3_8",
    "data2vec.vit_w48d2h3_8",
]


def other(name, seed=7):
    """Build a method with weights of another seed, its averages and running values moved too."""
    method = build_method(build(name, seed=seed))
    with torch.no_grad():
        for value in method.state_dict().values():
            if value.is_floating_point():
                value.add_(0.01 * torch.randn(value.shape, generator=torch.Generator().manual_seed(seed)))
    return method


@functools.cache
def published_residual():
    """Give the tensors of a published MoCo v2 file; tests change copies."""
    return to_published("moco_v2", other("moco_v2.resnet18").state_dict()).values["state_dict"]


def start(name, path, **options):
    """Build a method and begin with a file."""
    config = dataclasses.replace(build(name, **options), init_from=str(path))
    method = build_method(config)
    return method, initialize(method, config, find_initial(str(path)))


@pytest.mark.parametrize("name", NAMES)
def test_published_full_checkpoint_gives_every_weight(name, tmp_path):
    """Encoder, averages, heads, queue, decoder, centre: bit by bit, in their own names."""
    theirs = other(name)
    state = {k: v for k, v in theirs.state_dict().items() if "decoder_pos" not in k}
    if "data2vec" in name:  # published files hold one head and one mask token
        state = theirs.state_dict()
    container = to_published(method_of(state), state).values | {"epoch": 100, "optimizer": {"state": {}}}
    torch.save(container, tmp_path / "a.pth")

    ours, notes = start(name, tmp_path / "a.pth")

    assert_equal(ours.state_dict(), theirs.state_dict())
    assert notes[0].startswith(f"all {len(state)} tensors of ")
    assert "left out: optimizer" in notes


@pytest.mark.parametrize("name", NAMES)
def test_network_alone_is_put_in_every_place(name, tmp_path):
    """Query and key, student and teacher begin equal; heads are those of the seed."""
    theirs = other(name)
    save_backbone(theirs.backbone, tmp_path / "a.safetensors", training={})
    fresh = build_method(build(name)).state_dict()

    ours, notes = start(name, tmp_path / "a.safetensors")

    state, wanted = ours.state_dict(), theirs.backbone.net.state_dict()
    places = {key.split("net.")[0] for key in state if ".net." in key}
    for place in places:
        assert_equal({k: state[f"{place}net.{k}"] for k in wanted}, wanted)
    rest = {key for key in state if ".net." not in key}
    assert_equal({k: state[k] for k in rest}, {k: fresh[k] for k in rest})
    assert f"in {len(places)} places" in notes[0]


def test_run_begins_with_the_weights_of_another(tmp_path):
    """From its folder, all of it; the log says which file, and a resumed run does not ask for it again."""
    pretrain(build("moco_v2.vit_w48d2h3_8", epochs=1), Pictures(), tmp_path / "first", quiet=True)
    config = dataclasses.replace(build("moco_v2.vit_w48d2h3_8", epochs=1), init_from=str(tmp_path / "first"))

    pretrain(config, Pictures(), tmp_path / "second", quiet=True)
    longer = dataclasses.replace(config, engine=dataclasses.replace(config.engine, save_minutes=0.0))
    (tmp_path / "first").rename(tmp_path / "gone")
    pretrain(longer, Pictures(), tmp_path / "second", resume=True, quiet=True)

    (row,) = [r for r in read_jsonl(tmp_path / "second" / "log.jsonl") if r["kind"] == "init"]
    assert row["file"] == str(tmp_path / "first")
    assert row["notes"][0].startswith("all ")
    alone = weights(tmp_path / "gone")
    assert any(not torch.equal(v, weights(tmp_path / "second")[k]) for k, v in alone.items())


def test_beginning_is_part_of_the_run(tmp_path):
    """The same run from other weights is another run."""
    pretrain(build("moco_v2.vit_w48d2h3_8", epochs=1), Pictures(), tmp_path / "first", quiet=True)
    config = dataclasses.replace(build("moco_v2.vit_w48d2h3_8", epochs=1), init_from=str(tmp_path / "first"))

    with pytest.raises(CheckpointInvalid, match="init_from ''"):
        pretrain(config, Pictures(), tmp_path / "first", resume=True, quiet=True)


def test_more_epochs_are_a_new_run_from_the_weights_of_the_old_one(tmp_path):
    """Schedules are over the whole run; the refusal says so, and names the way on."""
    first = tmp_path / "first"
    pretrain(build("moco_v2.vit_w48d2h3_8", epochs=1), Pictures(), first, quiet=True)
    longer = build("moco_v2.vit_w48d2h3_8", epochs=2)

    with pytest.raises(CheckpointInvalid, match=r"engine\.epochs 1, now 2") as told:
        pretrain(longer, Pictures(), first, resume=True, quiet=True)
    assert "scheduled over the whole run" in str(told.value)
    assert f"--init-from {first} with another --out and the epochs that are to be added" in str(told.value)

    pretrain(dataclasses.replace(longer, init_from=str(first)), Pictures(), tmp_path / "second", quiet=True)
    with pytest.raises(CheckpointInvalid, match="another --out to start a new run"):  # more than epochs is another
        pretrain(build("moco_v2.vit_w48d2h3_8", epochs=3), Pictures(), tmp_path / "second", resume=True, quiet=True)


def test_encoder_of_another_method_goes_without_its_heads(tmp_path, caplog):
    """A DINO file for MoCo v3: the file does not say its bands, so the run's own are taken, and said."""
    theirs = other("dino.vit_w48d2h3_8")
    torch.save(to_published("dino", theirs.state_dict()).values, tmp_path / "a.pth")

    with caplog.at_level(logging.WARNING):
        ours, notes = start("moco_v3.vit_w48d2h3_8", tmp_path / "a.pth")

    assert "its encoder alone, for dino has other heads than moco_v3" in notes[0]
    assert "does not say what it was fed" in caplog.text
    assert_equal(ours.backbone.net.state_dict(), theirs.backbone.net.state_dict())


def test_network_whose_weights_do_not_tell_it_is_that_of_the_run(tmp_path):
    """12 heads in the width of ViT-Ti: of the run's own name, not of the literature's."""
    net = Backbone("vit_w192d12h12_8", network_input("S2RGB"), image_size=32, seed=3).net
    torch.save(net.state_dict(), tmp_path / "a.pth")

    base = build("moco_v3.vit_w48d2h3_8")
    config = dataclasses.replace(base, backbone="vit_w192d12h12_8", init_from=str(tmp_path / "a.pth"))
    ours = build_method(config)
    initialize(ours, config, find_initial(config.init_from))

    assert_equal(ours.backbone.net.state_dict(), net.state_dict())


def test_other_size_of_a_network_is_interpolated(tmp_path):
    """Views of 32 px, a network of 64 px."""
    name = "mae.vit_w48d2h3_8"
    larger = dataclasses.replace(
        build(name),
        views=dataclasses.replace(build(name).views, view=dataclasses.replace(build(name).views.view, size=64)),
    )
    theirs = build_method(larger).backbone
    save_backbone(theirs, tmp_path / "a.safetensors", training={})

    ours, _ = start(name, tmp_path / "a.safetensors")

    assert ours.backbone.net.pos_embed.shape[1] == 17
    assert torch.equal(ours.backbone.net.pos_embed[:, :1], theirs.net.pos_embed[:, :1])


def refused(name, path, **options):
    """Give what is said of a file that does not fit."""
    with pytest.raises((ConfigInvalid, CheckpointInvalid, DataMissing)) as caught:
        start(name, path, **options)
    return str(caught.value)


def test_what_does_not_fit_is_refused_with_the_remedy(tmp_path):
    """Another network, other bands, another queue, a head that lacks, another method's run, nothing there."""
    save_backbone(other("moco_v2.resnet18").backbone, tmp_path / "resnet.safetensors", training={})
    published = published_residual()
    shorter = {k: v[:, :8] if k == "module.queue" else v for k, v in published.items()}
    torch.save({"state_dict": shorter}, tmp_path / "queue.pth")
    headless = {k: v for k, v in published.items() if "encoder_q.fc." not in k}
    torch.save({"state_dict": headless}, tmp_path / "headless.pth")
    pretrain(build("mae.vit_w48d2h3_8", epochs=1), Pictures(), tmp_path / "mae", quiet=True)
    optical = Backbone("resnet18", network_input("S2L1C"), image_size=32, seed=0)
    save_backbone(optical, tmp_path / "optical.safetensors", training={})

    assert "which wants 13 bands" in refused("moco_v2.resnet18", tmp_path / "optical.safetensors")
    assert "--backbone resnet18" in refused("moco_v2.vit_w48d2h3_8", tmp_path / "resnet.safetensors")
    assert "queue.keys is (8, 16)" in refused("moco_v2.resnet18", tmp_path / "queue.pth")
    assert "missing (head.0.bias" in refused("moco_v2.resnet18", tmp_path / "headless.pth")
    assert "take its backbone.safetensors" in refused("moco_v2.vit_w48d2h3_8", tmp_path / "mae")
    save_backbone(other("mae.vit_w48d2h3_8").backbone, tmp_path / "mae.safetensors", training={})
    assert "lacks blocks.0" in refused("data2vec.vit_w48d2h3_8", tmp_path / "mae.safetensors")
    assert "data2vec's transformers have parts" in refused("data2vec.vit_w48d2h3_8", tmp_path / "mae.safetensors")
    assert "leave it out" in refused("moco_v2.vit_w48d2h3_8", "random.vit_w48d2h3_8.s2rgb")
    assert "no checkpoint" in refused("moco_v2.vit_w48d2h3_8", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("module.encoder_q.conv1.weight", float("nan"), r"hold NaN or infinity (backbone.net.conv1.weight)"),
        ("module.queue", float("inf"), r"hold NaN or infinity (queue.keys)"),
        ("module.encoder_k.bn1.running_var", -1.0, "are negative (key_backbone.net.bn1.running_var)"),
        ("module.encoder_q.fc.0.weight", torch.int8, "no weights (head.0.weight is int8)"),
    ],
)
def test_values_that_no_run_can_begin_with_are_refused(key, value, words, tmp_path):
    """In encoder, average, head and queue of a full checkpoint."""
    state = published_residual()
    changed = state[key].to(value) if isinstance(value, torch.dtype) else torch.full_like(state[key], value)
    torch.save({"state_dict": state | {key: changed}}, tmp_path / "a.pth")

    assert words in refused("moco_v2.resnet18", tmp_path / "a.pth")


def test_full_checkpoint_of_half_precision_is_cast_and_said(tmp_path, caplog):
    """All tensors of a method, in float32 again."""
    state = published_residual()
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    torch.save({"state_dict": halves}, tmp_path / "a.pth")

    with caplog.at_level(logging.INFO):
        ours, _ = start("moco_v2.resnet18", tmp_path / "a.pth")

    assert "of float16 among" in caplog.text
    assert torch.equal(ours.backbone.net.conv1.weight, halves["module.encoder_q.conv1.weight"].float())


@pytest.mark.parametrize("name", ["moco_v2.resnet18", "moco_v3.vit_w48d2h3_8"])
def test_flipped_bit_in_a_file_is_refused(name, tmp_path):
    """In a head of a full checkpoint, and in any part of a file that gives its encoder alone."""
    state = published_residual()
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    content[bytes(content).index(state["module.encoder_q.fc.0.weight"].numpy().tobytes()) + 1] ^= 1
    (tmp_path / "a.pth").write_bytes(content)

    assert "not what was written (state_dict.module.encoder_q.fc.0.weight)" in refused(name, tmp_path / "a.pth")


def test_hash_of_the_file_is_recorded(tmp_path):
    """So that a reader of the log knows which weights these were."""
    save_backbone(other("moco_v2.vit_w48d2h3_8").backbone, tmp_path / "a.safetensors", training={})
    config = dataclasses.replace(build("moco_v2.vit_w48d2h3_8", epochs=1), init_from=str(tmp_path / "a.safetensors"))

    pretrain(config, Pictures(), tmp_path / "run", quiet=True)

    (row,) = [r for r in read_jsonl(tmp_path / "run" / "log.jsonl") if r["kind"] == "init"]
    assert row["sha256"] == file_sha256(tmp_path / "a.safetensors")


def test_every_method_of_the_driver_is_tried():
    """A new method belongs into NAMES."""
    assert {name.split(".")[0].removesuffix("_batch") for name in METHODS} == {name.split(".")[0] for name in NAMES}
