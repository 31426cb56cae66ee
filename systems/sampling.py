"""Sampling of starts: where in the clips episodes begin, by name; adaptive sampling begins them where robots fail.

Adaptive sampling keeps, for every bin of about a second, which share of the rows that were there failed there. A bin is
drawn by that rate, smoothed towards earlier bins of its clip, since what fails a robot lies before its fall, and from a
share `floor` of the episodes every frame is as likely as with uniform sampling, however many rows or failures there are.
Within a bin every frame is equally likely.
"""

import math
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor

from components.episode import Done, Rewritten
from components.motion import ClipBins, MotionCursor, MotionLibrary, SamplerNumbers
from engine import Bundle, Rng, System, Write, any_row, deferred, system
from engine.errors import SceneError, did_you_mean, listing
from engine.ranks.distribution import shares_nothing_of_rows
from systems.maths.tensors import vector
from systems.reference import begin_within, chosen_of, draw_motion, put_start
from systems.tick import RESET, REWARD

BIN = 1.0  # s, of which no bin is longer
START_SHARES = {"uniform": 0.0, "start": 1.0, "mixed": 0.5}  # of the episodes, how many begin with a clip's first frame
Sampling = Annotated[
    Literal["uniform", "start", "mixed", "adaptive"],
    "where episodes begin: any frame, the first, half of each, or where robots fail",
]


# -- bins ----------------------------------------------------------------------------------------------


def bins_of(library: MotionLibrary) -> ClipBins:
    """⌊T / f⌋ + 1 bins for a clip of T frames at f per second, all equally long; none reaches into another clip."""
    count = library.frames.div(library.fps * BIN, rounding_mode="floor").long() + 1
    first = count.cumsum(0) - count
    clip = torch.repeat_interleave(count)
    usual = (library.usual / count).double()[clip]
    blank = torch.zeros(len(clip), dtype=torch.float64, device=clip.device)
    return ClipBins(
        clip=clip,
        within=torch.arange(len(clip), device=clip.device) - first[clip],
        last=(first + count - 1)[clip],
        usual=usual / usual.sum(),
        first=first,
        count=count,
        failures=blank,
        visits=blank.clone(),
    )


def bin_at(bins: ClipBins, library: MotionLibrary, clip: Tensor, time: Tensor) -> Tensor:
    """The bin of the frame closest to `time`: frame t of T lies in bin ⌊t B / T⌋ of its clip; (rows,) -> (rows,)."""
    frames, count = library.frames[clip], bins.count[clip]
    frame = torch.minimum((time * library.fps).round_().long().clamp_min_(0), frames - 1)
    return bins.first[clip] + frame.mul_(count).div_(frames, rounding_mode="floor")


# -- systems -------------------------------------------------------------------------------------------


def count_failures(
    done: Done, cursor: MotionCursor, library: MotionLibrary, bins: Write[ClipBins], *, alpha: float = 0.001
) -> None:
    """Fold the rows that failed in this tick, and all that were there, into their bins: F ← α c + (1 − α) F.

    Time limits are no failures. Counts are whole numbers until then, so that no order of adding them changes a bit.
    Where a library holds a part of its clips, bins of the others stay as they are until their clip comes back.
    """
    at = bin_at(bins, library, cursor.clip, cursor.time)
    share = alpha if library.held is None else library.held.here[bins.clip].to(bins.visits.dtype) * alpha
    for mean, rows in ((bins.failures, done.terminated), (bins.visits, torch.ones_like(done.terminated))):
        mean.lerp_(torch.zeros_like(mean).index_add_(0, at, rows.to(mean.dtype)), share)


def chances(
    bins: ClipBins, *, floor: float, kernel: int, decay: float, prior: float, among: Tensor | None = None
) -> Tensor:
    """How likely an episode begins in each bin; (bins,) float64, sums to 1.

    With failures F, visits V and R = ΣF / ΣV, the rate of a bin is r = (F + m R) / (V + m) where m is `prior` times the
    mean of V: rates of bins where hardly anybody was are drawn towards R. Smoothed, s_b = Σ_i k_i r_{b+i} with k_i ∝ `decay`^i
    for i < `kernel`, the last bin of the clip standing for those past it. P_b = u_b (`floor` + (1 − `floor`) s_b / Σ u s),
    where u is the chance of uniform sampling; without a failure, P = u. `among`: (bins,) bool, which there are to choose
    from; the others have no part in it, and are never chosen.
    """
    tiny = torch.finfo(torch.float64).tiny
    usual, failures, visits = bins.usual, bins.failures, bins.visits
    if among is not None:
        usual, failures, visits = usual * among / (usual * among).sum(), failures * among, visits * among
    few = prior * (visits.mean() if among is None else visits.sum() / among.sum())
    overall = failures.sum() / visits.sum().clamp_min(tiny)
    rate = (failures + few * overall) / (visits + few).clamp_min(tiny)
    shares = vector(tuple(decay**i for i in range(kernel)), rate.device, torch.float64)
    place = torch.arange(len(rate), device=rate.device)
    ahead = torch.minimum(place.unsqueeze(-1) + torch.arange(kernel, device=rate.device), bins.last.unsqueeze(-1))
    wanted = usual * (rate[ahead] @ (shares / shares.sum()))
    total = wanted.sum()
    return torch.lerp(torch.where(total > 0.0, wanted / total.clamp_min(tiny), usual), usual, floor)


@shares_nothing_of_rows
def draw_by_failures(
    done: Done,
    library: MotionLibrary,
    bins: ClipBins,
    rng: Rng,
    cursor: Write[MotionCursor],
    numbers: Write[SamplerNumbers],
    *,
    dt: float,
    floor: float = 0.1,
    kernel: int = 3,
    decay: float = 0.8,
    prior: float = 0.1,
    on_frames: bool = False,
) -> None:
    """Ended rows get a bin by the `chances` of bins, any moment of it, and aim for the pose one `dt` later.

    `floor` is the share of episodes that begin as with uniform sampling; `kernel` bins, each counting `decay` times as
    much as the one before it, make the rate of a bin; `prior` is a share of the visits of a mean bin. `on_frames` moves
    starts to the frame at or before them.
    """
    among = None if library.held is None else library.held.drawable[bins.clip]
    likely = chances(bins, floor=floor, kernel=kernel, decay=decay, prior=prior, among=among)
    which, where = torch.rand((2, *cursor.time.shape), generator=rng, device=rng.device).unbind(0)
    drawn = chosen_of(likely, which)
    clip = bins.clip[drawn]
    share = (bins.within[drawn] + where).div_(bins.count[clip])
    put_start(done, cursor, clip, begin_within(library, clip, share, dt=dt, on_frames=on_frames), dt=dt)
    _tell(likely, bins, library, numbers)


def _tell(likely: Tensor, bins: ClipBins, library: MotionLibrary, numbers: SamplerNumbers) -> None:
    most, at = likely.max(0)
    clip = bins.clip.take(at)  # an index in brackets that is a single number waits for the device
    if library.held is not None:
        several = library.held.drawable[bins.clip].sum().double().log()
        entropy = torch.special.entr(likely).sum() / several
        numbers.entropy.copy_(torch.where(several > 0.0, entropy, torch.ones_like(entropy)))
    elif len(likely) > 1:
        numbers.entropy.copy_(torch.special.entr(likely).sum() / math.log(len(likely)))
    numbers.top_probability.copy_(most)
    numbers.top_bin.copy_(at.double() / len(likely))
    numbers.top_clip.copy_(clip)
    numbers.top_second.copy_(bins.within.take(at) / bins.count.take(clip) * library.seconds.take(clip))


# -- by name -------------------------------------------------------------------------------------------


def refuse_numbers(count: System, draw: System, schedule: object = None) -> None:
    """SceneError for numbers of adaptive sampling that make no sense, or that change nothing."""
    where, given = "tracking.draw_motion", draw.constants
    alpha = count.constants["alpha"]
    if not 0.0 < alpha <= 1.0:
        raise SceneError(f"tracking.count_failures.alpha={alpha:g} is a share; give a number above 0, at most 1.")
    for name in ("floor", "decay"):
        if not 0.0 < given[name] <= 1.0:
            raise SceneError(f"{where}.{name}={given[name]:g} is a share; give a number above 0, at most 1.")
    if not isinstance(given["kernel"], int) or given["kernel"] < 1:
        raise SceneError(f"{where}.kernel={given['kernel']} is a number of bins; give a whole number from 1.")
    if not 0.0 <= given["prior"] < math.inf:
        raise SceneError(f"{where}.prior={given['prior']:g} is a share of visits; give 0 or a number above it.")
    usual = draw.signature.constants["decay"]
    if given["kernel"] == 1 and given["decay"] != usual:
        raise SceneError(
            f"{where}.decay={given['decay']:g} has no effect with a kernel of 1 bin; leave it at {usual:g}, or give a "
            "larger kernel."
        )


def sampling(library: MotionLibrary, mode: str, *, order: str, dt: float, on_frames: bool) -> Bundle:
    """Starts of episodes, one of "uniform", "start", "mixed" and "adaptive"; `order` as in `draw_motion`.

    Raises SceneError for another word, and for clips in turn where failures choose them.
    """
    again = any_row(Rewritten, "rows")
    if mode in START_SHARES:
        share = START_SHARES[mode]
        draw = system(draw_motion, when=again, start_share=share, order=order, dt=dt, on_frames=on_frames)
        return Bundle("sampling", systems={RESET: [draw]})
    if mode != "adaptive":
        modes = (*START_SHARES, "adaptive")
        raise SceneError(
            f"Episodes cannot begin by sampling '{mode}'; say one of {listing(modes)}.{did_you_mean(mode, modes)}"
        )
    if order != "weight":
        raise SceneError(
            f"Adaptive sampling draws clips by failures, so that order='{order}' has no effect; leave it out."
        )
    draw = system(draw_by_failures, name="draw_motion", when=again, dt=dt, on_frames=on_frames)
    count = system(count_failures)
    return Bundle(
        "sampling",
        resources=[bins_of(library), deferred(SamplerNumbers, lambda axes, seed, device: SamplerNumbers.zeros(device))],
        systems={REWARD: [count], RESET: [draw]},
        checks=[partial(refuse_numbers, count, draw)],
    )
