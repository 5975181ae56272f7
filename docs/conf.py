"""How the pages are built: ``make docs``."""

import re
from dataclasses import is_dataclass
from importlib import import_module
from os.path import normpath, relpath
from pathlib import Path
from shutil import copyfile
from textwrap import indent
from typing import Any, get_type_hints

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

from lora_dropout import __version__

project = "lora-dropout"
author = "The lora-dropout developers"
copyright = f"2026, {author}"
release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

html_theme = "furo"
html_math_renderer = "mathml"
html_title = "LoRA Dropout, measured"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sourcelink = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
# Notebooks are shown with the outputs that they were committed with: `make notebooks`.
nb_execution_mode = "off"
nb_merge_streams = True

autodoc_default_options = {"exclude-members": "set"}
# What a method of torch's or NumPy's is said to do is said there.
autodoc_inherit_docstrings = False
autodoc_typehints = "signature"
# Arrays are named as the code names them, and not by what the names stand for.
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Real": "Real"}
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
# Types in signatures are shown; those of other libraries, and private ones, have no page.
nitpick_ignore_regex = [(r"py:(class|exc|data|obj|attr)", r".*")]

HERE = Path(__file__).parent
API = HERE / "reference" / "api.md"
#: Pages that stand elsewhere in the checkout, by what they are called here.
TAKEN = {
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "recipes.md": "recipes/README.md",
    **{
        f"notebooks/{notebook.name}": f"notebooks/{notebook.name}"
        for notebook in (HERE.parent / "notebooks").glob("*.ipynb")
    },
}
#: A link that leads neither outside nor to a heading of the same page, and its file.
RELATIVE_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]*)")
#: A picture of a page, with where it lies.
PICTURE = re.compile(r'<img [^>]*src="([^"]+)"[^>]*>')
#: Commands of a module's docstring, one a line.
COMMANDS = re.compile(r"^(?:python|torchrun) .*\n(?:.+\n)*", re.MULTILINE)
#: A flag in the words of a setting.
FLAG = re.compile(r"(?<![\w`-])--[a-z][\w-]*")


def _take_pages() -> None:
    """Copy what stands elsewhere: Sphinx reads one folder alone."""
    for name, place in TAKEN.items():
        copyfile(HERE.parent / place, HERE / name)


def _lead_links(_app: Sphinx, name: str, source: list[str]) -> None:
    """Lead links of a page, which are right in the checkout, to what was taken."""
    page = HERE / f"{name}.md"
    if not page.exists():
        return
    stands = HERE.parent / TAKEN.get(f"{name}.md", f"docs/{name}.md")
    taken = {HERE.parent / place: HERE / shown for shown, place in TAKEN.items()}

    def led(link: re.Match[str]) -> str:
        target = Path(normpath(stands.parent / link[1]))
        if stands == page and target not in taken:
            return link[0]
        return f"]({Path(relpath(taken.get(target, target), page.parent)).as_posix()}"

    source[0] = RELATIVE_LINK.sub(led, source[0])


def _plain_settings() -> None:
    """Take from the types of settings what only the command line reads of them."""
    for name in re.findall(r"^ +(probes\.[\w.]+)$", API.read_text(encoding="utf-8"), re.MULTILINE):
        for kind in vars(import_module(name)).values():
            if isinstance(kind, type) and is_dataclass(kind) and kind.__name__.endswith("Settings"):
                for one in (*kind.__mro__[:-1], kind.__init__):
                    types = get_type_hints(one)
                    one.__annotations__ = {own: types[own] for own in one.__annotations__}


def _without_page(_app: Sphinx, _env: Any, node: Any, shown: Any) -> Any:
    """Show a function that exists and has no page as its name; of others Sphinx warns."""
    if node.get("refdomain") != "py" or node.get("reftype") not in ("func", "meth", "mod"):
        return None
    target = node["reftarget"].rstrip("()")
    inside = ".".join(filter(None, (node.get("py:module"), node.get("py:class"), target)))
    beside = ".".join(filter(None, (node.get("py:module"), target)))
    return shown if any(map(_exists, (target, inside, beside))) else None


def _exists(name: str) -> bool:
    """Whether a dotted name is a module or stands in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def _inline_formula(translator: Any, node: Any) -> None:
    """Write a formula as MathML, which browsers draw without a script or a network."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _formula(translator: Any, node: Any) -> None:
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def _commands(
    _app: Sphinx, what: str, _name: str, _it: Any, _options: Any, lines: list[str]
) -> None:
    """Show the commands of a module's docstring one a line, with both of a flag's hyphens."""
    if what == "module":
        lines[:] = COMMANDS.sub(
            lambda found: ".. code-block:: sh\n\n" + indent(found.group(), "   "),
            "\n".join([*lines, ""]),
        ).splitlines()


def _before_napoleon(
    _app: Sphinx, what: str, name: str, _it: Any, _options: Any, lines: list[str]
) -> None:
    """Keep the words of an attribute: napoleon takes what precedes a colon for a type.

    So it does in what a function returns, unless a line stands before it, which shows nothing.
    """
    if what in ("attribute", "data"):
        _ATTRIBUTES[name] = [FLAG.sub(r"``\g<0>``", line.replace("|", r"\|")) for line in lines]
    lines[:] = [line.replace("*args, **kwargs:", r"\*args, \*\*kwargs:") for line in lines]
    returned = r"^( *)(Returns|Yields):$"
    lines[:] = re.sub(returned, r"\g<0>\n\1    \\ ", "\n".join(lines), flags=re.M).split("\n")


def _after_napoleon(
    _app: Sphinx, _what: str, name: str, _it: Any, _options: Any, lines: list[str]
) -> None:
    if name in _ATTRIBUTES:
        lines[:] = _ATTRIBUTES.pop(name)


def _link_pictures(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: Any
) -> None:
    """Let a picture lead to itself in full size, and say of a notebook's what it is."""
    body = PICTURE.sub(r'<a class="picture" href="\1">\g<0></a>', context.get("body", ""))
    context["body"] = re.sub(r'alt="[./]*_images/[^"]*"', 'alt="what the code above draws"', body)


def setup(app: Sphinx) -> None:
    """Register what is done beside the extensions."""
    _take_pages()
    _plain_settings()
    app.connect("source-read", _lead_links)
    app.add_html_math_renderer("mathml", (_inline_formula, None), (_formula, None))
    app.connect("missing-reference", _without_page)
    app.connect("html-page-context", _link_pictures)
    app.connect("autodoc-process-docstring", _commands)
    app.connect("autodoc-process-docstring", _before_napoleon, priority=100)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=900)


_ATTRIBUTES: dict[str, list[str]] = {}
