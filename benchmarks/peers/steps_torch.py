"""PyTorch's training steps, eager, on one thread. Started by `python steps_torch.py MODEL`.

For each number on standard input: so many steps from the first weights on, and the seconds of each as a line
of JSON. The attention is PyTorch's own fused one.
"""

import json
import sys
import time

import torch
from torch import nn

BATCHES = 8
WORDS, LENGTH, FEATURES, HEADS = 65, 64, 128, 4


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.output = nn.Linear(FEATURES, 3 * FEATURES), nn.Linear(FEATURES, FEATURES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, steps, _ = x.shape
        split = self.qkv(x).view(n, steps, 3, HEADS, FEATURES // HEADS).permute(2, 0, 3, 1, 4)
        taken = nn.functional.scaled_dot_product_attention(*split, is_causal=True)
        return self.output(taken.transpose(1, 2).reshape(n, steps, FEATURES))


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(FEATURES), *layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(LENGTH, FEATURES) * 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight


def block() -> list[nn.Module]:
    gelu = nn.GELU(approximate="tanh")
    return [
        Residual(Attention()),
        Residual(nn.Linear(FEATURES, 4 * FEATURES), gelu, nn.Linear(4 * FEATURES, FEATURES)),
    ]


MODELS = {
    "mlp": lambda: nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10)),
    "cnn": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 10),
    ),
    "transformer": lambda: nn.Sequential(
        nn.Embedding(WORDS, FEATURES),
        Positions(),
        *block(),
        *block(),
        nn.LayerNorm(FEATURES),
        nn.Linear(FEATURES, WORDS),
    ),
}


def batches(model: str) -> tuple[torch.Tensor, torch.Tensor]:
    if model == "transformer":
        words = torch.randint(0, WORDS, (2, BATCHES, 16, LENGTH))
        return words[0], words[1]
    return torch.rand(BATCHES, 64, 784), torch.randint(0, 10, (BATCHES, 64))


def main(name: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    (x, y), loss = batches(name), nn.CrossEntropyLoss()
    for line in sys.stdin:
        model, seconds = MODELS[name](), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for step in range(int(line)):
            began = time.perf_counter()
            optimizer.zero_grad()
            loss(model(x[step % BATCHES]).flatten(0, -2), y[step % BATCHES].flatten()).backward()
            optimizer.step()
            seconds.append(time.perf_counter() - began)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
