"""Draw what a run of slds-nascar or slds-lorenz has learned: true and inferred vector field and modes, side by side.

    python benchmarks/slds_fields.py RUN PICTURE.svg

The states of the model are those of the world up to an affine map, which a regression on training sequences finds; modes are
named as in ``dynarium.metrics.segmentation``. The Lorenz attractor is drawn in (x, z), its field on the attractor's states.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from dynarium.metrics.segmentation import matched
from dynarium.recipes import load_run
from dynarium.reporting.fields import Field, vector_fields
from dynarium.systems.nascar import track


def main() -> None:
    if len(sys.argv) != 3:
        print(__doc__)
        return
    run = load_run(sys.argv[1])
    nascar = type(run.experiment.world).__name__ == "Nascar"
    shift, plane, scale = (1, [0, 1], 1.0) if nascar else (0, [0, 2], 3.0)
    model, train = run.model, run.dataset.batch("train", range(30))
    test = run.dataset.batch("test", range(20))
    states, wanted = model.encode(train)["x"].flatten(0, 1), train.state.double().flatten(0, 1)
    design = torch.cat([states, torch.ones(len(states), 1, dtype=states.dtype)], 1)
    weights = torch.linalg.lstsq(design, wanted).solution
    back, offset = weights[:-1].mT, weights[-1]
    path = model.segment(test)
    names = matched(path[:, shift:].flatten(), test.mode[:, : test.mode.shape[1] - shift].flatten().long())
    if nascar:
        grid = torch.stack(torch.meshgrid(*[torch.linspace(-a, a, 15) for a in (4.5, 3.5)], indexing="ij"), -1)
        place = grid.flatten(0, 1).double()
        x1, x2 = place.unbind(-1)
        mode = torch.where(x1 > 2, 0, torch.where(x1 < -2, 1, torch.where(x2 > 0, 2, 3)))
        A, b = track()
        step = torch.einsum("mij,mj->mi", A[mode], place) + b[mode] - place
    else:
        place = test.state.double().flatten(0, 1)[::60]
        mode = (place[:, 0] > 0).long()
        step = run.experiment.world.dt * run.experiment.world._rhs(place)
    inferred, chosen = model.vector_field(torch.linalg.solve(back, (place - offset).mT).mT)
    truth_path, found_path = test.state[0].double(), model.encode(test)["x"][0] @ back.mT + offset

    def field(title, steps, modes, states, path_modes):
        arrays = (place[:, plane], steps[:, plane], modes, states[:, plane], path_modes)
        place_, step_, mode_, path_, path_mode_ = (np.asarray(a.detach()) for a in arrays)
        return Field(title=title, place=place_, step=step_, mode=mode_, path=path_, path_mode=path_mode_)

    path_mode = torch.cat([names[path[0, shift:]], names[path[0, -1:]].expand(shift)])
    fields = [
        field("true", step, mode, truth_path, test.mode[0].long()),
        field("inferred", inferred @ back.mT, names[chosen], found_path, path_mode),
    ]
    axes = ("x1", "x2") if nascar else ("x", "z")
    Path(sys.argv[2]).write_text(vector_fields(fields, axes=axes, scale=scale) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
