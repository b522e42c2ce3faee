"""Which faults each measure was seen to miss in the self-test on this data, at this n: read before any ranking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sight:
    """The faults that a measure sees in at least one space, and those that it does not see in any."""

    sees: tuple[str, ...]
    misses: tuple[str, ...]

    @property
    def blind(self) -> bool:
        return not self.sees

    @property
    def text(self) -> str:
        return f"sees {len(self.sees)}/{len(self.sees) + len(self.misses)}"

    @property
    def title(self) -> str:
        seen = f"self-test on this data: sees {', '.join(self.sees)}" if self.sees else "self-test: sees no fault"
        return seen + (f"; blind to {', '.join(self.misses)}" if self.misses else "")


def sights(results: Mapping[str, Any]) -> dict[str, Sight]:
    """By metric; empty where no self-test was stored."""
    found: dict[str, dict[str, bool]] = {}
    for line in results.get("self_test") or ():
        own = found.setdefault(str(line["metric"]), {})
        for fault, read in line["faults"].items():
            own[fault] = own.get(fault, False) or bool(read["sees"])
    return {
        metric: Sight(tuple(f for f, seen in own.items() if seen), tuple(f for f, seen in own.items() if not seen))
        for metric, own in found.items()
    }


def sentences(found: Mapping[str, Sight], titles: Mapping[str, str]) -> Sequence[str]:
    """What the measures of the main table miss, for the limits."""
    blind = [titles[m] for m, sight in found.items() if m in titles and sight.blind]
    part = [f"{titles[m]} ({', '.join(s.misses)})" for m, s in found.items() if m in titles and s.sees and s.misses]
    said = []
    if blind:
        said.append(
            f"{', '.join(blind)}: no planted fault was seen at this n; greyed in the table, not to be ranked by."
        )
    if part:
        said.append(f"By the self-test on this data these measures do not see: {'; '.join(part)}.")
    return said
