"""A second device for machines without one: tensors that claim another device while the processor computes them.

Each wraps a tensor of the CPU. As on a GPU, an operation on tensors of both devices is an error, unless the one of the
CPU is a number, an index or the source of a copy; what comes out lies where its operands do, and it cannot become an
array of numpy. So code that forgets the device of its data fails here as it would there.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("lazy", 0)
aten = torch.ops.aten
ACROSS = {aten.copy_.default, aten._to_copy.default, aten.index_copy_.default}
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default,
            aten._unsafe_index.Tensor, aten._unsafe_index_put.default}  # fmt: skip


class There(torch.Tensor):
    """A tensor of the second device; `held` is where its numbers are."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "There":
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=DEVICE, requires_grad=False,
        )  # fmt: skip
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.held})"

    def tolist(self) -> Any:
        return self.held.tolist()

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        with torch.no_grad():
            copied = There(self.held.clone())
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return on_both(function, args, kwargs or {})


def _claims(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def on_both(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation, by the CPU, with the devices of its operands checked."""
    flat, spec = tree_flatten((args, kwargs))
    there = [x for x in flat if isinstance(x, There)]
    wanted, kwargs_ = kwargs.get("device"), {k: v for k, v in kwargs.items() if k != "device"}
    if there and function not in ACROSS:
        here = [x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, There) and x.ndim]
        if function in INDEXING:
            values = [x for x in (args[0], *args[2:3]) if isinstance(x, torch.Tensor) and x.ndim]
            here = [x for x in values if not isinstance(x, There)]
        if here:
            shapes = [tuple(x.shape) for x in here]
            raise RuntimeError(f"{function}: tensors {shapes} of the CPU beside one of {DEVICE}")
    bare = tree_map(lambda x: x.held if isinstance(x, There) else x, (args, kwargs_))
    out = function(*bare[0], **({**bare[1], "device": torch.device("cpu")} if wanted is not None else bare[1]))
    goes = _claims(wanted) if wanted is not None else bool(there)
    if function is aten._local_scalar_dense.default or function is aten.equal.default:
        return out
    if function._schema.is_mutable and out is not None and not isinstance(out, tuple | list):  # in place
        first = args[0] if args else kwargs.get("out")
        if isinstance(first, There):
            if first.shape != first.held.shape:
                raise RuntimeError(f"{function} changed a shape")
            return first
        if "out" in kwargs:
            return kwargs["out"]
        return first
    if not goes:
        return out
    return tree_map(lambda x: There(x) if isinstance(x, torch.Tensor) and not isinstance(x, There) else x, out)


class _Placing(TorchDispatchMode):
    """New tensors that are asked for on the second device."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        flat, _ = tree_flatten((args, kwargs))
        if _claims(kwargs.get("device")) or any(isinstance(x, There) for x in flat):
            return on_both(function, args, kwargs)
        return function(*args, **kwargs)


class _Making(TorchFunctionMode):
    """Tensors made from numbers, and autocast, which know the devices of torch alone."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and _claims(kwargs.get("device")):
            del kwargs["device"]
            return function(*args, **kwargs).to(DEVICE)
        if function is torch.Tensor.new_tensor and args[0].device == DEVICE:
            kwargs.setdefault("dtype", args[0].dtype)
            return torch.tensor(*args[1:], **kwargs).to(kwargs.pop("device", DEVICE))
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            at = tuple(args[1]) if isinstance(args[1], tuple) else (args[1],)
            at = tuple(
                torch.tensor(part, dtype=None if part else torch.int64) if isinstance(part, list) else part
                for part in at
            )
            return function(args[0], at, *args[2:])
        return function(*args, **kwargs)


_autocast, _autocasts = torch.autocast, torch.is_autocast_enabled


def _cast(device: str, *args: Any, **kwargs: Any) -> Any:
    return nullcontext() if device == DEVICE.type else _autocast(device, *args, **kwargs)


def _casts(*device: str) -> bool:
    return device != (DEVICE.type,) and _autocasts(*device)


def _enter(mode: Any) -> None:
    mode.instead = torch.no_grad() if mode.mode else nullcontext()
    mode.instead.__enter__()


def _leave(mode: Any, *error: Any) -> None:
    mode.instead.__exit__(*error)


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Within it there is the second device, whose random numbers are the CPU's."""
    generators = mock.Mock(get_rng_state=lambda device: None, set_rng_state=lambda state, device: None)
    kernels = "torch.optim.optimizer._get_fused_kernels_supported_devices"
    with (
        mock.patch(f"torch.{DEVICE.type}", generators, create=True),
        mock.patch(kernels, return_value=["cpu", DEVICE.type]),
        mock.patch("torch.autocast", _cast),
        mock.patch("torch.is_autocast_enabled", _casts),
        mock.patch.object(torch.inference_mode, "__enter__", _enter),  # its tensors cannot be wrapped
        mock.patch.object(torch.inference_mode, "__exit__", _leave),
        _Making(),
        _Placing(),
    ):
        yield DEVICE
