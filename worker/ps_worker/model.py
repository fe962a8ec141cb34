"""A trained model from its file, ready to predict."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ps_common import weights_file
from ps_common.arrays import Array, Device, HostArray, device, to_device, to_host
from ps_common.errors import CheckpointError, PeerError, ShapeMismatch, UsageError
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.own_model import trains_itself
from ps_common.vocabulary import from_plain, has_own_code
from ps_worker import nn
from ps_worker.own_arrays import OwnArrays


@dataclasses.dataclass(frozen=True)
class Model:
    """A model with its weights. `metrics`: of its last evaluation; `job`: what it was trained by.

    network: None where a class of the user's own was trained, which computes by itself.
    """

    network: nn.Network | None
    weights: dict[str, Array]
    metrics: dict[str, float]
    job: Description
    device: Device

    def predict(self, x: npt.ArrayLike) -> Array:
        """The output, NumPy of shape (n, *output_shape), for a batch `x` of shape (n, *input_shape).

        Raises `ShapeMismatch` for samples of another shape, `UsageError` where there is no network.
        """
        if self.network is None:
            raise UsageError(
                "this model is a class of the user's own, which alone knows how to predict; fill one with "
                "these weights: load(path, model=...)"
            )
        batch = self.device.xp.asarray(x)
        if batch.shape[1:] != self.network.input_shape or batch.ndim == 0:
            raise ShapeMismatch(
                f"the model takes samples of shape {self.network.input_shape}, not {batch.shape[1:]}; "
                "give a batch, its first axis counting the samples"
            )
        return to_host(self.network.predict(batch))


def load(path: str | Path, model: Any = None, device_name: str = "cpu") -> Model:
    """The model in a file that `--out` wrote. Runs no code of the file: there is none in it.

    model: the layers, needed where some are your own, for a file carries no code; or an object of the
    class of your own that was trained, to be filled with the weights. Raises `CheckpointError` for a damaged
    file or one whose weights do not fit.

        model = paramserver.load("mnist_mlp.safetensors")
        labels = model.predict(images).argmax(axis=1)
    """
    layout, vector, meaning = weights_file.read(Path(path))
    try:
        job, metrics = Description.from_plain(meaning["job"]), _metrics(meaning.get("metrics", {}))
        if job.own_loop is not None:
            raise CheckpointError(
                f"{path} holds the arrays of a loop of your own; safetensors.numpy.load_file reads them"
            )
        if job.loss is None:
            weights = _own_weights(path, layout, vector, model)
            return Model(None, weights, metrics, job, device("cpu"))
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
    return Model(network, weights, metrics, job, place)


def _metrics(plain: Any) -> dict[str, float]:
    if not isinstance(plain, dict) or not all(type(value) in (int, float) for value in plain.values()):
        raise PeerError("its metrics are no numbers by name")
    return plain


def _own_weights(path: str | Path, layout: Layout, vector: HostArray, model: Any) -> dict[str, Array]:
    """The arrays of a class of the user's own by name; an object of it, if given, is filled with them."""
    weights = {**layout.views(vector, "weight"), **layout.views(vector, "buffer")}
    if model is None:
        return weights
    if not trains_itself(model):
        raise CheckpointError(f"{path} is of a class with train(batch), not of a model like {model!r}")
    arrays = OwnArrays(model)
    here = {name: (e.shape, e.dtype) for name, e in arrays.entries.items() if e.role != "slot"}
    there = {name: (value.shape, value.dtype.name) for name, value in weights.items()}
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            raise CheckpointError(
                f"{path} does not fit {type(model).__name__}: {name} is {_said(there.get(name))} in the file "
                f"and {_said(here.get(name))} in the object"
            )
    arrays.write(weights)
    return weights


def _said(array: tuple[tuple[int, ...], str] | None) -> str:
    return "absent" if array is None else f"{array[0]} {array[1]}"
