"""Tree of boxes by which MuJoCo finds what of the ground is near a part of the robot, rebuilt for the places where robots are.

MuJoCo halves the ground's shapes by their number, and long, thin and nested ones make boxes that overlap: a robot's part then looks
into twenty of them in each physics step. Here each box is cut where the boxes of both halves, times the shapes in them, cover
the least of the tiles (the surface area heuristic, MacDonald and Booth 1990). What is found near is the same.
"""

import mujoco
import numpy as np

REACH = 0.15  # m, about half the size of a part of a robot


def rebuild_tree(model: mujoco.MjModel, half_size: tuple[float, float]) -> None:
    """Write another tree over the shapes of the world into a compiled model; robots are within ± `half_size` m in x and y."""
    first, count = int(model.body_bvhadr[0]), int(model.body_bvhnum[0])
    shape, box = model.bvh_nodeid[first : first + count].ravel(), model.bvh_aabb[first : first + count]
    leaves = np.flatnonzero(shape >= 0)
    low, high = box[leaves, :3] - box[leaves, 3:], box[leaves, :3] + box[leaves, 3:]
    child, number = np.full((count, 2), -1, np.int32), np.full(count, -1, np.int32)
    bounds, depth = np.zeros((count, 6)), np.zeros(count, np.int32)
    waiting, made = [(0, np.arange(len(leaves)), 0)], 1
    while waiting:
        node, some, level = waiting.pop()
        least, most = low[some].min(0), high[some].max(0)
        bounds[node], depth[node] = np.concatenate((0.5 * (least + most), 0.5 * (most - least))), level
        if len(some) == 1:
            number[node] = shape[leaves[some[0]]]
            continue
        child[node] = made, made + 1
        waiting += [
            (made + side, part, level + 1) for side, part in enumerate(_halves(low[some], high[some], half_size, some))
        ]
        made += 2
    own = slice(first, first + count)
    model.bvh_child[own], model.bvh_aabb[own], model.bvh_depth[own] = child, bounds, depth
    model.bvh_nodeid[own] = number.reshape(model.bvh_nodeid[own].shape)


def _halves(
    low: np.ndarray, high: np.ndarray, half_size: tuple[float, float], names: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`names` (n,) of boxes from `low` to `high` (n, 3), in two parts that cover little."""
    ahead, best = np.arange(1, len(names)), (np.inf, names[:1], names[1:])
    for key in (low[:, 0] + high[:, 0], low[:, 1] + high[:, 1], low[:, 0], low[:, 1], high[:, 0], high[:, 1]):
        order = np.argsort(key, kind="stable")
        back = order[::-1]
        here = _covered(np.minimum.accumulate(low[order]), np.maximum.accumulate(high[order]), half_size)[:-1]
        there = _covered(np.minimum.accumulate(low[back]), np.maximum.accumulate(high[back]), half_size)[-2::-1]
        cost = here * ahead + there * ahead[::-1]
        cut = int(np.argmin(cost))
        if cost[cut] < best[0]:
            best = (float(cost[cut]), names[order[: cut + 1]], names[order[cut + 1 :]])
    return best[1], best[2]


def _covered(low: np.ndarray, high: np.ndarray, half_size: tuple[float, float]) -> np.ndarray:
    """How much of the tiles is within REACH of each of the boxes, (n,) m²."""
    half = np.array(half_size)
    sides = np.minimum(high[:, :2] + REACH, half) - np.maximum(low[:, :2] - REACH, -half)
    return np.asarray(np.maximum(sides, 0.01).prod(-1))
