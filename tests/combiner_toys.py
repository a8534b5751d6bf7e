"""Objectives with gradients and losses as one wants them, and combiners to give them to."""

import dataclasses

import numpy as np
import torch

from mtrl.parts.combiner import CombinerConfig, Objective
from mtrl.parts.network import Network, TaskSpecific, call_network
from mtrl.parts.part import Setting

CPU = torch.device("cpu")


class Own(TaskSpecific):
    """One number of each task's own."""

    def __init__(self, tasks):
        super().__init__()
        self.number = torch.nn.Parameter(torch.ones(1, tasks, 1))


class Point(Network):
    """x . theta + own + bend |theta|^4 / 4: with x the gradients wanted, and curvature where there is to be some."""

    def __init__(self, tasks, size, bend=0.0):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.linspace(-1.0, 1.0, size) * bend)
        self.own, self.bend = Own(tasks), bend

    def forward(self, x, task_id):
        linear = (x @ self.theta).unsqueeze(0).unsqueeze(-1)
        quartic = 0.25 * self.bend * x.square().sum(-1)[None, :, :, None] * self.theta.square().sum().square()
        own = self.own.number[:, task_id].unsqueeze(2)
        return linear + quartic + own + 0.25 * self.bend * own**4


def objective_of(gradients, losses=None, bend=0.0, log_temperature=None):
    """Losses whose gradients by theta are the rows given, and whose values are those given."""
    gradients = torch.as_tensor(gradients, dtype=torch.float32)
    tasks, size = gradients.shape
    point = Point(tasks, size, bend)
    values = torch.ones(tasks) if losses is None else torch.as_tensor(losses, dtype=torch.float32)

    def each(parameters):
        outputs = call_network(point, gradients.unsqueeze(1), torch.arange(tasks), parameters)[0, :, 0, 0]
        return values * (outputs - start + 1.0) if bend == 0.0 and losses is None else values + outputs - start

    start = call_network(point, gradients.unsqueeze(1), torch.arange(tasks))[0, :, 0, 0].detach()
    return Objective(point, tasks, each, log_temperature)


def combiner_of(name, tasks, /, seed=0, **settings):
    config = dataclasses.replace(CombinerConfig().renamed(name), **settings)
    config.check("algorithm.critic_combiner.")
    names = tuple(f"task-{i}" for i in range(tasks))
    return config.build(Setting(tasks, 0.99, CPU, seed, task_names=names), config)


def direction(name, gradients, losses=None, /, **settings):
    """The gradient that a combiner sets, by theta."""
    objective = objective_of(gradients, losses)
    combiner_of(name, len(gradients), **settings).backward(objective)
    return objective.network.theta.grad.numpy().astype(np.float64)


def draw(tasks, size, spread=0.0, seed=0, common=0.0):
    """Gradients `[task, size]` of different lengths."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(tasks, size)) + common * generator.normal(size=size)
    return rows * 10.0 ** generator.uniform(-spread, spread, size=(tasks, 1))
