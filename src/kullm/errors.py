"""Every error of kullm, drawn as a tree.

    KullmError                       something stopped; the message says what, what is safe, and what to do
    ├── UsageError                   the caller can mend it (exit code 2)
    │   ├── InputError               a file or row is not what it should be; names file and line
    │   ├── OtherRun                 a folder holds the result of other settings or other data
    │   ├── UnknownPlugin            no plug-in of that name; names those that there are
    │   ├── MissingExtra             an optional package is not installed; says the pip line
    │   └── MissingKey               no API key; says the variable and where to get one
    ├── ServiceError                 a service stopped the run (exit code 4)
    │   ├── KeyRefused               the key is wrong or not allowed
    │   ├── QuotaSpent               the account has nothing left
    │   └── ServiceDown              it failed too often, or its answers make no sense
    ├── BudgetSpent                  the budget of the caller is used up (exit code 4)
    ├── StorageFailed                the disk takes no more, or a memory is not to be had (exit code 5)
    │   └── MemoryInUse              another run adds to this memory now; says which
    └── CallError                    what an adapter raises about one call; `kullm.remote.run` decides what follows
        ├── Passing                  try again (429, 5xx, connection refused); may carry Retry-After
        ├── UnknownOutcome           sent, and no usable answer came: it may have been billed
        └── Refused                  the service refuses this batch (400, 413): halve it until the bad item stands alone

A failed item is not an exception: it is a `kullm.Failure`.
"""

from __future__ import annotations


class KullmError(Exception):
    """Base of every error that kullm raises on purpose.

    `safe` says what is already on disk and `next` what to do now; both are part of the printed message.
    """

    exit_code = 1

    def __init__(self, what: str, *, safe: str = "", next: str = "") -> None:
        self.what = what
        self.safe = safe
        self.next = next
        super().__init__(what)

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.safe, self.next) if part)


class UsageError(KullmError):
    """The caller can mend it: an argument, a file, a setting."""

    exit_code = 2


class InputError(UsageError):
    """A file or a row is not what it should be."""


class OtherRun(UsageError):
    """A folder holds the result, whole or begun, of other settings or other data."""


class UnknownPlugin(UsageError):
    """No plug-in has that name."""


class MissingExtra(UsageError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"This needs {package}, which is not installed.", next=f"pip install 'kullm[{extra}]'")


class MissingKey(UsageError):
    """A service needs a key and none was given."""

    def __init__(self, service: str, variable: str, where: str) -> None:
        super().__init__(
            f"{service} needs a key: the environment variable {variable} is not set.",
            next=f"Get one at {where}, then: export {variable}=…",
        )


class ServiceError(KullmError):
    """A service stopped the run."""

    exit_code = 4


class KeyRefused(ServiceError):
    """The service does not accept the key."""


class QuotaSpent(ServiceError):
    """The account has no quota or credit left."""


class ServiceDown(ServiceError):
    """The service failed too often, or its answers make no sense."""


class BudgetSpent(KullmError):
    """The budget that the caller set does not cover the next call."""

    exit_code = 4


class StorageFailed(KullmError):
    """The disk takes no more, or a memory cannot be written."""

    exit_code = 5


class MemoryInUse(StorageFailed):
    """Another run adds to this memory now."""


class CallError(KullmError):
    """What an adapter raises about one call. `kullm.remote.run` decides what follows; users do not see these."""


class Passing(CallError):
    """The call failed and may work later. `retry_after`: the seconds that the service asked for, if it did."""

    def __init__(self, what: str, *, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class UnknownOutcome(CallError):
    """The call was sent and no usable answer came back: it may have been billed."""


class Refused(CallError):
    """The service refuses this batch as it stands. `billed`: it answered, and its answer is of no use."""

    def __init__(self, what: str, *, billed: bool = False) -> None:
        super().__init__(what)
        self.billed = billed
