"""How well modes are told apart, whatever numbers they were given."""

import torch
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def matched(found: Int[Tensor, " m"], truth: Int[Tensor, " m"]) -> Int[Tensor, " i"]:
    """Return, for every found mode, the true one it stands for: the matching of the highest accuracy.

    It is one to one (the assignment problem, Kuhn 1955): of more found modes than true ones some stand for none, -1.
    """
    sizes = int(found.max()) + 1, int(truth.max()) + 1
    counts = torch.bincount(found * sizes[1] + truth, minlength=sizes[0] * sizes[1]).reshape(sizes)
    rows, columns = linear_sum_assignment(-counts.cpu().numpy())
    names = torch.full((sizes[0],), -1, dtype=torch.int64, device=found.device)
    names[torch.from_numpy(rows).to(found.device)] = torch.from_numpy(columns).to(found.device)
    return names
