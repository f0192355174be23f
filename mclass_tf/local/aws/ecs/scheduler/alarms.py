"""The CloudWatch alarms that the deployments of a service monitor.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.scheduler.world import Alarm, SchedulerWorld


def alarm_options(service: Service) -> Mapping[str, Any]:
    options: Mapping[str, Any] = service.settings["deploymentConfiguration"].get("alarms") or {}
    return options


def deployment_alarms(service: Service, *, world: SchedulerWorld) -> Mapping[str, Alarm]:
    names = alarm_options(service).get("alarmNames") or []
    return world.alarms(service.account_id, service.region, names)


def triggered_alarms(service: Service, *, world: SchedulerWorld) -> list[str]:
    """Return the names of the deployment alarms that are in ALARM."""
    alarms = deployment_alarms(service, world=world)
    return [name for name, alarm in alarms.items() if alarm.state == "ALARM"]
