"""The classical identifiers by name, for signals in any units."""

from dynarium.tasks.fitted_blocks import FittedWienerHammerstein
from dynarium.tasks.identifiers import Arx, ContextMean, Identifier, LastValue, OutputErrorModels, Scaled, Subspace
from dynarium.tasks.kalman_em import KalmanEM

_METHODS: dict[str, Identifier] = {
    "last-value": LastValue(),
    "context-mean": ContextMean(),
    "fir": Arx(feedback=False, orders=(5, 10, 20, 50, 100), ridges=(1e-6, 1e-3, 1e-1)),
    "arx": Arx(),
    "output-error": OutputErrorModels(),
    "subspace": Subspace(),
    "kalman-em": KalmanEM(),
    "wiener-hammerstein": FittedWienerHammerstein(),
}

IDENTIFIERS = {name: Scaled(method) for name, method in _METHODS.items()}

QUICK = ("last-value", "context-mean", "fir", "arx", "output-error", "subspace")
"""What answers at once. EM compiles its sweeps when it is first used, and the gradient fit takes seconds a system."""
