"""Checks of shapes that several layers share: each says which layer, both shapes, and what to do."""

from ps_common.errors import ShapeMismatch
from ps_worker.nn.layer import Shape


def check_features(owner: str, inputs: Shape, features: int) -> None:
    """Raise `ShapeMismatch` unless samples end with an axis of `features` numbers."""
    if inputs[-1:] != (features,):
        raise ShapeMismatch(
            f"{owner} takes samples of shape (..., {features}), got {inputs}; "
            "give it as many features as the layer before it"
        )


def check_sequence(owner: str, inputs: Shape, features: int) -> None:
    """Raise `ShapeMismatch` unless samples are sequences of vectors: (steps, features)."""
    if len(inputs) != 2 or inputs[1] != features:
        raise ShapeMismatch(
            f"{owner} takes sequences of vectors, samples of shape (steps, {features}), got {inputs}; "
            f"an nn.Embedding(vocabulary, {features}) makes such ones of indexes (steps,)"
        )
