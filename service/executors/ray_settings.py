"""What Ray reads from the environment, set before it is imported."""

import os
import secrets

from service.ray_config import RayConfig


def set_ray_environment(config: RayConfig) -> None:
    """Keep Ray quiet and, where the cluster is on loopback, on loopback too.

    Ray has no argument for either. Without the second variable it resolves loopback addresses to
    the network's, listens there, and does not find a cluster that listens on loopback.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if config.address is None:  # whoever else is on this machine must not give it orders
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    if config.on_loopback:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
