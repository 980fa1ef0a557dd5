"""An int8 product is the product of the weights that its integers stand for, whichever way it is computed."""

import pytest
import torch
from torch.nn import functional as F

from sightline.engine import int8
from sightline.engine.int8 import Int8Linear, int8_product, quantize_weight


@pytest.fixture
def any_dtype(monkeypatch):
    """The kernel takes every dtype, also those in which this processor has no vector code for it."""
    monkeypatch.setattr(int8, "KERNEL_DTYPES", {torch.float32, torch.bfloat16, torch.float16})


@pytest.fixture
def kernel_rows(monkeypatch):
    """How many rows each call of the kernel got."""
    kernel, rows = torch._weight_int8pack_mm, []

    def counting(x, weight, scale):
        rows.append(len(x))
        return kernel(x, weight, scale)

    monkeypatch.setattr(torch, "_weight_int8pack_mm", counting)
    return rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_no_weight_moves_by_more_than_half_a_step(dtype):
    weight = (torch.randn(3, 8, 16) * torch.logspace(-3, 1, 8)[:, None]).to(dtype)
    integers, scale = quantize_weight(weight)
    assert integers.dtype == torch.int8
    assert (scale.shape, scale.dtype) == ((3, 8), dtype)
    assert integers.abs().amax() <= 127
    error = (weight.double() - integers.double() * scale.double()[..., None]).abs()
    assert (error <= scale.double()[..., None] * 0.5001).all()
    # Close to the finest step: rounding it up to 8 bits costs less than a hundredth.
    assert (scale.double() <= weight.double().abs().amax(-1) / 127 * 1.008).all()


def test_a_scale_is_the_same_number_in_every_dtype():
    _, scale = quantize_weight(torch.randn(64, 16))
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(scale.to(dtype).float(), scale)


def test_a_channel_of_zeros_stays_zeros():
    integers, scale = quantize_weight(torch.zeros(2, 16))
    assert torch.equal(integers.float() * scale[:, None], torch.zeros(2, 16))


@pytest.mark.parametrize("rows", [1, 3, int8.FEW_ROWS, int8.FEW_ROWS + 1])
def test_kernel_and_dequantised_product_are_equal_where_nothing_rounds(rows, any_dtype, kernel_rows):
    x = torch.randint(-8, 9, (rows, 48)).float()
    weight, scale = torch.randint(-127, 128, (20, 48), dtype=torch.int8), 2.0 ** torch.randint(-4, 4, (20,))
    assert torch.equal(int8_product(x, weight, scale), x @ (weight * scale[:, None]).T)
    assert kernel_rows == ([rows] if rows <= int8.FEW_ROWS else [])


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 2**-7), (torch.float16, 2**-10)], ids=str
)
def test_both_ways_are_near_the_exact_product(dtype, bound, any_dtype):
    x = torch.randn(2, 3, 64).to(dtype)
    weight, scale = quantize_weight(torch.randn(32, 64).to(dtype))
    exact = F.linear(x.double(), weight.double() * scale.double()[:, None])
    for given in (x, x.repeat(9, 1, 1)):
        product = int8_product(given, weight, scale)
        assert product.dtype == dtype
        torch.testing.assert_close(product[:2].double(), exact, atol=bound * exact.abs().max().item(), rtol=bound)


def test_float32_rows_can_go_through_the_kernel_in_bfloat16(any_dtype, kernel_rows):
    x, (weight, scale) = torch.randn(4, 64), quantize_weight(torch.randn(32, 64))
    product = int8_product(x, weight, scale, torch.bfloat16)
    assert kernel_rows == [4]
    assert product.dtype == torch.float32
    torch.testing.assert_close(product, int8_product(x.bfloat16(), weight, scale.bfloat16()).float())


def test_a_dtype_without_vector_code_is_multiplied_dequantised(monkeypatch, kernel_rows):
    monkeypatch.setattr(int8, "KERNEL_DTYPES", {torch.bfloat16})
    x, (weight, scale) = torch.randn(1, 64), quantize_weight(torch.randn(32, 64))
    assert torch.equal(int8_product(x, weight, scale), F.linear(x, weight.float()) * scale)
    assert kernel_rows == []


@pytest.mark.parametrize("width", [8, 24, 33])
def test_widths_that_the_kernel_would_read_beyond_are_multiplied_dequantised(width, any_dtype, kernel_rows):
    x, (weight, scale) = torch.randn(2, width).bfloat16(), quantize_weight(torch.randn(5, width).bfloat16())
    assert torch.equal(int8_product(x, weight, scale), F.linear(x, weight.bfloat16()) * scale)
    assert kernel_rows == []


def test_rows_that_start_anywhere_in_memory_do_not_crash_the_kernel(any_dtype):
    weight, scale = quantize_weight(torch.randn(8, 64).bfloat16())
    memory = torch.randn(3 + 128).bfloat16()
    x = memory[3:].view(2, 64)
    assert torch.equal(int8_product(x, weight, scale), int8_product(x.clone(), weight, scale))
    columns = torch.randn(64, 2).bfloat16().T
    assert torch.equal(int8_product(columns, weight, scale), int8_product(columns.contiguous(), weight, scale))


def test_no_rows_give_no_rows():
    weight, scale = quantize_weight(torch.randn(8, 16))
    assert int8_product(torch.empty(2, 0, 16), weight, scale).shape == (2, 0, 8)


def test_a_matrix_is_dequantised_block_by_block(monkeypatch):
    x, (weight, scale) = torch.randn(20, 64), quantize_weight(torch.randn(30, 64))
    whole = int8_product(x, weight, scale)
    monkeypatch.setattr(int8, "BLOCK", 64 * 7)
    torch.testing.assert_close(int8_product(x, weight, scale), whole)


def test_half_precision_does_not_overflow_before_the_scale():
    x, (weight, scale) = torch.full((20, 1024), 4.0).half(), quantize_weight(torch.full((4, 1024), 0.1).half())
    assert int8_product(x, weight, scale).isfinite().all()


def test_gradients_of_the_input_go_through_the_dequantised_weights(any_dtype):
    layer = Int8Linear(*quantize_weight(torch.randn(8, 16)))
    x = torch.randn(1, 16, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad[0], (layer.weight * layer.weight_scale[:, None]).sum(0).detach())
