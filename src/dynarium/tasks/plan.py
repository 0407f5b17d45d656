"""Planning: reach a goal that is shown as a picture, by what the model imagines."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from dynarium.errors import UserError
from dynarium.metrics.estimate import ratio_estimate
from dynarium.metrics.intervals import wilson
from dynarium.models.capabilities import Imagines
from dynarium.nn.frames import as_float
from dynarium.tasks.acting import Episodes, Policy, Problems, act, problems_of
from dynarium.tasks.common import device_of, need
from dynarium.tasks.origin import Origin, sequences_of, world_of
from dynarium.tasks.planners import CEM, ICEM, MPPI, GradientMPC, Search
from dynarium.tasks.policies import Distance, Searching, latent_costs, random_policy, straight_policy, true_costs
from dynarium.tasks.probe_rollout import ProbeRollout
from dynarium.types import Result, Row

TOLERANCES = (2**0.5 / 65, 4.5 / 65, 16 / 224)
"""How close counts as there, as shares of a frame's side, by the published protocols of two rooms: a mean squared error of a
coordinate below 1 px of 65 (Sobal et al. 2025), 4.5 px of 65 (arXiv 2602.03604), 16 px of 224 (arXiv 2605.21800)."""

SCALED = 256
"""Training sequences that the scale of a saturating distance is measured on."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Model predictive control in latent space (Sobal et al. 2025; Hafner et al. 2019).

    From the picture of where it is, the planner searches the actions whose imagined latents come closest to the latent of
    the goal's picture, carries out the first ones, looks again. All problems are planned in the same calls of ``imagine``.

    Metrics, at each tolerance: ``success_final``, the share of episodes that end within it, and ``success_any``, of those
    that ever come within it, with ``_low`` and ``_high`` the bounds of Wilson's 95 % interval; of the episodes that do come,
    ``steps_to_goal`` and ``path_excess``: the way travelled until then and the shortest rest, over the shortest way from
    start to goal, less 1 (of worlds that know their ``shortest_path``). Also ``final_distance_px``, and
    ``imagined_steps``, the price: the steps that a planner imagines in an episode. Published numbers differ in tolerance,
    horizon and budget: the settings stand beside every number.

    Rows: ``latent`` (the model), ``true-dynamics`` (a bound: the same planner, which knows the true law, state and goal, and
    the shortest ways where the world does), and the trivial ``random`` and ``straight-line`` (which knows both positions and
    no walls).

    Attributes:
        planner: ``CEM``, ``ICEM``, ``MPPI`` or ``GradientMPC``.
        horizon: Steps that are imagined.
        replan: Actions that are carried out before the next look.
        steps: Steps of an episode.
        cost: Latent distance to the goal: the ``sum`` over the horizon, or at the ``last`` step.
        distance: ``squared``: the mean squared difference of two latents; ``euclidean``: its root; ``saturating``: beyond
            what is ``near`` all places are about as far, so that a way around a wall costs its time and not its distance.
        near: Steps apart of two frames of the training sequences whose mean squared difference a ``saturating`` distance
            calls 1 - 1/e.
        warm: A search starts from the last one's plan, shifted.
        max_norm: Length of the longest action; ``None``: the world's ``max_action`` or ``max_step``, or the longest drawn.
        tolerances: In pixels; ``None``: the published ones, at the scale of the frames.
        stop: End an episode within so many pixels of the goal; ``None``: it goes on, and has to stay there.
        apart: Least distance of start and goal in pixels.
        detour: Least shortest way as a multiple of that distance: above 1, all problems lead around a wall.
        world: Where to act; ``None``: the world of the dataset.
        dims: The dimensions of the state that are x and y, in pixels.
        precision: Of what the model imagines; the world stays in double precision.
        memory: Limit on the memory of what is imagined at once, in MiB, about.
        probed: Sequences to which the probe of beliefs, for the pictures, is fitted; 0: none.
        split: Name of the problems; problems of another split are others.
        sequences: Number of problems.
        shown: Episodes kept for pictures.
        seed: Seed of problems and planner.
    """

    planner: CEM | ICEM | MPPI | GradientMPC = field(default_factory=CEM)
    horizon: int = 16
    replan: int = 1
    steps: int = 40
    cost: Literal["sum", "last"] = "sum"
    distance: Distance = "squared"
    near: int = 6
    warm: bool = True
    max_norm: float | None = None
    tolerances: tuple[float, ...] | None = None
    stop: float | None = None
    apart: float = 0.0
    detour: float = 1.0
    world: Any = None
    dims: tuple[int, int] = (0, 1)
    precision: Literal["float32", "bfloat16"] = "float32"
    memory: int = 512
    probed: int = 500
    split: str = "test"
    sequences: int = 100
    shown: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UserError: One is out of range.
        """
        counts = (self.horizon, self.replan, self.steps, self.sequences, self.memory, self.near)
        if min(counts) < 1 or self.replan > self.horizon:
            raise UserError(
                "plan: expected horizon, replan, steps, sequences, memory, near >= 1 and replan at most the horizon, "
                f"got {', '.join(str(count) for count in counts)}"
            )
        if self.max_norm is not None and self.max_norm <= 0:
            raise UserError(f"plan.max_norm: expected a positive number, got {self.max_norm}")

    @property
    def name(self) -> str:
        """The task's name: ``plan``, with planner and cost where they are not the default."""
        planner = "" if isinstance(self.planner, CEM) else type(self.planner).__name__.lower()
        return "-".join(word for word in ("plan", planner, "last" if self.cost == "last" else "") if word)

    @torch.no_grad()
    def run(self, model: Any, dataset: Origin) -> Result:
        """Act, and count.

        Raises:
            UserError: The model does not imagine, or one cannot act in the world.
        """
        need(model, Imagines, self.name)
        world: Any = self.world if self.world is not None else world_of(dataset, self.name)
        problems = problems_of(
            world,
            self.sequences,
            self.steps,
            dims=self.dims,
            distance=self.apart,
            detour=self.detour,
            seed=self.seed,
            split=self.split,
        )
        limit = problems.limit if self.max_norm is None else self.max_norm
        side = problems.frames(problems.start[:1], torch.zeros(1, dtype=torch.int64), 0).shape[-1]
        options = {"horizon": self.horizon, "replan": self.replan, "limit": limit, "warm": self.warm, "seed": self.seed}
        scale = self._scale(model, world) if self.distance == "saturating" else 1.0
        known = latent_costs(model, problems, over=self.cost, distance=self.distance, memory=self.memory, near=scale)
        latent = Searching(self.planner, known, problems, **options)
        bound = Searching(self.planner, true_costs(problems, over=self.cost), problems, **options)
        policies: dict[str, Policy] = {
            "latent": latent,
            "true-dynamics": bound,
            "random": random_policy(problems, limit, self.seed),
            "straight-line": straight_policy(problems, limit),
        }
        rows: list[Row] = []
        examples: dict[str, Tensor] = {}
        for method, policy in policies.items():
            low = policy is latent and self.precision == "bfloat16"
            with torch.autocast(device_of(model).type, torch.bfloat16, enabled=low):
                episodes = act(problems, policy, self.steps, stop=self.stop)
            rows += self._rows(method, episodes, problems, side, baseline=method in ("random", "straight-line"))
            if policy is latent and self.shown:
                examples = self._pictures(model, world, problems, episodes, latent)
            elif self.shown:
                examples[f"path/{method}"] = episodes.state[: self.shown, :, list(self.dims)]
            if isinstance(policy, Searching):
                steps = float(len(policy.plans) * self.planner.candidates * self.horizon)
                over = {"horizon": self.horizon, "replan": self.replan}
                rows.append(_row(method, "imagined_steps", over, steps, math.nan, self.sequences, False))
        return Result(task=self.name, rows=tuple(rows), examples=examples)

    def _scale(self, model: Any, world: Any) -> float:
        """Return the mean squared difference of the latents of training frames that are ``near`` steps apart."""
        apart: list[Tensor] = []
        for batch in sequences_of(world, "train", SCALED, 64):
            assert batch.video is not None
            latent = model.embed(batch.video[:, :: self.near].to(device_of(model)))
            if latent.shape[1] < 2:
                raise UserError(
                    f"plan.near: expected fewer steps than the {batch.video.shape[1]} of a sequence, got {self.near}"
                )
            apart.append(latent.diff(dim=1).square().mean((1, 2)))
        return float(torch.cat(apart).mean())

    def _pictures(
        self, model: Any, world: Any, problems: Problems, episodes: Episodes, policy: Searching
    ) -> dict[str, Tensor]:
        """Return the frames of a few episodes, where dot and goal are, and what a probe reads off belief and plan."""
        n, device = min(self.shown, self.sequences), device_of(model)
        which, states = torch.arange(n), episodes.state[:n]
        frames = torch.cat([problems.frames(states[:, t], which, t) for t in range(states.shape[1])], 1)
        goal = problems.goal[:n, None, list(self.dims)].expand(-1, states.shape[1], -1)
        found = {"scene": as_float(frames), "marks/truth": states[..., list(self.dims)], "marks/goal": goal}
        if self.probed < 2:
            return found
        probe = ProbeRollout(dims=self.dims)
        encoded, imagined = probe.readers(probe.rollouts(model, world, "train", self.probed)[0])
        beliefs, ahead, plan = [], [], Search(plan=policy.plan[:n])
        for t in range(states.shape[1]):
            plan = Search(plan=policy.plans[t][:n]) if t in policy.plans else plan.shifted(1)
            start = model.embed(frames[:, t : t + 1].to(device))[:, 0]
            latents = model.imagine(start, plan.plan.to(device)).float().cpu()
            beliefs.append(encoded(start.float().cpu()))
            ahead.append(imagined(latents.flatten(0, 1)).unflatten(0, latents.shape[:2]))
        return found | {"marks/belief": torch.stack(beliefs, 1), "ahead/plan": torch.stack(ahead, 1)}

    def _rows(self, method: str, episodes: Episodes, problems: Problems, side: int, *, baseline: bool) -> list[Row]:
        """Return how often, how fast and how straight one policy came to its goals."""
        distance = problems.distance(episodes.state)
        shortest, travelled = problems.shortest(problems.start, problems.goal), episodes.travelled(problems.dims)
        n, each = len(distance), torch.arange(len(distance))
        tolerances = [share * side for share in TOLERANCES] if self.tolerances is None else self.tolerances
        setting = {"steps": self.steps, "horizon": self.horizon, "replan": self.replan}
        setting |= {"candidates": self.planner.candidates}
        rows = []
        for tolerance in tolerances:
            over = {"tolerance_px": round(tolerance, 3)} | setting
            came, first = episodes.reached(distance, tolerance)
            for metric, hits in (("success_final", distance[:, -1] <= tolerance), ("success_any", came)):
                share, (low, high) = float(hits.double().mean()), wilson(int(hits.sum()), n)
                rows.append(_row(method, metric, over, share, (share * (1 - share) / n) ** 0.5, n, baseline))
                rows.append(_row(method, f"{metric}_low", over, low, math.nan, n, baseline))
                rows.append(_row(method, f"{metric}_high", over, high, math.nan, n, baseline))
            rows.append(_mean_row(method, "steps_to_goal", over, first[came].double(), baseline))
            if not bool(shortest.isnan().all()):
                rest = problems.shortest(episodes.state[each, first], problems.goal)
                excess = (travelled[each, first] + rest) / shortest - 1
                rows.append(_mean_row(method, "path_excess", over, excess[came & (shortest > 0)], baseline))
        rows.append(_mean_row(method, "final_distance_px", setting, distance[:, -1], baseline))
        return rows


def _mean_row(method: str, metric: str, condition: dict[str, Any], values: Tensor, baseline: bool) -> Row:
    """Return a mean over episodes; NaN where there is none."""
    value, error, n = ratio_estimate(values.double(), torch.ones_like(values, dtype=torch.float64))
    return _row(method, metric, condition, value, error, n, baseline)


def _row(
    method: str, metric: str, condition: dict[str, Any], value: float, error: float, n: int, baseline: bool
) -> Row:
    return Row(
        method=method, metric=metric, condition=condition, value=value, standard_error=error, n=n, baseline=baseline
    )
