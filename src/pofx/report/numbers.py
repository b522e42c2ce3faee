"""How numbers are written for people: as many digits as their error allows, never 2.296e+04."""

import math

DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹"


def seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def short(value: float) -> str:
    """Three significant digits with k, M, G, T or P."""
    for limit, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {unit}"
    return plain(value, 3)


def count(value: float) -> str:
    return f"{value:,.0f}" if value < 1e5 else short(value)


def size(value: float) -> str:
    return f"{value / 2**20:,.0f} MB" if value < 2**30 else f"{value / 2**30:.1f} GB"


def chance(value: float) -> str:
    """A probability."""
    return "<0.001" if value < 0.001 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def plain(value: float, digits: int = 4) -> str:
    """A number to so many significant digits, without an exponent where it can be read without one."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    lead = math.floor(math.log10(abs(value)))
    if lead >= 12 or lead < -5:
        power = "".join(DIGITS[int(d)] for d in str(abs(lead)))
        return f"{value / 10.0**lead:.{max(digits - 2, 0)}f}·10{'⁻' if lead < 0 else ''}{power}"
    decimals = max(0, digits - 1 - lead)
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def written(value: float, stderr: float | None) -> tuple[str, str]:
    """A value and its error to the same decimal: the error with two significant digits, or one from 3 on."""
    if stderr is None or stderr <= 0 or not math.isfinite(stderr):
        return plain(value, 3), ""
    lead = math.floor(math.log10(stderr))
    decimals = max(0, min(4, (1 if stderr / 10**lead < 3 else 0) - lead))
    return f"{value:,.{decimals}f}", f"{stderr:,.{decimals}f}"


def write(kind: str, value: float, stderr: float | None = None) -> tuple[str, str]:
    """A number of a kind of `ScoreInfo.writes`, and its error, which may be empty."""
    of = {"p-value": chance, "speed": short, "seconds": seconds, "count": count, "bytes": size}.get(kind)
    if of is not None:
        return of(value), ""
    return written(value, stderr)
