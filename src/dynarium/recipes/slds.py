"""Switching linear dynamics on the NASCAR track and the Lorenz attractor, and plain linear dynamics beside them."""

from dataclasses import replace

from dynarium.models.slds import SLDSConfig
from dynarium.models.slds_learning import EMConfig
from dynarium.objectives.schedules import Constant, Cosine
from dynarium.recipes.experiment import DataConfig, Experiment
from dynarium.systems.lorenz import Lorenz, lorenz
from dynarium.systems.nascar import Nascar, nascar
from dynarium.tasks.forecast_observations import ForecastObservations
from dynarium.tasks.segment import Segment
from dynarium.tasks.select_modes import SelectModes
from dynarium.training import TrainingConfig

ONLY_EM = TrainingConfig(
    steps=1,
    batch_size=60,
    learning_rate=Constant(value=0.0),
    precision="float32",
    validate_every=1,
    checkpoint_every=1,
    log_every=1,
)
"""EM has done everything before the trainer starts: its one step, of rate 0, validates and writes the checkpoint. (The model
computes in float64 whatever the precision.)"""


def slds_nascar() -> Experiment[SLDSConfig, Nascar]:
    """A recurrent SLDS of four modes on the NASCAR track (Linderman et al. 2017, section 5.1, figure 2).

    The paper shows the recovered modes and dynamics in a figure, from Gibbs sampling on one sequence of 10,000 steps; it
    prints no number. Here: 60 sequences of two laps, variational EM, modes counted on held-out sequences. The world's mode of
    step t leads out of that step, the model's into it, so that ``shift`` 1 compares like with like.
    Command: ``dynarium reproduce slds-nascar --seeds 0 1 2``; about a minute a seed on one CPU core.
    """
    return Experiment(
        name="slds-nascar",
        world=nascar(),
        data=DataConfig(train=60, val=20, test=100, workers=1),
        model=SLDSConfig(modes=4, state=2),
        training=ONLY_EM,
        tasks=(Segment(shifts=(0, 1)), ForecastObservations()),
    )


def slds_nascar_standard() -> Experiment[SLDSConfig, Nascar]:
    """The same without recurrence: the next mode depends on the mode before alone.

    Command: ``dynarium reproduce slds-nascar-standard --seeds 0 1 2``.
    """
    base = slds_nascar()
    return replace(base, name="slds-nascar-standard", model=replace(base.model, recurrent=False))


def slds_nascar_modes() -> Experiment[SLDSConfig, Nascar]:
    """How many modes has the NASCAR track? The held-out bound of recurrent SLDS of one to six modes; there are four.

    Command: ``dynarium reproduce slds-nascar-modes --seeds 0``; a few minutes on one CPU core.
    """
    return replace(slds_nascar(), name="slds-nascar-modes", tasks=(SelectModes(),))


def lds_nascar() -> Experiment[SLDSConfig, Nascar]:
    """Plain linear dynamics on the NASCAR track, by exact EM: what switching has to beat.

    Command: ``dynarium reproduce lds-nascar --seeds 0 1 2``.
    """
    base = slds_nascar()
    return replace(base, name="lds-nascar", model=replace(base.model, modes=1))


def lds_nascar_gradient() -> Experiment[SLDSConfig, Nascar]:
    """Plain linear dynamics on the NASCAR track, by gradients of the exact likelihood from the same first guess.

    Command: ``dynarium reproduce lds-nascar-gradient --seeds 0 1 2``.
    """
    steps = 500
    training = replace(
        ONLY_EM,
        steps=steps,
        batch_size=20,
        learning_rate=Cosine(value=1e-2, warmup=20, until=steps),
        validate_every=50,
        checkpoint_every=100,
        log_every=10,
    )
    base = lds_nascar()
    model = replace(base.model, em=EMConfig(iterations=0))
    return replace(base, name="lds-nascar-gradient", model=model, training=training)


def slds_lorenz() -> Experiment[SLDSConfig, Lorenz]:
    """A recurrent SLDS of two modes on the Lorenz attractor: each lobe a mode (Linderman et al. 2017, section 5.2).

    The world is noiseless and nonlinear: two linear modes are an approximation whose border need not be x = 0, and forecasts
    beyond a few turns can leave the attractor for good, as each lobe spirals outwards.
    Command: ``dynarium reproduce slds-lorenz --seeds 0 1 2``; about a minute a seed on one CPU core.
    """
    return Experiment(
        name="slds-lorenz",
        world=lorenz(),
        data=DataConfig(train=60, val=20, test=100, workers=1),
        model=SLDSConfig(modes=2, state=3),
        training=ONLY_EM,
        tasks=(Segment(), ForecastObservations(horizon=100)),
    )
