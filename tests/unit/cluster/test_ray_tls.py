"""The key and the certificate of one start."""

import stat
from pathlib import Path

from cluster.ray_tls import ray_tls_environment


def test_the_key_is_for_this_user_only_and_another_at_each_start(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    environment = ray_tls_environment(folder)
    key = Path(environment["RAY_TLS_SERVER_KEY"])
    first = key.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert b"PRIVATE KEY" not in Path(environment["RAY_TLS_SERVER_CERT"]).read_bytes()
    ray_tls_environment(folder)
    assert key.read_bytes() != first
