"""Laws of stored artifacts: what is read is what was saved, or an error of pofx within bounded time and memory."""

import json
import os
import warnings

import numpy as np
import pytest
import torch

import pofx
from pofx import storage
from pofx.artifact import Artifact
from pofx.core import config
from pofx.core.errors import CorruptError, UsageError, WriteError
from pofx.core.files import digest, read_json, read_tensors, sha256, write_tensors
from pofx.represent.choose import choose

POINTS = np.random.default_rng(0).normal(size=(20, 2)) + [3.0, -1.0]


def artifact(name="maf", seed=0, **card) -> Artifact:
    row = config.entry(name)
    view = choose(pofx.points(POINTS), row.model)
    torch.manual_seed(seed)
    model = config.build(name, view.event, **row.model.small).eval()
    with torch.no_grad():
        for p in model.parameters():  # many begin at zero
            p.add_(0.1 * torch.randn(p.shape))
    return Artifact(view, model, name, card)


@pytest.fixture
def folder(tmp_path):
    return artifact(note="é", label_names=None).save(tmp_path / "run")


def edit(folder, change, seal=True):
    """Change the content of artifact.json; with `seal` as an attacker who knows the hash would."""
    plain = read_json(folder / storage.FILE)
    change(plain)
    if seal and "hash" in plain:
        plain["hash"] = digest({k: v for k, v in plain.items() if k != "hash"})
    (folder / storage.FILE).write_text(json.dumps(plain))


def test_what_was_saved_is_loaded(folder):
    assert np.array_equal(pofx.load(folder).sample(5), artifact().sample(5))
    assert pofx.load(folder).card["note"] == "é"
    assert {p.name[:8] for p in folder.iterdir()} == {"artifact", "weights-"}
    artifact(seed=1).save(folder)
    assert np.array_equal(pofx.load(folder).sample(5), artifact(seed=1).sample(5))
    assert not np.array_equal(pofx.load(folder).sample(5), artifact().sample(5))
    assert len(list(folder.iterdir())) == 2, "the weights of the previous artifact are removed"


def test_every_change_of_the_description_is_noticed(folder):
    plain = read_json(folder / storage.FILE)
    for path in (["representation", "options", "mean", 0], ["model", "options", "dropout"], ["card", "note"], ["pofx"]):

        def change(plain, path=path):
            for key in path[:-1]:
                plain = plain[key]
            plain[path[-1]] = 0.125

        edit(folder, change, seal=False)
        with pytest.raises(CorruptError, match="changed after it was saved"):
            pofx.load(folder)
        (folder / storage.FILE).write_text(json.dumps(dict(reversed(plain.items()))))  # the order does not matter
        pofx.load(folder)


def test_format_1_is_read(folder):
    """As pofx wrote it until 0.1: weights of the model alone, under their own names, and no hash of the description."""
    expected = artifact().sample(5)
    stored = read_json(folder / storage.FILE)
    tensors = read_tensors(folder / stored["weights"]["file"])
    (folder / stored["weights"]["file"]).unlink()
    write_tensors(folder / "w", {key.removeprefix("model."): value for key, value in tensors.items()})
    found = sha256(folder / "w")
    (folder / "w").rename(folder / f"weights-{found[:12]}.safetensors")
    plain = {
        "format": 1,
        "pofx": "0.1.0",
        "model": {
            "name": "maf",
            "options": stored["model"]["options"],
            "event": {"kind": "continuous", "shape": [2]},
            "condition": None,
        },
        "representation": stored["representation"],
        "weights": {"file": f"weights-{found[:12]}.safetensors", "sha256": found},
        "card": {"label_names": None},
    }
    (folder / storage.FILE).write_text(json.dumps(plain))
    loaded = pofx.load(folder)
    assert np.array_equal(loaded.sample(5), expected)
    loaded.save(folder)
    assert read_json(folder / storage.FILE)["format"] == storage.FORMAT
    assert np.array_equal(pofx.load(folder).sample(5), expected)


def test_a_choice_left_open_is_what_it_was_when_it_was_saved(tmp_path):
    """Two classes had a softmax of two where `observation` was left open, and have one logit now."""
    small = {"latent": 2, "width": 8, "depth": 1, "steps": 1, "validations": 0, "progress": False}
    run = pofx.fit("digits", "vae", binarise="threshold", observation="categorical", out=tmp_path / "run", **small)
    edit(tmp_path / "run", lambda plain: plain["model"]["options"].update(observation="auto"))
    assert np.array_equal(pofx.load(tmp_path / "run").sample(5), run.sample(5))


def test_a_newer_format_asks_for_a_newer_pofx(folder):
    edit(folder, lambda plain: plain.update(format=storage.FORMAT + 1))
    with pytest.raises(CorruptError, match="upgrade pofx"):
        pofx.load(folder)


def weights_of(folder):
    return folder / read_json(folder / storage.FILE)["weights"]["file"]


def replace_weights(folder, change):
    """Other weights, with all hashes right."""
    path = weights_of(folder)
    tensors = change(read_tensors(path))
    path.unlink()
    write_tensors(folder / "w", tensors)
    found = sha256(folder / "w")
    (folder / "w").rename(folder / f"weights-{found[:12]}.safetensors")
    edit(folder, lambda plain: plain.update(weights={"file": f"weights-{found[:12]}.safetensors", "sha256": found}))


@pytest.mark.parametrize("dtype", [torch.int8, torch.float16, torch.float64, torch.bool])
def test_weights_of_another_type_are_refused(folder, dtype):
    replace_weights(folder, lambda tensors: {k: v.to(dtype) for k, v in tensors.items()})
    with pytest.raises(CorruptError, match="must be F32"):
        pofx.load(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(folder, value):
    def change(tensors):
        key = next(k for k, v in tensors.items() if v.is_floating_point() and v.numel() > 2)
        tensors[key].view(-1)[1] = value
        return tensors

    replace_weights(folder, change)
    with pytest.raises(CorruptError, match="not finite"):
        pofx.load(folder)


def test_a_buffer_may_hold_the_logarithm_of_zero(tmp_path):
    mixture = artifact("gmm")
    assert bool((mixture.model.log_weights == -torch.inf).any())
    assert np.array_equal(pofx.load(mixture.save(tmp_path)).sample(3), mixture.sample(3))


@pytest.mark.parametrize("change", [{"layers": 4}, {"width": 8192}, {"layers": 1024}, {"blocks": 1024, "width": 8192}])
def test_an_architecture_that_the_weights_do_not_have_is_refused_at_once(folder, change):
    edit(folder, lambda plain: plain["model"]["options"].update(change))
    with pytest.raises(CorruptError):
        pofx.load(folder)


def test_nothing_outside_the_folder_is_opened(folder, tmp_path):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    weights = weights_of(folder)
    weights.rename(outside / weights.name)
    for name in (
        f"../elsewhere/{weights.name}",
        str(outside / weights.name),
        "../../etc/passwd",
        "weights-x.safetensors",
    ):
        edit(folder, lambda plain, name=name: plain["weights"].update(file=name))
        with pytest.raises(CorruptError, match="must be called weights-"):
            pofx.load(folder)
    edit(folder, lambda plain: plain["weights"].update(file=weights.name))
    weights.symlink_to(outside / weights.name)
    with pytest.raises(CorruptError, match="link out of it"):
        pofx.load(folder)
    weights.unlink()
    (outside / weights.name).rename(folder / "real")
    weights.symlink_to("real")  # within the folder
    pofx.load(folder)
    link = tmp_path / "link"
    link.symlink_to(folder)
    pofx.load(link)
    (folder / storage.FILE).rename(outside / "a.json")
    (folder / storage.FILE).symlink_to(outside / "a.json")
    with pytest.raises(CorruptError, match="link out of it"):
        pofx.load(folder)


@pytest.mark.parametrize("which", ["weights", "description"])
def test_pipes_and_devices_are_refused_at_once(folder, which):
    path = weights_of(folder) if which == "weights" else folder / storage.FILE
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CorruptError, match="regular"):
        pofx.load(folder)


def test_parts_that_do_not_fit_each_other_are_refused(folder):
    edit(folder, lambda plain: plain["model"]["event"].update(shape=[3]))
    with pytest.raises(CorruptError):
        pofx.load(folder)


@pytest.mark.parametrize("shape", [[0], [-1], [2.5], "2", [2] * 9, [1 << 23, 1 << 23], None, [[2]], {"2": 2}])
def test_shapes_that_no_event_has_are_refused(folder, shape):
    edit(folder, lambda plain: plain["model"]["event"].update(shape=shape))
    with pytest.raises(CorruptError, match="shape"):
        pofx.load(folder)


@pytest.mark.parametrize("key", ["format", "model", "representation", "weights", "card"])
@pytest.mark.parametrize("value", [None, "x", 3.5, [], [1], {}, -1])
def test_parts_of_another_type_are_refused(folder, key, value):
    before = read_json(folder / storage.FILE)[key]
    edit(folder, lambda plain: plain.update({key: value}))
    if key == "card" and value == {}:
        pofx.load(folder)  # nothing but the card itself is lost
    else:
        with pytest.raises(CorruptError):
            pofx.load(folder)
    edit(folder, lambda plain: plain.pop(key))
    with pytest.raises(CorruptError):
        pofx.load(folder)
    edit(folder, lambda plain: plain.update({key: before}))
    pofx.load(folder)


def test_two_that_save_at_once_leave_one_whole_artifact(tmp_path):
    import threading

    both = [artifact(seed=seed) for seed in range(2)]
    expected = [a.sample(3).tolist() for a in both]
    threads = [threading.Thread(target=lambda a=a: [a.save(tmp_path / "run") for _ in range(10)]) for a in both]
    both[0].save(tmp_path / "run")
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert pofx.load(tmp_path / "run").sample(3).tolist() in expected
    assert pofx.load(tmp_path / "run").sample(3).tolist() in expected
    assert len(list((tmp_path / "run").iterdir())) == 2


def test_float64_as_the_default_changes_nothing(folder):
    x = POINTS[:5]
    expected = pofx.load(folder).log_prob(x)
    torch.set_default_dtype(torch.float64)
    try:
        assert np.array_equal(pofx.load(folder).log_prob(x), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_unfinished_run_says_so(tmp_path):
    folder = artifact(training={"steps": 7, "finished": False}).save(tmp_path / "run")
    with pytest.warns(UserWarning, match="unfinished run \\(7 steps\\): finish it"):
        pofx.load(folder)
    storage.annotate(folder, {"training": {"finished": True}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pofx.load(folder).card == {"training": {"finished": True}}


def test_a_retired_artifact_is_not_loaded_and_goes_with_the_next_save(folder):
    (folder / "request.json").write_text("{}")
    storage.retire(folder)
    with pytest.raises(CorruptError, match="no weights yet.*rename previous-artifact.json"):
        pofx.load(folder)
    (folder / storage.FAILED).write_text('{"error": "the loss is nan"}')
    with pytest.raises(CorruptError, match="the loss is nan"):
        pofx.load(folder)
    artifact(seed=1).save(folder)
    assert not (folder / storage.PREVIOUS).exists() and len(list(folder.glob("weights-*"))) == 1


def test_what_is_no_run_is_named(tmp_path):
    (tmp_path / "afile").write_text("x")
    for path in (tmp_path / "none", tmp_path / "afile", 5, None):
        with pytest.raises(UsageError):
            pofx.load(path)
    with pytest.raises(CorruptError, match="is missing"):
        pofx.load(tmp_path)
    with pytest.raises(WriteError, match="is a file, not a folder"):
        artifact().save(tmp_path / "afile")


def test_an_evaluation_of_other_weights_is_not_that_of_a_run(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 2))
    run = pofx.fit(pofx.points(x), "gmm", steps=1, out=tmp_path, progress=False)
    (tmp_path / "evaluation.json").write_text("{}")
    run.save(tmp_path)
    assert (tmp_path / "evaluation.json").exists()  # the same weights
    pofx.fit(pofx.points(x + 1), "gmm", steps=1, seed=1, out=tmp_path, overwrite=True, progress=False)
    assert not (tmp_path / "evaluation.json").exists() and "evaluation" not in pofx.info(tmp_path)


def test_the_run_in_the_folder_of_a_use_is_found(tmp_path):
    run = pofx.fit(np.random.default_rng(0).normal(size=(60, 2)), "gmm", steps=1, progress=False)
    run.save(tmp_path / "use" / "model")
    assert np.array_equal(pofx.load(tmp_path / "use").sample(2), run.sample(2))
    run.save(tmp_path / "use" / "run")
    with pytest.raises(CorruptError, match=r"is missing.*It holds .*model, .*run: give one"):  # which is not clear
        pofx.load(tmp_path / "use")
