"""The answers of Elastic Load Balancing v2: lists come in pages."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.elbv2.responses import ELBV2Response

from mclass_tf.local.aws import pages


class LocalElbv2Responses(ELBV2Response):  # type: ignore[misc]  # moto is not typed for us
    """Rules and load balancers have pages in moto; listeners and target groups get them here."""

    def _get_int_param(self, param_name: str, if_none: Any = None) -> Any:
        asked = super()._get_int_param(param_name, if_none)
        is_selected = any(self._get_param(name) for name in ("LoadBalancerArns", "Names", "RuleArns"))
        return pages.size(asked) if param_name == "PageSize" and not is_selected else asked

    def describe_listeners(self) -> ActionResult:
        return self._page(super().describe_listeners(), "Listeners", selected_by="ListenerArns")

    def describe_target_groups(self) -> ActionResult:
        return self._page(super().describe_target_groups(), "TargetGroups", selected_by="TargetGroupArns")

    def _page(self, answer: ActionResult, key: str, *, selected_by: str) -> ActionResult:
        if self._get_param(selected_by):
            return answer
        items, marker = pages.cut(
            answer.result[key], token=self._get_param("Marker"), asked=super()._get_int_param("PageSize")
        )
        return ActionResult({key: items, "NextMarker": marker})
