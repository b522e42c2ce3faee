"""What each measure detects: faults planted in real items, measured at this n and in these feature spaces."""

from pofx.report.numbers import plain
from pofx.report.results import Results
from pofx.report.section import Section, fill


class SelfTest(Section):
    order, id, title, short = 200, "resolve", "What the measures detect on this data", "What measures see"

    def html(self, results: Results) -> str | None:
        tested = results.plain.get("self_test") or []
        if not tested:
            return None
        faults = dict.fromkeys(fault for row in tested for fault in row["faults"])  # some in a few spaces only
        lines = [
            {
                "title": results.metrics[row["metric"]].title if row["metric"] in results.metrics else row["metric"],
                "space": row["space"],
                "honest": row["honest"],
                "faults": [row["faults"].get(fault) for fault in faults],
            }
            for row in tested
        ]
        return fill("sections/self_test.html.j2", results, faults=list(faults), lines=lines, plain=plain)
