"""Molecules in files of chemists: structures of an .sdf with their data fields, and tables with a column of SMILES.

An .sdf or .mol holds connection tables (Dalby et al., 1992), of which RDKit makes SMILES; coordinates are left out.
Needs the extra `molecules`.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pofx.core.errors import DataError, unknown
from pofx.data.bounded import read_bytes, reading
from pofx.data.chemistry import canonical, chemistry
from pofx.data.frames import ENDINGS, rows_in
from pofx.data.typed import typed

SDF = (".sdf", ".sd", ".mol")
SMILES = "smiles"
NAMES = ("smiles", "canonical_smiles", "isomeric_smiles", "smi", "structure", "molecule", "mol", "compound")
TRIED = 50  # values of a column that are looked at
SHARE = 0.8  # of them that are molecules, in a column of SMILES


def read_sdf(path: Path) -> pd.DataFrame:
    """A row per structure: its SMILES, and its data fields, each in its own type; what cannot be read is left out.

    Raises:
        DataError: no structures.
    """
    chem = chemistry()
    with reading(path, "structures", "give an .sdf, structures with $$$$ between them"):
        content = read_bytes(path).decode("utf-8-sig", "replace").replace("\r\n", "\n")
    supplier = chem.SDMolSupplier()
    supplier.SetData(content)
    rows = []
    for molecule in supplier:
        if molecule is not None and molecule.GetNumAtoms():
            fields = {str(name): molecule.GetProp(name) for name in molecule.GetPropNames()}
            rows.append({**fields, SMILES: chem.MolToSmiles(chem.RemoveHs(molecule))})
    wrong = len(supplier) - len(rows)
    if not rows:
        raise DataError(f"{path} holds no structures that can be read: give an .sdf with connection tables")
    if wrong:
        warnings.warn(f"{path.name}: {wrong} of {len(supplier)} structures cannot be read: left out", stacklevel=3)
    words = pd.DataFrame(rows).fillna("").astype(str)
    return pd.DataFrame({c: words[c] if c == SMILES else typed(words[c]) for c in words.columns})


def column_of_smiles(frame: pd.DataFrame, stated: str | None = None) -> str:
    """The column of a table that holds SMILES: the stated one, or by its name, or the first whose values are.

    Raises:
        UsageError: the stated column is not there.
        DataError: no column holds SMILES.
    """
    columns = [str(c) for c in frame.columns]
    if stated is not None:
        if stated not in columns:
            raise unknown("column of SMILES", stated, columns)
        return stated
    plain = {c.strip().casefold().replace(" ", "_").replace("-", "_"): c for c in reversed(columns)}
    named = [plain[name] for name in NAMES if name in plain]
    named += [c for c in columns if "smiles" in c.casefold() and c not in named]
    for column in [*named, *(c for c in columns if c not in named)]:
        if are_smiles(frame[column]):
            if column not in named:
                warnings.warn(f"column '{column}' holds SMILES: taken for the molecules", stacklevel=3)
            return column
    if named:
        return named[0]
    raise DataError(f"no column holds SMILES (there are {', '.join(columns[:12])}): name it, smiles=COLUMN (--smiles)")


def table_of(source: Any, smiles: str | None = None) -> tuple[list[str], pd.DataFrame] | None:
    """The molecules of a table as strings, and the table: of a DataFrame, a file of a table, an .sdf; None: no table.

    Args:
        smiles: the column of the molecules; by default as `column_of_smiles` finds it.
    """
    ending = Path(source).suffix.lower() if isinstance(source, str | Path) else ""
    if isinstance(source, pd.DataFrame):
        frame = source.reset_index(drop=True).rename(columns=str)
    elif ending in SDF:
        frame = read_sdf(Path(source))
    elif ending in ENDINGS:
        frame = rows_in(Path(source)).rename(columns=str)
    else:
        return None
    column = column_of_smiles(frame, smiles)
    return ["" if pd.isna(s) else str(s).strip() for s in frame[column]], frame


def are_smiles(values: pd.Series) -> bool:
    """Whether a column holds words of which most are molecules."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return False
    some: Sequence[str] = [str(v).strip() for v in values.dropna().head(TRIED) if str(v).strip()]
    return bool(some) and sum(c is not None for c in canonical(some)) >= SHARE * len(some)
