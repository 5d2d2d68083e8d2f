"""Say numbers the way a person reads them."""

import re
import unicodedata

from selfsup.report.values import Estimate

SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def percent(share: float, digits: int = 1) -> str:
    """0.6123 is 61.2 %."""
    return f"{_signless(100 * share, digits)}{SPACE}%"


def interval(value: Estimate, digits: int = 1) -> str:
    """Both ends of an interval in percent, or nothing where there is none."""
    if value.low is None or value.high is None:
        return ""
    return f"{_signless(100 * value.low, digits)} to {_signless(100 * value.high, digits)}"


def points(share: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, always with its sign."""
    text = _signless(100 * share, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def _signless(value: float, digits: int) -> str:
    """Format with a real minus sign and without a negative zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)


def count(value: float) -> str:
    """60000 is 60,000."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """A number for an axis or a cell: at most three digits, k and M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}".replace("-", MINUS)
    return f"{value:.3g}".replace("-", MINUS)


def duration(seconds: float) -> str:
    """754 is 12 min 34 s."""
    if seconds < 10:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{SPACE}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min" + (f" {rest}{SPACE}s" if rest else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{SPACE}h" + (f" {minutes}{SPACE}min" if minutes else "")


def compute(gigaflops: float) -> str:
    """Floating-point operations, in the unit that keeps the number short."""
    for size, unit in ((1e6, "PFLOP"), (1e3, "TFLOP")):
        if gigaflops >= size:
            return f"{gigaflops / size:.3g}{SPACE}{unit}"
    return f"{gigaflops:.3g}{SPACE}GFLOP"


def memory(megabytes: float) -> str:
    """812 is 812 MB, 2048 is 2.0 GB."""
    return f"{megabytes / 1024:.1f}{SPACE}GB" if megabytes >= 1024 else f"{megabytes:.0f}{SPACE}MB"


def plural(number_of: int, one: str, many: str | None = None) -> str:
    """1 image, 2 images."""
    return f"{count(number_of)} {one if number_of == 1 else many or one + 's'}"


def listed(names: list[str], conjunction: str = "and") -> str:
    """a, b and c."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {conjunction} {names[-1]}"


def sentence(text: str) -> str:
    """End with a full stop. The first letter stays: it may begin the name of a method."""
    text = text.strip()
    return text if not text or text[-1] in ".!?:" else text + "."


def stage(name: object) -> str:
    """stage3 is stage 3."""
    return re.sub(r"(?<=[a-z])(?=\d+$)", SPACE, visible(name))


def visible(name: object) -> str:
    """Show a name from disk whole: what would be invisible, reorder the text or break UTF-8 becomes its code."""
    return "".join(
        character if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else _code(character)
        for character in str(name)
    )


def _code(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
