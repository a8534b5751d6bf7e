# pyright: reportGeneralTypeIssues=false, reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
# pyright: reportAssignmentType=false
# Warp compiles these functions; their annotations are its own.
"""Kernels between torch's tables and the arrays of mujoco_warp; each serves all worlds of a group in one launch."""

import warp

wp = warp
FIELDS = (
    "xpos",
    "xquat",
    "xmat",
    "site_xpos",
    "site_xmat",
    "geom_xpos",
    "geom_xmat",
    "qpos",
    "qvel",
    "sensordata",
)
"""Arrays that views read, in the order in which `read_views` takes them."""
LANES = 32
"""Threads of each world in `place`: few, since most worlds are not placed in a step."""
_LANES = wp.constant(LANES)


@wp.kernel(enable_backward=False)
def write_input(
    world: wp.array(dtype=int),
    source: wp.array2d(dtype=float),
    target: wp.array2d(dtype=float),
):
    """Copies one of MuJoCo's inputs, `source[world, n]`, to the rows of a group."""
    row, column = wp.tid()
    target[row, column] = source[world[row], column]


@wp.kernel(enable_backward=False)
def read_views(
    world: wp.array(dtype=int),
    share: wp.array(dtype=int),
    field: wp.array2d(dtype=int),
    offset: wp.array2d(dtype=int),
    xpos: wp.array2d(dtype=float),
    xquat: wp.array2d(dtype=float),
    xmat: wp.array2d(dtype=float),
    site_xpos: wp.array2d(dtype=float),
    site_xmat: wp.array2d(dtype=float),
    geom_xpos: wp.array2d(dtype=float),
    geom_xmat: wp.array2d(dtype=float),
    qpos: wp.array2d(dtype=float),
    qvel: wp.array2d(dtype=float),
    sensordata: wp.array2d(dtype=float),
    table: wp.array2d(dtype=float),
):
    """Brings `table[world, column]` up to date; columns whose `field[share, column]` is negative stay as they are."""
    row, column = wp.tid()
    k = share[row]
    kind = field[k, column]
    if kind < 0:
        return
    n = offset[k, column]
    value = float(0.0)
    if kind == 0:
        value = xpos[row, n]
    elif kind == 1:
        value = xquat[row, n]
    elif kind == 2:
        value = xmat[row, n]
    elif kind == 3:
        value = site_xpos[row, n]
    elif kind == 4:
        value = site_xmat[row, n]
    elif kind == 5:
        value = geom_xpos[row, n]
    elif kind == 6:
        value = geom_xmat[row, n]
    elif kind == 7:
        value = qpos[row, n]
    elif kind == 8:
        value = qvel[row, n]
    else:
        value = sensordata[row, n]
    table[world[row], column] = value


@wp.kernel(enable_backward=False)
def place(
    world: wp.array(dtype=int),
    first_start: wp.array(dtype=int),
    mask: wp.array(dtype=wp.bool),
    goal: wp.array(dtype=wp.int64),
    bank: wp.array2d(dtype=float),
    end: wp.array(dtype=int),
    qpos: wp.array2d(dtype=float),
    qvel: wp.array2d(dtype=float),
    qacc_warmstart: wp.array2d(dtype=float),
    ctrl: wp.array2d(dtype=float),
    mocap_pos: wp.array2d(dtype=float),
    mocap_quat: wp.array2d(dtype=float),
    body_pos: wp.array2d(dtype=float),
    body_quat: wp.array2d(dtype=float),
    geom_xpos: wp.array2d(dtype=float),
    geom_xmat: wp.array2d(dtype=float),
    table: wp.array2d(dtype=float),
):
    """Puts the worlds of the mask at starts: row `first_start[row] + goal[world]` of the bank.

    The bank's columns are the targets' one after the other; `end` says where each stops. Rows of other worlds are not
    touched, and nothing that the next step computes anew is.
    """
    row, lane = wp.tid()
    w = world[row]
    if not mask[w]:
        return
    start = first_start[row] + int(goal[w])
    for column in range(lane, bank.shape[1], _LANES):
        value = bank[start, column]
        if column < end[0]:
            qpos[row, column] = value
        elif column < end[1]:
            qvel[row, column - end[0]] = value
        elif column < end[2]:
            qacc_warmstart[row, column - end[1]] = value
        elif column < end[3]:
            ctrl[row, column - end[2]] = value
        elif column < end[4]:
            mocap_pos[row, column - end[3]] = value
        elif column < end[5]:
            mocap_quat[row, column - end[4]] = value
        elif column < end[6]:
            body_pos[row, column - end[5]] = value
        elif column < end[7]:
            body_quat[row, column - end[6]] = value
        elif column < end[8]:
            geom_xpos[row, column - end[7]] = value
        elif column < end[9]:
            geom_xmat[row, column - end[8]] = value
        else:
            table[w, column - end[9]] = value


@wp.kernel(enable_backward=False)
def watch(
    world: wp.array(dtype=int),
    counted: int,
    rows_allowed: int,
    contacts_allowed: int,
    rows_bit: int,
    pairs_bit: int,
    contacts_bit: int,
    nefc: wp.array(dtype=int),
    nacon: wp.array(dtype=int),
    ncollision: wp.array(dtype=int),
    bits: wp.array(dtype=int),
    overflow: wp.array(dtype=int),
    peak: wp.array(dtype=int),
):
    """Moves the overflow bits of a group, as far as they are counted, to `overflow[world]`, and keeps peaks.

    mujoco_warp notes the overflow of contacts and rows when it moves the state on; after the last `forward` nothing is
    moved on, so the same is asked here. `peak` holds rows of one world, pairs and contacts of all.
    """
    row = wp.tid()
    found = bits[row]
    if nefc[row] > rows_allowed:
        found = found | rows_bit
    if ncollision[0] > contacts_allowed:
        found = found | pairs_bit
    if nacon[0] > contacts_allowed:
        found = found | contacts_bit
    overflow[world[row]] = found & counted
    bits[row] = 0
    wp.atomic_max(peak, 0, nefc[row])
    if row == 0:
        wp.atomic_max(peak, 1, ncollision[0])
        wp.atomic_max(peak, 2, nacon[0])
