"""Opens tables: CSV (also compressed), Parquet and data frames. A `Table` reads one column at a time.

Polars reads the files; it runs no code of theirs. What a file declares is compared with its size before it is read.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import UserError, one_line
from ...core.files import require_regular
from ..sources.files import Budget

if TYPE_CHECKING:
    import polars

SUFFIXES = (".csv", ".csv.gz", ".parquet")
LARGE = 2**28  # bytes of text; a larger CSV file is first written as Parquet, which is read column by column
GUESSED = 100_000  # rows from which the types of the columns of a large CSV file are guessed
PIECE = 2**22  # bytes
LONGEST_HEADER = 2**22  # bytes of a first line
MOST_COLUMNS = 2**16  # Polars takes hours for a header of millions of columns


def is_table_file(path: Path) -> bool:
    """Whether the name of a file is that of a table."""
    return path.name.lower().endswith(SUFFIXES)


def is_frame(value: Frame | ArrayLike | Path | None) -> bool:
    """Whether a value is a data frame: of Polars, pandas, Arrow or another library."""
    own = type(value).__module__.partition(".")[0] == "polars"
    return own or hasattr(value, "__arrow_c_stream__") or (hasattr(value, "columns") and hasattr(value, "dtypes"))


def load_polars() -> Any:
    """The module of Polars.

    Raises:
        UserError: it is not installed.
    """
    try:
        import polars
    except ImportError:
        raise UserError("tables need Polars: pip install 'holdfast-rl[table]'") from None
    return polars


class Frame(Protocol):
    """A data frame of any library: Polars, pandas, or what has Arrow's interface."""

    @property
    def columns(self) -> Any: ...

    def __getitem__(self, name: str) -> Any: ...


class Table:
    """The columns of a table, each of which is read when it is used."""

    def __init__(self, frame: polars.DataFrame | polars.LazyFrame, where: str, kind: str = "data frame") -> None:
        """
        Args:
            frame: a `polars.DataFrame`, or a `polars.LazyFrame` over a Parquet file.
            where: name of the table in error messages.
            kind: what the source is, for error messages.
        """
        pl = load_polars()
        self.frame = frame
        self.where = where
        self.kind = kind
        with explained(where, kind):
            self.types: dict[str, Any] = dict(frame.collect_schema())
            self.n_rows = int(frame.lazy().select(pl.len()).collect().item())
        self.kept: np.ndarray | None = None  # numbers of the rows that are read; None: all

    def __len__(self) -> int:
        return self.n_rows if self.kept is None else len(self.kept)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.types)

    def row(self, number: int) -> int:
        """The number of a row in the file."""
        return int(number if self.kept is None else self.kept[number])

    def column(self, name: str) -> polars.Series:
        """The values of a column, in the order of the table."""
        with explained(self.where, self.kind):
            series = self.frame.lazy().select(name).collect().to_series()
            return series if self.kept is None else series.gather(self.kept)


@contextlib.contextmanager
def explained(where: str, kind: str) -> Iterator[None]:
    """Every error of Polars as a `UserError` of one line."""
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except MemoryError:
        raise UserError(f"{where} does not fit into the memory: read fewer columns or rows") from None
    except BaseException as fault:  # Polars has many types of errors, and a panic of it is not an Exception
        raise UserError(f"{where}: cannot be read ({one_line(fault)[:200]}); expected a {kind}") from fault


@contextlib.contextmanager
def open_table(
    source: str | Path | Frame, missing_texts: Sequence[str] = (), where: str | None = None
) -> Iterator[Table]:
    """Open a table for reading.

    Args:
        source: path of a CSV or Parquet file, or a data frame.
        missing_texts: texts of a CSV file that mean: no value. An empty field always means it.
        where: name in error messages; None: the path.

    Raises:
        UserError: Polars is not installed, the file cannot be read, or it declares more than a file of its size holds.
    """
    pl = load_polars()
    if not isinstance(source, str | Path):
        yield Table(_frame(pl, source), where or "the data frame")
        return
    path = Path(source).expanduser()
    where = where or str(source)
    size = require_regular(path)
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        if path.suffix.lower() == ".parquet":
            yield _parquet(pl, path, where, size)
            return
        text: Any = path
        if path.suffix.lower() == ".gz":
            text, size = _unpacked(path, Path(folder) / "table.csv", where)
        options = {"null_values": list(missing_texts), "glob": False}
        if not size:
            raise UserError(f"{where} is empty, expected a CSV file with a first line of column names")
        _require_header(text, where)
        with explained(where, "CSV file"):
            if size <= LARGE:
                frame = pl.read_csv(text, infer_schema_length=None, **options)
            else:
                lazy = pl.scan_csv(text, infer_schema_length=GUESSED, **options)
                lazy.sink_parquet(Path(folder) / "table.parquet")
                frame = pl.scan_parquet(Path(folder) / "table.parquet", glob=False)
        yield Table(frame, where, "CSV file")


def _parquet(pl: ModuleType, path: Path, where: str, size: int) -> Table:
    with explained(where, "Parquet file"):
        table = Table(pl.scan_parquet(path, glob=False, hive_partitioning=False), where, "Parquet file")
    budget = Budget(path)
    budget.take(table.n_rows * 8, "a column of the table")
    return table


def _require_header(text: Path | bytes, where: str) -> None:
    """Refuse a CSV file whose first line is not a list of column names.

    Raises:
        UserError: the first line is too long, or has too many columns.
    """
    if isinstance(text, bytes):
        start = text[: LONGEST_HEADER + 1]
    else:
        with open(text, "rb") as file:
            start = file.read(LONGEST_HEADER + 1)
    line, _, _ = start.partition(b"\n")
    count = line.count(b",") + 1
    if len(line) > LONGEST_HEADER or count > MOST_COLUMNS:
        raise UserError(
            f"{where}: its first line has {count:,} columns or more, expected at most {MOST_COLUMNS:,} column names: "
            "write the file again"
        )


def _unpacked(path: Path, aside: Path, where: str) -> tuple[Any, int]:
    """The text of a compressed file, in memory or in a temporary file if it is large, and its size in bytes."""
    budget = Budget(path)
    memory = io.BytesIO()
    target: Any = memory
    size = 0
    try:
        with gzip.open(path) as file:
            while piece := file.read(PIECE):
                size += len(piece)
                budget.take(len(piece), "the text")
                if target is memory and size > LARGE:
                    target = open(aside, "wb")  # noqa: SIM115
                    target.write(memory.getvalue())
                target.write(piece)
    except (OSError, EOFError, ValueError) as fault:
        raise UserError(
            f"{where}: cannot be read ({one_line(fault)[:100]}); expected a gzip file, fetch it again"
        ) from fault
    finally:
        if target is not memory:
            target.close()
    return (memory.getvalue() if target is memory else aside), size


def _frame(pl: ModuleType, source: Frame) -> Any:
    """A data frame of any library as one of Polars."""
    if isinstance(source, pl.DataFrame | pl.LazyFrame):
        return source
    if hasattr(source, "__arrow_c_stream__"):
        with contextlib.suppress(ImportError):  # pandas needs pyarrow for this
            return pl.DataFrame(source)
    with explained("the data frame", "data frame"):
        return pl.DataFrame([pl.Series(str(name), _values(source[name]), strict=False) for name in source.columns])


def _values(series: ArrayLike) -> Any:
    """The values of a column as NumPy has them, or as a list if they are objects."""
    array = np.asarray(series)
    if array.dtype.kind in "fiubM":
        return array
    from .encoding import is_missing

    return [None if is_missing(value) else value for value in array.tolist()]
