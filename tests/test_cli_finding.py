"""Which files `portkit verify` takes without being told."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from portkit.cli.finding import find_artifacts

OURS = {"portkit": json.dumps({"source": "a", "target": "b"})}


def write(path, metadata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"w": np.arange(6, dtype=np.float32)}, path, metadata)
    return path


def test_files_with_provenance_are_found_in_order(tmp_path):
    write(tmp_path / "b" / "two.safetensors", OURS)
    write(tmp_path / "b" / "one.safetensors", OURS)
    write(tmp_path / "a.safetensors", OURS)
    write(tmp_path / "theirs.safetensors", {"format": "pt"})
    (tmp_path / "notes.txt").write_text("portkit")
    found = find_artifacts(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in found.artifacts]
    assert (names, found.broken) == (
        ["a.safetensors", "b/one.safetensors", "b/two.safetensors"],
        (),
    )


@pytest.mark.parametrize(
    "folder", [".git", ".cache/deep", "env/lib/site-packages/x", "node_modules", "__pycache__"]
)
def test_hidden_and_installed_folders_are_passed_over(tmp_path, folder):
    write(tmp_path / folder / "w.safetensors", OURS)
    assert find_artifacts(tmp_path).artifacts == ()


def test_virtual_environments_are_passed_over_by_their_mark(tmp_path):
    write(tmp_path / "env" / "share" / "w.safetensors", OURS)
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    assert find_artifacts(tmp_path).artifacts == ()


def test_a_shard_is_not_an_artifact_of_its_own(tmp_path):
    write(tmp_path / "w-00001-of-00002.safetensors", OURS)
    assert find_artifacts(tmp_path).artifacts == ()


def test_a_damaged_file_of_ours_is_a_complaint(tmp_path):
    path = write(tmp_path / "w.safetensors", OURS)
    path.write_bytes(path.read_bytes()[:-3])
    found = find_artifacts(tmp_path)
    assert found.artifacts == ()
    assert [problem.where for problem in found.broken] == [str(path)]


def test_a_damaged_file_of_others_is_none_of_our_business(tmp_path):
    Path(tmp_path / "w.safetensors").write_bytes(b"nothing of the sort")
    assert find_artifacts(tmp_path) == find_artifacts(tmp_path / "nowhere")
