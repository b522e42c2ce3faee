"""Products of matrices by the faster of two libraries and in the faster of two shapes, with what comes right after.

Torch multiplies float32 matrices on a CPU with MKL, which on AMD processors leaves half of their vector units idle;
oneDNN, which torch also holds and uses for convolutions, does not: 190 against 95 GFLOPS on one thread of an EPYC with
AVX-512. On processors of Intel MKL is as fast and starts sooner. Torch reaches oneDNN's product through the operators
that its own compiler emits. Both add in float32. And where a result has few columns, a (b, c)ᵀ costs MKL five times as
much as its transpose: so are the gradients of a first layer.
"""

import platform
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

WORTH = 2**20  # multiplications from which oneDNN's longer start pays
SLIM = range(2, 16)  # columns of a result whose transpose is faster
MANY = 2**15  # numbers in a layer of few inputs from which a function of our own computes its gradients faster


def _amd() -> bool:
    """Whether this processor is AMD's."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return "AMD" in platform.processor()


_HERE = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512" and _amd()
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if _HERE else None


def linear(
    x: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, "outputs"] | None = None,
    onto: Float[Tensor, "*rows outputs"] | None = None,
    *,
    relu: bool = False,
    by_unit: bool = False,
) -> Float[Tensor, "*rows outputs"]:
    """onto + x weightᵀ + bias, or its positive part, or with `by_unit` unit by unit in memory, each for all rows.

    Raises:
        ValueError: more than one of an `onto`, `relu` and `by_unit`.
    """
    if (onto is not None) + relu + by_unit > 1:
        raise ValueError("a product is either added, rectified or laid out by unit: pass one of onto, relu and by_unit")
    if by_unit:
        out = linear(weight, x)
        return (out if bias is None else out + bias[:, None]).T
    learns = torch.is_grad_enabled() and _slim(x, weight)
    if not learns and not _worth(x, weight):
        return _plain(x, weight, bias, onto, relu)
    if not torch.is_grad_enabled():
        return _fused(x, weight, bias, onto, relu)
    if x.ndim == 2:
        return _Linear.apply(x, weight, bias, onto, relu)
    flat = None if onto is None else onto.reshape(-1, onto.shape[-1])
    out = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias, flat, relu)
    return out.view(*x.shape[:-1], -1)


def _ordinary(a: Tensor, b: Tensor) -> bool:
    """Whether both are float32 on the CPU, and stay it; a compiler has its own kernels."""
    return (
        not torch.compiler.is_compiling()
        and a.dtype == b.dtype == torch.float32
        and a.device.type == b.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
    )


def _worth(a: Tensor, b: Tensor) -> bool:
    """Whether oneDNN multiplies a bᵀ faster."""
    return _ONEDNN is not None and a.numel() * len(b) >= WORTH and min(b.shape) >= SLIM.stop and _ordinary(a, b)


def _slim(x: Tensor, weight: Tensor) -> bool:
    """Whether the gradients of a layer of few inputs are results of few columns."""
    outputs, inputs = weight.shape
    return inputs in SLIM and x.numel() // inputs * outputs >= MANY and _ordinary(x, weight)


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None, relu: bool) -> Tensor:
    out = torch.nn.functional.linear(x, weight, bias)
    return out.relu() if relu else out if onto is None else onto + out


def _fused(x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None, relu: bool) -> Tensor:
    assert _ONEDNN is not None
    if onto is not None:
        out: Tensor = _ONEDNN.binary(x, onto, weight, bias, "add")
    else:
        out = _ONEDNN(x, weight, bias, "relu" if relu else "none", [], "")
    return out


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a bᵀ for matrices, in the faster shape."""
    if torch.is_grad_enabled():
        return linear(a, b)
    if _worth(a, b):
        return _fused(a, b, None, None, False)
    return (b @ a.T).T if len(b) in SLIM else a @ b.T


class _Linear(torch.autograd.Function):
    """Its backward consists of such products, so that it can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None, relu: bool) -> Tensor:
        out = (_fused if _worth(x, weight) else _plain)(x, weight, bias, onto, relu)
        ctx.save_for_backward(x, weight, out if relu else None)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, out = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if out is not None:
            g = torch.ops.aten.threshold_backward(g, out, 0)
        gx = _product(g, weight.T) if needed[0] else None
        gweight = None
        if needed[1]:
            gweight = _product(x.T, g.T).T if x.shape[1] < g.shape[1] else _product(g.T, x.T)
        return gx, gweight, g.sum(0) if needed[2] else None, g if needed[3] else None, None
