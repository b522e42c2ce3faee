"""A table, a picture, a caption and points as one event: any given any others, densities multiply and sum to one."""

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx.apps.joint import Joint
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.items import Items
from pofx.core.random import Streams
from pofx.data.several import Several
from pofx.represent.together import Together

QUICK = {"width": 32, "layers": 1, "batch_size": 32}
pytestmark = pytest.mark.filterwarnings("ignore")


def parts(n=400, seed=0):
    """A grade decides the colour of most of a picture, what its caption states, and where a point lies."""
    g = np.random.default_rng(seed)
    grade = g.integers(0, 2, n)
    table = pd.DataFrame(
        {
            "grade": np.where(grade, "high", "low"),
            "size": (3 * grade + g.normal(size=n)).round(3),
            "age": g.integers(20, 90, n),
        }
    )
    picture = np.where(g.random((n, 3, 3)) < 0.9, 3 * grade[:, None, None], g.integers(0, 4, (n, 3, 3))).astype(
        np.uint8
    )
    return {
        "table": table,
        "picture": pofx.images(picture, levels=4),
        "caption": pofx.texts(["bright" if k else "dark" for k in grade]),
        "point": (4 * grade[:, None] + 0.3 * g.normal(size=(n, 2))).astype(np.float32),
        "code": np.stack((grade, g.integers(0, 3, n)), 1),
    }


def only(*names, **values):
    return {name: part for name, part in parts(**values).items() if name in names}


@pytest.fixture(scope="module")
def joint():
    return Joint(options={"states": 4}, steps=20).fit(only("table", "picture", "caption"))


@pytest.fixture(scope="module")
def mixed():
    """Classes beside numbers: a product event."""
    return Joint(options={"states": 4}, steps=20).fit(only("table", "point", "code"))


def bright(values):
    return np.asarray(values).reshape(len(values), -1).mean(1) > 1.5


@pytest.mark.slow
def test_every_part_is_drawn_as_it_was_given_and_agrees(joint, mixed):
    drawn = joint.sample(200, seed=1)
    assert list(drawn["table"].columns) == ["grade", "size", "age"] and drawn["picture"].shape == (200, 3, 3)
    assert all(isinstance(c, str) for c in drawn["caption"])
    high = drawn["table"].grade == "high"
    assert (bright(drawn["picture"]) == high).mean() > 0.9
    assert np.mean([(c[:1] == "b") == h for c, h in zip(drawn["caption"], high, strict=True)]) > 0.9
    assert isinstance(mixed.run.model.event, dict)
    drawn = mixed.sample(200, seed=1)
    assert drawn["code"].shape == drawn["point"].shape == (200, 2)
    high = drawn["table"].grade == "high"
    assert ((drawn["point"].mean(1) > 2) == high).mean() > 0.9 and ((drawn["code"][:, 0] == 1) == high).mean() > 0.9


@pytest.mark.slow
def test_each_part_given_any_others_and_what_is_given_stays_as_it_is(joint, mixed):
    known = only("table", "picture", "caption", n=50, seed=5)
    high = (known["table"].grade == "high").to_numpy()
    found = joint.sample(50, {"caption": known["caption"].values}, seed=2)
    assert found["caption"] == known["caption"].values and (bright(found["picture"]) == high).mean() > 0.85
    found = joint.sample(50, {"table": known["table"]}, seed=2)
    pd.testing.assert_frame_equal(found["table"], known["table"], check_dtype=False)
    assert np.mean([(c[:1] == "b") == h for c, h in zip(found["caption"], high, strict=True)]) > 0.9
    found = joint.sample(50, {"picture": known["picture"].values}, seed=2)
    assert np.array_equal(found["picture"], known["picture"].values)
    found = joint.sample(40, {"table": {"grade": "low", "age": 33}}, seed=2)  # some columns, for all
    assert (
        set(found["table"].grade) == {"low"}
        and set(found["table"].age) == {33}
        and found["table"]["size"].nunique() > 5
    )
    assert bright(found["picture"]).mean() < 0.15
    found = mixed.sample(40, {"point": np.array([4.0, 4.0], np.float32), "code": np.array([-1, 2])}, seed=2)
    assert (found["point"] == 4).all() and (found["code"][:, 1] == 2).all() and (found["code"][:, 0] == 1).mean() > 0.85
    assert (found["table"].grade == "high").mean() > 0.85


@pytest.mark.slow
def test_densities_of_parts_multiply_and_classes_sum_to_one(joint, mixed):
    items = only("table", "picture", "caption", n=6, seed=5)
    known = {**items, "picture": items["picture"].values, "caption": items["caption"].values}
    whole, some = joint.log_prob(known), joint.log_prob({k: known[k] for k in ("table", "caption")})
    assert np.allclose(whole, some + joint.log_prob(known, given=["table", "caption"]), atol=1e-4)
    every = Several({**items, "table": pofx.table(known["table"])})
    assert np.allclose(joint.run.log_prob(every), whole, atol=1e-4)
    rows = known["table"].iloc[[0, 0]].assign(grade=["low", "high"])
    p = np.exp(joint.log_prob({"table": rows, "caption": ["dark"] * 2}, given=["caption"]))
    other = np.exp(joint.log_prob({"table": rows[["size", "age"]], "caption": ["dark"] * 2}, given=["caption"]))
    assert p.sum() == pytest.approx(other[0], rel=1e-3)
    codes = np.array([[a, b] for a in range(2) for b in range(3)])
    point = np.zeros((6, 2), np.float32)
    assert np.exp(mixed.log_prob({"code": codes, "point": point}, given=["point"])).sum() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("as_numbers", [False, True])
def test_the_view_inverts_and_its_volume_is_the_sum_over_its_parts(as_numbers):
    values = Several({k: v if isinstance(v, Items) else pofx.table(v) for k, v in only("table", "picture").items()})
    view = Together.fit(Items("several", values), as_numbers=as_numbers)
    assert isinstance(view.event, dict) is as_numbers
    raw = view.tensor(values)
    x, ladj = view.encode(raw, Streams(0, len(raw)))
    for part, event in view.event.items() if as_numbers else [("", view.event)]:
        of = x[part] if as_numbers else x
        assert isinstance(event, Discrete if of.dtype == torch.int64 else Continuous) and of.shape[1:] == event.shape
    own = [v.encode(view._split(raw)[k], Streams(0, len(raw))) for k, v in view.parts.items()]
    if not as_numbers:  # no noise is drawn
        assert torch.allclose(ladj, sum(two[1].double() for two in own))
    assert set(view.apart(x)) == {"table", "picture"}
    again = view.items(view.decode(x))
    assert np.array_equal(again["picture"], values["picture"]) and (again["table"].grade == values["table"].grade).all()
    made = Together(view.views, as_numbers)
    assert torch.equal(made.tensor(values), raw) and made.event == view.event


@pytest.fixture(scope="module")
def masked():
    return Joint("masked-diffusion", options=QUICK, steps=3).fit(only("picture", "caption", n=100))


def test_masked_diffusion_takes_classes_and_refuses_numbers(masked, tmp_path):
    known = parts()["caption"].values[:5]
    found = masked.sample(5, {"caption": known}, seed=1)
    assert found["caption"] == known and found["picture"].shape == (5, 3, 3)
    bound = masked.log_prob({"caption": known})
    assert bound.shape == (5,) and (bound < 0).all()
    masked.run.save(tmp_path)
    again = pofx.load(tmp_path)
    assert np.array_equal(again.sample(3)["picture"], masked.run.sample(3)["picture"])
    with pytest.raises(UsageError, match="takes classes alone"):
        Joint("masked-diffusion", options=QUICK, steps=3).fit(only("picture", "point", n=100))


@pytest.mark.slow
def test_a_vae_of_parts_with_numbers(tmp_path):
    joint = Joint("vae", options={"as_numbers": True, "width": 32}, steps=200).fit(only("table", "code"))
    known = only("table", n=20, seed=5)["table"]
    found = joint.sample(20, {"table": known}, seed=1)
    pd.testing.assert_frame_equal(found["table"], known, check_dtype=False)
    assert found["code"].shape == (20, 2)
    joint.run.save(tmp_path)
    assert pofx.load(tmp_path).sample(3)["table"].equals(joint.run.sample(3)["table"])


def test_what_cannot_be_is_refused(masked):
    with pytest.raises(Unsupported, match="circuit"):
        Joint("gpt", steps=1).fit(only("picture", "caption"))
    with pytest.raises(DataError, match="one of each"):
        Joint().fit({"code": parts()["code"][:5], "caption": parts()["caption"]})
    with pytest.raises(DataError, match="at least two"):
        Joint().fit(only("code"))
    with pytest.raises(UsageError, match="part"):
        masked.sample(2, {"sound": [1]})
    with pytest.raises(DataError, match="one for all"):
        masked.sample(4, {"caption": parts()["caption"].values[:3]})
    with pytest.raises((DataError, UsageError)):
        masked.sample(2, {"picture": np.full((3, 3), 9)})
    with pytest.raises(UsageError, match="fit first"):
        Joint().sample(2)
