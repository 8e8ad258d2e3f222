#!/bin/bash
# $model $version. Written by `estimator deploy`; runs once, as root, on Amazon Linux 2023.
set -euo pipefail
$expiry
dnf install --assumeyes docker
systemctl enable --now docker
$login
docker pull $image
$logout
$secrets
docker run --detach --name $name --restart unless-stopped $hardened \
  --log-opt max-size=10m --log-opt max-file=3 --publish $port:$container_port $environment $image
