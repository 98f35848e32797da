"""The text of the two files of a C program."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from autoquant.exports.c.library import needed
from autoquant.exports.c.literals import literal
from autoquant.exports.c.lowering import Lowering
from autoquant.exports.c.memory import PARTS, Workspace, product
from autoquant.exports.weights import Floats

HEADER = """/* A quantized model in C99, written by autoquant.
 *
{about}
 */
#ifndef {guard}
#define {guard}

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{body}
#ifdef __cplusplus
}}
#endif

#endif
"""
SOURCE = """/* A quantized model in C99, written by autoquant. Include {name}.h.
 *
 * It must be compiled without -ffast-math. Compilers that join a product and a sum into
 * one operation change results by rounding errors: GCC does not with -std=c99 or
 * -ffp-contract=off, Clang gets the pragma below.
 */
#include "{name}.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

{library}
{data}
{functions}"""
_TYPES = {True: "float", False: "int32_t"}


@dataclass(frozen=True)
class Argument:
    """An input, an output or a state of a program.

    Attributes:
        name: in C.
        shape: sizes of the axes.
        is_float: whether its entries are floats; else they are int32_t.
        port: its name in the model.
    """

    name: str
    shape: tuple[int, ...]
    is_float: bool
    port: str

    @property
    def size(self) -> int:
        """Number of entries."""
        return product(self.shape)

    @property
    def type(self) -> str:
        """C type of an entry."""
        return _TYPES[self.is_float]

    @property
    def axes(self) -> str:
        """Its shape, as in "[1, 13]"."""
        return str([*self.shape])


@dataclass(frozen=True)
class Signature:
    """The arguments of a program's functions.

    Attributes:
        name: prefix of the functions.
        inputs: of the model.
        outputs: of the model.
        states: of recurrent stacks.
        initial: the values that each state starts with.
    """

    name: str
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    states: tuple[Argument, ...]
    initial: tuple[Floats, ...]

    @property
    def upper(self) -> str:
        """Prefix of macros."""
        return self.name.upper()

    def declaration(self, function: str) -> str:
        """The head of a function.

        Args:
            function: "run", "reset" or "sequence".
        """
        state = [f"{self.name}_state *state"] if self.states else []
        if function == "reset":
            return f"void {self.name}_reset({state[0]})"
        steps = ["int32_t steps"] if function == "sequence" else []
        work = f"{self.name}_workspace *work"
        inputs = [f"const {a.type} *{a.name}" for a in self.inputs]
        outputs = [f"{a.type} *{a.name}" for a in self.outputs]
        parts = [*state, work, *steps, *inputs, *outputs]
        return _wrapped(f"void {self.name}_{function}(", parts)


def _wrapped(head: str, parts: list[str]) -> str:
    """A function's head in lines of at most 100 columns.

    Args:
        head: up to its bracket.
        parts: the arguments.
    """
    lines, line = [], head
    for index, part in enumerate(parts):
        end = ")" if index == len(parts) - 1 else ","
        if len(line) + len(part) + 2 > 98 and line.strip() and line != head:
            lines.append(line.rstrip())
            line = " " * len(head)
        line += f"{part}{end} "
    return "\n".join([*lines, line.rstrip()])


def header_text(signature: Signature, workspace: Workspace, flash: int) -> str:
    """The header.

    Args:
        signature: of the functions.
        workspace: that a pass needs.
        flash: bytes of constants.
    """
    macros = [
        (f"{signature.upper}_{a.name.upper()}_SIZE", a.size, f"{kind} {a.port} {a.axes}")
        for kind, group in (
            ("input", signature.inputs),
            ("output", signature.outputs),
            ("state", signature.states),
        )
        for a in group
    ]
    macros.append((f"{signature.upper}_CONSTANT_BYTES", flash, "in flash, beside the code"))
    lines = "".join(f"#define {name} {size} /* {note} */\n" for name, size, note in macros)
    about = "\n".join(f" * {line}".rstrip() for line in _about(signature))
    body = f"{lines}\n{_structures(signature, workspace)}\n{_prototypes(signature)}"
    return HEADER.format(about=about, guard=f"{signature.upper}_H", body=body)


def _about(signature: Signature) -> list[str]:
    """What the header's comment says: how the functions are used, with an example."""
    name, upper = signature.name, signature.upper
    arguments = [a.name for a in (*signature.inputs, *signature.outputs)]
    state = ["&state"] if signature.states else []
    call = ", ".join([*state, "&work", *arguments])
    lines = ["Nothing is allocated, and no variable is global: the caller owns all memory, and"]
    lines += ["calls with different states and workspaces may run at the same time. Inputs and"]
    lines += ["outputs must not overlap. Tensors are dense and in row-major order: entry [i, j] of"]
    lines += ["[m, n] has index i * n + j. Inputs that are NaN give outputs that mean nothing."]
    lines += ["", "Example:", ""]
    lines += [f'    #include "{name}.h"', "", f"    static {name}_workspace work;"]
    lines += [f"    static {name}_state state;"] * bool(signature.states)
    for a in (*signature.inputs, *signature.outputs):
        lines.append(f"    static {a.type} {a.name}[{upper}_{a.name.upper()}_SIZE];")
    lines += ["", "    int main(void) {"]
    if signature.states:
        lines += [f"        {name}_reset(&state); // once for each sequence"]
        lines += ["        for (int step = 0; step < 100; step++) {"]
        lines += [f"            // fill {', '.join(a.name for a in signature.inputs)}"]
        lines += [f"            {name}_run({call});"]
        lines += [
            f"            // read {', '.join(a.name for a in signature.outputs)}",
            "        }",
        ]
    else:
        lines += [f"        // fill {', '.join(a.name for a in signature.inputs)}"]
        lines += [f"        {name}_run({call});"]
        lines += [f"        // read {', '.join(a.name for a in signature.outputs)}"]
    return [*lines, "        return 0;", "    }"]


def _structures(signature: Signature, workspace: Workspace) -> str:
    """The structures for states and the workspace.

    Args:
        signature: of the functions.
        workspace: that a pass needs.
    """
    text = ""
    if signature.states:
        members = "".join(
            f"    float {a.name}[{a.size}]; /* {a.axes}: layers * directions, 1, units */\n"
            for a in signature.states
        )
        text += "/* What a sequence carries from one call to the next. */\n"
        text += f"typedef struct {{\n{members}}} {signature.name}_state;\n\n"
    sizes = workspace.sizes or {"float": 1}
    members = "".join(f"    {kind} {PARTS[kind]}[{size}];\n" for kind, size in sizes.items())
    text += "/* Memory that a call uses; its contents mean nothing before and after. */\n"
    return f"{text}typedef struct {{\n{members}}} {signature.name}_workspace;\n"


def _prototypes(signature: Signature) -> str:
    """The declarations of the functions, with a line for each argument."""
    notes = [f" *   {a.name}: in, {a.axes}" for a in signature.inputs]
    notes += [f" *   {a.name}: out, {a.axes}" for a in signature.outputs]
    state = [" *   state: changes, see reset"] if signature.states else []
    text = ""
    if signature.states:
        text += "/* Start a sequence. */\n" + signature.declaration("reset") + ";\n\n"
    what = "One pass" if not signature.states else "One pass, from the state and to the next one"
    lines = [f"/* {what}.", *state, " *   work: any contents", *notes]
    text += "\n".join(lines) + " */\n" + signature.declaration("run") + ";\n"
    if signature.states:
        lines = ["", "/* `steps` passes, one after another; the tensors of all steps lie one after"]
        lines += [
            " * another in each input and output. */",
            signature.declaration("sequence") + ";",
        ]
        text += "\n".join([*lines, ""])
    return text


def source_text(signature: Signature, lowering: Lowering) -> str:
    """The source file.

    Args:
        signature: of the functions.
        lowering: statements and constants.
    """
    functions = _functions(signature, lowering)
    data = "\n".join(lowering.data.texts)
    library = needed(data + functions)
    return SOURCE.format(name=signature.name, library=library, data=data, functions=functions)


def _functions(signature: Signature, lowering: Lowering) -> str:
    text = ""
    if signature.states:
        text += _reset(signature)
    lines = [f"{signature.declaration('run')} {{"]
    lines += _declarations(lowering)
    for statement in lowering.statements:
        lines += [f"    {line}" for line in statement.split("\n")]
    used = "\n".join(lines)
    idle = [a.name for a in signature.inputs if not _mentions(used, a.name)]
    idle += [] if "work->" in used else ["work"]
    idle += ["state"] if signature.states and "state->" not in used else []
    lines += [f"    (void){name};" for name in idle]
    text += "\n".join([*lines, "}", ""])
    return text + (f"\n{_sequence(signature)}" if signature.states else "")


def _mentions(text: str, name: str) -> bool:
    body = text.split("{\n", 1)[1] if "{\n" in text else ""
    return re.search(rf"\b{name}\b", body) is not None


def _declarations(lowering: Lowering) -> list[str]:
    """Lines that give buffers their places."""
    lines = []
    for buffer in lowering.buffers:
        if buffer.first < 0:
            continue
        where = buffer.where or f"work->{PARTS[buffer.kind]}"
        where += f" + {buffer.offset}" if buffer.offset else ""
        lines.append(f"    {buffer.kind} *const {buffer.name} = {where};")
    return lines


def _reset(signature: Signature) -> str:
    """The function that starts a sequence: a loop for each run of equal values."""
    lines = [f"{signature.declaration('reset')} {{"]
    for argument, values in zip(signature.states, signature.initial, strict=True):
        flat = values.reshape(-1)
        ends = [*np.flatnonzero(np.diff(flat)) + 1, flat.size]
        for first, end in zip([0, *ends], ends, strict=False):
            cell = f"state->{argument.name}[i] = {literal(flat[first])};"
            lines.append(f"    for (int32_t i = {first}; i < {end}; i++) {cell}")
    return "\n".join([*lines, "}", "", ""])


def _sequence(signature: Signature) -> str:
    calls = [f"{a.name} + t * {a.size}" for a in (*signature.inputs, *signature.outputs)]
    arguments = ",\n            ".join(["state, work", *calls])
    return (
        f"{signature.declaration('sequence')} {{\n"
        "    for (int32_t t = 0; t < steps; t++)\n"
        f"        {signature.name}_run({arguments});\n}}\n"
    )
