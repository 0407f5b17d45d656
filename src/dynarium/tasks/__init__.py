"""Tasks: the questions. Each is a frozen dataclass of options with ``run(model, dataset) -> Result``."""

from dynarium.registry import Registry
from dynarium.tasks.protocol import Task

TASKS = Registry(
    "task",
    {
        "elbo": "dynarium.tasks.elbo:Elbo",
        "impute": "dynarium.tasks.impute:Impute",
        "generate": "dynarium.tasks.generate:Generate",
        "forecast": "dynarium.tasks.forecast:Forecast",
        "forecast-video": "dynarium.tasks.forecast_video:ForecastVideo",
        "bounces": "dynarium.tasks.bounces:Bounces",
        "forecast-observations": "dynarium.tasks.forecast_observations:ForecastObservations",
        "segment": "dynarium.tasks.segment:Segment",
        "select-modes": "dynarium.tasks.select_modes:SelectModes",
        "probe": "dynarium.tasks.probe:Probe",
        "geometry": "dynarium.tasks.geometry:Geometry",
        "surprise": "dynarium.tasks.surprise:Surprise",
        "plan": "dynarium.tasks.plan:Plan",
        "probe-rollout": "dynarium.tasks.probe_rollout:ProbeRollout",
        "identify": "dynarium.tasks.identify:Identify",
    },
)

__all__ = ["TASKS", "Task"]
