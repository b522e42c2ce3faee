"""What `evaluate` returns: the JSON of an evaluation, which is also shown as a table."""

from typing import Any

import pandas as pd


class Evaluation(dict[str, Any]):
    """{"measurements": […], "metrics": catalogue, "protocol": {…}, "cost": {…}}: plain values, ready for JSON."""

    def table(self, every: bool = False) -> pd.DataFrame:
        """One row per measurement: metric, value, stderr, space, n and direction; the headline ones or `every`."""
        about, primary = self.get("metrics") or {}, (self.get("protocol") or {}).get("primary_space")
        rows = [
            {
                "metric": row["metric"],
                "value": row["value"],
                "stderr": row.get("stderr"),
                "space": row.get("space"),
                "n": row.get("n"),
                "better": (about.get(row["metric"]) or {}).get("better"),
            }
            for row in self["measurements"]
            if every or ((about.get(row["metric"]) or {}).get("headline") and row.get("space") in (None, primary))
        ]
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False, float_format=lambda value: f"{value:.4g}"))
