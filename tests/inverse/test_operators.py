"""Operators: adjoints, shapes, what users give; noise."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from scipy import ndimage
from scipy.sparse.linalg import aslinearoperator

from pofx.core.errors import DataError, UsageError
from pofx.inverse.noise import Noise, stated_noise
from pofx.inverse.operator import Function, Operator, adjoint_gap
from pofx.inverse.operators import grid, projection
from pofx.inverse.operators.named import OPERATORS, operator_of

IMAGE, COMPLEX = (1, 12, 8), (2, 8, 8)
LINEAR = [
    *[
        (name, IMAGE, {})
        for name in ("denoise", "inpaint", "superres", "blur", "motion", "sensing", "mri", "tomography")
    ],
    ("inpaint", IMAGE, {"missing": 0.7}),
    ("motion", IMAGE, {"length": 5, "angle": 30}),
    ("mri", IMAGE, {"spokes": 5, "coils": 3}),
    ("mri", COMPLEX, {"coils": 2}),
    ("mri", COMPLEX, {"acceleration": 2}),
    ("blur", (3, 8, 8), {"sigma": 0.8}),
    ("grey", (3, 8, 8), {}),
    ("blur", (16,), {}),
    ("superres", (16,), {}),
    ("denoise", (5,), {}),
]


@pytest.mark.parametrize(("name", "shape", "options"), LINEAR)
def test_adjoints_are_adjoints(name, shape, options):
    operator = operator_of(name, shape, options)
    assert operator.linear and adjoint_gap(operator) < 1e-13
    x = torch.randn(3, *shape, dtype=torch.float64)
    y = operator.forward(x)
    assert y.shape == (3, *operator.out)
    assert torch.allclose(operator.forward(-2.5 * x), -2.5 * y)


def test_chains_functions_and_foreign_physics_have_adjoints_too():
    inner = grid.Blur(IMAGE, grid.gaussian_kernel(1.0))
    assert adjoint_gap(grid.Reduce(IMAGE, 4) @ inner) < 1e-13
    assert adjoint_gap(Function(IMAGE, lambda x: x.cumsum(-1), linear=True)) < 1e-13

    class Physics:  # as deepinv has it
        def A(self, x, **named):
            return 2 * x[..., ::2]

        def A_adjoint(self, y, **named):
            return 2 * torch.stack((y, torch.zeros_like(y)), -1).flatten(-2)

    foreign = operator_of(Physics(), IMAGE)
    assert foreign.linear and adjoint_gap(foreign) < 1e-13
    assert not operator_of(lambda x: x.square(), IMAGE).linear
    assert operator_of(np.eye(96)[:5], IMAGE).out == (5,)
    with pytest.raises(UsageError, match="has no adjoint"):
        adjoint_gap(operator_of("phase", IMAGE))


def test_physics_are_what_they_state():
    x = torch.rand(2, *COMPLEX, dtype=torch.float64)
    full = projection.Fourier(COMPLEX, torch.ones(8, 8, dtype=torch.bool), complex_items=True)
    assert torch.allclose(full.adjoint(full.forward(x)), x)
    coils = projection.smooth_coils((8, 8), 3)
    several = projection.Fourier(COMPLEX, torch.ones(8, 8, dtype=torch.bool), coils, complex_items=True)
    assert torch.allclose(several.adjoint(several.forward(x)), x)
    assert projection.cartesian((64, 64), 4).float().mean() == 0.25
    assert 0.1 < float(projection.radial((64, 64), 10).float().mean()) < 0.3
    disk = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    assert torch.allclose(projection.Radon((1, 16, 16), [0, 90]).forward(disk), torch.ones(1, 1, 2, 16).double())
    flat = projection.phase_retrieval((1, 4, 4))
    item = torch.rand(1, 1, 4, 4)
    assert torch.allclose(flat.forward(item), flat.forward(-item))
    for angle in (0, 45, 90):
        assert float(grid.motion_kernel(7, angle).sum()) == pytest.approx(1.0)


def test_measurements_are_taken_as_users_have_them():
    mask = operator_of("inpaint", IMAGE, {"missing": 0.5})
    x = np.random.default_rng(0).random((3, 12, 8))
    whole, known = mask.taken(x), mask.forward(torch.from_numpy(x)[:, None].float())
    assert torch.equal(whole, known) and torch.equal(mask.taken(known), known)
    holes = np.where(mask.mask[0].numpy(), x, np.nan)
    assert torch.equal(mask.taken(holes), known)
    assert operator_of("superres", IMAGE).taken(np.zeros((3, 2))).shape == (1, 1, 3, 2)
    for wrong in (np.zeros((3, 3)), np.zeros(0), np.full((1, 3, 2), np.inf)):
        with pytest.raises(DataError):
            operator_of("superres", IMAGE).taken(wrong)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("blurr", {}), ("blur", {"sgima": 1}), ("blur", {"sigma": 0}), ("superres", {"factor": 5}),
        ("sensing", {"m": 0}), ("mri", {"acceleration": 0.5}), ("inpaint", {"missing": 1.5}), ("motion", {"length": 0}),
        ("grey", {}), (3, {}), (lambda x: x, {"sigma": 1}), (grid.Identity((3,)), {}), (np.eye(4), {}),
    ],
)  # fmt: skip
def test_wrong_operators_are_refused(name, options):
    with pytest.raises(UsageError):
        operator_of(name, IMAGE, options)


def test_noise():
    assert Noise.of(0.1) == Noise(0.1) and Noise.of("poisson(50)") == Noise(gain=50.0) and Noise.of("unknown").unknown
    for wrong in (-1, "loud", float("nan"), "poisson(0)"):
        with pytest.raises(UsageError):
            Noise.of(wrong)
    mean = torch.full((2000, 4), 0.3)
    counts = Noise(gain=50.0).added(mean, torch.zeros_like(mean), 0)
    assert float(counts.mean()) == pytest.approx(0.3, abs=0.01)
    assert float(counts.var()) == pytest.approx(0.3 / 50, rel=0.1)
    grid_of_means = torch.linspace(0.1, 0.6, 51)
    values = [float(Noise(gain=50.0).log_likelihood(counts, torch.full_like(mean, m)).sum()) for m in grid_of_means]
    assert float(grid_of_means[int(np.argmax(values))]) == pytest.approx(0.3, abs=0.011)
    assert set(OPERATORS) == {
        "denoise",
        "inpaint",
        "superres",
        "grey",
        "blur",
        "motion",
        "sensing",
        "mri",
        "tomography",
        "phase",
    }


class Doubled(Operator):
    """Twice an item, with any adjoint."""

    def __init__(self, factor):
        super().__init__(IMAGE)
        self.factor = factor

    def forward(self, x):
        return 2 * x

    def adjoint(self, y):
        return self.factor * y if self.factor else y.flatten(1)


class Square(Operator):
    def forward(self, x):
        return x.square()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Doubled(3), "transpose"),
        (Doubled(0), "adjoint must return items"),
        (Square(IMAGE), "must be linear"),
        (lambda x: x.tolist(), "return a tensor"),
        (lambda x: x.sum(), "one measurement for each"),
        (lambda x: x @ torch.zeros(3, 3), "must take items of shape"),
        (lambda x: (x - 2).log(), "finite numbers"),
        (lambda x: x + torch.rand_like(x), "not be random"),
        (lambda x: (x > 0.5).float(), "differentiable"),
    ],
)
def test_operators_that_are_not_what_they_state_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        operator_of(given, IMAGE)
    assert operator_of(Doubled(2), IMAGE).linear and not operator_of(lambda x: x.square(), IMAGE).linear


def test_measurements_are_real_or_complex_as_the_operator_is():
    mri = operator_of("mri", IMAGE, {"acceleration": 2})
    assert mri.taken(np.zeros((1, *mri.out))).is_complex()
    with pytest.raises(DataError, match="are real"):
        operator_of("denoise", IMAGE).taken(np.zeros(IMAGE) + 1j)
    for wrong in ("abc", [["a"]], None, object()):
        with pytest.raises(DataError):
            operator_of("denoise", IMAGE).taken(wrong)
        with pytest.raises(DataError):
            operator_of("inpaint", IMAGE).taken(wrong)
    with pytest.raises(UsageError, match="takes images"):
        operator_of("mri", (3,))


def test_functions_that_add_up_are_linear_and_others_are_not():
    assert operator_of(lambda x: x[..., ::2].cumsum(-1), IMAGE).linear
    for other in (
        lambda x: x.clamp(0, 1),
        lambda x: x + 1,
        lambda x: x.abs(),
        lambda x: (x + 1e-3).clamp(min=0).sqrt(),
    ):
        assert not operator_of(other, IMAGE).linear


def test_k_spaces_are_taken_whole_and_of_all_coils():
    x = torch.rand(3, *IMAGE)
    coils = projection.smooth_coils(IMAGE[1:], 2)
    for options in ({}, {"coils": coils.numpy()}):
        some = operator_of("mri", IMAGE, {"acceleration": 2, **options})
        full = operator_of("mri", IMAGE, {"mask": np.ones(IMAGE[1:], bool), **options})
        whole = full.forward(x).reshape(3, -1, *IMAGE[1:])
        assert torch.allclose(some.taken(whole), some.forward(x))
        assert torch.allclose(some.taken(torch.view_as_real(whole)), some.forward(x))
    with pytest.raises(DataError, match="of 2 coils"):
        some.taken(whole[:, :1])
    columns = np.arange(8) % 2 == 0
    assert operator_of("mri", IMAGE, {"mask": columns}).out == (1, 48)


def test_centred_phases_are_those_of_scanners():
    x = torch.rand(2, *IMAGE, dtype=torch.float64)
    made = operator_of("mri", IMAGE, {"acceleration": 1, "centred": True})
    shifted = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x.numpy(), (-2, -1)), norm="ortho"), (-2, -1))
    assert np.allclose(made.forward(x).numpy().reshape(shifted.shape), shifted)
    assert adjoint_gap(made) < 1e-13 and torch.allclose(made.adjoint(made.forward(x)), x)


def test_operators_have_arrays_of_users():
    kernel, matrix = np.ones((3, 3)) / 9, np.random.default_rng(0).normal(size=(5, 96))
    x = torch.rand(2, *IMAGE)
    assert torch.allclose(
        operator_of("blur", IMAGE, {"kernel": kernel}).forward(x)[:, :, 1:-1, 1:-1],
        torch.nn.functional.avg_pool2d(x, 3, 1), atol=1e-6,
    )  # fmt: skip
    assert operator_of("sensing", IMAGE, {"matrix": matrix}).out == (5,)
    assert operator_of("phase", IMAGE, {"matrix": matrix}).out == (5,)
    assert operator_of("tomography", IMAGE, {"angles": [0.0, 45.0]}).out == (1, 2, 8)
    for wrong in ({"coils": 0}, {"coils": "three"}, {"coils": 2.5}):
        with pytest.raises(UsageError, match="coils must be"):
            operator_of("mri", IMAGE, wrong)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"sigma": torch.tensor([0.1])}, Noise(0.1)), ({"gain": torch.tensor(0.02)}, Noise(gain=50.0)),
        ({"sigma": 0.1, "gain": 0.1}, None), ({"gain": 0.1, "normalize": False}, None), ({}, None),
    ],
)  # fmt: skip
def test_physics_state_their_noise(model, expected):
    physics = type("Physics", (), {"noise_model": type("Some", (), model)()})()
    if expected is None:
        with pytest.raises(UsageError, match="noise model Some"):
            stated_noise(physics)
    else:
        found = Noise.of(stated_noise(physics))
        assert (found.sigma or found.gain) == pytest.approx(expected.sigma or expected.gain)
    assert stated_noise("blur") == stated_noise(np.eye(2)) == 0.05


ITEM = (1, 5, 6)
LINEAR_OF_ARRAYS = {
    "batches": lambda z: np.asarray(z)[:, 0] @ np.arange(12.0).reshape(6, 2),
    "one along all axes": lambda z: ndimage.gaussian_filter(z, 1.0),  # mixes the items of a batch
    "complex": lambda z: np.fft.fft2(z),
}


@pytest.mark.parametrize("name", LINEAR_OF_ARRAYS)
def test_linear_functions_of_arrays_are_operators_with_their_adjoint(name):
    function, x = LINEAR_OF_ARRAYS[name], np.random.default_rng(0).random((3, *ITEM))
    made = operator_of(function, ITEM)
    wanted = np.concatenate([function(one[None]) for one in x])
    assert made.linear and np.allclose(made.forward(torch.tensor(x)).numpy(), wanted, atol=1e-5)
    assert made.out == wanted.shape[1:] and adjoint_gap(made) < 1e-6


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda z: np.asarray(z) ** 2, "must be linear"),
        (lambda z: np.asarray(z) + np.random.default_rng().normal(size=z.shape), "must be linear"),
        (lambda z: np.asarray(z).sum(), "one measurement for each"),
        (lambda z: np.asarray(z) * np.nan, "finite"),
        (lambda z: z - z.mean(0, keepdim=True), "each item by itself"),
        (lambda z: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_functions_that_are_no_operators_are_refused_at_once(function, error):
    with pytest.raises(UsageError, match=error):
        operator_of(function, ITEM)


@pytest.mark.parametrize("form", [scipy.sparse.csr_matrix, aslinearoperator, pd.DataFrame, torch.from_numpy])
@pytest.mark.parametrize("factor", [1.0, 1j])
def test_a_matrix_in_any_form_is_the_same_operator(form, factor):
    dense = np.random.default_rng(0).normal(size=(5, 12)) * (1 + factor)
    made = operator_of(form(dense), (3, 4))
    x = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    y = made.forward(x)
    assert np.allclose(y.detach().numpy(), x.detach().numpy().reshape(2, -1) @ dense.T)
    assert made.linear and adjoint_gap(made) < 1e-12
    (slope,) = torch.autograd.grad(y.abs().square().sum(), x)
    assert torch.allclose(slope, 2 * made.adjoint(y))


def test_options_of_an_operator_are_of_their_type():
    for name, options in {"blur": {"sigma": "x"}, "superres": {"factor": 2.5}, "sensing": {"m": None}}.items():
        with pytest.raises(UsageError, match=f"{next(iter(options))} must be"):
            operator_of(name, (1, 8, 8), options)
