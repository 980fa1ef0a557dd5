"""The built page that ships: what it may hold, how large it is, and that its sources still give it byte for byte."""

import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

PAGE = Path(str(resources.files("sightline.serving") / "page"))
SOURCES = Path(__file__).parents[2] / "web"
UNREACHED = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")
CODE_BYTES = 400_000


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_document_has_no_script_or_style_of_its_own_and_names_files_of_the_bundle_alone():
    document = (PAGE / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\ssrc=)", document) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", document) == []
    named = re.findall(r'(?:src|href)="([^"]*)"', document)
    assert named
    assert [name for name in named if not (name.startswith("./assets/") and (PAGE / name).is_file())] == []


def test_the_code_is_small():
    assert sum(len(data) for name, data in files(PAGE).items() if name.endswith((".js", ".css"))) < CODE_BYTES


def test_the_licence_of_everything_in_the_bundle_ships_with_it():
    notices = (PAGE / "third-party-notices.md").read_text()
    for name in (
        "@base-ui/react",
        "eventsource-parser",
        "idb-keyval",
        "lucide-react",
        "react-dom",
        "valibot",
        "zustand",
    ):
        assert f"## {name} - " in notices


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on this machine: install Node.js to rebuild the page")
@pytest.mark.skipif(not SOURCES.is_dir(), reason="no sources of the page beside these tests")
def test_the_sources_pass_their_checks_and_give_the_bundle_byte_for_byte(tmp_path):
    web = tmp_path / "web"
    shutil.copytree(SOURCES, web, ignore=shutil.ignore_patterns("node_modules"))
    installed = run(["npm", "ci"], web)
    if installed.returncode and any(code in installed.stderr for code in UNREACHED):
        pytest.skip("the npm registry cannot be reached from this machine")
    assert installed.returncode == 0, installed.stderr
    for command in (["npm", "run", "check"], ["npm", "test"], ["npm", "run", "build", "--", "--outDir", "../page"]):
        done = run(command, web)
        assert done.returncode == 0, done.stdout + done.stderr
    built, shipped = files(tmp_path / "page"), files(PAGE)
    assert sorted(built) == sorted(shipped)
    assert [name for name in built if built[name] != shipped[name]] == []


def run(command, folder):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
