# SPDX-License-Identifier: Apache-2.0
"""What the site takes from outside of docs/, pages that may not be there yet, and the one script from another host.

Pages link to files of the repository by relative paths, as a reader of the repository follows them. The hooks put
those that are read (`TAKEN`) on the site and turn the links; a link to any other file outside of docs/ stays as it is
and fails the strict build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
TAKEN = (
    ("benchmarks/results/*.md", "benchmarks"),
    ("examples/**/*.py", "examples"),
    ("examples/*.sh", "examples"),
    ("ARCHITECTURE.md", "about"),
    ("CONTRIBUTING.md", "about"),
    ("CHANGELOG.md", "about"),
)
"""Files of the repository, and the folder of the site that they are put into."""
OPTIONAL = ("gallery.md", "likeness.md", "reports.md")
"""Pages that are left out of the navigation as long as they are not written."""
RESULTS = "RESULTS"
"""Stands in the navigation for all measurements."""
SHIM = "https://unpkg.com/iframe-worker/shim"
"""What the theme loads for search without a server; docs/assets has it, so that no request leaves the site."""
_LINK = re.compile(r"(\]\()([^)\s#]+)")


def _site_paths() -> dict[str, str]:
    """Give path in the repository -> path on the site."""
    paths: dict[str, str] = {}
    for pattern, folder in TAKEN:
        for file in sorted(ROOT.glob(pattern)):
            path = file.relative_to(ROOT).as_posix()
            below = path.removeprefix("examples/") if folder == "examples" else file.name
            paths[path] = f"{folder}/{below.lower() if folder == 'about' else below}"
    return paths


SITE = _site_paths()
REPOSITORY = {there: here for here, there in SITE.items()}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in the measurements, and leave out pages that are not written yet."""
    assert config.nav is not None, "mkdocs.yml has a navigation"
    config.nav = [_trimmed(item) for item in config.nav]
    config.nav = [item for item in config.nav if not (isinstance(item, dict) and [] in item.values())]
    return config


def _trimmed(item: Any) -> Any:
    if isinstance(item, list):
        return [_trimmed(i) for i in item if not _is_unwritten(i)]
    if isinstance(item, dict):
        return {title: _measurements() if value == RESULTS else _trimmed(value) for title, value in item.items()}
    return item


def _is_unwritten(item: Any) -> bool:
    path = next(iter(item.values())) if isinstance(item, dict) else item
    return path in OPTIONAL and not (ROOT / "docs" / path).is_file()


def _measurements() -> list[dict[str, str]]:
    """List the pages of benchmarks/results by their titles."""
    rows: list[dict[str, str]] = []
    for here, there in SITE.items():
        if there.startswith("benchmarks/"):
            title = (ROOT / here).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
            rows.append({title: there})
    return rows


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files from outside."""
    for here, there in SITE.items():
        if files.get_file_from_path(there) is None:
            files.append(File.generated(config, there, abs_src_path=str(ROOT / here)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to where they are on the site."""
    del config, files
    here = page.file.src_uri
    source = REPOSITORY.get(here, f"docs/{here}")

    def turned(match: re.Match[str]) -> str:
        target = match[2]
        if ":" in target or target.startswith("/"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        goal = SITE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        return match[0] if goal is None else match[1] + posixpath.relpath(goal, posixpath.dirname(here) or ".")

    return _LINK.sub(turned, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Load what the theme would load from another host from the site itself."""
    del config
    return output.replace(
        SHIM, posixpath.relpath("assets/iframe-worker.js", posixpath.dirname(page.file.dest_uri) or ".")
    )


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """Do the same for the page of what is not there, which is shown at any address."""
    del template_name, config
    return output_content.replace(SHIM, "/assets/iframe-worker.js")
