"""Upstream's scripted experts through our environments."""

import experts
import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Constant.s. may be too high")  # the experts' actions are clipped


@pytest.mark.parametrize("engine", ["native", "official"])
@pytest.mark.parametrize("task", ["reach-v3", "window-close-v3", "button-press-topdown-v3", "pick-place-v3"])
def test_experts_solve(task, engine):
    result = experts.play(task, engine, episodes=3, goal_seed=1).means()
    assert result["any"] == 1
    assert 0 < result["return"] <= 5000


@pytest.mark.slow
def test_experts_solve_the_fifty():
    results = experts.play_all(experts.MT50, experts.ENGINES, experts.EPISODES, goal_seed=0, processes=2)
    native, official = ([row["any"] for row in results[engine].values()] for engine in experts.ENGINES)
    assert len(native) == 50
    assert min(np.mean(native), np.mean(official)) >= 0.97
    assert min(*native, *official) >= 0.7
    assert abs(np.mean(native) - np.mean(official)) < 0.01
    assert min(np.subtract(native, official)) >= -0.05


def test_page_states_command_versions_and_rows(monkeypatch):
    monkeypatch.setattr(experts, "_commit", lambda: "abc1234")
    rows = {"reach-v3": {"any": 1.0, "end": 0.5, "return": 4000.4}}
    text = experts.page({"native": rows, "official": rows}, experts.EPISODES, 0)
    assert "| reach-v3 | 100% | 50% | 4000 | 100% | 50% | 4000 |" in text
    for part in ("abc1234", "metaworld 3.0.0", "mujoco", "--output docs/experts.md"):
        assert part in text
