"""Markdown tables of what was measured."""


def table(header, rows):
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    lines = [[str(x).ljust(w) for x, w in zip(row, widths, strict=True)] for row in [header, *rows]]
    lines.insert(1, ["-" * w for w in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def quartiles(value, low, high, digits=2):
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
