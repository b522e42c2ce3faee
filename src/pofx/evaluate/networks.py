"""Small networks that turn vectors into features: a classifier of the training labels, or fixed random weights.

Nothing is downloaded. The features are the penultimate layer before its activation, divided by their root mean square
over the training items. The classifier also predicts classes, for class balance. Label smoothing (Szegedy et al., 2016,
arXiv 1512.00567) and dropout keep features of training and of fresh items alike.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pofx.evaluate.space import FittedSpace

BATCH = 200  # larger ones leave the caches of a processor
DIMS = 64  # features at most
LARGE = 10_000  # items from which a network has as many; smaller data gets half


class Features(nn.Module):
    """Vectors (n, inputs), or images of `shape` flattened, → features (n, width) → class scores (n, classes)."""

    def __init__(self, inputs: int, shape: tuple[int, ...] | None, width: int, classes: int) -> None:
        super().__init__()
        self.shape = shape
        if shape is not None and min(shape[1:]) >= 4:
            channels, height, wide = shape
            first = 2 if min(height, wide) >= 48 else 1
            layers = [nn.Conv2d(channels, 16, 3, first, 1), nn.SiLU()]
            for a, b in ((16, 32), (32, 64)):
                layers += [nn.Conv2d(a, b, 3, 2, 1), nn.SiLU()]
            self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(min(7, -(-min(height, wide) // 4))), nn.Flatten())
        else:
            self.shape = None
            self.body = nn.Sequential(nn.Linear(inputs, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU())
        with torch.no_grad():
            flat = self.body(self.reshape(torch.zeros(1, inputs))).shape[1]
        self.neck = nn.Linear(flat, width)
        self.head = nn.Sequential(nn.SiLU(), nn.Dropout(0.2), nn.Linear(width, classes))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def reshape(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.shape) if self.shape is not None else x

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.neck(self.body(self.reshape(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(x))
        return out


def tiles() -> bool:
    """Whether this CPU multiplies bfloat16 tiles (AMX), where autocast is several times faster."""
    probe: Callable[[], bool] | None = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe()) if probe is not None else False


def random_features(inputs: int, shape: tuple[int, ...] | None, width: int, seed: int) -> Features:
    """The network with fixed random weights of a seed, scaled to keep the variance of its input (He et al., 2015)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Features(inputs, shape, width, 1)
        for module in net.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.kaiming_normal_(module.weight)
                assert module.bias is not None
                nn.init.normal_(module.bias, std=0.5)
    return net.eval()


def train_classifier(
    x: np.ndarray,
    labels: np.ndarray,
    shape: tuple[int, ...] | None,
    *,
    width: int,
    classes: int,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> Features:
    """A classifier trained on vectors (n, d) and labels (n,): about 400 steps for small data, at most 1,200."""
    n, batch = len(x), 128 if len(x) < 20_000 else 256
    steps = int(min(max(400, 3 * n // batch), 1200))
    fast = tiles() and shape is not None and min(shape[1:]) >= 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Features(x.shape[1], shape, width, classes).train()
        inputs, targets = torch.as_tensor(x), torch.as_tensor(labels, dtype=torch.long)
        adam = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 4e-3, total_steps=steps)
        order = torch.randperm(n)
        at = 0
        for step in range(steps):
            if at + batch > n:
                order, at = torch.randperm(n), 0
            chosen = order[at : at + batch]
            at += batch
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                scores = net(inputs[chosen])
            loss = nn.functional.cross_entropy(scores.float(), targets[chosen], label_smoothing=0.05)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            schedule.step()
            if progress is not None and step % 50 == 0:
                progress(step / steps)
    return net.eval()


@torch.inference_mode()
def apply(net: Features, x: np.ndarray) -> np.ndarray:
    """Features float32 (n, width)."""
    blocks = (torch.as_tensor(x[start : start + BATCH]) for start in range(0, len(x), BATCH))
    return torch.cat([net.features(block) for block in blocks]).numpy()


class Network(FittedSpace):
    """A space of features of such a network; it predicts classes where it learned some."""

    def embed(self, x: np.ndarray) -> np.ndarray:
        return apply(self.net, x) / float(self.arrays["rms"])

    @torch.inference_mode()
    def classify(self, features: np.ndarray) -> np.ndarray:
        if not self.classes:
            return super().classify(features)
        scores: torch.Tensor = self.net.head(torch.as_tensor(features) * float(self.arrays["rms"]))
        return scores.softmax(1).numpy()

    @cached_property
    def net(self) -> Features:
        net = Features(self.facts["inputs"], self.vectors.shape, self.dims, max(self.classes, 1))
        net.load_state_dict({k[4:]: torch.as_tensor(v) for k, v in self.arrays.items() if k.startswith("net.")})
        return net.eval()


def width(n: int) -> int:
    """The number of features for n training items."""
    return DIMS if n >= LARGE else DIMS // 2


def learned(net: Features, x: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and facts of a network, with the scale of its features of the training vectors."""
    features = apply(net, x[:LARGE])
    arrays = {f"net.{k}": v.numpy() for k, v in net.state_dict().items()}
    arrays["rms"] = np.sqrt(((features - features.mean(0)) ** 2).mean()) + np.float32(1e-12)
    return arrays, {"inputs": x.shape[1], "dims": net.neck.out_features}
