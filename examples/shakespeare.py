"""Shakespeare as characters: what is trained on, how bits are counted, and how a model writes.

The text is all 42 works, 5,057,198 characters, in the order of their files' names. The first 95 % are
trained on; the last 5 %, all but a few lines of the last two works (The Two Gentlemen of Verona, The Winter's
Tale), are to test. What the character models beside this file share is here, so that they and the n-gram
models are trained on the same text and asked about the very same characters.
"""

from pathlib import Path

import ngrams
import numpy as np

from paramserver import Model, data, datasets

TRAIN = 0.95


class Works:
    """The text, or its first `characters`, in windows of `length` of them, an even number.

    train, test: sources for a job. kinds: how many different characters there are.
    """

    def __init__(self, length: int, characters: int = 0) -> None:
        text = datasets.text("shakespeare")
        self.content, self.length = text[: characters or None], length
        self.vocabulary = "".join(sorted(set(text)))
        self.kinds = len(self.vocabulary)
        self.train = self.windows((0, TRAIN))
        self.test = self.windows((TRAIN, 1))

    def windows(self, part: tuple[float, float], stride: int | None = None) -> data.Text:
        """A part of the text, one window every `stride` characters; one after another by default."""
        return data.characters(
            self.content,
            length=self.length,
            stride=stride,
            vocabulary=self.vocabulary,
            part=part,
            dtype="uint8",
        )

    def asked(self) -> tuple[np.ndarray, np.ndarray]:
        """Windows (n, length) that overlap by a half, and the characters (n, length / 2) to tell of each.

        These are the test text's from number length / 2 + 1 on, each once, with so many before them, or more.
        """
        half = self.length // 2
        x, y = self.windows((TRAIN, 1), half).read(slice(None))
        return x, y[:, half:].astype(np.int64)

    def baselines(self) -> dict[str, float]:
        """Bits per character of n-gram models of the training text, for the characters of `asked`."""
        cut = int(TRAIN * len(self.content))
        ids = self.train.encode(self.content).astype(np.int64)
        told = self.asked()[1].size
        half = self.length // 2
        test = ids[cut : cut + half + 1 + told]
        bits = ngrams.bits(ids[:cut], test, self.kinds, 5, start=half + 1)
        return {"unigram": bits[0], "trigram": bits[2], "5-gram": bits[4]}

    def bits_per_character(self, model: Model) -> float:
        """-log₂ of the share that the model gives each character of `asked`, as a mean."""
        x, y = self.asked()
        total = 0.0
        for first in range(0, len(x), 100):
            logits = model.predict(x[first : first + 100])[:, -y.shape[1] :].astype(np.float64)
            logits -= logits.max(axis=-1, keepdims=True)
            shares = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            total -= np.take_along_axis(shares, y[first : first + 100, :, None], axis=-1).sum()
        return float(total / y.size / np.log(2))

    def write(self, model: Model, begin: str, count: int, seed: int = 0) -> str:
        """`begin` and `count` characters more, each drawn with the share that the model gives it.

        The model sees the last `length` characters at most.
        """
        random = np.random.default_rng(seed)
        ids = self.train.encode(begin).tolist()
        for _ in range(count):
            seen = ids[-self.length :]
            window = np.zeros((1, self.length), np.int64)
            window[0, : len(seen)] = seen  # what comes after them does not count: models look back only
            logits = model.predict(window)[0, len(seen) - 1].astype(np.float64)
            shares = np.exp(logits - logits.max())
            ids.append(int(random.choice(self.kinds, p=shares / shares.sum())))
        return self.train.decode(ids)

    def show(self, model: Model, path: Path) -> None:
        """A text of the model's own as `path`.txt."""
        path.with_suffix(".txt").write_text(self.write(model, "\n", 1000).strip("\n") + "\n")
