"""Every pair of registered parts, and by hand every triple, learns a problem whose answer is known (pair_probe.py).

A network is that of actor and critics, a combiner that of both sides.
"""

import itertools

import pytest
import torch
from pair_probe import learned

from mtrl.agents.sac import SAC
from mtrl.parts.combiner import COMBINERS
from mtrl.parts.critic import CRITICS
from mtrl.parts.network import NETWORKS

KINDS = {"network": tuple(NETWORKS), "critic": tuple(CRITICS), "combiner": tuple(COMBINERS)}


def choices(*kinds):
    return [dict(zip(kinds, names, strict=True)) for names in itertools.product(*(KINDS[kind] for kind in kinds))]


def named(parts):
    return "-".join(parts.values())


PAIRS = [parts for kinds in itertools.combinations(KINDS, 2) for parts in choices(*kinds)]


@pytest.mark.parametrize("parts", PAIRS, ids=named)
def test_every_pair_learns(parts):
    assert learned(**parts) == []


@pytest.mark.slow
@pytest.mark.parametrize("parts", choices(*KINDS), ids=named)
def test_every_triple_learns(parts):
    assert learned(**parts) == []


def learned_with(sabotage, part, monkeypatch):
    """Mistakes of an agent whose gradients are changed before each step."""
    step = SAC._step

    def sabotaged(self, name, network, objective):
        combiner = self.combiners[name]

        def backward(objective):
            losses = type(combiner).backward(combiner, objective)
            for parameter in objective.network.parameters() if name == part else ():
                parameter.grad = sabotage(parameter.grad)
            return losses

        combiner.backward = backward
        return step(self, name, network, objective)

    monkeypatch.setattr(SAC, "_step", sabotaged)
    return learned()


@pytest.mark.parametrize(
    ("part", "sabotage"),
    [
        ("critic", torch.neg),
        ("critic", torch.zeros_like),
        ("critic", lambda gradient: gradient.flip(-2)),
        ("actor", torch.neg),
        ("actor", torch.zeros_like),
        ("actor", lambda gradient: gradient.flip(-2)),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", "").strip("<>"),
)
def test_the_probe_finds_wrong_gradients(part, sabotage, monkeypatch):
    assert learned_with(sabotage, part, monkeypatch)


def test_the_probe_finds_nothing_where_nothing_is_wrong(monkeypatch):
    assert learned_with(torch.clone, "critic", monkeypatch) == []
