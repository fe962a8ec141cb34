"""Bytes on their way: whoever wants some of them waits for the piece that brings the last of these."""

import pytest

from ps_worker.arrival import HERE, Arrival


class Mark:
    def __init__(self, number, waited):
        self.number, self.waited = number, waited

    def synchronize(self):
        self.waited.append(self.number)


@pytest.mark.parametrize(
    ("stop", "piece"), [(1, 0), (64, 0), (65, 1), (128, 1), (129, 2), (150, 2), (151, 2), (None, 2), (0, 0)]
)
def test_the_piece_that_is_waited_for(stop, piece):
    waited: list[int] = []
    Arrival([64, 128, 150], [Mark(number, waited) for number in range(3)]).wait(stop)
    assert waited == [piece]


def test_what_is_here_is_not_waited_for():
    HERE.wait()
    HERE.wait(5)
