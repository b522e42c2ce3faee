"""Weights of GPT-2 and nanoGPT as a run of `gpt`: sampled, scored, saved and trained further like any other.

GPT-2 (Radford et al., 2019) is `gpt` with layer norms, biases, learned positions and a tanh approximation of gelu. Two
things differ in form: its first token follows a separator, whose vector is our learned start; and its logits are plain
products with the table of tokens, where ours are divided by the root of the width, which its last norm takes up.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pofx.artifact import Artifact
from pofx.core.entry import public
from pofx.core.errors import UsageError
from pofx.core.files import read_json, read_tensors
from pofx.core.options import Count
from pofx.families.autoregressive.gpt import GPT
from pofx.represent.tokens import Tokens

PUBLIC = ("from_gpt2",)

HEAD = 64  # features of a head in every GPT-2
SEPARATOR = 50_256  # "<|endoftext|>" of its tokens
PARTS = {  # of a layer: theirs → ours
    "ln_1": "first", "ln_2": "second", "attn.c_attn": "attention.inward", "attn.c_proj": "attention.outward",
    "mlp.c_fc": "feedforward.inward", "mlp.c_proj": "feedforward.outward",
}  # fmt: skip
MASKS = re.compile(r"\.attn\.(bias|masked_bias)$")  # buffers of transformers


@public
def from_gpt2(
    weights: Any, *, heads: Count | None = None, start: int | None = None, activation: str = "gelu-tanh"
) -> Artifact:
    """A run of `gpt` with the weights of a GPT-2, over the numbers of its tokens; texts are tokenised by their owner.

    Args:
        weights: `GPT2LMHeadModel` of transformers, a nanoGPT model, or the state dict of either, also that in a
            checkpoint of nanoGPT ({"model": …, "model_args": …}), or a .safetensors file of it, or a folder with
            model.safetensors and config.json, as `save_pretrained` writes it. Nothing is unpickled.
        heads: of attention; by default as the model states, or of 64 features each.
        start: the token that comes before the first one; by default the one that the model states, or the separator of
            GPT-2, 50256.
        activation: of transformers' GPT-2 "gelu-tanh"; nanoGPT trained from scratch has "gelu".

    Raises:
        UsageError: weights of another network, or `heads` or `start` that are not known and must be given.
    """
    state, about = _state(weights)
    table, places = _named(state, "wte.weight"), _named(state, "wpe.weight")
    (classes, width), length = table.shape, len(places)
    layers = 1 + max((int(k.split(".")[1]) for k in state if re.match(r"h\.\d+\.", k)), default=-1)
    if not layers or places.shape[1] != width:
        raise UsageError("weights must be those of a GPT-2 (got no layers h.0 …): pass its state_dict()")
    heads = heads or about.get("n_head") or (width // HEAD if width % HEAD == 0 else None)
    if heads is None or width % heads:
        raise UsageError(f"heads must divide the width {width} (got {heads}): pass heads=")
    if start is None:
        start = about.get("bos_token_id", SEPARATOR if classes > SEPARATOR else None)
    if start is None or not 0 <= start < classes:
        raise UsageError(
            f"start must be a token from 0 to {classes - 1} that precedes the first (got {start}): pass it"
        )
    head = state.get("lm_head.weight", table)
    if head.shape != table.shape or not torch.equal(head, table):
        raise UsageError("weights must share the table of tokens with the head, as GPT-2 does (these do not)")
    units = _named(state, "h.0.mlp.c_fc.weight").numel() // width
    view = Tokens(classes, length)
    model = GPT(
        view.event, width=width, layers=layers, heads=heads, expansion=units / width, activation=activation,
        positions="learned", norm="layer", biased=True,
    )  # fmt: skip
    made = {"table": table, "start": table[start], "axes.0": places, "bias": torch.zeros(1, classes)}
    transposed = _named(state, "h.0.attn.c_attn.weight").shape == (width, 3 * width)  # Conv1D of transformers
    for i in range(layers):
        for theirs, ours in PARTS.items():
            weight = _named(state, f"h.{i}.{theirs}.weight")
            made[f"net.blocks.{i}.{ours}.weight"] = weight.T if weight.ndim == 2 and transposed else weight
            made[f"net.blocks.{i}.{ours}.bias"] = _bias(state, f"h.{i}.{theirs}", model, f"net.blocks.{i}.{ours}")
    _refuse_others(state, layers)
    root = width**0.5
    made["net.norm.weight"] = root * _named(state, "ln_f.weight")
    made["net.norm.bias"] = root * _bias(state, "ln_f", model, "net.norm")
    try:
        model.load_state_dict({k: v.detach().float().contiguous().clone() for k, v in made.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n\t")[1:2] or [str(error)])
        raise UsageError(f"weights do not fit a GPT-2 of {layers} layers and width {width}: {reason}") from error
    facts = {"classes": classes, "length": length}
    card = {
        "data": {"kind": "tokens", "name": "weights of GPT-2", "facts": facts},
        "training": {"imported": "GPT-2", "start": start},
    }
    return Artifact(view, model.eval(), "gpt", card)


def _state(weights: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights by their names below "transformer.", and what the model states of itself."""
    about: dict[str, Any] = {}
    if isinstance(weights, str | Path):
        weights, about = _stored(Path(weights).expanduser())
    if isinstance(weights, nn.Module):
        config = getattr(weights, "config", None)
        about = {k: v for k in ("n_head", "bos_token_id") if (v := getattr(config, k, None)) is not None}
        weights = weights.state_dict()
    if isinstance(weights, Mapping) and isinstance(weights.get("model"), Mapping):
        about = dict(weights.get("model_args") or {})
        weights = weights["model"]
    if not isinstance(weights, Mapping) or not all(isinstance(v, Tensor | np.ndarray) for v in weights.values()):
        raise UsageError(f"weights must be a GPT-2 or its state dict (got {type(weights).__name__}): pass state_dict()")
    weights = {key: torch.as_tensor(v) for key, v in weights.items()}
    broken = [str(key) for key, v in weights.items() if not bool(torch.isfinite(v).all())]
    if broken:
        raise UsageError(f"weights must be finite numbers ({broken[0]} holds others): take an earlier checkpoint")
    state = {str(key).removeprefix("_orig_mod.").removeprefix("transformer."): v for key, v in weights.items()}
    return {key: v for key, v in state.items() if not MASKS.search(key)}, about


def _stored(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights in a file or a folder, and what its config.json states."""
    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix != ".safetensors" or not file.is_file():
        raise UsageError(
            f"weights must be a .safetensors file or a folder with model.safetensors (got {path}): write one by "
            "save_pretrained, or pass a state dict"
        )
    config = path / "config.json"
    plain = read_json(config) if config.is_file() else {}
    return read_tensors(file), {k: plain[k] for k in ("n_head", "bos_token_id") if plain.get(k) is not None}


def _named(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise UsageError(f"weights must have {name}, as those of GPT-2 (got {', '.join(list(state)[:4])}, …)")
    return state[name]


def _refuse_others(state: Mapping[str, Tensor], layers: int) -> None:
    """Refuse tensors that a GPT-2 does not have, and biases of which some are absent."""
    named = [f"h.{i}.{part}" for i in range(layers) for part in PARTS] + ["ln_f"]
    biases = [f"{name}.bias" for name in named]
    other = [k for k in state if k.removesuffix(".weight") not in (*named, "wte", "wpe", "lm_head") and k not in biases]
    if other:
        raise UsageError(f"weights must be those of a GPT-2 alone (got also {', '.join(other[:3])}): leave them out")
    lacking = [name for name in biases if name not in state]
    if lacking and len(lacking) < len(biases):
        raise UsageError(f"weights must have every bias or none ({', '.join(lacking[:3])} is absent): pass all of them")


def _bias(state: Mapping[str, Tensor], name: str, model: GPT, ours: str) -> Tensor:
    """A bias, zero where nanoGPT was trained without any."""
    found = state.get(f"{name}.bias")
    return torch.zeros_like(model.get_parameter(f"{ours}.bias")) if found is None else found
