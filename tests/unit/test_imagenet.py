import json
import math
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, log_loss
from torch import nn
from torch.utils.data import DistributedSampler
from torchvision import models
from torchvision.transforms.functional import center_crop, pil_to_tensor, resize, to_pil_image

from course import imagenet, training
from course.compute import accelerator
from course.training import History

CLASSES = ("apple", "boot", "cup")
SMALL = ["--model", "resnet18", "--image-size", "32", "--batch-size", "8", "--workers", "0", "--device", "cpu"]


@pytest.fixture(autouse=True)
def exact_arithmetic(monkeypatch):
    """In float32 everywhere, so that results can be compared to the last digits."""
    monkeypatch.setattr(training, "autocast_dtype", lambda device: None)


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """Three classes of noise in three tints: 24 pictures to train on, 15 to validate."""
    root = tmp_path_factory.mktemp("pictures")
    generator = torch.Generator().manual_seed(0)
    for part, n in (("train", 8), ("val", 5)):
        for color, name in enumerate(CLASSES):
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                picture = torch.rand(3, 40, 48, generator=generator) / 2
                picture[color] += 0.5
                to_pil_image(picture).save(root / part / name / f"{i}.jpg")
    return root


@pytest.fixture
def folder(original, tmp_path):
    """A copy that may be spoilt."""
    return Path(shutil.copytree(original, tmp_path / "pictures"))


@pytest.fixture(scope="session")
def whole(original, tmp_path_factory):
    """The checkpoint of a run of three epochs that nobody disturbed."""
    checkpoint = tmp_path_factory.mktemp("whole") / "run.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "autocast_dtype", lambda device: None)
        assert run(original, checkpoint, "--epochs", "3") == 0
    return checkpoint


def run(folder, checkpoint, *options):
    return imagenet.main([str(folder), *SMALL, "--checkpoint", str(checkpoint), *options])


def load(checkpoint):
    return torch.load(checkpoint, weights_only=True)


def log_of(checkpoint):
    return [json.loads(line) for line in checkpoint.with_suffix(".jsonl").read_text(encoding="utf8").splitlines()]


def truncate(picture):
    picture.write_bytes(picture.read_bytes()[:600])


# The whole program


def test_trains_and_logs(original, tmp_path, capsys):
    checkpoint = tmp_path / "run.pt"
    prices = "--accelerator", "h100", "--peak-flop-per-second", "1e11", "--usd-per-gpu-hour", "36000"  # ours go first
    assert run(original, checkpoint, "--epochs", "2", *prices) == 0
    first, second = log_of(checkpoint)
    assert (first["epoch"], second["epoch"], second["epochs"], second["processes"]) == (1, 2, 2, 1)
    assert second["usd"] == pytest.approx(second["seconds"] * 10)  # 36,000 USD an hour are 10 a second
    assert second["gpu_hours"] == pytest.approx(second["seconds"] / 3600)
    assert first["seconds_left"] == pytest.approx(first["seconds"])
    assert second["seconds_left"] == 0
    flop = imagenet.training_flop_per_picture("resnet18", 32, 3)
    assert second["mfu"] == pytest.approx(flop * second["pictures_per_second"] / 1e11)
    assert 24 / second["pictures_per_second"] < second["seconds"] - first["seconds"]
    assert second["skipped"] == []

    head, one, two, last = capsys.readouterr().out.splitlines()
    assert "resnet18, 3 classes, 24 training and 15 validation pictures; 1 × " in head
    assert re.search(r"epoch 1 of 2: train loss .*, accuracy .*%; \d+ pictures/s, MFU .*%, 0:00:\d\d left", one)
    assert two.endswith(f"{second['usd']:,.2f} USD spent")
    assert last.startswith(f"done: accuracy {second['validation_accuracy']:.1%}; the weights are in {checkpoint}")


def test_weights_are_those_of_torchvisions_network(original, whole):
    """Loaded into a fresh network, they give the accuracy and the loss of the log, computed with scikit-learn."""
    network = models.resnet18(num_classes=3)
    network.load_state_dict(load(whole)["model"])
    recipe = imagenet.load_recipe()
    recipe.image_size = 32
    _, validation = imagenet.load_pictures(original, recipe, seed=0)
    inputs = torch.stack([picture for picture, _ in validation])
    with torch.no_grad():
        probabilities = network.eval()(inputs).double().softmax(1).numpy()
    last = log_of(whole)[-1]
    assert last["validation_accuracy"] == pytest.approx(accuracy_score(validation.targets, probabilities.argmax(1)))
    assert last["validation_loss"] == pytest.approx(log_loss(validation.targets, probabilities), rel=1e-4)


@pytest.fixture
def ctrl_c_interrupts():
    """As in a terminal; what a shell runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_interrupts")
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_interrupted_and_resumed_equals_never_interrupted(original, whole, tmp_path, monkeypatch, capsys, signal_name):
    checkpoint = tmp_path / "run.pt"
    read = imagenet.Pictures.__getitem__

    def read_until_the_signal(self, index):
        if self.epoch == 1 and index == 5:
            signal.raise_signal(getattr(signal, signal_name))
        return read(self, index)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(imagenet.Pictures, "__getitem__", read_until_the_signal)
        assert run(original, checkpoint, "--epochs", "3") == 130
    assert f"Interrupted in epoch 2 of 3: epochs 1 to 1 are in {checkpoint}; run again" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    assert run(original, checkpoint, "--epochs", "3", "--usd-per-gpu-hour", "1") == 0
    torch.testing.assert_close(load(checkpoint)["model"], load(whole)["model"], rtol=0, atol=0)
    records, undisturbed = log_of(checkpoint), log_of(whole)
    assert [r["validation_loss"] for r in records] == [r["validation_loss"] for r in undisturbed]
    assert [r["epoch"] for r in records] == [1, 2, 3]
    assert records[2]["usd"] > records[0]["gpu_hours"]  # the money of the first run is not forgotten


def test_a_finished_run_is_not_run_again(original, whole, tmp_path, capsys):
    checkpoint = Path(shutil.copy(whole, tmp_path))
    assert run(original, checkpoint, "--epochs", "3") == 0
    assert checkpoint.read_bytes() == whole.read_bytes()
    assert "done: accuracy" in capsys.readouterr().out


def test_interrupted_before_it_began(original, tmp_path, monkeypatch, capsys):
    def press_ctrl_c(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(imagenet, "load_pictures", press_ctrl_c)
    assert run(original, tmp_path / "run.pt") == 130
    assert capsys.readouterr().err == "Interrupted before the first epoch.\n"


def test_reading_processes_change_nothing(original, whole, tmp_path):
    assert run(original, tmp_path / "run.pt", "--epochs", "3", "--workers", "2") == 0
    torch.testing.assert_close(load(tmp_path / "run.pt")["model"], load(whole)["model"], rtol=0, atol=0)


def test_money_follows_the_processes_that_trained():
    history = History(seconds=[3600.0, 5400.0], processes=[8, 2])
    assert imagenet.gpu_hours(history) == pytest.approx(8 * 1 + 2 * 0.5)


# Under torchrun

UNDER_TORCHRUN = """
import os, signal, sys
from course import imagenet, training
training.autocast_dtype = lambda device: None
read = imagenet.Pictures.__getitem__
def read_or_die(self, index):
    if self.epoch == 1 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    return read(self, index)
if sys.argv[1] == "kill":
    imagenet.Pictures.__getitem__ = read_or_die
sys.exit(imagenet.main(sys.argv[2:]))
"""


TWO_EPOCHS = ["--epochs", "2", "--batch-size", "6"]


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *arguments]
    root = Path(__file__).parent.parent.parent
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    return subprocess.run(command, capture_output=True, encoding="utf8", timeout=120, env=environment)


@pytest.fixture(scope="session")
def by_two(original, tmp_path_factory):
    """The checkpoint of two epochs with two processes."""
    place = tmp_path_factory.mktemp("two")
    (place / "script.py").write_text(UNDER_TORCHRUN)
    arguments = [original, *SMALL, *TWO_EPOCHS, "--accelerator", "h100", "--checkpoint", place / "run.pt"]
    result = torchrun(place / "script.py", "whole", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("epoch 1 of 2:") == 1  # one process speaks
    return place / "run.pt"


@pytest.fixture
def one_thread():
    """As the processes of `torchrun` have: sums in another order tip a max pooling to another of two near numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_two_processes_give_the_mean_of_their_gradients(original, by_two):
    """Against one process that takes both halves of every batch in turn, each with its own batch normalisation."""
    recipe = imagenet.load_recipe()
    recipe.image_size = 32
    pictures, _ = imagenet.load_pictures(original, recipe, seed=0)
    torch.manual_seed(0)
    # in this layout, as rounding decides which of two nearly equal numbers a max pooling takes
    network = models.resnet18(num_classes=3, zero_init_residual=True).to(memory_format=torch.channels_last)
    decayed = [p for name, p in network.named_parameters() if "bn" not in name and "downsample.1" not in name]
    spared = [p for name, p in network.named_parameters() if "bn" in name or "downsample.1" in name]
    groups = [{"params": decayed, "weight_decay": 1e-4}, {"params": spared}]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True)
    factors = iter([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])  # drops after 3/9, 6/9 and 8/9 of eight steps
    losses = []
    for epoch in range(2):
        pictures.epoch = epoch
        order = torch.randperm(24, generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(6):
            factor = next(factors)
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * 6 / 256 * factor
            optimizer.zero_grad()
            buffers = [buffer.clone() for buffer in network.buffers()]
            for half in (batch[1::2], batch[::2]):  # the first process comes last: its running statistics stay
                for buffer, value in zip(network.buffers(), buffers, strict=True):
                    buffer.copy_(value)
                items = [pictures[i] for i in half.tolist()]
                inputs = torch.stack([x for x, _ in items]).to(memory_format=torch.channels_last)
                loss = F.cross_entropy(network(inputs), torch.tensor([y for _, y in items]))
                (loss / 2).backward()
                losses.append(loss.item())
            optimizer.step()
    found = load(by_two)
    torch.testing.assert_close(found["model"], dict(network.state_dict()), rtol=1e-3, atol=1e-4)
    assert found["history"]["train_loss"] == pytest.approx([sum(losses[:8]) / 8, sum(losses[8:]) / 8], rel=1e-3)


def test_the_money_of_two_processes_is_twice_that_of_one(by_two):
    last = log_of(by_two)[-1]
    assert last["processes"] == 2
    assert last["gpu_hours"] == pytest.approx(2 * last["seconds"] / 3600)
    assert last["usd"] == pytest.approx(last["gpu_hours"] * accelerator("h100").usd_per_hour)
    flop = imagenet.training_flop_per_picture("resnet18", 32, 3)
    assert last["mfu"] == pytest.approx(flop * last["pictures_per_second"] / 2 / 989.5e12)


def test_one_process_goes_on_where_two_stopped(original, by_two, tmp_path):
    half = load(by_two)
    half["settings"] |= {
        "epochs": 3,
        "warmup_epochs": 5 * (3 / 90),
        "drop_epochs": [e * (3 / 90) for e in (30, 60, 80)],
    }
    torch.save(half, tmp_path / "run.pt")
    assert run(original, tmp_path / "run.pt", "--epochs", "3", "--batch-size", "6") == 0
    assert load(tmp_path / "run.pt")["history"]["processes"] == [2, 2, 1]


def test_killed_process_resumed_by_torchrun_equals_never_killed(original, by_two, tmp_path):
    (tmp_path / "script.py").write_text(UNDER_TORCHRUN)
    arguments = [original, *SMALL, *TWO_EPOCHS, "--checkpoint", tmp_path / "run.pt"]
    result = torchrun("--max-restarts=1", tmp_path / "script.py", "kill", *arguments)
    assert result.returncode == 0, result.stderr
    assert "exitcode: -9" in result.stderr  # one was killed indeed
    torch.testing.assert_close(load(tmp_path / "run.pt")["model"], load(by_two)["model"], rtol=0, atol=0)
    assert [r["epoch"] for r in log_of(tmp_path / "run.pt")] == [1, 2]


def test_bad_picture_stops_all_processes(folder, tmp_path):
    picture = folder / "val" / "boot" / "2.jpg"  # number 7: the second process reads the odd ones
    truncate(picture)
    result = torchrun("-m", "course.imagenet", folder, *SMALL, "--epochs", "1", "--checkpoint", tmp_path / "run.pt")
    assert result.returncode != 0
    assert result.stderr.count(f"Cannot read {picture}: ") == 1
    assert 'imagenet.py", line' not in result.stderr  # a message, no traceback of ours


# What each process reads


def shares(original, monkeypatch, processes, read, batch_size=6):
    """What `read` gets from each process's readers of training and validation pictures, as numbers of pictures."""
    recipe = imagenet.load_recipe()
    options = imagenet.command_line().parse_args([str(original), "--workers", "0"])
    numbered = lambda self, index: (torch.full((1, 1, 1), index), 0)  # noqa: E731
    monkeypatch.setattr(imagenet.Pictures, "__getitem__", numbered)
    result = []
    for rank in range(processes):
        monkeypatch.setattr(imagenet, "rank_and_processes", lambda rank=rank: (rank, processes))
        pictures = imagenet.load_pictures(original, recipe, seed=0)
        readers = [imagenet.Reader(part, batch_size, torch.device("cpu"), options) for part in pictures]
        result.append([inputs.flatten().tolist() for inputs, _ in read(*readers)])
    return result


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_evaluation_reads_every_picture_exactly_once(original, monkeypatch, processes):
    found = shares(original, monkeypatch, processes, lambda train, validation: validation)
    assert sorted(chain(*chain(*found))) == list(range(15))


def test_the_usual_sampler_would_read_one_twice():
    taken = [i for rank in range(2) for i in DistributedSampler(range(15), 2, rank, shuffle=False)]
    assert len(taken) == 16


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_training_shares_out_the_batches_of_one_process(original, monkeypatch, processes):
    (alone,) = shares(original, monkeypatch, 1, lambda train, validation: train.epoch(3))
    together = shares(original, monkeypatch, processes, lambda train, validation: train.epoch(3))
    assert sorted(chain(*alone)) == list(range(24))
    for batch, *parts in zip(alone, *together, strict=True):
        assert sorted(batch) == sorted(chain(*parts))
        assert {len(part) for part in parts} == {6 // processes}


def test_incomplete_batch_is_left_out_and_every_epoch_has_its_order(original, monkeypatch):
    epochs = [shares(original, monkeypatch, 1, lambda train, _, n=n: train.epoch(n), batch_size=10)[0] for n in (0, 1)]
    assert [len(batch) for batch in epochs[0]] == [10, 10]
    assert epochs[0] != epochs[1]


def test_crop_follows_from_seed_epoch_and_picture(original):
    recipe = imagenet.load_recipe()
    recipe.image_size = 32
    draws = {}
    for seed in (0, 1):
        train, validation = imagenet.load_pictures(original, recipe, seed)
        for epoch in (0, 1):
            train.epoch = validation.epoch = epoch
            draws[seed, epoch] = train[3][0], train[4][0], train[3][0], validation[3][0]
    torch.testing.assert_close(draws[0, 0][0], draws[0, 0][2], rtol=0, atol=0)  # whatever was drawn in between
    for other in [(0, 1), (1, 0), (1, 1)]:
        assert not torch.equal(draws[0, 0][0], draws[other][0])
        torch.testing.assert_close(draws[0, 0][3], draws[other][3], rtol=0, atol=0)


def test_reading_leaves_the_random_state_alone(original):
    train, _ = imagenet.load_pictures(original, imagenet.load_recipe(), seed=0)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train[0]
    torch.testing.assert_close(torch.rand(3), expected)


# The recipe


@pytest.mark.parametrize(
    ("batch_size", "epoch", "rate"),
    [
        (256, 0, 0.1),
        (256, 29.9, 0.1),
        (256, 30, 0.01),
        (8192, 0, 0.1),  # section 5.2 of the paper: from 0.1 to 3.2 in five epochs
        (8192, 2.5, 1.65),
        (8192, 5, 3.2),
        (8192, 60, 0.032),
        (8192, 80, 0.0032),
        (128, 0, 0.05),
    ],
)
def test_learning_rate_is_that_of_the_paper(batch_size, epoch, rate):
    recipe = imagenet.load_recipe()
    recipe.batch_size = batch_size
    assert imagenet.learning_rate(recipe, epoch) == pytest.approx(rate)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_flop_agree_with_torchvisions_table(name):
    """Three times the forward pass, but nobody asks for the gradient of the picture."""
    weights = models.get_model_weights(name).IMAGENET1K_V1
    forward = 2e9 * weights.meta["_ops"]  # torchvision counts multiply-adds
    first_layer = 2 * 64 * 3 * 7 * 7 * 112 * 112
    expected = 3 * forward - first_layer
    assert imagenet.training_flop_per_picture(name, 224, 1000) == pytest.approx(expected, rel=1e-3)


def test_optimizer_and_loss_follow_the_recipe(original, tmp_path, monkeypatch):
    kept = {}

    def fit(model, train, validation, **settings):
        kept.update(settings, model=model)
        return History([0.0], [0.0], [0.0], [0.0], [1])

    monkeypatch.setattr(imagenet, "fit", fit)
    text = (Path(imagenet.__file__).parent / "imagenet.toml").read_text(encoding="utf8")
    (tmp_path / "my.toml").write_text(text.replace("label_smoothing = 0.0", "label_smoothing = 0.1"), encoding="utf8")
    assert run(original, tmp_path / "run.pt", "--recipe", str(tmp_path / "my.toml"), "--epochs", "9") == 0
    decays = {id(p): group["weight_decay"] for group in kept["optimizer"].param_groups for p in group["params"]}
    for name, module in kept["model"].named_modules():
        for parameter in module.parameters(recurse=False):
            assert decays[id(parameter)] == (0 if isinstance(module, nn.BatchNorm2d) else 1e-4), name
    assert not kept["model"].layer1[0].bn2.weight.any()
    assert kept["loss"].label_smoothing == 0.1
    rates = []
    for _ in range(9 * 3):  # three batches an epoch
        rates.append(kept["scheduler"].get_last_lr()[0])
        kept["optimizer"].step()
        kept["scheduler"].step()
    assert rates == pytest.approx([0.003125] * 9 + [0.0003125] * 9 + [3.125e-5] * 6 + [3.125e-6] * 3)


# Bad input


def remove(*names):
    def spoil(folder):
        for name in names:
            shutil.rmtree(folder / name)

    return spoil


def empty_a_class(folder):
    for picture in (folder / "val" / "cup").iterdir():
        picture.unlink()


def flatten(folder):
    for name in CLASSES:
        for picture in (folder / "val" / name).iterdir():
            picture.rename(folder / "val" / f"{name}-{picture.name}")
        (folder / "val" / name).rmdir()


def nothing(folder):
    pass


BAD_INPUT = {
    "no folder": (remove("train", "val"), [], r"There is no folder .*train\. Expected are FOLDER/train/CLASS"),
    "no val": (remove("val"), [], r"There is no folder .*val\. Expected"),
    "class missing in val": (remove("val/boot"), [], r"val lacks 1 of 3 classes: boot\. Both need the same"),
    "class missing in train": (remove("train/cup", "train/boot"), [], r"train lacks 2 of 3 classes: boot, cup\."),
    "val not sorted": (flatten, [], r"val lacks 3 of 3 classes: apple, boot, cup"),
    "class without a picture": (empty_a_class, [], r"Found no valid file for the classes cup.*needs a folder with"),
    "damaged picture": (lambda f: truncate(f / "val/cup/1.jpg"), [], r"Cannot read .*1\.jpg: .*--bad-images skip"),
    "no picture at all": (
        lambda f: [p.write_bytes(b"") for p in (f / "train").rglob("*.jpg")],
        ["--bad-images", "skip"],
        r"Cannot read a single picture of a batch\. The first is .*jpg",
    ),
    "batch too large": (nothing, ["--batch-size", "25"], r"A batch of 25, 1 processes, 24 training pictures: .*cannot"),
    "batch of nothing": (nothing, ["--batch-size", "0"], "must be at least 1"),
    "no epoch": (nothing, ["--epochs", "0"], "must be at least 1"),
    "no such accelerator": (nothing, ["--accelerator", "abacus"], "No accelerator 'abacus' in the table"),
    "accelerator without a rent": (
        nothing,
        ["--accelerator", "a100"],
        "has no rent for .*A100.*Say --usd-per-gpu-hour",
    ),
    "negative rent": (nothing, ["--usd-per-gpu-hour", "-1"], "Peak, rent and workers cannot be negative"),
    "negative peak": (nothing, ["--peak-flop-per-second", "-1"], "Peak, rent and workers cannot be negative"),
    "no such recipe": (nothing, ["--recipe", "none.toml"], r"The recipe none\.toml cannot be used: .*No such file"),
    "no folder for the log": (nothing, ["--log", "no/such/run.jsonl"], "must be a file in a folder"),
    "no folder for the checkpoint": (
        nothing,
        ["--checkpoint", "no/such/run.pt", "--log", "run.jsonl"],
        r"There is no folder no/such for the checkpoint",
    ),
}


@pytest.mark.parametrize(("spoil", "options", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_named(folder, tmp_path, monkeypatch, capsys, spoil, options, message):
    monkeypatch.chdir(tmp_path)
    spoil(folder)
    assert run(folder, tmp_path / "run.pt", "--epochs", "1", *options) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("momentum = 0.9", "", "unknown or missing: momentum"),
        ("momentum = 0.9", "momentum = 0.9\nspeed = 3", "unknown or missing: speed"),
        ("momentum = 0.9", 'momentum = "much"', "could not convert string to float: 'much'"),
        ("momentum = 0.9", "momentum = -1.0", r"momentum = -1\.0"),
        ("epochs = 90 ", "epochs = 9.5", r"epochs = 9\.5"),
        ("epochs = 90 ", "epochs = 0", "epochs = 0"),
        ("learning_rate_per_256 = 0.1", "learning_rate_per_256 = inf", "learning_rate_per_256 = inf"),
        ("[30, 60, 80]", '["30"]', "not supported between instances"),
        ("smallest_crop = 0.08", "smallest_crop = 8.0", "smallest_crop and label_smoothing are at most 1"),
        ("validation_resize = 256", "validation_resize = 100", "validation_resize at least 224"),
        ("momentum = 0.9", "momentum is 0.9", "Expected '='"),
    ],
    ids=[
        *("missing", "unknown", "word for a number", "negative", "fraction for a whole number", "nothing", "infinite"),
        *("word in a list", "share above 1", "black margin", "no TOML"),
    ],
)
def test_bad_recipe_is_named(tmp_path, before, after, message):
    text = (Path(imagenet.__file__).parent / "imagenet.toml").read_text(encoding="utf8")
    assert before in text
    (tmp_path / "my.toml").write_text(text.replace(before, after, 1), encoding="utf8")
    with pytest.raises(ValueError, match=rf"my\.toml cannot be used: .*{message}.*Compare it with .*imagenet\.toml"):
        imagenet.load_recipe(tmp_path / "my.toml")


def test_whole_numbers_may_be_written_with_a_point(tmp_path):
    text = (Path(imagenet.__file__).parent / "imagenet.toml").read_text(encoding="utf8")
    (tmp_path / "my.toml").write_text(text.replace("epochs = 90 ", "epochs = 90.0 ", 1), encoding="utf8")
    assert isinstance(imagenet.load_recipe(tmp_path / "my.toml").epochs, int)  # `range` takes nothing else


@pytest.mark.parametrize(
    ("kind", "message"),
    [("mps", "Several processes cannot share this GPU"), ("cuda", "There are 0 GPUs here. Lower --nproc-per-node")],
)
def test_more_processes_than_gpus(original, tmp_path, monkeypatch, capsys, kind, message):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(imagenet, "pick_device", lambda name: torch.device(kind))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert run(original, tmp_path / "run.pt", "--epochs", "1") == 2
    assert capsys.readouterr().err.startswith(message)


def test_processes_that_do_not_divide_the_batch(original, tmp_path, monkeypatch, capsys):
    """Found before the processes wait for one another; only the first one speaks."""
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank, message in [
        ("0", "A batch of 8, 3 processes, 24 training pictures: the processes must divide"),
        ("1", ""),
    ]:
        monkeypatch.setenv("RANK", rank)
        assert run(original, tmp_path / "run.pt", "--epochs", "1") == 2
        assert capsys.readouterr().err.startswith(message)


def test_checkpoint_of_another_model(original, whole, capsys):
    assert run(original, whole, "--epochs", "3", "--model", "resnet50") == 2
    error = capsys.readouterr().err
    assert "belongs to a run with {'model': 'resnet18'}, not {'model': 'resnet50'}. Delete it or name another" in error


def test_skipped_pictures_are_counted_and_named(folder, tmp_path, capsys):
    """One of them is alone in the last share of the validation pictures."""
    bad = [folder / "train" / "boot" / "3.jpg", folder / "val" / "cup" / "4.jpg"]
    for picture in bad:
        truncate(picture)
    options = "--epochs", "2", "--batch-size", "7", "--bad-images", "skip"
    assert run(folder, tmp_path / "run.pt", *options) == 0
    last = log_of(tmp_path / "run.pt")[-1]
    assert [line.split(": ")[0] for line in last["skipped"]] == [str(picture) for picture in bad]
    assert math.isclose(last["validation_accuracy"] * 14 % 1, 0, abs_tol=1e-6)
    assert "; 2 unreadable pictures left out, see " in capsys.readouterr().out


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as exit:
        imagenet.main(["--help"])
    assert exit.value.code == 0
    text = capsys.readouterr().out
    for action in imagenet.command_line()._actions:
        assert action.help
        assert (action.option_strings or [action.dest])[-1] in text
    for word in ("torchrun", "--nnodes", "--max-restarts", "Batch normalisation", "Exit status"):
        assert word in text


def test_importing_does_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "course.imagenet")
    runpy.run_module("course.imagenet", run_name="imported")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rank", "local_rank", "said"), [("4", "0", True), ("5", "1", False)])
def test_what_one_machine_lacks_its_first_process_says(tmp_path, monkeypatch, capsys, rank, local_rank, said):
    for name, value in {"RANK": rank, "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    assert run(tmp_path / "nowhere", tmp_path / "run.pt", "--epochs", "1") == 2
    assert ("There is no folder" in capsys.readouterr().err) == said


def test_every_process_of_a_machine_finds_that_a_gpu_is_missing(original, tmp_path, monkeypatch, capsys):
    """Also the first, which has one: it is the one that speaks."""
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(imagenet, "pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert run(original, tmp_path / "run.pt", "--epochs", "1") == 2
    assert capsys.readouterr().err.startswith("There are 1 GPUs here. Lower --nproc-per-node")


def test_pictures_are_prepared_as_the_recipe_says(original):
    recipe = imagenet.load_recipe()
    recipe.image_size, recipe.smallest_crop = 32, 1.0
    train, validation = imagenet.load_pictures(original, recipe, seed=0)
    raw = pil_to_tensor(validation.loader(validation.samples[0][0])).float() / 255
    middle = center_crop(resize(raw, round(256 * 32 / 224), antialias=True), 32)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(validation[0][0], (middle - mean) / std, atol=0.03, rtol=0)
    crop, mirror = train.transform.transforms[:2]
    assert crop.scale == (1.0, 1.0)
    assert mirror.p == 0.5


def test_order_follows_from_the_seed(original):
    options = imagenet.command_line().parse_args([str(original), "--workers", "0"])
    recipe = imagenet.load_recipe()
    recipe.image_size = 32
    targets = []
    for seed in (0, 1):
        train, _ = imagenet.load_pictures(original, recipe, seed)
        reader = imagenet.Reader(train, 8, torch.device("cpu"), options)
        targets.append([y for _, batch in reader.epoch(0) for y in batch.tolist()])
    assert targets[0] != targets[1]


def test_speed_is_that_of_all_processes(original, monkeypatch):
    clock = iter(range(0, 100, 2))
    monkeypatch.setattr(imagenet.time, "perf_counter", lambda: next(clock))
    readers = []

    def read(train, validation):
        readers.append(train)
        return train.epoch(0)

    shares(original, monkeypatch, 2, read)
    assert [reader.pictures_per_second for reader in readers] == [24 / 2, 24 / 2]  # both halves in two seconds


def test_checkpoint_of_other_pictures(folder, tmp_path, whole, capsys):
    checkpoint = Path(shutil.copy(whole, tmp_path))
    (folder / "train" / "cup" / "7.jpg").unlink()
    assert run(folder, checkpoint, "--epochs", "3") == 2
    assert "a run with {'pictures': 24}, not {'pictures': 23}" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "compiled"), [([], 0), (["--compile"], 1)])
def test_compiles_when_asked(original, tmp_path, monkeypatch, options, compiled):
    calls = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: calls.append(self))
    monkeypatch.setattr(imagenet, "fit", lambda *arguments, **settings: History([0.0], [0.0], [0.0], [0.0], [1]))
    assert run(original, tmp_path / "run.pt", "--epochs", "1", *options) == 0
    assert len(calls) == compiled
