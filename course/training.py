"""One training loop, from a laptop's processor to `torchrun`, with progress, checkpoint and a guard against NaN."""

import math
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from IPython import get_ipython
from IPython.display import display
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from course.device import autocast_dtype

Data = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


class Batches(Protocol):
    """Training data that is read as it is needed, on the model's device: every process yields its share of a batch."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch, the same in every process."""

    def epoch(self, number: int) -> Iterator[Data]:
        """Return this process's share of every batch of epoch `number`, counted from 0."""


class NonFiniteLossError(ArithmeticError):
    """The training loss became NaN or infinite."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, or belongs to another run."""


@dataclass
class History:
    """What `fit` measured, one entry an epoch: losses in nats, accuracy from 0 to 1, seconds since the start.

    `seconds` go on where a resumed run had stopped; `processes` is how many trained that epoch.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)


def rank_and_processes() -> tuple[int, int]:
    """Return this process's number, from 0, and how many there are: 0 and 1 outside `torchrun`."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@torch.no_grad()
def predict(model: nn.Module, inputs: Tensor, batch_size: int = 2048) -> Tensor:
    """Return the model's outputs for all `inputs` in evaluation mode, as float32 of shape (n, …)."""
    was_training = model.training
    model.eval()
    with _autocast(inputs.device):
        outputs = torch.cat([model(batch).float() for batch in inputs.split(batch_size)])
    model.train(was_training)
    return outputs


def evaluate(model: nn.Module, data: Data | Iterable[Data], loss: Loss = F.cross_entropy) -> tuple[float, float]:
    """Return the mean loss and the accuracy (0 to 1) of a classifier over `data`, every example weighed alike.

    Under `torchrun` each process takes its share and all get the same result, with process 0's running statistics of
    batch normalisation.

    Args:
        model: a classifier, or one wrapped in DistributedDataParallel.
        data: inputs and targets; or batches that are read as they are needed, in each process its own share.

    Raises:
        ValueError: there is nothing to evaluate on, or there are fewer examples than processes.
    """
    rank, processes = rank_and_processes()
    model = _unwrapped(model)  # the wrapper talks to the other processes at every call, and shares differ in length
    if processes > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
    if isinstance(data, tuple):
        inputs, targets = data
        if len(inputs) < processes:
            raise ValueError(f"{len(inputs)} examples cannot be shared among {processes} processes.")
        data = [(inputs[rank::processes], targets[rank::processes])]
    sums = torch.zeros(3, device=_device(model))
    for inputs, targets in data:
        outputs = predict(model, inputs)
        right = (outputs.argmax(1) == targets).sum()
        n = torch.tensor(len(targets), device=right.device)
        sums += torch.stack([loss(outputs, targets) * n, right, n])
    if processes > 1:
        dist.all_reduce(sums)
    total_loss, total_right, n = sums.tolist()
    if not n:
        raise ValueError("There is no example to evaluate on.")
    return total_loss / n, total_right / n


def fit(
    model: nn.Module,
    train: Data | Batches,
    validation: Data | Iterable[Data],
    *,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    batch_size: int,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    augment: Callable[[Tensor], Tensor] | None = None,
    loss: Loss = F.cross_entropy,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
    after_epoch: Callable[[History], None] | None = None,
) -> History:
    """Train a classifier in place on data that lie on its device, and return what was measured.

    All randomness of an epoch follows from `seed` and the epoch's number, so a run resumed from `checkpoint` gives
    the same result as one that was never interrupted. An epoch's last, incomplete batch is left out. Under
    `torchrun`, wrap the model in DistributedDataParallel first; each process then takes its share of every batch.

    Args:
        train: inputs of shape (n, …) and targets of shape (n,); or `Batches`, read as they are needed.
        validation: what `evaluate` takes, for the measurement after each epoch.
        batch_size: examples an optimiser step, over all processes.
        scheduler: stepped after every batch.
        augment: applied to every training batch of tensors.
        checkpoint: file to resume from where it exists; written after each epoch. Several machines need one that all
            of them see.
        settings: what else a checkpoint must agree with before a run goes on from it.
        after_epoch: called in every process after each epoch, when the checkpoint is written.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite; the last good epoch is in `checkpoint`.
        CheckpointError: the checkpoint cannot be written, or belongs to a run with other settings.
        ValueError: no epoch is asked for, or the batch is larger than the data or no multiple of the processes.
    """
    rank, processes = rank_and_processes()
    device = _device(model)
    checkpoint = Path(checkpoint) if checkpoint else None
    if checkpoint and not checkpoint.parent.is_dir():
        raise CheckpointError(f"There is no folder {checkpoint.parent} for the checkpoint. Create it first.")
    if epochs < 1:
        raise ValueError(f"epochs {epochs}: at least 1 is needed.")
    if isinstance(train, tuple):
        n = len(train[0])
        if not 0 < batch_size <= n or batch_size % processes:
            raise ValueError(f"batch_size {batch_size}: between 1 and {n}, a multiple of {processes} is needed.")
        train = _InMemory(*train, batch_size, augment)
    settings = {"epochs": epochs, "batch_size": batch_size, "seed": seed, **(settings or {})}
    parts = {"model": _unwrapped(model), "optimizer": optimizer} | ({"scheduler": scheduler} if scheduler else {})
    history = _resume(checkpoint, parts, settings, device)
    saved = len(history.seconds)
    _agree(saved, device)
    progress = _Progress(epochs, done=saved, silent=rank > 0)
    offset_s = history.seconds[-1] if history.seconds else 0.0
    start_s = time.perf_counter()
    devices = [device] if device.type == "cuda" else []
    autocast = _autocast(device)
    try:
        for epoch in range(len(history.seconds), epochs):
            with torch.random.fork_rng(devices):
                torch.manual_seed(seed * 10_007 + epoch)
                model.train()
                batches = train.epoch(epoch)  # draws the order, the same in every process
                if rank:  # but dropout and augmentation must differ between them; a seed keeps 32 bits
                    torch.manual_seed((seed * 10_007 + epoch + rank * 0x9E3779B1) % 2**32)
                total = torch.zeros((), device=device)
                for i, (x, y) in enumerate(batches):
                    optimizer.zero_grad(set_to_none=True)
                    with autocast:
                        batch_loss = loss(model(x), y)
                    batch_loss.backward()
                    optimizer.step()
                    if scheduler:
                        scheduler.step()
                    total += batch_loss.detach()
                    progress.within(epoch, (i + 1) / len(train))
            if processes > 1:
                dist.all_reduce(total)
            train_loss = total.item() / len(train) / processes
            validation_loss, accuracy = evaluate(model, validation, loss)
            if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
                raise NonFiniteLossError(
                    f"The loss became {train_loss + validation_loss} in epoch {epoch + 1}. A lower learning rate is "
                    "the first thing to try; then look for NaN in the inputs, log(0) or a division by zero in the loss."
                )
            history.train_loss.append(train_loss)
            history.validation_loss.append(validation_loss)
            history.validation_accuracy.append(accuracy)
            history.seconds.append(offset_s + time.perf_counter() - start_s)
            history.processes.append(processes)
            if checkpoint and rank == 0:
                _save(checkpoint, parts, settings, history)
                saved = epoch + 1
            progress.after(history)
            if after_epoch:
                after_epoch(history)
    except KeyboardInterrupt:
        kept = "nothing is stored, what was learnt is only in the model"
        if saved:
            kept = f"epochs 1 to {saved} are in {checkpoint}; run again to go on"
        raise KeyboardInterrupt(f"Interrupted in epoch {len(history.seconds) + 1} of {epochs}: {kept}.") from None
    finally:
        progress.close()
    return history


def _autocast(device: torch.device) -> torch.autocast:
    dtype = autocast_dtype(device)
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model


class _InMemory:
    """Tensors as `Batches`: one shuffle of all of them, shared out batch by batch."""

    def __init__(
        self, inputs: Tensor, targets: Tensor, batch_size: int, augment: Callable[[Tensor], Tensor] | None
    ) -> None:
        self.inputs, self.targets, self.batch_size, self.augment = inputs, targets, batch_size, augment
        self.rank, self.processes = rank_and_processes()

    def __len__(self) -> int:
        return len(self.inputs) // self.batch_size

    def epoch(self, number: int) -> Iterator[Data]:
        order = torch.randperm(len(self.inputs)).to(self.inputs.device)
        return map(self._share, order.split(self.batch_size)[: len(self)])

    def _share(self, batch: Tensor) -> Data:
        batch = batch[self.rank :: self.processes]
        x = self.inputs[batch]
        return (self.augment(x) if self.augment else x), self.targets[batch]


def _agree(epochs_done: int, device: torch.device) -> None:
    """Refuse to start where one machine found a checkpoint and another did not: they would wait for ever."""
    if rank_and_processes()[1] > 1:
        extremes = torch.tensor([epochs_done, -epochs_done], device=device)
        dist.all_reduce(extremes, op=dist.ReduceOp.MAX)
        most, least = extremes.tolist()
        if most != -least:
            raise CheckpointError(
                f"One process resumes after epoch {-least}, another after epoch {most}: all machines must see the same "
                "checkpoint. Put it into a folder that they share."
            )


def _resume(checkpoint: Path | None, parts: dict, settings: dict, device: torch.device) -> History:
    """Load `parts` from the checkpoint where there is one and return its history."""
    if checkpoint is None or not checkpoint.exists():
        return History()
    try:
        stored = torch.load(checkpoint, map_location=device, weights_only=True)
        found = stored["settings"]
        if found == settings:
            for name, part in parts.items():
                part.load_state_dict(stored[name])
            return History(**stored["history"])
    except Exception as error:
        raise CheckpointError(
            f"{checkpoint} is damaged or holds another model: {textwrap.shorten(str(error), 300)}. "
            "Delete it or name another."
        ) from error
    theirs, ours = ({k: v for k, v in a.items() if b.get(k) != v} for a, b in [(found, settings), (settings, found)])
    raise CheckpointError(f"{checkpoint} belongs to a run with {theirs}, not {ours}. Delete it or name another.")


def _save(checkpoint: Path, parts: dict, settings: dict, history: History) -> None:
    """Write the checkpoint beside its place first: a full disk leaves the previous one intact."""
    unfinished = checkpoint.with_name(f"{checkpoint.name}.part")
    states = {name: part.state_dict() for name, part in parts.items()}
    try:
        torch.save(states | {"settings": settings, "history": vars(history)}, unfinished)
        os.replace(unfinished, checkpoint)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"Cannot write {checkpoint} (is the disk full?): {error}. Make room or name another place."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


class _Progress:
    """One line that is rewritten: a display handle in a notebook, tqdm in a terminal."""

    def __init__(self, epochs: int, done: int, silent: bool) -> None:
        self.epochs = epochs
        self.updated_s = 0.0
        self.notebook = getattr(get_ipython(), "kernel", None) is not None
        self.live = self.notebook or sys.stderr.isatty()
        if self.notebook:
            start = f"resumed after epoch {done} of {epochs}" if done else f"0 of {epochs} epochs"
            self.handle = display({"text/plain": start}, raw=True, display_id=True)
        else:
            self.bar = tqdm(total=epochs, initial=done, unit="epoch", disable=silent)

    def within(self, epoch: int, share: float) -> None:
        """Show how far the epoch is, at most five times a second."""
        if self.live and time.perf_counter() - self.updated_s > 0.2:
            self.updated_s = time.perf_counter()
            if self.notebook:
                self._rewrite(f"epoch {epoch + 1} of {self.epochs}: {share:.0%}")
            else:
                self.bar.n = round(epoch + share, 2)
                self.bar.refresh()

    def after(self, history: History) -> None:
        """Show the epoch's result; the last one stays."""
        result = (
            f"train loss {history.train_loss[-1]:.3f}, validation loss {history.validation_loss[-1]:.3f}, "
            f"accuracy {history.validation_accuracy[-1]:.1%}"
        )
        if self.notebook:
            self._rewrite(f"{len(history.seconds)} of {self.epochs} epochs, {history.seconds[-1]:.1f} s: {result}")
        else:
            self.bar.set_postfix_str(result, refresh=False)
            self.bar.n = len(history.seconds) - 1
            self.bar.update()

    def close(self) -> None:
        if not self.notebook:
            self.bar.close()

    def _rewrite(self, text: str) -> None:
        self.handle.update({"text/plain": text}, raw=True)
