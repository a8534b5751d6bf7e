"""Two small scenes with the same joints, which otherwise differ in whatever scenes that share a model may differ in."""

import numpy as np

from mtrl.scenes.scene import Scene, stripped_model
from mtrl.scenes.simulation import Simulation
from mtrl.scenes.snapshots import Snapshots

TETRAHEDRON = "0 0 0  .2 0 0  0 .2 0  0 0 .2"
WEDGE = "0 0 0  .3 0 0  0 .1 0  0 0 .2  .3 0 .2  0 .1 .2"
HEAD = '<mujoco><option timestep="0.002" cone="elliptic" impratio="3"/><compiler angle="radian"/>'
FIRST = f"""{HEAD}
  <asset><mesh name="stone" vertex="{TETRAHEDRON}"/></asset>
  <worldbody>
    <geom name="floor" type="plane" size="2 2 .1"/>
    <body name="table" pos="0.4 0.2 0.3" quat="0.9 0.1 0.3 -0.2">
      <geom name="top" type="box" size=".2 .2 .02"/>
      <body name="post" pos="0.1 0 0.2" quat="0.7 0 0.2 0.5">
        <geom name="shaft" type="capsule" size=".02 .1"/>
        <body name="door" pos="0 0.1 0.1" quat="0.8 0.2 0 0.1">
          <joint name="hinge" axis="0 1 1" pos=".05 0 0" range="-1 .4" limited="true" stiffness="3" damping=".1"/>
          <geom name="leaf" type="box" size=".15 .02 .1" pos=".1 0 0"/>
          <site name="handle" pos=".2 0 .05" quat="0.7 0.7 0 0"/>
          <body name="knob" pos=".2 0 0" euler=".3 .2 0">
            <geom name="button" type="sphere" size=".03" priority="1"/>
          </body>
        </body>
      </body>
    </body>
    <body name="mocap" mocap="true" pos="0 0 .5"><body name="tip" pos="0 0 .1">
      <geom name="rod" type="capsule" size=".02 .1"/></body></body>
    <body name="ball" pos="-.5 0 .5"><joint name="swing" type="ball" damping=".01"/>
      <geom name="stone" type="mesh" mesh="stone"/></body>
    <body name="cart" pos="-.3 .2 .06"><joint name="cart" type="slide" axis="1 0 0"/>
      <geom name="box" type="box" size=".05 .05 .055"/></body>
    <body name="fixture" pos="-.6 .1 .1"><geom name="brick" type="box" size=".1 .1 .1"/></body>
    <body name="free" pos="0 -.4 .1"><freejoint name="free"/><geom name="lump" type="cylinder" size=".05 .1"/></body>
  </worldbody>
  <equality><connect body1="ball" body2="world" anchor="0 0 .2"/>
    <joint joint1="hinge" joint2="cart" polycoef="0 .1 0 0 0" active="false"/></equality>
  <actuator><motor joint="hinge" ctrlrange="-1 1" gear="2"/><position joint="cart" kp="20"/></actuator>
</mujoco>"""
SECOND = f"""{HEAD}
  <asset><mesh name="stone" vertex="{WEDGE}"/><mesh name="other" vertex="{TETRAHEDRON}" scale="1 2 1"/></asset>
  <worldbody>
    <geom name="floor" type="plane" size="2 2 .1"/>
    <body name="door" pos="0.5 0.1 0.4"><joint name="hinge" axis="0 0 1" damping=".3"/>
      <geom name="leaf" type="box" size=".25 .03 .1" pos=".1 0 0" margin=".01"/>
      <geom name="rib" type="box" size=".05 .05 .2" pos=".2 0 0" friction=".3 .01 .001"/>
      <site name="handle" pos=".25 0 0"/><site name="edge" pos=".3 0 0"/></body>
    <body name="mocap" mocap="true" pos="0 .1 .5"><geom name="rod" type="capsule" size=".03 .2"/></body>
    <body name="ball" pos="-.5 0 .6"><joint name="swing" type="ball" damping=".02"/>
      <geom name="stone" type="mesh" mesh="stone"/>
      <body name="shell" pos="0 0 .1"><geom name="shell" type="mesh" mesh="other"/><site name="inside"/></body></body>
    <body name="cart" pos="-.2 .2 .2" euler="0 .3 0">
      <joint name="cart" type="slide" axis="0 1 0" range="-.1 .2" limited="true"/>
      <geom name="box" type="box" size=".05 .05 .055" mass="2"/></body>
    <body name="free" pos="0 -.4 .1"><freejoint name="free"/><geom name="lump" type="cylinder" size=".05 .1"/>
      <body name="fin" pos="0 0 .1"><geom name="fin" type="box" size=".1 .01 .1"/></body></body>
  </worldbody>
  <equality><connect body1="ball" body2="world" anchor="0 .1 .2"/>
    <joint joint1="hinge" joint2="cart" polycoef="0 .2 0 0 0" active="false"/></equality>
  <actuator><motor joint="hinge" ctrlrange="-3 1" gear="1"/><position joint="cart" kp="10"/></actuator>
</mujoco>"""
SCENES = (
    Scene(FIRST, touches=(("floor", "lump"), ("lump", "rod"))),
    Scene(SECOND, touches=(("lump", "fin"), ("floor", "lump"))),
)
MOVED = {FIRST: "table", SECOND: "door"}


def starts(scene: Scene, count: int = 2) -> Snapshots:
    """Starts in which a body stands elsewhere."""
    model = stripped_model(scene)
    simulation = Simulation(model, count)
    simulation.reset()
    simulation.place_body(MOVED[scene.source], np.linspace((0.3, 0.2, 0.3), (0.5, 0.3, 0.4), count))
    simulation.forward()
    nothing = np.zeros((count, 0))
    poses = simulation.final_geometry()
    return Snapshots(simulation.batch.state.copy(), simulation.body_pos.copy(), poses, nothing, nothing, nothing)
