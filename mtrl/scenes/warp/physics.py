# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""A physics step, out of mujoco_warp's own stages."""

import mujoco
import mujoco_warp
import warp

_ENABLED = mujoco.mjtEnableBit
_OWN_STAGES = int(_ENABLED.mjENBL_SLEEP) | int(_ENABLED.mjENBL_ENERGY)


def has_plain_stages(model: mujoco_warp.Model) -> bool:
    """Whether the stages below are all that there is to the model: no tendons, sleep, energy, or other integrator."""
    return (
        model.ntendon == 0
        and not model.opt.enableflags & _OWN_STAGES
        and model.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER
    )


def forward(model: mujoco_warp.Model, data: mujoco_warp.Data, *, sensors: bool) -> None:
    """Launches forward dynamics.

    mujoco_warp builds the rows of equality constraints before it computes velocities, so their reference accelerations
    use the velocities of the state before, and after a reset those of the episode before. MuJoCo uses the current ones;
    here they are computed first.

    Args:
        model: The model.
        data: Its worlds.
        sensors: Whether sensors are computed as well.
    """
    mujoco_warp.fwd_kinematics(model, data)
    mujoco_warp.com_vel(model, data)
    sensors = sensors and model.nsensor > 0
    if not has_plain_stages(model):
        mujoco_warp.forward(model, data)
        return
    mujoco_warp.crb(model, data)
    mujoco_warp.collision(model, data)
    mujoco_warp.make_constraint(model, data)
    mujoco_warp.transmission(model, data)
    if sensors:
        data.sensordata.zero_()
        mujoco_warp.sensor_pos(model, data)
    mujoco_warp.fwd_velocity(model, data)
    if sensors:
        mujoco_warp.sensor_vel(model, data)
    mujoco_warp.fwd_actuation(model, data)
    mujoco_warp.fwd_acceleration(model, data, factorize=True)
    mujoco_warp.solve(model, data)
    if sensors:
        mujoco_warp.sensor_acc(model, data)


def step(model: mujoco_warp.Model, data: mujoco_warp.Data) -> None:
    """Launches forward dynamics and moves the state on by the model's time step."""
    if has_plain_stages(model):
        forward(model, data, sensors=False)
        mujoco_warp.euler(model, data)
    else:
        mujoco_warp.fwd_kinematics(model, data)
        mujoco_warp.com_vel(model, data)
        mujoco_warp.step(model, data)


def step_and_forward(model: mujoco_warp.Model, data: mujoco_warp.Data, steps: int) -> None:
    """Launches what MuJoCo's own tasks do in a step: some physics steps, then everything anew from the state.

    The solution becomes the warm start of what follows, as after MuJoCo's `mj_forward`.
    """
    for _ in range(steps):
        step(model, data)
    forward(model, data, sensors=True)
    warp.copy(data.qacc_warmstart, data.qacc)
