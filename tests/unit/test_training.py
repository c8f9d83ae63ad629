import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

from course import training
from course.training import CheckpointError, NonFiniteLossError, evaluate, fit


@pytest.fixture(autouse=True)
def exact_arithmetic(monkeypatch):
    """In float32 everywhere, so that results can be compared to the last digits."""
    monkeypatch.setattr(training, "autocast_dtype", lambda device: None)


def two_clouds(n=203):
    generator = torch.Generator().manual_seed(7)
    targets = torch.randint(0, 2, (n,), generator=generator)
    return torch.randn(n, 5, generator=generator) + 2 * targets[:, None], targets


def run(seed=0, epochs=4, loss=F.cross_entropy, learning_rate=0.05, **options):
    """Fit a network with dropout, augmentation and a schedule: everything that could break a resumed run."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=epochs * 6)
    history = fit(
        model,
        two_clouds(),
        two_clouds(50),
        optimizer=optimizer,
        scheduler=scheduler,
        epochs=epochs,
        batch_size=32,
        augment=lambda x: x + 0.1 * torch.randn_like(x),
        loss=loss,
        seed=seed,
        **options,
    )
    return model, history


class InterruptAfter:
    """A loss that presses Ctrl-C at its n-th call."""

    def __init__(self, n):
        self.left = n

    def __call__(self, outputs, targets):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return F.cross_entropy(outputs, targets)


@pytest.mark.parametrize("seed", range(5))
def test_learns_two_clouds(seed):
    _, history = run(seed)
    assert history.validation_accuracy[-1] > 0.9
    assert history.train_loss[-1] < history.train_loss[0]
    assert history.seconds == sorted(history.seconds)


def test_evaluate_agrees_with_scikit_learn():
    model, _ = run(epochs=1)
    inputs, targets = two_clouds()
    loss, accuracy = evaluate(model, (inputs, targets))
    probabilities = model.eval()(inputs).softmax(1).detach().numpy()
    assert accuracy == pytest.approx(accuracy_score(targets, probabilities.argmax(1)))
    assert loss == pytest.approx(log_loss(targets, probabilities), rel=1e-5)


def test_does_what_the_loop_written_out_does():
    """Fit against the four lines that every textbook prints."""
    inputs, targets = two_clouds()
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(nn.Linear(5, 2))
    by_fit, by_hand = models
    optimizer = torch.optim.SGD(by_fit.parameters(), lr=0.1)
    fit(by_fit, (inputs, targets), (inputs, targets), optimizer=optimizer, epochs=1, batch_size=32, seed=0)

    torch.manual_seed(0)
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    for batch in torch.randperm(len(inputs)).split(32)[:-1]:  # the last one is incomplete
        optimizer.zero_grad()
        F.cross_entropy(by_hand(inputs[batch]), targets[batch]).backward()
        optimizer.step()
    torch.testing.assert_close(by_fit.state_dict(), by_hand.state_dict())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("calls", "message"),
    [
        (3, "Interrupted in epoch 1 of 4: nothing is stored"),
        (9, r"Interrupted in epoch 2 of 4: epochs 1 to 1 are in .*run\.pt"),
        (20, r"Interrupted in epoch 3 of 4: epochs 1 to 2 are in .*run\.pt"),
    ],
    ids=["first epoch", "second epoch", "third epoch"],
)
def test_interrupted_and_resumed_equals_never_interrupted(tmp_path, seed, calls, message):
    untouched, whole = run(seed)
    checkpoint = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt, match=message):
        run(seed, loss=InterruptAfter(calls), checkpoint=checkpoint)
    resumed, history = run(seed, checkpoint=checkpoint)
    torch.testing.assert_close(resumed.state_dict(), untouched.state_dict(), rtol=0, atol=0)
    assert history.train_loss == whole.train_loss
    assert history.validation_accuracy == whole.validation_accuracy
    assert history.seconds == sorted(history.seconds)


def test_leaves_the_random_state_of_the_caller_alone():
    run(epochs=1)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    model = nn.Linear(5, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(11)
    fit(model, two_clouds(), two_clouds(), optimizer=optimizer, epochs=1, batch_size=8, seed=5)
    torch.testing.assert_close(torch.rand(3), expected)


def test_nan_is_named_and_the_last_good_epoch_kept(tmp_path):
    class NaNFrom(InterruptAfter):
        def __call__(self, outputs, targets):
            self.left -= 1
            return F.cross_entropy(outputs, targets) * (float("nan") if self.left < 0 else 1)

    checkpoint = tmp_path / "run.pt"
    with pytest.raises(NonFiniteLossError, match=r"became nan in epoch 2\. A lower learning rate"):
        run(loss=NaNFrom(8), checkpoint=checkpoint)
    assert len(torch.load(checkpoint, weights_only=True)["history"]["train_loss"]) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "between 1 and 203"),
        ({"batch_size": 204}, ValueError, "between 1 and 203"),
        ({"epochs": 0}, ValueError, "at least 1"),
        ({"checkpoint": "no/such/folder/run.pt"}, CheckpointError, "There is no folder no/such/folder"),
    ],
    ids=["empty batch", "batch larger than the data", "no epoch", "no folder for the checkpoint"],
)
def test_bad_settings_are_refused(options, error, message):
    model = nn.Linear(5, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(error, match=message):
        fit(model, two_clouds(), two_clouds(), optimizer=optimizer, **{"epochs": 1, "batch_size": 8} | options)


def test_checkpoint_of_another_run_is_refused(tmp_path):
    checkpoint = tmp_path / "run.pt"
    run(seed=0, epochs=1, checkpoint=checkpoint)
    with pytest.raises(CheckpointError, match=r"belongs to a run with .*'seed': 0.*Delete it or name another"):
        run(seed=1, epochs=1, checkpoint=checkpoint)


def test_only_the_settings_that_differ_are_named(tmp_path):
    checkpoint = tmp_path / "run.pt"
    run(epochs=1, checkpoint=checkpoint, settings={"model": "small", "width": 8})
    with pytest.raises(CheckpointError, match=r"a run with {'model': 'small'}, not {'model': 'large'}\. Delete it"):
        run(epochs=1, checkpoint=checkpoint, settings={"model": "large", "width": 8})


def test_checkpoint_of_a_large_other_network_is_named_in_short(tmp_path):
    checkpoint = tmp_path / "run.pt"
    run(epochs=1, checkpoint=checkpoint)
    model = nn.Sequential(*(nn.Linear(5, 5) for _ in range(100)))
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(CheckpointError, match=r"holds another model: Error\(s\) in loading state_dict") as raised:
        fit(model, two_clouds(), two_clouds(), optimizer=optimizer, epochs=1, batch_size=32, checkpoint=checkpoint)
    assert len(str(raised.value)) < 600


def test_after_epoch_comes_when_the_checkpoint_is_written(tmp_path):
    checkpoint = tmp_path / "run.pt"
    seen = []

    def note(history):
        stored = torch.load(checkpoint, weights_only=True)["history"]
        seen.append((len(history.seconds), stored == vars(history), history.processes[-1]))

    run(epochs=2, checkpoint=checkpoint, after_epoch=note)
    assert seen == [(1, True, 1), (2, True, 1)]


class CloudsReadAsNeeded:
    """The two clouds as `Batches`, in the order in which `fit` takes tensors."""

    def __len__(self):
        return 6

    def epoch(self, number):
        inputs, targets = two_clouds()
        for batch in torch.randperm(203, generator=torch.Generator().manual_seed(number)).split(32)[:6]:
            yield inputs[batch], targets[batch]


def test_batches_read_as_needed_give_what_tensors_give():
    results = []
    for train, validation in [
        (two_clouds(), two_clouds(50)),
        (CloudsReadAsNeeded(), list(zip(*(part.split(7) for part in two_clouds(50)), strict=True))),
    ]:
        torch.manual_seed(0)
        model = nn.Linear(5, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        results.append(
            (fit(model, train, validation, optimizer=optimizer, epochs=2, batch_size=32), model.state_dict())
        )
    (tensors, expected), (read, found) = results
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert read.train_loss == tensors.train_loss
    assert read.validation_loss == pytest.approx(tensors.validation_loss, rel=1e-6)
    assert read.validation_accuracy == pytest.approx(tensors.validation_accuracy)


@pytest.mark.parametrize(
    "data", [[], (torch.empty(0, 5), torch.empty(0, dtype=torch.long))], ids=["batches", "tensors"]
)
def test_nothing_to_evaluate_on_is_named(data):
    with pytest.raises(ValueError, match=r"There is no example|0 examples cannot be shared"):
        evaluate(nn.Linear(5, 2), data)


def test_every_process_draws_its_own_noise(monkeypatch):
    """Also beyond the second, although a seed keeps only 32 bits."""
    monkeypatch.setattr(training.dist, "all_reduce", lambda *arguments, **options: None)
    drawn = []
    for rank in range(4):
        monkeypatch.setattr(training, "rank_and_processes", lambda rank=rank: (rank, 4))
        noise = []
        model = nn.Linear(5, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def note(x, noise=noise):
            noise.append(torch.rand(1).item())
            return x

        fit(model, two_clouds(), two_clouds(), optimizer=optimizer, epochs=2, batch_size=32, augment=note)
        drawn += noise
    assert len(set(drawn)) == len(drawn) == 4 * 2 * 6


def test_damaged_checkpoint_is_named(tmp_path):
    checkpoint = tmp_path / "run.pt"
    checkpoint.write_bytes(b"half of it")
    with pytest.raises(CheckpointError, match=r"run\.pt is damaged or holds another model"):
        run(checkpoint=checkpoint)


def test_nan_in_the_last_step_is_not_stored(tmp_path):
    """The loss of every batch is finite, the weights after the last step are not."""
    checkpoint = tmp_path / "run.pt"

    class PoisonedAtTheEnd(torch.optim.SGD):
        steps = 0

        def step(self):
            super().step()
            self.steps += 1
            if self.steps == 6:
                with torch.no_grad():
                    self.param_groups[0]["params"][0].fill_(float("nan"))

    model = nn.Linear(5, 2)
    optimizer = PoisonedAtTheEnd(model.parameters(), lr=0.1)
    with pytest.raises(NonFiniteLossError, match="became nan in epoch 1"):
        fit(model, two_clouds(), two_clouds(), optimizer=optimizer, epochs=1, batch_size=32, checkpoint=checkpoint)
    assert not checkpoint.exists()


def test_every_epoch_has_an_order_of_its_own_and_every_seed_too():
    orders = {}
    for seed in (0, 1):
        seen = []
        model = nn.Linear(1, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        data = torch.arange(12.0)[:, None], torch.zeros(12, dtype=torch.long)

        def note(x, seen=seen):
            seen.extend(x.flatten().tolist())
            return x

        fit(model, data, data, optimizer=optimizer, epochs=2, batch_size=12, augment=note, seed=seed)
        orders[seed] = seen[:12], seen[12:]
        assert sorted(seen[:12]) == sorted(seen[12:]) == list(range(12))
        assert seen[:12] != seen[12:]
    assert orders[0] != orders[1]


def test_predict_puts_batches_together_and_the_mode_back():
    model = nn.Sequential(nn.Linear(5, 2), nn.Dropout(0.5)).train()
    inputs = torch.randn(10, 5)
    torch.testing.assert_close(training.predict(model, inputs, batch_size=3), model[0](inputs))
    assert model.training


def test_full_disk_leaves_the_previous_checkpoint_intact(tmp_path, monkeypatch):
    checkpoint = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        run(loss=InterruptAfter(9), checkpoint=checkpoint)
    before = checkpoint.read_bytes()

    def no_room(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file: file write failed")

    monkeypatch.setattr(torch, "save", no_room)
    with pytest.raises(CheckpointError, match=r"Cannot write .*run\.pt \(is the disk full\?\): .*Make room"):
        run(checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


TWO_PROCESSES = """
import sys, torch
from pathlib import Path
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
import test_training as t
from course import training
training.autocast_dtype = lambda device: None
dist.init_process_group("gloo")
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(5, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
sizes = set()
noise = []
def augment(x):
    sizes.add(len(x))
    noise.append(torch.rand(1).item())
    return x
history = training.fit(
    model, t.two_clouds(), t.two_clouds(51), optimizer=optimizer, epochs=2, batch_size=32, augment=augment
)
assert sizes == {16}, sizes
draws = [None, None]
dist.all_gather_object(draws, noise)
assert draws[0] != draws[1]
if dist.get_rank() == 0:
    torch.save({"model": model.module.state_dict(), "history": vars(history)}, sys.argv[2])

# 2049 and 2048 examples, that is two batches here and one there; and running statistics that differ
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Sequential(torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 2)))
model.module[0].running_mean += dist.get_rank()
results = [None, None]
dist.all_gather_object(results, training.evaluate(model, t.two_clouds(4097)))
assert results[0] == results[1], results
if dist.get_rank() == 0:
    torch.save({"model": model.module.state_dict(), "result": results[0]}, sys.argv[2] + ".evaluation")

# a checkpoint that only one of them sees
folder = Path(sys.argv[2]).parent
def train(epochs, checkpoint):
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(5, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = t.two_clouds()
    training.fit(model, data, data, optimizer=optimizer, epochs=epochs, batch_size=32, checkpoint=checkpoint)
train(1, folder / "seen-by-0.pt")
dist.barrier()
try:
    train(1, folder / f"seen-by-{dist.get_rank()}.pt")
except training.CheckpointError as error:
    assert "One process resumes after epoch 0, another after epoch 1: all machines must see" in str(error), error
else:
    raise AssertionError("started although one has no checkpoint")
dist.destroy_process_group()
"""


def test_two_processes_equal_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [script, Path(__file__).parent, tmp_path / "out.pt"]
    subprocess.run([*torchrun, *map(str, arguments)], check=True, capture_output=True, timeout=120)
    two = torch.load(tmp_path / "out.pt", weights_only=True)

    torch.manual_seed(0)
    model = nn.Linear(5, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    history = fit(model, two_clouds(), two_clouds(51), optimizer=optimizer, epochs=2, batch_size=32)
    torch.testing.assert_close(two["model"], model.state_dict())
    assert two["history"]["train_loss"] == pytest.approx(history.train_loss, rel=1e-5)
    assert two["history"]["validation_loss"] == pytest.approx(history.validation_loss, rel=1e-5)
    assert two["history"]["validation_accuracy"] == pytest.approx(history.validation_accuracy)
    assert two["history"]["processes"] == [2, 2]

    evaluation = torch.load(tmp_path / "out.pt.evaluation", weights_only=True)
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2))
    model.load_state_dict(evaluation["model"])  # those of process 0
    assert evaluation["result"] == pytest.approx(evaluate(model, two_clouds(4097)), rel=1e-5)

    assert set(torch.load(tmp_path / "seen-by-0.pt", weights_only=True)["model"]) == {"weight", "bias"}


def test_terminal_shows_the_result(capfd):
    run(epochs=2)
    assert "validation loss" in capfd.readouterr().err


def test_a_network_left_in_evaluation_mode_is_trained_all_the_same():
    """Dropout and batch normalisation must be switched to training first."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2)).eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fit(model, two_clouds(), two_clouds(), optimizer=optimizer, epochs=1, batch_size=32)
    assert model[0].num_batches_tracked == 6
