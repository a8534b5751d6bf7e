"""Collisions of the warp engine that mujoco_warp by itself gets wrong; where things overlap is known in closed form."""

import inspect

import mujoco
import mujoco_warp
import numpy as np
import pytest
import torch
import warp_contacts
from mujoco_warp._src import collision_convex, collision_gjk
from warp_worlds import Pair

from mtrl.scenes.warp import collisions

TABLE, MUG = 1, 6
RADIUS, HALF_HEIGHT, RAISED = 0.028, 0.033, 0.035
"""Of the mug's cylinder in coffee-pull, m; it is so far above the origin of its body. The table's top is at z = 0."""
FLEW = (
    (0.054302912, 0.52374744, -0.0020000075, 0.93228835, -4.7333255e-05, 8.0124162e-05, -0.36171588),
    (-0.0049519725, 0.59263718, -0.0020337512, 0.99108893, -1.5578582e-05, 9.0796217e-05, 0.1332032),
    (-0.028342094, 0.57561421, -0.0019953856, 0.75225031, -0.00010123791, 8.6771135e-05, -0.65887743),
    (0.066486411, 0.66580355, -0.001999235, 0.5175184, 0.00017397137, 1.9958465e-05, 0.85567206),
    (0.069455981, 0.78617752, -0.0020153883, 0.040464483, -2.2087343e-05, 2.6149039e-06, 0.99918097),
    (-0.13343212, 0.53243327, -0.0020215490, 0.90239298, 0.00010502307, 9.265861e-06, -0.43091401),
)
"""Poses of the mug in which mujoco_warp alone says that it is 0.4 to 0.8 m deep in the table."""


def leaning(count, lean, depths):
    """Poses of mugs that lean by about so many radians and are sunk into the table by so much, m; and how much."""
    generator = np.random.default_rng(0)
    heading, turn = generator.uniform(0, 2 * np.pi, (2, count))
    half = generator.exponential(lean, count) / 2
    first = np.stack([np.cos(half), np.sin(half) * np.cos(heading), np.sin(half) * np.sin(heading), 0 * half], axis=1)
    second = np.stack([np.cos(turn / 2), 0 * turn, 0 * turn, np.sin(turn / 2)], axis=1)
    depth = np.exp(generator.uniform(*np.log(depths), count))
    pose = np.zeros((count, 7))
    pose[:, 0], pose[:, 1] = generator.uniform(-0.2, 0.2, count), generator.uniform(0.5, 0.85, count)
    pose[:, 3:] = product(first, second)
    pose[:, 2] = lowest(pose) - depth - RAISED * np.cos(2 * half)
    return pose, depth


def product(one, two):
    """Of quaternions."""
    a, b = one[:, :1], two[:, :1]
    vector = a * two[:, 1:] + b * one[:, 1:] + np.cross(one[:, 1:], two[:, 1:])
    return np.concatenate([a * b - (one[:, 1:] * two[:, 1:]).sum(axis=1, keepdims=True), vector], axis=1)


def lowest(pose):
    """How far the cylinder reaches below its middle, m."""
    upright = 1 - 2 * (pose[:, 4] ** 2 + pose[:, 5] ** 2)
    return RADIUS * np.sqrt(np.maximum(1 - upright**2, 0)) + HALF_HEIGHT * np.abs(upright)


def touch(pose):
    """Greatest depth at which each of these mugs touches the table on the warp engine, m; 0 where it does not."""
    pair = Pair("coffee-pull-v3", np.zeros(len(pose), int))
    pair.place()
    model = pair.warp.blueprint.model
    start = int(model.jnt_qposadr[model.jnt_type == mujoco.mjtJoint.mjJNT_FREE][0])
    pair.array("qpos")[:, start : start + 7] = torch.from_numpy(pose).float()
    pair.kinematics()
    mujoco_warp.collision(pair.warp.model, pair.warp.data)
    world, geoms, _, distance = pair.contacts()
    own = (np.sort(geoms, axis=1) == (TABLE, MUG)).all(axis=1)
    depth = np.zeros(len(pose))
    np.maximum.at(depth, world[own], -distance[own])
    return depth


def test_the_mug_is_what_the_formula_says():
    model = Pair("coffee-pull-v3", np.zeros(1, int)).warp.blueprint.model
    assert model.geom_size[MUG, :2] == pytest.approx((RADIUS, HALF_HEIGHT))
    assert model.geom_pos[MUG] == pytest.approx((0, 0, RAISED))
    assert model.geom_size[TABLE] == pytest.approx((0.7, 0.4, 0.46))


@pytest.mark.parametrize("lean", [1e-4, 3e-3, 1e-2])
def test_what_stands_on_the_table_touches_it(lean):
    pose, depth = leaning(4000, lean, (5e-5, 4e-3))
    found = touch(pose)
    assert (found == 0).mean() < 2e-3  # mujoco_warp alone: 0.05
    wrong = np.abs(found - depth)[found > 0]
    assert np.quantile(wrong, 0.98) < 2e-4  # faces are polygons, and the rim is found to some accuracy only
    assert wrong.max() < 3e-3


def test_nothing_is_taken_to_lie_deep_in_the_table():
    pose = np.array(FLEW)
    depth = lowest(pose) - pose[:, 2] - RAISED * (1 - 2 * (pose[:, 4] ** 2 + pose[:, 5] ** 2))
    found = touch(pose)
    np.testing.assert_allclose(found, depth, rtol=0, atol=2e-6)


def test_what_only_touches_does_not_collide():
    pair = Pair("plate-slide-v3", np.arange(8))
    pair.place()
    pair.kinematics()
    mujoco_warp.collision(pair.warp.model, pair.warp.data)
    model = pair.warp.blueprint.model
    plate = model.geom("puck").id
    assert not (pair.contacts()[1] == plate).any()


def test_other_functions_of_mujoco_warp_are_left_alone(monkeypatch, capsys):
    def other(tolerance):
        return tolerance

    monkeypatch.setattr(collision_gjk, "gjk_phase", type("Function", (), {"func": staticmethod(other)}))
    monkeypatch.setattr(collision_convex, "gjk_phase", "as it was")
    assert not inspect.unwrap(collisions.mend)()
    assert collision_convex.gjk_phase == "as it was"
    assert "4.0.0" in capsys.readouterr().err


def test_contacts_of_an_expert_are_those_of_mujoco():
    name, found = warp_contacts.compare(("hand-insert-v3", 1, 0))
    assert name == "hand-insert-v3"
    counts = found["box and box"]
    assert counts["pairs"] > 1000
    assert not any(counts[kind] for kind in ("missing", "alone", "depth"))
    text = warp_contacts.page({name: found}, "python x.py", 1)
    assert f"| box and box | {counts['pairs']} | 0 | 0 | {counts['number']} | 0 |" in text
