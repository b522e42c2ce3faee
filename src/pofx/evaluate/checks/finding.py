"""What a check says: ok, warning or failed, with what was seen and the mend."""

from typing import Any

import numpy as np

N = 200  # items that most checks look at
Finding = dict[str, str]


def finding(check: str, result: str, seen: str, mend: str = "") -> Finding:
    """One row of an audit; a mend is told only where something is amiss."""
    return {"check": check, "result": result, "seen": seen, "mend": "" if result == "ok" else mend}


def arrays(values: Any) -> np.ndarray:
    return values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)


def comparable(*drawn: Any) -> list[np.ndarray]:
    """Several draws as arrays of one shape: clips of sound are padded with a value that none holds."""
    if not isinstance(drawn[0], list) or not isinstance(drawn[0][0], np.ndarray):
        return [arrays(values) for values in drawn]
    longest = max(len(clip) for clips in drawn for clip in clips)
    return [np.stack([np.pad(c, (0, longest - len(c)), constant_values=2.0) for c in clips]) for clips in drawn]
