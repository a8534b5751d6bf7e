"""Between two reports of the environment, training and evaluation never make the host wait for the device."""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from no_sync import HostWaitsError, no_sync

from mtrl.agents.sac import SAC
from mtrl.agents.sac_config import SACConfig
from mtrl.algorithm import Problem
from mtrl.config import ReplayConfig, RunConfig
from mtrl.evaluation import RunningEpisodes, evaluate
from mtrl.goals import INACTIVE, GoalSet
from mtrl.parts.combiner import COMBINERS, CombinerConfig
from mtrl.parts.network import NetworkConfig
from mtrl.rollouts import RolloutBuffer, gae
from mtrl.runner.loop import EpisodeStatistics
from mtrl.runner.off_policy import OffPolicyLoop
from mtrl.tasks import TaskSpec
from mtrl.vector.contract import TaskVectorEnv, schedule_of

CPU = torch.device("cpu")
EVERY = 32
GOALS = 5


class DeviceEnv(TaskVectorEnv):
    """Stands for an engine on a device: its steps are tensor operations alone, its goals dealt before they are played.

    The observation is the step of the episode; a task's episodes are `horizon` steps long and succeed at the third.
    """

    report_every = EVERY

    def __init__(self, tasks=2, slots=3, horizon=7):
        specs = [TaskSpec(f"task-{number}", 3, 2, horizon + number, "none") for number in range(tasks)]
        ids = np.repeat(np.arange(tasks), slots).tolist()
        super().__init__(specs, ids, GoalSet("train", (np.zeros((GOALS, 1)),) * tasks), CPU)
        self.horizon = torch.tensor([specs[task].horizon for task in ids])
        self.step_number = torch.zeros(self.num_envs, dtype=torch.int64)
        self.steps_taken = 0

    def reset(self, *, seed=None, options=None):
        schedule = schedule_of(options)
        played = range(self.num_envs)
        rows = [[schedule.first(slot) for slot in played] if schedule else [slot % GOALS for slot in played]]
        rows += [[schedule.following(slot) for slot in played] if schedule else rows[0] for _ in range(2 * GOALS)]
        self.goals = torch.tensor(rows)
        self.episode = torch.zeros(self.num_envs, dtype=torch.int64)
        self.step_number.zero_()
        return self.observe(), {"goal_index": self.goals[0], "active": self.goals[0] != INACTIVE}

    def observe(self):
        return self.step_number.to(torch.float32)[:, None].expand(-1, 3).contiguous()

    def step_async(self, actions):
        self.actions = actions

    def step_wait(self):
        self.steps_taken += 1
        goal = self.goals.gather(0, (self.episode % len(self.goals))[None])[0]
        active = goal != INACTIVE
        self.step_number += active
        ended, final = (self.step_number == self.horizon) & active, self.observe()
        success, reward = (self.step_number == 3) & active, self.actions[:, 0].masked_fill(~active, 0.0)
        self.step_number.masked_fill_(ended, 0)
        self.episode += ended
        info = {"success": success, "final_obs": final, "final_mask": ended, "goal_index": goal, "active": active}
        return self.observe(), reward, torch.zeros_like(ended), ended, info

    def get_state(self):
        return {"step": self.step_number.clone(), "episode": self.episode.clone(), "goals": self.goals}

    def set_state(self, state):
        self.step_number, self.episode, self.goals = (state[key].clone() for key in ("step", "episode", "goals"))
        return self.observe()

    def render_slot(self, slot):
        raise NotImplementedError


def agent_of(env, **changes):
    size = NetworkConfig(width=8, depth=1)
    config = dataclasses.replace(SACConfig(size, size, batch_per_task=4), **changes)
    names = tuple(task.name for task in env.tasks)
    return SAC(config, Problem(names, env.obs_mask, env.action_mask, CPU, seed=0))


def loop_of(env, updates_per_step=2.0, **changes):
    config = RunConfig(
        warmup_steps=9, updates_per_step=updates_per_step, replay=ReplayConfig(capacity_per_task=60), seed=3
    )
    loop = OffPolicyLoop(agent_of(env, **changes), env, config)
    loop.start()
    return loop


MASK = torch.tensor([True, False])
FORBIDDEN = {
    "item": lambda x: x[0].item(),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "numpy.asarray": np.asarray,
    "cpu": lambda x: x.cpu(),
    "to cpu": lambda x: x.to("cpu"),
    "to cpu and type": lambda x: x.to(device="cpu", dtype=torch.float64),
    "to another device": lambda x: x.to("meta"),
    "copy from another device": lambda x: torch.zeros(2, device="meta").copy_(x),
    "bool": lambda x: bool(x.any()),
    "if": lambda x: 1 if x[0] > 0 else 2,
    "int": lambda x: int(x[0]),
    "float": lambda x: float(x[0]),
    "index": lambda x: [1, 2][x[0].long()],
    "nonzero": lambda x: x.nonzero(),
    "torch.nonzero": torch.nonzero,
    "where": lambda x: torch.where(x > 0),
    "argwhere": torch.argwhere,
    "masked_select": lambda x: x.masked_select(MASK),
    "mask": lambda x: x[MASK],
    "set by mask": lambda x: x.__setitem__(MASK, 0.0),
    "set by mask from tensor": lambda x: x.__setitem__(MASK, x[:1]),
    "unique": torch.unique,
    "unique_consecutive": torch.unique_consecutive,
    "equal": lambda x: torch.equal(x, x),
    "allclose": lambda x: torch.allclose(x, x),
    "bincount": lambda x: torch.bincount(x.long()),
    "repeat_interleave": lambda x: x.repeat_interleave(torch.ones(2, dtype=torch.int64)),
    "tensor": lambda x: torch.tensor([1.0]),
    "as_tensor": lambda x: torch.as_tensor([1.0]),
    "from_numpy": lambda x: torch.from_numpy(np.zeros(2)),
    "synchronize": lambda x: torch.cuda.synchronize(),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_waits_for_the_device_raises(name):
    with pytest.raises(HostWaitsError, match=r"waits for the device"), no_sync():
        FORBIDDEN[name](torch.ones(2))


def test_what_does_not_wait_is_let_through_and_afterwards_everything_is():
    x, index = torch.rand(4), torch.tensor([1, 0])
    with no_sync():
        x[index] = torch.where(x[index] > 0.5, x[index], 0.0)
        x.masked_fill_(x > 0.5, 1.0)
        x[1].copy_(x[0])
        x[2] = 3.0
        y = (2.0 * x.to(CPU, torch.float64)).sum()
        torch.nn.functional.linear(x.requires_grad_(), torch.rand(2, 4)).sum().backward()
    assert y.item() > 0 and bool((x == x).all())
    assert x.detach().to("cpu").numpy().tolist() == x.tolist()


@pytest.mark.parametrize(("combiner", "n_step"), [("mean", 3), *((name, 1) for name in COMBINERS)])
def test_the_loop_does_not_wait_between_reports(combiner, n_step):
    config = CombinerConfig().renamed(combiner)
    rate = 2.0 if combiner == "mean" else 0.25  # watching thousands of operations takes its time
    changes = {"n_step": n_step, "actor_combiner": config, "critic_combiner": config, "anneal_updates": 10}
    loop = loop_of(DeviceEnv(), rate, **changes)
    while loop.vector_steps % EVERY or loop.updates < 5:
        loop.advance()  # also makes what is made at the first update
    before, seen = loop.updates, dict(loop.statistics._recent)
    with no_sync():
        for _ in range(EVERY - 1):
            loop.advance()
    assert loop.updates - before == pytest.approx(rate * (EVERY - 1), abs=0.9)
    assert all(len(seen[task.name]) for task in loop.env.tasks)
    with pytest.raises(HostWaitsError, match="cpu"), no_sync():
        loop.advance()  # the report


class Watched:
    """A policy from whose call on, to the end of the step, the host must not wait, unless a report is due."""

    def __init__(self, policy, env):
        self.policy, self.env, self.open = policy, env, contextlib.ExitStack()

    def begin_episodes(self, mask):
        self.policy.begin_episodes(mask)

    def act(self, obs, task_id, *, mode):
        if self.env.steps_taken % EVERY != EVERY - 1:
            self.open.enter_context(no_sync())
        return self.policy.act(obs, task_id, mode=mode)

    def close(self):
        self.open.close()


def test_evaluation_does_not_wait_between_reports_and_counts_no_idle_step():
    env = DeviceEnv()
    agent = agent_of(env)
    policy = Watched(agent, env)
    agent.act(torch.zeros(env.num_envs, env.obs_mask.shape[1]), env.task_id, mode=True)  # looks once how slots lie
    result = evaluate(policy, env, on_step=policy.close)
    # Slots of 3 share 5 goals, so the longest play 2 episodes of 7 and 8 steps; the first report comes afterwards.
    assert env.steps_taken == EVERY
    eager = DeviceEnv()
    eager.report_every = 1
    assert evaluate(agent_of(eager), eager) == result
    assert eager.steps_taken == 16
    assert [(e.task, e.goal, e.length, e.success_any, e.success_end) for e in result.episodes] == [
        (f"task-{task}", goal, 7 + task, 1, 0) for task in range(2) for goal in range(GOALS)
    ]
    assert len(evaluate(agent, env, 2).episodes) == 4


def test_an_environment_that_goes_idle_is_noticed_at_the_next_report():
    env = DeviceEnv()
    env.goal_set = GoalSet("train", (np.zeros((GOALS, 1)),) * 2)
    reset = env.reset

    def idle(**options):
        result = reset(**options)
        env.goals[1:] = INACTIVE
        return result

    env.reset = idle
    with pytest.raises(RuntimeError, match="idle after 6 of 10"):
        evaluate(agent_of(env), env)


def episodes_of(report_every, steps, collect_at=()):
    env = DeviceEnv()
    env.report_every = report_every
    running, found = RunningEpisodes(env), []
    env.reset()
    for step in range(steps):
        _, reward, _, _, info = env.step(torch.rand(6, 2, generator=torch.Generator().manual_seed(step)))
        found += running.add(reward, info)
        if step in collect_at:
            found += running.collect()
    return found + running.collect()


def test_reports_change_nothing_but_the_time_at_which_episodes_are_known():
    eager = episodes_of(1, 100)
    assert len(eager) == 3 * (100 // 7 + 100 // 8)
    for report_every in (2, 32, 1000):
        assert episodes_of(report_every, 100) == eager
    assert episodes_of(32, 100, collect_at=(3, 6, 7, 50)) == eager


def test_metrics_and_states_hold_what_was_not_yet_reported():
    envs = DeviceEnv(), DeviceEnv()
    envs[1].report_every = 1
    statistics = [EpisodeStatistics(env) for env in envs]
    for env, own in zip(envs, statistics, strict=True):
        env.reset()
        for step in range(20):
            _, reward, _, _, info = env.step(torch.full((6, 2), 0.01 * step))
            own.add(reward, info)
    assert statistics[0].metrics() == statistics[1].metrics()
    assert statistics[0].metrics()["train/success"] == 1.0
    one, other = (own.get_state() for own in statistics)
    assert one["recent"] == other["recent"]
    assert all(torch.equal(one["running"][name], other["running"][name]) for name in one["running"])


@pytest.mark.parametrize("cut", [5, 31, 40, 70])
def test_a_loop_goes_on_exactly_from_between_two_reports(cut):
    whole, first = loop_of(DeviceEnv()), loop_of(DeviceEnv())
    for _ in range(90):
        whole.advance()
    for _ in range(cut):
        first.advance()
    state, rows, weights = first.get_state(), first.replay_rows(), first.algorithm.weights()
    second = loop_of(DeviceEnv())
    second.algorithm.load_weights(weights)
    second.put_replay(rows)
    second.set_state(state)
    for _ in range(90 - cut):
        second.advance()
    for name, value in whole.algorithm.weights().items():
        assert torch.equal(value, second.algorithm.weights()[name]), name
    assert whole.statistics.metrics() == second.statistics.metrics()
    assert torch.equal(whole.buffer.rows_since(0)["obs"], second.buffer.rows_since(0)["obs"])


def test_rollouts_and_advantages_do_not_wait():
    buffer, env = RolloutBuffer(8, 6, 3, 2, CPU, shortest_episode=7), DeviceEnv()
    obs, _ = env.reset()
    with no_sync():
        for _ in range(8):
            action = torch.rand(6, 2)
            following, reward, terminated, _, info = env.step(action)
            values = (torch.zeros(6), reward, terminated, info["final_mask"], info["final_obs"])
            buffer.add(obs, action, *values)
            obs = following
        value = buffer.obs[..., 0]
        following = buffer.next_values(value, torch.ones(6), buffer.final_obs[..., 0])
        advantage, _ = gae(buffer.reward, value, following, buffer.terminated, buffer.ended, gamma=0.99, lam=0.95)
        buffer.clear()
    assert advantage.shape == (8, 6)
