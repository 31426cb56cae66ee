"""Makes the moving picture of the README: the policy that ships, played, with the reference as its ghost.

    python -m docs.tools.make_film [--film FILM] [--out docs/pictures/robot.webp]

With `--film`, of a film that is there. Half a minute; the film of `engine.run --play` at a quarter of its frames.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import av
from PIL import Image

SIZE = (480, 360)
EVERY = 4  # frames of the film per frame of the picture


def play(folder: Path) -> Path:
    """The film of the policy that ships."""
    command = [sys.executable, "-m", "engine.run", "scenes/motion_tracking.py", "--play", "--out", str(folder)]
    subprocess.run(command, check=True)
    return folder / "film.mp4"


def shrink(film: Path, out: Path) -> None:
    """Write every fourth frame, smaller, as one moving picture."""
    with av.open(str(film)) as container:
        rate = float(container.streams.video[0].average_rate or 50)
        images = [frame.to_image() for frame in container.decode(video=0)][::EVERY]
    small: list[Image.Image] = [image.resize(SIZE) for image in images]
    duration = round(1000 * EVERY / rate)
    small[0].save(out, save_all=True, append_images=small[1:], duration=duration, loop=0, quality=55, method=6)


def main() -> None:
    """Play, shrink, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/robot.webp"))
    parser.add_argument("--film", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shrink(given.film or play(Path(folder)), given.out)
    print(f"{given.out}: {given.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
