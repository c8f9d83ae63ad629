"""Seconds to the same test accuracy on Fashion-MNIST: the usual recipe against the course's, the same 784-256-10 MLP.

The usual recipe is what most tutorials print: torchvision's data set with ToTensor, a DataLoader, SGD at 0.1, batches
of 256, ten epochs. The course keeps the pictures as tensors in memory, lets the learning rate rise and fall, and
computes in bfloat16 where the processor does so in hardware. Only training is timed, not the loading of the files, not
the measuring of accuracy. The two take turns, so that a machine whose speed drifts is fair to both.
"""

import time
from statistics import median

import torch
import torch.nn.functional as F
import torchvision
from torch.utils.data import DataLoader

from course.data import cache_folder, fashion_mnist
from course.device import describe_machine, pick_device
from course.models import MLP
from course.training import evaluate, fit

SEEDS = [0, 1, 2]


def pictures(*, train: bool, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = fashion_mnist(train=train)
    return ((images.float() - 73) / 90)[:, None].to(device), labels.to(device)


def finish(device: torch.device) -> None:
    """Wait for work that a GPU has only queued."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def usual_recipe(seed: int, device: torch.device) -> tuple[float, float]:
    """Return (seconds, test accuracy) of ten epochs as usually written."""
    torch.manual_seed(seed)
    dataset = torchvision.datasets.FashionMNIST(cache_folder(), transform=torchvision.transforms.ToTensor())
    loader = DataLoader(dataset, batch_size=256, shuffle=True)
    model = MLP().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    start_s = time.perf_counter()
    for _ in range(10):
        for images, labels in loader:
            loss = F.cross_entropy(model(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    finish(device)
    seconds = time.perf_counter() - start_s
    images, labels = fashion_mnist(train=False)
    return seconds, evaluate(model, ((images.float() / 255)[:, None].to(device), labels.to(device)))[1]


def course_recipe(seed: int, epochs: int, train: tuple, test: tuple) -> tuple[float, float]:
    """Return (seconds, test accuracy) of a short run of the course's loop."""
    torch.manual_seed(seed)
    model = MLP().to(train[0].device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True)
    steps = epochs * (len(train[0]) // 256)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=steps, pct_start=0.2)
    few = train[0][:1], train[1][:1]  # the accuracy is measured once, on the test set, after the clock has stopped
    start_s = time.perf_counter()
    fit(model, train, few, optimizer=optimizer, scheduler=scheduler, epochs=epochs, batch_size=256, seed=seed)
    finish(train[0].device)
    return time.perf_counter() - start_s, evaluate(model, test)[1]


def main() -> None:
    device = pick_device()
    train, test = pictures(train=True, device=device), pictures(train=False, device=device)
    course_recipe(0, 1, train, test)  # the first call pays for starting threads
    usual, course = [], {epochs: [] for epochs in (1, 2, 4)}
    for seed in SEEDS:
        usual.append(usual_recipe(seed, device))
        for epochs, runs in course.items():
            runs.append(course_recipe(seed, epochs, train, test))
    print(f"{describe_machine(device)}; medians over seeds {SEEDS}")
    usual_s, goal = (median(column) for column in zip(*usual, strict=True))
    print(f"usual recipe, 10 epochs: {usual_s:6.2f} s, test accuracy {goal:.4f}")
    for epochs, runs in course.items():
        seconds, accuracy = (median(column) for column in zip(*runs, strict=True))
        verdict = "reached" if accuracy >= goal else "missed"
        ratio = f"1/{usual_s / seconds:.1f}"
        print(f"course, {epochs} epochs: {seconds:13.2f} s, test accuracy {accuracy:.4f}: {verdict}, {ratio}")


if __name__ == "__main__":
    main()
