"""A trained model from its file, ready to predict."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ps_common import weights_file
from ps_common.arrays import Array, Device, device, to_device, to_host
from ps_common.errors import CheckpointError, PeerError, ShapeMismatch, UsageError
from ps_common.job import Description
from ps_common.vocabulary import from_plain, has_own_code
from ps_worker import nn


@dataclasses.dataclass(frozen=True)
class Model:
    """A model with its weights. `metrics`: of its last evaluation; `job`: what it was trained by."""

    network: nn.Network
    weights: dict[str, Array]
    metrics: dict[str, float]
    job: Description
    device: Device

    def predict(self, x: npt.ArrayLike) -> Array:
        """The output, NumPy of shape (n, *output_shape), for a batch `x` of shape (n, *input_shape).

        Raises `ShapeMismatch` for samples of another shape.
        """
        batch = self.device.xp.asarray(x)
        if batch.shape[1:] != self.network.input_shape or batch.ndim == 0:
            raise ShapeMismatch(
                f"the model takes samples of shape {self.network.input_shape}, not {batch.shape[1:]}; "
                "give a batch, its first axis counting the samples"
            )
        return to_host(self.network.predict(batch))


def load(path: str | Path, model: nn.Layer | None = None, device_name: str = "cpu") -> Model:
    """The model in a file that `--out` wrote.

    model: needed where it holds layers of your own, for a file carries no code. Raises `CheckpointError`
    for a damaged file or one whose weights do not fit.

        model = paramserver.load("mnist_mlp.safetensors")
        labels = model.predict(images).argmax(axis=1)
    """
    layout, vector, meaning = weights_file.read(Path(path))
    try:
        job = Description.from_plain(meaning["job"])
        if model is None:
            if has_own_code(job.model):
                raise CheckpointError(
                    f"{path} holds layers of the user's own; give them: load(path, model=...)"
                )
            model = from_plain(job.model)
        loss: Any = from_plain(job.loss) if not has_own_code(job.loss) else nn.MSE()
    except (PeerError, KeyError) as error:
        raise CheckpointError(f"{path} does not describe a model of this version: {error}") from error
    place = device(device_name)
    try:
        network = nn.Network(model, loss, None, job.train.fields[0].shape, job.plan.dtype)
    except (ShapeMismatch, UsageError) as error:
        raise CheckpointError(f"{path} is not of this model: {error}") from error
    views = {name: to_device(view, place) for name, view in layout.views(vector).items()}
    weights = {name: views[name] for name in network.specification() if name in views}
    if weights.keys() != network.specification().keys():
        missing = sorted(network.specification().keys() - weights.keys())
        raise CheckpointError(f"{path} lacks the weights {missing} of its model")
    gradients = {n: place.xp.empty_like(weights[n]) for n, p in network.specification().items() if p.trained}
    try:
        network.bind(weights, gradients)
    except ValueError as error:
        raise CheckpointError(f"the weights in {path} do not fit its model: {error}") from error
    return Model(network, weights, meaning.get("metrics", {}), job, place)
