"""A Dockerfile as a list of stages, for tests that ask what an image is made of."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """One FROM and the instructions after it.

    Attributes:
        name: what other stages call it.
        parent: the stage or image that it starts from.
        instructions: keyword and the rest of the line, continuations joined.
    """

    name: str
    parent: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, keyword):
        return [rest for word, rest in self.instructions if word == keyword]


def instructions(text):
    """Keyword and the rest of each instruction; comments are dropped, also between continued lines."""
    lines = [line.strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def stages(text):
    """Every stage by name, in order; what stands before the first FROM is left out."""
    found = {}
    for word, rest in instructions(text):
        if word == "FROM":
            parent, separator, name = rest.partition(" AS ")
            assert separator, f"expected FROM ... AS name, got {rest}"
            assert name not in found, f"stage {name} is there twice"
            found[name] = Stage(name, parent)
        elif found:
            found[next(reversed(found))].instructions.append((word, rest))
    return found


def lineage(found, name):
    """The stages that an image consists of, the oldest first; what it only copies from is not among them."""
    stage = found[name]
    older = lineage(found, stage.parent) if stage.parent in found else []
    return [*older, stage]
