"""The page on randomisation: its tables hold every set, term and field there is, and its terms can be built."""

import re

from scenes.robots.humanoid import humanoid
from scenes.tasks.randomisation import sets
from systems.physics.contract import FIELDS
from systems.randomization import randomization
from systems.robots.model import build_robot
from tests.docs.pages import DOCS, fences, namespace

PAGE = "randomisation.md"
ROWS = [
    line.split("|")[1:-1] for line in (DOCS / PAGE).read_text(encoding="utf-8").splitlines() if line.startswith("| `")
]


def test_every_set_is_listed_with_its_terms() -> None:
    listed = {row[0].strip(" `"): set(re.findall(r"[a-z_]+", row[1])) for row in ROWS if len(row) == 2}
    known = sets(("foot",), ("torso",), ("root",))
    assert listed.keys() == known.keys()
    common = set(known["mjlab_velocity"])
    for name, terms in known.items():
        assert set(terms) - (common if name == "go1_velocity" else set()) <= listed[name], name


def test_every_field_is_listed() -> None:
    assert {name for row in ROWS if len(row) == 4 for name in re.findall(r"`(\w+)`", row[0])} == FIELDS.keys()


def test_the_terms_of_the_page_can_be_built() -> None:
    names = namespace()
    for fence in fences(PAGE, "python"):
        fence.run(names)
    bundle = randomization(names["terms"], build_robot(humanoid()))
    assert {"knees", "payload", "grip", "weight", "encoders"} <= {each.name for each in bundle.systems["RESET"]}
