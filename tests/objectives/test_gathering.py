"""Two processes with half of a batch each have the losses and the gradients of one process with all of it."""

import os
import subprocess
import sys

import torch

from dynarium.models.jepa_terms import AcrossSequences, SIGReg, VICReg, WithinTrajectory

GROUPS = [VICReg(over=over, std_over_time=0.3) for over in ("steps", "later-steps", "first-step", "frames")]
GROUPS += [SIGReg(directions=8), SIGReg(directions=8, over="frames"), AcrossSequences(), WithinTrajectory()]

SCRIPT = """
import sys, torch, torch.distributed as dist
from dynarium.models.jepa_terms import *
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method="file://" + folder + "/meeting", rank=rank, world_size=2)
data = torch.load(folder + "/data.pt")
found = []
for group in eval(data["groups"]):
    weight = torch.nn.Linear(4, 4, bias=False, dtype=torch.float64)
    with torch.no_grad():
        weight.weight.copy_(data["weight"])
    x = data["x"][3 * rank : 3 * rank + 3]
    e = weight(x)
    loss = sum(w * value for w, value in group.terms(e, torch.tanh(e[:, :-1]), 5).values())
    loss.backward()
    found.append((loss.detach(), weight.weight.grad))
torch.save(found, f"{folder}/{rank}.pt")
"""


def test_two_processes_are_one(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 5, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    torch.save({"x": x, "weight": weight, "groups": repr(GROUPS)}, tmp_path / "data.pt")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, "-W", "error", "-c", SCRIPT, str(rank), str(tmp_path)] for rank in range(2)]
    running = [subprocess.Popen(c, env=environment, stderr=subprocess.PIPE, text=True) for c in commands]
    for process in running:
        _, complaint = process.communicate(timeout=240)
        assert process.returncode == 0, complaint
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for i, group in enumerate(GROUPS):
        w = weight.clone().requires_grad_()
        e = x @ w.T
        loss = sum(share * value for share, value in group.terms(e, torch.tanh(e[:, :-1]), 5).values())
        loss.backward()
        mean = (parts[0][i][0] + parts[1][i][0]) / 2
        torch.testing.assert_close(mean, loss.detach())
        # What data-parallel training does with the gradients of its processes: their mean.
        torch.testing.assert_close((parts[0][i][1] + parts[1][i][1]) / 2, w.grad)
        if not isinstance(group, WithinTrajectory) and not getattr(group, "std_over_time", 0):
            torch.testing.assert_close(parts[0][i][0], loss.detach())  # both see the whole batch
