"""Virtual laboratories: known counterfactuals, counts with a density, floors, and what to measure next."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from typer.testing import CliRunner

from pofx.apps.lab import untreated
from pofx.apps.untried import PARTS, untried_cells
from pofx.apps.virtual_lab import VirtualLab, beyond, held_out, mean_shift, nb_floor, normal_floor
from pofx.cli.main import app
from pofx.core.errors import DataError, UsageError
from pofx.core.event import Discrete
from pofx.core.random import Streams
from pofx.data.cells import read_counts
from pofx.data.labs import LABS
from pofx.families.vae.observation import NegativeBinomial
from pofx.families.vae.vae import VAE
from pofx.maths.counts import gamma_draw, poisson_draw

pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = {"steps": 60, "options": {"width": 32, "bins": 8, "validations": 2}}


@pytest.mark.parametrize("name", LABS)
def test_columns_rise_with_their_own_noise_alone_in_causal_order(name):
    lab = LABS[name]
    condition = pd.concat([lab.conditions()] * 5)
    x, u = lab.cells(condition, 1)
    assert np.isfinite(x).all() and len(lab.columns) == x.shape[1]
    for j in range(x.shape[1]):
        moved = u.copy()
        moved[:, j] += 0.5
        change = lab.outcome(condition.to_numpy(), moved) - x
        assert (change[:, j] > 0).all() and np.allclose(change[:, :j], 0)


@pytest.mark.slow
def test_counterfactuals_of_a_lab_with_known_truth_beat_the_floor():
    lab = LABS["enzyme"]
    train = pd.concat([lab.conditions()] * 250, ignore_index=True)
    cells, _ = lab.cells(train, 1)
    model = VirtualLab.fit(cells, train, columns=lab.columns, **{**QUICK, "steps": 150})
    before, after = {"inhibitor": 0.0, "inducer": 0.0}, {"inhibitor": 2.0, "inducer": 0.0}
    frames = [pd.DataFrame([c] * 300) for c in (before, after)]
    x, u = lab.cells(frames[0], 2)
    truth = lab.outcome(frames[1].to_numpy(), u)
    a, b = (cells[(train == c).all(axis=1).to_numpy()] for c in (before, after))
    ours, floor = model.counterfactual(x, before, after), mean_shift(a, b, x)
    assert np.abs(ours - truth).mean() < np.abs(floor - truth).mean()
    assert np.allclose(model.counterfactual(x, before, before), x, atol=1e-2)  # the same world
    changes = model.differential(before, after, 300)
    assert changes.loc["rate", "change"] < -0.3 and changes.loc["rate", "probability"] > 0.9
    found = held_out(model, b, after, cells, a)
    assert found["ours"] < min(found["no change"], found["pooled"])
    with pytest.raises(UsageError, match="dose"):
        model.do({"dose": 1.0})
    with pytest.raises(UsageError, match="ensemble"):
        model.design([after])


def test_the_control_is_the_row_that_is_called_so():
    given = pd.DataFrame({"drug": ["A", "A", " DMSO", "B"], "cell": ["T", "wild-type", "wild-type", "wild-type"]})
    assert untreated(given) == {"drug": " DMSO", "cell": "wild-type"}
    assert untreated(given[["cell"]]) == {"cell": "wild-type"}
    assert untreated(given.iloc[:1]) == {"drug": "A", "cell": "T"}
    assert untreated(given.iloc[[0, 1]].assign(cell=["wt", "x"], drug=["A", "none"])) == {"drug": "none", "cell": "x"}
    assert untreated(pd.DataFrame({"dose (uM)": [3, 0]})) == {"dose (uM)": 0}
    assert untreated(pd.DataFrame({"age": [3, 0]})) == {"age": 3}


def test_an_untried_value_is_drawn_between_the_control_and_the_others():
    class Known(VirtualLab):
        """Cells are N(what, 1) in two columns."""

        def do(self, condition, n=200, *, seed=0):
            at = {"none": 0.0, "a": 0.1, "b": -0.1, "c": 0.05, "d": 6.0}[dict(condition)["drug"]]
            return at + np.random.default_rng(seed).normal(size=(n, 2))

    def of(*names):
        return Known((), ("x", "y"), pd.DataFrame({"drug": [*names]}), False)

    drawn, _ = of("none", "a", "b", "c").untried("drug", {"drug": "none"}, 300)
    assert drawn.shape == (300, 2) and abs(drawn.mean()) < 0.2
    drawn, shares = of("none", "a", "b", "d", "c").untried("drug", {"drug": "none"}, 300)
    assert shares["control"] >= 0.5 and abs(drawn.mean()) < 0.5  # most did little, one did a lot
    assert sum(shares.values()) == 1 and tuple(shares) == PARTS
    with pytest.warns(UserWarning, match="drug=e was never trained on: drawn by `untried`"):
        found = held_out(of("none", "a", "b", "d", "c"), drawn, {"drug": "e"}, drawn, drawn, 0, {"drug": "none"})
    assert found["ours"] < 0.1
    with pytest.raises(UsageError, match="at least 3"):
        of("none", "a", "b").untried("drug", {"drug": "none"})
    with pytest.raises(UsageError, match="dose"):
        of("none", "a", "b", "c").untried("dose", {"drug": "none"})


def test_an_untried_value_may_go_either_way_and_units_do_not_matter():
    g = np.random.default_rng(0)
    control, *tried = (at + g.normal(size=(400, 2)) for at in (0.0, -1.5, 1.5, -2.5, 2.5))
    ups = [at + g.normal(size=(400, 2)) for at in (1.8, 1.9, 2.0, 2.1, 2.2)]
    drawn, shares = untried_cells(control, ups, 400)
    assert (drawn.mean(0) > 1.4).all() and shares["others"] >= 0.75  # all go up
    drawn, shares = untried_cells(control, tried, 400)
    assert shares["effects"] + shares["twice the effects"] >= 0.25 and abs(drawn.mean()) < 0.4 and drawn.std() > 1.3
    scaled, same = untried_cells(np.exp(control), [np.exp(cells) for cells in tried], 400)
    assert same == shares and np.allclose(np.log(scaled), drawn)
    counts, _ = untried_cells(
        np.round(np.exp(control)).astype(int), [np.round(np.exp(c)).astype(int) for c in tried], 50
    )
    assert counts.dtype.kind == "i"


@pytest.mark.slow
def test_information_is_what_members_disagree_on():
    lab = LABS["enzyme"]
    train = pd.concat([lab.conditions().query("inhibitor < 1.5")] * 80, ignore_index=True)
    cells, _ = lab.cells(train, 1)
    model = VirtualLab.fit(cells, train, members=2, **QUICK)
    found = model.design([{"inhibitor": 0.5, "inducer": 0.0}, {"inhibitor": 9.0, "inducer": 0.0}], 100)
    assert found.iloc[0]["inhibitor"] == 9.0 and (found["information"] >= 0).all()
    assert found["information"].max() <= np.log(2) + 0.05


def raw(mean, size, gate=None):
    parts = [np.log(mean), np.log(size)] + ([] if gate is None else [gate])
    return torch.tensor(parts, dtype=torch.float32).reshape(1, 1, -1)


@pytest.mark.parametrize("zeros", [False, True])
def test_the_observation_model_of_counts_is_scipys(zeros):
    model = NegativeBinomial(Discrete((1,), 4096), zeros)
    numbers = raw(7.0, 1.5, -1.0 if zeros else None)
    x = torch.arange(3000)[:, None]
    log_p = model.log_prob(numbers.expand(3000, 1, -1), x)
    gate = 1 / (1 + np.e) if zeros else 0.0
    expected = (1 - gate) * stats.nbinom.pmf(np.arange(3000), 1.5, 1.5 / 8.5) + gate * (np.arange(3000) == 0)
    assert np.allclose(log_p[:100].exp(), expected[:100], rtol=1e-3)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-4)
    drawn = model.draw(numbers.expand(20_000, 1, -1), Streams(0, 20_000)).numpy()
    assert drawn.mean() == pytest.approx(7 * (1 - gate), rel=0.05)
    assert (drawn == 0).mean() == pytest.approx(expected[0], abs=0.02)


@pytest.mark.parametrize("observation", ["nb", "zinb"])
def test_the_bound_of_counts_sums_to_at_most_one(observation):
    torch.manual_seed(0)
    model = VAE(
        Discrete((2,), 6), observation=observation, latent=2, width=16, depth=1, prior="normal", importance=64
    ).eval()
    every = torch.cartesian_prod(torch.arange(6), torch.arange(6))
    assert 0.5 < model.log_prob(every).exp().sum() < 1.001
    assert model.sample(50, generator=Streams(0, 50)).max() < 6


@pytest.mark.parametrize("sparse", [False, True])
def test_annotated_cells_are_counts_under_columns_of_obs(sparse):
    from types import SimpleNamespace

    from scipy.sparse import csr_matrix

    x = np.random.default_rng(0).poisson(3, (60, 4)).astype(np.float32)
    obs = pd.DataFrame(
        {"drug": pd.Categorical(np.resize(["none", "A"], 60)), "batch": 1}, index=[f"c{i}" for i in range(60)]
    )
    cells = SimpleNamespace(X=csr_matrix(x) if sparse else x, obs=obs, var_names=pd.Index(list("abcd")))
    made = VirtualLab.fit(cells, ["drug"], steps=2, options={"width": 16, "latent": 2})
    assert made.counts and made.columns == tuple("abcd") and made.do({"drug": "A"}, 5).shape == (5, 4)
    with pytest.raises(UsageError, match="column of obs"):
        VirtualLab.fit(cells, ["dose"])


def test_draws_of_gamma_and_poisson():
    for shape in (0.3, 2.0, 50.0):
        x = gamma_draw(torch.full((20_000, 1), shape), Streams(1, 20_000))[:, 0].numpy()
        assert stats.kstest(x, stats.gamma(shape).cdf).statistic < 0.02
    for rate in (0.1, 4.0, 29.0, 200.0):
        x = poisson_draw(torch.full((20_000, 1), rate), Streams(2, 20_000))[:, 0].numpy()
        assert x.mean() == pytest.approx(rate, rel=0.05) and x.var() == pytest.approx(rate, rel=0.06)


def counts(n=400, seed=0):
    """Two types of cells, of different depth."""
    g = np.random.default_rng(seed)
    kind = g.integers(0, 2, n)
    rate = np.where(kind[:, None] == 0, [5, 50, 1, 0.2, 10, 3], [50, 5, 1, 2.0, 10, 3]) * g.gamma(3, 1 / 3, (n, 1))
    return g.poisson(rate), pd.DataFrame({"type": np.array(["a", "b"])[kind]})


@pytest.mark.slow
def test_counts_have_a_density_below_the_floor():
    (x, types), (y, new) = counts(800), counts(200, 1)
    made = VirtualLab.fit(x, types, steps=400, options={"latent": 3, "width": 48, "validations": 4})
    nats = -made.log_prob(y, new).mean()
    assert made.counts and nats < nb_floor(x, y) - 0.5
    cells = made.do({"type": "b"}, 300)
    assert cells.dtype.kind == "i" and cells[:, 0].mean() == pytest.approx(50, rel=0.35)
    changes = made.differential({"type": "a"}, {"type": "b"}, 300)
    assert set(changes.index[:3]) == {"x0", "x1", "x3"} and changes.loc["x0", "low"] > 1
    other = made.counterfactual(y[new["type"] == "a"], {"type": "a"}, {"type": "b"})
    assert other[:, 0].mean() > 3 * other[:, 1].mean()


def test_counts_are_read_and_what_is_none_is_refused(tmp_path):
    frame = pd.DataFrame([[1, 2], [3, 4], [5, 6]], index=["c1", "c2", "c3"], columns=["g1", "g2"])
    frame.to_csv(tmp_path / "x.csv")
    assert read_counts(tmp_path / "x.csv")[1] == ["g1", "g2"]
    (frame / 3).to_csv(tmp_path / "y.csv")
    with pytest.raises(DataError, match="whole numbers"):
        read_counts(tmp_path / "y.csv")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["df/block0_values"] = frame.T.to_numpy()
        file["df/axis0"] = np.array(frame.index, dtype="S")
        file["df/axis1"] = np.array(frame.columns, dtype="S")
    values, genes = read_counts(tmp_path / "x.h5", ["c3", "c1"])
    assert values.tolist() == [[5, 6], [1, 2]] and genes == ["g1", "g2"]
    with pytest.raises(DataError, match="row of conditions"):
        VirtualLab.fit(frame.to_numpy(), pd.DataFrame({"a": [1]}))


def test_the_floor_of_measurements_is_the_entropy_of_their_normal():
    g = np.random.default_rng(0)
    x = g.normal(size=(40_000, 2)) @ np.array([[2.0, 0.5], [0.0, 1.0]])
    expected = np.log(2 * np.pi * np.e) + np.log(2.0)
    assert abs(normal_floor(x[:20_000], x[20_000:]) - expected) < 0.03
    assert np.isfinite(normal_floor(np.c_[x[:50], np.ones(50)], np.c_[x[50:60], np.ones(10)]))  # a constant column
    assert np.isfinite(normal_floor(x[:50, :1], x[50:60, :1]))


def test_the_verb(tmp_path):
    lab = LABS["enzyme"]
    given = pd.concat([lab.conditions()] * 30, ignore_index=True)
    frame = pd.DataFrame(lab.cells(given, 1)[0], columns=lab.columns).assign(**given)
    frame.to_csv(tmp_path / "x.csv", index=False)
    words = ["lab", str(tmp_path / "x.csv"), "--conditions", "inhibitor,inducer", "--do", "inhibitor=2", "--out",
             str(tmp_path / "out"), "--minutes", "0.03", "-n", "40", "--hold-out",
             "inhibitor=1.0,inducer=1.0"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "one normal of all cells" in done.output  # the floor beside the likelihood
    assert "held-out condition" in done.output and (tmp_path / "out" / "changes inhibitor=2.0.csv").is_file()
    wrong = CliRunner().invoke(app, [*words[:4], "--do", "dose=2", *words[6:]])
    assert wrong.exit_code != 0
    more = ["--run", str(tmp_path / "out"), "--do", "inducer=1", "--out", str(tmp_path / "more"), "-n", "30"]
    again = CliRunner().invoke(app, [*words[:2], *more])  # its conditions are those of the lab
    assert again.exit_code == 0, again.output
    assert (tmp_path / "more" / "cells inducer=1.0.csv").is_file() and not (tmp_path / "more" / "model").exists()
    frame.drop(columns=lab.columns[0]).to_csv(tmp_path / "x.csv", index=False)
    other = CliRunner().invoke(app, [*words[:2], *more[:-4], "--out", str(tmp_path / "no")])
    assert "same columns" in str(other.exception)


@pytest.mark.parametrize("members", [1, 2])
def test_a_saved_lab_draws_the_same(members, tmp_path):
    lab = LABS["enzyme"]
    given = pd.concat([lab.conditions()] * 10, ignore_index=True)
    made = VirtualLab.fit(lab.cells(given, 1)[0], given, columns=lab.columns, members=members, steps=2)
    again = VirtualLab.load(made.save(tmp_path / "lab"))
    assert np.array_equal(made.do({"inhibitor": 1.0}, 8), again.do({"inhibitor": 1.0}, 8))
    assert again.columns == made.columns and len(again.runs) == members


def test_a_generated_lab_reports_the_error_of_its_counterfactuals(tmp_path):
    words = ["lab", "enzyme", "--do", "inhibitor=2,inducer=0", "--counterfactual", "--out", str(tmp_path / "out"),
             "--minutes", "0.02", "-n", "40"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "against the truth" in done.output and "mean shift" in done.output
    assert (tmp_path / "out" / "counterfactuals inhibitor=2.0,inducer=0.0.csv").is_file()
    for wrong in (["--conditions", "x"], ["--labels", str(tmp_path / "x")]):
        found = CliRunner().invoke(app, [*words, *wrong, "--overwrite"])
        assert "its own conditions" in str(found.exception)
    nowhere = CliRunner().invoke(app, ["lab", "enzymes", "--out", str(tmp_path / "no")])
    assert "generated labs" in str(nowhere.exception)


def test_what_could_be_measured_next_are_combinations_that_nobody_has_tried():
    from pofx.apps.lab import candidates

    given = pd.DataFrame({"drug": ["A", "A", "B"], "dose": [0.0, 1.0, 0.0]})
    found = candidates(given, [{"drug": "B", "dose": 5.0}])
    assert len(found) == 5 and {("B", 1.0), ("B", 5.0)} <= set(found.itertuples(index=False, name=None))
    many = pd.DataFrame({"a": range(100), "b": range(100)})
    assert len(candidates(many, [])) == 60


def test_what_looks_like_counts_and_what_lies_beyond_the_doses_is_named(tmp_path):
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"dose": np.resize([0.0, 1, 2], 90), "a": g.poisson(1, 90), "b": g.poisson(2, 90)})
    logs = frame[["a", "b"]].apply(np.log1p)
    with pytest.warns(UserWarning, match="give the raw counts"):
        VirtualLab.fit(logs, frame[["dose"]], steps=1, options={"layers": 1, "width": 8})
    assert beyond(frame[["dose"]], {"dose": 7.0}) == "dose=7 lies outside of the training cells (0 to 2)"
    assert beyond(frame[["dose"]], {"dose": 1.5}) == ""

    def call(frame, *words):
        frame.to_csv(tmp_path / "x.csv", index=False)
        done = CliRunner().invoke(app, ["lab", str(tmp_path / "x.csv"), "--out", str(tmp_path / "o"), *words])
        return str(done.exception)

    assert "nothing to compare" in call(frame.assign(dose=1.0), "--conditions", "dose")
    frame.loc[3, "a"] = -1
    assert "no counts" in call(frame, "--conditions", "dose")


def test_cells_without_a_condition_are_left_out_with_a_warning(tmp_path):
    g = np.random.default_rng(0)
    table = pd.DataFrame({"drug": ["A", "", "B"] * 20, "x": g.normal(size=60), "y": g.normal(size=60)})
    table.to_csv(tmp_path / "cells.csv", index=False)
    with pytest.warns(UserWarning, match="20 of 60 cells have no drug"):
        done = CliRunner().invoke(
            app, ["lab", str(tmp_path / "cells.csv"), "--conditions", "drug", "--members", "2", "--minutes", "0.002",
                  "-n", "20", "--out", str(tmp_path / "out")]
        )  # fmt: skip
    assert done.exit_code == 0 and set(pd.read_csv(tmp_path / "out" / "next.csv").columns) >= {"cells", "information"}
    with pytest.raises(DataError, match="without a value"):
        VirtualLab.fit(np.zeros((3, 2)), pd.DataFrame({"drug": ["A", None, "B"]}))


@pytest.mark.parametrize(
    ("more", "message"),
    [([], "lack values of cells \\(b in 2\\)"), (["--hold-out", "drug=x"], "the control .* is held out")],
)
def test_cells_without_a_value_and_a_control_held_out_are_named_before_training(tmp_path, more, message):
    frame = pd.DataFrame({"drug": ["x", "y"] * 30, "a": np.arange(60) * 0.5, "b": np.arange(60) * 0.1})
    if not more:
        frame.loc[[3, 5], "b"] = np.nan
    frame.to_csv(tmp_path / "c.csv", index=False)
    command = ["lab", str(tmp_path / "c.csv"), "--conditions", "drug", "--out", str(tmp_path / "out"), *more]
    with pytest.raises((DataError, UsageError), match=message):
        raise CliRunner().invoke(app, command).exception
