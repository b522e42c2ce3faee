"""Random SELFIES, valid by construction (Krenn et al., 2020, arXiv 1905.13741) and unlike any molecule: a floor."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from pofx.core.errors import DataError

READ, SIZES = 2_000, 200  # molecules whose symbols, and whose lengths, are taken


def random_selfies(strings: Sequence[str], n: int, seed: int) -> list[str]:
    """Molecules of symbols of SELFIES drawn independently, in the lengths of the data."""
    from pofx.represent.smiles import Selfies

    known = []
    for string in strings[:READ]:
        with suppress(DataError):  # some molecules have none
            known.append(Selfies.parts(string))
    if not known:
        return []
    view = Selfies(sorted({symbol for parts in known for symbol in parts} - {"."}), max(map(len, known)))
    generator = np.random.default_rng(seed)
    lengths = [len(parts) for parts in known[:SIZES]]
    sizes = generator.choice(lengths, n)
    return [view.text(generator.integers(2, view.classes, size)) for size in sizes]
