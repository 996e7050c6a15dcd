"""One training: steps, learning rate, and the epoch that validation chooses."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from qtlib.config import TrainConfig
from qtlib.data.windows import Windows
from qtlib.training.encoder import Encoder

CLIP_NORM = 1.0
WARM_UP = 0.2  # part of the steps with a rising learning rate, float training only

Progress = Callable[[int, int, float], None]  # epoch, of how many, validation error


@torch.no_grad()
def forecast(model: nn.Module, x: np.ndarray, batch: int = 512) -> np.ndarray:
    """Scaled forecasts of a torch model in evaluation mode, [N, n, m] -> [N, outputs]."""
    model.eval()
    device = next(model.parameters()).device
    return torch.cat([model(piece.to(device)).cpu() for piece in torch.from_numpy(x).split(batch)]).numpy()


def fit(
    model: nn.Module,
    windows: Windows,
    config: TrainConfig,
    epochs: int,
    learning_rate: float,
    validate: Callable[[], float],
    say: Progress,
    *,
    warm_up: float = 0.0,
) -> pd.DataFrame:
    """Train in place, leave the weights of the best validation error in the model, and return the history."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    x, y = torch.from_numpy(windows.x).to(device), torch.from_numpy(windows.y).to(device)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]  # biases, norms and scales do not decay
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, learning_rate, fused=True)
    total = epochs * math.ceil(len(x) / config.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: _rate(done / total, warm_up))
    shuffle = torch.Generator().manual_seed(config.seed)

    best, best_state = validate(), copy.deepcopy(model.state_dict())
    history = [(0, math.nan, best)]
    for epoch in range(1, epochs + 1):
        model.train()
        losses = []
        for number, index in enumerate(torch.randperm(len(x), generator=shuffle).split(config.batch)):
            losses.append(step(model, optimiser, x[index], y[index], f"epoch {epoch}, step {number}"))
            schedule.step()
        found = validate()
        history.append((epoch, float(np.mean(losses)), found))
        say(epoch, epochs, found)
        if found < best:
            best, best_state = found, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    model.cpu().eval()
    return pd.DataFrame(history, columns=["epoch", "train_loss", "validation_rmse"])


def _rate(part: float, warm_up: float) -> float:
    """Learning rate relative to its peak: a linear rise, then a half cosine to zero."""
    if part < warm_up:
        return 0.05 + 0.95 * part / warm_up
    return 0.5 * (1 + math.cos(math.pi * (part - warm_up) / (1 - warm_up)))


def step(model: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, place: str) -> float:
    """One step on one batch; the loss.

    Args:
        place: epoch and step, for errors.

    Raises:
        FloatingPointError: the loss or the gradient is not finite.
        OverflowError: the quantised model does not fit the engine's widths.
    """
    try:
        loss = nn.functional.mse_loss(model(x), y)
    except OverflowError as error:  # a scale has collapsed or exploded
        raise OverflowError(f"train: {error}, at {place}") from error
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(f"train: the loss is {value} at {place}; not finite: {_not_finite(model, x, y)}")
    optimiser.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM).item()
    if not math.isfinite(norm):
        bad = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        raise FloatingPointError(
            f"train: the gradient norm is {norm} at {place}; not finite: {', '.join(bad) or 'the sum'}"
        )
    optimiser.step()
    return value


def _not_finite(model: nn.Module, x: Tensor, y: Tensor) -> str:
    """Name of the first tensor of a step that is not finite."""
    tensors = {"the inputs": x, "the targets": y} | dict(model.named_parameters())
    if isinstance(model, Encoder):
        tensors |= model.trace(x)
    return next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), "only the loss")
