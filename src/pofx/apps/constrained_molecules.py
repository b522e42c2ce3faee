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
TRIES = 16  # draws of a class before all that cannot follow is struck out


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
    cursor, u = model.cursor(n, condition), streams.uniform(length, TRIES)
    for place in range(length):
        logits = sharpen(cursor.logits(), temperature, 0, 1.0, 0.0).double()
        if place < len(begun):
            value = torch.full((n,), begun[place], dtype=torch.int64, device=streams.device)
        else:
            value = _next(logits, u[:, place], states, spelled, length - place - 1)
        codes[:, place] = value
        if all(state is None for state in states):
            break
        cursor.put(value)
    return list(codes.cpu().numpy())


def _next(
    logits: torch.Tensor,
    u: torch.Tensor,
    states: list[Beginning | None],
    spelled: list[Sequence[str] | None],
    left: int,
) -> torch.Tensor:
    """One class each, and the states behind them: a draw that cannot follow is struck out and drawn again, with the
    next of its numbers u (n, TRIES); before the last of them everything that cannot follow is struck out."""
    found = torch.full((len(states),), END, dtype=torch.int64, device=logits.device)
    waiting = {i: state for i, state in enumerate(states) if state is not None}
    for attempt in range(TRIES):
        if attempt == TRIES - 1:
            for i, state in waiting.items():
                wrong = [k for k in range(logits.shape[1]) if _behind(state, k, spelled, left) is None]
                logits[i, wrong] = -torch.inf
        drawn, again = categorical_draw(logits, u[:, attempt]).tolist(), dict[int, Beginning]()
        for i, state in waiting.items():
            code = int(drawn[i])
            if bool(torch.isneginf(logits[i]).all()):  # too little room: end as soon as the grammar allows
                code = _closing(state, spelled)
                new = followed(state, spelled[code] or ())
            else:
                new = _behind(state, code, spelled, left)
            if new is None:
                logits[i, code] = -torch.inf
                again[i] = state
            else:
                states[i], found[i] = (None if code == END else new), code
        waiting = again
    return found


def _behind(state: Beginning, code: int, spelled: list[Sequence[str] | None], left: int) -> Beginning | None:
    """The state behind a class, with which so many further ones can end it; None: there is none."""
    symbols = spelled[code]
    if code == END or symbols is None:
        return state if code == END and state.ends else None
    new = followed(state, symbols)
    return new if new is not None and new.needed <= left else None


def _closing(state: Beginning, spelled: list[Sequence[str] | None]) -> int:
    """The class that brings an ending nearer: one that closes a branch or a ring, else a carbon."""
    if state.ends:
        return END
    for code, symbols in enumerate(spelled):
        new = followed(state, symbols) if symbols is not None and len(symbols) == 1 else None
        if new is not None and new.needed < state.needed:
            return code
    return next((k for k, symbols in enumerate(spelled) if symbols == ("C",)), END)
