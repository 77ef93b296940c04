"""Tensors as pictures: which shapes and types are read, and what the others are told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lichen.errors import BadPicture, UsageError
from lichen.image.picture import from_tensor


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_type(dtype):
    tensor = torch.tensor([0.0, 0.25, 1.0], dtype=dtype).view(1, 1, 3).requires_grad_()
    picture = from_tensor(tensor)
    assert picture.grey and picture.pixels[0, :, 0].tolist() == [0, 64, 255]


def test_uint8_and_a_view():
    values = torch.arange(60, dtype=torch.uint8).view(4, 5, 3)
    assert np.array_equal(from_tensor(values.permute(2, 0, 1)).pixels, values.numpy())


@pytest.mark.parametrize(
    ("tensor", "remedy"),
    [
        (torch.zeros(3, 4, 4, device="meta"), "real device"),
        (torch.zeros(3, 4, 4).to_sparse(), r"to_dense\(\)"),
        (torch.zeros(3, 4), "1 or 3 channels"),
        (torch.zeros(1, 3, 4, 4), "each picture alone"),
        (torch.zeros(4, 4, 4), "1 or 3 channels"),
        (torch.zeros(3, 0, 4), "empty"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "uint8 or float"),
        (torch.zeros(3, 4, 4, dtype=torch.complex64), "uint8 or float"),
        (torch.full((3, 4, 4), torch.nan), "NaN"),
        (torch.full((3, 4, 4), 255.0), "divide by 255"),
    ],
)
def test_other_tensors_are_refused_with_a_remedy(tensor, remedy):
    with pytest.raises(BadPicture, match=remedy):
        from_tensor(tensor)


@pytest.mark.filterwarnings("ignore")  # PyTorch's, that these kinds are in beta or deprecated
def test_layouts_that_numpy_does_not_know_are_refused_with_a_remedy():
    with pytest.raises(BadPicture, match=r"dequantize\(\)"):
        from_tensor(torch.quantize_per_tensor(torch.zeros(3, 4, 4), 0.1, 0, torch.quint8))
    with pytest.raises(BadPicture, match=r"to_dense\(\)"):
        from_tensor(torch.zeros(3, 4).to_sparse_csr())
    with pytest.raises(BadPicture, match="one picture at a time"):
        from_tensor(torch.nested.nested_tensor([torch.zeros(3, 4, 4), torch.zeros(3, 5, 4)]))


def test_what_is_no_tensor_is_a_mistake_of_the_call():
    with pytest.raises(UsageError, match="a Pillow image, a numpy array or a tensor, not str"):
        from_tensor("a.png")
