"""Skeleton of a robot as capsules, its tracking errors and slips in numbers."""

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from engine.debugger.model.schema import short
from engine.debugger.widgets.format import roll_pitch_yaw

SLIP = 0.15  # m/s along the floor beyond which a body that bears load slips
LOAD = 10.0  # N beyond which a body bears load
SLIP_LIMIT = 0.5  # m/s that count as much as a tracking error at its threshold
THINNEST = 0.012  # m, radius of a body whose radius is not known to be larger


@attrs.frozen(eq=False)
class Skeleton:
    """A body tree of B bodies that is drawn as capsules, T of them tracked; column ids say where its numbers are."""

    table: str
    name: str
    bodies: tuple[str, ...]
    radius: np.ndarray  # (B,) m
    limbs: np.ndarray  # (L, 2) bodies: a capsule from the first one's origin to the second one's
    tips: np.ndarray  # (K,) bodies that reach beyond their origin
    tip_offset: np.ndarray  # (K, 3) m in the body's frame
    tip_before: np.ndarray  # (K,) body whose direction is continued where the frame's axes are not known
    tracked: np.ndarray  # (T,) bodies
    blame: np.ndarray  # (B,) into `tracked`: whose error colours the capsule that ends at a body; -1 nobody's
    ghost_limbs: np.ndarray  # (G, 2) into `tracked`
    threshold: float | None  # m
    position: int
    rotation: int | None
    reference: int | None
    force: int | None
    root: int
    model: str  # file of the model on the run's machine, '' where the run names none
    model_hash: str  # of the model that the run hands out, '' where it hands out none
    terrain: bool = False  # whether that model has terrain under the robot

    @property
    def columns(self) -> tuple[int, ...]:
        """Ids of all its columns."""
        found = (self.position, self.rotation, self.reference, self.force, self.root)
        return tuple(dict.fromkeys(column for column in found if column is not None))


def read_skeletons(schema: Mapping[str, Any] | None) -> list[Skeleton]:
    """The figures of a schema; one that does not make sense is left out."""
    found = []
    models = (schema or {}).get("models")
    for item in (schema or {}).get("figures") or []:
        try:
            model = models.get(item.get("name")) if isinstance(models, Mapping) else None
            found.append(_skeleton(item, model if isinstance(model, Mapping) else {}))
        except (KeyError, TypeError, ValueError, IndexError):
            continue
    return found


def _skeleton(item: Mapping[str, Any], model: Mapping[str, Any]) -> Skeleton:
    bodies = item["bodies"]
    count = len(bodies)
    parent = np.array([int(body["parent"]) for body in bodies], np.int64)
    tracked = np.array(item.get("tracked") or [], np.int64)
    if not count or (parent >= np.arange(count)).any() or (parent < -1).any():
        raise ValueError("a body comes before its parent")
    if ((tracked < 0) | (tracked >= count)).any():
        raise ValueError("a tracked body does not exist")
    children = set(parent.tolist())
    tips, offsets, before = [], [], []
    for number, body in enumerate(bodies):
        if body.get("tip") is not None:
            offset = np.array(body["tip"], np.float64).reshape(3)
        elif number not in children and parent[number] >= 0 and float(body.get("length") or 0.0) > 0.0:
            offset = np.array((float(body["length"]), np.nan, np.nan))
        else:
            continue
        tips.append(number)
        offsets.append(offset)
        before.append(int(parent[number]))
    threshold = item.get("threshold")
    return Skeleton(
        table=str(item["table"]),
        name=str(item.get("name") or item["table"]),
        bodies=tuple(str(body["name"]) for body in bodies),
        radius=np.maximum([float(body.get("radius") or 0.0) for body in bodies], THINNEST),
        limbs=np.array([(p, b) for b, p in enumerate(parent.tolist()) if p >= 0], np.int64).reshape(-1, 2),
        tips=np.array(tips, np.int64),
        tip_offset=np.array(offsets, np.float64).reshape(-1, 3),
        tip_before=np.array(before, np.int64),
        tracked=tracked,
        blame=_blame(parent, tracked),
        ghost_limbs=_ghost_limbs(parent, tracked),
        threshold=None if threshold is None else float(threshold),
        position=int(item["position"]),
        rotation=_id(item.get("rotation")),
        reference=_id(item.get("reference")) if len(tracked) else None,
        force=_id(item.get("force")),
        root=int(item["position"] if item.get("root") is None else item["root"]),
        model=str(model.get("file") or ""),
        model_hash=_sha256(model.get("hash")),
        terrain=bool(item.get("terrain")),
    )


def _id(value: Any) -> int | None:
    return None if value is None else int(value)


def _sha256(value: Any) -> str:
    """A hash as this side would write it, since it becomes the name of a file; '' for anything else."""
    digits = value if isinstance(value, str) else ""
    return digits if len(digits) == 64 and not set(digits) - set("0123456789abcdef") else ""


def _blame(parent: np.ndarray, tracked: np.ndarray) -> np.ndarray:
    """A tracked body answers for itself, another one for the nearest tracked body below it, else above it."""
    blame = np.full(len(parent), -1)
    blame[tracked[::-1]] = np.arange(len(tracked))[::-1]
    itself = blame >= 0
    for body in range(len(parent) - 1, 0, -1):
        above = parent[body]
        if above >= 0 and not itself[above] and blame[above] < 0:
            blame[above] = blame[body]
    for body in range(len(parent)):
        if blame[body] < 0 and parent[body] >= 0:
            blame[body] = blame[parent[body]]
    return blame


def _ghost_limbs(parent: np.ndarray, tracked: np.ndarray) -> np.ndarray:
    """Every tracked body is joined to the nearest tracked one above it; of two on one body, the second to the first."""
    first: dict[int, int] = {}
    limbs = []
    for number, body in enumerate(tracked.tolist()):
        first.setdefault(body, number)
    for number, body in enumerate(tracked.tolist()):
        above = body if first[body] != number else int(parent[body])
        while above >= 0 and above not in first:
            above = int(parent[above])
        if above >= 0:
            limbs.append((first[above], number))
    return np.array(limbs, np.int64).reshape(-1, 2)


def tip_positions(figure: Skeleton, position: np.ndarray, rotation: np.ndarray | None) -> np.ndarray:
    """Where the tips are, (K, 3) m in world axes, from body positions (B, 3) and scalar-first quaternions (B, 4)."""
    base, offset = position[figure.tips], figure.tip_offset
    along = base - position[figure.tip_before]
    far = np.linalg.norm(along, axis=-1, keepdims=True)
    straight = base + offset[:, :1] * along / np.maximum(far, 1e-9)
    if rotation is None:
        return np.asarray(np.where(np.isnan(offset[:, 1:2]), straight, base))
    w, v = rotation[figure.tips, :1], rotation[figure.tips, 1:]
    turned = offset + 2.0 * np.cross(v, np.cross(v, offset) + w * offset)
    return np.asarray(np.where(np.isnan(offset[:, 1:2]), straight, base + turned))


def heading(rotation: np.ndarray | None) -> float:
    """Where a root with this scalar-first quaternion faces, in degrees from world x; 0 where it is not known."""
    yaw = np.nan if rotation is None else roll_pitch_yaw(rotation)[2]
    return yaw if np.isfinite(yaw) else 0.0


def tracking_errors(figure: Skeleton, position: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
    """Distance of each tracked body from its reference, (T,) m; empty without a reference."""
    if reference is None or reference.shape != (len(figure.tracked), 3):
        return np.zeros(0)
    return np.asarray(np.linalg.norm(position[figure.tracked] - reference, axis=-1))


def slip_speeds(
    before: np.ndarray, after: np.ndarray, force_before: np.ndarray, force_after: np.ndarray, seconds: float
) -> np.ndarray:
    """Speed along the floor of the bodies that bear load before and after, else 0: (B, 3) m and N -> (B,) m/s."""
    bears = (np.linalg.norm(force_before, axis=-1) > LOAD) & (np.linalg.norm(force_after, axis=-1) > LOAD)
    speed = np.linalg.norm((after - before)[:, :2], axis=-1) / seconds
    return np.where(bears & np.isfinite(speed), speed, 0.0)


def violations(
    figure: Skeleton, position: np.ndarray, errors: np.ndarray, slips: np.ndarray
) -> list[tuple[str, float]]:
    """What is wrong, worst first: words, and the share of its limit. `errors` (T,) m, `slips` (B,) m/s."""
    found: list[tuple[float, str]] = []
    lost = np.flatnonzero(~np.isfinite(position).all(-1))
    if len(lost):
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        found.append((np.inf, f"{short(figure.bodies[lost[0]])}{more}: position is not finite"))
    for number in np.argsort(-np.nan_to_num(errors, nan=-1.0), kind="stable")[:2].tolist():
        error = float(errors[number])
        name = short(figure.bodies[figure.tracked[number]])
        if not np.isfinite(error):
            continue
        if figure.threshold:
            share = error / figure.threshold
            found.append((share, f"{name} {error:.2f} m from reference (ends at {figure.threshold:g})"))
        else:
            found.append((min(error, 0.99), f"{name} {error:.2f} m from reference"))
    for number in np.argsort(-slips, kind="stable")[:2].tolist():
        if slips[number] > SLIP:
            name = short(figure.bodies[number])
            found.append((float(slips[number]) / SLIP_LIMIT, f"{name} slips {slips[number]:.1f} m/s"))
    found.sort(key=lambda item: -item[0])
    return [(text, share) for share, text in found]
