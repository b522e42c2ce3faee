"""Uses of a density of rows beside their floors: missing cells of Adult, classes by Bayes' rule, rare classes.

    POFX_DATA=/path/to/data python bench/rows.py imputation classifier oversampling [--seeds 2]

Imputation: a fifth of the known cells of held-out rows is hidden. Classifier: accuracy, expected calibration error (15
bins of equal width) and log loss beside logistic regression on the same rows. Oversampling: the report of
`pofx augment`, gains over doing nothing with 95 % intervals.
"""

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from harness import listed, measure, parser
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pofx.apps.augment import GenerativeOversampler, report
from pofx.apps.impute import Imputer, compared, rows_of
from pofx.sklearn import GenerativeClassifier

CHUNKS, CHUNK = 5, 400  # of held-out rows whose cells are hidden
BINS = 15


def adult():
    path = Path(os.environ["POFX_DATA"]) / "people" / "adult.csv"
    return pd.read_csv(path, skipinitialspace=True, na_values="?")


def imputation(args):
    """Accuracy of words and CRPS of numbers in standard deviations, means over chunks of rows with standard errors."""
    for seed in range(args.seeds):
        frame = rows_of(adult())
        order = np.random.default_rng(seed).permutation(len(frame))
        held, rest = order[: CHUNKS * CHUNK], order[CHUNKS * CHUNK :]
        train = rows_of(frame.iloc[np.sort(rest)])
        began = time.process_time()
        imputer = Imputer(steps=args.steps, random_state=seed).fit(train)
        fitted = time.process_time() - began
        tables = [
            compared(imputer, train, rows_of(frame.iloc[part]), seed) for part in np.array_split(np.sort(held), CHUNKS)
        ]
        for method in tables[0].index:
            line = {"seed": seed, "method": method, "rows": CHUNKS * CHUNK}
            for score in tables[0].columns:
                values = np.array([table.loc[method, score] for table in tables])
                line[score] = round(float(values.mean()), 4)
                line[f"{score} se"] = round(float(values.std(ddof=1) / len(values) ** 0.5), 4)
            yield line | ({"cpu_seconds": round(fitted, 1)} if method == tables[0].index[0] else {})


def calibration_error(p, y):
    """The mean distance of confidence and accuracy over bins of confidence, weighted by their items."""
    sure, right = p.max(1), p.argmax(1) == y
    of = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs(sure[of == k].mean() - right[of == k].mean()) * (of == k).mean() for k in np.unique(of)]
    return float(sum(gaps))


def _digits():
    x, y = load_digits(return_X_y=True)
    normals = {"components": 1, "ridge": 0.1}
    yield (
        "digits",
        x,
        y,
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        {
            "gmm": GenerativeClassifier(),
            "PCA 30, normals": make_pipeline(PCA(30, random_state=0), GenerativeClassifier("gmm", options=normals)),
        },
    )


def _adult():
    frame = adult()
    y = (frame.pop("income").to_numpy() == ">50K").astype(int)
    words = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    coded = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), words), remainder=StandardScaler(), force_int_remainder_cols=False
    )
    yield (
        "adult",
        frame,
        y,
        make_pipeline(coded, LogisticRegression(max_iter=1000)),
        {
            "circuit": GenerativeClassifier("circuit", steps=100, options={"states": 32}),
            "made": GenerativeClassifier("made", steps=400, options={"represent": "bins"}),
        },
    )


def classifier(args):
    """Accuracy, calibration error and log loss on a fifth of the rows."""
    for name, x, y, floor, ours in (*_digits(), *_adult()):
        if args.tables and name not in args.tables:
            continue
        for seed in range(args.seeds):
            x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=seed)
            for method, model in {"logistic regression": floor, **ours}.items():
                if args.models and method not in args.models:
                    continue
                began = time.process_time()
                p = model.fit(x_train, y_train).predict_proba(x_test)
                right = p.argmax(1) == y_test
                yield {
                    "table": name,
                    "seed": seed,
                    "method": method,
                    "accuracy": round(float(right.mean()), 4),
                    "se": round(float(right.std() / len(right) ** 0.5), 4),
                    "ece": round(calibration_error(p, y_test), 4),
                    "log_loss": round(float(-np.log(p[np.arange(len(p)), y_test].clip(1e-12)).mean()), 4),
                    "cpu_seconds": round(time.process_time() - began, 1),
                }


def oversampling(args):
    """Every treatment of the rare class of two tables of ADBench."""
    for name in args.tables or ("mammography", "vowels"):
        stored = np.load(Path(os.environ["POFX_DATA"]) / "tables" / f"{name}.npz")
        x, y = stored["X"].astype(np.float64), stored["y"].astype(int)
        for seed in range(args.seeds):
            for model in args.models or ("kde",):
                table = report(x, y, GenerativeOversampler(model), seed=seed)
                for treatment, row in table.iterrows():
                    found = {k: round(float(v), 4) for k, v in row.items()}
                    yield {"table": name, "seed": seed, "model": model, "treatment": treatment, **found}


BARS = {"imputation": imputation, "classifier": classifier, "oversampling": oversampling}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--tables", type=listed)
    options.add_argument("--models", type=listed)
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument("--steps", type=int, help="of the imputer; its default otherwise")
    args = options.parse_args()
    warnings.simplefilter("ignore")
    measure("rows", BARS, args)


if __name__ == "__main__":
    main()
