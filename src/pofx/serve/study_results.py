"""What a study shows: rates with intervals over raters, strengths, agreement, and the same with all raters."""

from typing import Any

import pandas as pd

from pofx.evaluate.human import agreement, bradley_terry, confidence_sequence, rate, sensitivity
from pofx.serve.stimuli import REAL, SPOILT
from pofx.serve.study import Plan, Study, right_answers


def results(study: Study) -> dict[str, Any]:
    """Plain JSON values: `protocol`, `raters`, `left_out` with reasons, `analysis` and `with_all_raters`, `stop`."""
    answers = study.answers()
    reasons = excluded(answers, study.plan)
    honest = answers[~answers["rater"].isin(reasons)]
    return {
        "protocol": study.plan.protocol,
        "question": study.plan.text,
        "hash": study.hash,
        "raters": int(answers["rater"].nunique()),
        "answers": len(answers),
        "left_out": {str(k): v for k, v in reasons.items()},
        "analysis": analysed(honest, study.plan),
        "with_all_raters": analysed(answers, study.plan) if reasons else None,
        "stop": stopping(honest),
    }


def excluded(answers: pd.DataFrame, plan: Plan) -> dict[int, str]:
    """Raters outside of the main analysis, by the rules that the plan fixed before the first answer."""
    found: dict[int, str] = {}
    for rater in answers["rater"].unique().tolist():
        part = answers[answers["rater"] == rater]
        checks = part[part["role"] == "check"]
        if len(checks) and (share := float(right_answers(checks).mean())) < plan.pass_checks:
            found[rater] = f"{share:.0%} of attention checks right, below {plan.pass_checks:.0%}"
        elif (median := part["milliseconds"].median()) < plan.fastest:
            found[rater] = f"median answer after {median:.0f} ms, below {plan.fastest} ms"
    return found


def analysed(answers: pd.DataFrame, plan: Plan) -> dict[str, Any]:
    """The numbers of a protocol, by run; empty without answers."""
    main = answers[answers["role"] == "main"]
    if main.empty:
        return {}
    found: dict[str, Any] = {"n": len(main), "raters": int(main["rater"].nunique()), "agreement": _agreement(main)}
    found["consistency"] = _consistency(answers)
    if plan.protocol == "preference":
        strengths = bradley_terry(main)
        found |= {"side": strengths.side, "fragile": strengths.fragile}
        return found | {
            "runs": {
                m: {"strength": float(v), "interval": list(strengths.interval(m)), "rank": strengths.rank(m)}
                for m, v in zip(strengths.models, strengths.values, strict=True)
            }
        }
    right = right_answers(main)
    runs = sorted({*main["left"], *main["right"].dropna()} - {REAL, SPOILT})
    table = {}
    for run in runs:
        part = main[(main["left"] == run) | (main["right"] == run)]
        wrong = rate((~right[part.index]).tolist(), part["rater"].tolist())  # how often this run's items deceived
        table[run] = {"deceived": wrong.value, "interval": [wrong.low, wrong.high], "n": wrong.n, "chance": 0.5}
        if plan.protocol != "pair":
            both = main[(main["left"] == run) | (main["left"] == REAL)]
            frame = pd.DataFrame({"rater": both["rater"], "generated": both["left"] == run,
                                  "answered": both["choice"] == "generated"})  # fmt: skip
            table[run] |= {k: list(v) for k, v in sensitivity(frame).items()}
        if plan.protocol == "timed":
            table[run]["exposure"] = float(part["exposure"].median())
    if plan.protocol != "pair":
        real = main[main["left"] == REAL]
        if len(real):
            wrong = rate((~right[real.index]).tolist(), real["rater"].tolist())
            found["real_called_generated"] = {"value": wrong.value, "interval": [wrong.low, wrong.high], "n": wrong.n}
    return found | {"runs": table}


def stopping(answers: pd.DataFrame) -> dict[str, Any]:
    """The share of right answers with an interval that allows looking at any time (Robbins, 1970)."""
    main = answers[answers["role"] == "main"]
    known = main[(main["left"] == REAL) | (main["right"] == REAL) | main["right"].isna()]
    if known.empty:
        return {}
    right = right_answers(known)
    low, high = confidence_sequence(int(right.sum()), len(right))
    return {"right": float(right.mean()), "interval": [low, high], "decided": not low <= 0.5 <= high}


def _unit(answers: pd.DataFrame) -> pd.Series:
    left = answers["left"] + ":" + answers["left_item"].astype(str)
    right = answers["right"].fillna("") + ":" + answers["right_item"].astype(str)
    return left.where(left <= right, right) + "|" + right.where(left <= right, left)


def _choice(answers: pd.DataFrame) -> pd.Series:
    """The chosen item, so that the side does not matter."""
    names = {"left": answers["left"] + ":" + answers["left_item"].astype(str),
             "right": answers["right"].fillna("") + ":" + answers["right_item"].astype(str)}  # fmt: skip
    chosen = answers["choice"].copy()
    for side, name in names.items():
        chosen = chosen.where(answers["choice"] != side, name)
    return chosen


def _agreement(main: pd.DataFrame) -> float | None:
    return agreement(pd.DataFrame({"unit": _unit(main), "answer": _choice(main)}))


def _consistency(answers: pd.DataFrame) -> float | None:
    """How often a rater answers the same item the same again."""
    keyed = answers.assign(unit=_unit(answers), chosen=_choice(answers))
    again = keyed[keyed["role"] == "repeat"]
    first = keyed[keyed["role"] == "main"].drop_duplicates(["rater", "unit"])
    both = again.merge(first, on=["rater", "unit"], suffixes=("", "_first"))
    return None if both.empty else float((both["chosen"] == both["chosen_first"]).mean())
