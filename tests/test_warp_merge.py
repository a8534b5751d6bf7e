"""Models that several scenes share, against the scenes' own: to rounding in MuJoCo, to float32 in mujoco_warp."""

import copy
import dataclasses
import functools

import merged_scenes
import mujoco
import numpy as np
import pytest

from mtrl.envs.metaworld.tasks.families import TASKS
from mtrl.errors import UserError
from mtrl.scenes.reading import locate
from mtrl.scenes.scene import Scene, stripped_model
from mtrl.scenes.snapshots import make_snapshots
from mtrl.scenes.task import body_position, geom_position, joint_position, site_position
from mtrl.scenes.warp.blueprint import PLACED, OneScene
from mtrl.scenes.warp.merge import FIELDS, OUT_OF_REACH, Merged, merge
from mtrl.scenes.warp.settings import WarpSettings

NAMES = {}
"""Of each scene, the tasks on it."""
for _name, _task in TASKS.items():
    NAMES.setdefault(_task.scene_task.scene, []).append(_name)
STATE = ("qpos", "qvel", "ctrl", "mocap_pos", "mocap_quat", "qacc_warmstart")
near = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-10)


@functools.cache
def starts_of(scene):
    """Two starts of the first task on a scene."""
    if scene in merged_scenes.SCENES:
        return merged_scenes.starts(scene)
    name = NAMES[scene][0]
    return make_snapshots(TASKS[name].scene_task, TASKS[name].goals.sample(name, 2, 7))


@functools.cache
def made(grouping):
    return merge(list(NAMES), grouping)


def merged(grouping):
    return [blueprint for blueprint in made(grouping) if isinstance(blueprint, Merged)]


@pytest.mark.parametrize(("grouping", "count"), [("scene", 37), ("topology", 28), ("layout", 7)])
def test_the_fifty_tasks_need_so_many_models(grouping, count):
    assert len(made(grouping)) == count
    assert {scene for blueprint in made(grouping) for scene in blueprint.scenes} == set(NAMES)
    sizes = sorted((len(blueprint.scenes) for blueprint in made(grouping)), reverse=True)
    assert sizes[:5] == {"scene": [1] * 5, "topology": [3, 3, 2, 2, 2], "layout": [18, 8, 5, 2, 2]}[grouping]


@pytest.mark.parametrize("grouping", ["topology", "layout"])
def test_every_geom_has_a_place_of_its_own_kind(grouping):
    for blueprint in merged(grouping):
        for member, scene in enumerate(blueprint.scenes):
            model, own, places = blueprint.model, stripped_model(scene), blueprint.geoms_of(member)
            assert len(set(places)) == own.ngeom
            for field in ("type", "contype", "conaffinity", "condim", "priority"):
                np.testing.assert_array_equal(getattr(model, f"geom_{field}")[places], getattr(own, f"geom_{field}"))
            bodies, moving = blueprint.bodies_of(member)
            assert set(moving) == set(np.flatnonzero(own.body_weldid))
            numbers = np.zeros(own.nbody, int)
            numbers[moving] = bodies
            owners = model.geom_bodyid[places]
            np.testing.assert_array_equal(np.where(model.body_weldid[owners], owners, 0), numbers[own.geom_bodyid])
            np.testing.assert_array_equal(model.body_parentid[bodies], numbers[own.body_parentid[moving]])
            margins = (
                blueprint.fields["geom_margin"][member] if "geom_margin" in blueprint.fields else model.geom_margin
            )
            assert set(np.flatnonzero(margins == OUT_OF_REACH)) == set(range(model.ngeom)) - set(places)
            # Pairs are tested in the order of geoms, and their contacts depend on which of them comes first.
            assert (np.diff(owners) >= 0).all()


def states(model, placement, start, seed):
    """A start; the same, disturbed; and what follows when the hand is sent to geoms other than the arm's."""
    data, noise = mujoco.MjData(model), np.random.default_rng(seed)
    for name in STATE:
        getattr(data, name)[:] = placement[name][start]
    yield {name: getattr(data, name).copy() for name in STATE}
    mujoco.mj_integratePos(model, data.qpos, 0.05 * noise.normal(size=model.nv), 1.0)
    data.qvel[:] = noise.normal(size=model.nv)
    yield {name: getattr(data, name).copy() for name in STATE}
    for name in STATE:
        getattr(data, name)[:] = placement[name][start]
    mujoco.mj_forward(model, data)
    roots, hand = model.body_rootid, mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "hand")
    others = np.flatnonzero((roots[model.geom_bodyid] != (roots[hand] if hand >= 0 else -1)) & (model.geom_type > 0))
    for geom in noise.choice(others, 4):
        data.mocap_pos[0] = data.geom_xpos[geom] + noise.normal(size=3) * 0.02
        data.ctrl[:] = noise.uniform(-1, 1) * np.array([1, -1])
        mujoco.mj_step(model, data, 120)
        yield {name: getattr(data, name).copy() for name in STATE}


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


def mass_matrix(model, data):
    matrix = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, matrix)
    return matrix


def contacts(data, places):
    rows = [
        (*(places[geom] for geom in contact.geom), *np.round(contact.pos, 8), contact.dist) for contact in data.contact
    ]
    return np.array(sorted(rows)).reshape(-1, 6)


def compare_natively(blueprint, member, starts):
    """Holds the shared model to the scene's own, in double precision, and counts the contacts."""
    own, places = stripped_model(blueprint.scenes[member]), blueprint.geoms_of(member)
    placement, (bodies, moving) = blueprint.place(member, starts), blueprint.bodies_of(member)
    seen = 0
    for start in range(len(starts)):
        shared, alone = native_copy(blueprint, member, placement, start), copy.copy(own)
        alone.body_pos[:] = starts.body_pos[start]
        alone.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
        for state in states(alone, placement, start, start):
            first, second = mujoco.MjData(alone), mujoco.MjData(shared)
            for data in (first, second):
                for name, value in state.items():
                    getattr(data, name)[:] = value
                mujoco.mj_forward(data.model, data)
            near(second.xpos[bodies], first.xpos[moving])
            near(second.xmat[bodies], first.xmat[moving])
            near(second.geom_xpos[places], first.geom_xpos)
            near(second.geom_xmat[places], first.geom_xmat)
            for slot, site in blueprint.sites_of(member):
                near(second.site_xpos[slot], first.site_xpos[site])
                near(second.site_xmat[slot], first.site_xmat[site])
            near(mass_matrix(shared, second), mass_matrix(alone, first))
            near(second.qfrc_bias, first.qfrc_bias, atol=1e-9)
            near(second.qfrc_passive, first.qfrc_passive)
            near(second.qfrc_actuator, first.qfrc_actuator)
            near(contacts(second, range(shared.ngeom)), contacts(first, places), atol=1e-8)
            assert second.nefc == first.nefc
            near(second.qacc, first.qacc, rtol=0, atol=1e-6 * np.abs(first.qacc).max())
            compare_views(blueprint, member, first, second)
            seen += first.ncon
    return seen


def compare_views(blueprint, member, first, second):
    """What the tasks read lies where `locate` says."""
    scene = blueprint.scenes[member]
    for view in (view for name in NAMES.get(scene, ()) for view in TASKS[name].scene_task.views.values()):
        place = blueprint.locate(member, view)
        field, offset = locate(stripped_model(scene), view)
        own = getattr(first, field).reshape(-1)[offset : offset + view.width]
        if place is None:
            kind = {"x": "body", "s": "site", "g": "geom"}[field[0]]
            number = offset // view.width
            body = number if kind == "body" else getattr(first.model, f"{kind}_bodyid")[number]
            assert first.model.body_weldid[body] == 0
        else:
            there = getattr(second, place[0]).reshape(-1)[place[1] : place[1] + view.width]
            near(there, own, atol=1e-6 * max(1, np.abs(own).max()) if field == "sensordata" else 1e-10)


@pytest.mark.parametrize("grouping", ["topology", "layout"])
def test_native_mujoco_sees_the_same_in_a_merged_model(grouping):
    for blueprint in merged(grouping):
        for member, scene in enumerate(blueprint.scenes):
            assert compare_natively(blueprint, member, starts_of(scene))


def test_scenes_of_a_users_own_are_merged_too():
    (blueprint,) = merge(merged_scenes.SCENES, "layout")
    assert isinstance(blueprint, Merged)
    for member, scene in enumerate(blueprint.scenes):
        assert compare_natively(blueprint, member, starts_of(scene))
    assert len(merge(merged_scenes.SCENES, "topology")) == 2
    assert {"geom_dataid", "jnt_range", "eq_data", "actuator_gear"} <= set(blueprint.fields)
    assert blueprint.locate(0, site_position("handle")) != blueprint.locate(1, site_position("edge"))
    assert blueprint.locate(0, geom_position("top")) is None
    assert blueprint.locate(0, body_position("post")) is None
    assert blueprint.locate(0, joint_position("cart")) == blueprint.locate(1, joint_position("cart"))
    with pytest.raises(UserError, match="no site 'edge'"):
        blueprint.locate(0, site_position("edge"))


TENDON = '<tendon><fixed name="t"><joint joint="hinge" coef="1"/></fixed></tendon></mujoco>'
SENSOR = '<sensor><jointpos joint="hinge"/></sensor></mujoco>'


@pytest.mark.parametrize("part", [TENDON, SENSOR, '<option density="1"/></mujoco>'])
def test_what_cannot_be_merged_keeps_its_own_model(part):
    scenes = [Scene(scene.source.replace("</mujoco>", part)) for scene in merged_scenes.SCENES]
    made = merge([*scenes, *merged_scenes.SCENES], "layout")
    assert [type(blueprint) for blueprint in made] == [OneScene, OneScene, Merged]


def test_all_that_differs_from_world_to_world_is_given_for_each_member():
    """The same names as in mujoco_warp's declarations, so that a new release with more of them is noticed."""
    mujoco_warp = pytest.importorskip("mujoco_warp")
    shapes = {each.name: getattr(each.type, "shape", ()) for each in dataclasses.fields(mujoco_warp.Model)}
    kinds = tuple(f"{kind}_" for kind in FIELDS)
    declared = {name for name, shape in shapes.items() if shape and shape[0] == "*" and name.startswith(kinds)}
    looks = {"geom_matid", "geom_rgba"}
    delayed = {"actuator_history", "actuator_historyadr", "actuator_delay"}  # scenes with delays are not merged
    assert declared - looks - delayed == {name for names in FIELDS.values() for name in names}


class Worlds:
    """Worlds of a blueprint in mujoco_warp, each of some member and in some state."""

    def __init__(self, blueprint, members, rows):
        import warp

        from mtrl.scenes.warp import physics
        from mtrl.scenes.warp.group import build

        self.physics = physics
        self.model, self.data = build(blueprint, members, WarpSettings(contacts=96))
        for name in PLACED:
            array = getattr(self.model if name in ("body_pos", "body_quat") else self.data, name)
            numbers = np.array([row[name] for row in rows], np.float32).reshape(array.numpy().shape)
            warp.copy(array, warp.array(numbers, dtype=array.dtype))

    def forward(self, steps=0):
        for _ in range(steps):
            self.physics.step(self.model, self.data)
        self.physics.forward(self.model, self.data, sensors=False)

    def read(self, name, worlds):
        return getattr(self.data, name).numpy()[worlds]


def rows_for_warp(blueprint, member):
    """States of a member, with everything that puts a world there."""
    scene = blueprint.scenes[member]
    starts, own = starts_of(scene), copy.copy(stripped_model(scene))
    placement = blueprint.place(member, starts)
    for start in range(len(starts)):
        own.body_pos[:] = starts.body_pos[start]
        for state in states(own, placement, start, start):
            yield {**{name: table[start] for name, table in placement.items()}, **state}


def compare_in_warp(blueprint, scenes):
    """Worlds of several scenes in one model, against worlds of each in its own."""
    pytest.importorskip("mujoco_warp")
    from mtrl.scenes.warp.setup import prepare_warp

    prepare_warp()
    rows = {blueprint.scenes.index(scene): [] for scene in scenes}
    for member, own in rows.items():
        own += rows_for_warp(blueprint, member)
    members = np.concatenate([np.full(len(own), member) for member, own in rows.items()])
    shared = Worlds(blueprint, members, [row for own in rows.values() for row in own])
    alone = {
        member: Worlds(OneScene(blueprint.scenes[member]), np.zeros(len(own), int), rows_alone(blueprint, member))
        for member, own in rows.items()
    }
    shared.forward()
    near_pairs = 0
    for member, worlds in alone.items():
        worlds.forward()
        near_pairs += int(worlds.data.ncollision.numpy()[0])
        first, second = worlds.read("qacc", slice(None)), shared.read("qacc", members == member)
        assert np.abs(second - first).max() <= 1e-4 * np.abs(first).max()
        np.testing.assert_array_equal(shared.read("nefc", members == member), worlds.read("nefc", slice(None)))
    # What a member does not have is not even near anything.
    assert int(shared.data.ncollision.numpy()[0]) == near_pairs > 0
    shared.forward(steps=5)
    for member, worlds in alone.items():
        worlds.forward(steps=5)
        first, second = worlds.read("qvel", slice(None)), shared.read("qvel", members == member)
        # A contact on the verge makes a difference out of rounding, in a model of its own as well.
        assert np.mean(np.abs(second - first).max(axis=1) < 1e-4) >= 0.8


def rows_alone(blueprint, member):
    return list(rows_for_warp(OneScene(blueprint.scenes[member]), 0))


@pytest.mark.parametrize(
    "names", [("reach-v3", "shelf-place-v3", "box-close-v3"), ("drawer-open-v3", "button-press-v3")]
)
def test_mujoco_warp_steps_worlds_of_several_scenes_as_their_own_models_do(names):
    scenes = [TASKS[name].scene_task.scene for name in names]
    (blueprint,) = (blueprint for blueprint in made("layout") if scenes[0] in blueprint.scenes)
    compare_in_warp(blueprint, scenes)


def test_mujoco_warp_steps_a_users_scenes_as_their_own_models_do():
    compare_in_warp(*merge(merged_scenes.SCENES, "layout"), merged_scenes.SCENES)


@pytest.mark.slow
@pytest.mark.parametrize("grouping", ["topology", "layout"])
def test_mujoco_warp_steps_all_scenes_as_their_own_models_do(grouping):
    for blueprint in merged(grouping):
        compare_in_warp(blueprint, blueprint.scenes)
