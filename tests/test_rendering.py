"""The batched renderer yields the integers of `lock`, and inputs equal to those of the saved image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medlocker.blending import Logo, Placement, colour_channels, footprint, lock, prepare_mark
from medlocker.classifiers import Preprocessing
from medlocker.preprocessing import network_input, resize_unit, unit_channels
from medlocker.rendering import INPUT_TOLERANCE, PreparedImage

CPU = torch.device("cpu")
SHAPES = [(64, 64, 3), (90, 70, 3), (70, 90), (65, 50, 4)]
INPUTS = [
    Preprocessing(input_size=64),
    Preprocessing(input_size=48, interpolation="bilinear"),
    Preprocessing(input_size=100),
    Preprocessing(input_size=40, fit="crop", crop_fraction=0.8),
]


def prepared(shape, dtype, preprocessings):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    mark = prepare_mark(Logo(rng.integers(0, 256, (20, 24, 4), dtype=np.uint8)), shape, dtype, logo_scale=3)
    width, height = mark.size
    corner = [shape[1] - width, shape[0] - height]
    random = np.column_stack(
        [rng.integers(0, 256, 9), rng.integers(0, corner[0] + 1, 9), rng.integers(0, corner[1] + 1, 9)]
    )
    candidates = np.concatenate([[[255, 0, 0], [0, *corner], [255, *corner]], random])
    return pixels, mark, candidates, PreparedImage(pixels, mark, preprocessings, CPU)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_rendered_integers_equal_lock(shape, dtype):
    pixels, mark, candidates, image = prepared(shape, dtype, [])
    for change, genes in zip(image.changes(candidates), candidates.tolist(), strict=True):
        placement = Placement(*genes)
        rows, columns = footprint(mark, placement, shape)
        before = colour_channels(pixels[rows, columns])
        after = colour_channels(lock(pixels, mark, placement)[rows, columns])
        assert (change.permute(1, 2, 0).numpy() == after - before).all()


def test_the_float_quotient_is_exact_for_every_8_bit_value():
    """All 256 · 256 · 256 combinations of original, logo and opacity."""
    values = torch.arange(256, dtype=torch.float32)
    for opacity in range(256):
        product = (255 - opacity) * values[:, None] + opacity * values[None, :]
        exact = torch.div(product.to(torch.int64) + 127, 255, rounding_mode="floor")
        assert torch.equal(torch.floor((product + 127.5) / 255).to(torch.int64), exact)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("preprocessing", INPUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rendered_inputs_equal_those_of_the_saved_image(shape, preprocessing, dtype):
    pixels, mark, candidates, image = prepared(shape, dtype, [preprocessing])
    rendered = image.render(candidates, preprocessing)
    for row, genes in zip(rendered, candidates.tolist(), strict=True):
        reference = network_input(lock(pixels, mark, Placement(*genes)), preprocessing)
        assert (row - reference).abs().max() <= INPUT_TOLERANCE


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_axis_matrices_are_torch_interpolate(interpolation):
    values = unit_channels(np.random.default_rng(0).integers(0, 256, (75, 61, 3), dtype=np.uint8))
    ours = resize_unit(values, Preprocessing(input_size=32, interpolation=interpolation))
    theirs = torch.nn.functional.interpolate(values[None], (32, 32), mode=interpolation, antialias=True)[0]
    assert (ours - theirs).abs().max() < 2e-5


@pytest.mark.gpu
def test_the_gpu_renders_what_the_cpu_renders():
    pixels, mark, candidates, image = prepared((90, 70, 3), np.uint8, INPUTS)
    on_gpu = PreparedImage(pixels, mark, INPUTS, torch.device("cuda"))
    for preprocessing in INPUTS:
        difference = on_gpu.render(candidates, preprocessing).cpu() - image.render(candidates, preprocessing)
        assert difference.abs().max() <= INPUT_TOLERANCE
