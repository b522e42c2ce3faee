"""Trainer options that suit the network that was built: a U-Net of a diffusion model learns by Muon."""

import numpy as np
import pytest

import pofx
from pofx.families.diffusion.diffusion import Diffusion

PICTURES = pofx.images(np.random.default_rng(0).integers(0, 255, (40, 8, 8)).astype("u1"))
SMALL = {"width": 8, "depth": 1, "batch_size": 8, "progress": False, "validations": 0}


def chosen(run):
    options = run.card["training"]["options"]
    return options["optimizer"], options["lr"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"network": "unet"}, ("muon", 2e-3)),
        ({"network": "unet", "lr": 5e-4}, ("muon", 5e-4)),
        ({"network": "unet", "optimizer": "adamw"}, ("adamw", 1e-3)),
        ({"network": "unet", "optimizer": "muon"}, ("muon", 2e-3)),
        ({"network": "mlp"}, ("adamw", 1e-3)),
    ],
)
def test_a_u_net_learns_by_muon_unless_another_is_stated(given, expected):
    assert chosen(pofx.fit(PICTURES, "flow-matching", steps=1, **SMALL, **given)) == expected


def test_a_run_from_before_goes_on_by_its_own_optimiser(tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(Diffusion, "suited", lambda self: {})
        pofx.fit(PICTURES, "ddpm", steps=2, out=tmp_path / "run", network="unet", **SMALL)
    run = pofx.fit(PICTURES, "ddpm", steps=4, out=tmp_path / "run", network="unet", resume=True, **SMALL)
    assert chosen(run) == ("adamw", 1e-3)
    assert run.card["training"]["steps"] == 4
