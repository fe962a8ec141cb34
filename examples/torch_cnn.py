"""Handwritten digits with a small convolutional network in plain PyTorch: as a job, and in a loop of its own.

    ps-local examples/torch_cnn.py -n 2         a job: workers make the steps, PyTorch computes them

    ps-server own --samples 4000 --shards 4 --batch-size 32 --local-steps 4 --epochs 8
    python examples/torch_cnn.py tcp://127.0.0.1:5555         the loop below, in as many terminals as you like

    python examples/torch_cnn.py                the same loop alone

Expect an accuracy of 0.95 or more on the 1,000 test digits, each way. Lines marked # + are all that the
parameter server adds to the program: eight for the loop, one more for the job.

Needs the extra: pip install 'paramserver[torch]'.
"""

import sys

import torch
from torch import nn

import paramserver  # +
from paramserver.torch import Replica  # +

digits = paramserver.datasets.load("mnist-5k", seed=1)
torch.set_num_threads(1)  # several loops share this machine; the workers of a job do as the plan says
torch.manual_seed(1)
module = nn.Sequential(
    nn.Unflatten(1, (1, 28, 28)),
    nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(256, 10),
)  # fmt: skip
optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
loss_of = nn.CrossEntropyLoss()


def accuracy(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (output.argmax(dim=1) == labels).double().mean()


replica = Replica(module, optimizer, loss_of, metrics={"accuracy": accuracy})  # +
plan = paramserver.Plan(shards=4, batch_size=32, local_steps=4, epochs=8)
job = paramserver.Job(model=replica, train=digits.train, test=digits.test, plan=plan, seed=1)  # +


def step(images: torch.Tensor, labels: torch.Tensor) -> float:
    optimizer.zero_grad()
    loss = loss_of(module(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def tensors(split: paramserver.data.Source) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(part) for part in split.read(slice(None)))


def evaluate() -> float:
    images, labels = tensors(digits.test)
    with torch.no_grad():
        return accuracy(module(images), labels).item()


def train_alone() -> None:
    images, labels = tensors(digits.train)
    for _ in range(plan.epochs):
        for rows in torch.randperm(len(images)).split(32):
            step(images[rows], labels[rows])


def train_with(master: str) -> None:
    images, labels = tensors(digits.train)
    with paramserver.connect(master) as server:  # +
        server.init(replica.vector)  # +
        for x, y in server.batches((images, labels)):  # + in the place of the two loops above
            loss = step(x, y)
            if server.is_due:  # +
                server.push_pull(replica.vector, metrics={"loss": loss})  # +


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train_with(sys.argv[1])
    else:
        train_alone()
    print(f"accuracy on {digits.test.samples:,} test digits: {evaluate():.3f}")
