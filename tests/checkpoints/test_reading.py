# SPDX-License-Identifier: Apache-2.0
"""Files as they come: damaged, cut short, of other formats, with code in them, or something else in their place."""

from __future__ import annotations

import json
import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from published_files import encoder, moco_v2
from safetensors.torch import save_file

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import BACKBONE_FILE, save_backbone
from ssl4eo.checkpoints.checksums import require_intact
from ssl4eo.checkpoints.inspection import inspect
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.checkpoints.reading import read_container
from ssl4eo.contract import network_input
from ssl4eo.errors import CheckpointInvalid

SMALL = {"a": torch.arange(600.0), "b": torch.ones(10)}


def header_of(path: Path) -> int:
    """Give the length of a safetensors header."""
    return int.from_bytes(path.read_bytes()[:8], "little")


def with_low_byte(path: Path, tensors: dict[str, torch.Tensor], wanted: int) -> None:
    """Write safetensors whose header's length has this lowest byte; it comes in multiples of 8."""
    for spaces in range(0, 300, 4):
        save_file(tensors, path, metadata={"note": "x" * spaces})
        if header_of(path) & 0xFF == wanted:
            return
    pytest.fail("no such length")


@pytest.mark.parametrize("low", [0x80, 0x50, 0x78])
@pytest.mark.parametrize("kept", [9, 40, 0.5, 0.999])
def test_safetensors_cut_short_is_told_as_such(kept, low, tmp_path):
    """In the header and in the numbers, whatever its first byte: 0x80 and P are those of a pickle and of a zip."""
    path = tmp_path / "a.safetensors"
    with_low_byte(path, SMALL, low)
    content = path.read_bytes()
    assert torch.equal(read_container(path)["a"], SMALL["a"])
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])

    with pytest.raises(CheckpointInvalid, match="it is cut short: fetch it again"):
        read_container(path)


@pytest.mark.parametrize("kept", [0.0001, 0.5, 0.999])
def test_own_file_cut_short_is_told_as_such(kept, tmp_path):
    """By loading and by looking into it in the same words; of a cut header nobody knows how long the file was."""
    path = tmp_path / BACKBONE_FILE
    save_backbone(Backbone("vit_nano_8", network_input("S2L1C"), image_size=32, seed=0), path, training={})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])

    size = "more than [0-9,]+" if kept < 0.01 else f"{len(content):,}"
    words = rf"\(cut short: {path.stat().st_size:,} of {size} bytes\).*: copy it again, or make it again by resuming"
    for read in (load_backbone, inspect):
        with pytest.raises(CheckpointInvalid, match=words):
            read(path)


@pytest.mark.parametrize("old", [False, True])
def test_damage_anywhere_is_never_a_bare_error(old, tmp_path):
    """A hundred files with one changed byte before the numbers, and a hundred cut somewhere."""
    path, draw = tmp_path / "a.pth", random.Random(5)
    torch.save(SMALL, path, _use_new_zipfile_serialization=not old)
    content = path.read_bytes()
    for _ in range(100):
        changed, place = bytearray(content), draw.randrange(700)
        changed[place] ^= draw.randrange(1, 256)
        for damaged in (bytes(changed), content[: draw.randrange(len(content))]):
            path.write_bytes(damaged)
            try:
                read_container(path)
            except CheckpointInvalid as error:
                assert error.remedy  # noqa: PT017 - some changes do no harm


def repacked(path: Path, change, kind: int = zipfile.ZIP_STORED) -> None:
    """Write a zip of torch's anew, with its pickle changed and all checksums right."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in parts.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)


def test_damaged_pickle_in_a_good_zip_is_told(tmp_path):
    """Cut in the middle, and of bytes that are no pickle."""
    for change in (lambda content: content[:40], lambda _: b"\x80\x02\xff\xff"):
        torch.save(SMALL, tmp_path / "a.pth")
        repacked(tmp_path / "a.pth", change)

        with pytest.raises(CheckpointInvalid, match="its pickle does not end"):
            read_container(tmp_path / "a.pth")


def test_changed_pickle_is_told_by_its_checksum(tmp_path):
    """The name of a tensor has another letter: a whole file, of other weights than were written."""
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(content.replace(b"conv1", b"conv2"))

    with pytest.raises(CheckpointInvalid, match="not what was written"):
        read_container(tmp_path / "a.pth")


def test_old_file_cut_short_does_not_blame_an_object(tmp_path):
    """Half of the name of a harmless object is the name of none."""
    torch.save(SMALL, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pth").read_bytes()
    name = content.index(b"_rebuild_tensor_v2")

    for end in (*range(name - 20, name + 18, 3), name + 60):
        (tmp_path / "a.pth").write_bytes(content[:end])
        with pytest.raises(CheckpointInvalid, match="cut short: fetch it again"):
            read_container(tmp_path / "a.pth")


class Malicious:
    """What a pickle of somebody else may do."""

    def __reduce__(self):
        """Run a command when it is opened."""
        return os.system, ("touch hacked",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_bare_pickle_that_runs_code_is_refused_by_the_name_of_it(protocol, tmp_path, monkeypatch):
    """Of any protocol that has a number, alone in its file or in a zip of torch's; nothing runs."""
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"system": 1, "x": [Malicious(), Malicious()]}, protocol=protocol)
    Path("bare.pth").write_bytes(content)
    torch.save(SMALL, "zip.pth")
    repacked(Path("zip.pth"), lambda _: content)

    for name in ("bare.pth", "zip.pth"):
        with pytest.raises(CheckpointInvalid, match=r"a Python object, (posix|nt)\.system, whose code opening it"):
            read_container(Path(name))

    assert not Path("hacked").exists()


def test_name_that_the_pickle_keeps_for_later_is_found(tmp_path, monkeypatch):
    """Module and name are texts of the memo when they are asked for."""
    monkeypatch.chdir(tmp_path)
    Path("a.pth").write_bytes(b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93\x8c\x0ctouch hacked\x85R.")

    with pytest.raises(CheckpointInvalid, match=r"a Python object, os\.system"):
        read_container(Path("a.pth"))

    assert not Path("hacked").exists()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_bare_pickle_without_code_is_no_damage(protocol, tmp_path):
    """It is whole, and torch did not write it."""
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"epoch": 3, "names": ["a"]}, protocol=protocol))

    with pytest.raises(CheckpointInvalid, match=rf"a pickle \(protocol {protocol}\) that torch did not write"):
        read_container(tmp_path / "a.pth")


def test_other_zip_files_are_told_apart(tmp_path):
    """A program of TorchScript, and any other zip."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("words/a.txt", "text")
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        for name in ("b/data.pkl", "b/constants.pkl", "b/code/net.py"):
            archive.writestr(name, b"\x80\x02}.")

    with pytest.raises(CheckpointInvalid, match=r"is a zip file of words/a\.txt"):
        read_container(tmp_path / "a.zip")
    with pytest.raises(CheckpointInvalid, match="is a TorchScript program"):
        read_container(tmp_path / "b.pt")


def flip(path: Path, tensor: torch.Tensor) -> None:
    """Change one bit of one number of a tensor in a file; the number stays finite."""
    content = bytearray(path.read_bytes())
    place = bytes(content).index(tensor.contiguous().numpy().tobytes())
    content[place + 1] ^= 0x10
    path.write_bytes(content)


def test_flipped_bit_of_the_encoder_is_found_by_looking_into_the_file(tmp_path):
    """Of a number in the middle of a mapped file; a bit of a head, which nobody uses, is none of its business."""
    net = encoder("resnet18", 13)
    container = moco_v2(net, 512)
    container["state_dict"]["module.encoder_q.fc.0.bias"] = torch.arange(512.0)
    torch.save(container, tmp_path / "a.pth")

    flip(tmp_path / "a.pth", container["state_dict"]["module.encoder_q.fc.0.bias"])
    assert inspect(tmp_path / "a.pth").obstacles == ()
    flip(tmp_path / "a.pth", net.layer1[0].conv1.weight.detach())
    found = inspect(tmp_path / "a.pth")

    assert "1 parts are not what was written (encoder_q.layer1.0.conv1.weight)" in found.obstacles[0]


@pytest.mark.parametrize("kind", ["without checksums", "of the old format", "whole"])
def test_files_without_damage_have_no_obstacle(kind, tmp_path):
    """Zeros can be written in place of checksums."""
    net = encoder("resnet18", 13)
    checksums = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(kind != "without checksums")
    try:
        torch.save(net.state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=kind != "of the old format")
    finally:
        torch.serialization.set_crc32_options(checksums)

    assert inspect(tmp_path / "a.pth").obstacles == ()


def test_zip_that_was_compressed_is_read_and_not_mapped(tmp_path):
    """Its numbers do not lie in the file as they are; those that it gives are what was written."""
    path = tmp_path / "a.pth"
    torch.save(SMALL, path)
    repacked(path, lambda content: content, kind=zipfile.ZIP_DEFLATED)

    found = read_container(path)

    assert all(torch.equal(value, found[name]) for name, value in SMALL.items())
    require_intact(path, found)
    found["a"][7] = 5
    with pytest.raises(CheckpointInvalid, match=r"1 parts are not what was written \(a\)"):
        require_intact(path, found)


def test_tensors_that_share_a_part_and_empty_ones_are_intact(tmp_path):
    """Two views of one part; no numbers; shapes alone; a sparse one, whose numbers are two parts."""
    whole = torch.arange(100.0)
    content = {"a": whole[:10], "b": whole[50:], "none": torch.zeros(0, 3), "meta": torch.zeros(2, device="meta")}
    torch.save(content | {"sparse": torch.eye(3).to_sparse()}, tmp_path / "a.pth")

    require_intact(tmp_path / "a.pth", read_container(tmp_path / "a.pth"))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 94\n"
DENIED = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>AccessDenied</Code><Message>Expired</Message></Error>"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xef\xbb\xbf<!doctype html><html>", "is a web page.*save the file with a browser"),
        (b"\xef\xbb\xbf\r\n<!-- saved -->\n<!DOCTYPE html>", "is a web page"),
        (b"<!-- " + b"licence " * 2000 + b"--><html>", "is a web page"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML">', "is a web page"),
        (DENIED, r"a message in XML \(AccessDenied, Expired\).*fetch again from a fresh address"),
        (b"<Error><Code>NoSuchKey</Code></Error>", r"a message in XML \(NoSuchKey\)"),
        (b'{"error": "Repository not found"}', r'a text in JSON \({"error": "Repository not found"}\).*fetch the w'),
        (b'\xef\xbb\xbf{\n  "model_type": "vit"\n}', "a text in JSON"),
        (POINTER, "a pointer of Git LFS.*git lfs pull"),
    ],
)
def test_what_stands_in_place_of_a_file_is_told_with_its_remedy(content, words, tmp_path):
    """Under any name, that of our own file too."""
    for name in ("a.pth", BACKBONE_FILE):
        (tmp_path / name).write_bytes(content)

        with pytest.raises(CheckpointInvalid, match=words):
            load_backbone(tmp_path / name)
        with pytest.raises(CheckpointInvalid, match=words):
            inspect(tmp_path / name)


def test_safetensors_that_are_damaged_but_as_long_as_they_say_are_told(tmp_path):
    """A header that is no JSON."""
    save_file(SMALL, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content.replace(b'"dtype"', b'"dtype,', 1))

    with pytest.raises(CheckpointInvalid, match="is no safetensors file that can be read"):
        read_container(tmp_path / "a.safetensors")
    assert json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def test_a_graph_is_no_file_of_weights(tmp_path):
    """Our own export to ONNX is not told as damaged."""
    (tmp_path / "a.onnx").write_bytes(bytes([8, 8]) * 100)

    with pytest.raises(CheckpointInvalid, match="is a graph for onnxruntime"):
        read_container(tmp_path / "a.onnx")
