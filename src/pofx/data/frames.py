"""Tables from files: .csv and .parquet as DataFrames."""

from pathlib import Path

import pandas as pd

from pofx.core.errors import DataError


def read_frame(path: Path) -> pd.DataFrame:
    """The table in a .csv or .parquet file.

    Raises:
        DataError: damaged, without columns, or of another format.
    """
    try:
        return pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} has no columns: give a table with a header line") from error
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read, it is damaged or of another format ({error}): write it again"
        ) from error
