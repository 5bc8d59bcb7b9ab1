# SPDX-License-Identifier: Apache-2.0
"""The card of an exported network, in Markdown with the front matter that HuggingFace reads.

Everything in it comes from the network and the record of its training; what nobody recorded is said to be unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.export.source import raw_contract
from ssl4eo.contract import SCALING_RULES, Contract
from ssl4eo.sensors import statistics

_TAG_OF_SENSOR: Mapping[str, str] = MappingProxyType({"S1": "sentinel-1", "S2": "sentinel-2"})


@dataclass(frozen=True)
class Card:
    """What a card is made of."""

    backbone: Backbone
    training: Mapping[str, Any]
    """Record of how the weights came about."""
    licence: str | None
    call: str
    """The call of timm that builds the network."""

    @property
    def title(self) -> str:
        """Name of the network and what it reads."""
        return f"{self.backbone.arch} for {self.backbone.contract.modality}"

    def to_markdown(self) -> str:
        """Write the card."""
        parts = [self._front_matter(), f"# {self.title}", self._what(), self._input(), self._use()]
        return "\n\n".join([*parts, self._training(), self._limits()]) + "\n"

    def _front_matter(self) -> str:
        parts = self.backbone.contract.parts
        sensors = dict.fromkeys(_TAG_OF_SENSOR[p.modality[:2]] for p in parts if p.modality[:2] in _TAG_OF_SENSOR)
        tags = ["ssl4eo", "earth-observation", "remote-sensing", *sensors]
        if not self.training.get("untrained"):
            tags.append("self-supervised-learning")
        return "\n".join(
            [
                "---",
                f"license: {self.licence or 'unknown'}",
                "library_name: timm",
                "pipeline_tag: image-feature-extraction",
                "tags:",
                *(f"- {tag}" for tag in tags),
                "---",
            ]
        )

    def _what(self) -> str:
        backbone = self.backbone
        return (
            f"A network that turns images of {backbone.contract.num_bands} channels into {backbone.num_features} "
            f"features.\n{self._made()}\nWritten by ssl4eo."
        )

    def _made(self) -> str:
        """Say where the weights are from."""
        told = self.training
        if told.get("untrained"):
            return "Its weights are random: it is a baseline and was not trained."
        if "recipe" in told:
            begun = told.get("init_from")
            more = f" It began with the weights of `{begun}`: their terms of use apply to it, too." if begun else ""
            return f"It was pre-trained without labels by the recipe `{told['recipe']}`.{more}"
        if "card" in told:
            return (
                f"Its weights are the published `{told['card']}`, pre-trained without labels for {told['epochs']} "
                f"epochs by {told['method']} on: {told['data']}."
            )
        epoch = f", epoch {told['epoch']}" if "epoch" in told else ""
        return (
            f"Its weights were made by others: a file of {told.get('family') or 'an unknown family'}{epoch}. How they "
            "were trained is not recorded."
        )

    def _input(self) -> str:
        size, raw = self.backbone.image_size, raw_contract(self.backbone.contract)
        rows = "\n".join(f"- {_part_in_words(part)}" for part in self.backbone.contract.parts)
        return (
            "## Input it needs\n\n"
            f"Float32 of shape (batch, {self.backbone.contract.num_bands}, {size}, {size}), channels in this order:\n\n"
            f"{rows}\n\n"
            "`contract.json` says the same for programs.\n"
            f"The values before scaling are `{raw}`.{self._doubts()}{self._statistics()}"
        )

    def _doubts(self) -> str:
        """Say how sure the input is, where anybody doubts it."""
        lines = []
        if self.training.get("certainty"):
            lines.append(f"How sure this is: {self.training['certainty']}.")
        if self.training.get("alternatives"):
            others = "".join(f"\n- `{other}`" for other in self.training["alternatives"])
            lines.append(f"Published for the same weights, too:\n{others}")
        return "".join(f"\n\n{line}" for line in lines)

    def _statistics(self) -> str:
        """List the numbers of a scaling by statistics, a table for each part that has one."""
        tables = []
        for part in self.backbone.contract.parts:
            _, _, source = part.scaling.partition(":")
            if not source:
                continue
            table = statistics(part.modality, source)
            rows = "\n".join(f"| {band} | {table.mean[band]:g} | {table.std[band]:g} |" for band in part.bands)
            tables.append(f"Statistics `{source}` of {part.modality}:\n\n| band | mean | std |\n|---|---|---|\n{rows}")
        return "".join(f"\n\n{table}" for table in tables)

    def _use(self) -> str:
        num_bands, size = self.backbone.contract.num_bands, self.backbone.image_size
        examples = ", ".join(_example(part, size) for part in self.backbone.contract.parts)
        return (
            "## Use\n\n"
            "With ssl4eo, from values as stored; it checks and scales them:\n\n"
            "```python\n"
            "import json\nfrom pathlib import Path\n\nimport numpy as np\n\n"
            "from ssl4eo.checkpoints.load import load_backbone\n"
            "from ssl4eo.contract import contract_from_json\n\n"
            'stored = contract_from_json(json.loads(Path("contract.json").read_text())["input_contract"])\n'
            f"values = np.concatenate([{examples}], axis=1)\n"
            f'features = load_backbone("model.safetensors").embed(values, stored)  # {self._result}\n'
            "```\n\n"
            "With timm alone, from values that you have scaled as above:\n\n"
            "```python\n"
            "import timm\nimport torch\nfrom safetensors.torch import load_file\n\n"
            f"model = {self.call}.eval()\n"
            'model.load_state_dict(load_file("model.safetensors"))\n'
            f"features = model(torch.rand(1, {num_bands}, {size}, {size}))  # {self._result}\n"
            "```"
        )

    @property
    def _result(self) -> str:
        return f"(1, {self.backbone.num_features})"

    def _training(self) -> str:
        record = json.dumps(dict(self.training), indent=2, ensure_ascii=False)
        return f"## How it came about\n\n```json\n{record}\n```"

    def _limits(self) -> str:
        names = " and ".join(part.modality for part in self.backbone.contract.parts)
        terms = "unknown: nobody stated them" if self.licence is None else self.licence
        return (
            "## Intended use and limits\n\n"
            f"- Meant as a start for tasks on {names} images: features for k-NN and linear probes, or fine-tuning.\n"
            "- Not meant for other sensors, other bands or another order of bands: values of another scale give "
            "features without meaning, and no error outside of ssl4eo.\n"
            "- Not judged here: this card holds no scores. Judge it on your task beside an untrained network.\n"
            f"{self._published_use()}"
            "- Not to be used alone for decisions about people.\n"
            f"- Terms of use of the weights: {terms}."
        )

    def _published_use(self) -> str:
        """Say what the catalog recommends of published weights."""
        rows = (("Recommended", "recommended"), ("Not recommended", "not_recommended"))
        return "".join(f"- {title}: {self.training[key]}.\n" for title, key in rows if self.training.get(key))


def _part_in_words(part: Contract) -> str:
    rule, _, source = part.scaling.partition(":")
    unit = {"DN": "digital numbers", "dB": "decibels", "uint8": "8-bit values"}[part.unit]
    offset = f", still containing an offset of {part.offset}" if part.offset else ""
    if part.unit == "DN" and not part.offset:
        offset = ", without the offset of +1000 that products have since processing baseline 04.00"
    statistics = f" (statistics `{source}`)" if source else ""
    words = f"{SCALING_RULES[rule].partition(', with')[0]}{statistics}"
    return f"{part.modality} ({part.level}), bands {' '.join(part.bands)}: {unit}{offset}; the network sees {words}"


def _example(part: Contract, size: int) -> str:
    value, kind = {"DN": ("1500", "uint16"), "dB": ("-12.0", "float32"), "uint8": ("100", "uint8")}[part.unit]
    return f'np.full((1, {part.num_bands}, {size}, {size}), {value}, dtype="{kind}")'
