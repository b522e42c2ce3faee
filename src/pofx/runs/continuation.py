"""Running text longer than a model's window: drawn window after window, each given the last half of the one before.

Within its window a text follows the model's p(x). Beyond it every character follows the model's conditional given at
least half a window before it: a truncated context, as in the score of passages (`pofx.represent.texts`).
"""

from typing import Annotated, Any

from pofx.artifact import Artifact
from pofx.core.entry import public
from pofx.core.errors import Unsupported, UsageError
from pofx.core.options import Count, Range, Seed
from pofx.represent.texts import Texts

PUBLIC = ("long_texts",)

LONGEST = 1_000_000  # characters
Length = Annotated[int, Range(1, LONGEST)]


@public
def long_texts(
    run: Artifact,
    n: Count,
    length: Length,
    *,
    prefix: str = "",
    condition: Any = None,
    seed: Seed = 0,
    **tempering: Any,
) -> list[str]:
    """n texts of `length` characters, the prefix among them; text i depends on the seed and i alone.

    Args:
        run: an artifact of a model of running text that draws in order (`gpt`, `wavenet`).
        tempering: temperature, top_k, top_p, as in `Artifact.sample`.

    Raises:
        Unsupported: the model's texts end by themselves, or it is none of texts.
        UsageError: a length out of range, or not longer than the prefix.
    """
    view = run.representation
    if not isinstance(view, Texts):
        raise Unsupported(f"length applies to models of texts, and {run.name} here models {view.kind} items: omit it")
    if not view.passage:
        raise Unsupported(
            f"these texts end by themselves after at most {view.length} {view.codes_are}: omit length, or train with "
            "-o length=N, or on running text"
        )
    if length <= len(prefix):
        longer = min(len(prefix) + 400, LONGEST)
        raise UsageError(
            f"length must be above the {len(prefix)} characters of the prefix (got {length}): pass {longer}"
        )
    texts, window = [prefix] * n, 0
    while min(map(len, texts)) < length:
        most = view.length // 2 if window else view.length - 1  # the prefix counts as far as it fits
        known = [_end(view, text, most) for text in texts]
        start = known if any(known) else None
        drawn = run.sample(n, condition, seed=seed + (window << 44), prefix=start, **tempering)
        grown = [text + new[len(end) :] for text, end, new in zip(texts, known, drawn, strict=True)]
        if all(len(a) == len(b) for a, b in zip(grown, texts, strict=True)):
            raise UsageError(f"no character was drawn beyond {min(map(len, texts))}: pass a shorter length")
        texts, window = grown, window + 1
    return [text[:length] for text in texts]


def _end(view: Texts, text: str, most: int) -> str:
    """The last part of a text that has at most so many codes."""
    end = text[-view.length :]
    while len(view.codes(end)) > most:
        end = end[max(1, len(end) // 16) :]
    return end
