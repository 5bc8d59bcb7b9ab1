# SPDX-License-Identifier: Apache-2.0
"""MAE against an independent float64 oracle, by hand, and by its properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformer_oracle import affine, cut, embed, fixed_position, norm, run_block, to_numpy

from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import ConfigInvalid, UnknownName
from ssl4eo.methods.mae import MAE, MAEConfig, mean_over_kept, normalize, patchify, unpatchify
from ssl4eo.methods.masked import places, take
from ssl4eo.methods.method import Moment, Setting

NOW = Moment(step=0, num_steps=10, steps_per_epoch=5)
SIZE, PATCH, GRID = 32, 8, 4
TINY = {"mask_ratio": 0.75, "norm_pixels": "band", "pooling": "mean"}
DECODER = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}


def config(**changes):
    """Describe a small MAE."""
    return MAEConfig(**(TINY | DECODER | changes))


def method(seed=0, **changes):
    """Build it on 2 bands and 4 x 4 patches."""
    options = config(**changes)
    backbone = Backbone(
        "vit_nano_8",
        network_input("S1GRD"),
        image_size=SIZE,
        seed=seed,
        options=options.backbone_options("vit_nano_8"),
    )
    return options.build(backbone, seed=seed)


def images(batch=3, bands=2, seed=0):
    """Draw images."""
    return torch.rand((batch, bands, SIZE, SIZE), generator=torch.Generator().manual_seed(seed))


def draw_masks(model, batch=3, seed=0):
    """Hide the same number of patches in each."""
    rng = np.random.default_rng(seed)
    masking = model.config.masking(setting())
    return torch.from_numpy(np.stack([masking.draw(rng) for _ in range(batch)]))


def setting(arch="vit_nano_8", image_size=SIZE, num_views=1):
    """Describe a run on one process."""
    return Setting(arch, image_size, num_views=num_views, batch_size=4, num_processes=1, accumulate=1)


def oracle(model, pictures, masks):
    """Compute the loss in NumPy, float64, patch by patch."""
    w, dim = to_numpy(model), model.config.decoder_dim
    losses = []
    for image, mask in zip(pictures.double().numpy(), masks.numpy(), strict=True):
        patches = cut(image, PATCH)
        seen = [
            embed(patches[i], w, "backbone.net") + fixed_position(192, *divmod(i, GRID)) for i in np.flatnonzero(~mask)
        ]
        x = np.stack([w["backbone.net.cls_token"][0, 0], *seen])
        for block in range(6):
            x = run_block(x, w, f"backbone.net.blocks.{block}", heads=3)
        x = affine(norm(x, w, "backbone.net.norm"), w, "decoder.embed")
        queue = iter(x[1:])
        everything = [
            (w["decoder.mask_token"][0, 0] if hidden else next(queue)) + fixed_position(dim, *divmod(i, GRID))
            for i, hidden in enumerate(mask)
        ]
        x = np.stack([x[0], *everything])
        for block in range(model.config.decoder_depth):
            x = run_block(x, w, f"decoder.blocks.{block}", model.config.decoder_heads)
        predicted = affine(norm(x, w, "decoder.norm"), w, "decoder.predict")[1:]
        for i in np.flatnonzero(mask):
            target = patches[i]  # (C, p, p)
            if model.config.norm_pixels == "band":
                mean, variance = (f(axis=(1, 2), keepdims=True) for f in (target.mean, target.var))
                target = (target - mean) / np.sqrt(variance * 64 / 63 + 1e-6)
            if model.config.norm_pixels == "patch":
                target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
            losses.append(np.mean((predicted[i] - target.transpose(1, 2, 0).reshape(-1)) ** 2))
    return np.mean(losses)


@pytest.mark.parametrize("norm_pixels", ["none", "patch", "band"])
def test_loss_equals_the_oracle(norm_pixels):
    """In float64: mean over hidden patches of the mean squared error of their pixels."""
    model = method(norm_pixels=norm_pixels, decoder_depth=2).double()
    pictures, masks = images().double(), draw_masks(model)
    with torch.no_grad():
        for parameter in model.parameters():  # weights that are zero or one at the start count too
            parameter.add_(0.01 * torch.randn_like(parameter) * parameter.requires_grad)
    expected = oracle(model, pictures, masks)

    loss = float(model((pictures,), masks, NOW).loss.detach())

    assert loss == pytest.approx(expected, rel=1e-6)  # pixels of the target are float32


def test_hidden_pixels_never_reach_the_encoder():
    """Other pixels under the mask leave the latent tokens as they are, bit by bit."""
    model = method().eval()
    pictures, masks = images(), draw_masks(method())
    hidden_pixels = masks.reshape(3, 1, GRID, GRID).repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    other = torch.where(hidden_pixels, torch.full_like(pictures, 7.0), pictures)
    visible, _ = places(masks, model.num_masked)

    first, second = model.encode(pictures, visible), model.encode(other, visible)

    assert torch.equal(first, second)
    assert not torch.equal(first, model.encode(pictures + 0.1, visible))


@pytest.mark.parametrize(("ratio", "kept"), [(0.75, 4), (0.7, 4), (0.5, 8)])
def test_blocks_see_the_visible_tokens_only(ratio, kept):
    """The class token and int(16 * (1 - ratio)) patches pass the encoder, all 16 the decoder."""
    model = method(mask_ratio=ratio)
    lengths = {"encoder": set(), "decoder": set()}
    for name, blocks in (("encoder", model.backbone.net.blocks), ("decoder", model.decoder.blocks)):
        for block in blocks:
            block.register_forward_hook(lambda _m, args, _o, name=name: lengths[name].add(args[0].shape[1]))

    model((images(),), draw_masks(model), NOW)

    assert lengths == {"encoder": {1 + kept}, "decoder": {17}}


def test_published_ratio_keeps_58_of_196():
    """0.7 as in the published script, 0.75 as in the paper."""
    assert config(mask_ratio=0.7).masking(setting("vit_small_16", 224)).num_masked == 138
    assert config(mask_ratio=0.75).masking(setting("vit_small_16", 224)).num_masked == 147
    assert config(mask_ratio=0.7).masking(setting("vit_huge_14", 224)).num_masked == 256 - 76


@pytest.mark.parametrize("num_patches", [100, 400, 1600])
def test_share_that_is_a_whole_number_of_patches_is_kept_whole(num_patches):
    """At 160 px 0.8 hides 80 of 100: 1 - 0.8 is a little less than 0.2 in binary numbers."""
    shares = range(1, 100)

    hidden = [config(mask_ratio=share / 100).num_masked(num_patches) for share in shares]

    assert hidden == [num_patches * share // 100 for share in shares]


@pytest.mark.parametrize("num_patches", [16, 49, 64, 196, 256, 784])
def test_usual_sizes_hide_what_the_published_script_hides(num_patches):
    """int(L * (1 - ratio)) are seen, at every hundredth."""
    for ratio in np.arange(1, 100) / 100:
        expected = num_patches - int(num_patches * (1 - ratio))
        assert config(mask_ratio=float(ratio)).num_masked(num_patches) == expected


def test_only_hidden_patches_count():
    """Pixels of visible patches are no targets: a decoder that ignores its input gives the same loss."""
    model = method(norm_pixels="none")
    nn.init.zeros_(model.decoder.predict.weight)
    pictures, masks = images(), draw_masks(model)
    hidden = masks.reshape(3, 1, GRID, GRID).repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    other = torch.where(hidden, pictures, pictures + 1.0)

    first, second = (model((p,), masks, NOW).loss for p in (pictures, other))
    third = model((pictures + 1.0,), masks, NOW).loss

    assert float(first.detach()) == float(second.detach())
    assert float(first.detach()) != float(third.detach())


def test_loss_of_a_zero_prediction_is_the_mean_square_of_the_target():
    """The initial loss without normalization, worked on pixels."""
    model = method(norm_pixels="none")
    nn.init.zeros_(model.decoder.predict.weight)
    pictures, masks = images(), draw_masks(model)
    hidden = masks.reshape(3, 1, GRID, GRID).repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    expected = float((pictures.double() ** 2)[hidden.expand_as(pictures)].mean())

    loss = float(model((pictures,), masks, NOW).loss.detach())

    assert loss == pytest.approx(expected, rel=1e-5)


def test_initial_loss_is_what_uniform_xavier_weights_tell():
    """Normed tokens through weights of variance 2 / (D + n), against targets of mean square (p^2 - 1) / p^2."""
    model = method(decoder_dim=64)
    pictures, masks = images(64), draw_masks(model, 64)
    num_values = 2 * PATCH**2

    loss = float(model((pictures,), masks, NOW).loss.detach())

    assert loss == pytest.approx(63 / 64 + 2 * 64 / (64 + num_values), rel=0.05)


def test_permuting_the_batch_permutes_the_output():
    """Images do not see each other."""
    model, order = method().eval(), torch.tensor([2, 0, 1])
    pictures, masks = images(), draw_masks(method())

    first, second = model((pictures,), masks, NOW), model((pictures[order],), masks[order], NOW)

    torch.testing.assert_close(first.loss, second.loss)
    torch.testing.assert_close(first.embedding[order], second.embedding, rtol=1e-4, atol=1e-6)


def test_what_all_images_share_is_not_watched():
    """The embedding that is watched for collapse is centred on the batch: a common offset is no collapse here."""
    model = method()

    embedding = model((images(8),), draw_masks(model, 8), NOW).embedding

    assert embedding.shape == (8, 192)
    assert embedding.mean(dim=0).abs().max() < 1e-5
    assert embedding.std() > 1e-3


def test_everything_but_the_positions_learns():
    """Each weight gets a gradient; fixed positions get none."""
    model = method()

    model((images(),), draw_masks(model), NOW).loss.backward()

    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {"backbone.net.pos_embed"}
    assert "decoder.positions" not in dict(model.named_parameters())


# --- patches


def test_patch_vectors_go_by_row_column_band():
    """Worked by hand: two bands of 4 x 4 pixels, patches of 2; tens tell the row, ones the column, 100 the band."""
    row, column = torch.arange(4)[:, None] * 10, torch.arange(4)
    picture = torch.stack([row + column, 100 + row + column])[None]

    patches = patchify(picture, 2)

    assert patches.shape == (1, 4, 8)
    assert patches[0, 0].tolist() == [0, 100, 1, 101, 10, 110, 11, 111]
    assert patches[0, 1].tolist() == [2, 102, 3, 103, 12, 112, 13, 113]
    assert patches[0, 2].tolist() == [20, 120, 21, 121, 30, 130, 31, 131]


@pytest.mark.parametrize(("bands", "patch"), [(1, 4), (3, 8), (13, 16)])
def test_patches_go_back_together(bands, patch):
    """Unpatchify undoes patchify, channels-last memory or not."""
    pictures = images(2, bands).contiguous(memory_format=torch.channels_last)

    assert torch.equal(unpatchify(patchify(pictures, patch), patch), pictures)


def test_patches_normalized_by_hand():
    """One patch of two pixels, two bands: (0, 10) and (2, 30)."""
    patch = torch.tensor([[[0.0, 10.0, 2.0, 30.0]]])

    none, band, whole = (normalize(patch, how, 2)[0, 0] for how in ("none", "band", "patch"))

    assert torch.equal(none, patch[0, 0])
    root = 0.5**0.5  # of two values the unbiased deviation is their distance / sqrt(2)
    torch.testing.assert_close(band, torch.tensor([-root, -root, root, root]))
    deviation = ((10.5**2 + 0.5**2 + 8.5**2 + 19.5**2) / 3) ** 0.5
    torch.testing.assert_close(whole, torch.tensor([-10.5, -0.5, -8.5, 19.5]) / deviation)


def test_lost_bands_count_neither_as_targets_nor_in_the_mean_of_a_patch():
    """Two pixels, two bands: (0, 10) and (0, 30), the first lost: the second is -+ sqrt(1/2); errors 4 and 6."""
    kept = torch.tensor([[False, True]])

    normed = normalize(torch.tensor([[[0.0, 10.0, 0.0, 30.0]]]), "patch", 2, kept)

    torch.testing.assert_close(normed[0, 0, 1::2], torch.tensor([-(0.5**0.5), 0.5**0.5]))
    errors = torch.tensor([[[100.0, 4.0, 200.0, 6.0]], [[1.0, 2.0, 3.0, 6.0]]])
    both = torch.tensor([[False, True], [True, True]])
    assert float(mean_over_kept(errors, both)) == (5 + 3) / 2
    assert float(mean_over_kept(errors, torch.ones_like(both))) == float(errors.mean())
    assert float(mean_over_kept(errors, torch.zeros_like(both))) == 0


@pytest.mark.parametrize("norm_pixels", ["none", "patch", "band"])
def test_prediction_of_a_lost_band_does_not_matter(norm_pixels):
    """The weights that paint a band get no gradient, and no loss, from images without it."""
    model, pictures = method(norm_pixels=norm_pixels), images()
    pictures[:, 0] = 0
    masks = draw_masks(model)

    first = model((pictures,), masks, NOW).loss
    first.backward()
    gradient = model.decoder.predict.bias.grad.clone()
    with torch.no_grad():
        model.decoder.predict.bias[0::2] += 5
    second = model((pictures,), masks, NOW).loss

    assert (gradient[0::2] == 0).all()
    assert (gradient[1::2] != 0).all()
    assert float(second.detach()) == float(first.detach())


def test_gain_and_offset_of_a_band_vanish_when_bands_are_normalized_alone():
    """The correction: with "band" the level of a band says nothing, with "patch" it does."""
    patches = torch.rand(2, 3, 64 * 2)
    changed = patches * torch.tensor([1.0, 5.0]).repeat(64) + torch.tensor([0.0, 3.0]).repeat(64)

    torch.testing.assert_close(normalize(changed, "band", 64), normalize(patches, "band", 64), rtol=1e-3, atol=1e-3)
    assert (normalize(changed, "patch", 64) - normalize(patches, "patch", 64)).abs().max() > 0.5


def test_flat_patch_is_zero_and_finite():
    """A patch of one value has no texture to predict: 1e-6 keeps it from dividing by zero."""
    for how in ("patch", "band"):
        flat = normalize(torch.full((1, 1, 128), 0.3), how, 64)

        assert flat.abs().max() < 1e-3


def test_places_are_where_the_masks_say():
    """Visible and hidden places, each in order."""
    masks = torch.tensor([[True, False, True, False], [False, False, True, True]])

    visible, hidden = places(masks, 2)

    assert visible.tolist() == [[1, 3], [0, 1]]
    assert hidden.tolist() == [[0, 2], [2, 3]]
    tokens = torch.arange(8).reshape(2, 4, 1)
    assert take(tokens, hidden)[:, :, 0].tolist() == [[0, 2], [6, 7]]


# --- sizes


@pytest.mark.parametrize(
    ("arch", "modality", "tensors", "values"),
    [("vit_small_16", "S2L1C", 254, 3328), ("vit_small_16", "S1GRD", 254, 512), ("vit_huge_14", "S2L1C", 494, 2548)],
)
def test_tensors_are_those_of_the_published_checkpoints(arch, modality, tensors, values):
    """As many as in the published files, the decoder's fixed positions counted; built without memory."""
    options = MAEConfig(mask_ratio=0.7, norm_pixels="patch", pooling="cls")
    with torch.device("meta"):
        model = MAE(
            options,
            Backbone(arch, network_input(modality), image_size=224, seed=0, options=options.backbone_options(arch)),
            seed=0,
        )
    state = model.state_dict()

    assert len(state) + 1 == tensors
    assert state["decoder.predict.weight"].shape == (values, 512)
    assert state["decoder.mask_token"].shape == (1, 1, 512)
    assert model.decoder.positions.shape == (model.backbone.net.pos_embed.shape[1], 512)


def test_weights_depend_on_the_seed_alone():
    """Two builds with one seed are equal, whatever the global generator did."""
    torch.manual_seed(1)
    first = method(seed=5)
    torch.manual_seed(2)
    second, other = method(seed=5), method(seed=6)

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.decoder.embed.weight, other.decoder.embed.weight)


# --- what is kept


def test_backbone_asks_for_what_the_paper_has():
    """Fixed positions, columns first; uniform Xavier weights; pooling as the config says."""
    assert config(pooling="cls").backbone_options("vit_small_16") == BackboneOptions(
        pooling="cls", position="sincos_columns", init="xavier"
    )


# --- refusals


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5])
def test_mask_ratio_of_nothing_or_everything_is_refused(ratio):
    """Some patches must be seen and some predicted."""
    with pytest.raises(ConfigInvalid, match=r"--method\.mask_ratio 0\.75"):
        config(mask_ratio=ratio)


def test_ratio_that_leaves_no_patch_visible_is_refused():
    """int(16 * 0.05) is 0."""
    words = (
        r"^method\.mask_ratio 0\.95: 16 of 16 patches masked; expected 1 to 15: .*: "
        r"--method\.mask_ratio 0\.75, for instance, of 0\.063 to 0\.937$"
    )
    with pytest.raises(ConfigInvalid, match=words):
        config(mask_ratio=0.95).check(setting())
    for ratio in (0.75, 0.9, 0.063, 0.937):
        config(mask_ratio=ratio).check(setting())
    config(mask_ratio=0.75).check(setting(image_size=16))  # of 4 patches one is seen


@pytest.mark.parametrize(
    "change", [{"decoder_depth": 0}, {"decoder_heads": 0}, {"decoder_dim": 18}, {"decoder_dim": 20, "decoder_heads": 3}]
)
def test_impossible_decoder_is_refused(change):
    """Each option is checked."""
    with pytest.raises(ConfigInvalid):
        config(**change)


def test_unknown_normalization_is_refused_with_the_nearest():
    """The remedy names one."""
    with pytest.raises(UnknownName, match="did you mean band"):
        config(norm_pixels="bands")


def test_residual_network_is_refused():
    """MAE needs a transformer."""
    with pytest.raises(ConfigInvalid, match="MAE needs a transformer"):
        config().check(setting("resnet18"))


def test_two_views_are_refused():
    """MAE sees one."""
    with pytest.raises(ConfigInvalid, match="2 views for MAE"):
        config().check(setting(num_views=2))


def test_image_that_is_no_multiple_of_the_patch_is_refused():
    """The remedy names a size."""
    with pytest.raises(ConfigInvalid, match="try 32"):
        config().check(setting(image_size=34))
