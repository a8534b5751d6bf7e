"""Where the time of a run goes."""

import pytest

from mtrl.runner.clock import Clock


@pytest.fixture
def pass_time(monkeypatch):
    """Seconds go by when a test says so; half of them are work."""
    now = [100.0]
    monkeypatch.setattr("mtrl.runner.clock.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("mtrl.runner.clock.time.process_time", lambda: now[0] / 2.0)

    def go(seconds):
        now[0] += seconds

    return go


def test_each_second_goes_to_one_thing(pass_time):
    clock = Clock(98.0)  # it began two seconds before
    pass_time(1.0)
    assert vars(clock.read()) == {"setup_s": 3.0, "wall_s": 0.0, "cpu_s": 0.0, "evaluation_s": 0.0}
    clock.begin("wall_s")
    pass_time(10.0)
    with clock.evaluating():
        pass_time(4.0)
    pass_time(6.0)
    assert vars(clock.read()) == {"setup_s": 3.0, "wall_s": 16.0, "cpu_s": 8.0, "evaluation_s": 4.0}


def test_an_evaluation_that_is_cut_short_counts_and_training_goes_on(pass_time):
    clock = Clock(100.0)
    clock.begin("wall_s")
    with pytest.raises(KeyboardInterrupt), clock.evaluating():
        pass_time(4.0)
        raise KeyboardInterrupt
    pass_time(1.0)
    assert (clock.read().wall_s, clock.read().evaluation_s) == (1.0, 4.0)


def test_sessions_add_up(pass_time):
    earlier = {"setup_s": 1.0, "wall_s": 20.0, "cpu_s": 7.0, "evaluation_s": 3.0}
    clock = Clock(100.0)
    pass_time(2.0)
    clock.add(earlier)
    clock.begin("wall_s")
    pass_time(4.0)
    assert vars(clock.read()) == {"setup_s": 3.0, "wall_s": 24.0, "cpu_s": 9.0, "evaluation_s": 3.0}
