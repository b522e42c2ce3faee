"""Editing: known parts are exact, nothing known is plain sampling, rough items stay near, means are preserved."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import pofx
from pofx.apps.edit import edit, pixels
from pofx.cli.main import app
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.data.sources import whole
from pofx.inverse.walk import levels
from pofx.maths.editing import completed, consistent, inpainted, path_of, reduced
from pofx.maths.paths import PATHS
from pofx.maths.samplers import Walk, ddim, times_of
from pofx.represent.image import Levels


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return pofx.fit("digits", "flow-matching", steps=3, width=16, depth=1, progress=False, out=folder / "fm")


@pytest.fixture(scope="module")
def items():
    from pofx.data.sources import load

    return load("digits").test.values[:6]


def correlated(path, rho=0.8):
    """E[x | x_t] of two standard normals of correlation rho."""
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]])

    def denoise(x, t):
        p = path(t)
        gain = p.alpha * covariance @ torch.linalg.inv(p.alpha**2 * covariance + p.sigma**2 * torch.eye(2))
        return x @ gain.T

    return denoise


def test_the_new_part_follows_from_the_known_one():
    path, n, rho = PATHS["cosine"], 8000, 0.8
    torch.manual_seed(0)
    known = torch.randn(n, 2)
    mask = torch.tensor([True, False]).expand(n, 2)
    walk = Walk(path, times_of(path, 40), lambda: torch.randn(n, 2), eta=1.0)
    out = inpainted(correlated(path), torch.randn(n, 2), known, mask, walk, lambda: torch.randn(n, 2), repeats=8)
    assert torch.equal(out[:, 0], known[:, 0])
    slope = float((out[:, 0] * out[:, 1]).mean() / out[:, 0].square().mean())
    assert slope == pytest.approx(rho, abs=0.06)
    assert float((out[:, 1] - rho * out[:, 0]).std()) == pytest.approx((1 - rho**2) ** 0.5, rel=0.15)


MEANS = torch.tensor([[1.2, -0.5, 1.3, -1.0], [-1.0, 1.1, -1.4, 0.7], [0.2, -0.4, 0.3, 1.2]])
SHARES, SPREAD = torch.tensor([0.5, 0.3, 0.2]), 0.35


def mixture(x, s):
    """E[x | x + s noise] of three normals."""
    total = SPREAD**2 + s * s
    fit = SHARES.log() - 0.5 * (x[:, None] - MEANS).square().sum(-1) / total
    posterior = (SPREAD**2 * x[:, None] + s * s * MEANS) / total
    return (fit.softmax(1)[..., None] * posterior).sum(1)


def test_particles_draw_the_exact_posterior_of_a_mixture():
    known, mask = torch.tensor([0.15, 0.25, 0.0, 0.0]), torch.tensor([True, True, False, False])
    fit = SHARES.log() - 0.5 * (known[:2] - MEANS[:, :2]).square().sum(1) / SPREAD**2
    exact = fit.softmax(0)
    torch.manual_seed(0)

    def drawn(particles, n=1500):
        rows = (n * particles, 4)
        x = completed(mixture, known.expand(rows), mask.expand(rows), levels(30), lambda: torch.randn(rows),
                      lambda: torch.rand(n * particles, 1), particles)  # fmt: skip
        assert x.shape == (n, 4) and torch.equal(x[:, :2], known[:2].expand(n, 2))
        near = (x[:, None, 2:] - MEANS[:, 2:]).square().sum(-1).argmin(1)
        inside = (x[near == 0, 2:] - MEANS[0, 2:]).std(0)
        return 0.5 * float((torch.bincount(near, minlength=3) / n - exact).abs().sum()), inside

    alone, _ = drawn(1)
    many, inside = drawn(16)
    assert many < 0.06 and many < 0.5 * alone
    assert inside.tolist() == pytest.approx([SPREAD, SPREAD], rel=0.25)


def test_nothing_known_is_plain_sampling_and_all_known_comes_back():
    path = PATHS["linear"]
    known, start = torch.randn(3, 2), torch.randn(3, 2)
    noises = [torch.randn(3, 2) for _ in range(20)]

    def walk():
        left = iter(noises)
        return Walk(path, times_of(path, 9), lambda: next(left), eta=1.0)

    other = lambda: torch.randn(3, 2)  # noqa: E731
    nothing, everything = torch.zeros(3, 2, dtype=torch.bool), torch.ones(3, 2, dtype=torch.bool)
    plain = ddim(correlated(path), start, walk())
    assert torch.equal(inpainted(correlated(path), start, known, nothing, walk(), other), plain)
    assert torch.equal(inpainted(correlated(path), start, known, everything, walk(), other), known)


def test_a_projected_estimate_has_the_means_of_blocks():
    low = torch.randn(2, 3, 4, 2)
    found = consistent(lambda x, t: torch.tanh(x), low, 2)(torch.randn(2, 3, 8, 4), torch.tensor(0.5))
    assert torch.allclose(reduced(found, 2), low, atol=1e-5)


def test_coloured_items_have_the_means_of_their_channels():
    low = torch.randn(2, 1, 8, 4)
    found = consistent(lambda x, t: torch.tanh(x), low, 1)(torch.randn(2, 3, 8, 4), torch.tensor(0.5))
    assert torch.allclose(found.mean(1, keepdim=True), low, atol=1e-5)
    grey = np.random.default_rng(0).integers(60, 200, (3, 8, 8, 1), np.uint8).repeat(3, 3)
    colours = pofx.images(np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3), np.uint8))
    run = pofx.fit(colours, "flow-matching", steps=2, width=16, depth=1, progress=False)
    drawn = edit(run, grey, colour=True, steps=4).astype(float)
    inner = ((drawn > 0) & (drawn < 255)).all(-1)
    assert inner.mean() > 0.5 and np.abs(drawn.mean(-1) - grey[..., 0])[inner].max() <= 1.0
    assert drawn.std(-1).mean() > 5


def test_items_of_another_domain_have_the_same_codes(run, items):
    other = pofx.fit("digits", "flow-matching", steps=5, seed=1, width=16, depth=1, progress=False)
    found = edit(run, items, into=other)
    view = other.representation
    wanted = other.model.decode(run.encode(items)) if isinstance(run.encode(items), torch.Tensor) else None
    assert found.shape == items.shape and found.dtype == items.dtype
    if wanted is not None:
        assert np.array_equal(found, view.items(view.decode(wanted)))
    same = edit(run, items, into=run)
    assert np.abs(same.astype(float) - items).mean() < 0.5
    with pytest.raises(Unsupported, match="no flow to noise"):
        edit(run, items, into=pofx.fit("digits", "kde", steps=1, progress=False))
    wide = pofx.fit(pofx.images(np.zeros((20, 4, 4), np.uint8)), "flow-matching", steps=1, width=16, depth=1,
                    progress=False)  # fmt: skip
    with pytest.raises(UsageError, match="events of this one"):
        edit(run, items, into=wide)


def test_a_schedule_is_a_path(run):
    path = path_of(run.model.schedule)
    point = path(torch.tensor(0.3))
    assert point.alpha.shape == point.sigma.shape and float(point.alpha.flatten()[0]) == pytest.approx(0.7)


def test_known_pixels_are_exact_and_new_ones_vary(run, items):
    mask = np.zeros(items.shape[1:3], dtype=bool)
    mask[:, 4:] = True
    first, second = (edit(run, items, mask=mask, steps=5, repeats=2, particles=0, seed=s) for s in (0, 1))
    assert first.shape == items.shape and first.dtype == items.dtype
    assert np.array_equal(first[:, ~mask], items[:, ~mask])
    assert not np.array_equal(first[:, mask], second[:, mask])
    assert np.array_equal(first, edit(run, items, mask=mask, steps=5, repeats=2, particles=0, seed=0))


def test_particles_know_pixels_exactly_whatever_the_batch(run, items):
    mask = np.zeros(items.shape[1:3], dtype=bool)
    mask[:, 4:] = True
    first, second = (edit(run, items, mask=mask, steps=4, seed=s) for s in (0, 1))
    assert first.shape == items.shape and first.dtype == items.dtype
    assert np.array_equal(first[:, ~mask], items[:, ~mask])
    assert not np.array_equal(first[:, mask], second[:, mask])
    alone = edit(run, items[:1], mask=mask, steps=4, seed=0)
    assert np.abs(alone[0].astype(float) - first[0]).max() <= 1
    assert np.array_equal(edit(run, items, mask=np.zeros_like(mask), steps=3), items)


def test_a_condition_that_is_not_stated_is_none(items):
    run = pofx.fit("digits", "flow-matching", condition="label", steps=3, width=16, depth=1, progress=False)
    seen = []
    plain = run.model.denoise

    def denoise(x, t, condition=None):
        seen.append(condition)
        return plain(x, t, condition)

    run.model.denoise = denoise
    edit(run, items[:2], strength=0.5, steps=2)
    assert seen and all(condition is None for condition in seen)
    seen.clear()
    edit(run, items[:2], strength=0.5, steps=2, condition=[3, 5])
    assert seen and all(condition.tolist() == [3, 5] for condition in seen)


def test_a_denoiser_without_a_gradient_is_edited_too(run, items):
    mask = np.zeros(items.shape[1:3], dtype=bool)
    mask[:, 4:] = True
    guided = pofx.guided(run, lambda x: x.mean((1, 2, 3)))
    found = edit(guided, items[:2], mask=mask, steps=3)
    assert np.array_equal(found[:, ~mask], items[:2][:, ~mask])


def test_rough_items_stay_nearer_the_less_noise_they_get(run, items):
    near, far = (edit(run, items, strength=s, steps=8).astype(float) for s in (0.05, 1.0))
    assert abs(near - items).mean() < abs(far - items).mean()
    drawn = edit(run, items, enlarge=2, steps=4)
    assert drawn.shape == items.shape
    blocks = items.reshape(-1, 4, 2, 4, 2)[:, :, 0, :, 0]  # small items are the means of blocks
    whole = blocks.repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(edit(run, blocks, enlarge=2, steps=4), edit(run, whole, enlarge=2, steps=4))


def test_strokes_change_what_is_painted_alone_and_stay_near_the_draft(run, items):
    mask = np.zeros(items.shape[1:3], dtype=bool)
    mask[2:6, 2:6] = True
    draft = items.copy()
    draft[:, 2:6, 2:6] = 16
    near, far = (edit(run, draft, mask=mask, strength=s, steps=8, repeats=1) for s in (0.05, 1.0))
    assert np.array_equal(near[:, ~mask], items[:, ~mask]) and not np.array_equal(near, draft)
    assert abs(near.astype(float) - draft).mean() < abs(far.astype(float) - draft).mean()


def test_pictures_continue_beyond_their_edges(run, items):
    found = edit(run, items[:2], beyond=(0, 2, 3, 5), steps=4, repeats=1)
    assert found.shape == (2, 10, 16) and found.dtype == items.dtype
    assert np.array_equal(found[:, :8, 3:11], items[:2]) and found[:, 8:].std() > 0
    assert np.array_equal(edit(run, items[:2], beyond=(0, 0, 0, 0), steps=2), items[:2])
    labels = pofx.fit("digits", "flow-matching", steps=2, width=8, depth=1, condition="label", progress=False)
    assert edit(labels, items[:2], beyond=(1, 0, 0, 1), condition=[3, 4], steps=2).shape == (2, 9, 9)
    with pytest.raises(Unsupported, match="pictures"):
        edit(pofx.fit("moons", "flow-matching", steps=2, progress=False), [[0.0, 1.0]], beyond=(1, 1, 1, 1))


def test_patches_that_do_not_cross_edges_cover_all_places_and_average():
    from pofx.inverse.tiled import Tiled

    model = pofx.fit("digits", "flow-matching", steps=1, width=8, depth=1, progress=False).model
    model.denoise = lambda x, t, condition=None: 2 * x
    tiled, x = Tiled(model, (1, 13, 8), joined=False), torch.randn(2, 1, 13, 8)
    for _ in range(9):
        assert torch.allclose(tiled.denoise(x, torch.tensor(0.5)), 2 * x, atol=1e-6)


def test_a_path_begins_and_ends_at_its_items(run, items):
    found = edit(run, items[:3], toward=items[3:6], stops=5, strength=0.3, steps=6)
    assert found.shape == (15, 8, 8)
    assert np.array_equal(found[0::5], items[:3]) and np.array_equal(found[4::5], items[3:6])
    steps = np.abs(np.diff(found[:5].astype(float), axis=0)).mean((1, 2))
    assert steps.max() < abs(items[0].astype(float) - items[3]).mean() + 2  # no jump, since all share their noise
    with pytest.raises(DataError, match="pairs"):
        edit(run, items[:3], toward=items[:2])


def test_a_picture_file_is_edited_in_the_size_and_levels_of_the_run(run, tmp_path):
    from PIL import Image

    picture, mask = tmp_path / "large.png", tmp_path / "mask.png"
    Image.fromarray(np.full((40, 40, 3), 255, np.uint8)).save(picture)
    painted = np.zeros((16, 16), np.uint8)
    painted[:, 8:] = 255
    Image.fromarray(painted).save(mask)
    run.save(tmp_path / "run")
    out = tmp_path / "edited.npy"
    called = ["edit", str(tmp_path / "run"), str(picture), "--mask", str(mask), "--steps", "3", "--out", str(out)]
    found = CliRunner().invoke(app, called)
    assert found.exit_code == 0, found.output
    drawn = np.load(out)
    assert drawn.shape == (1, 8, 8) and (drawn[0, :, :4] == 16).all()
    more = [["--beyond", "2"], ["--toward", str(picture), "--stops", "3"], ["--strength", "0.5"]]
    for options in more:
        found = CliRunner().invoke(app, [*called[:3], *options, "--steps", "2", "--out", str(tmp_path / "more.png")])
        assert found.exit_code == 0, found.output
    several = CliRunner().invoke(app, [*called, "-n", "3"])
    assert "3 items drawn" in several.output and len(np.unique(np.load(out), axis=0)) == 3  # of one picture
    for beyond in (["--beyond", "1,2"], ["--beyond", "1", "--split", "test"]):
        wrong = CliRunner().invoke(app, [*called[:3], *beyond, "--out", str(out)])
        assert isinstance(wrong.exception, UsageError)


def test_impossible_edits_are_refused(run, items):
    for wrong in ({}, {"mask": np.ones((8, 8)), "enlarge": 2}, {"strength": 0.0}, {"enlarge": 2, "strength": 0.5},
                  {"colour": True, "enlarge": 2}):  # fmt: skip
        with pytest.raises(UsageError):
            edit(run, items, **wrong)
    with pytest.raises(DataError):
        edit(run, items, mask=np.ones((3, 3)))
    with pytest.raises(DataError):
        edit(run, items, enlarge=3)
    with pytest.raises(DataError, match="several channels"):
        edit(run, items, colour=True)
    with pytest.raises(Unsupported):
        edit(pofx.fit("digits", "kde", steps=1, progress=False), items, strength=0.5)


def test_models_of_codes_are_edited_through_what_they_decode_to(items):
    first = pofx.fit("digits", "vae", steps=2, progress=False, width=16, latent=4)
    latent = pofx.fit("digits", "flow-matching", on=first, steps=2, progress=False, width=16, depth=1)
    new = np.zeros((8, 8), dtype=bool)
    new[:, 4:] = True
    found = edit(latent, items[:2], mask=new, steps=2)
    assert (found[:, ~new] == items[:2][:, ~new]).all() and (found[:, new] != items[:2][:, new]).any()
    with pytest.raises(Unsupported, match="codes alone"):
        edit(latent, items[:2], mask=new, strength=0.5)


def test_each_item_may_have_a_mask_of_its_own(items):
    made = pofx.fit("digits", "gan", steps=1, width=8, progress=False)
    new = np.random.default_rng(0).random((3, 8, 8)) < 0.5
    found = edit(made, items[:3], mask=new)
    assert found.shape == (3, 8, 8) and (found[~new] == items[:3][~new]).all() and (found != items[:3]).any()


def test_any_prior_draws_what_is_under_a_mask(items):
    """A GAN by search, an autoregressive model by completing a beginning."""
    new = np.zeros((8, 8), dtype=bool)
    new[5:] = True
    small = {"gan": {"width": 8}, "gpt": {"width": 8, "layers": 1, "heads": 1}}
    for name, options in small.items():
        made = pofx.fit("digits", name, steps=1, progress=False, **options)
        found = edit(made, items[:1], mask=new)
        assert (found[:, ~new] == items[:1][:, ~new]).all() and found.shape == (1, 8, 8)
        if name != "gpt":
            assert edit(made, items[:1], enlarge=4).shape == (1, 8, 8)
    with pytest.raises(Unsupported):
        edit(pofx.fit("digits", "dbn", steps=1, hidden=4, progress=False), items[:1], mask=new)


def test_a_half_of_clips_is_that_of_every_frame_and_students_read_data_as_their_teachers(tmp_path):
    clips = np.random.default_rng(0).integers(0, 2, (20, 3, 4, 6)).astype(np.uint8)
    np.savez(tmp_path / "clips.npz", x=clips)
    called = ["train", str(tmp_path / "clips.npz"), "-o", "kind=video", "--model", "flow-matching", "-o", "width=8"]
    done = CliRunner().invoke(app, [*called, "-o", "depth=1", "--steps", "2", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, (done.output, done.exception)
    called = ["edit", str(tmp_path / "run"), str(tmp_path / "clips.npz"), "--new", "right", "-n", "2", "--steps", "2"]
    done = CliRunner().invoke(app, [*called, "--out", str(tmp_path / "out.npy")])
    assert done.exit_code == 0, (done.output, done.exception)
    drawn = np.load(tmp_path / "out.npy")
    assert (drawn[..., :3] == clips[:2, ..., :3]).all() and drawn.shape == (2, 3, 4, 6)
    pofx.distill(str(tmp_path / "run"), steps=1, progress=False)


def test_the_command_edits_pictures_without_the_labels_of_the_run_and_masks_of_arrays(items, tmp_path):
    given = pofx.fit("digits", "flow-matching", steps=5, width=16, depth=1, condition="label", progress=False)
    given.save(tmp_path / "run")
    np.save(tmp_path / "x.npy", items[:2])
    np.save(tmp_path / "mask.npy", np.broadcast_to(np.arange(8) > 4, (8, 8)))
    called = [
        "edit",
        str(tmp_path / "run"),
        str(tmp_path / "x.npy"),
        "--mask",
        str(tmp_path / "mask.npy"),
        "--steps",
        "2",
    ]
    found = CliRunner().invoke(app, [*called, "--out", str(tmp_path / "out.npy")])
    assert found.exit_code == 0, (found.output, found.exception)
    assert (np.load(tmp_path / "out.npy")[:, :, :5] == items[:2, :, :5]).all()


@pytest.mark.parametrize(("shape", "sides"), [((5, 7), (5, 7)), ((5, 7, 3), (5, 7, 3)), ((5, 7, 1), (5, 7, 1))])
def test_a_picture_is_made_as_items_are_without_a_draw_which_may_need_a_condition(shape, sides):
    view = Levels((*shape[2:], 5, 7) if shape[2:] else (1, 5, 7), 5, len(shape) == 2)
    run = SimpleNamespace(representation=view, card={"data": {"facts": {"levels": 5}}})
    found = pixels(run, np.full((20, 28), 255, np.uint8))
    assert found.shape == sides and found.min() == found.max() == 4


def test_the_command_writes_pictures(run, tmp_path):
    folder = tmp_path / "run"
    run.save(folder)
    out = tmp_path / "edited.png"
    called = ["edit", str(folder), "digits", "--new", "right", "-n", "4", "--steps", "3", "--out", str(out)]
    found = CliRunner().invoke(app, called)
    assert found.exit_code == 0, found.output
    assert out.exists()


@pytest.mark.parametrize(
    ("change", "sides"), [("--new right", (8, 8)), ("--enlarge 2", (8, 8)), ("--beyond 0,0,0,4", (8, 12))]
)
def test_a_picture_shows_what_was_given_beside_each_item(run, tmp_path, change, sides):
    run.save(tmp_path / "run")
    called = ["edit", str(tmp_path / "run"), "digits", *change.split(), "-n", "3", "--steps", "2", "--beside", "--out"]
    found = CliRunner().invoke(app, [*called, str(tmp_path / "edited.png")])
    assert found.exit_code == 0, (found.output, found.exception)
    sheet = np.asarray(Image.open(tmp_path / "edited.png"))
    height, width = (side + 1 for side in sides)
    scale = sheet.shape[1] // (6 * width + 1)  # three pairs in a row
    given = [sheet[::scale, ::scale][1:height, 2 * i * width + 1 :][:, : width - 1] for i in range(3)]
    shown = np.round(whole("digits").values[:3] * (255 / 16))
    for left, item in zip(given, shown, strict=True):
        if change.startswith("--enlarge"):
            assert (left[::2, ::2] == left[1::2, 1::2]).all() and abs(left.mean() - item.mean()) < 9
        else:
            known = left[:, : 4 if "right" in change else 8]
            assert (known == item[:, : known.shape[1]]).all() and (left[:, known.shape[1] :] == 128).all()
    found = CliRunner().invoke(app, [*called, str(tmp_path / "edited.npz")])
    assert found.exit_code != 0 and "--out FILE.png" in str(found.exception)
    found = CliRunner().invoke(app, [*called, str(tmp_path / "edited.png"), "--toward", "digits"])
    assert found.exit_code != 0 and "--toward" in str(found.exception)


@pytest.mark.parametrize("name", ["circuit", "masked-diffusion", pytest.param("vae", marks=pytest.mark.slow)])
def test_models_of_any_subset_draw_what_is_under_a_mask_or_follows_a_beginning(name, items):
    small = {"circuit": {"states": 4}, "masked-diffusion": {"width": 32, "layers": 1}, "vae": {"width": 32}}[name]
    run = pofx.fit("digits", name, steps=3, progress=False, **small)
    mask = np.zeros(items.shape[1:3], dtype=bool)
    mask[2:5, 3:] = True
    first, second = (edit(run, items, mask=mask, seed=s) for s in (0, 1))
    assert first.shape == items.shape and first.dtype == items.dtype
    assert np.array_equal(first[:, ~mask], items[:, ~mask]) and not np.array_equal(first, second)
    assert np.array_equal(first, edit(run, items, mask=mask, seed=0))
    with pytest.raises(Unsupported, match="does not denoise"):
        edit(run, items, strength=0.5)
    begun = run.sample(5, prefix=items[:1, :3], seed=0)
    assert np.array_equal(begun[:, :3], np.repeat(items[:1, :3], 5, 0)) and len({x.tobytes() for x in begun}) > 1
