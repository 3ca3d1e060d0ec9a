"""A slimmer network out of a large one: blocks keep the channels that say most, and weights make up for the rest.

Each block's narrowing layer is linear in the channels before it. So dropping channels is a regression: which ones, with
the others' weights fitted again, reproduce best what the block put out on real pictures? (He et al., arXiv:1707.06168.)
Channels go one at a time, the one that costs least, as in Optimal Brain Surgeon (Hassibi & Stork, 1992).
"""

import torch
from torch import Tensor, nn

RIDGE = 1e-4  # of the mean variance: keeps the inverse finite where channels say the same


def surgeon(inputs: Tensor, outputs: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which `keep` columns of inputs (M, C) give outputs (M, D) best by least squares.

    Returns their indices (keep,) ascending, weights (D, keep) and bias (D,), float32.
    """
    x, y = inputs.double(), outputs.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    gram = x.T @ x
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    inverse = torch.linalg.inv(gram)
    weights = (inverse @ (x.T @ y)).T  # (D, C), the best fit with all of them
    alive = torch.ones(x.shape[1], dtype=torch.bool)
    for _ in range(x.shape[1] - keep):
        cost = weights.square().sum(0) / inverse.diagonal()
        gone = int(cost.masked_fill(~alive, torch.inf).argmin())
        row, pivot = inverse[gone].clone(), inverse[gone, gone].clone()
        weights = weights - torch.outer(weights[:, gone], row) / pivot
        inverse = inverse - torch.outer(row, row) / pivot
        alive[gone] = False
        inverse[gone, gone] = 1.0  # its row and column are zero now
    kept = alive.nonzero()[:, 0]
    weights = weights[:, kept]
    return kept, weights.float(), (mean_y - weights @ mean_x[kept]).float()


def put(layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Weights and bias into a ConvNorm's convolution and batch norm, which does nothing else then."""
    assert isinstance(layer, nn.Sequential)
    convolution, norm = layer[0], layer[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        convolution.weight.copy_(weight.reshape(convolution.weight.shape))
        norm.weight.fill_(1.0)
        norm.bias.copy_(bias)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)
