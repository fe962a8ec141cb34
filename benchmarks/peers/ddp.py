"""Full MNIST by PyTorch's DistributedDataParallel over gloo, with the settings of jobs/mnist.py.

Started once a worker: `python ddp.py RANK WORKERS PORT DATA BATCH RATE EPOCHS SEED`, DATA being an .npz of
the arrays x, y, test_x and test_y. Batches are cut out of tensors in memory, DDP's fastest way. The workers
share the test data. Rank 0 tells when each epoch's evaluation was done, counted from the start.
"""

import json
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

rank, workers, port, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
batch, rate, epochs, seed = int(sys.argv[5]), float(sys.argv[6]), int(sys.argv[7]), int(sys.argv[8])
torch.set_num_threads(1)
torch.manual_seed(seed)
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=workers)
data = {name: torch.from_numpy(array) for name, array in np.load(path).items()}
x, y = data["x"][rank::workers].contiguous(), data["y"][rank::workers].contiguous()
test_x, test_y = data["test_x"][rank::workers].contiguous(), data["test_y"][rank::workers].contiguous()
model = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
for layer in (model[0], model[2]):
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
network = nn.parallel.DistributedDataParallel(model)
loss = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(network.parameters(), rate, momentum=0.9, nesterov=True)
order = torch.Generator().manual_seed(seed + rank)
dist.barrier()
began, told = time.monotonic(), []
for _ in range(epochs):
    for chosen in torch.randperm(len(x), generator=order).split(batch):
        optimizer.zero_grad()
        loss(network(x[chosen]), y[chosen]).backward()
        optimizer.step()
    with torch.no_grad():
        right = (model(test_x).argmax(1) == test_y).sum()
    dist.all_reduce(right)
    told.append((time.monotonic() - began, int(right) / len(data["test_y"])))
if rank == 0:
    print(json.dumps({"epochs": told}), flush=True)
dist.destroy_process_group()
