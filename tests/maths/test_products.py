"""Products by the faster library equal the ordinary ones, and so do their gradients, first and second."""

import pytest
import torch
from torch.nn.functional import linear as ordinary

from pofx.maths.products import linear

SIZES = [(512, 64, 64), (2048, 4, 64), (512, 64, 40), (4096, 15, 16), (16, 300, 400), (3, 5, 7), (1, 1, 1)]


def arguments(n: int, inputs: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    x, weight, bias, onto = (torch.randn(*s) for s in ((n, inputs), (outputs, inputs), (outputs,), (n, outputs)))
    return tuple(t.requires_grad_() for t in (x, weight / inputs**0.5, bias, onto))


def agree(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.detach().abs().max()) + 1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", ["bias", "no bias", "onto", "relu", "by unit", "columns"])
def test_values_and_gradients_are_the_ordinary_ones(size: tuple[int, int, int], what: str) -> None:
    x, weight, bias, onto = arguments(*size)
    seen = x.T.contiguous().T if what == "columns" else x
    if what == "no bias":
        ours, theirs = linear(seen, weight), ordinary(x, weight)
    elif what == "onto":
        ours, theirs = linear(seen, weight, bias, onto), onto + ordinary(x, weight, bias)
    elif what == "relu":
        ours, theirs = linear(seen, weight, bias, relu=True), ordinary(x, weight, bias).relu()
    else:
        ours, theirs = linear(seen, weight, bias, by_unit=what == "by unit"), ordinary(x, weight, bias)
    assert agree(ours, theirs)
    with torch.no_grad():
        assert agree(linear(x, weight, bias), ordinary(x, weight, bias))
    used = [t for t, use in ((x, True), (weight, True), (bias, what != "no bias"), (onto, what == "onto")) if use]
    into = torch.randn_like(theirs)
    for a, b in zip(torch.autograd.grad(ours, used, into), torch.autograd.grad(theirs, used, into), strict=True):
        assert agree(a, b)


@pytest.mark.parametrize("size", [(512, 64, 64), (2048, 4, 64)])
def test_second_gradients_are_the_ordinary_ones(size: tuple[int, int, int]) -> None:
    x, weight, bias, _ = arguments(*size)

    def second(product: object) -> tuple[torch.Tensor, ...]:
        (slope,) = torch.autograd.grad(product(x, weight, bias).tanh().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), (x, weight, bias))

    for a, b in zip(second(linear), second(ordinary), strict=True):
        assert agree(a, b)


def test_precision_is_that_of_the_caller() -> None:
    x, weight = torch.randn(512, 64), torch.randn(64, 64, requires_grad=True)
    assert linear(x.double(), weight.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16


def test_a_compiler_sees_an_ordinary_product(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(512, 64), torch.randn(64, 64, requires_grad=True)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    name = linear(x, weight).grad_fn.name()
    assert name.startswith(("Addmm", "Mm", "T"))


def test_leading_axes_are_kept() -> None:
    x, weight = torch.randn(16, 32, 64), torch.randn(96, 64)
    assert agree(linear(x, weight), ordinary(x, weight))
    onto = torch.randn(16, 32, 96)
    assert agree(linear(x, weight, None, onto), onto + ordinary(x, weight))
    weight.requires_grad_()
    assert agree(linear(x, weight), ordinary(x, weight))
    assert agree(linear(x, weight, None, onto), onto + ordinary(x, weight))


def test_one_thing_after_a_product() -> None:
    x = torch.randn(2, 3)
    with pytest.raises(ValueError, match="one of"):
        linear(x, torch.randn(4, 3), None, torch.zeros(2, 4), relu=True)
