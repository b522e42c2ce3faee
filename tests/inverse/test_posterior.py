"""Restorations with trained runs: chosen by capability, checked against truth, shown, saved; the command line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import pofx
from pofx.cli.main import app
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.data.sources import load
from pofx.inverse.item_posterior import real_items
from pofx.inverse.noise import Noise
from pofx.inverse.operators.grid import Identity, Mask
from pofx.inverse.operators.named import operator_of
from pofx.inverse.posterior import methods_for
from pofx.inverse.restoration import Restoration, checked


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def gmm():
    options = {"components": 4, "covariance": "full", "ridge": 0.01}
    return pofx.fit("digits", "gmm", view={"represent": "unit"}, options=options, progress=False)


@pytest.fixture(scope="module")
def plane():
    """A bent cloud of points of the plane."""
    x = np.random.default_rng(0).standard_normal((300, 2))
    x[:, 1] += x[:, 0] ** 2
    return pofx.points(x)


@pytest.fixture(scope="module")
def diffusion():
    return pofx.fit("digits", "flow-matching", steps=20, width=16, depth=1, progress=False)


def test_a_mixture_answers_in_closed_form_and_is_calibrated(gmm, digits):
    made = pofx.posterior(gmm, None, "inpaint", 0.1, operator_options={"box": 4})
    assert made.method == "exact"
    found = made.check(digits.test.values[:60], draws=39)
    assert 0.85 < found.coverage[0.9][0] < 0.96 and found.psnr > found.sample_psnr + 1
    assert found.residual == pytest.approx(1.0, abs=0.1)
    assert found.to_json()["psnr_of_mean"] == found.psnr


def test_means_are_those_of_many_draws_and_seeds_hold(gmm, digits):
    y, truth = pofx.measure(gmm, digits.test.values[:3], "superres", 0.1, operator_options={"factor": 2})
    made = pofx.posterior(gmm, y, "superres", 0.1, operator_options={"factor": 2})
    few, more = made.sample(3, seed=4), made.sample(5, seed=4)
    assert np.array_equal(few.samples, more.samples[:, :3])
    assert few.samples.shape == (3, 3, 1, 8, 8) and few.items.shape == (9, 8, 8) and few.items.dtype == np.uint8
    alone = made.at(y[:1]).sample(3, seed=4)
    assert np.allclose(few.samples[:1], alone.samples, atol=1e-5)
    assert (few.psnr(truth) > 5).all()


def test_an_unknown_level_of_noise_is_found(gmm, digits):
    y, _ = pofx.measure(gmm, digits.test.values[:8], "denoise", 0.2)
    found = pofx.posterior(gmm, y, "denoise", "unknown").sample(19)
    known = pofx.posterior(gmm, y, "denoise", 0.2).sample(19)
    assert np.abs(found.mean - known.mean).mean() < 0.05
    assert found.level is not None and np.abs(found.level - 0.2).max() < 0.08
    assert found.residual.mean() == pytest.approx(1.0, abs=0.2)


def test_what_physics_of_another_library_masks_is_no_part_of_the_residual(gmm, digits):
    g = torch.Generator().manual_seed(0)
    seen = torch.rand(1, 8, 8, generator=g) > 0.5

    class Inpainting:
        def A(self, x, **named):
            return x * seen

        A_adjoint = A

    x = torch.from_numpy(digits.test.values[:6, None] / 16).float()
    y = seen * (x + 0.1 * torch.randn(x.shape, generator=g))
    assert pofx.posterior(gmm, y, Inpainting(), 0.1).sample(9).residual.mean() == pytest.approx(1.0, abs=0.15)


def test_poisson_noise_is_of_counts_alone(gmm, digits):
    with pytest.raises(UsageError, match="complex"):
        pofx.posterior(gmm, None, "mri", "poisson(50)")
    with pytest.raises(DataError, match="at least 0"):
        pofx.posterior(gmm, -np.ones((8, 8)), "denoise", "poisson(50)")
    with pytest.raises(DataError, match="at least 0"):
        pofx.measure(gmm, digits.test.values[:2], "sensing", "poisson(50)")


def test_operators_of_every_kind_have_a_posterior(gmm, digits):
    for operator, options in (("mri", {"coils": 2}), ("tomography", {"angles": 6}), ("sensing", {"m": 20})):
        y, truth = pofx.measure(gmm, digits.test.values[:2], operator, 0.05, operator_options=options)
        found = pofx.posterior(gmm, y, operator, 0.05, operator_options=options).sample(4)
        prior = gmm.sample(8, seed=1)
        far = np.square(real_items(gmm, prior).numpy().mean(0) - truth).mean()
        assert np.square(found.mean - truth).mean() < far
    y, truth = pofx.measure(gmm, digits.test.values[:2], "denoise", "poisson(60)")
    assert pofx.posterior(gmm, y, "denoise", "poisson(60)").method == "pigdm"
    y, truth = pofx.measure(gmm, digits.test.values[:1], "phase", 0.02, operator_options={"m": 200})
    made = pofx.posterior(gmm, y, "phase", 0.02, operator_options={"m": 200}, options={"steps": 10, "inner": 2})
    assert made.method == "split-gibbs" and made.sample(2).samples.shape == (1, 2, 1, 8, 8)


def test_a_denoiser_is_guided_by_every_method(diffusion, digits):
    y, _ = pofx.measure(diffusion, digits.test.values[:2], "blur", 0.1)
    made = pofx.posterior(diffusion, y, "blur", 0.1)
    assert made.method == "pigdm"
    able = methods_for(diffusion, made.operator, made.noise)
    with pytest.raises(UsageError, match="draws must be at least 19"):
        made.check(digits.test.values[:2], draws=3)
    assert pofx.posterior(diffusion, None, "sensing", 0.1, operator_options={"m": 12}).method == "mmps"
    assert pofx.posterior(diffusion, None, np.eye(64)[:30], 0.1).method == "pigdm"
    assert {"dps", "pigdm", "mmps", "ddrm", "diffpir", "red-diff", "daps", "pnp-flow", "split-gibbs", "twisted"} <= set(
        able
    )
    for name in able:
        if name not in ("hmc", "map"):
            few = {"steps": 3, "sweeps": 1} if name in ("split-gibbs", "twisted") else {"steps": 3}
            found = pofx.posterior(diffusion, y, "blur", 0.1, method=name, options=few).sample(2)
            assert found.samples.shape == (2, 2, 1, 8, 8) and np.isfinite(found.samples).all(), name
            assert found.evaluations > 0 and found.method == name
    free = pofx.posterior(diffusion, y, "blur", "unknown", options={"steps": 4, "inner": 2, "sweeps": 1}).sample(2)
    assert free.level is not None and (free.level > 0).all()


def test_guided_draws_lie_within_the_bounds_of_items(diffusion, digits):
    y, _ = pofx.measure(diffusion, digits.test.values[:2], "superres", 0.02, operator_options={"factor": 4})
    found = pofx.posterior(
        diffusion, y, "superres", 0.02, operator_options={"factor": 4}, method="mmps", options={"steps": 4}
    )
    samples = found.sample(3).samples
    assert samples.min() > -0.05 and samples.max() < 1.05


def test_methods_that_decompose_are_offered_where_they_can(gmm):
    able = methods_for(gmm, operator_of("superres", (1, 8, 8), {"factor": 2}), Noise(0.1))
    counts = methods_for(gmm, operator_of("superres", (1, 8, 8), {"factor": 2}), Noise(gain=100.0))
    large = methods_for(gmm, Identity((1, 64, 64)), Noise(0.1))
    for name in ("ddrm", "twisted"):
        assert name in able and name not in counts and name not in large


def test_large_pictures_are_restored_patch_by_patch():
    """Smooth fields, of which the run has seen patches only: hidden places follow from their neighbours."""
    noise = torch.randn(30, 1, 14, 18, generator=torch.Generator().manual_seed(0))
    fields = torch.nn.functional.avg_pool2d(noise, 3, 1).mul(0.5).add(0.5).clamp(0, 1)
    places = torch.nn.functional.unfold(fields[1:], 4, stride=2).transpose(1, 2).reshape(-1, 4, 4)
    options = {"components": 1, "covariance": "full", "ridge": 1e-3}
    images = pofx.images((255 * places).round().to(torch.uint8).numpy())
    run = pofx.fit(images, "gmm", view={"represent": "unit"}, options=options, progress=False)
    truth = fields[:1].numpy()
    operator = Mask((1, 12, 16), np.random.default_rng(0).random((12, 16)) > 0.3)
    made = pofx.posterior(run, operator.forward(fields[:1]), operator, 0.02, options={"steps": 12})
    assert made.method == "diffpir"
    found = made.sample(3)
    assert found.samples.shape == (1, 3, 1, 12, 16) and found.items.shape == (3, 12, 16)
    hidden = ~operator.mask.numpy()
    assert np.square(found.mean - truth)[:, hidden].mean() < 0.7 * truth[:, hidden].var()
    assert np.square(found.mean - truth)[:, ~hidden].mean() < 0.1 * truth[:, ~hidden].var()
    with pytest.raises(UsageError, match="at least"):
        pofx.posterior(run, None, Mask((1, 3, 3), np.ones((3, 3))))


def test_codes_are_searched_where_a_model_decodes(digits):
    vae = pofx.fit("digits", "vae", steps=60, width=32, latent=4, progress=False)
    y, truth = pofx.measure(vae, digits.test.values[:2], "superres", 0.1, operator_options={"factor": 2})
    made = pofx.posterior(vae, y, "superres", 0.1, operator_options={"factor": 2}, options={"moves": 1})
    assert made.method == "hmc"
    found = made.sample(6)
    drawn = real_items(vae, vae.sample(50, seed=0)).numpy()
    wild = np.square(drawn.reshape(50, 1, 8, 8) - truth[0]).mean()
    assert np.square(found.samples[0] - truth[0]).mean() < wild
    best = pofx.posterior(
        vae, y, "superres", 0.1, operator_options={"factor": 2}, method="map", options={"steps": 60}
    ).sample(3)
    assert best.draws == "point" and best.residual[:, 0].mean() < 4


def test_a_flow_is_its_own_posterior_and_a_gan_is_searched(plane):
    flow = pofx.fit(plane, "nice", steps=20, width=16, progress=False)
    y = np.array([[0.3]], np.float32)
    found = pofx.posterior(flow, y, np.array([[1.0, 0.0]]), 0.05, options={"moves": 1}).sample(60)
    assert found.draws == "exact" and abs(found.samples[..., 0].mean() - 0.3) < 0.05
    gan = pofx.fit(plane, "gan", steps=1, progress=False)
    assert pofx.posterior(gan, y, np.array([[1.0, 0.0]]), 0.05, options={"steps": 20}).method == "map"


def test_masks_are_completed_exactly_by_models_of_classes(digits):
    circuit = pofx.fit("digits", "circuit", steps=2, progress=False)
    mask = np.ones((8, 8), bool)
    mask[:, 4:] = False
    values = digits.test.values[:2]
    y, truth = pofx.measure(circuit, values, "inpaint", 0.0, operator_options={"mask": mask})
    found = pofx.posterior(circuit, y, "inpaint", 0.0, operator_options={"mask": mask}).sample(3)
    assert found.method == "complete" and found.draws == "exact"
    assert (found.items.reshape(2, 3, 8, 8)[..., mask] == values[:, None][..., mask]).all()
    made = pofx.fit("digits", "made", steps=2, progress=False)
    top = np.zeros((8, 8), bool)
    top[:3] = True
    y, _ = pofx.measure(made, values, "inpaint", 0.0, operator_options={"mask": top})
    found = pofx.posterior(made, y, "inpaint", 0.0, operator_options={"mask": top}).sample(2)
    assert (found.items[0, :3] == values[0, :3]).all()
    y, _ = pofx.measure(made, values, "inpaint", 0.0, operator_options={"mask": ~top})
    with pytest.raises(DataError, match="in their order"):
        pofx.posterior(made, y, "inpaint", 0.0, operator_options={"mask": ~top}).sample(2)


def test_intervals_of_few_draws_hold_what_they_state():
    rng = np.random.default_rng(0)
    for n in (19, 39):
        draws = rng.standard_normal((4000, n, 1)).astype(np.float32)
        found = Restoration(draws, None, draws[:, 0], np.ones((4000, n)), "x", "exact")
        assert found.coverage(rng.standard_normal((4000, 1))).mean() == pytest.approx(0.9, abs=0.02)
    with pytest.raises(UsageError, match="at least 19 draws"):
        Restoration(draws[:, :5], None, draws[:, 0], np.ones((4000, 5)), "x", "exact").interval(0.9)
    narrow = Restoration(0.2 * draws, None, draws[:, 0], np.ones((4000, 39)), "x", "exact")
    assert not checked(narrow, rng.standard_normal((4000, 1))).calibrated


def test_pictures_pages_and_files(gmm, digits, plane, tmp_path):
    y, truth = pofx.measure(gmm, digits.test.values[:2], "blur", 0.1)
    found = pofx.posterior(gmm, y, "blur", 0.1).sample(4)
    assert found.picture(tmp_path / "a.png", truth)[:4] == b"\x89PNG" and (tmp_path / "a.png").exists()
    assert "<img" in found._repr_html_() and "exact" in repr(found)
    with np.load(found.save(tmp_path / "a.npz")) as file:
        assert file["samples"].shape == (2, 4, 1, 8, 8)
    points = pofx.fit(plane, "gmm", steps=1, options={"components": 1}, progress=False)
    line = pofx.posterior(points, np.array([[0.1]]), np.array([[1.0, 0.0]]), 0.1).sample(30)
    assert line.picture()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: pofx.posterior(run, np.zeros((3, 3))), "measurements must have shape"),
        (lambda run: pofx.posterior(run, None, "denoise").sample(3), "measurements are missing"),
        (lambda run: pofx.posterior(run, np.zeros((8, 8)), "denoise").sample(0), "from 1 to .*got 0"),
        (lambda run: pofx.posterior(run, None, method="dsp"), "dsp"),
        (lambda run: pofx.posterior(run, None, method="complete"), "cannot use the method"),
        (lambda run: pofx.posterior(run, None, method="dps", options={"steps": -3}), "steps must be"),
        (lambda run: pofx.posterior(run, None, method="dps", options={"stpes": 3}), "did you mean steps"),
        (lambda run: pofx.posterior(run, None, options={"steps": 3}), "option of the method exact"),
        (lambda run: pofx.measure(run, np.zeros((1, 8, 8), np.uint8), noise="unknown"), "must be known"),
    ],
)
def test_wrong_requests_are_refused(call, message, gmm):
    with pytest.raises((UsageError, DataError, Unsupported), match=message):
        call(gmm)


def test_a_model_without_codes_or_scores_cannot_be_a_prior(plane):
    kde = pofx.fit(plane, "independent", steps=1, progress=False)
    with pytest.raises(Unsupported, match="cannot be the prior"):
        pofx.posterior(kde, None)


def test_the_command_line_restores(gmm, digits, tmp_path):
    folder = str(gmm.save(tmp_path / "run"))
    y, _ = pofx.measure(gmm, digits.test.values[:2], "blur", 0.1)
    np.savez(tmp_path / "y.npz", y=y)
    call = ["restore", folder, str(tmp_path / "y.npz"), "--operator", "blur", "--noise", "0.1", "-n", "4"]
    done = CliRunner().invoke(app, [*call, "--out", str(tmp_path / "r.png")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "r.png").exists() and "exact" in done.output
    call = ["restore", folder, "--simulate", "digits", "--items", "6", "--operator", "inpaint", "-o", "missing=0.5"]
    done = CliRunner().invoke(app, [*call, "-n", "19", "--out", str(tmp_path / "r.npz")])
    assert done.exit_code == 0, done.output
    assert "90% intervals hold" in done.output
    assert CliRunner().invoke(app, ["restore", folder]).exit_code != 0
    assert torch.is_grad_enabled()


def test_every_measurement_may_have_a_mask_of_its_own(gmm, digits):
    rng = np.random.default_rng(0)
    masks = rng.random((6, 8, 8)) < 0.5
    masks[3] = masks[1]
    y, truth = pofx.measure(gmm, digits.test.values[:6], "inpaint", 0.05, operator_options={"mask": masks})
    assert np.array_equal(np.isfinite(y[:, 0]), masks)
    made = pofx.posterior(gmm, y, "inpaint", 0.05, operator_options={"mask": masks})
    found = made.sample(19, seed=2)
    assert len(made.parts) == 5 and made.method == "exact" and found.draws == "exact"
    assert found.samples.shape == (6, 19, 1, 8, 8) and found.items.shape == (6 * 19, 8, 8)
    assert np.array_equal(found.items[19 * 2 : 19 * 3], made.parts[2].sample(19, seed=2 + 2 * 7919).items)
    assert np.abs(found.mean - truth)[masks[:, None]].mean() < 0.05 < np.abs(found.mean - truth)[~masks[:, None]].mean()
    assert found.residual == pytest.approx(np.ones((6, 19)), abs=0.5) and found.picture(None, truth)[:4] == b"\x89PNG"
    assert made.check(digits.test.values[10:16], draws=19).n == 6
    whole = made.at(list(truth)).sample(1)
    assert np.abs(whole.mean - truth)[masks[:, None]].mean() < 0.1
    with pytest.raises(DataError, match="a measurement for each of 6 operators"):
        pofx.posterior(gmm, y[:2], "inpaint", operator_options={"mask": masks})


def test_every_measurement_may_have_an_operator_of_its_own(gmm, digits):
    ours = [operator_of("superres", (1, 8, 8), {"factor": 2}), "denoise", lambda x: x[:, :, 2:]]
    y, truth = pofx.measure(gmm, digits.test.values[:3], ours, 0.05)
    assert [one.shape for one in y] == [(1, 4, 4), (1, 8, 8), (1, 6, 8)]
    found = pofx.posterior(gmm, y, ours, 0.05).sample(5)
    assert found.samples.shape == (3, 5, 1, 8, 8) and found.residual.max() < 2
    assert np.abs(found.mean[1] - truth[1]).mean() < 0.05
    kernels = np.ones((2, 3, 3)) / 9
    kernels[1] = np.eye(3) / 3
    y, _ = pofx.measure(gmm, digits.test.values[:2], "blur", 0.05, operator_options={"kernel": kernels})
    found = pofx.posterior(gmm, y, "blur", 0.05, operator_options={"kernel": kernels}).sample(2)
    assert found.measurement.shape == (2, 1, 8, 8) and found.residual.max() < 2
    with pytest.raises(UsageError, match="an operator for each measurement"):
        pofx.posterior(gmm, y, [])


def test_a_matrix_may_be_a_list_of_rows(plane):
    run = pofx.fit(plane, "gmm", options={"components": 1}, progress=False)
    found = pofx.posterior(run, [[1.0]], [[1.0, 1]], 0.1).sample(50)
    assert abs(found.samples.sum(-1).mean() - 1) < 0.2


def test_options_of_other_libraries_are_answered_by_ours(gmm):
    with pytest.raises(UsageError, match="it is operator here"):
        pofx.posterior(gmm, None, physics="blur")


def test_intervals_narrower_than_values_are_apart_test_nothing():
    rng, truth = np.random.default_rng(0), np.zeros((2, 4))
    samples = np.zeros((2, 39, 4), np.float32)
    samples[0] = rng.normal(size=(39, 4))
    both = Restoration(samples, None, truth, np.ones((2, 39)), "exact", "exact", resolution=1 / 16)
    assert np.isnan(both.coverage(truth)).tolist() == [False, True]
    assert checked(both, truth).coverage[0.9][0] == both.coverage(truth)[0]  # a constant item is no miss
    narrow = checked(replace(both, samples=0 * samples), truth).to_json()
    assert narrow["coverage"] == {} and narrow["calibrated"] is None


def test_draws_far_from_their_measurement_are_reported(gmm, digits):
    y, _ = pofx.measure(gmm, digits.test.values[:2], "blur", 0.1)
    with pytest.warns(UserWarning, match="deviations of the noise .* units of y"):
        pofx.posterior(gmm, (255 * y.clip(0, 1)).astype(np.uint8), "blur", 0.1).sample(2)
    assert np.array_equal(pofx.posterior(gmm, y, "blur", torch.tensor(0.1, dtype=torch.float64)).sample(2).samples,
                          pofx.posterior(gmm, y, "blur", 0.1).sample(2).samples)  # fmt: skip
    with pytest.raises(UsageError, match="noise must be a deviation") as found:
        pofx.posterior(gmm, y, "blur", np.full(y.shape, 0.1))
    assert len(str(found.value)) < 200


def test_numbers_that_are_nan_are_unknown_whatever_the_operator(gmm, digits):
    """Of an item itself they are a mask; each measurement may lack others."""
    for operator, options in (("denoise", {}), ("blur", {}), ("mri", {"coils": 2})):
        y, truth = pofx.measure(gmm, digits.test.values[:3], operator, 0.05, operator_options=options)
        whole = pofx.posterior(gmm, y, operator, 0.05, operator_options=options).sample(19)
        gaps = y.copy()
        gaps[0, ..., :2], gaps[1, ..., 3] = np.nan, np.nan
        made = pofx.posterior(gmm, gaps, operator, 0.05, operator_options=options)
        found = made.sample(19)
        assert len(made.parts) == 3 and made.method == "exact" and found.samples.shape == whole.samples.shape
        assert found.residual == pytest.approx(np.ones((3, 19)), abs=0.6)
        assert found.samples[0].std(0).mean() > 0.9 * whole.samples[0].std(0).mean()  # less is known
    mask = pofx.posterior(gmm, gaps[:1], "mri", 0.05, operator_options=options)
    assert mask.operator.known.sum() < mask.operator.known.numel() and mask.at(y[:1]).sample(2).residual.max() < 2
    plain = pofx.posterior(gmm, np.where(np.arange(64).reshape(1, 1, 8, 8) < 30, np.nan, 0.2), "denoise", 0.05)
    assert isinstance(plain.operator, Mask) and int(plain.operator.mask.sum()) == 34
    assert int(pofx.posterior(gmm, np.where(np.eye(8) > 0, 0.2, np.nan), "inpaint").operator.mask.sum()) == 8
    with pytest.raises(DataError, match="measurement 0 has no number that is known"):
        pofx.posterior(gmm, np.full((1, 8, 8), np.nan))
    with pytest.raises(DataError, match="infinite values"):
        pofx.posterior(gmm, np.full((1, 8, 8), np.inf))
    with pytest.raises(DataError, match="measurements must have shape"):
        pofx.posterior(gmm, np.full((3, 3), np.nan), "blur")


def test_a_mixture_is_walked_through_where_nothing_is_closed(plane):
    """By name, with the posterior of the closed form; of noise and operators that have none, too."""
    run = pofx.fit(plane, "gmm", options={"components": 2, "covariance": "full"}, progress=False)
    y, matrix = np.array([[0.8]]), np.array([[0.0, 1.0]])
    exact = pofx.posterior(run, y, matrix, 0.2).sample(2000)
    walked = pofx.posterior(run, y, matrix, 0.2, method="hmc").sample(400)
    assert walked.draws == "exact"
    assert walked.mean == pytest.approx(exact.mean, abs=0.12)
    assert walked.samples.std(1) == pytest.approx(exact.samples.std(1), rel=0.15)
    bent = pofx.posterior(run, [[1.0]], lambda x: x[:, :1].square(), 0.1, method="hmc", options={"moves": 2}).sample(
        200
    )
    assert np.abs(np.abs(bent.samples[..., 0]) - 1).mean() < 0.12 and np.ptp(np.sign(bent.samples[..., 0])) == 2
