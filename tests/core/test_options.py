"""Laws of options: every argument of every model has a type and a range, and a value outside them is refused by name
before anything is computed from it."""

import copy
import inspect
import math
import typing
from typing import Annotated, Any, get_args, get_origin

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import pofx
from pofx.core import config
from pofx.core.elsewhere import ELSEWHERE, VALUES
from pofx.core.errors import DataError, PofxError, Unsupported, UsageError
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.options import (
    Checked,
    Count,
    Depth,
    Dropout,
    OneOf,
    Range,
    annotated,
    check_options,
    check_value,
    checked,
    fits,
    named_values,
    short,
)
from pofx.runs.options import OF_CALLS, owned, sort_options

ROWS = config.entries()
OURS = {row.model for row in ROWS.values() if row.model.__module__.startswith("pofx.")}
MODELS = sorted(OURS, key=lambda m: m.__name__)
EVENTS = {
    Discrete: [Discrete((1, 4, 4), 5), Discrete((6,), 4)],
    Continuous: [Continuous((3,)), Continuous((1, 4, 4))],
    Bounded: [Bounded((1, 4, 4)), Bounded((3,))],
}


def deep(levels):
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


WILD = st.one_of(
    st.sampled_from([-3, 0, 1.5, "abc", "", [1, 2], [], {}, {"a": 1}, 1e9, 2, -1, True, None, 10**30, -(10**30)]),
    st.sampled_from(
        [math.nan, math.inf, -math.inf, "NaN", "auto", b"a", object(), deep(500), np.zeros(3), {1: {2: 3}}]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
)


def bounded(hint: Any) -> bool:
    """Whether a hint states which values are meant: numbers have a range, names a choice."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return any(isinstance(m, Range | OneOf) for m in args[1:])
    if hint in (int, float, str, Any) or hint is inspect.Parameter.empty:
        return False
    if origin is not None and args:
        return all(bounded(arg) for arg in args if arg is not Ellipsis)
    return hint in (bool, None, type(None))


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_every_option_has_a_type_and_a_range_that_its_default_lies_in(model):
    hints = annotated(model.__init__)
    for key, default in config.defaults(model).items():
        assert bounded(hints[key]), f"{model.__name__}: state the range of {key}, as Annotated[int, Range(1, 64)]"
        assert fits(default, hints[key]), f"{model.__name__}: {key}={default!r} is not within its own range"
    for row in (r for r in ROWS.values() if r.model is model):
        for key, value in {**row.values, **model.small}.items():
            assert fits(value, hints[key]), f"{row.name}: {key}={value!r}"


@settings(max_examples=200, deadline=None)  # never a time: the machine may be busy
@given(st.data())
def test_wild_values_of_any_option_end_in_a_model_or_in_an_error_of_pofx(data):
    row = data.draw(st.sampled_from(sorted(ROWS.values(), key=lambda r: r.name)))
    key = data.draw(st.sampled_from(sorted(config.defaults(row.model))))
    value = data.draw(WILD)
    kinds = [kind for kind in row.model.events if kind in EVENTS]
    event = next(e for kind in kinds for e in EVENTS[kind] if len(e.shape) in row.model.ranks)
    try:
        config.build(row.name, event, **{**row.model.small, key: value})
    except (UsageError, DataError, Unsupported) as error:
        assert len(str(error)) < 500


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_a_whole_number_is_taken_where_a_real_one_is(model):
    hints = annotated(model.__init__)
    event = next(e for kind in model.events if kind in EVENTS for e in EVENTS[kind] if len(e.shape) in model.ranks)
    for key, default in config.defaults(model).items():
        for whole in (0, 1):
            if isinstance(default, float) and fits(whole, hints[key]):
                try:
                    model(event, **{**model.small, key: whole})
                except (UsageError, Unsupported):
                    pass  # refused in words, beside the other options


def test_the_message_names_the_value_the_limit_and_the_mend():
    event = Discrete((6,), 4)
    for options, message in (
        ({"width": -3}, "width must be a whole number from 1 to 8192 (got -3): pass width=1"),
        ({"width": 1.5}, "width must be a whole number from 1 to 8192 (got 1.5): pass width=128"),
        ({"layers": 10**6}, "layers must be a whole number from 1 to 1024 (got 1000000): pass layers=1024"),
        ({"dropout": 2}, "dropout must be a number of at least 0 and below 1 (got 2): pass dropout=0.0"),
        ({"activation": "gleu"}, "activation must be swiglu, gelu or gelu-tanh (got 'gleu'): did you mean gelu?"),
        ({"positions": "abc"}, "positions must be rotary, learned or both or none (got 'abc'): leave it out"),
    ):
        with pytest.raises(UsageError) as error:
            config.build("gpt", event, **options)
        assert str(error.value) == message
        with pytest.raises(UsageError):
            ROWS["gpt"].model(event, **options)  # direct construction as well


@pytest.mark.parametrize(
    ("model", "event", "options", "ours"),
    [
        ("ebm", Continuous((2,)), {"objective": "dsm"}, "objective=score"),
        ("ebm", Continuous((2,)), {"objective": "NCE"}, "objective=noise"),
        ("gan", Continuous((2,)), {"loss": "wgan-gp"}, "loss=wasserstein"),
        ("gan", Continuous((2,)), {"penalty": "wgan_gp"}, "penalty=gradient"),
        ("flow-matching", Continuous((2,)), {"prediction": "eps"}, "prediction=epsilon"),
    ],
)
def test_what_others_call_a_choice_is_answered_by_ours(model, event, options, ours):
    with pytest.raises(UsageError, match=rf"\(got '.*'\): pass {ours}, as it is called here"):
        config.build(model, event, **options)


def test_every_choice_of_others_is_one_of_ours_somewhere():
    def names(hint):
        own = {name for m in get_args(hint) if isinstance(m, OneOf) for name in m.names}
        return own.union(*(names(part) for part in get_args(hint)))

    known = set().union(*(names(hint) for model in MODELS for hint in annotated(model.__init__).values()))
    strange = {ours for found in VALUES.values() for ours in found} - known
    assert strange <= {"adamw", "bf16", "fp32", "ganspace", "sefa"}  # of the trainer and of samples


def test_numbers_of_numpy_are_numbers_and_truth_values_are_none():
    assert fits(np.int64(3), Depth) and fits(np.float32(0.5), Dropout) and fits(0, Dropout)
    assert not fits(True, Depth) and not fits(np.bool_(True), Depth) and not fits(math.nan, Dropout)
    assert not fits("3", Depth) and not fits(3.0, Depth) and not fits(torch.tensor(3), Depth)
    assert config.plain({"a": np.int64(3), "b": np.float64(0.5), "c": (1, 2)}) == {"a": 3, "b": 0.5, "c": [1, 2]}


def test_containers_are_checked_inside():
    class View(Checked):
        def __init__(
            self, shape: tuple[Count, Count], names: dict[str, Dropout], rest: list[int] | None = None
        ) -> None:
            self.shape = shape

    assert View((1, 2), {"a": 0.5}).shape == (1, 2) and View([1, 2], {}, [3]).shape == [1, 2]
    assert copy.deepcopy(View((1, 2), {})).shape == (1, 2)
    for bad in (((1,), {}), ((1, 0), {}), ((1, 2), {"a": 1.0}), ((1, 2), {3: 0.5}), ((1, 2), {}, ["a"]), ("12", {})):
        with pytest.raises(UsageError):
            View(*bad)
    check_options(View, {"shape": (1, 2)})
    with pytest.raises(UsageError, match="shape must be a list of 2"):
        check_options(View, {"shape": 3})


def test_functions_are_checked_before_they_run():
    @checked
    def draw(
        n: Count, *, seed: Annotated[int, Range(0, 9)] = 0, call: typing.Callable | None = None, **more: float
    ) -> int:
        return n + seed

    assert draw(2, seed=3) == 5 and draw(np.int64(2), extra="as it is") == 2
    for args, options in (((0,), {}), (("3",), {}), ((2.5,), {}), ((1,), {"seed": "a"}), ((1,), {"call": 3})):
        with pytest.raises(UsageError):
            draw(*args, **options)


@given(WILD)
def test_any_value_is_shown_in_short(value):
    assert len(short(value)) <= 80
    with pytest.raises(PofxError) as error:
        check_value("x", value, Annotated[int, Range(5, 4)])
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "text, value",
    [("0.1,0.8", [0.1, 0.8]), ("(0, 1)", [0, 1]), ("[1, 2]", [1, 2]), ("a,b", "a,b"), ("1,b", "1,b"), (",", ","),
     ("true,1", "true,1"), ("3", 3), ("(3)", "(3)")],
)  # fmt: skip
def test_numbers_with_commas_are_a_list_on_the_command_line(text, value):
    assert config.parse(f"guidance_interval={text}") == ("guidance_interval", value)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, '{"a":' * 5000, "1" * 10**7])
def test_values_of_the_command_line_are_bounded(text):
    try:
        key, value = config.parse(f"lr={text}")
        assert key == "lr" and len(short(value)) <= 80
    except UsageError as error:
        assert len(str(error)) < 500


def test_models_are_built_in_float32_whatever_the_default():
    torch.set_default_dtype(torch.float64)
    try:
        dtypes = {p.dtype for p in config.build("maf", Continuous((3,)), **ROWS["maf"].model.small).parameters()}
        assert dtypes == {torch.float32} and torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_commas_in_values_by_name_belong_to_the_values():
    assert named_values("col our=bl,ue, b=x=y", "--given") == {"col our": "bl,ue", "b": "x=y"}
    for text in ("a", "=1", "a=1,a=2"):
        with pytest.raises(UsageError):
            named_values(text, "--given")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("learning_rate", "lr"), ("max_iter", "steps"), ("hidden_features", "width"), ("transforms", "layers"),
     ("random_state", "seed"), ("verbose", "progress")],
)  # fmt: skip
def test_names_of_other_libraries_are_answered_by_ours(theirs, ours):
    with pytest.raises(UsageError, match=f"unknown option of nsf '{theirs}': it is {ours} here"):
        sort_options(config.entry("nsf"), {theirs: 1})


def test_an_option_in_the_wrong_dict_is_answered_by_its_owner():
    with pytest.raises(UsageError, match="batch_size is no option of nsf but a trainer option: pass batch_size=… by"):
        sort_options(config.entry("nsf"), {}, options={"batch_size": 64})


def test_every_name_of_ours_for_one_of_another_library_exists():
    known = {name for entry in config.entries().values() for names in owned(entry).values() for name in names}
    names = {n for entry in config.entries().values() for n in inspect.signature(entry.model.sample).parameters}
    calls = [getattr(pofx, name) for name in dir(pofx) if not name.startswith("_")]
    calls += [pofx.Client.score]
    names |= {n for f in filter(inspect.isfunction, calls) for n in inspect.signature(f).parameters}
    assert {name for ours in ELSEWHERE.values() for name in ours} <= known | names | set(OF_CALLS)
    assert not set(ELSEWHERE) & set(OF_CALLS)
