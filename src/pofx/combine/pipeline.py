"""A run's denoiser as a network of diffusers, which predicts noise at numbered levels."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pofx.artifact import Artifact, load
from pofx.core.errors import UsageError
from pofx.core.files import read_json, write_json

try:
    from diffusers import DDIMPipeline, DDIMScheduler, ModelMixin
    from diffusers.configuration_utils import ConfigMixin, register_to_config
    from diffusers.models.unets.unet_2d import UNet2DOutput
except ImportError as error:
    raise UsageError("diffusers is not installed: pip install diffusers") from error

RUN, LEVELS = "run", "levels.json"  # in the folder of a stored network
FIRST, LAST = 1e-3, 1 - 1e-3  # times of the first and last level: the ends of a path have no noise or no data


class Denoiser(ModelMixin, ConfigMixin):
    """epsilon(x, level) of a model that denoises; its path scaled to alpha² + sigma² = 1."""

    @register_to_config
    def __init__(self, sample_size: Any = 8, in_channels: int = 1, out_channels: int = 1) -> None:
        super().__init__()
        self.run: Any = None
        self.inner: Any = None
        self.times: Any = None

    def hold(self, run: Artifact, levels: int) -> "Denoiser":
        """The denoiser of a run at so many levels."""
        self.run, self.inner, self.times = run, run.model, torch.linspace(FIRST, LAST, levels)
        return self

    def save_pretrained(self, save_directory: Any, *args: Any, **options: Any) -> None:
        """Store the run itself in the folder, and the number of levels."""
        folder = Path(save_directory)
        self.run.save(folder / RUN)
        self.save_config(folder)
        write_json(folder / LEVELS, len(self.times))

    @classmethod
    def from_pretrained(cls, path: Any, **options: Any) -> "Denoiser":
        """The network in a folder that `save_pretrained` wrote.

        Raises:
            CorruptError: something is missing there, or damaged.
        """
        return denoiser_of(load(Path(path) / RUN), int(read_json(Path(path) / LEVELS)))

    def noise(self) -> Tensor:
        """The squared alpha of every level, variance preserving."""
        pairs = [self.inner.schedule(t) for t in self.times]
        return torch.stack([(a**2 / (a**2 + s**2)).flatten()[0] for a, s in pairs]).double()

    def forward(self, sample: Tensor, timestep: Any, return_dict: bool = True) -> Any:
        number = torch.as_tensor(timestep).flatten()[0].long()
        t = self.times[number].to(sample.device)
        alpha, sigma = self.inner.schedule(t)
        size = (alpha**2 + sigma**2).sqrt()
        data = self.inner.denoise(sample * size, t.expand(len(sample)))
        epsilon = (sample * size - alpha * data) / sigma
        return UNet2DOutput(sample=epsilon) if return_dict else (epsilon,)


def denoiser_of(run: Artifact, levels: int) -> Denoiser:
    """A run's denoiser at so many levels."""
    shape = run.model.event.shape  # type: ignore[union-attr]
    return Denoiser(list(shape[1:]), shape[0], shape[0]).hold(run, levels).eval()


def pipeline_of(run: Artifact, levels: int) -> Any:
    """A DDIM pipeline around a run."""
    net = denoiser_of(run, levels)
    found = net.noise()
    before = torch.cat((torch.ones(1, dtype=found.dtype), found[:-1]))
    betas = (1 - found / before).clamp(0, 0.999).float()
    scheduler = DDIMScheduler(num_train_timesteps=levels, trained_betas=betas.numpy(), clip_sample=True)
    return DDIMPipeline(unet=net, scheduler=scheduler)
