"""Models that several scenes share, against the scenes' own: to rounding in MuJoCo, to float32 in mujoco_warp."""

import copy
import functools

import mujoco
import numpy as np
import pytest

from mtrl.envs.metaworld.tasks.families import TASKS
from mtrl.scenes.scene import stripped_model
from mtrl.scenes.snapshots import make_snapshots
from mtrl.scenes.warp.blueprint import blueprints
from mtrl.scenes.warp.merge import OUT_OF_REACH, Merged

NAMES = {}
"""A task for each of the 37 scenes."""
for _name, _task in TASKS.items():
    NAMES.setdefault(_task.scene_task.scene, _name)
FREE = ("reach-v3", "pick-place-v3", "shelf-place-v3", "box-close-v3", "soccer-v3", "assembly-v3")
SLIDE = ("button-press-v3", "drawer-open-v3", "window-open-v3")
COFFEE = ("coffee-button-v3", "coffee-pull-v3")
HINGE = ("door-open-v3", "faucet-open-v3")
PLATE = ("plate-slide-v3", "plate-slide-side-v3")


@functools.cache
def starts_of(name):
    return make_snapshots(TASKS[name].scene_task, TASKS[name].goals.sample(name, 2, 7))


@functools.cache
def merged(names, grouping="layout"):
    (blueprint,) = blueprints([TASKS[name].scene_task.scene for name in names], grouping)
    return blueprint


@functools.cache
def all_blueprints(grouping):
    return blueprints(list(NAMES), grouping)


@pytest.mark.parametrize(("grouping", "count"), [("scene", 37), ("topology", 28), ("layout", 7)])
def test_the_fifty_tasks_need_so_many_models(grouping, count):
    made = all_blueprints(grouping)
    assert len(made) == count
    assert sorted(NAMES[scene] for blueprint in made for scene in blueprint.scenes) == sorted(NAMES.values())
    sizes = sorted((len(blueprint.scenes) for blueprint in made), reverse=True)
    assert sizes[:5] == {"scene": [1] * 5, "topology": [3, 3, 2, 2, 2], "layout": [18, 8, 5, 2, 2]}[grouping]


def merged_parts():
    for grouping in ("topology", "layout"):
        for blueprint in all_blueprints(grouping):
            if isinstance(blueprint, Merged):
                for member in range(len(blueprint.scenes)):
                    yield blueprint, member


def test_every_geom_has_a_place_of_its_own_kind():
    count = 0
    for blueprint, member in merged_parts():
        model, own, places = blueprint.model, stripped_model(blueprint.scenes[member]), blueprint.geoms_of(member)
        assert len(set(places)) == own.ngeom
        for field in ("type", "contype", "conaffinity", "condim", "priority"):
            np.testing.assert_array_equal(getattr(model, f"geom_{field}")[places], getattr(own, f"geom_{field}"))
        bodies, moving = blueprint.bodies_of(member)
        numbers = np.zeros(own.nbody, int)
        numbers[moving] = bodies
        owners = model.geom_bodyid[places]
        np.testing.assert_array_equal(np.where(model.body_weldid[owners] > 0, owners, 0), numbers[own.geom_bodyid])
        np.testing.assert_array_equal(model.body_parentid[bodies], numbers[own.body_parentid[moving]])
        margins = blueprint.fields.get("geom_margin", model.geom_margin[None].repeat(member + 1, 0))[member]
        assert set(np.flatnonzero(margins == OUT_OF_REACH)) == set(range(model.ngeom)) - set(places)
        count += 1
    assert count == 35 + 16


def native_copy(blueprint, member, placement, start):
    """The shared model for native MuJoCo, with one member's numbers in it."""
    model, own = copy.copy(blueprint.model), stripped_model(blueprint.scenes[member])
    for name, rows in blueprint.fields.items():
        getattr(model, name)[:] = rows[member]
    model.body_pos[:], model.body_quat[:] = placement["body_pos"][start], placement["body_quat"][start]
    for geom in np.flatnonzero(model.body_weldid[model.geom_bodyid] == 0):
        model.geom_pos[geom] = placement["geom_xpos"][start, geom]
        mujoco.mju_mat2Quat(model.geom_quat[geom], placement["geom_xmat"][start, geom].copy())
    absent = np.setdiff1d(np.arange(model.ngeom), blueprint.geoms_of(member))
    model.geom_contype[absent] = model.geom_conaffinity[absent] = model.geom_margin[absent] = 0
    # What MuJoCo computes when it compiles and mujoco_warp does not use: short cuts, bounds, and the solver's scale.
    for name in ("body_sameframe", "geom_sameframe", "site_sameframe"):
        getattr(model, name)[:] = 0
    model.body_margin[:] = max(model.geom_margin)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
    model.dof_M0[:] = own.dof_M0
    model.stat.meaninertia = own.stat.meaninertia
    return model


STATE = ("qpos", "qvel", "ctrl", "mocap_pos", "mocap_quat", "qacc_warmstart")


def states(model, placement, start, seed):
    """A start; the same, disturbed; and what follows when the hand is sent to geoms other than the arm's."""
    data = mujoco.MjData(model)
    for name in STATE:
        getattr(data, name)[:] = placement[name][start]
    yield {name: getattr(data, name).copy() for name in STATE}
    noise = np.random.default_rng(seed)
    mujoco.mj_integratePos(model, data.qpos, 0.05 * noise.normal(size=model.nv), 1.0)
    data.qvel[:] = noise.normal(size=model.nv)
    yield {name: getattr(data, name).copy() for name in STATE}
    for name in STATE:
        getattr(data, name)[:] = placement[name][start]
    mujoco.mj_forward(model, data)
    arm = model.body_rootid[model.body("hand").id]
    others = np.flatnonzero((model.body_rootid[model.geom_bodyid] != arm) & (model.geom_type > 0))
    for geom in noise.choice(others, 4):
        data.mocap_pos[0] = data.geom_xpos[geom] + noise.normal(size=3) * 0.02
        data.ctrl[:] = noise.uniform(-1, 1) * np.array([1, -1])
        mujoco.mj_step(model, data, 120)
        yield {name: getattr(data, name).copy() for name in STATE}


def mass_matrix(model, data):
    matrix = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, matrix)
    return matrix


def contacts(data, places):
    rows = [
        (*sorted(places[geom] for geom in contact.geom), *np.round(contact.pos, 9), contact.dist)
        for contact in data.contact
    ]
    return np.array(sorted(rows))


def compare_natively(blueprint, member, starts):
    """Largest differences between the shared model and the scene's own, and the contacts that were seen."""
    own = stripped_model(blueprint.scenes[member])
    placement = blueprint.place(member, starts)
    bodies, moving = blueprint.bodies_of(member)
    places, seen = blueprint.geoms_of(member), 0
    for start in range(len(starts)):
        model, alone = native_copy(blueprint, member, placement, start), copy.copy(own)
        alone.body_pos[:] = starts.body_pos[start]
        alone.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
        for state in states(alone, placement, start, start):
            first, second = mujoco.MjData(alone), mujoco.MjData(model)
            for data in (first, second):
                for name, value in state.items():
                    getattr(data, name)[:] = value
                mujoco.mj_forward(data.model, data)
            near = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-10)
            near(second.xpos[bodies], first.xpos[moving])
            near(second.xmat[bodies], first.xmat[moving])
            near(second.geom_xpos[places], first.geom_xpos)
            near(second.geom_xmat[places], first.geom_xmat)
            for slot, site in blueprint.sites_of(member):
                near(second.site_xpos[slot], first.site_xpos[site])
                near(second.site_xmat[slot], first.site_xmat[site])
            near(mass_matrix(model, second), mass_matrix(alone, first))
            near(second.qfrc_bias, first.qfrc_bias, atol=1e-9)
            near(second.qfrc_passive, first.qfrc_passive)
            near(second.qfrc_actuator, first.qfrc_actuator)
            assert second.ncon == first.ncon
            if first.ncon:
                near(contacts(second, range(model.ngeom)), contacts(first, places), atol=1e-8)
            assert second.nefc == first.nefc
            scale = np.abs(first.qacc).max()
            assert np.abs(second.qacc - first.qacc).max() <= 1e-6 * scale
            seen += first.ncon
    return seen


@pytest.mark.parametrize("grouping", ["topology", "layout"])
def test_native_mujoco_sees_the_same_in_every_merged_model(grouping):
    for blueprint in all_blueprints(grouping):
        if isinstance(blueprint, Merged):
            for member, scene in enumerate(blueprint.scenes):
                assert compare_natively(blueprint, member, starts_of(NAMES[scene]))
