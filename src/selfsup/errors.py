"""The one exception that means: what was given cannot be used."""


class InputError(ValueError):
    """Tell in one sentence what is wrong, what was given and what would do.

    Raised at the border only (command line, files, constructors). The command line prints the
    sentence and exits with code 2; anything else is a bug and keeps its traceback.
    """


class Interrupted(KeyboardInterrupt):
    """Work was stopped by the user; what was done is kept, and the message says how to go on."""


class TrainingFailed(RuntimeError):
    """Training could not go on; the message says why and what was kept."""
