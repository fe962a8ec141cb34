"""Small job files, as a user would write them.

A job with a gate lets a test act at a known moment: while a file `hold` lies beside the job's file, a worker
process stops in its training step number `HOLD_AT`, after the first and before the last epoch of a run, and
says so with a file `held-PID`. A file `pass-PID` lets that one go on while the others are held.
"""

from pathlib import Path

import numpy as np

from ps_common import weights_file
from ps_common.arrays import HostArray

SAMPLES = 240  # 6 shards of 40, 5 batches of 8, 3 rounds an epoch
HOLD_AT = 40  # an epoch has 30 steps, all workers together

PLAIN = """
import numpy as np
from paramserver import Job, Plan, data, nn

rng = np.random.default_rng(3)
x = rng.standard_normal((240, 12)).astype("float32")
y = x[:, :3].argmax(axis=1)
job = Job(
    model=nn.Sequential(nn.Dense(12, 8), nn.ReLU(), nn.Dense(8, 3)),
    loss=nn.SoftmaxCrossEntropy(), optimizer=nn.SGD(0.1), metrics=[nn.Accuracy()],
    train=data.arrays(x, y), test=data.arrays(x[:60], y[:60]),
    plan=Plan(shards=6, batch_size=8, local_steps=2, epochs=4), seed=1,
)
"""

ADAM = PLAIN.replace("nn.SGD(0.1)", "nn.Adam(0.01)").replace("nn.ReLU()", "nn.ReLU(), nn.Dropout(0.3)")

# Of the shape of MNIST: with Adam's slots 9.5 MB, ten chunks, enough to be averaged in several threads.
WIDE = (
    PLAIN.replace("(240, 12)", "(240, 784)").replace("nn.SGD(0.1)", "nn.Adam(0.001)")
    .replace("nn.Dense(12, 8)", "nn.Dense(784, 1000)").replace("nn.Dense(8, 3)", "nn.Dense(1000, 3)")
    .replace("epochs=4", "epochs=2")
)  # fmt: skip

GATE = f"""
import dataclasses, os, time
from pathlib import Path
from paramserver import nn

HOLD = Path(__file__).with_name("hold")
steps = 0


def wait_at_gate(context):
    global steps
    steps += context.training
    while context.training and steps >= {HOLD_AT} and HOLD.exists():
        if HOLD.with_name(f"pass-{{os.getpid()}}").exists():
            return
        HOLD.with_name(f"held-{{os.getpid()}}").touch()
        time.sleep(0.002)
"""

GATED = (
    GATE
    + """

@dataclasses.dataclass(frozen=True)
class Gate(nn.Layer):
    def forward(self, x, p, context):
        wait_at_gate(context)
        return x, None

    def backward(self, dy, p, g, cache):
        return dy

"""
    + PLAIN.replace("nn.ReLU()", "nn.ReLU(), Gate()")
)

# Held at the first unit of the second epoch, where a worker was alone until then: five units are left.
EARLY = GATED.replace(f"steps >= {HOLD_AT}", "steps >= 32")

# The same in five chunks over a network: one more than are sent unasked.
CHUNKED = (
    EARLY.replace("nn.Dense(12, 8)", "nn.Dense(12, 66_000)").replace("nn.Dense(8", "nn.Dense(66_000")
    .replace("epochs=4", "epochs=2")
)  # fmt: skip

# The "gradient" says how often each sample is in a batch and the learning rate is 1, so the weights count: a
# unit adds 1 to each of its samples, and the average gives it its share of the round, samples / all samples.
_COUNTING = (
    GATE
    + """
import numpy as np
from paramserver import Job, Plan, data

SIZES = _SIZES_
N = sum(SIZES)


@dataclasses.dataclass(frozen=True)
class Count(nn.Layer):
    def parameters(self, inputs):
        return {"count": nn.Parameter((N,), "zeros")}

    def output_shape(self, inputs):
        return (1,)

    def forward(self, x, p, context):
        wait_at_gate(context)
        return np.zeros((len(x), 1), x.dtype), x

    def backward(self, dy, p, g, cache):
        g["count"][...] = -np.bincount(cache[:, 0].astype(int), minlength=N)
        return np.zeros_like(cache)


job = Job(
    model=Count(), loss=nn.MSE(), optimizer=nn.SGD(1.0),
    train=data.arrays(np.arange(N, dtype="float32")[:, None], np.zeros((N, 1), "float32")),
    plan=Plan(shards=SIZES, batch_size=8, local_steps=2, epochs=_EPOCHS_, dtype="float64"), seed=4,
)
"""
)


def counting(sizes: tuple[int, ...], epochs: int) -> str:
    return _COUNTING.replace("_SIZES_", str(sizes)).replace("_EPOCHS_", str(epochs))


def counts(model: Path) -> HostArray:
    """The weights of a counting job's model."""
    layout, vector, _ = weights_file.read(model)
    (count,) = layout.views(vector).values()
    return count


RAISING = """
import dataclasses
from paramserver import nn


@dataclasses.dataclass(frozen=True)
class Trips(nn.Layer):
    def forward(self, x, p, context):
        raise RuntimeError("tripped over a shoelace")

    def backward(self, dy, p, g, cache):
        return dy
""" + PLAIN.replace("nn.ReLU()", "Trips()")


def on_file(npz: Path, way: str) -> str:
    """The plain job on a file, with data="shared" or "stream"."""
    text = PLAIN.replace("train=data.arrays(x, y)", f"train=data.npz({str(npz)!r})")
    return text.replace("epochs=4", f"epochs=4, data={way!r}").replace(
        "test=data.arrays(x[:60], y[:60]),", ""
    )


def write_npz(path: Path) -> Path:
    """The plain job's training data as a file."""
    x = np.random.default_rng(3).standard_normal((SAMPLES, 12)).astype("float32")
    np.savez(path, x=x, y=x[:, :3].argmax(axis=1))
    return path
