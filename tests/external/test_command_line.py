"""scripts/methods.py: the list of methods, the check of one, and the template of a new one."""

import pytest
import yaml

from isosweep.config.check import ConfigError
from isosweep.config.methods import composed_method, method_names
from isosweep.errors import InputError
from isosweep.external import command_line
from isosweep.external.template import template


def test_every_method_that_ships_composes_and_says_whether_it_was_tried(capsys):
    assert command_line.main(["list"]) == 0
    told = capsys.readouterr().out
    assert {"visual-hull", "poisson", "neus-original", "nerfstudio", "nerfbaselines", "2dgs"} <= set(
        method_names()
    )
    for name in method_names():
        (line,) = [line for line in told.splitlines() if line.startswith(f"{name} ")]
        assert "its file is wrong" not in line
        assert ("not tried" in line) == (composed_method(name).tried is None)
        assert composed_method(name).name == name
        assert composed_method(name).source


def test_a_check_says_what_is_missing_and_what_to_do(capsys, tmp_path):
    assert command_line.main(["check", "visual-hull"]) == 0
    assert "visual-hull can run here (tried: " in capsys.readouterr().out
    assert command_line.main(["check", "neus-original", f"method.folder={tmp_path / 'none'}"]) == 1
    told = capsys.readouterr().out
    assert f"missing  folder {tmp_path / 'none'}: clone https://github.com/Totoro97/NeuS there" in told
    assert "missing  environment venv" in told
    assert "neus-original cannot run here yet (tried: " in told
    with pytest.raises(ConfigError, match="there is no method 'visual_hull'; did you mean 'visual-hull'"):
        command_line.main(["check", "visual_hull"])
    with pytest.raises(ConfigError, match=r"no key 'method\.stepz'; did you mean 'method\.steps'"):
        command_line.main(["check", "visual-hull", "method.stepz=3"])


def test_a_template_is_a_method_with_questions(tmp_path, monkeypatch, capsys):
    code = tmp_path / "Their Method"
    (code / ".git").mkdir(parents=True)
    (code / "launch.py").write_text("")
    text = template("their-method", code)
    node = yaml.safe_load(text)
    assert node["commands"][0].startswith("{python} launch.py --data {data}")
    assert all(f" {number}. " in text or f"{number}. " in text for number in range(1, 10))
    with pytest.raises(InputError, match="is no folder"):
        command_line.main(["add", str(tmp_path / "nothing")])
    with pytest.raises(InputError, match=r"visual-hull\.yaml exists"):
        command_line.main(["add", str(code), "--name", "visual-hull"])
    (tmp_path / "method").mkdir()
    monkeypatch.setattr(command_line, "CONF", tmp_path)
    assert command_line.main(["add", str(code)]) == 0
    assert "their-method.yaml\nanswer its questions" in capsys.readouterr().out
    assert (tmp_path / "method" / "their-method.yaml").read_text() == text
