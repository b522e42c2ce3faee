"""Laws of checkpoints: the last two are there, damage costs one of them, a full disk costs no training."""

import json
import warnings

import pytest
import safetensors.torch
import torch
from torch import nn

from pofx.train.checkpoint import Checkpoints


def made(step):
    torch.manual_seed(step)
    net = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(net.parameters())
    net(torch.randn(4, 3)).square().mean().backward()
    optimiser.step()
    return net, optimiser


def save(folder, step):
    net, optimiser = made(step)
    Checkpoints(folder).save({"step": step}, net, net, net.state_dict(), [optimiser])
    return net


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_last_two_are_stored(tmp_path):
    for step in (1, 5, 9):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-000000005", "step-000000009"]
    assert Checkpoints(tmp_path).latest().name == "step-000000009"


@pytest.mark.parametrize("file", ["state.json", "model.safetensors", "optimisers.safetensors", "best.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "gone"])
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path, file, damage):
    first = save(tmp_path, 5)
    save(tmp_path, 9)
    path = tmp_path / "step-000000009" / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "flipped":
        at = content.index(b'"step"') if file == "state.json" else len(content) - 1
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    else:
        path.write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    with pytest.warns(UserWarning, match="step-000000009 is damaged"):
        found = Checkpoints(tmp_path).latest()
    assert found.name == "step-000000005"
    net, optimiser = made(0)
    state, best = Checkpoints(tmp_path).load(found, net, net, [optimiser])
    assert state == {"step": 5} and torch.equal(net.weight, first.weight) and torch.equal(best["weight"], first.weight)
    save(tmp_path, 7)  # the resumed run overtakes: what was damaged does not stay in its way
    assert names(tmp_path) == ["step-000000005", "step-000000007"]


def test_none_is_whole_is_none(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "step-000000001" / "state.json").write_text("")
    (tmp_path / "step-x").mkdir()
    with pytest.warns(UserWarning):
        assert Checkpoints(tmp_path).latest() is None
    assert Checkpoints(tmp_path / "none").latest() is None


def test_those_of_version_01_resume(tmp_path):
    save(tmp_path, 3)
    path = tmp_path / "step-000000003" / "state.json"
    plain = json.loads(path.read_text())
    del plain["files"]
    path.write_text(json.dumps(plain))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Checkpoints(tmp_path).latest() == path.parent


def test_a_full_disk_is_a_warning_and_costs_only_older_checkpoints(tmp_path, monkeypatch):
    for step in (1, 5):
        save(tmp_path, step)
    room = [False]

    def full(tensors, path, real=safetensors.torch.save_file):
        if not room[0]:
            room[0] = not (tmp_path / "step-000000001").exists() and room[1:] == ["one"]
        if room[0]:
            return real(tensors, path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.warns(UserWarning, match="the last one is of step 5"):
        save(tmp_path, 9)
    assert names(tmp_path) == ["step-000000005"]
    monkeypatch.undo()
    save(tmp_path, 11)
    assert names(tmp_path) == ["step-000000005", "step-000000011"]
