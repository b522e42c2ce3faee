"""Chemistry of SMILES strings by RDKit: canonical and random spellings, properties, scaffolds, pictures.

logP is Crippen's (Wildman and Crippen, 1999), QED the drug-likeness of Bickerton et al., 2012, SA the synthetic
accessibility of Ertl and Schuffenhauer, 2009 (1 is easy, 10 hard). Needs the extra `molecules`.
"""

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from pofx.core.errors import DataError, UsageError, unknown

PROPERTIES = ("logP", "QED", "weight", "SA")
UNBOUNDED = ("logP", "weight")  # that every further atom moves
RADIUS, PLACES = 2, 2048  # of Morgan fingerprints


def chemistry() -> Any:
    """RDKit, silent about strings that it cannot parse.

    Raises:
        UsageError: it is not installed.
    """
    try:
        from rdkit import Chem, RDLogger
    except ImportError as error:
        raise UsageError("chemistry of molecules needs RDKit: pip install 'pofx[molecules]'") from error
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    return Chem


def canonical(strings: Sequence[str]) -> list[str | None]:
    """The canonical SMILES of each string, None where it is no molecule (or an empty one)."""
    return [_canonical(string) for string in strings]


@lru_cache(maxsize=1 << 18)
def _canonical(string: str) -> str | None:
    chem = chemistry()
    molecule = chem.MolFromSmiles(string)
    return chem.MolToSmiles(molecule) if molecule is not None and molecule.GetNumAtoms() else None


def fingerprints(strings: Sequence[str]) -> Float[np.ndarray, "n places"]:
    """Counted Morgan fingerprints of valid SMILES: float64 (n, PLACES)."""
    chem = chemistry()
    from rdkit.Chem import rdFingerprintGenerator

    maker = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=PLACES)
    counts = [maker.GetCountFingerprintAsNumPy(chem.MolFromSmiles(s)) for s in strings]
    return np.asarray(counts, np.float64).reshape(len(strings), PLACES)


def properties(strings: Sequence[str], names: Sequence[str] = PROPERTIES) -> pd.DataFrame:
    """Properties of each string by name; NaN where it is no molecule.

    Raises:
        UsageError: a property that is not computed here.
    """
    chemistry()
    others = [name for name in names if name not in PROPERTIES]
    if others:
        raise UsageError(f"property must be one of {', '.join(PROPERTIES)} (got {others[0]!r}): or name a column")
    rows = [_measured(string, tuple(names)) for string in strings]
    return pd.DataFrame(rows, columns=list(names), dtype=np.float64)


@lru_cache(maxsize=1 << 17)  # those of real molecules are compared with every set of draws
def _measured(string: str, names: tuple[str, ...]) -> tuple[float, ...]:
    molecule, of = chemistry().MolFromSmiles(string), _measures()
    if molecule is None or not molecule.GetNumAtoms():
        return (np.nan,) * len(names)
    return tuple(float(of[name](molecule)) for name in names)


@cache
def _measures() -> dict[str, Any]:
    from rdkit.Chem import QED, Crippen, Descriptors, RDConfig

    path = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"  # part of RDKit, outside its packages
    spec = importlib.util.spec_from_file_location("sascorer", path)
    assert spec is not None and spec.loader is not None
    accessibility = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(accessibility)
    return {
        "logP": Crippen.MolLogP,  # type: ignore[attr-defined]
        "QED": QED.qed,
        "weight": Descriptors.MolWt,  # type: ignore[attr-defined]
        "SA": accessibility.calculateScore,
    }


def respelled(strings: Sequence[str], seed: int) -> list[str]:
    """Each molecule from another atom on and in another order (Arús-Pous et al., 2019); others as they are."""
    chem = chemistry()
    generator = np.random.default_rng(seed)
    found = []
    for string in strings:
        molecule = chem.MolFromSmiles(string)
        if molecule is None or not molecule.GetNumAtoms():
            found.append(string)
            continue
        order = generator.permutation(molecule.GetNumAtoms()).tolist()
        found.append(chem.MolToSmiles(chem.RenumberAtoms(molecule, order), canonical=False))
    return found


def beginnings(scaffold: str, n: int, seed: int) -> list[str]:
    """n spellings of a scaffold that end at an atom on which more can be bonded: what a decoration begins with.

    Raises:
        DataError: the scaffold is no molecule, or has no place to bond to.
    """
    chem = chemistry()
    molecule = chem.MolFromSmiles(scaffold)
    if molecule is None or not molecule.GetNumAtoms():
        raise DataError(f"scaffold must be a molecule in SMILES (got {scaffold!r}): check rings and brackets")
    generator = np.random.default_rng(seed)
    found: list[str] = []
    for _ in range(200 * n):
        order = generator.permutation(molecule.GetNumAtoms()).tolist()
        renumbered = chem.RenumberAtoms(molecule, order)
        text = chem.MolToSmiles(renumbered, canonical=False)
        written = [int(a) for a in renumbered.GetProp("_smilesAtomOutputOrder").strip("[],").split(",")]
        last = renumbered.GetAtomWithIdx(written[-1])
        if not text.endswith(")") and last.GetTotalNumHs() > 0 and not text.endswith("]"):
            found.append(text)
        if len(found) == n:
            return found
    raise DataError(f"scaffold {scaffold!r} has no free place to bond to at the end of a spelling: give another one")


def scaffold_of(string: str) -> str:
    """The rings of a molecule and what joins them (Bemis and Murcko, 1996); empty without rings."""
    chemistry()
    from rdkit.Chem.Scaffolds import MurckoScaffold

    with suppress(ValueError, RuntimeError):
        return str(MurckoScaffold.MurckoScaffoldSmiles(smiles=string))
    return ""


def contains(strings: Sequence[str], part: str) -> np.ndarray:
    """Which molecules have this part: bool (n,)."""
    chem = chemistry()
    wanted = chem.MolFromSmiles(part)
    molecules = [chem.MolFromSmiles(s) for s in strings]
    return np.array([m is not None and m.HasSubstructMatch(wanted) for m in molecules], bool)


def drawn(strings: Sequence[str], legends: Sequence[str] = (), columns: int | None = None, side: int = 220) -> bytes:
    """The structural formulas of molecules in a grid, as the content of a PNG; strings that are none stay empty."""
    chem = chemistry()
    from rdkit.Chem.Draw import rdMolDraw2D

    across = columns or min(6, max(1, len(strings)))
    down = -(-len(strings) // across)
    sheet = rdMolDraw2D.MolDraw2DCairo(side * across, side * down, side, side)
    options: Any = sheet.drawOptions()
    options.drawMolsSameScale = False
    molecules = [chem.MolFromSmiles(s) for s in strings]
    sheet.DrawMolecules(
        [m if m is not None else chem.MolFromSmiles("") for m in molecules],
        legends=list(legends) or ["" if m is not None else "not a molecule" for m in molecules],
    )
    sheet.FinishDrawing()
    return bytes(sheet.GetDrawingText())


def valid(strings: Sequence[str]) -> Iterator[str]:
    """The canonical strings of those that are molecules."""
    yield from (s for s in canonical(strings) if s is not None)


def oracle_of(name: str) -> Any:
    """A property as an oracle; "-logP" is to be small. Of logP and weight, which have no bound, a warning states how
    they are raised.

    Raises:
        UsageError: it is not computed here.
    """
    sign, of = (-1.0, name[1:]) if name.startswith("-") else (1.0, name)
    if of not in PROPERTIES:
        raise unknown("property of molecules", of, PROPERTIES)
    if of in UNBOUNDED:
        warnings.warn(
            f"{of} has no bound: the best by {name} are molecules of unusual size or long chains of carbon; QED, or "
            "a function of your own of several properties, is harder to fool",
            stacklevel=2,
        )
    return lambda strings: sign * properties(strings, [of])[of].to_numpy()
