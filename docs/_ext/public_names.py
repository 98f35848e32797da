"""Links of the reference: public names of autoquant, by the modules that define them."""

from __future__ import annotations

from typing import Any

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import autoquant


def public_name(target: str) -> str | None:
    """The name under which ``autoquant`` exports what a reference names; None for anything else.

    Args:
        target: of a reference, such as "autoquant.plan.Plan" or "Plan".
    """
    last = target.rpartition(".")[2]
    is_ours = "." not in target or target.startswith("autoquant.")
    return f"autoquant.{last}" if is_ours and last in autoquant.__all__ else None


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element
) -> Element | None:
    """The link of a reference that no documented object has the name of.

    Args:
        app: of Sphinx.
        env: with all documented objects.
        node: the reference.
        content: what is shown.
    """
    name = public_name(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or name is None or name == node["reftarget"]:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension.

    Args:
        app: of Sphinx.
    """
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
