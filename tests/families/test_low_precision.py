"""bf16: every model makes steps in it; what subtracts nearly equal numbers does so in full precision."""

import pytest
import torch

from families.cases import cases
from pofx.core.event import Continuous
from pofx.core.model import Batch
from pofx.families.diffusion.flow_map import FlowMap
from pofx.maths.adversarial import finite_difference_penalty
from pofx.maths.drift import drift
from pofx.maths.mmd import mmd_square
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from truth import Identity, Truth


def low():
    return torch.autocast("cpu", torch.bfloat16)


def params():
    """Of each class the first event of a kind; the rest is slow."""
    for case in cases():
        quick = (case.core and case.plain) or (case.name == "vq-vae-2" and len(case.event.shape) == 3)
        marks = [] if quick else [pytest.mark.slow]
        yield pytest.param(case, id=str(case), marks=marks)


@pytest.mark.parametrize("case", list(params()))
def test_a_model_learns_in_bf16(case):
    truth, labels = Truth(case.event), case.labels(64)
    feed = Feed(truth.draw(64, labels), case.stated(labels), Identity(case.event), seed=0, device=torch.device("cpu"))
    options = {**case.row.trains_with, "precision": "bf16", "warmup": 1, "validations": 1, "compile": False}
    options["batch_size"] = 32
    model = train(
        case.build(), feed, options=TrainOptions.of(options), budget=Budget(steps=2), seed=0, progress=False
    ).model
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("network, event", [("mlp", (2,)), ("unet", (1, 8, 8))])
def test_changes_of_an_average_velocity_are_not_rounded_away(network, event):
    """The target of mean flow divides a difference of outputs by a hundredth of the time."""
    torch.manual_seed(0)
    model = FlowMap(Continuous(event), identity="mean-flow", network=network, width=32, depth=1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    z, v = torch.randn(2, 64, *event)
    r, t = torch.full((64,), 0.2), torch.full((64,), 0.9)
    with torch.no_grad():
        wanted = model._over(z, v, r, t, r, None)
        with low():
            found = model._over(z, v, r, t, r, None)
    assert torch.allclose(found.float(), wanted, atol=1e-3, rtol=1e-3)
    with low():
        loss = sum(model.loss(Batch(z)).values())
    assert bool(loss.isfinite())


def test_differences_of_a_critic_drifts_and_discrepancies_are_those_of_full_precision():
    torch.manual_seed(0)
    critic, x = torch.nn.Linear(8, 1), torch.randn(512, 8)
    with low():
        found = finite_difference_penalty(lambda v: critic(v)[:, 0], x)
    slope = float(critic.weight.square().sum().detach())
    assert float(found.detach()) == pytest.approx(slope, rel=0.2)
    y = x + 0.1
    for function in (lambda: drift(x, y, 0.3), lambda: mmd_square(x, y)):
        wanted = function()
        with low():
            assert torch.allclose(function(), wanted, atol=1e-6)
