"""Numbers of bytes for people."""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def in_words(num_bytes: float) -> str:
    """A number of bytes with three digits and a binary unit, such as `1.23 GiB`."""
    value, unit = float(num_bytes), 0
    while abs(value) >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{value:.3g} {_UNITS[unit]}" if abs(value) < 1000 else f"{value:.0f} {_UNITS[unit]}"  # noqa: PLR2004 # three digits
