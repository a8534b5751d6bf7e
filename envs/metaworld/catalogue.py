"""The 50 Meta-World tasks as plain data, in the order of MT50."""

OBS_DIM = 39
"""Numbers in an observation: 18 of now, the 18 of one step before, and the goal's 3."""
ACTION_DIM = 4
"""Numbers in an action: hand displacement in x, y and z, and gripper effort (positive closes)."""
HORIZON = 500
"""Steps after which an episode is truncated."""
FRAMES_PER_SECOND = 80
"""Steps in a second of simulated time."""

DESCRIPTIONS = {
    "assembly-v3": "Pick up a nut by its handle and put it over a peg.",
    "basketball-v3": "Pick up a basketball and drop it into the basket.",
    "bin-picking-v3": "Take a cube out of one bin and put it into the other.",
    "box-close-v3": "Grasp a lid and close a box with it.",
    "button-press-topdown-v3": "Press a button from above.",
    "button-press-topdown-wall-v3": "Go round a wall and press a button from above.",
    "button-press-v3": "Press a button from the front.",
    "button-press-wall-v3": "Go round a wall and press a button from the front.",
    "coffee-button-v3": "Press the button of a coffee machine.",
    "coffee-pull-v3": "Pull a mug away from a coffee machine.",
    "coffee-push-v3": "Push a mug under a coffee machine.",
    "dial-turn-v3": "Turn a dial by half a turn.",
    "disassemble-v3": "Lift a nut off its peg.",
    "door-close-v3": "Close a door that turns on a hinge.",
    "door-lock-v3": "Lock a door by turning its bolt.",
    "door-open-v3": "Open a door that turns on a hinge.",
    "door-unlock-v3": "Unlock a door by turning its bolt back.",
    "hand-insert-v3": "Carry a block into a hole with the gripper.",
    "drawer-close-v3": "Push a drawer shut.",
    "drawer-open-v3": "Pull a drawer open.",
    "faucet-open-v3": "Turn a faucet's handle counter-clockwise.",
    "faucet-close-v3": "Turn a faucet's handle clockwise.",
    "hammer-v3": "Pick up a hammer and drive a nail into a box.",
    "handle-press-side-v3": "Press a handle down, seen from the side.",
    "handle-press-v3": "Press a handle down.",
    "handle-pull-side-v3": "Pull a handle up, seen from the side.",
    "handle-pull-v3": "Pull a handle up.",
    "lever-pull-v3": "Pull a lever up by a quarter turn.",
    "pick-place-wall-v3": "Pick up a puck, carry it over a wall and hold it at the goal.",
    "pick-out-of-hole-v3": "Take a puck out of a hole and hold it at the goal.",
    "pick-place-v3": "Pick up a puck and hold it at the goal.",
    "plate-slide-v3": "Slide a plate forward into a net.",
    "plate-slide-side-v3": "Slide a plate sideways into a net.",
    "plate-slide-back-v3": "Slide a plate back out of a net.",
    "plate-slide-back-side-v3": "Slide a plate sideways out of a net.",
    "peg-insert-side-v3": "Pick up a peg and insert it into a hole from the side.",
    "peg-unplug-side-v3": "Pull a plug out of its socket sideways.",
    "soccer-v3": "Push a ball into a goal.",
    "stick-push-v3": "Grasp a stick and push a thermos with it.",
    "stick-pull-v3": "Grasp a stick and pull a thermos by its handle with it.",
    "push-v3": "Push a puck to the goal.",
    "push-wall-v3": "Push a puck round a wall to the goal.",
    "push-back-v3": "Pull a puck back to a goal that is nearer than the puck.",
    "reach-v3": "Move the gripper to the goal.",
    "reach-wall-v3": "Move the gripper past a wall to the goal.",
    "shelf-place-v3": "Pick up a block and put it on a shelf.",
    "sweep-into-v3": "Sweep a block into a hole in the table.",
    "sweep-v3": "Sweep a block off the table.",
    "window-open-v3": "Slide a window open.",
    "window-close-v3": "Slide a window shut.",
}
