"""Trains a small two-phase model for some steps and writes its weights; run plainly or by torchrun (gloo)."""

import json
import sys
from pathlib import Path

import torch
from torch import nn

from pofx.core.event import Continuous
from pofx.core.model import Model, Phase
from pofx.train.devices import processes
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from toy import Plain


class Duel(Model):
    """A critic and a generator without noise in their losses, so that only the batch matters; the critic's gradient
    penalty every second step."""

    name, events = "toy-duel", (Continuous,)

    def __init__(self, event, condition=None):
        super().__init__(event, condition)
        self.generator, self.critic = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))

    def phases(self):
        g, c = tuple(self.generator.parameters()), tuple(self.critic.parameters())
        return (
            Phase("critic", c, self.critic_loss),
            Phase("penalty", c, self.penalty, every=2),
            Phase("generator", g, lambda b: -self.critic(self.generator(b.x)).mean()),
        )

    def critic_loss(self, batch):
        fake = self.generator(batch.x).detach()
        return nn.functional.softplus(self.critic(fake) - self.critic(batch.x)).mean()

    def penalty(self, batch):
        x = batch.x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.critic(x).sum(), x, create_graph=True)
        return 2 * gradient.square().sum(1).mean()

    def sample(self, n, condition=None, *, generator):
        return self.generator(generator.normal(3))


if __name__ == "__main__":
    torch.manual_seed(0)
    accelerator = processes()
    data = torch.randn(101, 3, generator=torch.Generator().manual_seed(0))
    model = Duel(Continuous((3,)))
    train(
        model,
        Feed(data, None, Plain(3), seed=1, device=torch.device("cpu")),
        options=TrainOptions(batch_size=16, validations=0, clip=0.5, warmup=5),
        budget=Budget(steps=25),
        seed=2,
        progress=False,
        accelerator=accelerator,
    )
    if accelerator.is_main_process:
        weights = torch.cat([p.flatten() for p in model.parameters()]).tolist()
        Path(sys.argv[1]).write_text(json.dumps({"world": accelerator.num_processes, "weights": weights}))
