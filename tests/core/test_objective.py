"""Laws of objectives: what is trained, what is left, and what a frozen module never takes part in."""

import copy

import pytest
import torch

from pofx.core.event import Continuous
from pofx.core.model import Phase
from pofx.core.objective import Frozen, Objective, trained
from toy import Gaussian


class Distilled(Objective):
    """A student that learns the mean of a teacher."""

    def __init__(self, student, teacher):
        super().__init__(student)
        self.teacher = Frozen(teacher)

    def phases(self):
        return (Phase("distil", tuple(self.model.parameters()), self.loss),)

    def loss(self, batch):
        return (self.model.mean - self.teacher.module.mean).square().mean()


@pytest.fixture
def objective():
    teacher = Gaussian(Continuous((3,)))
    with torch.no_grad():
        teacher.mean.fill_(2.0)
    return Distilled(Gaussian(Continuous((3,))), teacher)


def test_a_frozen_module_has_no_parameters_no_state_and_is_shared_by_copies(objective):
    assert len(list(objective.parameters())) == 2
    assert not [key for key in objective.state_dict() if "teacher" in key]
    assert copy.deepcopy(objective).teacher.module is objective.teacher.module
    assert copy.deepcopy(objective).model is not objective.model


def test_a_frozen_module_moves_with_its_holder_and_stays_in_eval_mode(objective):
    teacher = objective.teacher.module
    assert objective.double().teacher.module.mean.dtype is torch.float64
    assert objective.to("meta").teacher.module.mean.device.type == "meta"
    objective.train()
    assert objective.model.training and not teacher.training and not objective.teacher.training


def test_a_frozen_module_is_never_unfrozen_and_gradients_flow_through_it():
    net = torch.nn.Linear(2, 1)
    holder = torch.nn.Sequential(Frozen(net)).requires_grad_(True).train()
    x = torch.ones(1, 2, requires_grad=True)
    holder(x).sum().backward()
    assert not any(p.requires_grad for p in net.parameters()) and net.weight.grad is None
    assert torch.equal(x.grad, net.weight.detach())


def test_what_training_leaves_is_the_model(objective):
    assert trained(objective) is objective.model and trained(objective.model) is objective.model
    assert objective.label == objective.model.label
    assert objective("distil", None).item() == pytest.approx(4.0)
