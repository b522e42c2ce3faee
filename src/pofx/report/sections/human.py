"""What people judged, where `pofx judge --into` stored the results of a study in the folder of the comparison."""

from pofx.report.results import Results
from pofx.report.section import Section, fill
from pofx.report.stored import load


class Human(Section):
    order, id, title, short = 125, "human", "Human judgement", "Human judgement"

    def html(self, results: Results) -> str | None:
        found = load(results.folder, "human.json")
        if not found or not found.get("analysis", {}).get("runs"):
            return None
        return fill("sections/human.html.j2", results, study=found)
