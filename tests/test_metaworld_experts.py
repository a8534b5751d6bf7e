"""Upstream's scripted experts through our environments."""

import experts
import numpy as np
import pytest
import warp_experts

pytestmark = pytest.mark.filterwarnings("ignore:Constant.s. may be too high")  # the experts' actions are clipped

GOALS, LOST = 5, 2
"""Of each task; and how many of them the warp engine may not lose."""


@pytest.mark.parametrize("engine", ["native", "official"])
@pytest.mark.parametrize("task", ["reach-v3", "window-close-v3", "button-press-topdown-v3", "pick-place-v3"])
def test_experts_solve(task, engine):
    result = experts.play(task, engine, episodes=3, goal_seed=1).means()
    assert result["any"] == 1
    assert 0 < result["return"] <= 5000


@pytest.mark.timeout(1200)  # where no compiled kernels are kept
def test_no_task_loses_goals_on_the_warp_engine():
    native, _ = experts.reach(experts.MT50, "native", GOALS, goal_seed=0)
    assert native.mean() > 0.95

    def lost(reached):
        return (native & ~reached).sum(axis=1)

    warp, faults = experts.reach(experts.MT50, "warp", GOALS, 0, settled=lambda reached: lost(reached).max() < LOST)
    assert not faults
    assert not [(task, count) for task, count in zip(experts.MT50, lost(warp), strict=True) if count >= LOST]


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


def played(reached, returns, faults=None):
    """Episodes of which so many reach their goals, with these returns; the hand moves on by 1 mm a step."""
    ever = np.arange(len(returns)) < reached
    observations = np.zeros((5, len(returns), 39), np.float32)
    observations[:, :, 0] = 1e-3 * np.arange(5)[:, None]
    peaks = {"worlds": len(returns), "constraints": 90, "pairs": 20, "contacts": 30}
    return experts.Episodes(ever, ever, np.array(returns, float), observations, faults or {}, peaks)


def test_pairing_tells_what_is_lost_and_what_shifts():
    returns = np.arange(10.0) + 100
    same = warp_experts.Pairing(played(9, returns), played(9, returns), "abc")
    assert (same.points, same.lost, same.won, same.shift, same.shifted) == (0, 0, 0, 0, False)
    assert len(same.parted) == 0
    assert warp_experts.failures({"reach-v3": same}) == []

    other = played(7, returns + 50, {"the state was not finite, or beyond bounds": 2})
    other.observations[3:, 4, 5] += 0.002
    pairing = warp_experts.Pairing(played(9, returns), other, "abc")
    assert (pairing.points, pairing.lost, pairing.won) == (pytest.approx(-20), 2, 0)
    assert pairing.shift == pytest.approx(50 / 104.5)
    assert pairing.distance[0] == 1
    assert pairing.paired == pytest.approx(50 / 104.5)
    assert pairing.parted.tolist() == [3]
    held = "\n".join(warp_experts.failures({"reach-v3": pairing}))
    for part in ("mean success", "20 points below", "2 x the state was not finite", "no known reason"):
        assert part in held


def test_page_of_the_comparison_has_all_tasks_and_the_room_they_need():
    pairing = warp_experts.Pairing(played(9, np.arange(10.0)), played(10, np.arange(10.0)), "abc1234")
    text = warp_experts.page({"reach-v3": pairing, "push-v3": pairing}, 0, 3.0)
    for part in (
        "| reach-v3 | 90% | 100% | 0 | 1 |",
        "| push-v3 | 90 | 2.0 | 3.0 |",
        "abc1234",
        "mujoco-warp",
        "--output docs/warp-experts.md --episodes 10",
    ):
        assert part in text


def test_what_was_played_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(warp_experts, "play", lambda *_: played(9, np.arange(10.0)))
    first = warp_experts.pair("reach-v3", 10, 0, tmp_path)
    monkeypatch.setattr(warp_experts, "play", None)
    again = warp_experts.pair("reach-v3", 10, 0, tmp_path)
    assert again.commit == first.commit
    assert again.warp.peaks == first.warp.peaks
    np.testing.assert_array_equal(again.native.observations, first.native.observations)
