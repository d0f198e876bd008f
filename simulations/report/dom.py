"""Elements of a page. Nothing is ever pasted into markup as text. Pure."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

from simulations.report.numbers import printable

Child = Element | str | None


def tag(_name: str, /, *children: Child, **attributes: str | float | None) -> Element:
    """An element. Text and attributes may be anything: they are escaped when it is written.

    ``class_`` is written ``class``, other underlines become hyphens; None is left out.
    """
    element = Element(_name)
    for key, value in attributes.items():
        if value is not None:
            text = value if isinstance(value, str) else f"{value:g}"
            element.set(key.rstrip("_").replace("_", "-"), printable(text))
    for child in children:
        _put(element, child)
    return element


def verbatim(_name: str, content: str, /, **attributes: str) -> Element:
    """A style or script element with ``content`` of our own, which is written as it is."""
    element = tag(_name, **attributes)
    element.text = content
    return element


def markup(element: Element) -> str:
    """Its HTML."""
    return tostring(element, encoding="unicode", method="html")


def _put(element: Element, child: Child) -> None:
    if isinstance(child, Element):
        element.append(child)
    elif child:
        text = printable(child)
        if len(element):
            element[-1].tail = (element[-1].tail or "") + text
        else:
            element.text = (element.text or "") + text
