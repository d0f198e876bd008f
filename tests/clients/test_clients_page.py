"""docs/clients.md is executed: its settings, its commands, its programs, and what they print."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoker.check import run_check
from tests.cli.running import PATIENCE, Running, free_port
from tests.clients.places import ROOT, mlserver, program

PAGE = ROOT / "docs" / "clients.md"
UP = "stoker up stoker.yaml\n"


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, its text, the line it begins on, the heading above."""

    language: str
    text: str
    line: int
    heading: str


@dataclass(frozen=True, slots=True)
class Example:
    """Something to run, and what it is said to print (None: nothing is said)."""

    code: Block
    prints: str | None


def blocks(page: str) -> list[Block]:
    """All fenced blocks. A fence that is not closed, or has no language, is an error."""
    found: list[Block] = []
    opened: tuple[str, int] | None = None
    text: list[str] = []
    heading = ""
    for number, line in enumerate(page.splitlines(keepends=True), 1):
        if not line.startswith("```"):
            text.append(line)
            if opened is None and line.startswith("## "):
                heading = line[3:].strip()
        elif opened is None:
            assert line[3:].strip(), f"line {number}: a block without a language"
            opened, text = (line[3:].strip(), number), []
        else:
            assert line.strip() == "```", f"line {number}: a block within a block"
            found.append(Block(opened[0], "".join(text), opened[1], heading))
            opened = None
    assert opened is None, f"line {opened}: never closed"
    return found


def examples(found: list[Block]) -> list[Example]:
    """What can be run, each with the text block that follows it."""
    following = [*found[1:], None]
    return [
        Example(block, after.text if after is not None and after.language == "text" else None)
        for block, after in zip(found, following, strict=True)
        if block.language in ("sh", "python")
    ]


def pattern(prints: str) -> re.Pattern[str]:
    """``...`` stands for anything, also for several lines."""
    parts = [re.escape(part) for part in prints.rstrip().split("...")]
    return re.compile(r"[\s\S]*?".join(parts) + r"\s*")


BLOCKS = blocks(PAGE.read_text())
EXAMPLES = examples(BLOCKS)
HTTPS = "HTTPS"  # the one section whose settings are for all models
(CERTIFICATE, *_) = [b for b in BLOCKS if b.heading == HTTPS and b.language == "sh"]


def merged(secure: bool) -> dict[str, Any]:
    """The settings blocks as one document, as the page says they can be."""
    document: dict[str, Any] = {}
    for block in BLOCKS:
        if block.language == "yaml" and (block.heading == HTTPS) == secure:
            for part, settings in yaml.safe_load(block.text).items():
                document.setdefault(part, {}).update(settings)
    return document


class Page:
    """A Stoker with the page's models, and the page's addresses led to it."""

    def __init__(self, folder: Path, running: Running, own: int = 0) -> None:
        self.folder = folder
        self.running = running
        self._ports = {":8080": running.port, ":8081": running.admin_port, ":8090": own}

    def here(self, text: str) -> str:
        """The page's ports are those of a Stoker that has the machine to itself."""
        for port, real in self._ports.items():
            text = text.replace(port, f":{real}")
        admin = f"--admin 127.0.0.1:{self.running.admin_port}"  # else the default, :8081
        return re.sub(r"\bstoker (status|explain)\b", rf"stoker \1 {admin}", text)


def run(language: str, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a reader does with a block, in ``folder``. No progress bars: the page is for eyes."""
    (folder / ".curlrc").write_text("silent\nshow-error\n")
    shell = ["bash", "-euo", "pipefail", "-c", code]
    return subprocess.run(
        shell if language == "sh" else [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "CURL_HOME": str(folder), "COLUMNS": "200"},
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def activated() -> Iterator[None]:
    """As after activating the environment; all that the page names is there."""
    for name in ("curl", "h2load", "openssl", "wrk"):
        program(name)
    mlserver()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        yield


def here(document: dict[str, Any]) -> dict[str, Any]:
    """Models that run in the repository's root, wherever the settings file is."""
    for model in document["models"].values():
        model["directory"] = str(ROOT)
    return document


@pytest.fixture(scope="module")
def page(activated: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """``stoker up`` with the page's settings; only ports and the folder are this test's."""
    folder = tmp_path_factory.mktemp("page")
    document, own = here(merged(secure=False)), free_port()
    document["stoker"]["listeners"] = {"own": f"127.0.0.1:{own}"}
    with Running(folder, document) as running:
        yield Page(folder, running, own)


def make_certificate(folder: Path) -> None:
    """As the page says; once in a folder, or a running Stoker would get another one."""
    assert CERTIFICATE.text.startswith("openssl ")
    done = run("sh", CERTIFICATE.text, folder)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def secure_page(activated: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The same with the settings for HTTPS, in a folder that has the certificate."""
    folder = tmp_path_factory.mktemp("secure")
    make_certificate(folder)
    with Running(folder, here(merged(secure=True))) as running:
        yield Page(folder, running)


def test_no_block_is_left_out() -> None:
    """Each is settings, something to run, or what the block before it prints."""
    for before, block in zip([None, *BLOCKS], BLOCKS, strict=False):
        assert block.language in ("yaml", "sh", "python", "text"), block
        if block.language == "text":
            assert before is not None
            assert before.language in ("sh", "python"), f"line {block.line}"
    assert [e.code.text for e in EXAMPLES].count(UP) == 1
    assert {block.language for block in BLOCKS} == {"yaml", "sh", "python", "text"}


def test_each_settings_block_is_right_by_itself(tmp_path: Path) -> None:
    """A reader can save any of them as stoker.yaml."""
    make_certificate(tmp_path)
    for block in BLOCKS:
        if block.language == "yaml":
            (tmp_path / "stoker.yaml").write_text(block.text)
            out = io.StringIO()
            assert run_check(str(tmp_path / "stoker.yaml"), out, {}) == 0, out.getvalue()
            assert "1 model, nothing wrong" in out.getvalue()


@pytest.mark.parametrize(
    "example",
    [e for e in EXAMPLES if e.code.text != UP and e.code is not CERTIFICATE],  # fixtures' work
    ids=lambda e: f"line {e.code.line}",
)
def test_an_example_does_what_the_page_says(
    example: Example, request: pytest.FixtureRequest
) -> None:
    """It runs without an error and prints what stands below it."""
    secure = example.code.heading == HTTPS
    page: Page = request.getfixturevalue("secure_page" if secure else "page")
    code = page.here(example.code.text)
    done = run(example.code.language, code, page.folder)
    said = f"{code}\n--- printed\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, said
    if example.prints is not None:
        printed = done.stdout.replace("\r\n", "\n")
        expected = page.here(example.prints)
        assert pattern(expected).fullmatch(printed), f"{said}\n--- expected\n{expected}"


@pytest.mark.parametrize("folder", ["llama_cpp", "mlserver", "plain", "websocket"])
def test_what_the_examples_pages_say_works_too(page: Page, folder: str, tmp_path: Path) -> None:
    """The requests in examples/FOLDER/README.md are answered."""
    asked = 0
    for block in re.findall(r"^```\w*\n(.*?)^```$", page_of(folder), re.M | re.S):
        code = page.here(block)
        language = "sh" if block.startswith("curl ") else "python"
        if not block.startswith(("curl ", "from ")):
            continue
        asked += 1
        (tmp_path / "README.md").write_text("something to upload")
        done = run(language, code.replace("curl ", "curl --fail "), tmp_path)
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
        assert done.stdout
    assert asked == 1


def page_of(folder: str) -> str:
    return (ROOT / "examples" / folder / "README.md").read_text()


def test_a_wrong_page_is_noticed() -> None:
    """Blocks without language or end, and other words than expected, do not pass."""
    for wrong in ("```\nx\n```\n", "```sh\nx\n"):
        with pytest.raises(AssertionError):
            blocks(wrong)
    assert pattern("a...c\n").fullmatch("a\nb\nc\n")
    assert not pattern("a...c\n").fullmatch("a\nb\nd\n")
    assert not pattern("a\n").fullmatch("a\nb\n")
