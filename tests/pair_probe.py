"""A problem of two tasks that any agent learns in a fraction of a second, and whose answer is known.

There are two places. At the last, an episode ends after one step, which pays c_i + s_i a in task i: its value is c_i at
a = 0, and the best action is the sign of s_i. At the first s_i a is paid, and the last follows: at a = 0 its value is
the discounted one of what the policy does at the last. Temperatures are pinned near zero, so that soft values are plain
values.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from mtrl.agents.sac import SAC
from mtrl.agents.sac_config import SACConfig
from mtrl.algorithm import Batch, Problem
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.critic import CriticConfig
from mtrl.parts.network import NetworkConfig

CPU = torch.device("cpu")
CONSTANT, SLOPE = torch.tensor([1.5, -1.5]), torch.tensor([1.5, -1.5])
FIRST, LAST = torch.tensor([1.0, -1.0, 1.0]), torch.tensor([-1.0, 1.0, 1.0])
TASKS, SAMPLES, GAMMA, WIDTH = 2, 16, 0.5, 32
BINS = {"bins": 21, "v_min": -5.0, "v_max": 5.0}
MOST, LOOK, STARTS = 200, 20, 4
"""Updates of each part at most, those between two looks at the answers, and initial weights that are tried."""
BOUNDS = {"constant": 0.5, "slope": 0.75, "slope before": 0.75, "before": 0.5, "policy": 0.5}
"""How far answers may be off."""


def fitted(config: Any, **bins: Any) -> Any:
    """Settings of a part with small widths, and bins over the values that there are."""
    names = [field.name for field in dataclasses.fields(config)]
    small = {name: WIDTH for name in names if name.endswith("width")}
    return dataclasses.replace(config, **small, **{name: value for name, value in bins.items() if name in names})


def pair_agent(
    network: str = "one_hot", critic: str = "mse", combiner: str = "mean", seed: int = 0, **changes: Any
) -> SAC:
    """A small agent of these parts, the same ones for actor and critics."""
    size = fitted(NetworkConfig(depth=1, activation="leaky_relu").renamed(network))
    combining = CombinerConfig().renamed(combiner)
    config = SACConfig(
        actor=size,
        critic=size,
        value=fitted(CriticConfig().renamed(critic), **BINS),
        actor_combiner=combining,
        critic_combiner=combining,
        batch_per_task=SAMPLES,
        gamma=GAMMA,
        tau=0.2,
        actor_learning_rate=1e-3,
        critic_learning_rate=5e-3,
        adam_epsilon=1e-5,
        temperature_learning_rate=0.0,
        initial_temperature=1e-6,
        max_gradient_norm=10.0,
    )
    obs, action = (torch.ones(TASKS, numbers, dtype=torch.bool) for numbers in (len(FIRST), 1))
    return SAC(dataclasses.replace(config, **changes), Problem(("up", "down"), obs, action, CPU, seed))


def batch(generator: torch.Generator) -> Batch:
    """Transitions of fresh random actions, half of them at each place."""
    rows = TASKS * SAMPLES
    action = 2.0 * torch.rand(rows, 1, generator=generator) - 1.0
    last = torch.arange(rows) % 2 == 0
    task_id = torch.arange(TASKS).repeat_interleave(SAMPLES)
    reward = CONSTANT[task_id] * last + SLOPE[task_id] * action.squeeze(1)
    obs = torch.where(last[:, None], LAST, FIRST)
    discount = torch.full((rows,), GAMMA)
    return Batch(obs, action, reward, LAST.expand(rows, -1), last.float(), task_id, discount)


def learned(network: str = "one_hot", critic: str = "mse", combiner: str = "mean") -> list[str]:
    """What agents of these parts learn wrongly from any initial weights; nothing, where one of them learned all.

    Some weights are no start at all: networks whose actions lie at the ends already, or that take the tasks for one.
    """
    wrong: list[str] = []
    for seed in range(STARTS):
        wrong = mistakes(learn(pair_agent(network, critic, combiner, seed)))
        if not wrong:
            break
    return wrong


def learn(agent: SAC) -> SAC:
    """Updates from fresh batches until the answers are right, `MOST` times in each of two parts.

    When the critics know the last place, all else begins anew: what the policy learned from critics that knew nothing
    may have driven it to where its actions hardly change.
    """
    generator = torch.Generator().manual_seed(1)
    update(agent, generator, ("constant", "slope", "slope before"))
    second = with_the_critics_of(agent)
    update(second, generator, tuple(BOUNDS))
    return second


def with_the_critics_of(agent: SAC) -> SAC:
    """An agent that has learned nothing but the critics."""
    fresh = SAC(agent.config, agent.problem)
    actor = {name: value for name, value in fresh.weights().items() if name.startswith("actor.")}
    fresh.load_weights({**agent.weights(), **actor})
    return fresh


def update(agent: SAC, generator: torch.Generator, names: tuple[str, ...]) -> None:
    """Updates until there are no mistakes in these answers."""
    for number in range(MOST):
        if number % LOOK == 0 and not mistakes(agent, names):
            return
        agent.update(batch(generator))


def value(agent: SAC, place: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Mean of the critics in each task, `[task]`."""
    task_id = torch.arange(TASKS)
    inputs = torch.cat([action[:, None], place.expand(TASKS, -1)], dim=1).unsqueeze(1)
    with torch.no_grad():
        return agent.critic.values(agent.critics(inputs, task_id), task_id).mean(dim=0).squeeze(1)


def answers(agent: SAC) -> dict[str, torch.Tensor]:
    """How far what the agent has learned is from what is right, `[task]` each."""
    zero, task_id = torch.zeros(TASKS), torch.arange(TASKS)
    chosen = agent.act(LAST.expand(TASKS, -1), task_id, mode=True).squeeze(1)
    return {
        "constant": value(agent, LAST, zero) - CONSTANT,
        "slope": 0.5 * (value(agent, LAST, zero + 1.0) - value(agent, LAST, zero - 1.0)) - SLOPE,
        "slope before": 0.5 * (value(agent, FIRST, zero + 1.0) - value(agent, FIRST, zero - 1.0)) - SLOPE,
        "before": value(agent, FIRST, zero) - GAMMA * (CONSTANT + SLOPE * chosen),
        "policy": 1.0 - chosen * SLOPE.sign(),
    }


def mistakes(agent: SAC, names: Sequence[str] = tuple(BOUNDS)) -> list[str]:
    """What an agent has learned wrongly. Who does not tell the tasks apart is off by 1.5, or by 1 in the policy."""
    found = answers(agent)
    return [f"{name}: {found[name].tolist()}" for name in names if not (found[name].abs() < BOUNDS[name]).all()]
