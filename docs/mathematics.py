"""Equations of the pages as MathML, which browsers draw without a script: a hook of mkdocs, see mkdocs.yml."""

import re

from latex2mathml.converter import convert

CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)

WIDE = '<div style="overflow-x: auto">{}</div>'  # wider than a phone: it scrolls in its place
LINE = "<span>{}</span>"  # of which Markdown makes no paragraph of its own at the beginning of a line


def equations(text: str) -> str:
    """`$$ … $$` and `$ … $` outside of code, as MathML."""
    text = re.sub(r"\\(log|det) (?=[A-Za-z\\])", r"\\\1\\, ", text)  # fonts without mathematics leave no space
    text = re.sub(
        r"\$\$(.+?)\$\$", lambda m: WIDE.format(convert(" ".join(m[1].split()), display="block")), text, flags=re.DOTALL
    )
    return re.sub(r"(?<![\w$\\])\$(\S(?:[^$\n]*?\S)?)\$(?![\w$])", lambda m: LINE.format(convert(m[1])), text)


def on_page_markdown(markdown: str, **_: object) -> str:
    return "".join(part if i % 2 else equations(part) for i, part in enumerate(CODE.split(markdown)))
