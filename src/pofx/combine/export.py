"""Export: the network behind a verb of a run as a program that needs neither pofx nor Python (`torch.export`), or ONNX.

"score" maps raw items to log p, "encode" to codes, "decode" codes to raw items: with standard normal codes it is the
sampler of flows, VAEs, GANs and of the probability flow of diffusion models. What draws random numbers or decides by
their values while it runs cannot be exported, and is refused with the reason that torch gives.
"""

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from pofx.artifact import Artifact, run_of
from pofx.core.entry import public
from pofx.core.errors import PofxError, Unsupported, UsageError
from pofx.core.files import write, write_bytes
from pofx.core.model import Density, Encoding, Explicit
from pofx.core.options import OneOf
from pofx.core.random import Still, Streams

PUBLIC = ("export",)

VERBS = ("score", "encode", "decode")
ENDINGS = (".pt2", ".onnx")


class Scorer(nn.Module):
    """Raw items (n, …) → log p in nats (n,); dequantised in the middle of each level."""

    def __init__(self, run: Artifact) -> None:
        super().__init__()
        self.model, self.view = run.model, run.representation

    def forward(self, raw: Tensor) -> Tensor:
        x, ladj = self.view.encode(raw, Still(0, len(raw)))
        assert isinstance(self.model, Explicit)
        return self.model.log_prob(x) + ladj.float()


class Encoder(nn.Module):
    """Raw items (n, …) → codes (n, …)."""

    def __init__(self, run: Artifact) -> None:
        super().__init__()
        self.model, self.view = run.model, run.representation

    def forward(self, raw: Tensor) -> Tensor:
        assert isinstance(self.model, Encoding)
        return self.model.encode(self.view.encode(raw, Still(0, len(raw)))[0])


class Decoder(nn.Module):
    """Codes (n, …) → raw items (n, …)."""

    def __init__(self, run: Artifact) -> None:
        super().__init__()
        self.model, self.view = run.model, run.representation

    def forward(self, codes: Tensor) -> Tensor:
        assert isinstance(self.model, Encoding)
        return self.view.decode(self.model.decode(codes))


PROGRAMS = {"score": Scorer, "encode": Encoder, "decode": Decoder}


@public
def export(run: Any, path: str | Path, verb: Annotated[str, OneOf(*VERBS)] = "decode", *, batch_size: int = 2) -> Path:
    """Write the program of a verb to a .pt2 file (`torch.export.load` reads it) or an .onnx file.

    Args:
        run: a run, or its folder.
        verb: "score", "encode" or "decode".
        batch_size: of the program; the number of items of each call is this one where the model fixes it, else free.

    Raises:
        Unsupported: the run lacks the verb, takes a condition, or its network cannot be exported.
        UsageError: another ending, or the library for ONNX is missing.
    """
    run, target = run_of(run), Path(path)
    if target.suffix not in ENDINGS:
        raise UsageError(f"a program is written to a file ending in {' or '.join(ENDINGS)} (got {target.name})")
    if run.conditioning is not None:
        raise Unsupported(f"{run.name} takes a condition: export a run without one")
    if verb == "score" and run.density is Density.NONE:
        raise Unsupported(f"{run.name} has no density: export decode")
    if verb != "score" and not isinstance(run.model, Encoding):
        raise Unsupported(f"{run.name} has no codes: export score")
    module = PROGRAMS[verb](run).eval()
    example = _example(run, verb, batch_size)
    try:
        with torch.no_grad(), _silent():
            program = _exported(module, example)
    except Exception as error:  # torch raises classes of its own, of many kinds
        raise Unsupported(
            f"{verb} of {run.name} cannot be exported ({_reason(error)}): serve it with `pofx serve`"
        ) from error
    if _fixed(program):
        warnings.warn(
            f"{verb} of {run.name} is a program of {len(example)} items a call: pass batch_size= for another number",
            stacklevel=3,
        )
    if target.suffix == ".onnx":
        try:
            write(target, lambda aside: _onnx(program, aside))
        except ImportError as error:
            raise UsageError(
                f"ONNX needs its libraries ({error}): pip install 'pofx[onnx]', or write a .pt2 file"
            ) from error
        except PofxError:
            raise
        except Exception as error:  # torch and onnx raise classes of their own, of many kinds
            raise Unsupported(
                f"{verb} of {run.name} cannot be written as ONNX ({_reason(error)}): write a .pt2"
            ) from error
        return target
    about = {"pofx": json.dumps({"verb": verb, "model": run.name, "input": list(example.shape)})}
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files=about)
    write_bytes(target, stream.getvalue())
    return target


def _reason(error: BaseException) -> str:
    """What torch states first, of the error behind its own summary, without colours of a terminal."""
    while error.__cause__ is not None:
        error = error.__cause__
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    return (plain.splitlines() or [type(error).__name__])[0][:300]


def _onnx(program: Any, path: Path) -> None:
    with _silent(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.onnx.export(program, (), path, dynamo=True, external_data=False, verbose=False)


def _example(run: Artifact, verb: str, n: int) -> Tensor:
    if verb == "decode":
        assert isinstance(run.model, Encoding) and not isinstance(run.model.code, dict)
        return Streams(0, n).normal(*run.model.code.shape)
    raw: Any = run.representation.tensor(run.sample(n, seed=0))
    if not isinstance(raw, Tensor):
        raise Unsupported(f"{run.name} models items of several parts: export decode")
    return raw


@contextmanager
def _silent() -> Iterator[None]:
    """Without torch's own account, graph by graph, of attempts that failed: the last reason is in our error."""
    logging.disable(logging.CRITICAL)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _exported(module: nn.Module, example: Tensor) -> Any:
    """The program with a free number of items, or else with that of the example.

    Strict first: it reads the code, in which len(x) stays a free number, where tracing makes it that of the example.
    """
    for most in (1 << 16, 1 << 12, 1 << 6):  # networks that compute large batches in parts have other code for them
        free = torch.export.Dim("n", min=2, max=most)
        for strict in (True, False):
            with suppress(Exception):  # torch raises classes of its own, of many kinds
                return torch.export.export(module, (example,), dynamic_shapes=({0: free},), strict=strict)
    return torch.export.export(module, (example,))


def _fixed(program: Any) -> bool:
    """Whether a program takes one number of items alone."""
    given = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and "val" in node.meta]
    return bool(given) and isinstance(given[-1].shape[0], int)
