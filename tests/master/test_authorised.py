"""Whose keys may come in, as a server sees them: a folder that is away, and a look that ends the thread."""

import itertools
import time

from paramserver.admission.door import LOOK_EVERY_S
from ps_common.key_folder import KeyFolder
from security.knocking import House


def test_what_ends_the_thread_is_raised_in_the_loop_and_lets_nobody_in(tmp_path, monkeypatch):
    with House(tmp_path) as house:
        caller = house.call(house.w1)
        caller.say(b"hello")
        assert house.hear() is not None

        def broken(self):
            raise RuntimeError("a bug")

        monkeypatch.setattr(KeyFolder, "state", broken)
        raised, looks = [], itertools.count(1)

        def has_ended():
            try:
                house.door.look(time.monotonic() + LOOK_EVERY_S * next(looks))
            except RuntimeError as error:
                raised.append(str(error))
            return bool(raised)

        assert house.hear(until=has_ended) is None
        assert raised == ["a bug"]
        house.stays_out(house.call(house.w2))


def test_a_folder_that_is_away_is_told_once_and_keeps_in_who_is_in(tmp_path):
    with House(tmp_path) as house:
        good, bad = house.call(house.w1), house.call(house.w2)
        for caller in (good, bad):
            caller.say(b"hello")
            assert house.hear() is not None
        away = tmp_path / "away"
        house.keys.authorised_path.rename(away)
        news = []
        assert house.hear(until=lambda: news.extend(house.door.take_news()) or bool(news)) is None
        (told,) = news
        assert "who may come in stays as it is" in told
        good.say(b"still here")
        assert house.hear() is not None
        (away / "w2.pub").unlink()
        away.rename(house.keys.authorised_path)
        assert house.hear(until=lambda: bool(house.door.cut_revoked())) is None
        house.stays_out(bad)
        assert not any("stays as it is" in text for text in house.door.take_news())
