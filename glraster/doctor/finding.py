"""What a check of the machine returns."""

import dataclasses

__all__ = ["CONTAINER_ADVICE", "Finding"]

CONTAINER_ADVICE = "in a container: start it with --gpus all and NVIDIA_DRIVER_CAPABILITIES=all"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at.
        status: 'ok'; 'absent', for what this machine does without; or 'broken', for what is there and does not work.
        found: what was found.
        advice: what to do about it; empty where there is nothing to do.
    """

    check: str
    status: str
    found: str
    advice: str = ""
