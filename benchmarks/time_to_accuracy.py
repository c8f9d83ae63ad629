"""Seconds to the test accuracy that two usual tutorial recipes end with, on Fashion-MNIST: theirs against the course's.

The usual recipes are torchvision's data set with ToTensor, a DataLoader, batches of 256, ten epochs of plain SGD: an
MLP 784-256-10 at 0.1, and LeNet with sigmoids, Xavier's initialisation, at 0.9. The course keeps the pictures as
tensors in memory, lets the learning rate rise and fall, and computes in bfloat16 where the processor does so in
hardware; the MLP is the same, LeNet has ReLU and max pooling instead of sigmoids and averages. Only training is timed,
not the loading of the files, not the measuring of accuracy. All take turns, so that a machine whose speed drifts is
fair to all.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.data import DataLoader

from course.data import cache_folder, fashion_mnist
from course.device import describe_machine, pick_device
from course.models import MLP
from course.training import Data, evaluate, fit

SEEDS = [0, 1, 2]
EPOCHS = [1, 2, 4]  # of the course's runs


def pictures(*, train: bool, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = fashion_mnist(train=train)
    return ((images.float() - 73) / 90)[:, None].to(device), labels.to(device)


def finish(device: torch.device) -> None:
    """Wait for work that a GPU has only queued."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def lenet(activation: type[nn.Module], pool: type[nn.Module]) -> nn.Sequential:
    """LeNet-5 (LeCun et al. 1998) as tutorials write it, for 28 × 28 pictures."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, kernel_size=5, padding=2), activation(), pool(2)),
        *(nn.Conv2d(6, 16, kernel_size=5), activation(), pool(2)),
        nn.Flatten(),
        *(nn.Linear(16 * 5 * 5, 120), activation(), nn.Linear(120, 84), activation(), nn.Linear(84, 10)),
    )


def sigmoid_lenet() -> nn.Sequential:
    model = lenet(nn.Sigmoid, nn.AvgPool2d)
    for layer in model:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
    return model


def relu_lenet() -> nn.Sequential:
    return lenet(nn.ReLU, nn.MaxPool2d)


def usual_recipe(build: Callable, learning_rate: float, seed: int, device: torch.device) -> tuple[float, float]:
    """Return (seconds, test accuracy) of ten epochs as usually written."""
    torch.manual_seed(seed)
    dataset = torchvision.datasets.FashionMNIST(cache_folder(), transform=torchvision.transforms.ToTensor())
    loader = DataLoader(dataset, batch_size=256, shuffle=True)
    model = build().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
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


def course_recipe(
    build: Callable, max_lr: float, epochs: int, seed: int, train: Data, test: Data
) -> tuple[float, float]:
    """Return (seconds, test accuracy) of a short run of the course's loop."""
    torch.manual_seed(seed)
    model = build().to(train[0].device)
    optimizer = torch.optim.SGD(model.parameters(), lr=max_lr, momentum=0.9, nesterov=True)
    steps = epochs * (len(train[0]) // 256)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=max_lr, total_steps=steps, pct_start=0.2)
    few = train[0][:1], train[1][:1]  # the accuracy is measured once, on the test set, after the clock has stopped
    start_s = time.perf_counter()
    fit(model, train, few, optimizer=optimizer, scheduler=scheduler, epochs=epochs, batch_size=256, seed=seed)
    finish(train[0].device)
    return time.perf_counter() - start_s, evaluate(model, test)[1]


# name: (the usual recipe's network and learning rate, the course's network and highest learning rate)
CONTESTS = {"MLP": (MLP, 0.1, MLP, 0.2), "LeNet": (sigmoid_lenet, 0.9, relu_lenet, 0.1)}


def main() -> None:
    device = pick_device()
    train, test = pictures(train=True, device=device), pictures(train=False, device=device)
    course_recipe(MLP, 0.2, 1, 0, train, test)  # the first call pays for starting threads
    usual = {name: [] for name in CONTESTS}
    course = {(name, epochs): [] for name in CONTESTS for epochs in EPOCHS}
    for seed in SEEDS:
        for name, (usual_model, learning_rate, course_model, max_lr) in CONTESTS.items():
            usual[name].append(usual_recipe(usual_model, learning_rate, seed, device))
            for epochs in EPOCHS:
                course[name, epochs].append(course_recipe(course_model, max_lr, epochs, seed, train, test))
    print(f"{describe_machine(device)}; medians over seeds {SEEDS}")
    for name in CONTESTS:
        usual_s, goal = (median(column) for column in zip(*usual[name], strict=True))
        print(f"{name}, usual recipe, 10 epochs: {usual_s:6.2f} s, test accuracy {goal:.4f}")
        for epochs in EPOCHS:
            seconds, accuracy = (median(column) for column in zip(*course[name, epochs], strict=True))
            verdict = "reached" if accuracy >= goal else "missed"
            ratio = f"1/{usual_s / seconds:.1f}"
            print(f"  course, {epochs} epochs: {seconds:6.2f} s, test accuracy {accuracy:.4f}: {verdict}, {ratio}")


if __name__ == "__main__":
    main()
