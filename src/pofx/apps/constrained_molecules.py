"""Draws of a run that are molecules by construction: at each step what could not become one is struck out.

The class is drawn from the conditional of the model among those that the beginning allows (`data.smiles_prefix`), so
that what is drawn follows the model step by step, but not p(x | x is a molecule): a beginning that the model finds
probable, and that few molecules have, is drawn too often. Draws that are rejected as a whole (`valid_draws`) follow
that distribution and cost more.
"""

from collections.abc import Sequence
from typing import Any

import torch

from pofx.core.errors import Unsupported
from pofx.core.random import Streams
from pofx.data.smiles_prefix import Beginning, followed
from pofx.families.autoregressive.conditionals import Conditionals
from pofx.maths.distributions import categorical_draw
from pofx.maths.sharpening import sharpen
from pofx.represent.smiles import Smiles
from pofx.represent.smiles_pieces import SmilesPieces
from pofx.represent.texts import END

BATCH = 250  # molecules that are drawn together


@torch.inference_mode()
def constrained(
    run: Any, n: int, condition: Any = None, *, temperature: float = 1.0, prefix: str = "", seed: int = 0
) -> list[str]:
    """n strings of a run, each of which its grammar and valences let end as a molecule.

    Args:
        condition: as of `Artifact.sample`.
        prefix: how all of them begin.

    Raises:
        Unsupported: a model that does not draw in order, or a view other than SMILES.
        DataError: a beginning that no molecule has.
    """
    from pofx.conditioned import condition_events, raw_condition
    from pofx.core.errors import DataError
    from pofx.core.event import select

    model, view = run.model, run.representation
    if not (isinstance(model, Conditionals) and model.end is not None):
        raise Unsupported(f"{run.name} does not draw symbol by symbol: draw valid molecules by rejection (--valid)")
    if not isinstance(view, Smiles):
        raise Unsupported(f"{view.name} has no grammar of SMILES (SELFIES are valid anyway): leave the constraint out")
    spelled = symbols_of(view)
    begun = [int(k) for k in view.codes(prefix)]
    start: Beginning | None = Beginning()
    for code in begun:
        start = None if start is None or spelled[code] is None else followed(start, spelled[code] or ())
    if start is None:
        raise DataError(f"no molecule begins with {prefix!r}: check its rings, brackets and valences")
    stated = condition_events(run, raw_condition(run, condition, n, seed))
    found: list[str] = []
    for first in range(0, n, BATCH):
        streams = Streams(seed, min(BATCH, n - first), first=first, device=run.device)
        part = None if stated is None else select(stated, slice(first, first + len(streams)))
        found += [view.text(codes) for codes in _drawn(model, part, streams, spelled, begun, start, temperature)]
    return found


def symbols_of(view: Smiles) -> list[Sequence[str] | None]:
    """The symbols of each class of a view; None: never drawn."""
    pieces = view.pieces if isinstance(view, SmilesPieces) else []
    pattern = view.pattern if isinstance(view, SmilesPieces) else None
    of_pieces = [] if pattern is None else [tuple(pattern.findall(piece)) for piece in pieces]
    return [None, None, *[(symbol,) for symbol in view.symbols], *of_pieces]


def _drawn(
    model: Conditionals,
    condition: Any,
    streams: Streams,
    spelled: list[Sequence[str] | None],
    begun: list[int],
    start: Beginning,
    temperature: float,
) -> list[Any]:
    """Codes of one batch, int64 (length,) each."""
    n, length = len(streams), int(model.event.shape[0])  # type: ignore[union-attr]
    states: list[Beginning | None] = [start] * n  # None: it has ended
    codes = torch.full((n, length), END, dtype=torch.int64, device=streams.device)
    cursor = model.cursor(n, condition)
    for place in range(length):
        logits = cursor.logits()
        if place < len(begun):
            value = torch.full((n,), begun[place], dtype=torch.int64, device=streams.device)
        else:
            value = _next(logits, streams, states, spelled, length - place - 1, temperature)
        codes[:, place] = value
        if all(state is None for state in states):
            break
        cursor.put(value)
    return list(codes.cpu().numpy())


def _next(
    logits: torch.Tensor,
    streams: Streams,
    states: list[Beginning | None],
    spelled: list[Sequence[str] | None],
    left: int,
    temperature: float,
) -> torch.Tensor:
    """One class each, and the states behind them: a draw that cannot follow is struck out and drawn again."""
    logits = logits.double()
    found = torch.full((len(states),), END, dtype=torch.int64, device=logits.device)
    waiting = [i for i, state in enumerate(states) if state is not None]
    strict = dict.fromkeys(waiting, True)
    while waiting:
        drawn = categorical_draw(sharpen(logits, temperature, 0, 1.0, 0.0), streams.uniform(1)[:, 0]).tolist()
        again = []
        for i in waiting:
            code, state = int(drawn[i]), states[i]
            assert state is not None
            if code == END and state.ends:
                states[i] = None
                continue
            symbols = spelled[code]
            new = None if symbols is None or code == END else followed(state, symbols)
            if new is not None and (new.needed <= left or not strict[i]):
                states[i], found[i] = new, code
                continue
            logits[i, code] = -torch.inf
            if not torch.isfinite(logits[i]).any():  # too little room: whatever the grammar allows
                if not strict[i]:
                    states[i] = None
                    continue
                strict[i] = False
                logits[i] = 0.0
            again.append(i)
        waiting = again
    return found
