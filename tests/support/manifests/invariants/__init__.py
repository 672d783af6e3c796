"""What has to hold for everything that is rendered, whoever rendered it: base, overlays, components, chart.

Each is a plain function of a `Render`, and tells what is wrong, a line each.
"""

from collections.abc import Callable, Iterator

from tests.support.manifests.invariants.agreement import (
    the_configuration_loads,
    the_grace_period_is_long_enough,
    the_pods_are_scraped_once,
    the_ports_agree,
    the_probes_are_answered,
)
from tests.support.manifests.invariants.mesh import (
    the_mesh_resends_nothing_that_was_heard,
    the_sidecar_lets_the_pod_live,
)
from tests.support.manifests.invariants.names import (
    every_name_may_be_one,
    every_word_is_one_of_its_kind,
    nothing_is_said_twice,
)
from tests.support.manifests.invariants.network import (
    every_host_is_there,
    the_network_policy_lets_no_more_through,
    the_network_policy_lets_through,
)
from tests.support.manifests.invariants.pods import (
    a_pod_gets_nothing_that_it_does_not_use,
    a_read_only_root_has_what_is_written_to,
    every_root_is_read_only,
    no_image_is_the_latest,
    no_secret_is_in_the_environment,
    pod_security_is_restricted,
)
from tests.support.manifests.invariants.references import every_reference_is_there
from tests.support.manifests.invariants.routes import (
    a_listener_is_for_one_kind_of_route,
    each_route_speaks_its_port,
    each_service_says_what_its_ports_speak,
    every_route_names_its_port,
)
from tests.support.manifests.invariants.scaling import (
    a_disruption_budget_leaves_room,
    an_autoscaler_has_something_to_go_by,
    autoscalers_do_not_fight,
    no_replicas_beside_an_autoscaler,
)
from tests.support.manifests.invariants.selectors import (
    every_selector_chooses,
    nothing_that_cannot_change_has_a_version,
)
from tests.support.manifests.invariants.sizes import (
    every_container_says_what_it_takes,
    large_requests_come_through,
    the_sizes_fit,
)
from tests.support.manifests.objects import Render

__all__ = ["INVARIANTS", "Invariant", "violations"]

Invariant = Callable[[Render], Iterator[str]]

INVARIANTS: tuple[Invariant, ...] = (
    every_reference_is_there,
    every_selector_chooses,
    every_host_is_there,
    no_secret_is_in_the_environment,
    a_read_only_root_has_what_is_written_to,
    pod_security_is_restricted,
    autoscalers_do_not_fight,
    no_replicas_beside_an_autoscaler,
    each_route_speaks_its_port,
    every_route_names_its_port,
    the_network_policy_lets_through,
    no_image_is_the_latest,
    the_ports_agree,
    the_probes_are_answered,
    the_pods_are_scraped_once,
    the_grace_period_is_long_enough,
    a_disruption_budget_leaves_room,
    the_configuration_loads,
    the_sizes_fit,
    # What Kubernetes refuses, or does not tell, beside what was asked for by number.
    every_name_may_be_one,
    every_word_is_one_of_its_kind,
    nothing_is_said_twice,
    nothing_that_cannot_change_has_a_version,
    every_root_is_read_only,
    a_pod_gets_nothing_that_it_does_not_use,
    every_container_says_what_it_takes,
    an_autoscaler_has_something_to_go_by,
    each_service_says_what_its_ports_speak,
    a_listener_is_for_one_kind_of_route,
    large_requests_come_through,
    the_network_policy_lets_no_more_through,
    the_sidecar_lets_the_pod_live,
    the_mesh_resends_nothing_that_was_heard,
)


def violations(render: Render) -> list[str]:
    """What is wrong with a render, each with the invariant that it violates."""
    if any(the_configuration_loads(render)):  # without settings, the others have nothing to compare with
        return [f"{the_configuration_loads.__name__}: {told}" for told in the_configuration_loads(render)]
    return [f"{invariant.__name__}: {told}" for invariant in INVARIANTS for told in invariant(render)]
