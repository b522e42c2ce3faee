"""Options in words: every option of every model and of the trainer is described, from the code alone."""

import pytest

from pofx.core.config import entries
from pofx.core.describe import options, sampling, written
from pofx.train.options import TrainOptions

UNDESCRIBED = {
    ("cnf", "training_steps"), ("cnf", "training_tolerance"), ("iaf", "layers"), ("iaf", "width"), ("iaf", "blocks"),
    ("maf", "layers"), ("maf", "width"), ("maf", "blocks"), ("nice", "layers"), ("nice", "width"), ("nice", "blocks"),
    ("realnvp", "blocks"),
    *((name, option) for name in ("nsf", "nsf-coupling") for option in ("layers", "bins", "bound", "blocks")),
    ("nsf", "conditioner"), ("nsf-coupling", "conditioner"),
}  # fmt: skip


@pytest.mark.parametrize("name", entries())
def test_every_option_of_every_model_is_described(name):
    row = entries()[name]
    for option in options(row.model, row.values):
        assert option.values and option.default
        assert option.meaning or (name, option.name) in UNDESCRIBED, f"write what {option.name} of {name} is"


def test_every_trainer_option_is_described():
    assert {o.name for o in options(TrainOptions) if not o.meaning} <= {"betas"}


def test_a_recipe_shows_its_own_values():
    row = entries()["nsf-coupling"]
    assert {o.name: o.default for o in options(row.model, row.values)}["conditioner"] == "coupling"


def test_values_are_written_as_the_command_line_takes_them():
    from pofx.core.config import parse

    for value in (None, True, 3, 0.25, [1, 2], "cosine", [0.5, None]):
        assert parse(f"key={written(value)}") == ("key", value)


def test_sampling_options_are_those_that_change_after_training():
    assert {"temperature", "top_k", "top_p"} <= set(sampling(entries()["gpt"].model))
    assert {"guidance", "sampler"} <= set(sampling(entries()["ddpm"].model))
