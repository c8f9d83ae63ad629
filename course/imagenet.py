"""Train a ResNet on a folder of pictures, with one GPU or on many machines: `python -m course.imagenet --help`."""

import argparse
import datetime
import json
import math
import os
import signal
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision import datasets, models, transforms
from tqdm import tqdm

from course import compute
from course.data import UNREADABLE, DataError
from course.device import describe_machine, pick_device, set_seed
from course.training import CheckpointError, Data, History, NonFiniteLossError, fit, rank_and_processes

MODELS = {"resnet18": models.resnet18, "resnet50": models.resnet50}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, as torchvision's weights have them

EPILOG = """\
one process, on a GPU if there is one:
  python -m course.imagenet FOLDER
one machine with 8 GPUs:
  torchrun --standalone --nproc-per-node=8 -m course.imagenet FOLDER --accelerator h100
8 of them; the same on each, HOST names one, FOLDER and checkpoint lie on a disk that all share:
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1  # or restarts fail: github.com/pytorch/pytorch/issues/135712
  torchrun --nnodes=8 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 --rdzv-id=run1 \\
           --max-restarts=3 -m course.imagenet FOLDER --batch-size 2048 --accelerator h100

The checkpoint is written after each epoch. Whatever stops the run (Ctrl-C, SIGTERM, a crash), the same line resumes it
after the last finished epoch and ends where an uninterrupted run would have; --max-restarts lets torchrun do that.
Order and crops follow from seed, epoch and picture, however many processes and workers there are. Batch normalisation
sees the pictures of its own process alone: the recipe wants 32. Every validation picture is counted exactly once.
The money is that of the finished epochs. Exit status: 0 done, 1 crashed, 2 wrong input, 130 interrupted."""


def load_recipe(path: str | Path | None = None) -> SimpleNamespace:
    """Return the settings in the TOML file `path`; by default course/imagenet.toml, where each is explained.

    Raises:
        ValueError: there is no such file, or a setting is unknown, missing or of the wrong kind.
    """
    packaged = resources.files("course") / "imagenet.toml"
    expected = tomllib.loads(packaged.read_text(encoding="utf8"))
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf8")) if path else expected
        if wrong := sorted(table.keys() ^ expected.keys()):
            raise ValueError(f"unknown or missing: {', '.join(wrong)}")
        for name, value in table.items():
            kind = type(expected[name])
            numbers = value if kind is list else [value]
            if kind(value) != value or not all((kind is int) <= n < math.inf for n in numbers):  # counts from 1
                raise ValueError(f"{name} = {value!r}")
            table[name] = kind(value)  # 90.0 epochs are 90
        if max(table["smallest_crop"], table["label_smoothing"]) > 1 or table["validation_resize"] < 224:
            raise ValueError("smallest_crop and label_smoothing are at most 1, validation_resize at least 224")
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"The recipe {path} cannot be used: {error}. Compare it with {packaged}.") from error
    return SimpleNamespace(**table)


def learning_rate(recipe: SimpleNamespace, epoch: float) -> float:
    """Return the recipe's learning rate after `epoch` epochs, whole or in part: scaled, warmed up, dropped."""
    full = recipe.learning_rate_per_256 * recipe.batch_size / 256
    if epoch < recipe.warmup_epochs:
        start = min(full, recipe.learning_rate_per_256)
        return start + (full - start) * epoch / recipe.warmup_epochs
    return full * recipe.drop_factor ** sum(epoch >= drop for drop in recipe.drop_epochs)


class Pictures(datasets.ImageFolder):
    """FOLDER/CLASS/*. An item is (tensor, class), or in words what is wrong with a file that cannot be read."""

    def __init__(self, folder: Path, transform: list[nn.Module], seed: int) -> None:
        normalized = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        super().__init__(folder, transforms.Compose(transform + normalized))
        self.seed, self.epoch = seed, 0

    def __getitem__(self, index: int) -> tuple[Tensor, int] | str:
        path, target = self.samples[index]
        try:
            picture = self.loader(path)
        except UNREADABLE as error:
            return f"{path}: {error}"
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(((self.seed * 1_000_003 + self.epoch) * len(self) + index) % 2**32)
            return self.transform(picture), target


def load_pictures(folder: Path, recipe: SimpleNamespace, seed: int) -> tuple[Pictures, Pictures]:
    """Return the training and the validation pictures, of the same classes.

    Raises:
        DataError: a folder or a class is missing, or a class has no picture.
    """
    parts = folder / "train", folder / "val"
    for part in parts:
        if not part.is_dir():
            raise DataError(f"There is no folder {part}. Expected are FOLDER/train/CLASS/* and FOLDER/val/CLASS/*.")
    names = [{entry.name for entry in os.scandir(part) if entry.is_dir()} for part in parts]
    for part, here, other in zip(parts, names, names[::-1], strict=True):
        if missing := sorted(other - here):  # torchvision would number the others differently and say nothing
            some = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise DataError(f"{part} lacks {len(missing)} of {len(other)} classes: {some}. Both need the same ones.")
    size = recipe.image_size
    crop = [transforms.RandomResizedCrop(size, (recipe.smallest_crop, 1.0)), transforms.RandomHorizontalFlip()]
    middle = [transforms.Resize(round(recipe.validation_resize * size / 224)), transforms.CenterCrop(size)]
    try:
        return Pictures(parts[0], crop, seed), Pictures(parts[1], middle, seed)
    except FileNotFoundError as error:
        raise DataError(f"{str(error).rstrip('.')}. Every class needs a folder with pictures.") from error


class Reader:
    """This process's share of `pictures`, batch by batch on its device, for `fit` (`epoch`) and `evaluate`."""

    def __init__(self, pictures: Pictures, batch_size: int, device: torch.device, options: argparse.Namespace) -> None:
        self.pictures, self.batch_size, self.device, self.options = pictures, batch_size, device, options
        self.rank, self.processes = rank_and_processes()
        self.skipped: set[str] = set()
        self.pictures_per_second = 0.0  # of all processes, when last read through

    def __len__(self) -> int:
        return len(self.pictures) // self.batch_size

    def epoch(self, number: int) -> Iterator[Data]:
        """One shuffle of all pictures, shared out batch by batch; the last, incomplete batch is left out."""
        self.pictures.epoch = number
        generator = torch.Generator().manual_seed(self.pictures.seed * 10_007 + number)
        batches = torch.randperm(len(self.pictures), generator=generator).split(self.batch_size)[: len(self)]
        return self._read([batch[self.rank :: self.processes].tolist() for batch in batches], training=True)

    def __iter__(self) -> Iterator[Data]:
        """Every picture once, in one of the processes; DistributedSampler would give some out twice."""
        mine = range(self.rank, len(self.pictures), self.processes)
        size = self.batch_size // self.processes
        return self._read([mine[start : start + size] for start in range(0, len(mine), size)], training=False)

    def _read(self, batches: list[Sequence[int]], training: bool) -> Iterator[Data]:
        workers, pin = self.options.workers, self.device.type == "cuda"
        loader = DataLoader(
            self.pictures, batch_sampler=batches, collate_fn=_collate, num_workers=workers, pin_memory=pin
        )
        start_s, seen = time.perf_counter(), 0
        for inputs, targets, bad in loader:
            if bad and self.options.bad_images == "fail":
                raise DataError(f"Cannot read {bad[0]}. Repair it, remove it, or say --bad-images skip.")
            if training and not len(targets):  # the other processes would wait for its gradient
                raise DataError(f"Cannot read a single picture of a batch. The first is {bad[0]}.")
            self.skipped.update(bad)
            seen += len(targets)
            if len(targets):
                inputs = inputs.to(self.device, memory_format=torch.channels_last, non_blocking=True)
                yield inputs, targets.to(self.device, non_blocking=True)
        self.pictures_per_second = seen * self.processes / (time.perf_counter() - start_s)


def _collate(items: list[tuple[Tensor, int] | str]) -> tuple[Tensor, Tensor, list[str]]:
    good = [item for item in items if not isinstance(item, str)]
    inputs = torch.stack([picture for picture, _ in good]) if good else torch.empty(0)
    return inputs, torch.tensor([target for _, target in good]), [item for item in items if isinstance(item, str)]


def training_flop_per_picture(model: str, image_size: int, classes: int) -> int:
    """Return the FLOP of one picture forward and backward, as PyTorch counts them: convolutions, matrix products."""
    with torch.device("meta"):  # shapes only, nothing is computed
        network, pictures = MODELS[model](num_classes=classes), torch.empty(2, 3, image_size, image_size)
    with FlopCounterMode(display=False) as counter:
        network(pictures).sum().backward()
    return counter.get_total_flops() // len(pictures)


def gpu_hours(history: History) -> float:
    """Return the hours of all processes together, over all runs that `history` was resumed in."""
    starts = [0.0, *history.seconds[:-1]]
    each = zip(starts, history.seconds, history.processes, strict=True)
    return sum((end - start) * processes for start, end, processes in each) / compute.SECONDS_PER_HOUR


def report(
    history: History, readers: list[Reader], recipe: SimpleNamespace, options: argparse.Namespace, flop: int
) -> None:
    """Write what the last epoch brought: a line on the screen, a JSON object in the log. Every process must call it."""
    rank, processes = rank_and_processes()
    skipped = [readers[0].skipped | readers[1].skipped] * processes
    if processes > 1:
        dist.all_gather_object(skipped, skipped[0])
    if rank:
        return
    done, speed = len(history.seconds), readers[0].pictures_per_second
    peak, price = options.peak_flop_per_second, options.usd_per_gpu_hour
    second = processes / compute.SECONDS_PER_HOUR  # of all GPUs, in GPU hours
    mfu = compute.model_flops_utilization(flop * speed, second, peak) if peak else None
    usd = compute.training_usd(gpu_hours(history), price) if price else None
    record = {name: values[-1] for name, values in vars(history).items()} | {
        "epoch": done,
        "epochs": recipe.epochs,
        "learning_rate": learning_rate(recipe, done - 1),  # at the epoch's start
        "pictures_per_second": speed,
        "mfu": mfu,
        "seconds_left": (history.seconds[-1] - [0.0, *history.seconds][-2]) * (recipe.epochs - done),
        "gpu_hours": gpu_hours(history),
        "usd": usd,
        "skipped": sorted(set().union(*skipped)),
    }
    with open(options.log, "a", encoding="utf8") as log:
        print(json.dumps(record, ensure_ascii=False), file=log)
    tqdm.write(
        f"epoch {done} of {recipe.epochs}: train loss {record['train_loss']:.3f}, validation loss "
        f"{record['validation_loss']:.3f}, accuracy {record['validation_accuracy']:.1%}; {speed:,.0f} pictures/s"
        + (f", MFU {mfu:.1%}" if mfu is not None else "")
        + f", {datetime.timedelta(seconds=round(record['seconds_left']))} left"
        + (f", {usd:,.2f} USD spent" if usd is not None else "")
        + (f"; {len(record['skipped'])} unreadable pictures left out, see {options.log}" if record["skipped"] else "")
    )
    sys.stdout.flush()  # a pipe would hold it back for hours


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = argparse.ArgumentParser(
        prog="python -m course.imagenet",
        description="Train torchvision's ResNet-18 or ResNet-50 from scratch on a folder of pictures such as ImageNet.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    chips = ", ".join(compute.accelerators())
    p.add_argument("folder", type=Path, help="holds train/CLASS/* and val/CLASS/*, the same classes in both")
    p.add_argument("--model", choices=MODELS, default="resnet50", help="default: resnet50")
    p.add_argument("--recipe", metavar="FILE", help="settings in TOML; default: course/imagenet.toml")
    p.add_argument("--epochs", type=int, metavar="N", help="passes over the pictures, instead of the recipe's")
    p.add_argument("--batch-size", type=int, metavar="N", help="of all processes together; the rate follows it")
    p.add_argument("--image-size", type=int, metavar="N", help="pixels a side, instead of the recipe's")
    p.add_argument(
        "--workers", type=int, metavar="N", default=min(8, cores), help="readers for each GPU; default: 8 or the cores"
    )
    p.add_argument("--checkpoint", type=Path, metavar="FILE", default=Path("imagenet.pt"), help="default: imagenet.pt")
    p.add_argument("--log", type=Path, metavar="FILE", help="JSON lines; default: the checkpoint's name with .jsonl")
    p.add_argument("--bad-images", choices=["fail", "skip"], default="fail", help="skip: leave out, count, name in log")
    p.add_argument("--device", choices=["cuda", "mps", "cpu"], help="default: the best one present")
    p.add_argument(
        "--seed",
        type=int,
        metavar="N",
        default=0,
        help="of weights, order and crops; COURSE_SEED goes first; default: 0",
    )
    p.add_argument("--compile", action="store_true", help="compile the network: a minute once, then faster steps")
    p.add_argument("--accelerator", metavar="NAME", help=f"peak (bfloat16) and rent from the course's table: {chips}")
    p.add_argument("--peak-flop-per-second", type=float, metavar="X", help="of one GPU, for the MFU")
    p.add_argument("--usd-per-gpu-hour", type=float, metavar="X", help="for the money spent so far")
    return p


def train(options: argparse.Namespace) -> History:
    """Train as the command line says, alone or under `torchrun`, and return what was measured.

    Raises:
        ValueError: an option or the recipe is wrong.
        DataError: the folder is not as it should be, or a picture is damaged.
        CheckpointError, NonFiniteLossError: as in `fit`.
    """
    local_rank, processes = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    recipe = load_recipe(options.recipe)
    if options.epochs is not None:
        squeeze = options.epochs / recipe.epochs
        recipe.epochs, recipe.warmup_epochs = options.epochs, recipe.warmup_epochs * squeeze
        recipe.drop_epochs = [epoch * squeeze for epoch in recipe.drop_epochs]
    for name in ("batch_size", "image_size"):
        if getattr(options, name) is not None:
            setattr(recipe, name, getattr(options, name))
    if min(recipe.epochs, recipe.batch_size, recipe.image_size) < 1:
        raise ValueError("Epochs, batch size and image size must be at least 1.")
    if options.accelerator:
        chip = compute.accelerator(options.accelerator)
        options.peak_flop_per_second = options.peak_flop_per_second or chip.peak()
        options.usd_per_gpu_hour = options.usd_per_gpu_hour or chip.usd_per_hour
        if options.usd_per_gpu_hour is None:
            raise ValueError(f"The table has no rent for {chip.label}. Say --usd-per-gpu-hour.")
    if min(options.peak_flop_per_second or 1, options.usd_per_gpu_hour or 1) <= 0 or options.workers < 0:
        raise ValueError("Peak, rent and workers cannot be negative.")
    options.log = options.log or options.checkpoint.with_suffix(".jsonl")
    if options.log.is_dir() or not options.log.parent.is_dir():
        raise ValueError(f"The log {options.log} must be a file in a folder that is there.")
    seed = set_seed(options.seed)
    pictures = load_pictures(options.folder, recipe, seed)
    n, classes, batch_size = [len(part) for part in pictures], len(pictures[0].classes), recipe.batch_size
    if batch_size > n[0] or batch_size % processes:
        raise ValueError(
            f"A batch of {batch_size}, {processes} processes, {n[0]} training pictures: the processes must divide the "
            "batch, and it cannot be larger than the pictures. Choose another --batch-size."
        )

    device = pick_device(options.device)
    if device.type == "cuda":
        if int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > torch.cuda.device_count():  # so that all of them find it
            raise ValueError(f"There are {torch.cuda.device_count()} GPUs here. Lower --nproc-per-node to that.")
        torch.cuda.set_device(local_rank)
        torch.backends.cudnn.benchmark = True
    if processes > 1:
        if device.type == "mps":
            raise ValueError("Several processes cannot share this GPU. Say --device cpu, or start one process.")
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    network = MODELS[options.model](num_classes=classes, zero_init_residual=recipe.zero_init_residual)
    network.to(device, memory_format=torch.channels_last)  # convolutions are fastest so
    norms = [p for module in network.modules() if isinstance(module, nn.BatchNorm2d) for p in module.parameters()]
    others = [p for p in network.parameters() if all(p is not norm for norm in norms)]
    groups = [
        {"params": others, "weight_decay": recipe.weight_decay},
        {"params": norms, "weight_decay": recipe.weight_decay_norm},
    ]  # the schedule gives the rate itself, to be multiplied by 1
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=recipe.momentum, nesterov=recipe.nesterov)
    if options.compile:
        network.compile()
    readers = [Reader(part, batch_size, device, options) for part in pictures]
    steps, flop = len(readers[0]), training_flop_per_picture(options.model, recipe.image_size, classes)
    if rank_and_processes()[0] == 0:
        print(
            f"{options.model}, {classes} classes, {n[0]:,} training and {n[1]:,} validation pictures; {processes} × "
            f"{describe_machine(device)}; a batch of {batch_size}, {batch_size // processes} a process; "
            f"{flop / 1e9:.3g} GFLOP a training picture",
            flush=True,
        )
    return fit(
        DistributedDataParallel(network) if processes > 1 else network,
        *readers,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(recipe, step / steps)),
        epochs=recipe.epochs,
        batch_size=batch_size,
        loss=nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing),
        seed=seed,
        checkpoint=options.checkpoint,
        settings={"model": options.model, "classes": classes, "pictures": n[0], **vars(recipe)},
        after_epoch=lambda history: report(history, readers, recipe, options, flop),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status: 0 done, 1 another process failed, 2 wrong input, 130 interrupted."""
    options = command_line().parse_args(arguments)
    first, message = os.environ.get("RANK", "0") == "0", ""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it too says what is stored
    try:
        history, status = train(options), 0
        message = (
            f'done: accuracy {history.validation_accuracy[-1]:.1%}; the weights are in {options.checkpoint}, "model"'
        )
    except (CheckpointError, DataError, NonFiniteLossError, ValueError) as error:
        message, status = str(error), 2
        first |= os.environ.get("LOCAL_RANK") == "0"  # a folder, a GPU may be missing on one machine alone
        first |= isinstance(error, DataError) and dist.is_initialized()  # a bad picture, met by one process alone
    except KeyboardInterrupt as error:
        message, status = str(error) or "Interrupted before the first epoch.", 130
    except RuntimeError as error:
        if "by peer" not in str(error):  # Gloo: connection closed or reset by peer
            raise
        message, status = "Another process has stopped.", 1
    finally:
        signal.signal(signal.SIGTERM, before)
        if dist.is_initialized():
            dist.destroy_process_group()
    if first:
        print(message, file=sys.stderr if status else sys.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main())
