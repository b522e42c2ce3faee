"""Which weights are the best where the losses are not informative: those whose samples are nearest to the data.

The quality of a GAN fluctuates while its losses stay level. Samples are compared with validation items by the Fréchet
distance of their 32 principal components; the held-out reference shows by how much a model is off.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pofx.core.event import Discrete, Event, count
from pofx.core.model import Model, X
from pofx.core.random import Streams
from pofx.maths.frechet import frechet_distance
from pofx.train.feed import Feed

JUDGED = 512  # samples drawn each time
COMPONENTS = 32


def judge_by_samples(validation: Feed) -> Callable[[Model], float]:
    """The Fréchet distance of a model's samples from the validation items: lower is better."""
    real = validation.take(JUDGED)
    event = validation.representation.event
    flat = _flat(real.x, event)
    mean = flat.mean(0)
    axes = np.linalg.svd(flat - mean, full_matrices=False)[2][:COMPONENTS].T

    @torch.inference_mode()
    def judge(model: Model) -> float:
        n = count(real.x)
        drawn = model.sample(n, real.condition, generator=Streams(7, n, device=validation.device))
        return float(frechet_distance((_flat(drawn, event) - mean) @ axes, (flat - mean) @ axes))

    return judge


def _flat(x: X, event: Event) -> np.ndarray:
    """Events as float64 (n, d): numbers as they are, the classes of a product's parts one-hot."""
    if isinstance(event, dict):
        return np.concatenate([_one_hot(x[key], part) for key, part in event.items()], 1)
    return np.asarray(x.detach().float().flatten(1).cpu().numpy(), dtype=np.float64)


def _one_hot(x: X, event: Event) -> np.ndarray:
    if not isinstance(event, Discrete):
        return _flat(x, event)
    flat: Tensor = x.detach().flatten(1).cpu()
    columns = [torch.nn.functional.one_hot(flat[:, i], k) for i, k in enumerate(event.counts)]
    return np.asarray(torch.cat(columns, 1).double().numpy())
