"""Errors that end the program, and their exit codes.

PoolstudyError
├── StudyStopped           1   the study ended before all its trials were done
├── RecordTampered         1   a run was changed after it ended
├── ConfigurationError     2   the configuration is not valid
│   └── StudyMismatch      2   the study exists with other settings
├── RunNotFound            2   no run, or more than one, fits the request
└── MachineError           3   something on the machine is missing
    ├── DataError          3   images missing, damaged or inconsistent
    ├── StoreError         3   a database or folder cannot be used
    ├── DeviceError        3   no usable GPU, but one is required
    ├── ProgramMissing     3   an external program (Graphviz' dot)
    ├── StudyBusy          3   another process works on this study
    └── TrialLost          3   the process that trained a reproduction died

An interrupted study ends with 128 + the signal's number: 130 after Ctrl-C, 143 after SIGTERM.

TrialFailed ends one trial, never the program.
"""

import re

_LONGEST = 1000  # characters of each part of an error


def one_line(error: object, limit: int = 200) -> str:
    """Return an error's text without its line breaks, cut to `limit` characters."""
    return " ".join(str(error).split())[:limit]


def cause(error: BaseException, limit: int = 200) -> str:
    """Return the first error of a chain in one line: libraries wrap "disk is full" three times and in SQL."""
    while below := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = below
    return one_line(error, limit) or type(error).__name__


_NAME_AND_PASSWORD = re.compile(
    r"(?<!http)(?<!https)://[^/\s:[]*:\S*@"  # of a database: SQLAlchemy allows "/" in the password
    r"|://[^/\s]*@"  # of anything else: before the first "/"
    r"|://[^/\s:[]*:(?!\d*/)\S*@"  # a password with a "/" that should be escaped; digits and "/" are a port
)


def without_password(uri: str) -> str:
    """Return an address without its user name and password."""
    return _NAME_AND_PASSWORD.sub("://", uri)


def printable(text: str, limit: int = 10_000) -> str:
    """Escape what is not printable in a text, so that a terminal shows it in one line; cut it to `limit` characters."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:limit])
    return shown if len(text) <= limit else f"{shown}…"


class PoolstudyError(Exception):
    """Error in one line for the user: "found; expected …; remedy". Passwords in addresses are removed."""

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


class StudyMismatch(ConfigurationError): ...


class RunNotFound(PoolstudyError):
    exit_code = 2


class MachineError(PoolstudyError): ...


class DataError(MachineError): ...


class StoreError(MachineError): ...


class DeviceError(MachineError): ...


class ProgramMissing(MachineError): ...


class StudyBusy(MachineError): ...


class TrialLost(MachineError): ...


class TrialFailed(Exception):
    """Configuration that cannot be trained: its loss is NaN, memory is short, …"""
