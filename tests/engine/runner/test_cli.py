"""The console script `lockstep`: commands of the engine and of other packages, and packages that are broken."""

import sys
from pathlib import Path

import pytest

from engine.runner.cli import main


def install(folder: Path, package: str, points: str, code: str = "") -> None:
    """A package as pip would install it: its module, and its entry points."""
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lockstep.commands]\n{points}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path in which packages can be installed."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


GREET = '''
def greet(arguments):
    """Greet whoever is named.

    More about it.
    """
    print("hello", *arguments)
    return 3
'''


def test_without_a_command_it_lists_those_of_every_package_with_a_line_each(site: Path, capsys):
    install(site, "greeter", "greet = greeter:greet", GREET)
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["greet", "Greet whoever is named."] in [line.split(maxsplit=1) for line in lines]
    assert any(line.split()[:4] == ["run", "Train", "a", "scene,"] for line in lines)
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert names == sorted(names) and {"curve", "debug", "greet", "replay", "run"} <= set(names)
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_a_command_of_another_package_gets_its_words_and_gives_the_status(site: Path, capsys):
    install(site, "greeter", "greet = greeter:greet", GREET)
    assert main(["greet", "--loud", "you"]) == 3
    assert capsys.readouterr().out == "hello --loud you\n"


def test_a_command_of_the_engine_runs(capsys):
    assert main(["run", "nothing.py"]) == 2
    assert "nothing.py" in capsys.readouterr().err


def test_a_package_that_cannot_be_imported_is_named_and_holds_up_no_other(site: Path, capsys):
    install(site, "broken", "crack = broken:crack", "import nowhere_to_be_found")
    install(site, "greeter", "greet = greeter:greet", GREET)
    assert main(["greet"]) == 3
    assert main(["crack"]) == 2
    assert capsys.readouterr().err == (
        "error: The command 'crack' of the package 'broken' cannot be imported from broken:crack (ModuleNotFoundError: "
        "No module named 'nowhere_to_be_found'). Reinstall that package, or uninstall it.\n"
    )
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "! The command 'crack' of the package 'broken' cannot be imported" in out
    assert "Greet whoever is named." in out


def test_two_packages_with_a_command_of_one_name_are_named(site: Path, capsys):
    install(site, "greeter", "greet = greeter:greet", GREET)
    install(site, "other", "greet = other:greet", GREET)
    assert main(["greet"]) == 2
    assert capsys.readouterr().err == (
        "error: The command 'greet' is brought by the package 'greeter' and by the package 'other'; uninstall one of them.\n"
    )


def test_nobody_takes_over_a_command_of_the_engine(site: Path, capsys):
    install(site, "thief", "run = thief:run", GREET.replace("greet", "run"))
    assert main(["run", "scenes/cartpole.py"]) == 2
    assert "is brought by the package 'lockstep-sim' and by the package 'thief'" in capsys.readouterr().err


def test_something_that_is_no_function_is_refused(site: Path, capsys):
    install(site, "numbers_only", "five = numbers_only:five", "five = 5")
    assert main(["five"]) == 2
    assert "numbers_only:five, which is not a function" in capsys.readouterr().err


def test_a_misspelt_command_names_the_nearest(capsys):
    assert main(["rnu"]) == 2
    assert capsys.readouterr().err == "error: There is no command 'rnu'. Did you mean run?\n"
    assert main(["xyzzy"]) == 2
    assert "`lockstep --help` lists them" in capsys.readouterr().err
