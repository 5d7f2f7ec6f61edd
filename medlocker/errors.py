"""Errors a user can act on. Each message says what happened, why, and what to do next.

The command line catches `MedLockerError` once and prints its message; everything else is a bug and keeps its trace.
"""


class MedLockerError(Exception):
    """Base of every error MedLocker raises on purpose.

    Args:
        what: what happened, naming the file or option.
        why: the reason, if it is not plain from `what`.
        fix: the next step for the user.
    """

    def __init__(self, what: str, *, why: str | None = None, fix: str | None = None) -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__(what, why, fix)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are unpickled by position, but `why` and `fix` go by name; errors of other processes arrive whole.
        return _revived, (type(self), self.what, self.why, self.fix)

    def __str__(self) -> str:
        parts = [self.what.rstrip(".") + "."]
        if self.why:
            parts.append(self.why.rstrip(".") + ".")
        if self.fix:
            parts.append(self.fix.rstrip(".") + ".")
        return " ".join(parts)


def _revived(kind: type[MedLockerError], what: str, why: str | None, fix: str | None) -> MedLockerError:
    return kind(what, why=why, fix=fix)


class SettingsError(MedLockerError):
    """An option or a combination of options is not valid."""


class DatasetError(MedLockerError):
    """A data set, or its labels, cannot be used as given."""


class ImageReadError(MedLockerError):
    """An image file is missing, empty, truncated, or of a kind that cannot be stored losslessly."""


class LogoError(MedLockerError):
    """The logo file cannot be used as a mark."""


class InfeasiblePlacementError(MedLockerError):
    """No position on the image satisfies the placement constraints."""


class ModelError(MedLockerError):
    """A source, target or weights file cannot be loaded or does not fit the data."""


class ProviderError(ModelError):
    """ONNX Runtime does not run on the execution provider that was asked for."""


class ReleaseError(MedLockerError):
    """A release folder or its manifest is missing, incomplete or altered."""


class ResumeMismatchError(ReleaseError):
    """An unfinished release was started with other settings or other data."""


class IdentityError(MedLockerError):
    """An identity file or public key is missing or unusable."""


class UnlockError(MedLockerError):
    """An image could not be restored."""


class WrongKeyError(UnlockError):
    """The key or identity does not open this document or image."""


class AlteredImageError(UnlockError):
    """The marked image is not the one that was released."""


class MissingPacketError(UnlockError):
    """The image carries no recovery packet."""


class CorruptPacketError(UnlockError):
    """The recovery packet fails authentication or is malformed."""


class WorkerError(MedLockerError):
    """A worker of an executor cannot start, or keeps dying."""


class OutOfMemoryError(MedLockerError):
    """Memory ran out, and there was nothing left to make smaller."""


class TrackingError(MedLockerError):
    """The tracking store cannot be reached or refuses the run."""


class MissingImageError(ImageReadError):
    """An image file does not exist."""


class EmptyImageError(ImageReadError):
    """An image file holds no bytes."""


class UnsupportedImageError(ImageReadError):
    """An image is intact, but of a kind that cannot be stored losslessly."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, in Python's words or in PyTorch's."""
    said = str(error).lower()
    return isinstance(error, MemoryError | OutOfMemoryError) or "out of memory" in said or "can't allocate" in said
