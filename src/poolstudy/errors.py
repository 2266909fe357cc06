"""The errors a user can meet, and the exit code each one ends the program with.

PoolstudyError
├── StudyStopped           1   the study ended short of what was asked
├── ConfigurationError     2   what was asked cannot be done
│   └── StudyMismatch      2   the study exists, and was asked for differently
├── ClaimBroken            1   what a run says of itself does not fit together: it was changed since
├── RunNotFound            2   no run, or more than one, is what was asked for
└── SurroundingsError      3   the machine lacks something
    ├── DataError          3   images missing, damaged or inconsistent
    ├── StoreError         3   a database or folder that cannot be used
    ├── DeviceError        3   no usable GPU where one is required
    ├── ProgramMissing     3   an external program (Graphviz' dot)
    ├── StudyBusy          3   another process works on this study
    └── TrialLost          3   the process that trained a reproduction died

A study that was interrupted ends with 128 + the signal's number: 130 after Ctrl-C, 143 after SIGTERM.

TrialFailed stands apart: it ends one trial, never the program.
"""

import re

_LONGEST = 1000  # characters of each part of an error


def one_line(error: object, limit: int = 200) -> str:
    """An error's text without its line breaks, cut to so many characters."""
    return " ".join(str(error).split())[:limit]


def cause(error: BaseException, limit: int = 200) -> str:
    """What lies at the bottom of an error, in one line: libraries wrap "disk is full" three times and in SQL."""
    while below := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = below
    return one_line(error, limit) or type(error).__name__


_NAME_AND_PASSWORD = re.compile(
    r"(?<!http)(?<!https)://[^/\s:[]*:\S*@"  # of a database: as SQLAlchemy reads it, the password may hold "/"
    r"|://[^/\s]*@"  # of anything else: before the first "/"
    r"|://[^/\s:[]*:(?!\d*/)\S*@"  # a password with "/" where none may be; digits and a "/" are a port
)


def without_password(uri: str) -> str:
    """An address without the name and password that it may hold, to be shown or kept."""
    return _NAME_AND_PASSWORD.sub("://", uri)


def printable(text: str, limit: int = 10_000) -> str:
    """Text that may be anybody's as one line that does nothing to a terminal, cut to so many characters."""
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[:limit])
    return shown if len(text) <= limit else f"{shown}…"


class PoolstudyError(Exception):
    """One line for the user: what was found, what was expected, what to do. No address in it keeps its password.

    Args:
        found: what came.
        expected: what would have been right.
        remedy: what to do now.
    """

    exit_code = 3

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        super().__init__(
            "; ".join(printable(without_password(part), _LONGEST) for part in (found, f"expected {expected}", remedy))
        )


class StudyStopped(PoolstudyError):
    exit_code = 1


class RecordTampered(PoolstudyError):
    exit_code = 1


class ConfigurationError(PoolstudyError):
    exit_code = 2


class StudyMismatch(ConfigurationError):
    pass


class RunNotFound(PoolstudyError):
    exit_code = 2


class MachineError(PoolstudyError):
    pass


class DataError(MachineError):
    pass


class StoreError(MachineError):
    pass


class DeviceError(MachineError):
    pass


class ProgramMissing(MachineError):
    pass


class StudyBusy(MachineError):
    pass


class TrialLost(MachineError):
    pass


class TrialFailed(Exception):
    """This configuration cannot be trained (its loss is NaN, memory is short, …)."""
