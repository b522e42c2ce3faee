"""Laws of limits: what is too large is refused before its memory is taken, and in little time."""

import time

import pytest
import torch
from torch import nn

from pofx.core import config
from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.limits import limited, spoken_bytes

LARGE = [
    ("maf", Continuous((3,)), {"width": 8192, "layers": 1024, "blocks": 1024}),
    ("nsf", Continuous((3,)), {"width": 8192, "layers": 1024, "bins": 512}),
    ("gpt", Discrete((6,), 4), {"width": 8192, "layers": 1024, "heads": 8}),
    ("vae", Discrete((1, 32, 32), 256), {"width": 8192, "latent": 8192}),
    ("made", Discrete((784,), 256), {"width": 8192, "blocks": 1024, "terms": 256}),
    ("glow", Continuous((3, 16, 16)), {"width": 8192, "flow_steps": 1024, "blocks": 1024}),
]


@pytest.mark.parametrize(("name", "event", "options"), LARGE, ids=[row[0] for row in LARGE])
def test_a_model_that_does_not_fit_is_refused_within_seconds(name, event, options, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 1e9}))
    began = time.process_time()
    with pytest.raises(UsageError, match="too large: .*pass a smaller width or fewer layers"):
        config.build(name, event, **options)
    assert time.process_time() - began < 5


def test_every_kind_of_growth_is_bounded():
    class Parts(nn.Module):
        def __init__(self, kind):
            super().__init__()
            for i in range(10**6):
                if kind == "parts":
                    self.add_module(str(i), nn.Identity())
                elif kind == "parameters":
                    self.register_parameter(str(i), nn.Parameter(torch.zeros(1)))
                else:
                    self.register_buffer(str(i), torch.zeros(10_000))

    for kind in ("parts", "parameters", "buffers"):
        with pytest.raises(UsageError), limited(1e6, 100, UsageError):
            Parts(kind)
    for make in (
        lambda: torch.empty(10**6, 10**6),
        lambda: torch.zeros((10**4, 10**4)),
        lambda: nn.Linear(10**4, 10**4),
    ):
        with pytest.raises(UsageError, match="GB|MB"), limited(1e6, 100, UsageError):
            make()
    with limited(1e6, 100, UsageError):
        assert nn.Linear(10, 10)(torch.zeros(1, 10)).shape == (1, 10)
    assert nn.Linear(1000, 1000).weight.shape == (1000, 1000), "nothing is limited afterwards"


def test_sizes_are_spoken():
    assert [spoken_bytes(n) for n in (12, 3456, 7.8e6, 2.5e10)] == ["12 bytes", "3.46 kB", "7.8 MB", "25 GB"]
