"""Every program under examples/ runs as a user would run it."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET


def test_the_demo_answers_and_draws_itself(repository, tmp_path):
    picture = tmp_path / "images" / "demo.svg"
    result = subprocess.run(
        [sys.executable, repository / "examples" / "demo.py", "--svg", picture],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        # A terminal that has neither arrows nor umlauts must not end it.
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    answers = [line.partition(" ? ")[2] for line in result.stdout.splitlines() if " ? " in line]
    assert len(answers) == 4
    assert all(answers)
    drawn = "".join(ET.parse(picture).getroot().itertext()).replace("\u00a0", " ")
    assert "German" in drawn
    assert "→" in drawn
