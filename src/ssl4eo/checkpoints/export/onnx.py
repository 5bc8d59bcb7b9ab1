# SPDX-License-Identifier: Apache-2.0
"""The ONNX form: from values as stored to features in one graph, so that nobody can scale them wrongly.

The image size is fixed, the batch is free. Values are not checked inside: a graph raises nothing.
The price of one file: networks of 2 GB and more are refused.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import warnings
from collections.abc import Generator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.export.source import Source, Written, backbone_record, raw_contract
from ssl4eo.errors import ConfigInvalid
from ssl4eo.files import require_absent, whole_or_told

INPUT, OUTPUT = "values", "features"
PACKAGES = ("onnx", "onnxscript")
LARGEST = 2_000_000_000
"""Bytes of weights that one file can hold: protobuf's limit is 2 GiB."""


class FromStored(nn.Module):
    """Scaling and network as one."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.adapter = Adapter(raw_contract(backbone.contract), backbone.contract)
        self.backbone = backbone

    def forward(self, values: Tensor) -> Tensor:
        """Map values as stored (B, C, S, S), float32, to features (B, D)."""
        return self.backbone(self.adapter(values))


def write(source: Source, out: Path) -> Written:
    """Write the file.

    Raises:
        ConfigInvalid: onnx is not installed, or the network is too large for one file.
    """
    require_onnx()
    require_absent(out, "file")
    backbone = source.backbone()
    num_bytes = sum(value.nbytes for value in backbone.state_dict().values())
    if num_bytes >= LARGEST:
        raise ConfigInvalid(
            f"{backbone.arch} has {num_bytes / 1e9:.1f} GB of weights",
            expected=f"less than {LARGEST / 1e9:.0f} GB in one ONNX file",
            remedy="export it with --form timm or huggingface",
        )
    raw = raw_contract(backbone.contract)
    record = {
        **backbone_record(backbone),
        "input_contract_in_words": str(raw),
        "training": source.training(),
    }
    content = _graph(FromStored(backbone).eval(), record)
    with whole_or_told(out) as partial:
        partial.write_bytes(content)
    shape = f"(batch, {raw.num_bands}, {backbone.image_size}, {backbone.image_size})"
    load = f"onnxruntime.InferenceSession({str(out)!r}).run(None, {{{INPUT!r}: values}})[0]"
    return Written((out,), load, (f"values are {raw} as stored, float32 {shape}; the graph scales them",))


def _graph(model: FromStored, record: Mapping[str, Any]) -> bytes:
    backbone = model.backbone
    example = torch.zeros(2, backbone.contract.num_bands, backbone.image_size, backbone.image_size)
    with _quiet():
        program: Any = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    graph = program.model_proto
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param, "tracing left the batch free"
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in record.items()}
    import_module("onnx.helper").set_model_props(graph, {f"ssl4eo.{name}": text for name, text in texts.items()})
    return graph.SerializeToString()


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep the exporter's own remarks away: it warns of its own parts and prints its progress."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


def require_onnx() -> None:
    """Raise unless what writes ONNX is installed.

    Raises:
        ConfigInvalid: it is not.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigInvalid(
            f"the form onnx without the package {' and '.join(missing)}",
            expected=f"{' and '.join(PACKAGES)}, and onnxruntime to run it",
            remedy="pip install 'ssl4eo[onnx]'",
        )
