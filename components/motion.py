"""Reference motion: clips as they come from files, the library they are sampled from, and targets."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from engine.ecs.component import column, component, constant, derived, resource
from engine.errors import SnapshotError
from engine.ranks.sharing import GATHERED, Combination

Fact = Literal["rotation", "rate", "joints", "angles", "lengths"]  # what must be known to read a file's numbers
Origin = Literal["option", "file", "assumed"]  # the user; a header, a name or a layout that fixes it; nobody


@attrs.frozen
class BuiltInClip:
    """A clip by name only; it is made for the robot at hand when the library is built."""

    name: str
    weight: float = 1.0


@attrs.frozen(eq=False)
class Clip:
    """One motion as read from a file, before any robot is involved. Arrays are float64; those that only serve to verify
    the clip are float32 where the file has them so.

    `dof_names` is None where the file has no names; `joint_order` is the user's word for the order then, "" where
    evidence decides. Of a verified clip, `file_rotation` and `joint_order` are what was decided.
    What the file says about bodies and joint velocities serves to verify the clip, which has none of it afterwards;
    `action` and `contact_mask` are kept for who asks for them.
    `origins` says who fixed each fact that the numbers were read by; a fact that it lacks came with the file. What
    is "assumed" is decided by evidence when the clip is verified; what the user states is never questioned.
    `typed` is the item of `--clip` that the clip came with, without its weight: what a cure adds an option to.
    `notes` are what its reader decided and a person should see, one sentence each; verification passes them on.
    """

    name: str
    fps: float
    root_position: np.ndarray  # (frames, 3) m, world
    root_rotation: np.ndarray  # (frames, 4) scalar first
    dof_position: np.ndarray  # (frames, dofs) rad
    dof_names: tuple[str, ...] | None = None
    joint_order: str = ""
    dof_velocity: np.ndarray | None = None  # (frames, dofs) rad/s
    body_names: tuple[str, ...] | None = None  # None: the model's order, root first
    body_position: np.ndarray | None = None  # (frames, bodies, 3) m, world
    body_rotation: np.ndarray | None = None  # (frames, bodies, 4) scalar first
    action: np.ndarray | None = None  # (frames, actions) the policy's output that led to each frame
    contact_mask: np.ndarray | None = None  # (frames, feet) 1 where a foot bears load, 0 elsewhere
    file_rotation: str = (
        ""  # how the file orders its quaternions: "wxyz" or "xyzw"; "" when the user has named the order
    )
    origins: Mapping[Fact, Origin] = attrs.field(factory=dict)
    source: str = ""  # where it came from, for messages
    typed: str = ""  # what the user typed to name it, maybe a folder; "" for a clip that is made
    notes: tuple[str, ...] = ()
    weight: float = 1.0

    def origin(self, fact: Fact) -> Origin:
        """Who fixed a fact."""
        return self.origins.get(fact, "file")

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return int(self.dof_position.shape[0])

    @property
    def seconds(self) -> float:
        """From the first frame to the last, (frames − 1) / fps."""
        return (self.num_frames - 1) / self.fps

    @property
    def title(self) -> str:
        """Which clip, as messages begin."""
        return f"Clip '{self.name}' ({self.source or 'made'})"

    def at(self, frame: int) -> str:
        """Which clip and where in it, as messages begin."""
        return f"{self.title}, frame {frame} ({frame / self.fps:.2f} s)"


@resource
class MotionLibrary:
    """Unique clips, resampled to one rate, concatenated over frames; `systems/motion/library.py` builds and samples it.

    With `held`, the tables have room for some of the clips only: `start` and `last` of the others say nothing, and clips that
    are not to be drawn have a `weight` of 0. Everything else is of all clips.

    `vectors` packs, per frame: root position, linear and angular velocity (3 each), joint position and
    velocity (dof each), then position, linear and angular velocity of the tracked bodies (3 × tracked each).
    `rotations` packs the root's and the tracked bodies' quaternions, whose signs do not jump within a clip.
    """

    COMBINED: ClassVar[Combination] = GATHERED

    names: tuple[str, ...] = constant()
    warnings: tuple[str, ...] = constant()  # what verification found, one sentence each
    fps: float = constant()
    num_dofs: int = constant()
    num_tracked: int = constant()
    start: Tensor = constant()  # (clips,) int64 first frame
    frames: Tensor = constant()  # (clips,) int64 number of frames
    last: Tensor = constant(init=False, default=attrs.Factory(lambda it: it.start + it.frames - 1, takes_self=True))
    seconds: Tensor = constant()  # (clips,) float32 (frames − 1) / fps
    weight: Tensor = constant()  # (clips,) float32, sums to 1; of each frame of the clip
    # (clips,) int64, and (clips,) how likely a clip is where frames are as likely as its weight says
    steps: Tensor = constant(init=False, default=attrs.Factory(lambda it: it.frames - 1, takes_self=True))
    usual: Tensor = constant(init=False, default=attrs.Factory(lambda it: it.weight * it.seconds, takes_self=True))
    vectors: Tensor = constant()  # (all frames, 9 + 2 dof + 9 tracked)
    rotations: Tensor = constant()  # (all frames, 1 + tracked, 4)
    # (all frames, feet) 1 where a foot shall bear load, 0 elsewhere, −1 where its clip does not say; no rows where no clip does
    contacts: Tensor = constant(factory=lambda: torch.zeros(0, 0))
    held: "ClipPart | None" = constant(default=None)  # what the tables hold, where that is not all

    def __attrs_post_init__(self) -> None:
        """Have what is held say where clips are on the device of the tables."""
        if self.held is not None:
            self.held.move(self.start.device)

    @property
    def whole(self) -> "MotionLibrary":
        """The library of all clips: this one, unless it holds a part of them."""
        return self if self.held is None else self.held.whole

    def state(self) -> dict[str, Tensor]:
        """Which clips the tables hold, where that is not all."""
        return {} if self.held is None else self.held.state()

    def check(self, state: Mapping[str, Tensor]) -> None:
        """SnapshotError for the state of a library of another number of clips, or one that held another number at once."""
        if self.held is not None and len(state["turns"]) != len(self.names):
            raise SnapshotError(
                f"MotionLibrary: the saved run had {len(state['turns'])} clips, of which it held {len(state['clips'])} at once, and this one has "
                f"{len(self.names)}. Rows are in the middle of clips that are known by number; go on with the clips that it began with."
            )
        if self.held is not None and len(state["clips"]) != len(self.held.clips):
            raise SnapshotError(
                f"MotionLibrary: the saved run held {len(state['clips'])} clips at once, and this one is to hold "
                f"{len(self.held.clips)}. Rows are in the middle of clips; go on with --clips-at-once {len(state['clips'])}."
            )

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Have the tables hold what they held when a state was saved."""
        if self.held is not None:
            self.held.load(self, state)

    def part(self, first: int, count: int, *shape: int) -> Tensor:
        """`count` columns of `vectors` from `first`, as (all frames, *shape)."""
        return self.vectors[:, first : first + count].reshape(-1, *(shape or (count,)))

    @property
    def root_position(self) -> Tensor:
        """(all frames, 3) m."""
        return self.part(0, 3)

    @property
    def root_rotation(self) -> Tensor:
        """(all frames, 4)."""
        return self.rotations[:, 0]

    @property
    def root_linear_velocity(self) -> Tensor:
        """(all frames, 3) m/s, world."""
        return self.part(3, 3)

    @property
    def root_angular_velocity(self) -> Tensor:
        """(all frames, 3) rad/s, world."""
        return self.part(6, 3)

    @property
    def dof_position(self) -> Tensor:
        """(all frames, dof) rad."""
        return self.part(9, self.num_dofs)

    @property
    def dof_velocity(self) -> Tensor:
        """(all frames, dof) rad/s."""
        return self.part(9 + self.num_dofs, self.num_dofs)

    @property
    def body_position(self) -> Tensor:
        """(all frames, tracked, 3) m, world."""
        return self.part(9 + 2 * self.num_dofs, 3 * self.num_tracked, self.num_tracked, 3)

    @property
    def body_rotation(self) -> Tensor:
        """(all frames, tracked, 4)."""
        return self.rotations[:, 1:]

    @property
    def body_linear_velocity(self) -> Tensor:
        """(all frames, tracked, 3) m/s, frame origin, world."""
        return self.part(9 + 2 * self.num_dofs + 3 * self.num_tracked, 3 * self.num_tracked, self.num_tracked, 3)

    @property
    def body_angular_velocity(self) -> Tensor:
        """(all frames, tracked, 3) rad/s, world."""
        return self.part(9 + 2 * self.num_dofs + 6 * self.num_tracked, 3 * self.num_tracked, self.num_tracked, 3)


@attrs.define(eq=False)
class ClipPart:
    """The clips that stand in a library's tables, one in each slot; a slot has as many frames as the longest of all clips.

    Which clip stands where is known to the host; `drawable`, `here` and `following` are made of it, on the library's device.
    """

    whole: MotionLibrary
    clips: Tensor  # (slots,) int64
    coming: Tensor  # (slots,) int64 which clip takes the slot as soon as no row plays its own; −1: none does
    turns: Tensor  # (clips,) int64 how often each has come in
    first: Tensor  # () int64 slot that is next to be given away
    drawable: Tensor  # (clips,) bool, in a slot that nobody else is about to take
    here: Tensor  # (clips,) bool, in any slot
    following: Tensor  # (clips,) int64 the next drawable clip in the order of the list, after the last the first

    STATE: ClassVar[tuple[str, ...]] = ("clips", "coming", "turns", "first")

    @property
    def pending(self) -> bool:
        """Whether a clip waits for a slot."""
        return bool((self.coming >= 0).any())

    def move(self, device: torch.device) -> None:
        """Keep what is made for the library's device there."""
        for name in ("drawable", "here", "following"):
            setattr(self, name, getattr(self, name).to(device))

    def state(self) -> dict[str, Tensor]:
        """Which clips are here, and which have been."""
        return {name: getattr(self, name) for name in self.STATE}

    def load(self, library: MotionLibrary, state: Mapping[str, Tensor]) -> None:
        """Put a saved state back; frames of clips that stand elsewhere are copied."""
        before = self.clips.clone()
        for name in self.STATE:
            getattr(self, name).copy_(state[name])
        self.fill(library, (self.clips != before).nonzero().flatten().tolist())

    def fill(self, library: MotionLibrary, slots: Sequence[int]) -> None:
        """Copy the frames of the clips of some slots into the tables, and say where clips are."""
        room = int(self.whole.frames.max())
        for slot in slots:
            clip = int(self.clips[slot])
            first, count = int(self.whole.start[clip]), int(self.whole.frames[clip])
            for name in ("vectors", "rotations", "contacts"):
                table = getattr(library, name)
                if len(table):
                    table[slot * room : slot * room + count] = getattr(self.whole, name)[first : first + count]
        start = torch.zeros(len(library.names), dtype=torch.int64)
        start[self.clips] = torch.arange(len(self.clips)) * room
        library.start.copy_(start)
        library.last.copy_(library.start + library.frames - 1)
        drawable, here = torch.zeros((2, len(start)), dtype=torch.bool).unbind(0)
        drawable[self.clips[self.coming < 0]] = here[self.clips] = True
        self.drawable.copy_(drawable)
        self.here.copy_(here)
        known = drawable.nonzero().flatten()
        after = torch.searchsorted(known, torch.arange(len(start)), right=True).remainder_(len(known))
        self.following.copy_(known[after])
        weight = self.whole.weight.to(library.weight.device) * self.drawable
        library.weight.copy_(weight / weight.sum())
        library.usual.copy_(library.weight * library.seconds)


@component
class MotionCursor:
    """Where in which clip each row is: the time of the pose that the robot should have at the end of the tick."""

    clip: Tensor = column(dtype=torch.int64)
    time: Tensor = column(unit="s")
    start: Tensor = column(unit="s", doc="clip time at which the episode began")


@component
class NextClip:
    """Rows that shall start over with the first frame of the clip after theirs; whoever watches a run may ask for it."""

    asked: Tensor = column(dtype=torch.bool, doc="start the next clip in the next tick")
    clip: Tensor = column(dtype=torch.int64, fill=-1, doc="which that is, from when the episode is cut off; else -1")


@resource
class ClipBins:
    """Failures by place: every clip in bins of equal length, of about a second, those of a clip side by side.

    `failures` and `visits` are running means of rows in a tick that failed there, and that were there.
    """

    COMBINED: ClassVar[Combination] = GATHERED

    clip: Tensor = constant()  # (bins,) int64
    within: Tensor = constant()  # (bins,) int64, of the clip's own bins, from 0
    last: Tensor = constant()  # (bins,) int64 the clip's last bin
    usual: Tensor = (
        constant()
    )  # (bins,) float64, sums to 1: how likely where every frame is as likely as its weight says
    first: Tensor = constant()  # (clips,) int64 first bin
    count: Tensor = constant()  # (clips,) int64 number of bins
    failures: Tensor  # (bins,) float64
    visits: Tensor  # (bins,) float64

    def load(self, state: dict[str, Tensor]) -> None:
        """Put saved means back; of other clips they say nothing, and counting begins anew."""
        for name in ("failures", "visits"):
            own, saved = getattr(self, name), state[name]
            own.copy_(saved if saved.shape == own.shape else torch.zeros_like(own))


@resource
class SamplerNumbers:
    """Where episodes begin by now: the chances of the bins in the last draw, as numbers for the metrics."""

    REPORTED: ClassVar[str] = "sampler"

    entropy: Tensor  # of the chances, as a share of that of equal ones; 1 for a single bin
    top_probability: Tensor  # the largest chance
    top_bin: Tensor  # its bin, as a share of all
    top_clip: Tensor  # its clip, from 0 in the order of the list
    top_second: Tensor  # where in that clip the bin begins, in s

    @classmethod
    def zeros(cls, device: torch.device | str = "cpu") -> "SamplerNumbers":
        """As before the first draw."""
        names = [field.name for field in cls.__attrs_attrs__]  # type: ignore[attr-defined]
        made = {name: torch.zeros((), dtype=torch.float64, device=device) for name in names}
        return cls(**made | {"entropy": torch.ones((), dtype=torch.float64, device=device)})


@derived
class MotionReference:
    """The reference at `MotionCursor.time`, in world axes from the row's own origin."""

    dof_position: Tensor = column("dof", unit="rad")
    dof_velocity: Tensor = column("dof", unit="rad/s")
    body_position: Tensor = column("tracked", 3, unit="m")
    body_rotation: Tensor = column("tracked", 4)
    body_linear_velocity: Tensor = column("tracked", 3, unit="m/s")
    body_angular_velocity: Tensor = column("tracked", 3, unit="rad/s")


@derived
class TrackedState:
    """The robot's tracked bodies, picked out of BodyState once, in the order of axis `tracked`."""

    position: Tensor = column("tracked", 3, unit="m")
    rotation: Tensor = column("tracked", 4)
    linear_velocity: Tensor = column("tracked", 3, unit="m/s")
    angular_velocity: Tensor = column("tracked", 3, unit="rad/s")


@derived
class RelativeTarget:
    """The reference re-placed at the robot's own heading and horizontal position, keeping its height."""

    position: Tensor = column("tracked", 3, unit="m")
    rotation: Tensor = column("tracked", 4)


@derived
class AnchorView:
    """The reference anchor and the robot's tracked bodies as seen from the robot's anchor, target last."""

    position: Tensor = column("viewed", 3, unit="m")
    rotation: Tensor = column("viewed", 6, doc="first two columns of the rotation matrix, row by row")


@resource
class TrackedBodies:
    """Index sets over axes `body` and `tracked`. Virtual bodies come last."""

    names: tuple[str, ...] = constant()
    body_index: Tensor = constant()  # (tracked,) int64, into axis body; of a virtual body, its parent
    virtual_position: Tensor = constant(factory=lambda: torch.zeros(0, 3))  # (virtual, 3) m, in the parent's frame
    virtual_rotation: Tensor = constant(factory=lambda: torch.zeros(0, 4))  # (virtual, 4) to the parent's frame
    anchor: int = constant()  # into axis tracked
    end_effectors: Tensor = constant()  # (effectors,) int64, into axis tracked


@resource
class MotionFar:
    """Radius beyond which a tracked body counts as lost; a scalar on the device."""

    threshold: Tensor  # m


@resource
class DofFar:
    """Distance of all joints together beyond which they count as lost; a scalar on the device."""

    threshold: Tensor  # rad
