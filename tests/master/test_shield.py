import pytest

from paramserver.shield import Shield


class Thrown(BaseException):
    pass


def test_outside_a_shield_an_error_is_raised_at_once():
    with pytest.raises(Thrown):
        Shield().throw(Thrown())


def test_within_a_shield_it_is_raised_when_the_outermost_is_left():
    shield, done = Shield(), []

    def work():
        with shield:
            with shield:
                shield.throw(Thrown())
                done.append("inner")
            done.append("outer")

    with pytest.raises(Thrown):
        work()
    assert done == ["inner", "outer"]
    with shield:  # and once only
        pass
