"""Tables on standard output."""

import sys
from collections.abc import Collection, Sequence


def print_table(
    rows: Sequence[Sequence[str]], right: Collection[int] = (), fold_last: bool = False
) -> None:
    """Prints rows in aligned columns.

    Args:
      rows: Cells of equal numbers; a header comes first.
      right: Indices of the columns that are aligned to the right.
      fold_last: Whether a terminal gets a table whose last column is folded into its width; in a
        file or a pipe nothing is folded.
    """
    if fold_last and sys.stdout.isatty():
        _print_folded(rows, right)
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def _print_folded(rows: Sequence[Sequence[str]], right: Collection[int]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    header, *body = rows
    table = Table(box=box.SIMPLE)
    for column, title in enumerate(header):
        table.add_column(
            title,
            justify="right" if column in right else "left",
            no_wrap=column < len(header) - 1,
            overflow="fold",
        )
    for row in body:
        table.add_row(*row)
    Console().print(table)
