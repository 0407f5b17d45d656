"""The 144 published configurations of the study of moving dots: the best of each method at each kind and level of noise.

Sobal et al. 2022 (arXiv:2211.10831) searched learning rate, batch size and weights anew for every point of their figure and
published what won. Here they are as numbers, ``published`` turns one into an experiment. Rates are base rates, multiplied by
batch size / 256 where the optimiser is LARS. Deviations, all where the original does not do what it says:

- Twelve of the supervised ones (uniform noise of .25 to 1.5, both kinds) name an option that their own code refuses; without
  it they run.
- The supervised one without noise is of three dots; here it is used on one, as the other 143 are.
- The two Gaussians of the original RSSM get no gradient: what it trains is a deterministic reconstruction with noise. ``rssm``
  trains a true RSSM with that rate, batch and least standard deviation (0 becomes .01), ``reconstruction`` the deterministic
  one. The drop of its learning rate after 36 epochs never happens in the original, and does not here.
- The warm-up of LARS starts at 0; the original, which counts epochs from 1, starts at a tenth of its end.
- Supervised learning is by the squared error of standardised positions, read off by a linear map with a bias.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from dynarium.errors import UserError, nearest
from dynarium.models.jepa import JEPAConfig
from dynarium.models.jepa_presets import reconstruction
from dynarium.models.jepa_terms import AcrossSequences, InverseDynamics, VICReg
from dynarium.models.rssm import RSSMConfig
from dynarium.nn.menet import MeNet
from dynarium.objectives.schedules import Constant, Cosine
from dynarium.recipes.experiment import DataConfig, Experiment
from dynarium.systems.dots import MovingDots
from dynarium.systems.noise import Noise
from dynarium.tasks.geometry import Geometry
from dynarium.tasks.probe_rollout import ProbeRollout
from dynarium.training import TrainingConfig

NoiseKind = Literal["changing-uniform", "fixed-uniform", "changing-structured", "fixed-structured"]

EPOCH = 10_000
"""Sequences that the original calls an epoch; none is seen twice."""


class V(NamedTuple):
    """VICReg; the weight of the covariance is always 1."""

    rate: float
    batch: int
    prediction: float
    std: float


class S(NamedTuple):
    """SimCLR."""

    rate: float
    batch: int
    temperature: float
    normalize: bool


class R(NamedTuple):
    """RSSM, and reconstruction."""

    rate: float
    batch: int
    min_std: float


class I(NamedTuple):  # noqa: E742
    """Inverse dynamics."""

    rate: float
    batch: int
    weight: float


class L(NamedTuple):
    """Learning from labels: the encoder has ``outputs``, followed by a linear map to ``head`` where there is one."""

    rate: float
    batch: int
    epochs: int
    outputs: int
    head: int | None
    width: int
    layers: int


VICREG: dict[str, dict[float, V]] = {
    "changing-uniform": {
        0: V(1.3883, 32, 20.553, 9.1378),
        0.5: V(1.3881, 32, 35.979, 9.9108),
        1: V(2.7382, 128, 4.0834, 1.1795),
        1.5: V(1.2171, 64, 19.018, 3.4417),
        2: V(1.4578, 32, 33.909, 7.0137),
        2.5: V(2.4611, 256, 2.9156, 0.63986),
        3: V(3.783, 256, 3.7792, 2.2959),
    },
    "fixed-uniform": {
        0.25: V(0.47041, 128, 4.5542, 1.0257),
        0.5: V(1.4547, 32, 24.863, 3.2687),
        0.75: V(0.012737, 256, 92.699, 5.6865),
        1: V(4.4529e-05, 32, 21.42, 929.99),
        1.25: V(0.00040127, 32, 52.716, 118.4),
        1.5: V(0.00016654, 32, 1.3304, 1.3263),
        2: V(0.016239, 256, 26.911, 3.0378),
        2.5: V(0.00071377, 64, 115.57, 40.43),
        3: V(0.0012637, 64, 86.117, 11.915),
    },
    "changing-structured": {
        0.5: V(0.84886, 128, 18.835, 20.675),
        1: V(0.84878, 256, 4.6927, 1.3326),
        1.5: V(0.65731, 512, 23.376, 6.7075),
        2: V(0.10684, 512, 6.0508, 1.034),
        2.5: V(0.12157, 128, 47.503, 10.177),
        3: V(0.54711, 256, 22.352, 6.4411),
    },
    "fixed-structured": {
        0.5: V(0.11927, 128, 0.34839, 11.295),
        1: V(0.18903, 64, 0.10538, 0.99301),
        1.5: V(0.0013492, 64, 2.8142, 0.33312),
        2: V(0.00044003, 64, 107.81, 0.29181),
        2.5: V(0.0013841, 64, 35.575, 2.598),
        3: V(0.00021906, 64, 102.77, 0.83574),
    },
}

SIMCLR: dict[str, dict[float, S]] = {
    "changing-uniform": {
        0: S(1.9766, 256, 8, True),
        0.5: S(3.8923, 256, 16, True),
        1: S(1.1972, 512, 4, True),
        1.5: S(1.7955, 256, 0.5, True),
        2: S(2.9155, 256, 4, True),
        2.5: S(2.6844, 256, 1, True),
        3: S(3.192, 512, 4, True),
    },
    "fixed-uniform": {
        0.25: S(3.359, 512, 32, True),
        0.5: S(2.1665, 256, 16, True),
        0.75: S(0.69343, 256, 16, True),
        1: S(0.0066794, 256, 32, True),
        1.25: S(0.0054686, 256, 128, True),
        1.5: S(0.0078835, 512, 32, True),
        2: S(0.0039704, 128, 0.5, False),
        2.5: S(0.005835, 64, 0.1, False),
        3: S(0.00025175, 64, 0.125, False),
    },
    "changing-structured": {
        0.5: S(0.15568, 64, 8, False),
        1: S(0.30394, 256, 16, False),
        1.5: S(0.68562, 64, 16, False),
        2: S(0.23638, 512, 32, False),
        2.5: S(0.56093, 128, 16, False),
        3: S(0.89785, 128, 32, False),
    },
    "fixed-structured": {
        0.5: S(0.0091431, 128, 0.25, False),
        1: S(0.0083775, 128, 0.25, False),
        1.5: S(0.00779, 64, 2, False),
        2: S(0.0010318, 64, 0.5, False),
        2.5: S(0.00026625, 64, 0.5, False),
        3: S(0.00083766, 64, 0.75, False),
    },
}

RSSM: dict[str, dict[float, R]] = {
    "changing-uniform": {
        0: R(7.2898e-05, 256, 0.1),
        0.5: R(0.00034725, 256, 0.02),
        1: R(0.00032056, 256, 0.05),
        1.5: R(0.0005617, 256, 0.05),
        2: R(0.0013444, 256, 0.02),
        2.5: R(0.0014913, 256, 0),
        3: R(0.0016072, 256, 0.1),
        3.5: R(0.001263, 256, 0),
        4: R(0.0014728, 256, 0.05),
        4.5: R(0.00059593, 256, 0.02),
        5: R(0.00067238, 256, 0.1),
    },
    "fixed-uniform": {
        0.25: R(0.00039005, 256, 0.1),
        0.5: R(0.00011075, 256, 0.1),
        0.75: R(0.001071, 256, 0.05),
        1: R(0.0025618, 256, 0.1),
        1.25: R(0.0021074, 256, 0.02),
        1.5: R(0.0036737, 512, 0),
        2: R(0.0015897, 128, 0.02),
        2.5: R(0.0002382, 64, 0.02),
        3: R(0.0014144, 64, 0),
    },
    "changing-structured": {
        0.5: R(0.00042286, 64, 0.02),
        1: R(0.00061719, 64, 0.05),
        1.5: R(0.00089474, 64, 0.1),
        2: R(0.00054677, 64, 0.1),
        2.5: R(0.00036715, 64, 0.1),
        3: R(0.00044387, 64, 0.05),
    },
    "fixed-structured": {
        0.5: R(0.0004987, 64, 0.05),
        1: R(0.00034281, 64, 0),
        1.5: R(0.00033339, 64, 0),
        2: R(0.00075175, 64, 0),
        2.5: R(0.00041355, 64, 0),
        3: R(0.00040902, 64, 0.05),
    },
}

IDM: dict[str, dict[float, I]] = {
    "changing-uniform": {
        0: I(2.9272, 256, 0.042076),
        0.5: I(1.9645, 256, 0.67612),
        1: I(6.7974, 256, 0.022047),
        1.5: I(1.5973, 256, 0.19275),
        2: I(2.7851, 256, 0.020427),
        2.5: I(8.5516, 512, 0.012152),
        3: I(5.8526, 256, 0.19584),
    },
    "fixed-uniform": {
        0.25: I(5.0766, 256, 0.07121),
        0.5: I(0.34385, 256, 0.79308),
        0.75: I(3.7285, 256, 0.17958),
        1: I(9.5616, 256, 0.023931),
        1.25: I(1.8221, 256, 0.1662),
        1.5: I(6.5388, 256, 0.06291),
        2: I(0.40009, 128, 3.2407),
        2.5: I(0.70161, 512, 2.1603),
        3: I(0.12527, 64, 18.032),
    },
    "changing-structured": {
        0.5: I(0.55953, 64, 0.11886),
        1: I(0.81238, 128, 1.0104),
        1.5: I(0.99304, 512, 0.76337),
        2: I(0.39859, 128, 1.9457),
        2.5: I(0.48334, 128, 1.8286),
        3: I(0.59632, 64, 12.837),
    },
    "fixed-structured": {
        0.5: I(5.8507, 64, 0.054647),
        1: I(8.0091, 64, 0.044229),
        1.5: I(2.9393, 64, 0.36623),
        2: I(8.1017, 64, 0.012673),
        2.5: I(8.5287, 256, 0.086957),
        3: I(4.548, 512, 0.02247),
    },
}

SUPERVISED: dict[str, dict[float, L]] = {
    "changing-uniform": {
        0: L(0.0029141, 256, 100, 512, None, 2, 1),
        0.25: L(0.0013234, 64, 200, 256, 512, 4, 2),
        0.5: L(0.00067862, 128, 100, 64, 512, 3, 2),
        0.75: L(7.5737e-05, 64, 200, 128, 256, 4, 2),
        1: L(0.0015687, 64, 200, 2, 128, 5, 4),
        1.25: L(0.0027343, 64, 200, 2, 64, 4, 2),
        1.5: L(0.00061794, 64, 200, 128, 64, 10, 4),
    },
    "fixed-uniform": {
        0.25: L(0.001186, 128, 200, 32, 512, 9, 1),
        0.5: L(0.0004103, 128, 200, 256, 1024, 2, 1),
        0.75: L(0.0004166, 128, 200, 1024, 2048, 8, 2),
        1: L(0.00019134, 128, 200, 512, 2048, 4, 3),
        1.25: L(0.00036681, 128, 200, 64, 512, 3, 2),
        1.5: L(0.00041279, 128, 200, 64, None, 10, 4),
        2: L(0.0023334, 128, 100, 512, None, 2, 1),
        2.5: L(0.0004671, 128, 100, 512, None, 2, 1),
        3: L(0.0013489, 512, 100, 512, None, 2, 1),
    },
    "changing-structured": {
        0.5: L(0.0038063, 64, 100, 512, None, 2, 1),
        1: L(0.0013679, 128, 100, 512, None, 2, 1),
        1.5: L(0.0035069, 256, 100, 512, None, 2, 1),
        2: L(0.0017268, 256, 100, 512, None, 2, 1),
        2.5: L(0.00071933, 64, 100, 512, None, 2, 1),
        3: L(0.0015816, 64, 100, 512, None, 2, 1),
    },
    "fixed-structured": {
        0.5: L(0.0025064, 128, 100, 512, None, 2, 1),
        1: L(0.0010658, 64, 100, 512, None, 2, 1),
        1.5: L(0.0016226, 512, 100, 512, None, 2, 1),
        2: L(0.0028581, 512, 100, 512, None, 2, 1),
        2.5: L(0.0016283, 64, 100, 512, None, 2, 1),
        3: L(0.0010818, 128, 100, 512, None, 2, 1),
    },
}

TABLE: Mapping[str, Mapping[str, Mapping[float, Any]]] = {
    "vicreg": VICREG,
    "simclr": SIMCLR,
    "rssm": RSSM,
    "idm": IDM,
    "supervised": SUPERVISED,
}
"""Method -> kind of noise -> level -> numbers. Without noise: ``changing-uniform`` at 0."""


def noisy(noise: str, level: float, world: MovingDots) -> MovingDots:
    """Return the world under a kind of noise at a level; at level 0 as it is."""
    if not level:
        return world
    kind, source = noise.split("-", 1)
    fixed, changing = (level, 0.0) if kind == "fixed" else (0.0, level)
    return replace(world, noise=Noise(fixed=fixed, changing=changing, source=source))


def published(method: str, noise: str, level: float) -> Experiment[Any, MovingDots]:
    """Return a published configuration as an experiment.

    The original trains for 100 epochs (some supervised ones 200) of 10,000 new sequences: LARS with a warm-up of 10 epochs and
    a half cosine to a thousandth; RSSM and supervised learning with Adam at a constant rate. Probes are fitted on 10,000
    sequences and scored on 10,000 others.

    Args:
        method: ``vicreg``, ``simclr``, ``rssm``, ``reconstruction`` (with the numbers of ``rssm``), ``idm``, ``supervised``.
        noise: Kind of noise.
        level: Level of the noise; 0 is 0 of every kind.

    Raises:
        UserError: Nothing was published under that name, for that noise or at that level.
    """
    of_method = TABLE.get("rssm" if method == "reconstruction" else method)
    if of_method is None:
        raise UserError(
            f"method: nothing published for {method!r}{nearest(method, list(TABLE))}; for {', '.join(TABLE)}"
        )
    noise = noise if level else "changing-uniform"
    if noise not in of_method:
        raise UserError(
            f"noise: unknown kind {noise!r}{nearest(noise, list(of_method))}; known: {', '.join(of_method)}"
        )
    row = of_method[noise].get(level)
    if row is None:
        levels = ", ".join(f"{x:g}" for x in of_method[noise])
        raise UserError(f"level: {method} has none published at {level:g} of {noise} noise; published: {levels}")
    epochs = row.epochs if isinstance(row, L) else 100
    epoch = EPOCH // row.batch
    schedule, optimizer = Constant(value=row.rate), "adam"
    if isinstance(row, V | S | I):
        rate = row.rate * row.batch / 256
        schedule = Cosine(value=rate, end=1e-3 * rate, warmup=10 * epoch, until=epochs * epoch)
        optimizer = "lars"
    return Experiment(
        name=f"dots-{method}-{noise}-{level:g}" if level else f"dots-{method}",
        world=noisy(noise, level, MovingDots()),
        data=DataConfig(online=True, train=EPOCH, val=512, test=EPOCH),
        model=_model(method, row),
        training=TrainingConfig(
            steps=epochs * epoch,
            batch_size=row.batch,
            learning_rate=schedule,
            optimizer=optimizer,
            weight_decay=1e-6 if optimizer == "lars" else 0.0,
            clip_norm=1000.0 if method == "rssm" else None,
            keep="last",
            validate_every=5 * epoch,
            checkpoint_every=2 * epoch,
        ),
        tasks=(ProbeRollout(train_sequences=EPOCH), Geometry()),
    )


def _model(method: str, row: V | S | R | I | L) -> JEPAConfig | RSSMConfig:
    """Return the model of a row: MeNet5 of width 2 and 512 dimensions, but for the supervised ones."""
    match row:
        case V():
            return JEPAConfig(prediction=row.prediction, regularizer=VICReg(std=row.std, cov=1.0))
        case S():
            regularizer = AcrossSequences(temperature=row.temperature, normalize=row.normalize)
            return JEPAConfig(prediction=0.0, regularizer=regularizer)
        case R():
            return reconstruction() if method == "reconstruction" else RSSMConfig(min_std=max(row.min_std, 0.01))
        case I():
            inverse = InverseDynamics(weight=row.weight, between="rollout")
            return JEPAConfig(prediction=0.0, regularizer=None, inverse_dynamics=inverse)
        case L():
            return JEPAConfig(
                embedding=row.head or row.outputs,
                head=(row.outputs,) if row.head else (),
                encoder=MeNet(width=row.width),
                layers=row.layers,
                prediction=0.0,
                regularizer=None,
                supervised=1.0,
            )
