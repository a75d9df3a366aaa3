"""Check the documentation against the code: links lead somewhere, every setting is described, every page is linked."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from mixllm.config import Config

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)")
_FENCE = re.compile(r"```.*?```", re.DOTALL)


def main() -> int:
    problems = [*broken_links(), *undocumented_settings(), *unreachable_pages()]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"docs: {len(PAGES)} pages, {len(problems)} problems")
    return 1 if problems else 0


def broken_links() -> Iterator[str]:
    """Yield each relative link that leads nowhere."""
    for page in PAGES:
        for target, _ in _LINK.findall(_FENCE.sub("", page.read_text())):
            if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
                yield f"{page.relative_to(ROOT)}: link to {target} leads nowhere"


def undocumented_settings() -> Iterator[str]:
    """Yield each key of the configuration that ``docs/configuration.md`` does not name."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    for key in sorted(set(_keys(Config))):
        if f"`{key}`" not in text:
            yield f"docs/configuration.md: setting `{key}` is not described"


def unreachable_pages() -> Iterator[str]:
    """Yield each page of ``docs/`` that the README does not link to."""
    readme = (ROOT / "README.md").read_text()
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        if name.startswith("docs/") and f"({name})" not in readme:
            yield f"README.md: no link to {name}"


def _keys(section: Any) -> Iterator[str]:
    hints = get_type_hints(section)
    for field in msgspec.structs.fields(section):
        yield field.encode_name
        for kind in (hints[field.name], *get_args(hints[field.name])):
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                yield from _keys(kind)


if __name__ == "__main__":
    sys.exit(main())
