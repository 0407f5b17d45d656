"""Evidence bounds of the torque-driven pendulum: the Kalman VAE beside deep Kalman filters, all else equal."""

from dynarium.models.dkf import DKFConfig
from dynarium.models.kvae import KVAEConfig
from dynarium.objectives.schedules import Cosine, Linear
from dynarium.recipes.experiment import DataConfig, Experiment
from dynarium.systems.ode import Ode
from dynarium.systems.oscillators import pendulum_16x16
from dynarium.tasks.elbo import Elbo
from dynarium.tasks.forecast import Forecast
from dynarium.tasks.impute import Impute
from dynarium.training import TrainingConfig

STEPS = 3000
CHANNELS = (16, 16, 16)


def pendulum_kvae() -> Experiment[KVAEConfig, Ode]:
    """Kalman VAE on the pendulum."""
    model = KVAEConfig(
        channels=CHANNELS,
        likelihood="gaussian",
        pixel_variance=0.1,
        reconstruction_weight=1.0,
        mixture_learning=Linear(start=0.0, end=1.0, begin=500, until=500),
    )
    return _experiment("pendulum-kvae", model, 3e-3)


def pendulum_dkf() -> Experiment[DKFConfig, Ode]:
    """Deep Kalman filter on the pendulum."""
    return _experiment("pendulum-dkf", _dkf("filter"), 3e-3)


def pendulum_dks() -> Experiment[DKFConfig, Ode]:
    """Deep Kalman smoother on the pendulum."""
    return _experiment("pendulum-dks", _dkf("smooth"), 3e-3)


def _dkf(inference):
    return DKFConfig(
        channels=CHANNELS,
        inference=inference,
        likelihood="gaussian",
        pixel_variance=0.1,
        kl_weight=Linear(start=0.1, end=1.0, until=1000),
    )


def _experiment(name, model, rate):
    """Return an experiment that differs from the others in the model and its learning rate only."""
    return Experiment(
        name=name,
        world=pendulum_16x16(),
        data=DataConfig(train=5000, val=500, test=1000),
        model=model,
        training=TrainingConfig(
            steps=STEPS,
            batch_size=32,
            learning_rate=Cosine(value=rate, warmup=200, until=STEPS),
            clip_norm=10.0,
            precision="float32",
            validate_every=250,
            checkpoint_every=1000,
        ),
        tasks=(
            Elbo(),
            Forecast(metrics=("mse", "valid_prediction_time", "centroid_distance")),
            Impute(random_p=(0.2, 0.5, 0.8), block_steps=(4, 8, 12), all_frames_rates=()),
        ),
    )
