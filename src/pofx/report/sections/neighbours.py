"""Samples beside the nearest training and test items, and the most suspicious ones."""

from pofx.report.cards import cards
from pofx.report.results import Results
from pofx.report.section import Section, fill


class Neighbours(Section):
    order, id, title, short = 90, "neighbours", "Nearest training and test items", "Neighbours"

    def html(self, results: Results) -> str | None:
        near = [card for card in cards(results) if not card["real"]]
        shown = [card for card in near if card.get("pairs") or card.get("near")]
        if not shown:
            return None
        both = shown[0].get("sides") == 3 or (shown[0].get("near") and len(shown[0]["near"][0]) == 3)
        worst = [card for card in near if card.get("worst") or card.get("worst_near")]
        return fill("sections/neighbours.html.j2", results, near=shown, worst=worst, both=both)
