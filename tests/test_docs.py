"""The documentation is true: generated pages are up to date, links lead somewhere."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_commands_page_is_the_programs_help():
    spec = importlib.util.spec_from_file_location("command_help", ROOT / "tools" / "command_help.py")
    command_help = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command_help)
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == command_help.document(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


def test_the_training_page_names_every_key_of_a_recipe():
    import sightline.training.recipe  # noqa: F401  (its sections)
    from sightline.training.sections import Section, keys_of

    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", page)) | set(re.findall(r"`(\w+):", page))
    missing = set(keys_of(Section)) - named - {"stages", "name", "train"}
    assert not missing
