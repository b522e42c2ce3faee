"""Alignments of protein sequences (a2m, a3m): focus columns, gap filter, sequence weights, clusters.

Columns are those in which the first sequence, the focus, has an upper-case residue; lower-case letters and dots are
insertions, which an a3m leaves out of the other rows. A sequence counts 1 / the number of sequences that share 80 % of
its residues (Morcos et al., 2011; Hopf et al., 2017), for relatives are no independent evidence.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from pofx.core.errors import DataError
from pofx.data.text import decoded

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
GAP = "-"
LETTERS = GAP + RESIDUES
BLOCK = 512  # sequences compared at a time


@dataclass(frozen=True)
class Alignment:
    """Sequences over the focus columns, the focus first; `numbers` are the residue numbers of the columns in it.

    `whole` are the same sequences without gaps and with what is inserted.
    """

    sequences: list[str]
    numbers: Int[np.ndarray, "columns"]
    weights: Float[np.ndarray, "n"]
    dropped: int
    whole: list[str] = field(default_factory=list)

    @property
    def focus(self) -> str:
        return self.sequences[0]

    @property
    def effective(self) -> float:
        """The number of sequences that are no relatives of each other, about."""
        return float(self.weights.sum())


def read_alignment(path: str | Path, *, identity: float = 0.8, gaps: float = 0.5) -> Alignment:
    """The alignment of a file .a2m or .a3m (or an aligned .fasta).

    Args:
        identity: share of equal residues from which on sequences are relatives; 1 counts all alike.
        gaps: sequences with a larger share of gaps are dropped.

    Raises:
        DataError: no sequences, rows of different lengths, or nothing left by the filter.
    """
    names, rows = fasta(decoded(Path(path), None), str(path))
    if not any(c.isupper() for row in rows for c in row):  # no letters are insertions there
        rows = [row.upper() for row in rows]
    rows = [re.sub(r"[^A-Za-z.-]", GAP, row) for row in rows]
    columns = [re.sub(r"[a-z.]", "", row) for row in rows]
    if len({len(c) for c in columns}) > 1:
        raise DataError(f"{path}: rows have {len({len(c) for c in columns})} lengths without insertions: align them")
    start = re.search(r"/(\d+)-\d+\s*$", names[0].split()[0] if names[0] else "")
    number, numbers = int(start[1]) if start else 1, []
    focused = []
    for letter in re.sub(r"\.", "", rows[0]):
        if letter != GAP:
            if letter.isupper():
                numbers.append(number)
            number += 1
        if letter.isupper() or letter == GAP:
            focused.append(letter != GAP)
    keep = np.flatnonzero(focused)
    clean = ["".join(c[i] if c[i] in RESIDUES else GAP for i in keep) for c in columns]
    first = list(dict.fromkeys(clean))
    good = [s for i, s in enumerate(first) if i == 0 or s.count(GAP) <= gaps * len(s)]
    if not len(keep):
        raise DataError(f"the first sequence of {path} has no residues in columns of the alignment: begin with another")
    if len(first) < 2:
        raise DataError(
            f"{path} has {len(names)} sequence{'' if len(names) == 1 else 's, all of them alike,'} and no relatives to "
            "learn from: give an alignment of its family, as jackhmmer, HHblits or ColabFold write one"
        )
    if len(good) < 2:
        raise DataError(
            f"of {len(first)} different sequences of {path} all but the first have more than {gaps:.0%} gaps in its "
            "columns: give an alignment with nearer relatives, or a first sequence that covers them"
        )
    row_of = {s: i for i, s in reversed(list(enumerate(clean)))}
    full = ["".join(c for c in rows[row_of[s]].upper() if c in RESIDUES) for s in good]
    return Alignment(good, np.array(numbers), weights(good, identity), len(clean) - len(good), full)


def fasta(text: str, name: str = "the text") -> tuple[list[str], list[str]]:
    """Names and sequences of a FASTA text; blanks and numbers between residues, and stops at the end, are left out."""
    names: list[str] = []
    rows: list[list[str]] = []
    for line in text.split("\n"):
        if line.startswith(">"):
            names.append(line[1:].strip())
            rows.append([])
        elif rows and not line.startswith(";"):
            rows[-1].append(re.sub(r"[\s\d]", "", line))
    if not names:
        raise DataError(f"{name} holds no sequences: headings begin with '>'; convert Stockholm or Clustal to FASTA")
    return names, ["".join(r).rstrip("*") for r in rows]


def codes(sequences: Sequence[str]) -> Int[np.ndarray, "n columns"]:
    """Numbers of LETTERS; letters that are no residue are gaps."""
    table = np.zeros(256, np.int64)
    for i, letter in enumerate(LETTERS):
        table[ord(letter)] = i
    return np.stack([table[np.frombuffer(s.encode(), np.uint8)] for s in sequences])


def shared(x: Int[np.ndarray, "n columns"], y: Int[np.ndarray, "m columns"]) -> Float[np.ndarray, "n m"]:
    """The share of the residues of each x that y has in the same columns."""
    a, b = (_residues(v) for v in (x, y))
    return np.asarray(a @ b.T / np.maximum((x > 0).sum(1), 1)[:, None])


def _residues(x: Int[np.ndarray, "n columns"]) -> Float[np.ndarray, "n size"]:
    hot = x[..., None] == np.arange(1, len(LETTERS))
    return np.asarray(hot.reshape(len(x), -1), np.float32)


def weights(sequences: Sequence[str], identity: float = 0.8) -> Float[np.ndarray, "n"]:
    """1 / the number of sequences, itself among them, that share at least `identity` of its residues."""
    x = codes(sequences)
    if identity >= 1:
        return np.ones(len(x))
    hot, sizes = _residues(x), np.maximum((x > 0).sum(1), 1)
    near = [
        (hot[i : i + BLOCK] @ hot.T >= identity * sizes[i : i + BLOCK, None] - 1e-4).sum(1)
        for i in range(0, len(x), BLOCK)
    ]
    return 1 / np.maximum(np.concatenate(near), 1)


def clusters(sequences: Sequence[str], identity: float = 0.6) -> Int[np.ndarray, "n"]:
    """The cluster of each sequence: each joins the first founder that shares so much with it, or founds one."""
    x = codes(sequences).astype(np.uint8)
    sizes = np.maximum((x > 0).sum(1), 1)
    found = np.full(len(x), -1)
    number = 0
    for i in range(len(x)):
        if found[i] >= 0:
            continue
        open_ = np.flatnonzero(found < 0)
        same = ((x[open_] == x[i]) & (x[i] > 0)).sum(1)
        near = same >= identity * sizes[open_] - 1e-9
        found[open_[near]] = number
        found[i] = number
        number += 1
    return found
