"""One trainer for every model: it knows ``loss(batch, step)`` and nothing else."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import reduce, set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dynarium.data import Source
from dynarium.data.memory import keep_freed_memory
from dynarium.errors import RunError, UserError
from dynarium.models.capabilities import Model
from dynarium.training.checkpoint import find_checkpoint, save_weights, write_checkpoint
from dynarium.training.config import TrainingConfig
from dynarium.training.interrupts import Interrupts
from dynarium.training.lars import LARS
from dynarium.training.precision import fastest_precision
from dynarium.training.processes import agreed, training_device, use_cpu
from dynarium.training.progress import TrainingProgress, summary
from dynarium.training.run_directory import RunDirectory
from dynarium.training.trackers import Tracker, make_tracker
from dynarium.types import SequenceBatch

Callback = Callable[[nn.Module, list[Tracker], int], None]


class LossModule(nn.Module):
    """Makes the loss the forward pass, which is what data-parallel wrappers hook into."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: SequenceBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its named terms."""
        return cast(Model, self.model).loss(batch, step)


class State:
    """Where a training stands besides weights, optimiser and random numbers; saved with every checkpoint."""

    def __init__(self, precision: str, seconds: float = 0.0) -> None:
        self.values: dict[str, Any] = {
            "step": 0,
            "precision": precision,
            "best": math.inf,
            "waited": 0,
            "mean": 0.0,
            "size": 0.0,
            "largest_first": 0.0,
            "seconds": seconds,
            "sums": {},
            "counted": 0,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the values."""
        return self.values

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Take the values; what an older checkpoint lacks stays as it is."""
        self.values = self.values | values

    def add(self, terms: dict[str, float]) -> None:
        """Add the terms of one step to the sums of the next line of metrics."""
        sums = self.values["sums"]
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value
        self.values["counted"] += 1

    def means(self) -> dict[str, float]:
        """Return the means since the last call."""
        means = {name: value / self.values["counted"] for name, value in self.values["sums"].items()}
        self.values |= {"sums": {}, "counted": 0}
        return means

    def exploded(self, loss: float, gradient_norm: float, factor: float) -> str:
        """Return why a step is beyond recovery, or an empty string; follows the loss's running mean and size.

        A loss no larger than those of the first steps has not exploded, however small it had become.
        """
        values = self.values
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(gradient_norm):
            return f"the gradient's norm is {gradient_norm}"
        if values["step"] <= 20:
            values["largest_first"] = max(values["largest_first"], abs(loss))
        usual = max(values["size"], 1e-6)
        if abs(loss) > values["largest_first"] and abs(loss - values["mean"]) > factor * usual and values["step"] > 20:
            return f"the loss jumped to {loss:.4g} from a running mean of {values['mean']:.4g}"
        rate = max(0.01, 1 / (values["step"] + 1))
        values["mean"] += rate * (loss - values["mean"])
        values["size"] += rate * (abs(loss) - values["size"])
        return ""


def optimizer_of(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the configured optimiser of a model's parameters."""
    parameters: list[Any] = [p for p in model.parameters() if p.requires_grad]
    options: dict[str, Any] = {"lr": config.learning_rate(0), "weight_decay": config.weight_decay}
    if config.optimizer == "lars":
        return LARS(parameters, **options)
    if config.decayed == "matrices":
        matrices, others = ([p for p in parameters if (p.ndim > 1) == kind] for kind in (True, False))
        parameters = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    momentum, decay = config.betas
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=momentum, **options)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, alpha=decay, **options)
    options |= {"betas": config.betas} | ({"fused": True} if config.fused else {})
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer](parameters, **options)


class Trainer:
    """Trains a model on a source and keeps the run's directory.

    Args:
        model: Anything with ``loss(batch, step) -> (scalar, {name: scalar})``.
        train: Batches to learn from.
        val: Batches to choose the best weights by; ``None``: the last weights are the best.
        config: How to train.
        run: Where to write.
        callbacks: Called with (model in eval mode, trackers, step) every ``media_every`` steps.
        quiet: Print nothing.
        described: The configuration that trackers are told.
        spent: Seconds that went into the model before its first step, e.g. into EM; they count as training.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Source,
        val: Source | None,
        config: TrainingConfig,
        run: RunDirectory,
        *,
        callbacks: Sequence[Callback] = (),
        quiet: bool = False,
        described: dict[str, Any] | None = None,
        spent: float = 0.0,
    ) -> None:
        if train.batches_per_epoch < 1:
            raise UserError("data: the training split is smaller than one batch")
        self.model, self.train, self.val, self.config, self.run = model, train, val, config, run
        self.callbacks, self.quiet, self.described, self.spent = callbacks, quiet, described or {}, spent

    # ---- the loop --------------------------------------------------------------------------------------------------

    def fit(self, *, resume: bool = False) -> None:
        """Train to the configured step. With ``resume``: continue bit by bit where the last checkpoint left off.

        Raises:
            UserError: There is no checkpoint to resume from.
            RunError: The loss or its gradient is not finite, or exploded; the batch is saved.
            KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved.
        """
        self._set_up(resume)
        state, config = self.state.values, self.config
        if state["step"] >= config.steps:
            with TrainingProgress(state["step"], config.steps, quiet=self.quiet or not self.main) as progress:
                progress.say(f"{self.run.directory} is finished: it has its {config.steps} steps already")
            return
        self._open_run()
        began = time.monotonic() - state["seconds"]
        patience = config.early_stopping
        with (
            TrainingProgress(state["step"], config.steps, quiet=self.quiet or not self.main) as progress,
            Interrupts() as stop,
        ):
            self._introduce(progress, resume)
            for batch in self._endless(state["step"]):
                if state["step"] >= config.steps or (patience is not None and state["waited"] >= patience):
                    break
                loss = self._step(batch)
                state["seconds"] = time.monotonic() - began
                step, last = state["step"], state["step"] == config.steps
                shown = {"loss": loss}
                if step % config.log_every == 0 or last:
                    self._log("train", self.state.means() | {"learning_rate": config.learning_rate(step - 1)})
                if self.val is not None and (step % config.validate_every == 0 or last):
                    shown["val"] = self._validate()
                if self.callbacks and self.trackers and (step % config.media_every == 0 or last):
                    self._show()
                interrupted = self._any(stop.asked)
                if step % config.checkpoint_every == 0 or last or interrupted:
                    self._checkpoint()
                progress.step(step, **shown)
                if interrupted:
                    progress.say(
                        f"interrupted after step {step}; saved. Go on with: dynarium train --resume {self.run.directory}"
                    )
                    self._close()
                    raise KeyboardInterrupt
            if state["step"] < config.steps:
                progress.say(f"stopped early after step {state['step']}: {patience} validations without a better one")
                self._checkpoint()
        self._close()

    def _set_up(self, resume: bool) -> None:
        config = self.config
        saved = self._saved_precision() if resume else None
        wanted = saved or config.precision
        self.timings: dict[str, float] = {}
        keep_freed_memory()
        if wanted == "auto":
            device = training_device()
            batch = next(self.train.batches(0)).to(device)
            wanted, self.timings = agreed(fastest_precision(self.model.to(device), batch))
        AcceleratorState._reset_state()  # a second training in this process may choose another precision
        self.accelerator = Accelerator(cpu=use_cpu(), mixed_precision="bf16" if wanted == "bfloat16" else "no")
        self.main = self.accelerator.is_main_process
        self.wrapped, self.optimizer = self.accelerator.prepare(
            LossModule(self.model), optimizer_of(self.model, config)
        )
        self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema)) if config.ema else None
        self.state = State(wanted, self.spent)
        self.accelerator.register_for_checkpointing(self.state, *([self.ema] if self.ema else []))
        if resume:
            self.accelerator.load_state(str(find_checkpoint(self.run.checkpoints, "last") / "state"))
        else:
            # After the weights are drawn: the noise of every process its own, that of the main one a function of the seed.
            set_seed(config.seed, device_specific=True)

    def _open_run(self) -> None:
        """Write what a beginning or resumed training leaves in the run's directory, and open the trackers."""
        self.trackers: list[Tracker] = []
        if not self.main:
            return
        self.run.forget_after(self.state.values["step"])
        self.run.write_environment(
            precision=self.state.values["precision"],
            step_seconds=self.timings,
            processes=self.accelerator.num_processes,
            device=str(self.accelerator.device),
            parameters=sum(p.numel() for p in self.model.parameters() if p.requires_grad),
        )
        self.trackers = [make_tracker(name, self.run.directory, self.described) for name in self.config.trackers]

    def _saved_precision(self) -> str:
        folder = find_checkpoint(self.run.checkpoints, "last")
        return json.loads((folder / "about.json").read_text(encoding="utf-8"))["precision"]

    def _introduce(self, progress: TrainingProgress, resume: bool) -> None:
        state = self.state.values
        if resume:
            progress.say(f"resumed {self.run.directory} after step {state['step']}")
        else:
            progress.say(f"run {self.run.directory}")
        timed = ", ".join(f"{name} {1e3 * seconds:.0f} ms" for name, seconds in self.timings.items())
        progress.say(f"{self.accelerator.device}, {state['precision']}" + (f" (a step takes {timed})" if timed else ""))

    def _endless(self, step: int) -> Iterator[SequenceBatch]:
        first, start = divmod(step, self.train.batches_per_epoch)
        for epoch in count(first):
            for batch in self.train.batches(epoch, start if epoch == first else 0):
                yield batch.to(self.accelerator.device)

    def _step(self, batch: SequenceBatch) -> float:
        """Take one optimiser step and return the loss, averaged over the processes."""
        config, step = self.config, self.state.values["step"]
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate(step)
        with self.accelerator.autocast():
            loss, terms = self.wrapped(batch, step)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        limit = math.inf if config.clip_norm is None else config.clip_norm
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
        assert norm is not None
        values = {"loss": loss.detach(), **terms}
        numbers = self._mean(torch.stack([torch.as_tensor(v).detach().float() for v in values.values()]))
        named = dict(zip(values, numbers.tolist(), strict=True)) | {"gradient_norm": float(norm)}
        if problem := self.state.exploded(named["loss"], named["gradient_norm"], config.explode):
            self._fail(batch, named, problem)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        self.state.add(named)
        self.state.values["step"] = step + 1
        return named["loss"]

    # ---- what happens now and then ---------------------------------------------------------------------------------

    def _best_model(self) -> nn.Module:
        return self.model if self.ema is None else self.ema.module

    @torch.no_grad()
    def _validate(self) -> float:
        assert self.val is not None
        model, totals, n = self._best_model().eval(), {}, 0
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        for i, batch in enumerate(self.val.batches(0)):
            if i % world != rank:
                continue
            with self.accelerator.autocast():
                loss, terms = cast(Model, model).loss(batch.to(self.accelerator.device), self.state.values["step"])
            for name, value in {"loss": loss, **terms}.items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(batch)
            n += len(batch)
        if world > 1:
            names = agreed(sorted(totals))
            vector = torch.tensor([totals.get(name, 0.0) for name in names] + [n], dtype=torch.float64)
            vector = reduce(vector.to(self.accelerator.device), "sum")
            totals, n = dict(zip(names, vector[:-1].tolist(), strict=True)), float(vector[-1])
        means = {name: total / n for name, total in totals.items()}
        self._log("val", means)
        state = self.state.values
        better = means["loss"] < state["best"]
        state["best"], state["waited"] = (means["loss"], 0) if better else (state["best"], state["waited"] + 1)
        if better and self.config.keep == "best":
            self._save_best(means["loss"])
        return means["loss"]

    def _save_best(self, loss: float | None) -> None:
        if self.main:
            about = {"step": self.state.values["step"], "val_loss": loss}
            write_checkpoint(
                self.run.checkpoints / "best", lambda folder: save_weights(self._best_model(), folder, **about)
            )

    def _checkpoint(self) -> None:
        """Save everything that continuing bit by bit needs."""
        state = self.state.values
        if self.val is None or self.config.keep == "last":
            self._save_best(None)
        if self.accelerator.num_processes == 1:
            write_checkpoint(self.run.checkpoints / "last", self._write_last)
            return
        # Every process writes its own random state into a common folder, which the main one then puts in place.
        common = self.run.checkpoints / f".state-{state['step']}"
        self.accelerator.save_state(str(common))
        self.accelerator.wait_for_everyone()
        if self.main:
            write_checkpoint(self.run.checkpoints / "last", lambda folder: self._write_last(folder, common))
        self.accelerator.wait_for_everyone()

    def _write_last(self, folder: Path, common: Path | None = None) -> None:
        state = self.state.values
        if common is None:
            self.accelerator.save_state(str(folder / "state"))
        else:
            common.rename(folder / "state")
        save_weights(self._best_model(), folder, step=state["step"], precision=state["precision"])

    def _show(self) -> None:
        model = self._best_model().eval()
        random = torch.get_rng_state()
        for callback in self.callbacks:
            callback(model, self.trackers, self.state.values["step"])
        torch.set_rng_state(random)

    def _log(self, split: str, values: dict[str, float]) -> None:
        if not self.main:
            return
        state = self.state.values
        epoch = state["step"] / self.train.batches_per_epoch
        where = {"step": state["step"], "epoch": round(epoch, 3), "seconds": round(state["seconds"], 3), "split": split}
        self.run.append(where | values)
        for tracker in self.trackers:
            tracker.scalars({f"{split}/{name}": value for name, value in values.items()}, state["step"])

    def _fail(self, batch: SequenceBatch, values: dict[str, float], problem: str) -> None:
        """Save the batch and the weights of a step that cannot be taken, and stop."""
        step = self.state.values["step"]
        folder = self.run.directory / "failure"
        if self.main:
            folder.mkdir(exist_ok=True)
            context = {} if batch.context is None else batch.context.present()
            saved = {"batch": batch.present(), "context": context, "step": step, "model": self.model.state_dict()}
            torch.save(saved, folder / "step.pt")
            bad = [n for n, p in self.model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
            record = {"step": step, "problem": problem, "not_finite_gradients": bad, **values}
            (folder / "failure.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            self._close()
        raise RunError(f"{problem} at step {step} ({summary(values)}); batch and weights are in {folder}")

    def _mean(self, values: Tensor) -> Tensor:
        return values if self.accelerator.num_processes == 1 else cast(Tensor, reduce(values, "mean"))

    def _any(self, asked: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return asked
        return bool(reduce(torch.tensor(float(asked), device=self.accelerator.device), "sum"))

    def _close(self) -> None:
        for tracker in self.trackers:
            tracker.close()
