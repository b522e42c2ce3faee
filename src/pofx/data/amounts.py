"""Amounts as people write them in cells: numbers with a unit, a currency, a percent sign, a magnitude or a footnote.

`9.6 kg`, `$1,200.50`, `86 %`, `(3.2)` for a loss, `30-`, `1.2M` are numbers where a whole column has one unit; cells of
several units are words. Up to three words among many numbers (`unknown`, `<0.5`) are values that are missing.
"""

import calendar
import re
from dataclasses import dataclass

import pandas as pd

MAGNITUDES = {"k": 1e3, "K": 1e3, "M": 1e6, "mn": 1e6, "Mn": 1e6, "B": 1e9, "bn": 1e9, "Bn": 1e9, "T": 1e12}
CURRENCIES = r"US\$|[$€£¥₹₽₩₺฿]|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|Fr\.|Rs\.?|kr\.?|zł"
MINUS = "\u2212-"
DIGITS = r"(?:\d[\d.,' \u00a0\u202f\u2019]*)?\d[.,]?(?:[eE][+-]?\d+)?|[.,]\d+"
UNIT = r"[^\W\d_](?:[^\W\d_]|[/.·²³*^µ-])*(?:\^?-?[1-3])?|[%‰°′″\"]|°[CF]|m[23]"
AMOUNT = re.compile(
    rf"(?P<open>\()?(?P<minus>[+{MINUS}])?\s*(?P<before>{CURRENCIES})?\s*(?P<sign>[+{MINUS}])?\s*(?P<digits>{DIGITS})\s*"
    rf"(?P<after>{CURRENCIES}|{UNIT})?\s*(?P<behind>-)?(?P<close>\))?\s*[*†‡]{{0,3}}"
)
CODE = re.compile(r"\d+[A-Z]")
NAMES = {*calendar.month_name, *calendar.month_abbr, *calendar.day_name, *calendar.day_abbr} - {""}
LEAST, WORDS, FEWEST = 0.75, 3, 8  # share and number of numbers beside which as many different words are missing values


@dataclass(frozen=True)
class Amounts:
    """Texts as numbers without their unit.

    Attributes:
        plain: texts of digits by the place of the text in `known`.
        scale: what each is to be multiplied by.
        unit: of all.
        words: texts that are no numbers: missing values.
    """

    plain: pd.Series
    scale: pd.Series
    unit: str
    words: tuple[str, ...]


def amounts(known: pd.Series) -> Amounts | None:
    """What different texts (none of them missing) amount to, or None where they are no numbers of one unit."""
    found = {i: m for i, text in known.items() if (m := AMOUNT.fullmatch(text)) and bool(m["open"]) == bool(m["close"])}
    words = tuple(text for i, text in known.items() if i not in found)
    if not found or (words and (len(words) > WORDS or len(found) < max(FEWEST, LEAST * len(known)))):
        return None
    before, after = ({m[side] or "" for m in found.values()} for side in ("before", "after"))
    scaled = len(after) > 1 and all(a in MAGNITUDES for a in after if a)
    if len(before) > 1 or (len(after) > 1 and not scaled):
        return None
    if not scaled and any(a in NAMES for a in after):
        return None  # days of a month
    if not scaled and all(CODE.fullmatch(m[0]) for m in found.values()):
        return None  # numbers of houses and flats
    plain: dict[object, str] = {}
    for i, m in found.items():
        below = [bool(m["open"]), (m["minus"] or "+") in MINUS, (m["sign"] or "+") in MINUS, bool(m["behind"])]
        if sum(below) > 1 or re.match(r"0\d", m["digits"]):  # codes have zeros in front
            return None
        plain[i] = ("-" if any(below) else "") + m["digits"].strip()
    scale = {i: MAGNITUDES.get(m["after"] or "", 1.0) if scaled else 1.0 for i, m in found.items()}
    unit = " ".join(part for part in (*before, *(() if scaled else after)) if part)
    return Amounts(pd.Series(plain, dtype=object), pd.Series(scale, dtype=float), unit, words)
