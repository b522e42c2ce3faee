"""Equations of the pages as MathML, which browsers draw without a script: a hook of mkdocs, see mkdocs.yml."""

import re

from latex2mathml.converter import convert

CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)


def equations(text: str) -> str:
    """`$$ … $$` and `$ … $` outside of code, as MathML."""
    text = re.sub(r"\\(log|det) (?=[A-Za-z\\])", r"\\\1\\, ", text)  # fonts without mathematics leave no space
    text = re.sub(r"\$\$(.+?)\$\$", lambda m: convert(" ".join(m[1].split()), display="block"), text, flags=re.DOTALL)
    return re.sub(r"(?<![\w$\\])\$(\S(?:[^$\n]*?\S)?)\$(?![\w$])", lambda m: convert(m[1]), text)


def on_page_markdown(markdown: str, **_: object) -> str:
    return "".join(part if i % 2 else equations(part) for i, part in enumerate(CODE.split(markdown)))
