"""Which substitutions a protein tolerates, by its family and by what residues are: a score for families that are small.

Five terms for each residue in each column, every one in units of its spread over all single substitutions: the profile
with similar residues; half as much each of BLOSUM62 (Henikoff and Henikoff, 1992), of how variable the neighbourhood
is, of how little hydrophobic the column is (Kyte and Doolittle, 1982), for buried columns bear least; and a cost of
proline. The terms were chosen on BLAT_ECOLX; see the benchmarks for what they give on another protein.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pofx.data.alignments import LETTERS, RESIDUES, Alignment, codes

HALF = 0.5  # of the terms beside the profile
NEAR, REACH = 2.0, 10  # columns: of the neighbourhood, its deviation and where it ends
HYDROPATHY = dict(zip("ARNDCQEGHILKMFPSTWYV", (1.8, -4.5, -3.5, -3.5, 2.5, -3.5, -3.5, -0.4, -3.2, 4.5, 3.8, -3.9, 1.9,
                                               2.8, -1.6, -0.8, -0.7, -0.9, -1.3, 4.2), strict=True))  # fmt: skip
LOWER = (  # BLOSUM62 below its diagonal and with it, residues in the order of ORDER
    "4/-1 5/-2 0 6/-2 -2 1 6/0 -3 -3 -3 9/-1 1 0 0 -3 5/-1 0 0 2 -4 2 5/0 -2 0 -1 -3 -2 -2 6/-2 0 1 -1 -3 0 0 -2 8/"
    "-1 -3 -3 -3 -1 -3 -3 -4 -3 4/-1 -2 -3 -4 -1 -2 -3 -4 -3 2 4/-1 2 0 -1 -3 1 1 -2 -1 -3 -2 5/"
    "-1 -1 -2 -3 -1 0 -2 -3 -2 1 2 -1 5/-2 -3 -3 -3 -2 -3 -3 -3 -1 0 0 -3 0 6/"
    "-1 -2 -2 -1 -3 -1 -1 -2 -2 -3 -3 -1 -2 -4 7/"
    "1 -1 1 0 -1 0 0 0 -1 -2 -2 0 -1 -2 -1 4/0 -1 0 -1 -1 -1 -1 -2 -2 -1 -1 -1 -1 -2 -1 1 5/"
    "-3 -3 -4 -4 -2 -2 -3 -2 -2 -3 -2 -3 -1 1 -4 -3 -2 11/-2 -2 -2 -3 -2 -1 -2 -3 2 -1 -1 -2 -1 3 -3 -2 -2 2 7/"
    "0 -3 -3 -3 -1 -2 -2 -3 -3 3 1 -2 1 -1 -2 -2 0 -3 -1 4"
)
ORDER = "ARNDCQEGHILKMFPSTWYV"


def blosum() -> np.ndarray:
    """BLOSUM62 in the order of RESIDUES: (20, 20)."""
    table = np.zeros((20, 20))
    for i, row in enumerate(LOWER.split("/")):
        for j, value in enumerate(row.split()):
            a, b = RESIDUES.index(ORDER[i]), RESIDUES.index(ORDER[j])
            table[a, b] = table[b, a] = float(value)
    return table


class Tolerance:
    """Scores of sequences over the columns of an alignment, up to a constant: the sum over what differs from the focus.

    Args:
        profile: log p of residues by column, (columns, 21), smoothed by similar residues.
    """

    def __init__(self, alignment: Alignment, profile: Any) -> None:
        log_p = np.asarray(profile, float)[:, 1:]
        first = codes([alignment.focus])[0] - 1
        p = np.exp(log_p)
        p /= p.sum(1, keepdims=True)
        hydropathy = np.array([HYDROPATHY[c] for c in RESIDUES])
        variable = smooth(-(p * np.log(p)).sum(1))
        columns = np.arange(len(first))
        other = np.arange(20) != first[:, None]
        terms = [
            (1.0, log_p - log_p[columns, first][:, None]),
            (HALF, blosum()[first]),
            (HALF, np.repeat(variable[:, None], 20, 1)),
            (HALF, np.repeat(-(p @ hydropathy)[:, None], 20, 1)),
            (HALF, np.repeat(-(np.array(list(RESIDUES)) == "P").astype(float)[None], len(first), 0)),
        ]
        table = np.zeros((len(first), len(LETTERS)))
        for share, term in terms:
            table[:, 1:] += share * (term - term[other].mean()) / max(float(term[other].std()), 1e-9)
        table[columns, first + 1] = 0.0
        self.table = table

    def __call__(self, sequences: Sequence[str]) -> np.ndarray:
        x = codes(sequences)
        return np.asarray(self.table[np.arange(x.shape[1]), x].sum(1))


def smooth(values: np.ndarray) -> np.ndarray:
    """Means over neighbouring columns, weighted by a normal."""
    weights = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / NEAR) ** 2)
    return np.convolve(np.pad(values, REACH, mode="edge"), weights / weights.sum(), "valid")
