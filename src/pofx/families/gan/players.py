"""The two players of a duel: a generator of any architecture, and a critic that mirrors it.

Grids (C, H, W) get the networks that `architecture` names; vectors get perceptrons whatever it names. A condition
enters the generator as a vector, and the critic by projection (Miyato and Koyama, 2018, arXiv 1802.05637) or by an
auxiliary classifier (Odena, Olah and Shlens, 2017, arXiv 1610.09585).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

from pofx.core.event import Bounded, Condition, Continuous, Discrete, Event, dims
from pofx.nets.image.equalised import EqualisedLinear, MinibatchDeviation
from pofx.nets.image.placed import placed
from pofx.nets.image.spectral_resnet import ResidualFeatures, ResidualSynthesis
from pofx.nets.image.style import StyleFeatures, StyleSynthesis
from pofx.nets.image.synthesis import SLOPE, ImageFeatures, Synthesis
from pofx.nets.image.translation import PatchFeatures, Translator
from pofx.nets.image.transposed import StridedFeatures, TransposedSynthesis
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.fourier import waves
from pofx.nets.vector.mlp import MLP
from pofx.nets.vector.wave import WaveFeatures, WaveSynthesis

ARCHITECTURES = ("residual", "mlp", "transposed", "spectral", "split", "style", "style2", "progressive", "unet", "wave")
UPSAMPLING = ("transposed", "resize")
CENTRING = 0.1  # share of a batch in the running mean of features


@dataclass(frozen=True)
class Build:
    """How players are built: sizes and choices that both share."""

    architecture: str
    latent: int
    width: int
    units: int
    blocks: int
    attention: bool = False
    spectral: str = "none"  # norms of 1 in no layer, in the "critic", or in "both"
    norm: str = "none"  # of the transposed critic: "batch" or "none"
    upsampling: str = "transposed"  # of the transposed generator: or "resize"
    shuffle: int = 0  # places of phase shuffle in the critic of signals
    group: int = 0  # items of the minibatch deviation of the style critics
    activation: str = "silu"  # of perceptrons
    saturated: bool = False  # style generators of bounded events end in tanh
    centre: bool = False  # features of the critic are less their running mean
    tapered: bool = False  # spectral networks have fewer channels at finer resolutions
    octaves: int = 0  # of the waves that the perceptron of a critic sees beside each number


class Generator(nn.Module):
    """Noise (n, inputs) → events."""

    def __init__(self, event: Continuous, condition: Event | None, build: Build) -> None:
        super().__init__()
        latent, width, kind = build.latent, build.width, build.architecture
        self.placed = placed(condition, classes=False) if kind == "unet" and len(event.shape) == 3 else None
        self.conditioner = Conditioner(condition if self.placed is None else self.placed.rest, latent)
        context, bounded = self.conditioner.width, isinstance(event, Bounded)
        self.shape = event.shape
        self.net: nn.Module
        if kind == "wave" and len(event.shape) == 1:
            self.net = WaveSynthesis(event.shape[0], latent, width, context=context, bounded=bounded)
            self.inputs = self.net.inputs
            return
        if len(event.shape) != 3 or kind in ("mlp", "wave"):
            self.inputs = min(latent, 2 * dims(event))  # more noise than that only slows small events down
            hidden = (build.units,) * (build.blocks + 2)
            self.net = MLP(self.inputs, dims(event), hidden, context=context, activation=build.activation)
            return
        if kind == "residual":
            self.net = Synthesis(event.shape, latent, width, build.blocks, context=context)
        elif kind == "unet":
            given = 0 if self.placed is None else self.placed.channels
            self.net = Translator(event.shape, given, width, context=context, bounded=bounded)
        elif kind == "transposed":
            self.net = TransposedSynthesis(
                event.shape, latent, width, context=context, bounded=bounded, resize=build.upsampling == "resize"
            )
        elif kind in ("spectral", "split"):
            self.net = ResidualSynthesis(
                event.shape,
                latent,
                width,
                context=context,
                bounded=bounded,
                split=kind == "split",
                attention=build.attention,
                spectral=build.spectral == "both",
                tapered=build.tapered,
            )
        else:
            self.net = StyleSynthesis(
                event.shape, latent, width, kind=kind, mapping=build.blocks, context=context,
                saturated=build.saturated and bounded,
            )  # fmt: skip
        self.inputs = self.net.inputs
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a processor

    @property
    def styled(self) -> bool:
        """Whether a code w steers every layer, which can be mixed and drawn towards its mean."""
        return isinstance(self.net, StyleSynthesis) and self.net.mapping is not None

    @property
    def levels(self) -> int:
        """The number of layers that a code w steers."""
        return self.net.levels if isinstance(self.net, StyleSynthesis) else 0

    def forward(
        self,
        z: Float[Tensor, "n inputs"],
        condition: Condition | None = None,
        *,
        truncation: float = 1.0,
        mixed: Float[Tensor, "n latent"] | None = None,
        span: tuple[int, int | None] = (0, None),
        centre: Float[Tensor, "n width"] | None = None,
        shift: Float[Tensor, "code"] | None = None,
        stage: float | None = None,
    ) -> Float[Tensor, "n *event"]:
        """z (n, inputs), condition (n, …) → (n, *event.shape), float32; the options are those of `StyleSynthesis`.

        `shift` is added to every w, or to the code z of a net without w.
        """
        if self.placed is not None:
            assert condition is not None
            context = self.conditioner(self.placed.beside(condition))
            return self.net(z, context, self.placed.grid(condition)).float()  # type: ignore[no-any-return]
        context = self.conditioner(condition)
        if isinstance(self.net, StyleSynthesis):
            if shift is not None and not self.styled:
                z, shift = z + nn.functional.pad(shift, (0, z.shape[1] - len(shift))), None
            x = self.net(
                z, context, truncation=truncation, mixed=mixed, span=span, centre=centre, shift=shift, stage=stage
            )
        else:
            z = z if shift is None else z + nn.functional.pad(shift, (0, z.shape[1] - len(shift)))
            x = self.net(z, context)
        return x.float().reshape(len(z), *self.shape)


class Critic(nn.Module):
    """D(x | y) = ψ·φ(x) + ⟨e(y), φ(x)⟩, or ψ·φ(x) beside class logits from φ(x).

    Sums over places behind spectral norms have a mean twenty times as large as what differs between items: there φ is
    less its running mean, for gradients of ψ and e that are mostly this mean show neither what is real nor the class.
    """

    centre: Tensor | None

    def __init__(self, event: Continuous, condition: Event | None, build: Build, *, auxiliary: bool = False) -> None:
        super().__init__()
        width, kind = build.width, build.architecture
        self.features: nn.Module
        self.activation, self.octaves = True, build.octaves
        self.placed = placed(condition, classes=False) if kind == "unet" else None  # the image beside which it judges
        if kind == "wave" and len(event.shape) == 1:
            self.features = WaveFeatures(event.shape[0], width, outputs=(width := 4 * width), shuffle=build.shuffle)
        elif len(event.shape) != 3 or kind in ("mlp", "wave"):
            width = build.units
            inputs, hidden = dims(event) * (1 + 2 * self.octaves), (width,) * (build.blocks + 1)
            self.features = MLP(inputs, width, hidden, activation=build.activation)
        elif kind == "residual":
            self.features = ImageFeatures(event.shape, width, build.blocks)
        elif kind == "unet":
            self.features = PatchFeatures(event.shape[0] + (self.placed.channels if self.placed else 0), width)
        elif kind == "transposed":
            self.features = StridedFeatures(event.shape, width, outputs=(width := 4 * width), norm=build.norm)
        elif kind in ("spectral", "split"):
            self.features = ResidualFeatures(
                event.shape, width, attention=build.attention, spectral=build.spectral != "none", tapered=build.tapered
            )
            self.activation = False
        else:
            self.features = StyleFeatures(event.shape, width, progressive=kind == "progressive", group=build.group)
        self.register_buffer("centre", torch.zeros(width) if build.centre else None)
        self.score: nn.Module  # without a bias: the features have some, and in pairs it would cancel
        if isinstance(self.features, StyleFeatures):
            self.score = EqualisedLinear(width, 1, bias=None)  # as slow as all before it
        else:
            self.score = nn.Linear(width, 1, bias=False)
        if build.spectral != "none":
            self.score = spectral_norm(self.score)
        classes = condition.largest if auxiliary and isinstance(condition, Discrete) else 0
        self.classes = nn.Linear(width, classes) if classes else None
        named = condition if self.placed is None else self.placed.rest
        self.embed = Conditioner(None if classes else named, width)
        self.embed.silence()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def couples(self) -> bool:
        """Whether an item's logit depends on the others of its batch: batch norms, the deviation of a minibatch."""
        return any(isinstance(part, nn.BatchNorm2d | MinibatchDeviation) for part in self.features.modules())

    @property
    def grouped(self) -> bool:
        """Whether that is so after training too."""
        return any(isinstance(part, MinibatchDeviation) for part in self.features.modules())

    def phi(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None, *, stage: float | None = None
    ) -> Float[Tensor, "logits width"]:
        """The features that the logits are linear in, one row per item or, item by item, per patch."""
        if isinstance(self.features, PatchFeatures):
            if self.placed is not None:
                assert condition is not None
                x = torch.cat((x, self.placed.grid(condition, x.shape[2:]).to(x.dtype)), 1)
            return leaky_relu(self.features(x).flatten(0, 1), SLOPE)
        if isinstance(self.features, StyleFeatures):
            h = self.features(x, stage=stage)
        else:
            flat = isinstance(self.features, MLP)
            h = self.features(waves(x.flatten(1), self.octaves).flatten(1) if flat else x)
        if self.centre is not None:
            if self.training:
                self.centre.lerp_(h.detach().mean(0).to(self.centre.dtype), CENTRING)
            h = h - self.centre.to(h.dtype)
        return leaky_relu(h, SLOPE) if self.activation else h

    def forward(
        self,
        x: Float[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        stage: float | None = None,
    ) -> Float[Tensor, "logits"]:
        """x (n, *event.shape), condition (n, …) → logits (n,), float32; of patches as in `judge`."""
        return self.judge(self.phi(x, condition, stage=stage), condition)

    def judge(self, phi: Float[Tensor, "logits width"], condition: Condition | None = None) -> Float[Tensor, "logits"]:
        """Features (n, width) → logits (n,); of every patch of every item where the critic judges patches."""
        logit: Tensor = self.score(phi)[:, 0].float()
        embedded = self.embed(condition if self.placed is None else self.placed.beside(condition))
        if embedded is not None and len(embedded) != len(phi):
            embedded = embedded.repeat_interleave(len(phi) // len(embedded), 0)
        return logit if embedded is None else logit + (embedded * phi).float().sum(1)
