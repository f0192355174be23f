"""Stands in for the load balancers' process: writes every snapshot to a file, and says of every target that it is healthy."""

from __future__ import annotations

import sys
from pathlib import Path

from mclass_tf.local.balancer.report import Applied, Failure, Health, Listening, Report, to_json
from mclass_tf.local.balancer.snapshot import Snapshot


def main(folder: Path) -> None:
    for line in sys.stdin:
        snapshot = Snapshot.from_json(line)
        (folder / f"{snapshot.version:06}.json").write_text(line)
        for load_balancer in snapshot.load_balancers:
            for listener in load_balancer.listeners:
                _tell(
                    Listening(
                        listener_arn=listener.arn, host="127.0.0.1", port=10_000 + listener.port % 10_000
                    )
                )
            _tell(_failure(load_balancer.arn))
        for group in snapshot.target_groups:
            for target in group.targets:
                if not target.is_draining:
                    _tell(Health(target_group_arn=group.arn, ip=target.ip, port=target.port, state="healthy"))
        _tell(Applied(version=snapshot.version))
        if (folder / "die").exists():
            (folder / "die").unlink()
            sys.exit(7)


def _failure(load_balancer_arn: str) -> Failure:
    return Failure(
        at=100.0,
        load_balancer_arn=load_balancer_arn,
        target_group_arn=None,
        target=None,
        target_is_draining=False,
        status=503,
        reason="no_targets",
        method="GET",
        path="/",
        in_flight_seconds=0,
    )


def _tell(report: Report) -> None:
    sys.stdout.write(to_json(report) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
