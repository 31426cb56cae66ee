"""MCAP files of episodes hold every column of the replay, frames of all bodies and the model, or are refused in a sentence."""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import numpy as np
import pytest
from mcap.reader import make_reader

from engine.errors import SceneError
from engine.protocol.display import View
from engine.runner.mcap_file import write_mcap
from engine.runner.replay import EpisodeReplay
from engine.runner.replay_command import main, open_replay
from engine.runner.run import main as train
from tests.helpers import REPOSITORY

SCENE = str(REPOSITORY / "scenes" / "motion_tracking.py")
TINY = ("--robot", "humanoid", "--clip", "squat", "--num-envs", "4", "--learning.hidden", "16", "--no-film")
SHORT = ("--iterations", "1", "--checkpoint-every", "1", "--learning.horizon", "12", "--physics-threads", "1")
NUMBERS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


@attrs.frozen
class Written:
    """An MCAP file, and the columns of the same episode by address."""

    file: Path
    columns: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve ticks of motion tracking, in which every row soon fails."""
    folder = tmp_path_factory.mktemp("tracking") / "run"
    fails = ("--set", "tracking.terminate.end_effector_height.most=0.01")
    assert train([SCENE, *TINY, *SHORT, *fails, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def written(run: Path) -> Written:
    """The last failure that the run logged."""
    failure, home = open_replay(run, print)[0].failures[-1], run.parent
    which = [str(run), "--row", str(failure.row), "--tick", str(failure.tick), "--no-film", "--no-plots"]
    assert main([*which, "--out", str(home), "--mcap", str(home / "fall.mcap")]) == 0
    (saved,) = home.glob("row_*/columns.npz")
    return Written(home / "fall.mcap", dict(np.load(saved, allow_pickle=False)))


def messages(file: Path) -> Iterator[tuple[str, dict[str, Any], int, dict[str, Any]]]:
    """Topic, schema, time in ns and content of every message."""
    with open(file, "rb") as opened:
        for schema, channel, message in make_reader(opened, validate_crcs=True).iter_messages():
            assert schema is not None and schema.encoding == "jsonschema" and channel.message_encoding == "json"
            yield channel.topic, json.loads(schema.data), message.log_time, json.loads(message.data)


def numbers(values: Any) -> np.ndarray:
    array = np.array(values)
    if array.dtype.kind != "U":
        return array
    return np.array([NUMBERS.get(each, each) for each in array.ravel()], float).reshape(array.shape)


def test_every_column_of_the_replay_is_in_the_file_to_the_bit_as_its_schema_says(written: Written):
    columns = dict(written.columns)
    ticks = columns.pop("tick")
    found: dict[str, list[Any]] = {}
    for topic, schema, time, content in messages(written.file):
        if topic == "/tf":
            continue
        jsonschema.validate(content, schema)
        assert time == round(content["tick"] * 0.02 * 1e9)
        for name, values in content.items():
            found.setdefault(f"{topic.strip('/').replace('/', '.')}.{name}", []).append(values)
    assert {a for a in found if not a.endswith(".tick")} == {a for a in columns if not a.startswith("labels ")}
    for address, values in found.items():
        expected = ticks if address.endswith(".tick") else columns[address]
        np.testing.assert_array_equal(numbers(values).astype(expected.dtype), expected, err_msg=address)


def test_a_schema_says_unit_meaning_and_labels_of_a_column(written: Written):
    schemas = {topic: schema for topic, schema, _, _ in messages(written.file)}
    joints = schemas["/robot/DofState"]["properties"]["position"]
    assert "(rad)" in joints["description"] and joints["type"] == "array"
    assert len(joints["labels"]) == joints["minItems"] == joints["maxItems"] and "right_knee" in " ".join(
        joints["labels"]
    )
    assert schemas["/robot/Done"]["description"].startswith("Rows whose episode ended in this tick")
    assert schemas["/robot/Done"]["properties"]["terminated"]["type"] == "boolean"


def test_frames_are_the_bodies_of_the_robot_in_the_world_and_its_model_is_attached(written: Written):
    columns = written.columns
    names = list(dict.fromkeys(each.rpartition(".")[0] for each in columns["labels robot.BodyState.position"]))
    seen = [content["transforms"] for topic, _, _, content in messages(written.file) if topic == "/tf"]
    for sample, transforms in enumerate(seen):
        at = {each["child_frame_id"]: each for each in transforms}
        assert {each["parent_frame_id"] for each in transforms} == {"world"}
        for body, name in enumerate(names):
            place = [at[name]["translation"][axis] for axis in "xyz"]
            turn = [at[name]["rotation"][axis] for axis in "wxyz"]
            np.testing.assert_array_equal(np.float32(place), columns["robot.BodyState.position"][sample, body])
            np.testing.assert_array_equal(np.float32(turn), columns["robot.BodyState.rotation"][sample, body])
    assert len(seen) == len(columns["tick"])
    with open(written.file, "rb") as opened:
        reader = make_reader(opened)
        (model,), (about,) = reader.iter_attachments(), reader.iter_metadata()
    bodies = [each.get("name") for each in ElementTree.fromstring(model.data).iter("body")]
    assert model.name.endswith(".xml") and bodies == names
    assert (
        about.metadata["last tick"] == str(columns["tick"][-1]) and "end_effector_height" in about.metadata["ended by"]
    )


def test_what_is_not_finite_is_a_word_and_a_scene_without_a_rate_has_a_second_per_tick(tmp_path: Path):
    values = np.array([[1.5, np.nan], [np.inf, -np.inf]], np.float32)
    episode = EpisodeReplay(
        0, np.array([3, 4]), {"t.Thing.value": values}, True, ("why",), "", labels={"t.Thing.value": ("a", "b")}
    )
    write_mcap(tmp_path / "a.mcap", episode, View())
    ((_, schema, first, one), (_, _, second, other)) = messages(tmp_path / "a.mcap")
    assert one["value"] == [1.5, "NaN"] and other["value"] == ["Infinity", "-Infinity"]
    assert (first, second) == (3 * 10**9, 4 * 10**9)
    jsonschema.validate(one, schema)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--mcap", "fall.json", "--row", "0", "--tick", "3"],
            "--mcap fall.json ends in '.json'; say --mcap fall.mcap",
        ),
        (["--mcap", "fall.mcap"], "--mcap writes one episode; say which: .* --row R --tick T --mcap fall.mcap"),
        (["--mcap", "there.mcap", "--row", "0", "--tick", "3"], "there.mcap would be replaced. Name another file"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(
    run: Path,
    tmp_path: Path,
    words: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.mcap").write_bytes(b"mine")
    assert main([str(run), *words]) == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert [each.name for each in tmp_path.iterdir()] == ["there.mcap"]


def test_without_the_library_a_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mcap.writer", None)
    episode = EpisodeReplay(0, np.array([0]), {}, True, (), "")
    with pytest.raises(SceneError, match=r"pip install 'lockstep-sim\[mcap\]'"):
        write_mcap(tmp_path / "a.mcap", attrs.evolve(episode), View())
    assert not list(tmp_path.iterdir())
