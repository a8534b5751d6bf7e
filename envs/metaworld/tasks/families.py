"""All families, in the order in which their worlds are laid out: those with the same grip are neighbours."""

from . import (
    assembly,
    carry,
    doors,
    floors,
    handles,
    levers,
    peg,
    pick,
    plates,
    press,
    push,
    reach,
    shelf,
    slides,
    sticks,
    sweep,
    tools,
)
from .family import Family, SawyerTask

FAMILIES: tuple[Family, ...] = (
    # No grip.
    reach.FAMILY,
    press.FAMILY,
    slides.FAMILY,
    plates.FAMILY,
    levers.FAMILY,
    doors.FAMILY,
    handles.FAMILY,
    # Caging.
    carry.FAMILY,
    push.FAMILY,
    floors.FAMILY,
    shelf.FAMILY,
    peg.FAMILY,
    tools.FAMILY,
    assembly.FAMILY,
    sticks.PUSH,
    sticks.PULL,
    # Live pads.
    pick.FAMILY,
    sweep.FAMILY,
)

TASKS: dict[str, SawyerTask] = {task.scene_task.name: task for family in FAMILIES for task in family.tasks}
